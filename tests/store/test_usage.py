"""The ledger of usage: what is written into it when meters are read, in turn with everything that may happen to workers and jobs."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from contextlib import suppress
from typing import Any

import pytest

from stoker.errors import IllegalTransition
from stoker.ids import KeyId, WorkerId
from stoker.job import AttemptLost, Cancelled, Finished, Job, JobReason
from stoker.metering import HOUR_MS, Use
from stoker.store import Store
from stoker.store.usage import Part
from stoker.worker import Drained, Emptied, Exit, Exited, Stopped, Vanished, Worker, WorkerEvent, WorkerReason
from tests.store.records import (
    ENDPOINT,
    FOREIGN_ENDPOINT,
    NOW,
    OTHER_ENDPOINT,
    OTHER_TEAM,
    TEAM,
    WORKER,
    a_worker,
    allow_slots,
    finish,
    hire,
    run,
    submit,
    take,
)

EVER: dict[str, Any] = {"from_ms": 0, "to_ms": NOW + 1_000 * HOUR_MS, "period_ms": HOUR_MS}
KEY = KeyId("key-first")


async def usage(store: Store, **more: Any) -> dict[tuple[str, str], int]:
    """Milliseconds of the first team by use and key."""
    found: Counter[tuple[str, str]] = Counter()
    for one in await store.usage.sums(TEAM, **EVER, parts=[Part.KEY], **more):
        found[one.use, one.parts[0]] += one.ms
    return dict(found)


async def read(store: Store, at_ms: int) -> None:
    """The loop reads every meter."""
    for worker in await store.workers.unmetered():
        await store.workers.read_meter(worker, at_ms)


async def test_a_life_is_metered(store: Store) -> None:
    """Starting is free; then a worker is idle, runs jobs for their keys, and is idle again, until it is told to stop."""
    await hire(store)
    job = await run(store, at_ms=NOW + 2_000, key=KEY)
    await read(store, NOW + 3_000)
    assert await usage(store) == {("idle", ""): 2_000, ("running", KEY): 1_000}
    await finish(store, job, at_ms=NOW + 5_000)
    await store.workers.advance(WORKER, Drained(at_ms=NOW + 6_000, reason=WorkerReason.SCALED_DOWN))
    await store.workers.advance(WORKER, Emptied(at_ms=NOW + 7_000))
    await read(store, NOW + 20_000)
    await store.workers.advance(WORKER, Exited(at_ms=NOW + 9_000, exit=Exit(code=0, text="exit code 0")))
    await read(store, NOW + 30_000)
    assert await usage(store) == {("idle", ""): 4_000, ("running", KEY): 3_000}
    assert list(await store.workers.unmetered()) == []


async def test_a_worker_that_crashes(store: Store) -> None:
    """Time counts until the worker is gone, though its job is not over; a spell of idleness ends with it."""
    await hire(store)
    await hire(store, WorkerId("idler"))
    await run(store, at_ms=NOW + 1_000, key=KEY)
    for worker in (WORKER, WorkerId("idler")):
        await store.workers.advance(worker, Exited(at_ms=NOW + 4_000, exit=Exit(code=137, text="SIGKILL")))
    await read(store, NOW + 9_000)
    assert await usage(store) == {("idle", ""): 5_000, ("running", KEY): 3_000}


async def test_a_start_that_fails_is_free(store: Store) -> None:
    """A worker that never took costs nothing, and nothing of it is looked for."""
    assert await store.workers.add(a_worker(), alive_max=1)
    await store.workers.advance(WORKER, Exited(at_ms=NOW + 4_000, exit=Exit(code=1, text="no module named torch")))
    assert list(await store.workers.unmetered()) == []
    await store.workers.read_meter(WORKER, NOW + 9_000)
    assert await usage(store) == {}


async def test_all_that_an_entry_tells(store: Store) -> None:
    """Usage is told apart by endpoint, release, specification and hour, and is the own team's alone."""
    await hire(store)
    await hire(store, WorkerId("foreign"), team=OTHER_TEAM, endpoint=FOREIGN_ENDPOINT, release="rel-endpointforeign")
    await read(store, NOW + HOUR_MS)
    parts = (Part.ENDPOINT, Part.RELEASE, Part.SPECIFICATION, Part.VOLUME)
    first, second = await store.usage.sums(TEAM, **EVER, parts=parts)
    assert first.parts == (ENDPOINT, "rel-endpointone", "rtx-4090-24gb", "")
    assert (first.at_ms, second.at_ms) == (NOW - NOW % HOUR_MS, NOW - NOW % HOUR_MS + HOUR_MS)
    assert first.ms + second.ms == HOUR_MS
    assert (first.use, first.ms) == (Use.IDLE, HOUR_MS - NOW % HOUR_MS)
    assert list(await store.usage.sums(TEAM, **EVER, endpoint=OTHER_ENDPOINT)) == []
    (foreign, _) = await store.usage.sums(OTHER_TEAM, **EVER)
    assert foreign.ms == first.ms


async def test_periods(store: Store) -> None:
    """By day there is one sum for all hours of it; hours outside the bounds are left out."""
    await hire(store)
    await read(store, NOW + 3 * HOUR_MS)
    hour = NOW - NOW % HOUR_MS
    bounds: dict[str, Any] = {"from_ms": hour + HOUR_MS, "to_ms": hour + 3 * HOUR_MS}
    assert [one.ms for one in await store.usage.sums(TEAM, **bounds, period_ms=HOUR_MS)] == [HOUR_MS, HOUR_MS]
    by_day = await store.usage.sums(TEAM, **EVER | {"period_ms": 24 * HOUR_MS})
    assert sum(one.ms for one in by_day) == 3 * HOUR_MS
    assert all(one.at_ms % (24 * HOUR_MS) == 0 for one in by_day)


async def test_usage_is_forgotten_by_age(store: Store) -> None:
    """What is older than it is kept goes, and nothing else."""
    await hire(store)
    await read(store, NOW + 2 * HOUR_MS)
    hour = NOW - NOW % HOUR_MS
    await store.usage.forget(hour + HOUR_MS)
    assert [one.at_ms for one in await store.usage.sums(TEAM, **EVER)] == [hour + HOUR_MS, hour + 2 * HOUR_MS]


async def test_no_worker_is_forgotten_before_it_is_counted(store: Store) -> None:
    """The pruner leaves a worker that is gone until its time is in the ledger."""
    await hire(store)
    await store.workers.advance(WORKER, Vanished(at_ms=NOW + 1_000))
    assert list(await store.workers.prune(NOW + 2_000, 10)) == []
    await read(store, NOW + 2_000)
    assert list(await store.workers.prune(NOW + 2_000, 10)) == [WORKER]
    assert await usage(store) == {("idle", ""): 1_000}


async def test_many_readings_at_once(store: Store) -> None:
    """However many servers read a meter at the same moment, its time is counted once."""
    await hire(store)
    await asyncio.gather(*(store.workers.read_meter(WORKER, NOW + number) for number in (7, 3, 5, 7, 1, 6)))
    assert await usage(store) == {("idle", ""): 7}


WORKERS = (WORKER, WorkerId("worker2"), WorkerId("worker3"))


def an_end(chance: random.Random, at_ms: int) -> WorkerEvent:
    """Something that brings a worker nearer to its end."""
    return chance.choice(
        (
            Drained(at_ms=at_ms, reason=WorkerReason.SCALED_DOWN),
            Emptied(at_ms=at_ms),
            Stopped(at_ms=at_ms, reason=WorkerReason.STOPPED_BY_USER),
            Exited(at_ms=at_ms, exit=Exit(code=1, text="crash")),
            Vanished(at_ms=at_ms),
        )
    )


async def anything(store: Store, chance: random.Random, known: list[Job], at_ms: int) -> None:
    """One operation at random."""
    worker = chance.choice(WORKERS)
    with suppress(IllegalTransition):
        match chance.randrange(8):
            case 0 | 1:
                key = chance.choice((None, KEY, KeyId("key-second")))
                known.append(await submit(store, at_ms=at_ms, key=key))
            case 2 | 3:
                await take(store, worker, limit=2, ahead=chance.randrange(2), at_ms=at_ms)
            case 4:
                await store.workers.read_meter(worker, at_ms)
            case 5 if chance.random() < 0.3:
                await store.workers.advance(worker, an_end(chance, at_ms))
            case _ if known:
                job = chance.choice(known).id
                lost = AttemptLost(at_ms=at_ms, worker=worker, reason=JobReason.WORKER_LOST)
                done = Finished(at_ms=at_ms, worker=worker, failed=False)
                await store.jobs.advance(job, chance.choice((lost, done, done, Cancelled(at_ms=at_ms))))
            case _:
                pass


async def up_ms(store: Store, now_ms: int) -> int:
    """For how long the workers were up, all together, by what their records say."""
    found = [await store.workers.get(worker) for worker in WORKERS]
    return sum(_up_ms(worker, now_ms) for worker in found if worker is not None)


def _up_ms(worker: Worker, now_ms: int) -> int:
    until_ms = worker.counted_until_ms
    assert worker.ready_ms is not None
    return (now_ms if until_ms is None else until_ms) - worker.ready_ms


@pytest.mark.parametrize("seed", range(5))
async def test_the_ledger_adds_up(store: Store, seed: int) -> None:
    """After any operations, many at once, with meters read in between at any moment: the ledger holds exactly the time that the
    workers were up, and running and idle are apart."""
    chance = random.Random(seed)
    await allow_slots(store, 2)
    for worker in WORKERS:
        await hire(store, worker)
    known: list[Job] = []
    now_ms = NOW
    for _ in range(40):
        now_ms += chance.choice((1, 700, 40_000, HOUR_MS // 3))
        await asyncio.gather(*(anything(store, chance, known, now_ms) for _ in range(chance.choice((1, 6)))))
    await read(store, now_ms)
    assert sum((await usage(store)).values()) == await up_ms(store, now_ms)
    by_hour: Counter[int] = Counter()
    for one in await store.usage.sums(TEAM, **EVER):
        by_hour[one.at_ms] += one.ms
    assert max(by_hour.values()) <= len(WORKERS) * HOUR_MS
