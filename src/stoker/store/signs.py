"""Pings and stops: which of its jobs a worker still has, and what it was told to let go.

A worker that lets go of its last stop, and runs nothing, is idle from then on.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from stoker.ids import JobId, WorkerId
from stoker.job import Confirmed
from stoker.store.image import Image, Needs
from stoker.store.transitions import advance_job, rest, running_on

SETTLED_MS: Final = 2_000
"""A ping may have left the worker this long before it is read: younger stops may not have reached it then."""


class Confirm(msgspec.Struct, frozen=True, gc=False):
    """See `JobRows.confirm`."""

    worker: WorkerId
    jobs: Sequence[JobId] | None
    at_ms: int
    lease_ms: int

    def need(self, needs: Needs) -> None:
        """What the worker holds."""
        needs.workers.add(self.worker)
        needs.running_of.add(self.worker)

    def decide(self, image: Image) -> None:
        """Renew leases of what the worker has; what it was told to stop and does not name, it has let go."""
        event = Confirmed(at_ms=self.at_ms, worker=self.worker, lease_until_ms=self.at_ms + self.lease_ms)
        named = None if self.jobs is None else frozenset(self.jobs)
        for stored in running_on(image, self.worker):
            if named is None or stored.job.id in named:
                advance_job(image, stored, event)
        if named is not None:
            clear_stops(image, self.worker, self.at_ms - SETTLED_MS, self.at_ms, still=named)


class MarkTold(msgspec.Struct, frozen=True, gc=False):
    """See `JobRows.mark_told`."""

    worker: WorkerId
    jobs: Sequence[JobId]
    at_ms: int

    def need(self, needs: Needs) -> None:
        """What the worker was told to stop."""
        needs.workers.add(self.worker)

    def decide(self, image: Image) -> None:
        """Those that it has not let go meanwhile."""
        for job in self.jobs:
            stop = image.stops[self.worker].get(job)
            if stop is not None:
                image.mark_told(stop, self.at_ms)


def clear_stops(
    image: Image, worker: WorkerId, asked_before_ms: int, at_ms: int, *, still: frozenset[JobId] = frozenset()
) -> None:
    """The worker has let go of what it was told to stop before that moment, but for what it `still` has."""
    told = image.stops[worker].values()
    gone = [stop.job for stop in told if stop.asked_ms < asked_before_ms and stop.job not in still]
    for job in gone:
        image.let_go(worker, job)
    if gone:
        rest(image, worker, at_ms)
