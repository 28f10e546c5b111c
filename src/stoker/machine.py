"""The machine: its specifications, and the inventory of who holds what.

Called by the fleet before a launch, by the catalog before an endpoint is stored, and by users who look at what there is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from stoker.clock import Clock
from stoker.errors import Unavailable
from stoker.inventory import Inventory, inventory_of
from stoker.runtimes import Runtime
from stoker.specification import Capacity, Device, Specification, specification_of
from stoker.store import Store
from stoker.worker import Worker

TRUST_MS: Final = 1_000
"""How long what the runtime said it has is believed: a launch asks right after the decision did."""


class Machine:
    """What the runtime offers, under the names that the settings declare."""

    def __init__(self, store: Store, clock: Clock, runtime: Runtime, declared: Sequence[Specification] = ()) -> None:
        self._store = store
        self._clock = clock
        self._runtime = runtime
        self._declared = tuple(declared)
        self._told: tuple[int, Capacity] | None = None

    async def inventory(self, *, gpus: bool = True) -> Inventory:
        """What there is and what living workers hold.

        Raises `Unavailable` when the runtime cannot tell; not for those who need no `gpus`: the CPU is there whatever the driver
        says.
        """
        try:
            capacity = await self._capacity()
        except Unavailable:
            if gpus:
                raise
            capacity = Capacity(known=False)
        counts = capacity.known or any(one.slots is not None for one in self._declared)
        held = await self._store.workers.alive() if counts else ()
        return inventory_of(capacity, self._declared, (one.worker.place for one in held))

    async def devices(self) -> Sequence[tuple[Device, Specification, Worker | None]]:
        """Each GPU, what kind of place it is, and who holds it. Raises `Unavailable`."""
        capacity = await self._capacity()
        held = await self._store.workers.alive()
        holders = {gpu: one.worker for one in held for gpu in one.worker.gpus}
        return [(one, specification_of(one, self._declared), holders.get(one.id)) for one in capacity.devices]

    async def _capacity(self) -> Capacity:
        if self._told is None or not 0 <= self._clock.now_ms() - self._told[0] < TRUST_MS:
            capacity = await self._runtime.capacity()
            self._told = (self._clock.now_ms(), capacity)
        return self._told[1]
