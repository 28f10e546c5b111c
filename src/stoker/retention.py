"""Retention: what was kept long enough goes, and what is more than may be kept; the oldest first.

Called by the pruner. By age: finished jobs, lines of the audit log, entries of the ledger of usage (workers and what was told of endpoints are
the fleet's matter). By size: finished jobs, lines about endpoints, of the audit log, and entries of usage; of a SQLite database finished jobs also
while too much of it is in use. What must stay true: a job that has not ended never goes, nor an entry of the month that budgets count.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Final

from stoker.budget import Span, begins_ms
from stoker.clock import Clock
from stoker.metering import DAY_MS, HOUR_MS
from stoker.store import Store

BATCH: Final = 1_000
"""Rows removed at once: small enough not to hold up the writer."""
BYTES_BATCH: Final = 100
"""Finished jobs removed at once while a database is too large: each may be megabytes."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Kept:
    """What is kept for how long, and how much of it; 0 is without end."""

    audit_days: int = 0
    usage_days: int = 0
    jobs: int = 0
    """Finished ones."""
    events: int = 0
    """Lines about endpoints."""
    audit: int = 0
    """Lines."""
    usage: int = 0
    """Entries: one for each hour and whatever is told apart in it."""
    database_bytes: int = 0
    """In use, of a SQLite database."""


class Retention:
    """Operations that forget. Each says how many of what."""

    def __init__(self, store: Store, clock: Clock, kept: Kept) -> None:
        self._store = store
        self._clock = clock
        self._kept = kept

    async def forget_old(self) -> Mapping[str, int]:
        """What was kept long enough."""
        store, now_ms = self._store, self._clock.now_ms()
        audit_ms, usage_ms = (now_ms - days * DAY_MS for days in (self._kept.audit_days, self._kept.usage_days))
        return {
            "jobs": await batches(lambda: store.jobs.prune(self._clock.now_ms(), BATCH)),
            "audit": await batches(partial(store.audit.forget, audit_ms, BATCH)) if self._kept.audit_days else 0,
            "usage": await store.usage.forget(_but_bills(usage_ms, now_ms)) if self._kept.usage_days else 0,
        }

    async def forget_beyond(self) -> Mapping[str, int]:
        """What is more than may be kept."""
        store, sizes, kept, now_ms = self._store, self._store.sizes, self._kept, self._clock.now_ms()
        jobs = await _beyond(kept.jobs, sizes.jobs, partial(store.jobs.prune_early, now_ms))
        return {
            "jobs": jobs + await self._jobs_beyond_bytes(now_ms),
            "events": await _beyond(kept.events, sizes.events, partial(store.ledger.prune, now_ms)),
            "audit": await _beyond(kept.audit, sizes.audit, partial(store.audit.forget, now_ms)),
            "usage": await self._usage_beyond(now_ms),
        }

    async def _jobs_beyond_bytes(self, now_ms: int) -> int:
        total, forgotten = 0, BYTES_BATCH
        while self._kept.database_bytes and forgotten == BYTES_BATCH:
            used_bytes = await self._store.used_bytes()
            if used_bytes is None or used_bytes <= self._kept.database_bytes:
                break
            forgotten = await self._store.jobs.prune_early(now_ms, BYTES_BATCH)
            total += forgotten
        return total

    async def _usage_beyond(self, now_ms: int) -> int:
        hour_ms = await self._store.usage.hour_beyond(self._kept.usage) if self._kept.usage else None
        return 0 if hour_ms is None else await self._store.usage.forget(_but_bills(hour_ms + HOUR_MS, now_ms))


def _but_bills(before_ms: int, now_ms: int) -> int:
    """The moment, or the beginning of the month that budgets count if that is earlier."""
    return min(before_ms, begins_ms(Span.MONTH, now_ms))


async def _beyond(most: int, count: Callable[[int], Awaitable[int]], forget: Callable[[int], Awaitable[int]]) -> int:
    """Forget what is beyond the most, which is without end when it is 0, batch by batch; how many went."""
    total, forgotten = 0, BATCH
    while most and forgotten == BATCH:
        beyond = await count(most + BATCH) - most
        forgotten = await forget(beyond) if beyond > 0 else 0
        total += forgotten
    return total


async def batches(forget: Callable[[], Awaitable[int]]) -> int:
    """Batch by batch, as long as one is full: the store is free for others between two. How many went."""
    total, forgotten = 0, BATCH
    while forgotten == BATCH:
        forgotten = await forget()
        total += forgotten
    return total


__all__ = ["BATCH", "Kept", "Retention", "batches"]
