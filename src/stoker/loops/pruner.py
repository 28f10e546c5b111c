"""The pruner: forgets results whose retention has ended, workers that went long ago, what was told of endpoints before that, and old lines
of the audit log. What it forgot is in the log and in the metrics."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final

import structlog

from stoker.clock import Clock
from stoker.fleet import Fleet
from stoker.images import Images
from stoker.loops import keep_going, nobody
from stoker.metering import DAY_MS
from stoker.store import Store

log = structlog.get_logger()

EVERY_S = 10.0
BATCH = 1_000
"""Rows removed at once: small enough not to hold up the writer."""
FORGOTTEN: Final = ("jobs", "workers", "events", "audit")
"""What is forgotten, in words."""


def nobody_counts(_what: str, _count: int) -> None:
    """Hears it."""


class Pruner:
    """The loop. `forgot` hears how many of what were forgotten."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        fleet: Fleet,
        images: Images | None = None,
        *,
        audit_kept_days: int = 0,
        ended: Callable[[str], None] = nobody,
        forgot: Callable[[str, int], None] = nobody_counts,
    ) -> None:
        """`audit_kept_days` 0 keeps the audit log for ever."""
        self._ended = ended
        self._forgot = forgot
        self._store = store
        self._clock = clock
        self._fleet = fleet
        self._images = images
        self._audit_kept_ms = audit_kept_days * DAY_MS

    async def run(self) -> None:
        """Until cancelled."""
        await keep_going("pruner", self._round, ended=self._ended)

    async def _round(self) -> None:
        await self.look()
        if self._images is not None:
            await self._images.collect()
        await asyncio.sleep(EVERY_S)

    async def look(self) -> dict[str, int]:
        """Forget what is due; how many of what."""
        store, watch = self._store, self._fleet.watch
        counts = {
            "jobs": await _all(lambda: store.jobs.prune(self._clock.now_ms(), BATCH)),
            "workers": await watch.forget_gone(BATCH),
            "events": await _all(partial(watch.forget_told, BATCH)),
            "audit": await _all(self._forget_audit),
        }
        for what, count in counts.items():
            self._forgot(what, count)
        if any(counts.values()):
            log.info("forgotten", **{what: count for what, count in counts.items() if count})
        return counts

    async def _forget_audit(self) -> int:
        if not self._audit_kept_ms:
            return 0
        return await self._store.audit.forget(self._clock.now_ms() - self._audit_kept_ms, BATCH)


async def _all(forget: Callable[[], Awaitable[int]]) -> int:
    """Batch by batch: the store is free for others between two."""
    total = 0
    while True:
        count = await forget()
        total += count
        if count < BATCH:
            return total
