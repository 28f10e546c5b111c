"""The pruner: forgets results whose retention has ended, workers that went long ago, and what was told of endpoints before that."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from stoker.clock import Clock
from stoker.fleet import Fleet
from stoker.images import Images
from stoker.loops import keep_going, nobody
from stoker.store import Store

EVERY_S = 10.0
BATCH = 1_000
"""Rows removed at once: small enough not to hold up the writer."""


class Pruner:
    """The loop."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        fleet: Fleet,
        images: Images | None = None,
        *,
        ended: Callable[[str], None] = nobody,
    ) -> None:
        self._ended = ended
        self._store = store
        self._clock = clock
        self._fleet = fleet
        self._images = images

    async def run(self) -> None:
        """Until cancelled."""
        await keep_going("pruner", self._round, ended=self._ended)

    async def _round(self) -> None:
        while await self._store.jobs.prune(self._clock.now_ms(), BATCH) == BATCH:
            pass  # the store is free for others between two batches
        await self._fleet.watch.forget_gone(BATCH)
        while await self._fleet.watch.forget_told(BATCH) == BATCH:
            pass
        if self._images is not None:
            await self._images.collect()
        await asyncio.sleep(EVERY_S)
