"""What the decision sees and what it says: a snapshot of one endpoint, and a plan for it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from stoker.endpoint import Policy, PolicyType
from stoker.ids import WorkerId
from stoker.worker import WorkerReason, WorkerState


class Reason(StrEnum):
    """Why the plan is what it is; for a queued job, why it waits."""

    NOTHING_TO_DO = "nothing_to_do"
    WORKER_FREE = "worker_free"
    NO_WORKER_YET = "no_worker_yet"
    WORKER_STARTING = "worker_starting"
    IMAGE_PULLING = "image_pulling"
    HEALTH_FAILING = "health_failing"
    WORKERS_BUSY = "workers_busy"
    AT_MAX_WORKERS = "at_max_workers"
    NO_CAPACITY = "no_capacity"
    LAUNCH_BACKOFF = "launch_backoff"
    CRASH_LOOP = "crash_loop"
    RUNTIME_UNAVAILABLE = "runtime_unavailable"
    LOW_PRIORITY = "low_priority"
    DELAY_ALLOWED = "delay_allowed"
    REPLACING = "replacing"
    BELOW_MIN = "below_min"
    PAUSED = "paused"
    BUDGET = "budget"
    DELETED = "deleted"


Why = tuple[Reason, str]
"""A reason and the same in words."""


@dataclass(frozen=True, kw_only=True, slots=True)
class WorkerView:
    """What the decision needs to know of one worker that is not gone."""

    id: WorkerId
    state: WorkerState
    current: bool
    """Whether it runs the endpoint's present release."""
    held: int
    """Jobs it holds, those included that it was told to stop and has not let go."""
    decided_ms: int
    idle_ms: int | None = None
    """Since when it holds nothing."""
    pulling: str = ""
    """How far the pull of its image is, while that goes on."""
    placing: str = ""
    """That a place is looked for, by a runtime that finds it itself, while nobody has said that there is none."""
    no_room: str = ""
    """Why no place has been found for it yet."""
    place: str = ""
    """The id of the kind of place that it has, or waits for."""
    moves_on: str = ""
    """Why it is given up to try another kind of place, when nobody finds one of its own (`shortages`)."""
    ailing: str = ""
    """What its health check got, while that keeps it from jobs. It counts like one that starts: it gets well, or is replaced."""
    gives_way: str = ""
    """Why others are to have its place, when their turn has come (`sharing`)."""

    @property
    def serves(self) -> bool:
        """Whether it takes jobs or will."""
        return self.state in (WorkerState.DECIDED, WorkerState.STARTING, WorkerState.READY)

    @property
    def started(self) -> bool:
        """Whether its cold start is over; it may be ailing."""
        return self.state is WorkerState.READY

    @property
    def finishes(self) -> bool:
        """Whether it is ready, or drains and was: one that drains before its first take has nothing to finish."""
        drains = self.state is WorkerState.DRAINING
        return self.started or (drains and (self.held > 0 or self.idle_ms is not None))

    @property
    def takes_jobs(self) -> bool:
        """Whether it takes jobs now."""
        return self.started and not self.ailing


@dataclass(frozen=True, kw_only=True, slots=True)
class RoomView:
    """How many more workers have room in one kind of place."""

    name: str = ""
    workers: int | None = None
    """None when unknown or without bound."""
    none: str = ""
    """Why there is no room, where that is more than that all places are taken."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Snapshot:
    """One endpoint at one moment."""

    now_ms: int
    min_workers: int
    max_workers: int
    idle_timeout_s: int
    slots: int
    policy: Policy
    max_surge: int = 0
    """Workers beyond those that are wanted while ready workers of an old release are replaced; 0: old ones are drained first."""
    deleted: bool = False
    paused: bool = False
    arrears: str = ""
    """How a budget is used up that lets nothing new start."""
    queued: int = 0
    """Jobs that wait and count for scaling up."""
    queued_low: int = 0
    """Jobs that wait with low priority: they do not start workers."""
    oldest_queued_ms: int | None = None
    """Since when the oldest job that counts for scaling waits."""
    running: int = 0
    """Jobs that run, on whichever worker. For the words only: what counts is what the serving workers hold."""
    workers: tuple[WorkerView, ...] = ()
    failures: int = 0
    """Launches of the present release that failed in a row, since one last became ready."""
    crashes: int = 0
    """How many of them began to run, and ended by themselves."""
    failed_ms: int | None = None
    """When the last of them failed."""
    failure_text: str = ""
    rooms: tuple[RoomView, ...] = (RoomView(),)
    """Where the machine still has room for workers of the present release, the preferred places first."""
    full_text: str = ""
    """Why there is no more room, in words."""
    available: bool = True
    """Whether the runtime answers."""

    @property
    def capacity(self) -> int | None:
        """Workers of this release that the machine still has room for; None when unknown or without bound."""
        counts = [room.workers for room in self.rooms]
        return None if None in counts else sum(count for count in counts if count is not None)

    @property
    def queued_since_ms(self) -> int | None:
        """Since when jobs wait; a queue of which no oldest job was read is a new one. None when there is no queue."""
        if self.queued == 0:
            return None
        return self.now_ms if self.oldest_queued_ms is None else self.oldest_queued_ms

    @property
    def delay_left_ms(self) -> int:
        """How long the policy lets the oldest waiting job wait from now on; 0 when time will not add a worker."""
        since_ms = self.queued_since_ms
        if self.policy.type is not PolicyType.QUEUE_DELAY or since_ms is None:
            return 0
        return max(0, since_ms + self.policy.value * 1000 - self.now_ms)

    def free_slots(self, worker: WorkerView) -> int:
        """How many more jobs it may have."""
        return max(0, self.slots - worker.held)

    def first_after_now(self, *moments_ms: int | None) -> int | None:
        """The first of those that are still to come."""
        return min((at_ms for at_ms in moments_ms if at_ms is not None and at_ms > self.now_ms), default=None)


@dataclass(frozen=True, kw_only=True, slots=True)
class Launch:
    """Start `count` workers."""

    count: int
    alive_max: int
    """How many of the endpoint may exist then, those included that finish or stop."""
    reason: Reason
    text: str
    wanted_ms: int | None = None
    """Since when the oldest job waits that they are for."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Drain:
    """Let one worker finish what it holds and go."""

    worker: WorkerId
    reason: WorkerReason
    text: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What to do, why, and when to look again. A proposal: each line is checked again when it is carried out."""

    wanted: int
    reason: Reason
    """Why no more is done than what the lines say; why queued jobs wait."""
    text: str
    launch: Launch | None = None
    drain: tuple[Drain, ...] = ()
    look_again_ms: int | None = None
    """When time alone can change the decision, always after now; None when only an event can."""
