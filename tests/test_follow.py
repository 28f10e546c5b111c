"""Following the ledger: one reader for all who follow, and nobody misses a line."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest

from stoker.errors import Unavailable
from stoker.follow import PAGE, Follower, Ledger
from stoker.signals import Signals
from stoker.store import Store
from stoker.store.ledger import START, LedgerLine
from stoker.store.sqlite import MEMORY, SqliteStore
from tests.store.records import OTHER_TEAM, TEAM, furnish, submit

PATIENCE_S = 30.0


@pytest.fixture
async def store() -> AsyncIterator[Store]:
    """A store with two teams."""
    opened = await SqliteStore.open(MEMORY)
    await furnish(opened)
    yield opened
    await opened.close()


def everything(_line: LedgerLine) -> bool:
    return True


async def gather(follower: Follower, count: int) -> list[LedgerLine]:
    """The next so many lines."""
    seen: list[LedgerLine] = []
    async with asyncio.timeout(PATIENCE_S):
        while len(seen) < count:
            seen += await follower.next(1)
    return seen


def numbers(lines: Sequence[LedgerLine]) -> list[str | None]:
    return [line.job for line in lines]


async def test_a_line_wakes_who_waits(store: Store) -> None:
    """Who has caught up is woken by the next line, without a signal too."""
    ledger = Ledger(store, Signals())
    with ledger.follow(TEAM, await ledger.end(), everything) as follower:
        waiting = asyncio.ensure_future(gather(follower, 1))
        await asyncio.sleep(0)
        job = await submit(store)
        assert numbers(await waiting) == [job.id]


async def test_from_the_beginning_and_on(store: Store) -> None:
    """Who begins in the past reads that from the store, and goes on with what comes, each line once."""
    signals = Signals()
    ledger = Ledger(store, signals)
    jobs = [await submit(store) for _ in range(PAGE + 3)]
    with ledger.follow(TEAM, START, everything) as follower:
        seen = await gather(follower, len(jobs))
        for _ in range(3):
            jobs.append(await submit(store))
            signals.job_changed(jobs[-1].id)
            seen += await gather(follower, 1)
    assert numbers(seen) == [job.id for job in jobs]


async def test_slow_and_fast(store: Store) -> None:
    """Who falls behind what is kept in memory misses nothing, and holds up nobody."""
    signals = Signals()
    ledger = Ledger(store, signals, recent_most=1)
    since = await ledger.end()
    with ledger.follow(TEAM, since, everything) as slow, ledger.follow(TEAM, since, everything) as fast:
        jobs, seen = [], []
        for _ in range(3):
            jobs.append(await submit(store))
            signals.job_changed(jobs[-1].id)
            seen += await gather(fast, 1)
        assert numbers(seen) == [job.id for job in jobs]
        assert numbers(await gather(slow, 3)) == [job.id for job in jobs]


async def test_teams_apart(store: Store) -> None:
    """Each hears of its own team; one that begins to follow beside another misses nothing."""
    signals = Signals()
    ledger = Ledger(store, signals)
    since = await ledger.end()
    with ledger.follow(TEAM, since, everything) as mine:
        jobs = [await submit(store), await submit(store, team=OTHER_TEAM)]
        signals.job_changed(jobs[0].id)
        assert numbers(await gather(mine, 1)) == [jobs[0].id]
        with ledger.follow(OTHER_TEAM, since, everything) as theirs:
            assert numbers(await gather(theirs, 1)) == [jobs[1].id]
            jobs += [await submit(store), await submit(store, team=OTHER_TEAM)]
            assert numbers(await gather(mine, 1)) == [jobs[2].id]
            assert numbers(await gather(theirs, 1)) == [jobs[3].id]


async def test_what_is_not_wanted(store: Store) -> None:
    """What is not wanted goes by: the position moves on, so that coming back costs nothing twice."""
    ledger = Ledger(store, Signals())
    with ledger.follow(TEAM, START, lambda _line: False) as follower:
        await submit(store)
        assert await follower.next(0) == ()
        assert follower.position == await ledger.end()


async def test_nobody_waits_when_the_server_stops(store: Store) -> None:
    """Who waits is told at once, and nobody begins to wait again."""
    signals = Signals()
    ledger = Ledger(store, signals)
    with ledger.follow(TEAM, await ledger.end(), everything) as follower:
        waiting = asyncio.ensure_future(follower.next(PATIENCE_S))
        await asyncio.sleep(0)
        signals.close()
        async with asyncio.timeout(PATIENCE_S / 2):
            assert list(await waiting) == []
            assert list(await follower.next(PATIENCE_S)) == []


async def test_too_many(store: Store) -> None:
    """There is a most for each team and for all; who leaves makes room."""
    ledger = Ledger(store, Signals(), of_team_most=1)
    with ledger.follow(TEAM, START, everything):
        with pytest.raises(Unavailable, match="too many"), ledger.follow(TEAM, START, everything):
            pass
        with ledger.follow(OTHER_TEAM, START, everything):
            pass
    with ledger.follow(TEAM, START, everything):
        pass
