"""A database that stands still: what waits for it is bounded, in number and in bytes, and whoever is over it is told so."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import pytest

from stoker.errors import Unavailable
from stoker.store import NewJob
from stoker.store.postgres import PostgresStore, Terms
from stoker.store.postgres.connection import Database
from stoker.store.room import Room
from tests.store.records import NOW, a_job

pytestmark = pytest.mark.postgres

MOST = 20
BYTES_MOST = 10_000
BODY = b'"' + b"x" * 998 + b'"'


@asynccontextmanager
async def standing_still(url: str) -> AsyncIterator[None]:
    """Nobody reads or writes jobs meanwhile."""
    connection = await asyncpg.connect(url)
    async with connection.transaction():
        await connection.execute("LOCK TABLE jobs IN ACCESS EXCLUSIVE MODE")
        yield
    await connection.close()


def submissions(store: PostgresStore, count: int, body: bytes) -> Sequence[asyncio.Task[Any]]:
    """So many at once."""

    async def submit(new: NewJob) -> None:
        await store.jobs.submit(new)

    return [asyncio.create_task(submit(NewJob(job=a_job(at_ms=NOW), input=body))) for _ in range(count)]


async def refused_while_still(tasks: Sequence[asyncio.Task[Any]], count: int) -> None:
    """Just so many are refused at once, as busy; the others wait."""
    done: set[asyncio.Task[Any]] = set()
    async with asyncio.timeout(30):
        while len(done) < count:
            done |= (await asyncio.wait(set(tasks) - done, return_when=asyncio.FIRST_COMPLETED))[0]
    assert [type(task.exception()) for task in done] == [Unavailable] * count
    assert {getattr(task.exception(), "code", "") for task in done} == {"store_busy"}


@pytest.mark.parametrize(("body", "waiting"), [(b"1", MOST), (BODY, BYTES_MOST // len(BODY))])
async def test_waiting_is_bounded(direct: PostgresStore, postgres_url: str, body: bytes, waiting: int) -> None:
    """So many operations wait, or so many bytes of bodies; more are refused at once, and those that wait are carried out."""
    store = PostgresStore(Database(Terms(url=postgres_url)), room=Room(most=MOST, bytes_most=BYTES_MOST))
    async with standing_still(postgres_url):
        tasks = submissions(store, MOST + 5, body)
        await refused_while_still(tasks, MOST + 5 - waiting)
    await asyncio.wait(tasks)
    assert sum(task.exception() is None for task in tasks) == waiting
    (again,) = submissions(store, 1, body)
    await again
    await store.close()


async def test_no_connection_may_forget_a_transaction(direct: PostgresStore, postgres_url: str) -> None:
    """A server that hangs in a transaction would keep dead rows alive for all others: the database ends it."""
    database = Database(Terms(url=postgres_url, statement_s=0.2))
    ended = asyncio.Event()
    connection: Any = await database.connect()
    connection.add_termination_listener(lambda _: ended.set())
    await connection.execute("BEGIN")
    async with asyncio.timeout(30):
        await ended.wait()
    connection = await database.connect()
    with pytest.raises(asyncpg.QueryCanceledError):
        await connection.fetchval("SELECT pg_sleep(30)")
    await connection.close()
