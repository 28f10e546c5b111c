"""What a job says while it runs: its progress and the parts of its stream."""

from __future__ import annotations

import msgspec
from msgspec.structs import replace

from stoker.ids import JobId, WorkerId
from stoker.job import Confirmed, JobState, JobStep
from stoker.store.image import Body, Image, Needs, StoredJob
from stoker.store.transitions import advance_job, find_job


class _Said(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A sign of a running job."""

    job: JobId
    worker: WorkerId
    at_ms: int
    lease_ms: int

    def need(self, needs: Needs) -> None:
        """The job, and whether its worker pings."""
        needs.jobs.add(self.job)
        needs.workers.add(self.worker)

    def confirm(self, image: Image, stored: StoredJob) -> JobStep:
        """It begins no lease for a worker that never pings: its later silence would mean nothing."""
        worker = image.workers.get(self.worker)
        pings = worker is not None and worker.worker.pinged_ms is not None
        lease_until_ms = self.at_ms + self.lease_ms if pings else None
        return advance_job(
            image, stored, Confirmed(at_ms=self.at_ms, worker=self.worker, lease_until_ms=lease_until_ms)
        )

    def is_late(self, stored: StoredJob) -> bool:
        """Whether the job is not this worker's any more."""
        return stored.job.state is not JobState.RUNNING or stored.job.worker != self.worker


class Progress(_Said, frozen=True, kw_only=True, gc=False):
    """See `JobRows.progress`."""

    output: bytes

    def decide(self, image: Image) -> JobStep:
        """Confirm the job and keep its progress; a late report changes nothing. Raises `NotFound`."""
        stored = find_job(image, self.job)
        step = self.confirm(image, stored)
        if self.is_late(stored):
            return step
        image.keep_body(stored.seq, Body(self.output, None, fresh=False))
        return replace(step, changed=True)


class AddPart(_Said, frozen=True, kw_only=True, gc=False):
    """See `JobRows.add_part`."""

    part: bytes

    def decide(self, image: Image) -> bool:
        """Confirm the job and append a part; False for a late report. Raises `NotFound`."""
        stored = find_job(image, self.job)
        self.confirm(image, stored)
        if self.is_late(stored):
            return False
        image.new_parts[stored.seq].append(self.part)
        return True
