"""The history of the schema."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence

import asyncpg
import pytest

from stoker.chaos.cluster import Cluster
from stoker.errors import Defect, StokerError
from stoker.store.migrations import Migration, migrations
from stoker.store.postgres import PostgresStore, Terms
from stoker.store.postgres.connection import Database
from stoker.store.postgres.schema import migrate
from stoker.team import Role, Scope

pytestmark = pytest.mark.postgres

STEPS = migrations("postgres")
NEXT = Migration(number=len(STEPS) + 1, name="next", sql="CREATE TABLE one (a int); CREATE TABLE two (a int);")

CATALOG = """
    SELECT 'column' AS kind, format('%s.%s', c.relname, a.attname) AS name,
      concat_ws(' ', a.attnum, format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attstorage, a.attidentity,
                pg_get_expr(d.adbin, d.adrelid)) AS value
    FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
    LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
    WHERE c.relnamespace = 'public'::regnamespace AND a.attnum > 0 AND NOT a.attisdropped
    UNION ALL SELECT 'index', indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'
    UNION ALL SELECT 'view', viewname, definition FROM pg_views WHERE schemaname = 'public'
    UNION ALL SELECT 'constraint', conname, pg_get_constraintdef(oid) FROM pg_constraint
      WHERE connamespace = 'public'::regnamespace
    UNION ALL SELECT 'relation', relname, concat_ws(' ', relkind, array_to_string(reloptions, ','))
      FROM pg_class WHERE relnamespace = 'public'::regnamespace
    ORDER BY 1, 2"""


@pytest.fixture
def empty(postgres: Cluster) -> Iterator[str]:
    """The URL of a database without a schema."""
    with postgres.database() as name:
        yield postgres.url(name)


@pytest.fixture
def second(postgres: Cluster) -> Iterator[str]:
    """Another one."""
    with postgres.database() as name:
        yield postgres.url(name)


async def take(url: str, steps: Sequence[Migration]) -> int:
    """Bring it up to date with those steps; how many it lacked."""
    return await migrate(Database(Terms(url=url)), steps)


async def schema(url: str) -> list[tuple[str, ...]]:
    """Every table, column, index and constraint, as it is."""
    connection = await asyncpg.connect(url)
    rows = await connection.fetch(CATALOG)
    await connection.close()
    return [tuple(row) for row in rows]


@pytest.mark.parametrize("count", range(1, len(STEPS) + 1))
async def test_upgraded_equals_fresh(empty: str, second: str, count: int) -> None:
    """A database made by any earlier release, and then upgraded, equals one made fresh."""
    await take(empty, STEPS[:count])
    await take(empty, STEPS)
    await take(second, STEPS)
    assert await schema(empty) == await schema(second)


async def test_keys_from_before_there_were_members(empty: str) -> None:
    """A team of an earlier release gets an owner, to whom its keys belong; they go on working."""
    await take(empty, STEPS[:1])
    connection = await asyncpg.connect(empty)
    await connection.execute("INSERT INTO teams (id, name, created_ms) VALUES ('team-old', 'old', 5)")
    await connection.execute(
        "INSERT INTO api_keys (id, team, name, scopes, secret_hash, created_ms) VALUES ('key-1', 'team-old', 'k', 'admin', 'h', 6)"
    )
    await connection.close()
    store = await PostgresStore.open(Terms(url=empty))
    key = await store.teams.key("h")
    assert key is not None
    assert (key.member, key.role, key.endpoints) == ("mem-old", Role.OWNER, frozenset())
    key.require(Scope.ADMIN)
    await store.close()


async def test_steps_are_taken_once(empty: str) -> None:
    """An up-to-date database is left alone; a later release's steps are added."""
    assert await take(empty, STEPS) == len(STEPS)
    assert await take(empty, STEPS) == 0
    assert await take(empty, [*STEPS, NEXT]) == 1
    assert {"one", "two"} <= {name for kind, name, _ in await schema(empty) if kind == "relation"}


async def test_failed_step_leaves_nothing(empty: str) -> None:
    """A step that fails halfway is undone with all that were taken with it."""
    broken = Migration(number=len(STEPS) + 1, name="broken", sql="CREATE TABLE one (a int); CREATE TABLE jobs (a int);")
    with pytest.raises(Defect):
        await take(empty, [*STEPS, broken])
    assert await schema(empty) == []


async def test_newer_database_is_refused(empty: str) -> None:
    """A database that a newer Stoker has used is not touched."""
    await take(empty, [*STEPS, NEXT])
    with pytest.raises(StokerError, match="newer Stoker") as caught:
        await PostgresStore.open(Terms(url=empty))
    assert caught.value.code == "database_too_new"
    assert caught.value.next_step


async def test_many_at_once(empty: str) -> None:
    """Of servers that start together one makes the schema and the others wait for it."""
    assert sorted(await asyncio.gather(*(take(empty, STEPS) for _ in range(4)))) == [0, 0, 0, len(STEPS)]


def test_terms_hide_the_password() -> None:
    """Neither the record nor the place that messages name shows user or password."""
    terms = Terms(url="postgresql://someone:geheim@example.org:5432/stoker")
    assert terms.place == "example.org:5432/stoker"
    assert "geheim" not in repr(terms)
