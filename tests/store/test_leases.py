"""What servers need that share a database: named leases, waking, and how far their clocks are apart."""

from __future__ import annotations

import asyncio

import pytest

from stoker.clock import SystemClock
from stoker.store import Store
from tests.store.records import NOW


async def hold(store: Store, holder: str, *, at_ms: int = NOW, name: str = "loop") -> bool:
    """Ask for the lease, for a second."""
    return await store.leases.hold(name, holder, at_ms=at_ms, until_ms=at_ms + 1_000)


async def test_one_holder_at_a_time(store: Store) -> None:
    """A lease that somebody holds is not given to another."""
    assert await hold(store, "one")
    assert not await hold(store, "two", at_ms=NOW + 999)
    assert await hold(store, "two", name="other")


async def test_a_holder_renews(store: Store) -> None:
    """Who holds a lease can hold it longer."""
    await hold(store, "one")
    assert await hold(store, "one", at_ms=NOW + 500)
    assert not await hold(store, "two", at_ms=NOW + 1_400)


async def test_it_runs_out(store: Store) -> None:
    """At its end a lease is free; who held it must ask like everybody else."""
    await hold(store, "one")
    assert await hold(store, "two", at_ms=NOW + 1_000)
    assert not await hold(store, "one", at_ms=NOW + 1_001)


async def test_release(store: Store) -> None:
    """A lease that was given back is free; what another holds cannot be given back."""
    await hold(store, "one")
    await store.leases.release("loop", "two")
    assert not await hold(store, "two")
    await store.leases.release("loop", "one")
    assert await hold(store, "two")


async def test_holders(store: Store) -> None:
    """Those whose names begin so, and that have not run out."""
    for name, at_ms in (("a/1", NOW), ("a/2", NOW - 1_000), ("a_3", NOW), ("b/1", NOW)):
        await hold(store, f"holder of {name}", at_ms=at_ms, name=name)
    assert await store.leases.holders("a/", NOW) == {"a/1": "holder of a/1"}
    assert len(await store.leases.holders("", NOW - 1)) == 4


async def test_a_race_has_one_winner(store: Store) -> None:
    """Of many that ask at once one holds it."""
    assert sum(await asyncio.gather(*(hold(store, f"server {number}") for number in range(10)))) == 1


async def test_own_words_are_not_heard(store: Store) -> None:
    """Waking speaks to others: what a server says it does not hear, on no database."""
    heard: list[str] = []
    await store.wakes.listen(heard.extend)
    await store.wakes.send(["jobs of a", "jobs of b"])
    assert heard == []


@pytest.mark.parametrize("ahead_ms", [0, 60_000, -60_000])
async def test_skew(store: Store, ahead_ms: int) -> None:
    """A clock that is ahead of the database's by a minute is told so; a file has the clock of its machine."""
    skew_ms = await store.skew_ms(SystemClock().now_ms() + ahead_ms)
    assert skew_ms == 0 or abs(skew_ms - ahead_ms) < 30_000
