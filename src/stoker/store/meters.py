"""Meters of workers, read: what the time since the last reading was becomes entries of the ledger of usage.

The worker's row and the entries are written in one transaction, and the row says up to when its time is in the ledger. So whoever
reads a meter twice, crashes in between, or reads beside another server, counts no moment twice and leaves none out.
"""

from __future__ import annotations

import msgspec
from msgspec.structs import replace

from stoker.ids import WorkerId
from stoker.job import Job
from stoker.metering import NOBODY, Account, Held, read
from stoker.store.image import Image, Needs
from stoker.store.transitions import find_worker
from stoker.worker import Worker


class ReadMeter(msgspec.Struct, frozen=True, gc=False):
    """See `WorkerRows.read_meter`."""

    worker: WorkerId
    at_ms: int

    def need(self, needs: Needs) -> None:
        """The worker and the jobs that it runs."""
        needs.workers.add(self.worker)
        needs.held_by.add(self.worker)

    def decide(self, image: Image) -> None:
        """Raises `NotFound`."""
        worker = find_worker(image, self.worker).worker
        if worker.meter is None or not worker.unmetered:
            return
        until_ms = worker.counted_until_ms
        meter, readings = read(
            worker.meter,
            self.at_ms if until_ms is None else min(self.at_ms, until_ms),
            idle_ms=worker.idle_ms,
            holding=[_held(image.jobs[job].job) for job in image.running[self.worker]],
        )
        for hour_ms, use, key, ms in readings:
            image.used[_account(worker, hour_ms, use, key)] += ms
        if meter != worker.meter:
            image.save_worker(replace(worker, meter=meter))


def _held(job: Job) -> Held:
    assert job.claimed_ms is not None, "a running job was claimed"
    return Held(job.key or NOBODY, job.claimed_ms)


def _account(worker: Worker, hour_ms: int, use: str, key: str) -> Account:
    return Account(
        team=worker.team,
        hour_ms=hour_ms,
        endpoint=worker.endpoint,
        release=worker.release,
        specification=worker.specification,
        price_micros=worker.price_per_hour_micros,
        use=use,
        key=key,
        volume="",
    )


__all__ = ["ReadMeter"]
