"""When the autoscaler looks at an endpoint: at once after a quiet time, seldom under load."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable
from functools import partial

import pytest

from stoker.endpoint import Endpoint
from stoker.fleet import Fleet, FleetTerms
from stoker.ids import EndpointId
from stoker.loops.autoscaler import PAUSE_S, REST_MOST_S, RESTS, Autoscaler, rest_s
from stoker.runtimes.fake import FakeRuntime, FakeWorker
from stoker.scaling import Snapshot
from stoker.signals import Signals
from stoker.store.sqlite import MEMORY, SqliteStore
from stoker.store.sqlite.connection import connect
from stoker.store.sqlite.transaction import Session, read
from stoker.store.sqlite.writer import Inline
from tests.simulation.loop import SimulatedLoop
from tests.store.records import ENDPOINT, OTHER_ENDPOINT, furnish

pytestmark = pytest.mark.allow_blocking("the simulated loop runs the store inline")

LOOK_S = 0.04
TERMS = FleetTerms(
    worker_url="http://127.0.0.1",
    ping_interval_ms=1_000,
    lease_s=10,
    cancel_grace_s=10,
    stop_grace_s=10,
    start_timeout_s=10,
    gone_workers_kept_s=60,
)


class LoopClock:
    """Tells the time of the event loop."""

    def now_ms(self) -> int:
        """Milliseconds since it began."""
        return int(1000 * asyncio.get_running_loop().time())


async def _no_program(_worker: FakeWorker) -> int:
    raise AssertionError("no endpoint here wants workers")


class SlowFleet(Fleet):
    """To look at an endpoint takes `LOOK_S`; when that began is written down."""

    looks: defaultdict[EndpointId, list[float]]

    async def snapshot(self, endpoint: Endpoint) -> Snapshot:
        """Look slowly."""
        self.looks[endpoint.id].append(asyncio.get_running_loop().time())
        await asyncio.sleep(LOOK_S)
        return await super().snapshot(endpoint)


def a_store() -> SqliteStore:
    """In memory, without threads: the time of this loop waits for none."""
    session = Session(connect(MEMORY))
    reading = Inline(session.connection, partial(read, session.connection))
    return SqliteStore(Inline(session.connection, session.write), reading, reading, session.known)


def looks_at(story: Callable[[Signals], Awaitable[None]]) -> dict[EndpointId, list[float]]:
    """When which endpoint was looked at while the story went on, in seconds."""

    async def run() -> dict[EndpointId, list[float]]:
        store = a_store()
        await furnish(store)
        signals, clock = Signals(), LoopClock()
        fleet = SlowFleet(store, clock, signals, FakeRuntime(_no_program), TERMS)
        fleet.looks = defaultdict(list)
        loop = asyncio.create_task(Autoscaler(store, clock, signals, fleet).run())
        await story(signals)
        loop.cancel()
        await store.close()
        return fleet.looks

    with asyncio.Runner(loop_factory=SimulatedLoop) as runner:
        return runner.run(run())


async def busy(signals: Signals) -> None:
    """Two seconds in which something happens to one endpoint all the time, and to the other once."""
    for step in range(200):
        signals.scale(ENDPOINT)
        if step == 100:
            signals.scale(OTHER_ENDPOINT)
        await asyncio.sleep(0.01)


def test_seldom_under_load() -> None:
    """To look at an endpoint to which something happens all the time takes a tenth of the time; it is looked at all the same."""
    looks = looks_at(busy)[ENDPOINT]
    assert len(looks) * LOOK_S == pytest.approx(0.2, abs=LOOK_S)


def test_rest_of_one_endpoint_is_not_that_of_others() -> None:
    """What happens to an endpoint after a quiet time is looked at at once, however busy others are."""
    first, *_, last = looks_at(busy)[OTHER_ENDPOINT]
    assert first < 0.1  # the look at all endpoints with which the loop begins
    assert 1.0 <= last < 1.0 + PAUSE_S + LOOK_S


@pytest.mark.parametrize(
    ("took_s", "rests_s"), [(0.001, 0.0), (PAUSE_S / RESTS, 0.0), (0.02, 0.18), (60.0, REST_MOST_S)]
)
def test_rest(took_s: float, rests_s: float) -> None:
    """A short look costs no rest, a long one a multiple of itself, none more than a moment."""
    assert rest_s(took_s) == pytest.approx(rests_s)
