"""Clients that ask for the same status again at once: when they are answered. Time is the simulation's."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from stoker.clock import SystemClock
from stoker.job import Claimed, Job, JobState
from stoker.polls import HOLD_S, SOON_S
from stoker.queue import Queue
from stoker.signals import ENDS_EVERY_S, Signals
from stoker.store.sqlite import MEMORY, SqliteStore
from stoker.store.sqlite.connection import connect
from stoker.store.sqlite.transaction import Session
from stoker.store.sqlite.writer import Inline
from tests.simulation.loop import SimulatedLoop
from tests.store.records import ENDPOINT, NOW, TEAM, WORKER, furnish, hire, submit

pytestmark = pytest.mark.allow_blocking("the store runs inline")


class Desk:
    """A queue with one job that waits, and how long its client is held."""

    def __init__(self, queue: Queue, signals: Signals, store: SqliteStore, job: Job) -> None:
        self.queue = queue
        self.signals = signals
        self.store = store
        self.job = job

    async def ask(self) -> tuple[JobState, float]:
        """The state, and after how many seconds it was told."""
        now_s = asyncio.get_running_loop().time
        begun_s = now_s()
        result = await self.queue.poll(TEAM, ENDPOINT, self.job.id)
        return result.job.state, now_s() - begun_s

    async def claim(self) -> None:
        """A worker takes the job."""
        await self.store.jobs.advance(self.job.id, Claimed(at_ms=NOW, worker=WORKER, lease_until_ms=None))
        self.signals.job_changed(self.job.id)

    async def close(self) -> None:
        """The server stops answering."""
        self.signals.close()

    async def held_until(self, end: Callable[[], Awaitable[None]]) -> tuple[JobState, float]:
        """As `ask`, for who asks again at once while `end` happens a part of the hold later."""
        await self.ask()
        held = asyncio.create_task(self.ask())
        await asyncio.sleep(HOLD_S / 4)
        assert not held.done()
        await end()
        return await held


def play(scene: Callable[[Desk], Awaitable[None]]) -> None:
    async def run() -> None:
        session = Session(connect(MEMORY))
        lane = Inline(session.connection, session.write)
        store = SqliteStore(lane, lane, lane, session.known)
        await furnish(store)
        await hire(store)
        signals = Signals()
        await scene(Desk(Queue(store, SystemClock(), signals), signals, store, await submit(store)))
        await store.close()

    with asyncio.Runner(loop_factory=SimulatedLoop) as runner:
        runner.run(run())


def test_who_asks_again_at_once_is_held() -> None:
    """The first answer is immediate; the same one again, a moment later, comes after the hold, and so does each that follows."""

    async def scene(desk: Desk) -> None:
        assert await desk.ask() == (JobState.QUEUED, 0)
        for _ in range(3):
            state, held_s = await desk.ask()
            assert state is JobState.QUEUED
            assert held_s == pytest.approx(HOLD_S, abs=ENDS_EVERY_S)

    play(scene)


def test_a_change_ends_the_hold() -> None:
    """Who is held hears of a change when it comes."""

    async def scene(desk: Desk) -> None:
        state, held_s = await desk.held_until(desk.claim)
        assert state is JobState.RUNNING
        assert held_s == pytest.approx(HOLD_S / 4)

    play(scene)


def test_who_asks_now_and_then_is_answered_at_once() -> None:
    """Not held: who lets a moment pass, who asks after a change, and who asks for an end."""

    async def scene(desk: Desk) -> None:
        for _ in range(3):
            assert await desk.ask() == (JobState.QUEUED, 0)
            await asyncio.sleep(SOON_S)
        await desk.ask()
        await desk.claim()
        assert await desk.ask() == (JobState.RUNNING, 0)
        await desk.queue.cancel(TEAM, ENDPOINT, desk.job.id)
        for _ in range(3):
            assert await desk.ask() == (JobState.CANCELLED, 0)

    play(scene)


def test_a_server_that_stops_holds_nobody() -> None:
    """Once it stops answering, everybody is told what there is."""

    async def scene(desk: Desk) -> None:
        state, held_s = await desk.held_until(desk.close)
        assert state is JobState.QUEUED
        assert held_s == pytest.approx(HOLD_S / 4)
        assert await desk.ask() == (JobState.QUEUED, 0)

    play(scene)
