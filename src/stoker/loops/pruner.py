"""The pruner: forgets what was kept long enough, and what is more than may be kept. What it forgot, and why, is in the log and in the metrics."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from functools import partial
from typing import Final

import structlog

from stoker.clock import Clock
from stoker.fleet import Fleet
from stoker.images import Images
from stoker.loops import keep_going, nobody
from stoker.retention import BATCH, Kept, Retention, batches
from stoker.store import Store

log = structlog.get_logger()

EVERY_S: Final = 10.0
SIZES_EVERY_MS: Final = 60_000
"""How often it is counted how much there is."""


def nobody_counts(_what: str, _why: str, _count: int) -> None:
    """Hears it."""


class Pruner:
    """The loop. `forgot` hears how many of what were forgotten, and why: for their `age` or the `size` of all."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        fleet: Fleet,
        images: Images | None = None,
        *,
        kept: Kept | None = None,
        ended: Callable[[str], None] = nobody,
        forgot: Callable[[str, str, int], None] = nobody_counts,
    ) -> None:
        self._ended = ended
        self._forgot = forgot
        self._clock = clock
        self._fleet = fleet
        self._images = images
        self._retention = Retention(store, clock, kept or Kept())
        self._sizes_ms = 0
        """When to count again."""

    async def run(self) -> None:
        """Until cancelled."""
        await keep_going("pruner", self._round, ended=self._ended)

    async def _round(self) -> None:
        watch = self._fleet.watch
        old = await self._retention.forget_old()
        workers = await watch.forget_gone(BATCH)
        events = await batches(partial(watch.forget_told, BATCH))
        self._tell("age", {**old, "workers": workers, "events": events})
        if self._clock.now_ms() >= self._sizes_ms:
            self._sizes_ms = self._clock.now_ms() + SIZES_EVERY_MS
            self._tell("size", await self._retention.forget_beyond())
        if self._images is not None:
            await self._images.collect()
        await asyncio.sleep(EVERY_S)

    def _tell(self, why: str, counts: Mapping[str, int]) -> None:
        for what, count in counts.items():
            self._forgot(what, why, count)
        if any(counts.values()):
            log.info("forgotten", why=why, **{what: count for what, count in counts.items() if count})


__all__ = ["Pruner"]
