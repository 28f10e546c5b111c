"""What a write transaction knows and what it changes: rows in memory, between loading and saving.

Both databases work alike. Everything that waits becomes one transaction: its operations say which rows they need
(`Needs`), the adapter loads them in a few statements into an `Image`, the operations decide one after the other on the
image (`transitions.py` and its neighbours), and the adapter saves what changed in a few statements. So the rules are
called on rows read inside the transaction (D3), and the number of statements does not grow with the number of operations.

What must stay true: an operation that raises a `StokerError` has changed nothing of the image.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from enum import IntEnum, auto
from typing import Final, NamedTuple, Protocol, TypeVar

import msgspec
from msgspec.structs import replace

from stoker.errors import Defect
from stoker.ids import EndpointId, JobId, TeamId, WorkerId
from stoker.job import AHEAD, QUEUED, RUNNING, Job, JobState
from stoker.metering import Account
from stoker.specification import Place
from stoker.store import Counts, NewJob, Stop
from stoker.worker import DECIDED, READY, STARTING, Worker

T_co = TypeVar("T_co", covariant=True)

AHEAD_BYTES: Final = 4 * 1024 * 1024
"""Nothing is delivered ahead beyond this many bytes of inputs: answers stay small, and what gets lost with one is little."""
COUNTERS: Final = Counts.__struct_fields__
_COUNTER: Final = {state: COUNTERS.index(state.word) for state in JobState}
"""The place of each state's counter; of waiting jobs it is that of normal priority."""
_QUEUED_LOW: Final = COUNTERS.index("queued_low")
_RETRIED: Final = COUNTERS.index("retried")


class Operation(Protocol[T_co]):
    """Something that one transaction does for one caller."""

    def need(self, needs: Needs) -> None:
        """Name the rows that `decide` looks at."""
        ...

    def decide(self, image: Image) -> T_co:
        """Change the image; the caller's answer. Raises `StokerError` when it cannot be done."""
        ...


class Queued(NamedTuple):
    """Which waiting jobs to load: of `endpoint`, at most `limit`, up to the row `newest`."""

    endpoint: EndpointId
    newest: int
    limit: int


class Needs(msgspec.Struct):
    """Rows that a transaction's operations look at. A worker comes with the slots of its endpoint, with what it was told to
    stop, and with those of the jobs it has ahead whose turn may come (`turns`); a job that a worker has with that worker; an
    idempotency key with the job it made."""

    jobs: set[JobId] = msgspec.field(default_factory=set)
    workers: set[WorkerId] = msgspec.field(default_factory=set)
    held_by: set[WorkerId] = msgspec.field(default_factory=set)
    """Workers all of whose jobs are looked at: those that they run and those that they have ahead."""
    takes: list[Wish] = msgspec.field(default_factory=list)
    """See `Image.heads_wanted`."""
    queued: list[Queued] = msgspec.field(default_factory=list)
    keys: set[SubmitKey] = msgspec.field(default_factory=set)
    alive_of: set[EndpointId] = msgspec.field(default_factory=set)
    """Endpoints whose workers are counted."""
    places: bool = False
    """Whether what all living workers hold is looked at."""
    new_jobs: int = 0
    """How many row numbers for jobs are wanted."""

    def turns(self, slots: int) -> int:
        """How many jobs of a worker with so many slots may get their turn, or go, before the last of them gets it."""
        return slots + len(self.jobs)


class Wish(Protocol):
    """What is known of a take before its worker is loaded."""

    @property
    def worker(self) -> WorkerId:
        """Who may be given jobs."""
        ...

    @property
    def limit(self) -> int:
        """How many to begin at once."""
        ...

    @property
    def look(self) -> int:
        """How many more to look at: some may be over."""
        ...

    @property
    def ahead(self) -> int:
        """How many besides."""
        ...


class Wanted(NamedTuple):
    """Which jobs to load from the head of a queue."""

    jobs: int
    ahead: int
    """After them so many more, but only while all inputs together have at most `AHEAD_BYTES`."""


class SubmitKey(NamedTuple):
    """An idempotency key, as its endpoint knows it."""

    endpoint: EndpointId
    key: str


class KeyUse(NamedTuple):
    """What a key was used for."""

    job: JobId
    body_hash: str
    at_ms: int


class StoredJob(msgspec.Struct, frozen=True, gc=False):
    """A job and the number of its row, by which bodies and the ledger know it."""

    seq: int
    job: Job


class Head(msgspec.Struct, frozen=True, gc=False):
    """A waiting job, which is among the image's jobs, with what its worker will see."""

    job: JobId
    input: bytes
    s3_config: bytes | None


class StoredWorker(msgspec.Struct, gc=False):
    """A worker and what it holds."""

    worker: Worker
    running: int
    """Jobs that it runs."""
    stopping: int
    """Jobs that it was told to stop and has not let go."""
    slots: int
    """How many it may hold."""
    ahead: int = 0
    """Jobs that it has besides, to wait there for their turn."""

    @property
    def free(self) -> int:
        """Slots that are not in use."""
        return self.slots - self.running - self.stopping

    @property
    def busy(self) -> bool:
        """Whether it holds anything."""
        return bool(self.running or self.stopping or self.ahead)


class Body(msgspec.Struct, gc=False):
    """What a job's status shows besides the job."""

    output: bytes | None
    error: str | None
    fresh: bool
    """Whether this replaces what is stored; otherwise None leaves what is stored."""


class Line(msgspec.Struct, frozen=True, gc=False):
    """A line of the ledger as it is written; `job` is the row number of the job `job_id`."""

    at_ms: int
    team: TeamId
    endpoint: EndpointId
    job: int | None
    worker: WorkerId | None
    kind: str
    state: str
    reason: str
    attempt: int | None
    text: str
    job_id: JobId | None = None


class Move(IntEnum):
    """What became of a stored job: which of its columns, and of their indexes, have to be written."""

    CLAIMED = auto()
    """A worker has it, or its turn came."""
    ENDED = auto()
    RENEWED = auto()
    """A sign of life changed its lease, nothing else."""
    OTHER = auto()


CLAIMED, ENDED, RENEWED, OTHER = Move

_MOVES: Final[dict[tuple[JobState, JobState], Move]] = {
    (QUEUED, RUNNING): CLAIMED,
    (QUEUED, AHEAD): CLAIMED,
    (AHEAD, RUNNING): CLAIMED,
    (AHEAD, AHEAD): RENEWED,
    (RUNNING, RUNNING): RENEWED,
    **{(was, end): ENDED for was in (QUEUED, RUNNING) for end in JobState if end.final},
}
"""What a single step from one state to the next changes; all other steps are `OTHER`, and so is more than one step."""


class JobChange(msgspec.Struct, frozen=True, gc=False):
    """A stored job as it was loaded and as it is now."""

    seq: int
    before: Job
    after: Job
    move: Move
    """Which columns differ."""


class Image:
    """The rows of one transaction.

    The first group is what the adapter loads; the second is what it saves afterwards. Row numbers for new jobs come from
    `new_seqs`.
    """

    def __init__(self, new_seqs: Iterator[int]) -> None:
        self.new_seqs = new_seqs
        self.jobs: dict[JobId, StoredJob] = {}
        self.workers: dict[WorkerId, StoredWorker] = {}
        self.running: defaultdict[WorkerId, set[JobId]] = defaultdict(set)
        """Of those in `Needs.held_by`."""
        self.ahead: defaultdict[WorkerId, set[JobId]] = defaultdict(set)
        """All of those in `Needs.held_by`; of other workers the first, see `Needs.turns`."""
        self.stops: defaultdict[WorkerId, dict[JobId, Stop]] = defaultdict(dict)
        self.heads: defaultdict[EndpointId, list[Head]] = defaultdict(list)
        """Waiting jobs in the order in which they are handed out."""
        self.whole_heads: set[EndpointId] = set()
        """Endpoints of whose waiting jobs none was left behind: what arrives now follows."""
        self.spare: defaultdict[EndpointId, int] = defaultdict(int)
        """How many of them are left when every take of this transaction has been given what it can begin at once."""
        self.queued: defaultdict[EndpointId, list[JobId]] = defaultdict(list)
        """The answer to `Needs.queued`."""
        self.keys: dict[SubmitKey, KeyUse] = {}
        self.alive: dict[EndpointId, int] = {}
        self.places: list[Place] = []
        """What living workers hold, if that is looked at."""

        self.new_jobs: dict[JobId, NewJob] = {}
        """They are among `jobs` too, as they stand now."""
        self.new_workers: list[WorkerId] = []
        self.new_keys: set[SubmitKey] = set()
        self.bodies: dict[int, Body] = {}
        self.new_parts: defaultdict[int, list[bytes]] = defaultdict(list)
        self.dropped_parts: set[int] = set()
        self.reopened: set[int] = set()
        """Jobs whose stream begins anew."""
        self.changed_stops: dict[tuple[WorkerId, JobId], Stop | None] = {}
        """None: cleared."""
        self.lines: list[Line] = []
        self.unsettled: set[EndpointId] = set()
        """Endpoints whose queues gained or lost jobs without being looked at, or got back a job that may come before others."""
        self.ends: list[StoredJob] = []
        """Jobs whose webhooks are to be told of their end, as they ended."""
        self.kept_ends: list[StoredJob] = []
        """Jobs whose end is about to be replaced."""
        self.used: defaultdict[Account, int] = defaultdict(int)
        """Milliseconds for the ledger of usage."""
        self._job_changes: dict[JobId, JobChange] = {}
        self._steps: list[tuple[EndpointId, JobState | None, JobState, bool]] = []
        """From which state a job of which endpoint came to which, and whether its priority is low; None before its first state."""
        self._touched: dict[WorkerId, StoredWorker] = {}
        self.restated: set[WorkerId] = set()
        """Those of the changed workers that changed by more than a sign of life and what they hold."""

    # ── for adapters ──────────────────────────────────────────────────────────────────────────────────────────────────

    def heads_wanted(self, needs: Needs) -> Mapping[EndpointId, Wanted]:
        """How many waiting jobs of which endpoint the takes may be given, once the workers are loaded."""
        jobs: defaultdict[EndpointId, int] = defaultdict(int)
        ahead: defaultdict[EndpointId, int] = defaultdict(int)
        for take in needs.takes:
            stored = self.workers.get(take.worker)
            if stored is not None and stored.worker.state in _MAY_TAKE and stored.running < stored.slots:
                endpoint = stored.worker.endpoint
                # What it was told to stop it may have let go; or it waits again, and is not for this worker.
                jobs[endpoint] += min(take.limit, stored.slots - stored.running) + stored.stopping + take.look
                if take.ahead:
                    ahead[endpoint] += take.ahead
        return {endpoint: Wanted(most, ahead[endpoint]) for endpoint, most in jobs.items()}

    def add_head(self, endpoint: EndpointId, heads: Sequence[Head], wanted: Wanted, *, whole: bool = False) -> None:
        """Waiting jobs in their order: at most `wanted.jobs`, and those that follow them; or the `whole` queue."""
        self.heads[endpoint] += heads
        self.spare[endpoint] = max(0, len(heads) - wanted.jobs)
        if whole or len(heads) < wanted.jobs:
            self.whole_heads.add(endpoint)

    def job_changes(self) -> Collection[JobChange]:
        """Stored jobs that are others now."""
        return self._job_changes.values()

    def worker_changes(self) -> Collection[StoredWorker]:
        """Stored workers that are others now, or hold something else."""
        return self._touched.values()

    def counted(self) -> Mapping[EndpointId, Sequence[int]]:
        """Changes of the counters, in the order of `COUNTERS`."""
        counted: defaultdict[EndpointId, list[int]] = defaultdict(lambda: [0] * len(COUNTERS))
        for (endpoint, was, now, low_priority), jobs in Counter(self._steps).items():
            counts = counted[endpoint]
            counts[_counter(now, low_priority)] += jobs
            if was is not None and not was.final:
                counts[_counter(was, low_priority)] -= jobs
            if was is RUNNING and now is QUEUED:
                counts[_RETRIED] += jobs
        return counted

    # ── for operations ────────────────────────────────────────────────────────────────────────────────────────────────

    def add_job(self, new: NewJob) -> int:
        """The job is new; the number of its row."""
        job = new.job
        if job.id in self.jobs:
            raise Defect(f"two jobs have the id {job.id}")
        seq = next(self.new_seqs)
        self.new_jobs[job.id] = new
        self.jobs[job.id] = StoredJob(seq, job)
        self._steps.append((job.endpoint, None, job.state, job.low_priority))
        if job.endpoint in self.whole_heads:
            self._follow(self.heads[job.endpoint], new)
        else:
            self.unsettled.add(job.endpoint)
        return seq

    def _follow(self, heads: list[Head], new: NewJob) -> None:
        """A take of this very transaction may be given the job, in its turn: normal priority goes before low."""
        place = len(heads)
        while not new.job.low_priority and place > 0 and self.jobs[heads[place - 1].job].job.low_priority:
            place -= 1
        heads.insert(place, Head(new.job.id, new.input, new.s3_config))

    def save_job(self, stored: StoredJob, after: Job) -> None:
        """The job is another now; the counters follow it to its next state."""
        seq, before, job = stored.seq, stored.job, after.id
        self.jobs[job] = StoredJob(seq, after)
        was, now = before.state, after.state
        if job not in self.new_jobs:
            first = self._job_changes.get(job)
            if first is None:
                self._job_changes[job] = JobChange(seq, before, after, _MOVES.get((was, now), OTHER))
            else:
                self._job_changes[job] = JobChange(seq, first.before, after, OTHER)
        if now is not was:
            self._steps.append((after.endpoint, was, now, after.low_priority))
            if now is QUEUED or (was is QUEUED and after.endpoint not in self.whole_heads):
                self.unsettled.add(after.endpoint)

    def save_worker(self, after: Worker) -> None:
        """The worker is another now."""
        stored = self.touch(after.id)
        assert stored is not None, "who is saved was loaded"
        if not _same_but_for_signs(stored.worker, after):
            self.restated.add(after.id)
        stored.worker = after

    def touch(self, worker: WorkerId) -> StoredWorker | None:
        """The worker, for the caller to change what it holds, since when it is idle, and its meter; None when it is forgotten,
        which holds nothing."""
        stored = self.workers.get(worker)
        if stored is not None:
            self._touched[worker] = stored
        return stored

    def ask_stop(self, stop: Stop) -> None:
        """The worker has to let go of a job."""
        if stop.job not in self.stops[stop.worker] and (stored := self.touch(stop.worker)) is not None:
            stored.stopping += 1
        self._set_stop(stop)

    def mark_told(self, stop: Stop, at_ms: int) -> None:
        """The worker was told."""
        self._set_stop(replace(stop, told_ms=at_ms))

    def let_go(self, worker: WorkerId, job: JobId) -> bool:
        """The worker has let go of a job; whether it was told to."""
        if self.stops[worker].pop(job, None) is None:
            return False
        self.changed_stops[worker, job] = None
        stored = self.touch(worker)
        if stored is not None:
            stored.stopping -= 1
        return True

    def _set_stop(self, stop: Stop) -> None:
        self.stops[stop.worker][stop.job] = stop
        self.changed_stops[stop.worker, stop.job] = stop

    def keep_body(self, seq: int, body: Body) -> None:
        """Show this from now on."""
        held = self.bodies.get(seq)
        if held is not None and not body.fresh:
            body = Body(
                held.output if body.output is None else body.output,
                held.error if body.error is None else body.error,
                held.fresh,
            )
        self.bodies[seq] = body

    def drop_parts(self, seq: int) -> None:
        """Forget the parts of a job's stream."""
        self.new_parts.pop(seq, None)
        self.dropped_parts.add(seq)


def _counter(state: JobState, low_priority: bool) -> int:
    return _QUEUED_LOW if state is QUEUED and low_priority else _COUNTER[state]


def _same_but_for_signs(before: Worker, after: Worker) -> bool:
    """Whether a sign of life has changed a few columns only."""
    return (
        before.state is after.state
        and before.reason is after.reason
        and before.detail == after.detail
        and before.unhealthy_ms == after.unhealthy_ms
        and before.unmetered is after.unmetered
    )


_MAY_TAKE: Final = (READY, STARTING, DECIDED)
"""States in which a take may be answered with a job: the first take makes a worker ready."""


LINE: Final = Line.__struct_fields__
