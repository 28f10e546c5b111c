"""The history of the schema."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from stoker.errors import StokerError, Unavailable
from stoker.store import teams
from stoker.store.migrations import Migration, migrations
from stoker.store.sqlite.connection import connect, migrate
from stoker.team import Role, Scope


@pytest.fixture
def connection() -> Iterator[sqlite3.Connection]:
    """A database without a schema."""
    with empty() as connection:
        yield connection


def empty() -> closing[sqlite3.Connection]:
    """One more, for as long as it is used."""
    return closing(sqlite3.connect(":memory:", isolation_level=None))


def schema(connection: sqlite3.Connection) -> list[tuple[str, str]]:
    """Every table and index, as it was made."""
    return connection.execute("SELECT name, sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY name").fetchall()


def version(connection: sqlite3.Connection) -> int:
    """How many steps were taken."""
    (number,) = connection.execute("PRAGMA user_version").fetchone()
    return int(number)


STEPS = migrations("sqlite")
NEXT = Migration(number=len(STEPS) + 1, name="next", sql="CREATE TABLE one (a);\nCREATE TABLE two (\n  a\n);")


def test_numbers_have_no_gaps() -> None:
    """Migrations are numbered from 1 without gaps, and each has a name."""
    assert [step.number for step in STEPS] == list(range(1, len(STEPS) + 1))
    assert all(step.name for step in STEPS)


@pytest.mark.parametrize("count", range(1, len(STEPS) + 1))
def test_upgraded_equals_fresh(count: int) -> None:
    """A database made by any earlier release, and then upgraded, equals one made fresh."""
    with empty() as upgraded, empty() as fresh:
        migrate(upgraded, STEPS[:count])
        migrate(upgraded, STEPS)
        migrate(fresh, STEPS)
        assert schema(upgraded) == schema(fresh)
        assert version(upgraded) == version(fresh) == len(STEPS)


def test_keys_from_before_there_were_members(connection: sqlite3.Connection) -> None:
    """A team of an earlier release gets an owner, to whom its keys belong; they go on working."""
    migrate(connection, before("configured"))
    connection.execute("INSERT INTO teams (id, name, created_ms) VALUES ('team-old', 'old', 5)")
    connection.execute(
        "INSERT INTO api_keys (id, team, name, scopes, secret_hash, created_ms) VALUES ('key-1', 'team-old', 'k', 'admin', 'h', 6)"
    )
    migrate(connection, STEPS)
    (row,) = connection.execute(teams.FIND_KEY.replace("$", "?"), ("h",)).fetchall()
    key = teams._key(row)
    assert (key.member, key.role, key.endpoints) == ("mem-old", Role.OWNER, frozenset())
    key.require(Scope.ADMIN)


def before(name: str) -> Sequence[Migration]:
    """The steps that were there before the one of that name."""
    return STEPS[: [step.name for step in STEPS].index(name)]


def test_volumes_from_before_there_were_records(connection: sqlite3.Connection) -> None:
    """Releases that mounted volumes of the engine's need volumes of these names; directories of the machine are none."""
    migrate(connection, before("volumes"))
    connection.execute("INSERT INTO teams (id, name, created_ms) VALUES ('team-old', 'old', 5)")
    columns = "id, endpoint, number, image, command, env, gpus_per_worker, created_ms, container"
    for number, container in (
        (1, '{"volumes": ["cache:/c:ro", "/srv/x:/x", "cache:/d", "b:/b"], "disk_gb": 1}'),
        (2, "{}"),
    ):
        connection.execute(
            f"INSERT INTO releases ({columns}) VALUES (?, 'e', ?, '', '', '{{}}', 0, 1, ?)",
            (f"rel-{number}", number, container),
        )
    migrate(connection, STEPS)
    found = connection.execute("SELECT release, volume FROM mounts ORDER BY volume").fetchall()
    assert found == [("rel-1", "b"), ("rel-1", "cache")]


def test_migrating_again_changes_nothing(connection: sqlite3.Connection) -> None:
    """Steps are taken once."""
    migrate(connection, STEPS)
    before = schema(connection)
    migrate(connection, STEPS)
    assert schema(connection) == before


def test_later_steps_are_taken(connection: sqlite3.Connection) -> None:
    """A database of an earlier release takes the steps that it lacks, every statement of them."""
    migrate(connection, STEPS)
    migrate(connection, [*STEPS, NEXT])
    assert version(connection) == NEXT.number
    assert {"one", "two"} <= {name for name, _ in schema(connection)}


def test_failed_step_leaves_nothing(connection: sqlite3.Connection) -> None:
    """A step that fails halfway is undone with all that were taken with it."""
    broken = Migration(number=len(STEPS) + 1, name="broken", sql="CREATE TABLE one (a);\nCREATE TABLE jobs (a);")
    with pytest.raises(StokerError):
        migrate(connection, [*STEPS, broken])
    assert schema(connection) == []
    assert version(connection) == 0


def test_newer_database_is_refused(tmp_path: Path) -> None:
    """A database that a newer Stoker has used is not touched."""
    path = tmp_path / "stoker.db"
    connection = connect(path)
    migrate(connection, [*STEPS, NEXT])
    connection.close()
    with pytest.raises(StokerError, match="newer Stoker") as caught:
        connect(path)
    assert caught.value.code == "database_too_new"
    assert caught.value.next_step


def test_file_that_is_no_database(tmp_path: Path) -> None:
    """A file that is something else is refused and kept."""
    path = tmp_path / "stoker.db"
    path.write_text("a letter to my grandmother, " * 100)
    with pytest.raises(StokerError):
        connect(path)
    assert path.read_text().startswith("a letter")


@pytest.mark.parametrize("again", range(10))
def test_many_at_once(tmp_path: Path, again: int) -> None:
    """Processes that open a fresh database together do not get into each other's way, however often one tries."""
    with ThreadPoolExecutor(4) as pool:
        connections = list(pool.map(connect, [tmp_path / f"{again}.db"] * 4))
    assert {version(connection) for connection in connections} == {len(STEPS)}
    for connection in connections:
        connection.close()


def test_locked_database_is_unavailable(tmp_path: Path) -> None:
    """A database that somebody else holds for too long cannot be migrated now."""
    path = tmp_path / "stoker.db"
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    connection = sqlite3.connect(path, isolation_level=None, timeout=0)
    with pytest.raises(Unavailable):
        migrate(connection, STEPS)
    other.close()
    connection.close()
