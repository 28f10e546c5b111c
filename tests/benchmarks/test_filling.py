"""Rows that benchmarks make by SQL: a server cannot tell them from its own."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from benchmarks.filling import INPUT, fill
from stoker.store import Store
from stoker.store.postgres import PostgresStore, Terms
from stoker.store.sqlite import SqliteStore
from tests.store.records import ENDPOINT, finish, furnish, hire, run, submit, take

Opening = Callable[[], Awaitable[Store]]


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path | str, Opening]:
    """A database, and how to open a store on it."""
    if request.param == "sqlite":
        file = tmp_path / "stoker.db"
        return file, lambda: SqliteStore.open(file)
    url = str(request.getfixturevalue("postgres_url"))
    return url, lambda: PostgresStore.open(Terms(url=url))


@pytest.mark.slow
async def test_copies_wait_and_have_ended_like_the_rows_before_them(database: tuple[Path | str, Opening]) -> None:
    """They are counted, claimed in their order with their bodies, and finished."""
    where, opening = database
    store = await opening()
    await furnish(store)
    await hire(store)
    await finish(store, await run(store))
    first = await submit(store)
    await store.close()
    await asyncio.to_thread(fill, where, queued=30, finished=0)
    await asyncio.to_thread(fill, where, queued=0, finished=50)
    store = await opening()
    counts = await store.jobs.counts(ENDPOINT)
    assert (counts.queued, counts.completed) == (31, 51)
    claims = (await take(store, limit=3)).claims
    assert claims[0].job.id == first.id
    assert [claim.input for claim in claims[1:]] == [INPUT, INPUT]
    for claim in claims:
        await finish(store, claim.job)
    counts = await store.jobs.counts(ENDPOINT)
    assert (counts.queued, counts.completed) == (28, 54)
    await store.close()
