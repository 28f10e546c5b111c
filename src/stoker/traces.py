"""Traces: what became of each job, told to a collector when the job has ended, from what the ledger says of it.

Nothing is noted while a job lives: its story is read when it is over, so a server that tells no traces does nothing for them, and one that
does is not slower on the way of a job. A collector that does not answer is told later, for as long as the job's story is kept; so is what ended
while no server was on duty, within a day (`bookmark`).
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterator, Sequence
from typing import Final, Protocol

from stoker.bookmark import Bookmark
from stoker.endpoint import LIMITS
from stoker.ids import JobId, WorkerId
from stoker.job import JobState
from stoker.span import Parent, Span, sampled, span_id, trace_id
from stoker.store import Store, StoryLine
from stoker.store.ledger import LedgerLine
from stoker.webhook import Notice, Try
from stoker.worker import Worker

PAGE: Final = 500
"""Lines of the ledger in one look."""
TRIES_MOST: Final = 1_000
"""Of webhooks that wait to be told; the oldest go first."""
PARENT_LIFE_MS: Final = LIMITS["ttl_ms"].most
"""How long it is kept whose trace a job belongs to: no job lives longer."""
FORGET_EVERY_MS: Final = 3_600_000
WORKERS_MOST: Final = 1_000
"""Workers that are remembered."""
_BEGINS: Final = {"submitted": "queued", "retried": "queued", "requeued": "queued", "taken_back": "queued"} | {
    "delivered_ahead": "ahead",
    "claimed": "running",
}
"""What a job does from a line of that kind on."""


class Collector(Protocol):
    """Where spans are told."""

    ratio: float
    """The share of jobs that it wants to hear of."""

    async def tell(self, spans: Sequence[Span]) -> None:
        """Send them. Raises `Unavailable` when nobody took them."""
        ...


class Traces:
    """What this server, on duty, has yet to tell."""

    def __init__(self, store: Store, collector: Collector) -> None:
        self._store = store
        self._collector = collector
        self._place = Bookmark(store, "traces")
        self._forget_ms = 0
        """When to do so next."""
        self._tries: deque[tuple[JobId, Notice, Try]] = deque(maxlen=TRIES_MOST)
        self._workers: OrderedDict[WorkerId, Worker | None] = OrderedDict()

    def tried(self, notice: Notice, tried: Try) -> None:
        """A receiver was told of the end of a job, or should have been."""
        if sampled(notice.job, self._collector.ratio):
            self._tries.append((notice.job, notice, tried))

    async def look(self, now_ms: int) -> bool:
        """Tell of what ended since the last look; whether there is more. Raises `Unavailable`: then the next look begins where this did."""
        after = await self._place.find(now_ms)
        found = await self._store.ledger.read(after, teams=None, limit=PAGE)
        ended = [(line.job, line) for line in found.lines if line.job is not None and ends(line)]
        ended = [(job, line) for job, line in ended if sampled(job, self._collector.ratio)]
        tries = tuple(self._tries)
        parents = await self._store.trace_parents.of_jobs([job for job, _ in ended] + [job for job, _, _ in tries])
        spans = [span_of_try(notice, tried, parents.get(job)) for job, notice, tried in tries]
        for job, line in ended:
            spans += await self._spans(job, line, parents.get(job))
        if spans:
            await self._collector.tell(spans)
        for _ in range(min(len(tries), len(self._tries))):
            self._tries.popleft()
        await self._place.move(found.upto, now_ms, more=found.more)
        return found.more

    async def forget(self, now_ms: int) -> None:
        """Forget, now and then, whose traces jobs belong to that cannot be there any more."""
        if now_ms < self._forget_ms:
            return
        self._forget_ms = now_ms + FORGET_EVERY_MS
        await self._store.trace_parents.forget(now_ms - PARENT_LIFE_MS)

    async def _spans(self, job: JobId, end: LedgerLine, parent: Parent | None) -> Sequence[Span]:
        story = life(await self._store.jobs.story(job), end.at_ms)
        if not story:
            return ()  # it is forgotten
        worker = None if end.worker is None else await self._worker(end.worker)
        return spans_of(job, story, end, worker, parent)

    async def _worker(self, worker: WorkerId) -> Worker | None:
        if worker not in self._workers:
            self._workers[worker] = await self._store.workers.get(worker)
            if len(self._workers) > WORKERS_MOST:
                self._workers.popitem(last=False)
        return self._workers[worker]


def ends(line: LedgerLine) -> bool:
    """Whether a job is over with it."""
    return line.job is not None and line.state in _FINAL


_FINAL: Final = frozenset(str(state) for state in JobState if state.final)


def life(story: Sequence[StoryLine], end_ms: int) -> Sequence[StoryLine]:
    """The lines from the job's submission, or from the retry that began it anew, to its end at that moment."""
    lines = [line for line in story if line.at_ms <= end_ms]
    while lines and lines[-1].state not in _FINAL:
        lines.pop()  # it was retried in the same millisecond
    first = max((at for at, line in enumerate(lines) if line.kind == "retried"), default=0)
    return lines[first:]


def spans_of(
    job: JobId, story: Sequence[StoryLine], end: LedgerLine, worker: Worker | None, parent: Parent | None = None
) -> Sequence[Span]:
    """A job's life as a tree: the job, below it how it waited and ran; below waiting, the start of the worker that it waited for."""
    trace = trace_id(job) if parent is None else parent.trace
    root = Span(
        trace=trace,
        id=span_id(job, "job", end.at_ms),
        parent=None if parent is None else parent.span,
        name="job",
        begin_ms=story[0].at_ms,
        end_ms=end.at_ms,
        attributes={
            "stoker.job": job,
            "stoker.endpoint": end.endpoint,
            "stoker.team": end.team,
            "stoker.state": end.state,
            "stoker.reason": end.reason,
            "stoker.attempts": max((line.attempt or 0 for line in story), default=0),
        },
        failed=None if end.state in (JobState.COMPLETED, JobState.CANCELLED) else end.reason,
    )
    phases = [
        phase
        for began, ended in _phases(story)
        for phase in _phase(job, root, began, ended, confirmed_ms=_confirmed_ms(story, began, ended), worker=worker)
    ]
    return (root, *phases)


def _phases(story: Sequence[StoryLine]) -> Iterator[tuple[StoryLine, StoryLine]]:
    """The lines that began and ended each phase."""
    began: StoryLine | None = None
    for line in story:
        if line.kind in _BEGINS or line.state in _FINAL:
            if began is not None:
                yield began, line
            began = line


def _confirmed_ms(story: Sequence[StoryLine], began: StoryLine, ended: StoryLine) -> int | None:
    """When the worker first showed that it has the attempt."""
    shown = (line.at_ms for line in story if line.kind == "confirmed" and line.attempt == began.attempt)
    return next((at_ms for at_ms in shown if began.at_ms <= at_ms <= ended.at_ms), None)


def _phase(
    job: JobId, root: Span, began: StoryLine, ended: StoryLine, *, confirmed_ms: int | None, worker: Worker | None
) -> Iterator[Span]:
    name = _BEGINS[began.kind]
    about: dict[str, str | int | bool] = {"stoker.reason": ended.reason}
    if began.worker is not None and name != "queued":
        about["stoker.worker"] = began.worker
    if began.attempt is not None and name == "running":
        about["stoker.attempt"] = began.attempt
    lost = name == "running" and ended.kind == "requeued"
    failed = ended.reason if lost or (name == "running" and root.failed and ended.state in _FINAL) else None
    phase = _below(job, root, name, began.at_ms, ended.at_ms, attributes=about, failed=failed)
    yield phase
    if name == "running" and confirmed_ms is not None:
        yield _below(job, phase, "delivered", began.at_ms, confirmed_ms)
    if name == "queued" and worker is not None and ended.worker == worker.id:
        yield from _start(job, phase, worker)


def _start(job: JobId, queued: Span, worker: Worker) -> Iterator[Span]:
    """The start of the worker, as far as the job waited for it."""
    if worker.ready_ms is None or worker.ready_ms <= queued.begin_ms:
        return
    start = _below(
        job,
        queued,
        "worker start",
        max(worker.decided_ms, queued.begin_ms),
        min(worker.ready_ms, queued.end_ms),
        attributes={"stoker.worker": worker.id, "stoker.worker.decided_ms": worker.decided_ms},
    )
    yield start
    launched_ms = worker.launched_ms
    if launched_ms is not None:
        middle_ms = min(max(launched_ms, start.begin_ms), start.end_ms)
        yield _below(job, start, "launch", start.begin_ms, middle_ms)
        yield _below(job, start, "load", middle_ms, start.end_ms)


def _below(
    job: JobId,
    above: Span,
    name: str,
    begin_ms: int,
    end_ms: int,
    *,
    attributes: dict[str, str | int | bool] | None = None,
    failed: str | None = None,
) -> Span:
    return Span(
        trace=above.trace,
        id=span_id(job, f"{name} below {above.id}", begin_ms),
        parent=above.id,
        name=name,
        begin_ms=begin_ms,
        end_ms=max(begin_ms, end_ms),
        attributes=attributes or {},
        failed=failed,
    )


def span_of_try(notice: Notice, tried: Try, parent: Parent | None = None) -> Span:
    """A try to tell a receiver, below the job."""
    job, ended_ms = notice.job, notice.ended.finished_ms or tried.at_ms
    about: dict[str, str | int | bool] = {"stoker.webhook": notice.id, "server.address": notice.ended.receiver or ""}
    if tried.status is not None:
        about["http.response.status_code"] = tried.status
    return Span(
        trace=trace_id(job) if parent is None else parent.trace,
        id=span_id(job, f"webhook {notice.id}", tried.at_ms),
        parent=span_id(job, "job", ended_ms),
        name="webhook",
        begin_ms=tried.at_ms,
        end_ms=tried.at_ms + tried.duration_ms,
        attributes=about,
        failed=None if tried.succeeded else (tried.error or f"it answered {tried.status}"),
    )


__all__ = ["Collector", "Traces", "ends", "life", "span_of_try", "spans_of"]
