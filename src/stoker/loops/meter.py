"""The meter: writes into the ledger of usage what workers and volumes were used for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from stoker.budgets import Budgets
from stoker.clock import Clock
from stoker.loops import keep_going, nobody
from stoker.specification import MICROS
from stoker.store import Store

EVERY_S: Final = 10.0
"""How far the ledger is behind. A worker's row keeps what happened since, so nothing is lost if it is further."""
WITH_BUDGETS_EVERY_S: Final = 1.0
"""The same while there are budgets: for so long a worker may be idle that is to go."""
BATCH: Final = 256
"""Meters that are read at once: they share a transaction."""


class MeterReader:
    """The loop."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        budgets: Budgets,
        *,
        storage_price: float,
        ended: Callable[[str], None] = nobody,
    ) -> None:
        self._store = store
        self._clock = clock
        self._budgets = budgets
        self._storage_micros = round(storage_price * MICROS)
        self._ended = ended

    async def run(self) -> None:
        """Until cancelled."""
        await keep_going("meter", self._round, ended=self._ended)

    async def _round(self) -> None:
        await asyncio.sleep(WITH_BUDGETS_EVERY_S if await self.look() else EVERY_S)

    async def look(self) -> bool:
        """Read every meter and count what is spent; whether there are budgets."""
        store, now_ms = self._store, self._clock.now_ms()
        workers = await store.workers.unmetered()
        for start in range(0, len(workers), BATCH):
            await asyncio.gather(
                *(store.workers.read_meter(worker, now_ms) for worker in workers[start : start + BATCH])
            )
        await store.usage.meter_volumes(now_ms, self._storage_micros)
        return await self._budgets.count(now_ms)


__all__ = ["MeterReader"]
