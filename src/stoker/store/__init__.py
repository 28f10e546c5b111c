"""The port to the database: what operations need stored, and nothing else.

Tables of contents (`jobs`, `workers`, `endpoints`), what servers need that share a database (`leases`, `wakes`), one `Store`
that holds them. What is changed rarely is written once for all databases: `teams`, `credentials`, `templates`, `views`, `volumes`, `notices`,
`usage`, `budgets`, `trace_parents`, `audit` and `sealed`, over `tables`. Rules for every adapter, proven by `tests/store/`:

- A call that returns has committed durably (D2). Concurrent calls may share one transaction.
- Transitions are decided by `job.advance` and `worker.advance` on the row read inside the transaction (D3); their
  effects that must not be lost, and a line of the ledger, are written in the same one. How is written once for all
  databases: `image.py` and what is beside it.
- The moment is a value in the call or in the event. No SQL `now()` (D4).
- Calls for customers name the team; calls without a team are for loops and workers and say so in their docstring (D11).
- Driver errors become `Unavailable` or `Defect`; a missing row is `None` or `NotFound`, as the call says.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Protocol

from stoker.endpoint import Endpoint, Release
from stoker.ids import EndpointId, JobId, ReleaseId, TeamId, WorkerId
from stoker.job import Job, JobEvent, JobState, JobStep
from stoker.specification import UNBOUNDED, Bounds
from stoker.store.audit import AuditRows
from stoker.store.budgets import BudgetRows
from stoker.store.credentials import CredentialRows
from stoker.store.ledger import LedgerRows
from stoker.store.marks import MarkRows
from stoker.store.notices import NoticeRows
from stoker.store.sealed import SealedRows
from stoker.store.selection import JobSelections
from stoker.store.sessions import SessionRows
from stoker.store.sizes import SizeRows
from stoker.store.tables import Step
from stoker.store.teams import TeamRows
from stoker.store.templates import TemplateRows
from stoker.store.trace_parents import TraceParentRows
from stoker.store.usage import UsageRows
from stoker.store.values import (
    SUBMIT_KEY_LIFE_MS,
    Bodies,
    Claim,
    Claims,
    Counts,
    Decision,
    Failures,
    Held,
    NewJob,
    Page,
    Parts,
    Result,
    Stop,
    StoryLine,
)
from stoker.store.views import ViewRows
from stoker.store.volumes import VolumeRows
from stoker.store.warm_ups import WarmUpRows
from stoker.worker import Worker, WorkerEvent, WorkerStep


class JobRows(Protocol):
    """Jobs, their bodies, streams and stories."""

    def submit(self, new: NewJob) -> Awaitable[Job]:
        """Store a job. Any claim that is called after this call finds it, though the answer may not have come yet. A known idempotency key returns the job it made before, whatever `new` says.

        Raises `Conflict`: `idempotency_mismatch` when the key came with another body within a day, `idempotency_job_gone` when
        the job it made is already forgotten.
        """
        ...

    async def result(self, team: TeamId, endpoint: EndpointId | None, job: JobId) -> Result | None:
        """The job with its output and error, or None; `endpoint` None looks in all endpoints of the team."""
        ...

    def known_result(self, team: TeamId, endpoint: EndpointId | None, job: JobId) -> Result | None:
        """What `result` would return, if that is known without asking the database. None says nothing."""
        ...

    async def input(self, team: TeamId, job: JobId) -> bytes | None:
        """The submitted input, or None."""
        ...

    async def list(self, team: TeamId, endpoint: EndpointId, *, state: JobState | None, page: Page) -> Sequence[Job]:
        """Jobs of an endpoint, newest first; among the queued ones those that were delivered ahead."""
        ...

    async def claim(
        self,
        worker: WorkerId,
        *,
        limit: int,
        at_ms: int,
        lease_ms: int,
        sdk: str,
        lost_before_ms: int | None = None,
        ahead: int = 0,
    ) -> Claims:
        """A worker's take: register it, and give it up to `limit` jobs of its endpoint.

        `ahead` is how many more it may have, to wait there for their turn; only behind one that it can begin at once, and
        only while the inputs of the whole answer are small (`image.AHEAD_BYTES`).

        `lost_before_ms` when the worker says that it holds nothing: what it was handed before that moment is a lost attempt
        (or taken back, if it waited there for its turn), what it was told to stop before that is let go.

        Never more than the endpoint's slots, counting what it holds and what it was told to stop; nothing unless it is
        READY after the take.
        Normal priority first, then in the order of submission. Jobs whose time to live has passed are ended instead of
        handed out. The lease is `lease_ms` long if the worker has ever pinged, otherwise open.
        Raises `NotFound` for an unknown worker. Looks across teams: for workers.
        """
        ...

    def nothing_for(self, worker: WorkerId, at_ms: int) -> bool:
        """Whether `claim` for this worker, which says that it has nothing, would find nothing and change nothing. False
        when that is not known without asking the database.

        Who listens for the endpoint's jobs from before this call misses none.
        """
        ...

    def advance(self, job: JobId, event: JobEvent, bodies: Bodies | None = None) -> Awaitable[JobStep]:
        """Decide and store one event. A final event from the job's worker also clears its row among the stops.

        Raises `NotFound` for an unknown job. Looks across teams: for loops, workers, and operations that checked first.
        """
        ...

    async def progress(self, job: JobId, worker: WorkerId, output: bytes, *, at_ms: int, lease_ms: int) -> JobStep:
        """Keep the latest progress of a running job and confirm it; late progress changes nothing. The turn of a job that was
        delivered ahead has come."""
        ...

    async def confirm(self, worker: WorkerId, jobs: Sequence[JobId] | None, *, at_ms: int, lease_ms: int) -> None:
        """A ping: renew the leases of those of `jobs` that the worker holds (None: of all that it holds).

        When jobs are named, rows among the worker's stops that are not named and were asked more than two seconds
        before are cleared: the worker has let go of them.
        """
        ...

    async def due(self, now_ms: int, limit: int) -> Sequence[JobId]:
        """Jobs whose deadline has passed, earliest first. Looks across teams: for loops."""
        ...

    async def purge_queue(self, endpoint: EndpointId, at_ms: int) -> int:
        """End every queued job of the endpoint, those delivered ahead included; how many there were."""
        ...

    async def add_part(self, job: JobId, worker: WorkerId, part: bytes, *, at_ms: int, lease_ms: int) -> bool:
        """Append a part to the stream of a running job and confirm it; False when the report was late. The turn of a job that
        was delivered ahead has come."""
        ...

    async def read_parts(self, team: TeamId, endpoint: EndpointId, job: JobId, *, bytes_max: int) -> Parts | None:
        """The parts that no call returned before, and mark them read; None for an unknown job.

        Once a final job's last part is returned the stream is closed.
        """
        ...

    async def stops(self, worker: WorkerId) -> Sequence[Stop]:
        """What the worker was told, or has to be told, to stop."""
        ...

    async def mark_told(self, worker: WorkerId, jobs: Sequence[JobId], at_ms: int) -> None:
        """The stop channel was answered with these jobs."""
        ...

    async def stops_due(self, asked_before_ms: int) -> Sequence[Stop]:
        """Stops that a living worker has not obeyed since that moment. Looks across teams: for loops."""
        ...

    async def held_by(self, worker: WorkerId) -> Sequence[Job]:
        """Jobs that a worker runs, after those that it has ahead. Looks across teams: for workers and loops."""
        ...

    async def ahead_of(self, job: Job) -> int:
        """How many queued jobs of its endpoint are handed out before this one; counts at most 10,000."""
        ...

    async def counts(self, endpoint: EndpointId) -> Counts:
        """The endpoint's counters, at a cost that does not grow with the queue."""
        ...

    async def oldest_queued_ms(self, endpoint: EndpointId) -> int | None:
        """Since when the first job of normal priority waits."""
        ...

    async def waiting(self, limit: int) -> Sequence[EndpointId]:
        """Endpoints with waiting jobs of normal priority, whose first waits longest first. Looks across teams: for loops."""
        ...

    async def story(self, job: JobId) -> Sequence[StoryLine]:
        """The job's lines of the ledger, oldest first."""
        ...

    async def prune(self, now_ms: int, limit: int) -> int:
        """Forget finished jobs whose retention has ended, with bodies and story; and idempotency keys older than a
        day. How many jobs went."""
        ...

    async def prune_early(self, at_ms: int, limit: int) -> int:
        """Forget up to `limit` finished jobs whose retention goes on, those first whose would end first; how many went."""
        ...


class WorkerRows(Protocol):
    """Workers and the decisions about them."""

    async def add(self, worker: Worker, *, alive_max: int, bounds: Bounds = UNBOUNDED) -> bool:
        """Store a decided worker unless its endpoint already has `alive_max` that are not gone, or living workers hold one of
        its GPUs, or it would leave the `bounds` of the machine; whether it was stored."""
        ...

    async def get(self, worker: WorkerId) -> Worker | None:
        """One worker. Looks across teams: for workers and loops."""
        ...

    async def by_token(self, token_hash: str) -> Worker | None:
        """The worker that owns a token. Looks across teams: it is how a worker says who it is."""
        ...

    async def of_endpoint(self, endpoint: EndpointId, *, gone: int = 0) -> Sequence[Held]:
        """Workers that are not gone, oldest first, then up to `gone` of those that went last."""
        ...

    async def alive(self) -> Sequence[Held]:
        """All workers that are not gone. Looks across teams: for loops."""
        ...

    async def since(self, gone_after_ms: int) -> Sequence[Worker]:
        """All workers that are not gone, and those that went after that moment. Looks across teams: for loops."""
        ...

    async def advance(self, worker: WorkerId, event: WorkerEvent) -> WorkerStep:
        """Decide and store one event; `LoseJobs` loses the jobs in the same transaction, and GONE clears the stops.

        Raises `NotFound` for an unknown worker.
        """
        ...

    async def failures(self, release: ReleaseId) -> Failures:
        """Failed launches in a row of a release."""
        ...

    async def moved_on(self, release: ReleaseId) -> Mapping[str, int]:
        """When workers of a release were last given up to try another specification, by the id of theirs, in milliseconds."""
        ...

    async def story(self, worker: WorkerId) -> Sequence[StoryLine]:
        """The worker's lines of the ledger, oldest first."""
        ...

    async def unmetered(self) -> Sequence[WorkerId]:
        """Workers with time that is not in the ledger of usage yet. Looks across teams: for loops."""
        ...

    async def read_meter(self, worker: WorkerId, at_ms: int) -> None:
        """Write into the ledger of usage what the worker's time was until that moment, or until its time ceased to count.

        However often and by whomever it is called, no moment is counted twice. Raises `NotFound`.
        """
        ...

    async def record(self, decision: Decision, *also: Step) -> None:
        """Keep the latest decision of an endpoint, and carry out `also`."""
        ...

    async def decision(self, endpoint: EndpointId) -> Decision | None:
        """The latest decision of an endpoint."""
        ...

    async def prune(self, gone_before_ms: int, limit: int) -> Sequence[WorkerId]:
        """Forget workers that went before that moment and whose time is in the ledger of usage; who they were, so that their logs can go too."""
        ...


class EndpointRows(Protocol):
    """Endpoints and releases."""

    async def add(self, endpoint: Endpoint, release: Release, *also: Step) -> None:
        """Store both, and carry out `also`: all or none.

        Raises `Conflict` (`name_taken`) when a living endpoint of the team answers to that name.
        """
        ...

    async def update(self, endpoint: Endpoint, release: Release | None, *also: Step) -> None:
        """Store a change made from version `endpoint.version - 1`, and a new release if there is one; carry out `also`.

        Raises `Conflict`: `version_changed` when somebody else was faster, `name_taken` as in `add`.
        """
        ...

    async def of_team(self, team: TeamId) -> Sequence[Endpoint]:
        """Living endpoints of a team, by name."""
        ...

    async def get(self, endpoint: EndpointId) -> Endpoint | None:
        """One endpoint, deleted ones included. Looks across teams: for loops."""
        ...

    async def active(self) -> Sequence[Endpoint]:
        """Living endpoints, and deleted ones that still have workers. Looks across teams: for loops."""
        ...

    async def release(self, release: ReleaseId) -> Release | None:
        """One release."""
        ...

    async def forgive(self, release: ReleaseId, at_ms: int, *also: Step) -> None:
        """Launches that failed before this moment count no more against the release; carry out `also`."""
        ...

    async def pin(self, release: ReleaseId, digest: str) -> str:
        """Write down which bytes the release runs, unless it is written down already; what is written then."""
        ...

    async def releases(self, endpoint: EndpointId) -> Sequence[Release]:
        """All releases of an endpoint, newest first."""
        ...


class NamedLeases(Protocol):
    """Rights that one server has at a time, by name: to run a loop, to be a server with that number."""

    async def hold(self, name: str, holder: str, *, at_ms: int, until_ms: int) -> bool:
        """Take the lease, or renew it, until that moment; False while somebody else holds it.

        It is taken when it is free, when it has run out, and when the holder has it already. A holder that cannot renew must
        stop by itself before its end: clocks differ, see `Store.skew_ms`.
        """
        ...

    async def release(self, name: str, holder: str) -> None:
        """Give it back. What somebody else holds is left alone."""
        ...

    async def holders(self, prefix: str, at_ms: int) -> Mapping[str, str]:
        """Who holds the leases whose names begin so and that have not run out, by name."""
        ...


class Wakes(Protocol):
    """Waking across servers that share the database. It only saves time: words may get lost, and polling alone is correct."""

    def others_listen(self) -> bool:
        """Whether another server may listen; if not, nothing need be said."""
        ...

    async def send(self, words: Sequence[str]) -> None:
        """Say it to all other servers. A word has at most 1,000 bytes, and no line break."""
        ...

    async def listen(self, callback: Callable[[Sequence[str]], None]) -> None:
        """From now on call back with what other servers say, until the store is closed; call once.

        No words at all mean that there was a gap: anything may have been said in it.
        """
        ...


class Store(Protocol):
    """The database."""

    @property
    def jobs(self) -> JobRows:
        """Jobs."""
        ...

    @property
    def workers(self) -> WorkerRows:
        """Workers."""
        ...

    @property
    def endpoints(self) -> EndpointRows:
        """Endpoints."""
        ...

    @property
    def teams(self) -> TeamRows:
        """Teams, members and keys."""
        ...

    @property
    def marks(self) -> MarkRows:
        """How far who has read the ledger."""
        ...

    @property
    def sizes(self) -> SizeRows:
        """How much is kept."""
        ...

    async def used_bytes(self) -> int | None:
        """How many bytes of the database are in use; None where that cannot be told."""
        ...

    @property
    def sessions(self) -> SessionRows:
        """Who is signed in to the console."""
        ...

    @property
    def credentials(self) -> CredentialRows:
        """Registry credentials."""
        ...

    @property
    def views(self) -> ViewRows:
        """Filters of jobs that teams have given a name."""
        ...

    @property
    def templates(self) -> TemplateRows:
        """Templates."""
        ...

    @property
    def volumes(self) -> VolumeRows:
        """Volumes."""
        ...

    @property
    def warm_ups(self) -> WarmUpRows:
        """Images that teams want to have where their workers start."""
        ...

    @property
    def audit(self) -> AuditRows:
        """The audit log."""
        ...

    @property
    def notices(self) -> NoticeRows:
        """What receivers of webhooks are told."""
        ...

    @property
    def selections(self) -> JobSelections:
        """Jobs that somebody looks for."""
        ...

    @property
    def usage(self) -> UsageRows:
        """The ledger of usage."""
        ...

    @property
    def budgets(self) -> BudgetRows:
        """Budgets."""
        ...

    @property
    def trace_parents(self) -> TraceParentRows:
        """Whose traces jobs belong to."""
        ...

    @property
    def sealed(self) -> SealedRows:
        """The key that seals secrets, and what is sealed."""
        ...

    @property
    def ledger(self) -> LedgerRows:
        """The ledger, as it is followed."""
        ...

    @property
    def leases(self) -> NamedLeases:
        """Named leases of servers."""
        ...

    @property
    def wakes(self) -> Wakes:
        """Waking across servers."""
        ...

    async def skew_ms(self, now_ms: int) -> int:
        """How far this machine's clock is ahead of the database's; negative when it is behind."""
        ...

    async def close(self) -> None:
        """Finish what was begun and let go of the database."""
        ...


__all__ = [
    "SUBMIT_KEY_LIFE_MS",
    "AuditRows",
    "Bodies",
    "BudgetRows",
    "Claim",
    "Claims",
    "Counts",
    "CredentialRows",
    "Decision",
    "EndpointRows",
    "Failures",
    "Held",
    "JobRows",
    "JobSelections",
    "LedgerRows",
    "NamedLeases",
    "NewJob",
    "NoticeRows",
    "Page",
    "Parts",
    "Result",
    "SealedRows",
    "SessionRows",
    "Stop",
    "Store",
    "StoryLine",
    "TeamRows",
    "TemplateRows",
    "TraceParentRows",
    "UsageRows",
    "VolumeRows",
    "Wakes",
    "WarmUpRows",
    "WorkerRows",
]
