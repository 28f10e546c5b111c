"""A cap is kept to the job, on a real store: what a worker is given is decided by what all workers cost until that moment."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace

import pytest

from stoker.audit import Action, Actor, AuditLine, Kind
from stoker.budget import Budget, Span
from stoker.budgets import Budgets
from stoker.clock import ManualClock
from stoker.ids import WorkerId
from stoker.job import JobState
from stoker.leases import Asker, Caller, Leases, Report
from stoker.loops.meter import MeterReader
from stoker.signals import Signals
from stoker.specification import MICROS
from stoker.store import Claim
from stoker.store.sqlite import MEMORY, SqliteStore
from tests.store.records import (
    ENDPOINT,
    NOW,
    OTHER_ENDPOINT,
    OTHER_WORKER,
    TEAM,
    WORKER,
    a_worker,
    furnish,
    hire,
    submit,
    take,
)

PRICE_MICROS = 3_600 * MICROS
"""Of an hour: a second costs 1."""
LINE = AuditLine(at_ms=NOW, by=Actor(team=TEAM), action=Action.CHANGED, kind=Kind.BUDGET, thing=TEAM, name="the team")


class Shop:
    """A store, workers that cost, and what gives them jobs; time passes when a test says so."""

    def __init__(self, store: SqliteStore) -> None:
        self.store = store
        self.clock = ManualClock(NOW)
        signals = Signals()
        budgets = Budgets(store, self.clock, signals)
        self.meter = MeterReader(store, self.clock, budgets, storage_price=0)
        self.leases = Leases(
            store, self.clock, signals, hold_s=0, lease_s=1_000, output_bytes_max=1_000, budgets=budgets
        )

    async def cap(self, seconds: int, **more: object) -> None:
        """From now on workers may cost so much."""
        budget = replace(Budget(team=TEAM, span=Span.DAY, queue_micros=seconds * MICROS), **more)  # type: ignore[arg-type]
        await self.store.budgets.save(budget, LINE)

    async def terms(self, **more: object) -> None:
        """The endpoint has other terms."""
        found = await self.store.endpoints.get(ENDPOINT)
        assert found is not None
        await self.store.endpoints.update(replace(found, version=found.version + 1, **more), None)  # type: ignore[arg-type]

    async def take(self, worker: WorkerId = WORKER, *, limit: int = 1, sdk: str = "1.12.0") -> Sequence[Claim]:
        """What the worker is given now."""
        caller = Caller(id=worker, endpoint=ENDPOINT, team=TEAM)
        return await self.leases.take(caller, Asker(), limit=limit, holds_none=False, sdk=sdk)

    async def run(self, claim: Claim, worker: WorkerId = WORKER, *, seconds: float) -> None:
        """Time passes, and the job ends."""
        self.clock.advance_s(seconds)
        await self.leases.finish(Caller(id=worker, endpoint=ENDPOINT, team=TEAM), claim.job.id, Report(output=b"1"))


@pytest.fixture
async def shop() -> AsyncIterator[Shop]:
    """A team with an endpoint of one slot."""
    store = await SqliteStore.open(MEMORY)
    await furnish(store)
    made = Shop(store)
    await made.terms(slots=1, deliver_ahead=0)
    yield made
    await store.close()


async def test_a_runaway_worker_exceeds_its_cap_by_one_job(shop: Shop) -> None:
    """A worker that never stops asking begins its last job within the cap, though nobody has counted what is spent since."""
    await hire(shop.store, price_per_hour_micros=PRICE_MICROS)
    for _ in range(20):
        await submit(shop.store)
    await shop.cap(10)
    await shop.meter.look()
    begun = 0
    while claims := await shop.take():
        begun += 1
        await shop.run(claims[0], seconds=3)
    assert begun == 4, "at 0, 3, 6 and 9 seconds"
    await shop.meter.look()
    (budget,) = await shop.store.budgets.all()
    assert budget.spent_micros == 12 * MICROS, "less than the cap and one job"


@pytest.mark.parametrize("seed", range(8))
async def test_no_job_begins_beyond_the_cap(shop: Shop, seed: int) -> None:
    """With several workers, one of them another endpoint's, and counting at any moment or never: every job begins while all of them
    together have cost less than the cap, and none is refused before."""
    chance = random.Random(seed)
    names = (WORKER, OTHER_WORKER)
    for name in names:
        await hire(shop.store, name, price_per_hour_micros=PRICE_MICROS)
    await hire(
        shop.store,
        WorkerId("neighbour"),
        endpoint=OTHER_ENDPOINT,
        release=f"rel-{OTHER_ENDPOINT}",
        price_per_hour_micros=PRICE_MICROS,
    )
    for _ in range(60):
        await submit(shop.store)
    await shop.cap(50)
    while True:
        spent_s = 3 * (shop.clock.now_ms() - NOW) / 1000
        given = {name: await shop.take(name) for name in names}
        assert all(bool(claims) == (spent_s < 50) for claims in given.values())
        if spent_s >= 50:
            return
        for name, claims in given.items():
            await shop.run(claims[0], name, seconds=chance.choice((0.0, 0.4, 2.0, 9.0)))
        if chance.random() < 0.5:
            await shop.meter.look()
        shop.clock.advance_s(0.1)


@pytest.mark.parametrize("seed", range(4))
async def test_a_worker_with_slots_exceeds_its_cap_by_one_job(shop: Shop, seed: int) -> None:
    """Jobs that run at once share their worker's time: it exceeds its cap by no more than the longest of them costs it, however many they are."""
    chance = random.Random(seed)
    await shop.terms(slots=4)
    await hire(shop.store, price_per_hour_micros=PRICE_MICROS)
    for _ in range(60):
        await submit(shop.store)
    await shop.cap(30)
    passed_s = 0.0
    running: list[tuple[float, Claim]] = []
    while True:
        given = await shop.take(limit=4 - len(running))
        assert len(given) == (4 - len(running) if passed_s < 30 else 0)
        running = sorted(
            [*running, *((passed_s + chance.uniform(1, 7), claim) for claim in given)], key=lambda one: one[0]
        )
        if not running:
            break
        ends_s, claim = running.pop(0)
        await shop.run(claim, seconds=ends_s - passed_s)
        passed_s = ends_s
    await shop.meter.look()
    (budget,) = await shop.store.budgets.all()
    assert 30 * MICROS <= budget.spent_micros < 37 * MICROS


async def test_jobs_ahead_begin_within_the_cap(shop: Shop) -> None:
    """So many jobs are delivered ahead that the last begins within the cap, though each of them takes as long as it may."""
    await shop.terms(deliver_ahead=20, execution_timeout_ms=5_000)
    await hire(shop.store, price_per_hour_micros=PRICE_MICROS)
    for _ in range(60):
        await submit(shop.store)
    await shop.cap(22)
    claims = await shop.take()
    assert [claim.job.state for claim in claims] == [JobState.RUNNING] + [JobState.AHEAD] * 4
    for claim in claims:
        assert shop.clock.now_ms() < NOW + 22_000
        await shop.run(claim, seconds=5)
    assert await shop.take() == ()


@pytest.mark.parametrize("seed", range(8))
async def test_no_turn_comes_beyond_the_cap(shop: Shop, seed: int) -> None:
    """Whatever brings a cap nearer than was foreseen when jobs were delivered ahead (jobs that take longer than others may, another
    worker, a smaller budget), no job has its turn once the cap is reached; what was ahead then waits again, and has used up nothing."""
    chance = random.Random(seed)
    await shop.terms(deliver_ahead=20, execution_timeout_ms=5_000)
    await hire(shop.store, price_per_hour_micros=PRICE_MICROS)
    jobs = [(await submit(shop.store)).id for _ in range(60)]
    cap_s = 60
    await shop.cap(cap_s)
    in_hand = list(await shop.take())
    assert len(in_hand) == 12
    joins_s, shrinks_s = chance.choice((3, 20, 999)), chance.choice((7, 30, 999))
    passed_s, joined_s, held = 0.0, 999.0, len(in_hand)
    while held:
        if passed_s >= shrinks_s:
            cap_s = min(cap_s, 35)
            await shop.cap(cap_s)
        if passed_s >= joins_s:
            joins_s, joined_s = 999, passed_s
            await shop.store.workers.add(a_worker(OTHER_WORKER, price_per_hour_micros=PRICE_MICROS), alive_max=9)
            await take(shop.store, OTHER_WORKER, limit=0, at_ms=shop.clock.now_ms())
        await shop.run(in_hand.pop(0), seconds=chance.choice((1, 5, 9)))
        passed_s = (shop.clock.now_ms() - NOW) / 1000
        spent_s = passed_s + max(0, passed_s - joined_s)
        held = len(await shop.store.jobs.held_by(WORKER))
        assert held == (len(in_hand) if spent_s < cap_s else 0)
    found = [await shop.store.jobs.result(TEAM, ENDPOINT, job) for job in jobs]
    assert {(one.job.state, one.job.attempt) for one in found if one} == {(JobState.COMPLETED, 1), (JobState.QUEUED, 0)}


async def test_without_a_cap_nothing_is_held_back(shop: Shop) -> None:
    """A budget that only warns, and another endpoint's, bound nothing."""
    await shop.terms(deliver_ahead=20, execution_timeout_ms=5_000)
    await hire(shop.store, price_per_hour_micros=PRICE_MICROS)
    for _ in range(60):
        await submit(shop.store)
    await shop.cap(1, queue_micros=None, warn_micros=1)
    await shop.cap(1, endpoint=OTHER_ENDPOINT)
    shop.clock.advance_s(30)
    assert len(await shop.take()) == 21


async def test_the_next_day_goes_on(shop: Shop) -> None:
    """With a new day of the calendar jobs begin again, before anybody has counted."""
    await hire(shop.store, price_per_hour_micros=PRICE_MICROS)
    await submit(shop.store)
    await shop.cap(1)
    shop.clock.advance_s(30)
    await shop.meter.look()
    assert await shop.take() == ()
    shop.clock.advance_s(86_400 - (NOW // 1000 + 30) % 86_400)
    await submit(shop.store, at_ms=shop.clock.now_ms())
    assert len(await shop.take()) == 1
