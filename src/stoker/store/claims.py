"""A worker's take: who asks, how many it may hold, and which jobs it is given.

What must stay true: a job is delivered ahead only behind one that the worker begins at once, and the turns come in the order of
the answer. The cost does not depend on how many jobs wait. A take looks at the head of the queue only; when it finds
nothing there but jobs that were over, it looks again, further (`Taken.again`).
"""

from __future__ import annotations

import math
from typing import Final

import msgspec
from msgspec.structs import replace

from stoker import worker as workers
from stoker.ids import EndpointId, WorkerId
from stoker.job import QUEUED, AttemptLost, Claimed, DeliveredAhead, Job, JobReason
from stoker.store import Claim, Claims
from stoker.store.image import AHEAD_BYTES, Head, Image, Needs, StoredWorker
from stoker.store.signs import clear_stops
from stoker.store.transitions import advance_job, find_worker, held_by, save_worker
from stoker.worker import READY, Took

LOOK_MOST: Final = 1_000
"""Jobs beyond those it may have that one transaction looks at for a take."""


class Taken(msgspec.Struct, frozen=True, gc=False):
    """What one look brought."""

    claims: Claims
    again: bool = False
    """Whether jobs may wait that it did not see."""


class Take(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One look of `JobRows.claim`."""

    worker: WorkerId
    limit: int
    at_ms: int
    lease_ms: int
    sdk: str
    lost_before_ms: int | None
    ahead: int = 0
    """How many more it may have, to wait there for their turn."""
    look: int = 0
    """How many more jobs to look at than it may have."""

    def further(self) -> Take:
        """The take that follows one which saw nothing but jobs that were over."""
        return replace(self, lost_before_ms=None, look=min(LOOK_MOST, 4 * self.look + 8))

    def need(self, needs: Needs) -> None:
        """The worker and the head of its endpoint's queue."""
        needs.workers.add(self.worker)
        needs.takes.append(self)
        if self.lost_before_ms is not None:
            needs.held_by.add(self.worker)

    def decide(self, image: Image) -> Taken:
        """Register the take and hand out what the worker may have. Raises `NotFound`."""
        stored = find_worker(image, self.worker)
        ready_now = self._register(image, stored)
        if self.lost_before_ms is not None and stored.busy:
            lost = self._settle(image, self.lost_before_ms)
            if lost:  # they wait again, some of them before the head that was loaded
                return Taken(Claims(worker=stored.worker, lost=lost, ready_now=ready_now), again=True)
        takes = stored.worker.takes_jobs
        full = takes and stored.free <= 0
        claims, again = self._hand_out(image, stored) if takes and not full else ([], False)
        return Taken(Claims(worker=stored.worker, claims=claims, ready_now=ready_now, full=full), again)

    def _register(self, image: Image, stored: StoredWorker) -> bool:
        """Note that the worker asked; whether it was the first time."""
        before = stored.worker
        if before.state is READY and workers.took_lately(before, self.at_ms):
            return False
        save_worker(image, before, workers.advance(before, Took(at_ms=self.at_ms, sdk=self.sdk)).worker)
        return stored.worker.state is READY and before.state is not READY

    def _settle(self, image: Image, before_ms: int) -> list[Job]:
        """The worker says that it holds nothing: what it was given before, and did not finish, is lost."""
        lost = []
        event = AttemptLost(at_ms=self.at_ms, worker=self.worker, reason=JobReason.RESULT_MISSING)
        for stored in held_by(image, self.worker):
            if stored.job.claimed_ms is not None and stored.job.claimed_ms < before_ms:
                lost.append(advance_job(image, stored, event).job)
        clear_stops(image, self.worker, before_ms, self.at_ms)
        return lost

    def _hand_out(self, image: Image, stored: StoredWorker) -> tuple[list[Claim], bool]:
        """Up to `limit` jobs to begin, and up to `ahead` behind them; and whether more may wait behind jobs that were none
        any more."""
        endpoint = stored.worker.endpoint
        if not image.heads.get(endpoint):
            return [], False
        lease_until_ms = None if stored.worker.pinged_ms is None else self.at_ms + self.lease_ms
        begun = Claimed(at_ms=self.at_ms, worker=self.worker, lease_until_ms=lease_until_ms)
        missed: list[Head] = []
        claims = self._give(image, endpoint, min(self.limit, stored.free), begun, missed)
        if claims and self.ahead:
            later = DeliveredAhead(at_ms=self.at_ms, worker=self.worker, lease_until_ms=lease_until_ms)
            most = min(self.ahead, image.spare[endpoint])
            room = AHEAD_BYTES - sum(len(claim.input) for claim in claims)
            more = self._give(image, endpoint, most, later, missed, room=room)
            image.spare[endpoint] -= len(more)
            claims += more
        if claims and stored.worker.idle_ms is not None:  # with its first job it was touched
            stored.worker = workers.awake(stored.worker, self.at_ms)
        return claims, bool(missed) and not claims

    def _give(
        self,
        image: Image,
        endpoint: EndpointId,
        limit: int,
        event: Claimed | DeliveredAhead,
        missed: list[Head],
        *,
        room: float = math.inf,
    ) -> list[Claim]:
        """Jobs from the head of the queue, with inputs of at most `room` bytes; those that were none any more are `missed`."""
        head = image.heads[endpoint]
        stops = image.stops.get(self.worker, ())
        claims: list[Claim] = []
        passed = []
        while head and len(claims) < limit and len(head[0].input) <= room:
            first = head.pop(0)
            if first.job in stops:  # the stop would hit it
                passed.append(first)
                continue
            waiting = image.jobs[first.job]
            job = waiting.job
            if job.state is QUEUED:  # nobody cancelled it in this very transaction
                job = advance_job(image, waiting, event).job
            if job.state.final or job.worker != self.worker:
                missed.append(first)
                continue
            claims.append(Claim(job=job, input=first.input, s3_config=first.s3_config))
            room -= len(first.input)
        head[:0] = passed
        return claims
