"""Following the ledger while several servers write: numbers are drawn in one order, and commits come in another."""

from __future__ import annotations

import asyncpg
import pytest

from stoker.store.ledger import TELL, Position
from stoker.store.postgres import PostgresStore, Terms
from tests.store.records import ENDPOINT, NOW, TEAM, furnish, submit

pytestmark = pytest.mark.postgres


async def insert(connection: asyncpg.Connection, kind: str) -> None:
    """A line about the endpoint, as another server writes it."""
    await connection.execute(TELL, NOW, TEAM, ENDPOINT, kind, "active", "", None, "")


async def kinds(store: PostgresStore, after: Position) -> tuple[list[str], Position, bool]:
    """What is new, where to go on, and whether something is held back."""
    found = await store.ledger.read(after, teams=[TEAM], limit=100)
    return [line.kind for line in found.lines], found.upto, found.held_back


async def test_a_lower_number_commits_later(postgres_url: str) -> None:
    """A line that was numbered before another and committed after it is not missed: the other one waits for it."""
    store = await PostgresStore.open(Terms(url=postgres_url))
    await furnish(store)
    after = await store.ledger.end()
    slow, fast = await asyncpg.connect(postgres_url), await asyncpg.connect(postgres_url)
    transaction = slow.transaction()
    await transaction.start()
    await insert(slow, "numbered first")
    await insert(fast, "committed first")
    assert await kinds(store, after) == ([], after, True)
    await transaction.commit()
    found, upto, held_back = await kinds(store, after)
    assert found == ["numbered first", "committed first"]
    assert not held_back
    assert (await kinds(store, upto))[0] == []
    await slow.close()
    await fast.close()
    await store.close()


async def test_what_is_undone_holds_up_nobody(postgres_url: str) -> None:
    """A number whose transaction was undone leaves a gap, which nobody waits for."""
    store = await PostgresStore.open(Terms(url=postgres_url))
    await furnish(store)
    after = await store.ledger.end()
    other = await asyncpg.connect(postgres_url)
    transaction = other.transaction()
    await transaction.start()
    await insert(other, "undone")
    await transaction.rollback()
    await insert(other, "done")
    assert (await kinds(store, after))[0] == ["done"]
    await other.close()
    await store.close()


async def test_a_transaction_older_than_the_look(postgres_url: str) -> None:
    """A transaction that began before a look, and writes its line after it, is not passed over."""
    store = await PostgresStore.open(Terms(url=postgres_url))
    await furnish(store)
    other = await asyncpg.connect(postgres_url)
    transaction = other.transaction()
    await transaction.start()
    await other.execute("SELECT pg_current_xact_id()")  # it has its place in the order from now on
    after = await store.ledger.end()
    await submit(store)
    _, upto, _ = await kinds(store, after)
    await insert(other, "late")
    await transaction.commit()
    assert (await kinds(store, upto))[0] == ["late", "submitted"]
    await other.close()
    await store.close()


async def test_a_restored_database(postgres_url: str) -> None:
    """Lines of a database that had seen more transactions than the one it was restored into come before all that follows."""
    store = await PostgresStore.open(Terms(url=postgres_url))
    await furnish(store)
    await submit(store)
    await store.close()
    connection = await asyncpg.connect(postgres_url)
    await connection.execute("UPDATE story SET tx = '987654321098'")
    store = await PostgresStore.open(Terms(url=postgres_url))
    after = await store.ledger.end()
    await insert(connection, "after the restore")
    assert (await kinds(store, after))[0] == ["after the restore"]
    assert (await kinds(store, Position(0, 0)))[0] == ["submitted", "after the restore"]
    await connection.close()
    await store.close()


async def test_lines_of_an_older_server(postgres_url: str) -> None:
    """While servers of two releases write, a line that names its job by number only is left out, and keeps up no other."""
    store = await PostgresStore.open(Terms(url=postgres_url))
    await furnish(store)
    after = await store.ledger.end()
    connection = await asyncpg.connect(postgres_url)
    await connection.execute(
        "INSERT INTO story (at_ms, team, endpoint, job, kind, state, reason, text) VALUES (1, $1, 'e', 7, 'k', 's', 'r', '')",
        TEAM,
    )
    await insert(connection, "after it")
    assert (await kinds(store, after))[0] == ["after it"]
    await connection.close()
    await store.close()
