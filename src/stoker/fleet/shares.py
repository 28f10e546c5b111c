"""Shares: what of a full machine each endpoint may have, worked out from what is stored (`sharing.share`).

Called for each look at an endpoint, and again for each launch: a plan counts on the room that is left for it, and a worker is placed
where nothing is kept for others. While nobody waits nothing is worked out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from stoker.clock import Clock
from stoker.endpoint import Endpoint, Release
from stoker.fleet.facts import Facts
from stoker.fleet.shortages import Shortages
from stoker.ids import EndpointId
from stoker.inventory import Inventory
from stoker.machine import Machine
from stoker.scaling import decide, missing
from stoker.sharing import LOOKS_BACK_S, Claimant, Share, share
from stoker.store import Store
from stoker.worker import Worker

TRUST_MS: Final = 1_000
"""How long it is believed who waits for what; workers are looked at anew each time."""
WAITING_MOST: Final = 64
"""So many endpoints whose jobs wait longest take part; others wait until it is their turn to."""


class Shares:
    """Who may have what."""

    def __init__(self, store: Store, clock: Clock, machine: Machine, facts: Facts, shortages: Shortages) -> None:
        self._store = store
        self._clock = clock
        self._machine = machine
        self._facts = facts
        self._shortages = shortages
        self._waiting: tuple[int, Sequence[EndpointId]] = (0, ())
        self._claimants: tuple[int, Sequence[Claimant]] = (0, ())

    async def inventory(self, endpoint: Endpoint, release: Release) -> Inventory:
        """The machine as this endpoint may use it. Raises `Unavailable` as `Machine.inventory` does."""
        return (await self.of(endpoint, release))[0]

    async def of(self, endpoint: Endpoint, release: Release) -> tuple[Inventory, Share]:
        """The same, with what others are to have. Raises `Unavailable` as `Machine.inventory` does."""
        inventory = await self._machine.inventory(gpus=release.gpus_per_worker > 0)
        mine = await self._mine(endpoint, release, inventory)
        short = await self._shortages.of(endpoint, release, inventory)
        return replace(inventory, kept=mine.kept, short=short), mine

    async def _mine(self, endpoint: Endpoint, release: Release, inventory: Inventory) -> Share:
        """What the endpoint may have while others wait too."""
        if not await self._contested(endpoint, release, inventory):
            return Share()
        now_ms = self._clock.now_ms()
        workers = await self._store.workers.since(now_ms - LOOKS_BACK_S * 1000)
        shares = share(now_ms, await self._who(endpoint, workers, inventory), workers, inventory)
        return shares.get(endpoint.id, Share())

    async def _contested(self, endpoint: Endpoint, release: Release, inventory: Inventory) -> bool:
        """Whether others wait, or this one does and there is no room."""
        rooms = [room.workers for room in inventory.rooms(release)]
        if rooms and all(room is None for room in rooms):
            return False  # nothing is ever full
        now_ms = self._clock.now_ms()
        if not 0 <= now_ms - self._waiting[0] < TRUST_MS:
            self._waiting = (now_ms, await self._store.jobs.waiting(WAITING_MOST))
        waiting = self._waiting[1]
        return any(one != endpoint.id for one in waiting) or (bool(waiting) and all(room == 0 for room in rooms))

    async def _who(self, endpoint: Endpoint, workers: Sequence[Worker], inventory: Inventory) -> Sequence[Claimant]:
        """Everybody who waits or has a worker."""
        now_ms = self._clock.now_ms()
        known = {one.endpoint: one for one in self._claimants[1]}
        there = {worker.endpoint for worker in workers if worker.alive} | {*self._waiting[1], endpoint.id}
        if not 0 <= now_ms - self._claimants[0] < TRUST_MS:
            self._claimants, known = (now_ms, ()), {}
        for name in sorted(there - known.keys()):
            one = await self._claimant(name, inventory)
            if one is not None:
                known[name] = one
        self._claimants = (self._claimants[0], tuple(known.values()))
        return self._claimants[1]

    async def _claimant(self, name: EndpointId, inventory: Inventory) -> Claimant | None:
        endpoint = await self._store.endpoints.get(name)
        if endpoint is None:
            return None
        release = await self._facts.release(endpoint)
        facts = await self._facts.snapshot(endpoint)
        return Claimant(
            endpoint=name,
            weight=endpoint.weight,
            gpus=release.gpus_per_worker,
            choices=tuple(one.id for one in inventory.choices(release)),
            wanted=decide(facts).wanted,
            missing=missing(facts),
            waiting_ms=facts.oldest_queued_ms,
        )
