"""Who asks too much is told to wait: requests of a key at an endpoint, jobs that wait at one, large bodies on their way in.

Everything is counted in memory; nothing is written for a request. Several servers tell each other once a second what they admitted, so
together they keep to a rate but for what the others admit within that second; without that (`database_listen` off) each counts alone.
Workers are never asked about here: an error would make them ask again at once (protocol, worker protocol §5).
"""

from __future__ import annotations

import asyncio
import math
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from stoker.amounts import counted
from stoker.clock import Clock
from stoker.endpoint import Endpoint
from stoker.errors import TooMany
from stoker.ids import EndpointId, KeyId
from stoker.rate import WINDOW_S, Asked, Rate, admit, charge, interval_s
from stoker.store import Counts

TELL_EVERY_S: Final = 1.0
"""How often servers tell each other what they admitted."""
TELL_FROM_S: Final = WINDOW_S / 4
"""Only of buckets that are so far ahead: the others are far from refusing anything."""
BUCKETS_MOST: Final = 50_000
"""Beyond it those that are paid for are dropped; they would refuse nothing."""
BELIEVED_MS: Final = 1_000
"""How long the length of a queue is believed, with what was submitted here since."""

REFUSALS: Final = ("rate_limited", "queue_full", "too_many_uploads")
"""What is answered to who asks too much."""

Bucket = tuple[str, str, str]
"""Key, endpoint and what is asked."""
CountsOf = Callable[[EndpointId], Awaitable[Counts]]


class Throttle:
    """The counts of one server."""

    def __init__(
        self,
        clock: Clock,
        *,
        rates: Mapping[Asked, Rate] | None = None,
        queued_max: int = 0,
        uploads_max: int = 0,
        counts: CountsOf | None = None,
    ) -> None:
        """No `rates`, and a `queued_max` or `uploads_max` of 0, refuse nothing."""
        self._clock = clock
        self._intervals = {asked: rate.interval_s for asked, rate in (rates or {}).items()}
        self._queued_max = queued_max
        self._uploads_max = uploads_max
        self._counts = counts
        self._paid: dict[Bucket, float] = {}
        self._admitted: defaultdict[Bucket, float] | None = None
        """What it cost, since others were told; None while nobody has to be."""
        self._lengths: dict[EndpointId, list[int]] = {}
        """Of queues: until when it is believed, and how many wait."""
        self._uploads: Counter[KeyId] = Counter()
        self._told = 0
        self.refused: Counter[str] = Counter()
        """How often each code was answered, for metrics."""

    # ── requests ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def check(
        self,
        key: KeyId,
        endpoint: EndpointId,
        asked: Asked,
        *,
        endpoint_rate: int | None = None,
        key_rate: int | None = None,
    ) -> None:
        """Count a request. What the endpoint says goes before what the server says; the key's own rate can only be lower. Raises `TooMany`
        (`rate_limited`)."""
        cost_s = self._intervals.get(asked) if endpoint_rate is None else interval_s(endpoint_rate, asked)
        if key_rate is not None:
            cost_s = max(cost_s or 0.0, interval_s(key_rate, asked))
        if cost_s is None:
            return
        bucket = (key, endpoint, asked)
        before_s = self._paid.get(bucket, 0.0)
        paid_s, wait_s = admit(before_s, self._clock.now_ms() / 1000, cost_s)
        if wait_s:
            self._refuse_request(asked, cost_s, wait_s)
        self._paid[bucket] = paid_s
        if self._admitted is not None:
            self._admitted[bucket] += cost_s
        if not before_s and len(self._paid) > BUCKETS_MOST:
            self._forget_paid()

    def _refuse_request(self, asked: Asked, cost_s: float, wait_s: float) -> None:
        self.refused["rate_limited"] += 1
        raise TooMany(
            f"this key asks '{asked}' of this endpoint too often: at most {counted(round(WINDOW_S / cost_s), 'request')} in {WINDOW_S:g} s",
            code="rate_limited",
            retry_after_s=math.ceil(wait_s),
            next_step="wait as long as Retry-After says; wait for jobs with status-sync or a webhook instead of asking often",
        )

    def _forget_paid(self) -> None:
        now_s = self._clock.now_ms() / 1000
        self._paid = {bucket: paid_s for bucket, paid_s in self._paid.items() if paid_s > now_s}
        if len(self._paid) > BUCKETS_MOST:
            self._paid.clear()

    # ── several servers ───────────────────────────────────────────────────────────────────────────────────────────────

    async def share(self, tell: Callable[[str], None] | None) -> None:
        """Tell other servers, if there may be some, what was admitted here since the last call, and wait. To be called for ever."""
        await asyncio.sleep(TELL_EVERY_S)
        words = self.words()
        if tell is not None:
            for word in words:
                tell(word)

    def words(self) -> list[str]:
        """What other servers have to hear: see `heard`."""
        admitted: Mapping[Bucket, float] = self._admitted or {}
        self._admitted = defaultdict(float)
        from_s = self._clock.now_ms() / 1000 + TELL_FROM_S
        self._told += 1  # two words are never the same: equal ones that wait together are sent once
        return [
            f"admitted {' '.join(bucket)} {cost_s:.6g} {self._told}"
            for bucket, cost_s in admitted.items()
            if self._paid.get(bucket, 0.0) >= from_s
        ]

    def heard(self, text: str) -> None:
        """What another server admitted: key, endpoint, what was asked, what that cost in seconds, and a number."""
        key, endpoint, asked, cost_s, _ = text.split(" ")
        bucket = (key, endpoint, asked)
        now_s = self._clock.now_ms() / 1000
        self._paid[bucket] = charge(self._paid.get(bucket, 0.0), now_s, float(cost_s))
        if len(self._paid) > BUCKETS_MOST:
            self._forget_paid()

    # ── queues ────────────────────────────────────────────────────────────────────────────────────────────────────────

    async def check_queue(self, endpoint: Endpoint) -> None:
        """Raise `TooMany` (`queue_full`) when too many jobs wait there; how many is looked up once a second."""
        if not self._queued_max or self._counts is None:
            return
        now_ms = self._clock.now_ms()
        known = self._lengths.get(endpoint.id)
        if known is None or now_ms >= known[0]:
            if len(self._lengths) > BUCKETS_MOST:
                self._lengths.clear()
            known = self._lengths[endpoint.id] = [now_ms + BELIEVED_MS, (await self._counts(endpoint.id)).waiting]
        if known[1] >= self._queued_max:
            self.refused["queue_full"] += 1
            raise TooMany(
                f"{known[1]} jobs wait at {endpoint.name}; {self._queued_max} may",
                code="queue_full",
                retry_after_s=max(1, math.ceil(BELIEVED_MS / 1000)),
                next_step="submit again when some have begun, raise max_workers, or empty it: stoker queue purge",
            )
        known[1] += 1

    # ── uploads ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def begin_upload(self, key: KeyId) -> None:
        """A large body begins to come in; to be followed by `end_upload`. Raises `TooMany` (`too_many_uploads`)."""
        if self._uploads_max and self._uploads[key] >= self._uploads_max:
            self.refused["too_many_uploads"] += 1
            raise TooMany(
                f"this key sends {self._uploads[key]} large bodies at once; {self._uploads_max} are allowed",
                code="too_many_uploads",
                retry_after_s=1,
                next_step="send fewer at once, or upload large data to a bucket and pass its URL in the input",
            )
        self._uploads[key] += 1

    def end_upload(self, key: KeyId) -> None:
        """It is here, or will not come."""
        self._uploads[key] -= 1
        if not self._uploads[key]:
            del self._uploads[key]


__all__ = ["Throttle"]
