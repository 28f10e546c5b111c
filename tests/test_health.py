"""Whether a server is ready, and why not."""

from __future__ import annotations

from pathlib import Path

from stoker.clock import ManualClock
from stoker.headroom import Headroom
from stoker.health import Check, Pulse, status
from stoker.metrics import Metrics, exposition
from stoker.store.sqlite import MEMORY, SqliteStore

NOW = 1_700_000_000_000


def check(*, ok: bool, needed: bool = True) -> Check:
    return Check(name="one", ok=ok, text="words", needed=needed)


def test_status() -> None:
    """What is needed and fails makes it not ready; what is not needed makes it degraded at most."""
    assert status([check(ok=True), check(ok=True, needed=False)]) == "ready"
    assert status([check(ok=True), check(ok=False, needed=False)]) == "degraded"
    assert status([check(ok=False), check(ok=False, needed=False)]) == "not ready"


async def test_pulse_of_a_store() -> None:
    """A database that answers is ready; whether any server runs the loops is told with it."""
    store, metrics = await SqliteStore.open(MEMORY), Metrics()
    pulse = Pulse(store, ManualClock(NOW), metrics)
    await pulse.ask()
    assert (pulse.store.ok, pulse.loops.ok, pulse.loops.needed) == (True, False, False)
    await store.leases.hold("loops", "somebody", at_ms=NOW, until_ms=NOW + 1000)
    await pulse.ask()
    assert pulse.loops.ok
    assert "stoker_store_read_seconds_count 2" in exposition(metrics.all())
    await store.close()


async def test_pulse_without_a_store() -> None:
    """A database that does not answer is told by a code, without names of machines, and counted; it is noticed when it is back."""
    store, metrics = await SqliteStore.open(MEMORY), Metrics()
    pulse = Pulse(store, ManualClock(NOW), metrics)
    await store.close()
    await pulse.ask()
    assert (pulse.store.ok, pulse.store.needed) == (False, True)
    assert pulse.store.text.endswith("store_closed")
    assert "stoker_store_failures_total 1" in exposition(metrics.all())


def test_room_on_the_disk(tmp_path: Path) -> None:
    """Nobody has looked yet, or nobody has to: there is room."""
    assert Headroom(tmp_path, least_bytes=0).health().ok
    assert Headroom(tmp_path, least_bytes=1 << 62).health().ok
