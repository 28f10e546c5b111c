"""What both databases do alike: calls of the port that become operations on an image.

`SqliteJobs` and its neighbours inherit from these and add what only reads, or what no image is made for.
"""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from typing import Protocol, TypeVar

from msgspec.structs import replace

from stoker.ids import JobId, WorkerId
from stoker.job import Job, JobEvent, JobStep
from stoker.specification import UNBOUNDED, Bounds
from stoker.store import Bodies, Claims, NewJob
from stoker.store.claims import Take
from stoker.store.image import Operation
from stoker.store.meters import ReadMeter
from stoker.store.signs import Confirm, MarkTold
from stoker.store.streams import AddPart, Progress
from stoker.store.submissions import Submit
from stoker.store.transitions import AddWorker, AdvanceJob, AdvanceWorker
from stoker.worker import Worker, WorkerEvent, WorkerStep

T = TypeVar("T")


class Writer(Protocol):
    """Carries operations to the database."""

    def run(self, work: Operation[T], size: int = 0) -> Awaitable[T]:
        """The operation's answer, once it is committed. Operations are carried out in the order of the calls. `size` is how many
        bytes of bodies it brings.

        Raises what the operation raised, or `Unavailable`.
        """
        ...


class JobWrites:
    """The writing half of `JobRows`."""

    def __init__(self, writer: Writer) -> None:
        self._write = writer.run

    def submit(self, new: NewJob) -> Awaitable[Job]:
        """See `submissions`."""
        return self._write(Submit(new), len(new.input))

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
        """See `claims`. As many looks as it takes to see what waits; most often one."""
        take = Take(
            worker=worker,
            limit=limit,
            at_ms=at_ms,
            lease_ms=lease_ms,
            sdk=sdk,
            lost_before_ms=lost_before_ms,
            ahead=ahead,
        )
        taken = await self._write(take)
        claims = taken.claims
        while taken.again:
            take = take.further()
            taken = await self._write(take)
            ready_now = claims.ready_now or taken.claims.ready_now
            claims = replace(taken.claims, lost=claims.lost, ready_now=ready_now)
        return claims

    def advance(self, job: JobId, event: JobEvent, bodies: Bodies | None = None) -> Awaitable[JobStep]:
        """See `transitions`."""
        size = 0 if bodies is None or bodies.output is None else len(bodies.output)
        return self._write(AdvanceJob(job, event, bodies), size)

    async def progress(self, job: JobId, worker: WorkerId, output: bytes, *, at_ms: int, lease_ms: int) -> JobStep:
        """See `streams`."""
        said = Progress(job=job, worker=worker, output=output, at_ms=at_ms, lease_ms=lease_ms)
        return await self._write(said, len(output))

    async def add_part(self, job: JobId, worker: WorkerId, part: bytes, *, at_ms: int, lease_ms: int) -> bool:
        """See `streams`."""
        said = AddPart(job=job, worker=worker, part=part, at_ms=at_ms, lease_ms=lease_ms)
        return await self._write(said, len(part))

    async def confirm(self, worker: WorkerId, jobs: Sequence[JobId] | None, *, at_ms: int, lease_ms: int) -> None:
        """See `signs`."""
        await self._write(Confirm(worker, jobs, at_ms, lease_ms))

    async def mark_told(self, worker: WorkerId, jobs: Sequence[JobId], at_ms: int) -> None:
        """See `signs`."""
        await self._write(MarkTold(worker, jobs, at_ms))


class WorkerWrites:
    """The writing half of `WorkerRows`."""

    def __init__(self, writer: Writer) -> None:
        self._write = writer.run

    async def add(self, worker: Worker, *, alive_max: int, bounds: Bounds = UNBOUNDED) -> bool:
        """See `transitions`."""
        return await self._write(AddWorker(worker, alive_max, bounds))

    async def advance(self, worker: WorkerId, event: WorkerEvent) -> WorkerStep:
        """See `transitions`."""
        return await self._write(AdvanceWorker(worker, event))

    async def read_meter(self, worker: WorkerId, at_ms: int) -> None:
        """See `meters`."""
        await self._write(ReadMeter(worker, at_ms))
