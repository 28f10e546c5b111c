"""What is known of rows without asking: those that this server's last transactions wrote.

Called by `batch.py`. Other servers write too, so nothing that is known is sure. Each row is known with its version, the number of the
transaction that wrote it (PostgreSQL's `xmin`), and what was decided on known rows is saved by a statement that changes nothing if
one of them is another by now (`Lent`, checked by `save.py`). Then all of it is forgotten, and decided again on rows that are read and
locked. So knowledge is never believed; it saves the reading.

Jobs are known while a worker runs them or while they wait in a short queue, workers while they hold nothing but what they run.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import msgspec

from stoker.ids import EndpointId, JobId, WorkerId
from stoker.job import JobState
from stoker.store import Result
from stoker.store.image import Head, Image, Needs, StoredJob, StoredWorker
from stoker.store.recent import Recent
from stoker.worker import WorkerState, took_lately

ROWS_MOST: Final = 20_000
"""Jobs and workers known at once."""
HEAD_MOST: Final = 64
"""Jobs of a queue that is known as a whole."""
HEAD_BYTES: Final = 256 * 1024
"""Their inputs."""
PAUSE_MOST: Final = 64
"""Transactions that read what they need after knowledge was wrong; it doubles with every time in a row."""
Version = int


class Lent(msgspec.Struct):
    """What an image was made of without asking, and what must be so when its changes are saved."""

    jobs: dict[JobId, Version] = msgspec.field(default_factory=dict)
    workers: dict[WorkerId, Version] = msgspec.field(default_factory=dict)
    slots: dict[EndpointId, int] = msgspec.field(default_factory=dict)
    """Of the endpoints of those workers."""
    heads: dict[JobId, Version] = msgspec.field(default_factory=dict)
    """Of jobs that wait: those that are not taken may be whatever they are."""
    waiting: dict[EndpointId, int] = msgspec.field(default_factory=dict)
    """How many jobs wait there: the heads, and no other."""

    def version(self, table: str, row: Any) -> Version:
        """Of a row that is written, which needs no other look then."""
        if table == "workers":
            return self.workers.pop(row)
        return self.jobs.pop(row) if row in self.jobs else self.heads[row]


class Waiting(NamedTuple):
    """A job of a queue."""

    version: Version
    stored: StoredJob
    head: Head


class Known:
    """Rows by their ids, with their versions, and queues of which no job is left behind."""

    def __init__(self) -> None:
        self.recent = Recent()
        """Completed jobs. Whatever happens to one, it stays as it is until it is forgotten; that another server forgot it early, for room,
        is not noticed here."""
        self._jobs: dict[JobId, tuple[Version, StoredJob]] = {}
        self._workers: dict[WorkerId, tuple[Version, StoredWorker]] = {}
        self._running: defaultdict[WorkerId, set[JobId]] = defaultdict(set)
        """Which known jobs a worker runs."""
        self._queues: dict[EndpointId, list[Waiting]] = {}
        self._empty: set[EndpointId] = set()
        """Endpoints in whose queue nothing waited after the last transaction that looked, unless another server has spoken since."""
        self._doubted: set[EndpointId] = set()
        """Of whom other servers spoke while a transaction was under way."""
        self.hears = False
        """Whether other servers are heard, so that a queue may be said to be empty without looking."""
        self._pause = 0
        self._left = 0

    def forget(self) -> None:
        """All that may be another by now."""
        self._jobs.clear()
        self._workers.clear()
        self._running.clear()
        self._queues.clear()
        self._empty.clear()

    def heard(self, words: Sequence[str]) -> None:
        """What other servers say (`stoker.signals`): a job may wait at an endpoint; a worker or a job is another now."""
        for word in words:
            kind, _, name = word.partition(" ")
            if kind in ("next", "queue"):
                self._doubted.add(EndpointId(name))
                self._empty.discard(EndpointId(name))
            elif kind == "worker":
                self._workers.pop(WorkerId(name), None)
            elif kind == "job":
                self._forget_job(JobId(name))

    def nothing_for(self, worker: WorkerId, at_ms: int) -> bool:
        """Whether a take of this worker, which has nothing, would find nothing and change nothing: who waits hears of what comes."""
        if not self.hears or worker not in self._workers:
            return False
        _, stored = self._workers[worker]
        return (
            stored.worker.endpoint in self._empty
            and stored.worker.state is WorkerState.READY
            and took_lately(stored.worker, at_ms)
            and not stored.running
        )

    def was_wrong(self) -> None:
        """Somebody else wrote a row that was lent. Where several servers work on the same rows reading them is cheaper."""
        self.forget()
        self._pause = min(PAUSE_MOST, max(1, 2 * self._pause))
        self._left = self._pause

    def was_right(self) -> None:
        """What was decided on lent rows was saved."""
        self._pause = 0

    def lend(self, image: Image, needs: Needs) -> Lent | None:
        """Fill the image with all that is needed; None when not all of it is known. Every transaction begins with it."""
        self._doubted.clear()
        if self._left:
            self._left -= 1
            return None
        if needs.keys or needs.queued or needs.alive_of or needs.places:
            return None
        lent = Lent()
        if not self._lend_jobs(image, lent, needs) or not self._lend_workers(image, lent, needs):
            return None
        return lent if self._lend_queues(image, lent, needs) else None

    def _lend_jobs(self, image: Image, lent: Lent, needs: Needs) -> bool:
        for worker in needs.held_by:
            running = self._running.get(worker, ())
            image.running[worker].update(running)
            for job in running:
                lent.jobs[job], image.jobs[job] = self._jobs[job]
        for job in needs.jobs:
            known = self._jobs.get(job)
            if known is None:
                return False
            lent.jobs[job], image.jobs[job] = known
        return True

    def _lend_workers(self, image: Image, lent: Lent, needs: Needs) -> bool:
        others = {stored.job.worker for stored in image.jobs.values() if stored.job.worker is not None}
        for worker in needs.workers | others:
            known = self._workers.get(worker)
            if known is None:
                return False
            lent.workers[worker], stored = known
            if worker in needs.held_by and stored.running != len(image.running[worker]):
                return False
            image.workers[worker] = stored
            lent.slots[stored.worker.endpoint] = stored.slots
        return True

    def _lend_queues(self, image: Image, lent: Lent, needs: Needs) -> bool:
        for endpoint, wanted in image.heads_wanted(needs).items():
            queue = self._queues.get(endpoint)
            if queue is None:
                return False
            image.add_head(endpoint, [one.head for one in queue], wanted, whole=True)
            lent.waiting[endpoint] = len(queue)
            for one in queue:
                lent.heads[one.head.job], image.jobs[one.head.job] = one.version, one.stored
        return True

    def keep(self, image: Image, version: Version | None) -> None:
        """The image's transaction was committed under that number; None when it wrote nothing."""
        if len(self._jobs) + len(self._workers) + len(image.jobs) + len(image.workers) > ROWS_MOST:
            self.forget()
        written = {change.after.id for change in image.job_changes()} | image.new_jobs.keys()
        if version is not None:
            for job in written:
                self._keep_job(image.jobs[job], version)
            self._keep_workers(image, version)
        self._keep_queues(image, version, written)
        self._keep_results(image)

    def _forget_job(self, job: JobId) -> None:
        known = self._jobs.pop(job, None)
        if known is not None and (runner := known[1].job.worker) is not None:
            self._running[runner].discard(job)
            if not self._running[runner]:
                del self._running[runner]

    def _keep_job(self, stored: StoredJob, version: Version) -> None:
        job = stored.job
        self._forget_job(job.id)
        if job.state is JobState.RUNNING and job.worker is not None:
            self._jobs[job.id] = version, stored
            self._running[job.worker].add(job.id)

    def _keep_workers(self, image: Image, version: Version) -> None:
        for stored in image.worker_changes():
            worker = stored.worker
            if worker.alive and stored.slots and not stored.stopping and not stored.ahead:
                self._workers[worker.id] = version, stored
            else:
                self._workers.pop(worker.id, None)
                self._running.pop(worker.id, None)

    def _keep_queues(self, image: Image, version: Version | None, written: set[JobId]) -> None:
        for endpoint in image.whole_heads:
            before = {one.head.job: one.version for one in self._queues.pop(endpoint, ())}
            heads = [head for head in image.heads[endpoint] if image.jobs[head.job].job.state is JobState.QUEUED]
            self._empty.discard(endpoint)
            if not heads and endpoint not in self._doubted:
                self._empty.add(endpoint)
            versions = [version if head.job in written else before.get(head.job) for head in heads]
            short = len(heads) <= HEAD_MOST and sum(len(head.input) for head in heads) <= HEAD_BYTES
            if short and None not in versions:
                self._queues[endpoint] = [
                    Waiting(known, image.jobs[head.job], head)
                    for known, head in zip(versions, heads, strict=True)
                    if known is not None
                ]
        for endpoint in image.unsettled:
            self._queues.pop(endpoint, None)
            self._empty.discard(endpoint)

    def _keep_results(self, image: Image) -> None:
        for change in image.job_changes():
            body = image.bodies.get(change.seq)
            if change.after.state is JobState.COMPLETED and body is not None and body.fresh:
                self.recent.keep(Result(job=change.after, output=body.output, error=body.error))
