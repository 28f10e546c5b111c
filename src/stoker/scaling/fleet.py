"""The workers to count on, how many the load asks for, and who of several goes first."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from stoker.endpoint import PolicyType
from stoker.scaling.views import Snapshot, WorkerView


@dataclass(frozen=True, kw_only=True, slots=True)
class Fleet:
    """The workers to count on: those of the present release that take jobs now (ready) or will (starting), and while they are
    replaced those of an old one that are ready."""

    new: tuple[WorkerView, ...]
    old: tuple[WorkerView, ...]
    starting: int
    busy: int
    """How many hold a job; old ones that finish are counted as long as they are there, so that draining them changes nothing."""
    held: int
    """Jobs that these hold."""
    size: int
    """How many there are when of an old worker and its successor one is counted."""
    free_slots: int
    """Jobs that new ones could take besides; a starting worker brings all of its slots."""

    @property
    def serving(self) -> tuple[WorkerView, ...]:
        """All of them."""
        return self.new + self.old


def count_fleet(snapshot: Snapshot) -> Fleet:
    """Those of the snapshot."""
    new = tuple(worker for worker in snapshot.workers if worker.current and worker.serves)
    outdated = [worker for worker in snapshot.workers if not worker.current and worker.finishes and snapshot.max_surge]
    return Fleet(
        new=new,
        old=tuple(worker for worker in outdated if worker.started),
        starting=sum(not worker.started for worker in new),
        busy=sum(worker.held > 0 for worker in (*new, *outdated)),
        held=sum(worker.held for worker in (*new, *outdated)),
        size=max(len(new), len(outdated)),
        free_slots=sum(snapshot.free_slots(worker) for worker in new),
    )


def wanted_by_load(snapshot: Snapshot) -> int:
    """How many workers the policy asks for, before min, max and capacity."""
    fleet = count_fleet(snapshot)
    if snapshot.policy.type is PolicyType.QUEUE_REQUESTS:
        return _wanted_by_requests(snapshot, fleet)
    return _wanted_by_delay(snapshot, fleet)


def _wanted_by_requests(snapshot: Snapshot, fleet: Fleet) -> int:
    """`value` jobs for each worker, but no worker without a job: a job does not move once a worker holds it."""
    jobs = snapshot.queued + fleet.held
    return min(math.ceil(jobs / snapshot.policy.value), fleet.busy + snapshot.queued)


def _wanted_by_delay(snapshot: Snapshot, fleet: Fleet) -> int:
    """One worker for the first job at once; once the oldest has waited too long, a slot for every waiting job."""
    present = max(fleet.size, fleet.busy)
    if snapshot.queued == 0:
        return fleet.busy
    if snapshot.delay_left_ms > 0:
        return max(1, present)
    return present + math.ceil(max(0, snapshot.queued - fleet.free_slots) / snapshot.slots)


def first_to_go(workers: Iterable[WorkerView]) -> list[WorkerView]:
    """Those that are not ready yet, then the youngest: the oldest are warm and have proven themselves."""
    return sorted(workers, key=lambda worker: (worker.takes_jobs, -worker.decided_ms, worker.id))
