"""What is known of the rows without asking: those that the last transactions had in hand.

Called by `transaction.py`. There is one writer and one transaction at a time, so what a committed one leaves in its image is what
the next would read. Jobs are known while a worker has them or while they are at the head of a short queue, workers while
they are alive. What must stay true: whatever fails, and whatever is written past an image, makes it forgotten (`forget`).
"""

from __future__ import annotations

from typing import Final

from stoker.ids import EndpointId, JobId, WorkerId
from stoker.job import Job, JobState
from stoker.store import Result
from stoker.store.image import Body, Head, Image, Needs, StoredJob, StoredWorker
from stoker.store.recent import Recent
from stoker.worker import GONE, READY, took_lately

ROWS_MOST: Final = 20_000
"""Jobs and workers known at once."""
HEAD_MOST: Final = 64
"""Jobs of a queue that is known as a whole."""
HEAD_BYTES: Final = 256 * 1024
"""Their inputs."""
_NOTHING: Final = Body(None, None, fresh=True)


class Known:
    """Rows by their ids, and queues of which no job is left behind."""

    def __init__(self) -> None:
        self.recent = Recent()
        self._jobs: dict[JobId, StoredJob] = {}
        self._workers: dict[WorkerId, StoredWorker] = {}
        self._queues: dict[EndpointId, list[Head]] = {}
        self._empty: set[EndpointId] = set()
        """Endpoints with nothing in their queue, as everybody was told."""
        self._news: dict[EndpointId, bool] = {}
        """Whether queues became empty, for `settle` to believe."""
        self.last_seq: int | None = None
        """The number of the newest job."""

    def forget(self) -> None:
        """Everything."""
        self.recent.clear()
        self._jobs.clear()
        self._workers.clear()
        self._queues.clear()
        self._empty.clear()
        self._news.clear()
        self.last_seq = None

    def settle(self) -> None:
        """Everybody has been told what the last transaction did."""
        for endpoint, empty in self._news.items():
            (self._empty.add if empty else self._empty.discard)(endpoint)
        self._news.clear()

    def nothing_for(self, worker: WorkerId, at_ms: int) -> bool:
        """Whether a take of this worker, which has nothing, would find nothing and change nothing.

        Said of the last transaction that everybody was told of: who waits hears of whatever came since.
        """
        stored = self._workers.get(worker)
        return (
            stored is not None
            and stored.worker.endpoint in self._empty
            and stored.worker.state is READY
            and took_lately(stored.worker, at_ms)
            and not (stored.running or stored.stopping or stored.ahead)
        )

    def lend(self, image: Image, needs: Needs) -> None:
        """Put into the image what is needed by its id and known."""
        for job in needs.jobs & self._jobs.keys():
            image.jobs[job] = self._jobs[job]
        self.lend_workers(image, needs.workers)

    def lend_workers(self, image: Image, workers: set[WorkerId]) -> None:
        """Those that are known."""
        for worker in workers & self._workers.keys():
            image.workers[worker] = self._workers[worker]

    def queue(self, image: Image, endpoint: EndpointId) -> list[Head] | None:
        """All waiting jobs of the endpoint, if that is known; they are among the image's jobs then."""
        queue = self._queues.pop(endpoint, None)
        for head in queue or ():
            image.jobs.setdefault(head.job, self._jobs[head.job])
        return queue

    def keep(self, image: Image) -> None:
        """The image's transaction was committed."""
        if self.last_seq is not None:
            self.last_seq += len(image.new_jobs)
        if len(self._jobs) + len(self._workers) + len(image.jobs) + len(image.workers) > ROWS_MOST:
            self.forget()
            return
        for worker in image.restated | (image.workers.keys() - self._workers.keys()):  # the others are the same objects
            stored = image.workers[worker]
            if stored.slots and stored.worker.state is not GONE:
                self._workers[worker] = stored
            else:
                self._workers.pop(worker, None)
        for job, row in image.jobs.items():
            if row.job.state.held:
                self._jobs[job] = row
            else:
                self._jobs.pop(job, None)
        self._keep_results(image)
        for endpoint in image.whole_heads:
            self._keep_queue(image, endpoint)
        for endpoint in image.unsettled:
            self._news[endpoint] = False
            for head in self._queues.pop(endpoint, ()):
                self._jobs.pop(head.job, None)

    def _keep_results(self, image: Image) -> None:
        """Of jobs under way too: who waits for one asks again and again."""
        bodies = dict(image.bodies)
        for new in image.new_jobs:
            stored = image.jobs[new]
            self._show(stored.job, bodies.pop(stored.seq, _NOTHING))
        for change in image.job_changes():
            body = bodies.pop(change.seq, None)
            if body is None:
                self.recent.follow(change.after)
            else:
                self._show(change.after, body)
        if bodies:  # what a job said that is otherwise as it was
            for stored in image.jobs.values():
                if stored.seq in bodies:
                    self._show(stored.job, bodies[stored.seq])

    def _show(self, job: Job, body: Body) -> None:
        """The job's status shows this body now."""
        if body.fresh:
            self.recent.keep(Result(job=job, output=body.output, error=body.error))
        elif (shown := self.recent.get(job.id)) is not None:
            output = shown.output if body.output is None else body.output
            self.recent.keep(Result(job=job, output=output, error=shown.error if body.error is None else body.error))

    def _keep_queue(self, image: Image, endpoint: EndpointId) -> None:
        heads = [head for head in image.heads[endpoint] if image.jobs[head.job].job.state is JobState.QUEUED]
        self._news[endpoint] = not heads
        if len(heads) <= HEAD_MOST and sum(len(head.input) for head in heads) <= HEAD_BYTES:
            self._queues[endpoint] = heads
            self._jobs.update((head.job, image.jobs[head.job]) for head in heads)
