"""What must be true at every moment of a simulated day, and at its end.

A checker looks at the store between two steps of the loop, so what it sees is one moment, and raises `AssertionError` with the
story of whatever broke a rule.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from stoker.endpoint import Endpoint
from stoker.errors import NotFound
from stoker.fleet import RETELL_STOP_AFTER_S, Fleet
from stoker.ids import EndpointId, JobId
from stoker.job import ATTEMPTS_MAX, Job, JobState
from stoker.queue import Queue
from stoker.scaling import Plan, decide
from stoker.signals import Signals
from stoker.store import Counts, Held, Page, Result, StoryLine
from stoker.worker import Worker, WorkerState
from tests.simulation.world import World

TROUBLE_S: Final = 150
"""How long a dead server, an absent runtime and a late disk may delay anything, all together."""
ALL: Final = Page(limit=1_000_000)
FRESH_S: Final = 30
"""For how long an explanation may be out of date."""
FINAL: Final = frozenset(state.value for state in JobState if state.final)


@dataclass(frozen=True, kw_only=True)
class End:
    """How a job ended, as it was first seen."""

    job: Job
    output: bytes | None
    retention_ends_ms: int


class Checker:
    """Looks at a world again and again."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._queue = Queue(world.view, world.clock, Signals())
        self._fleet = Fleet(world.view, world.clock, Signals(), world.devices(), world.setting.terms)
        self._doubts: dict[EndpointId, tuple[int, int]] = {}
        """What was said about an endpoint (when), and since when that has not been what would be decided."""
        self._ends: dict[JobId, End] = {}
        self._retried: set[JobId] = set()

    def open_jobs(self) -> list[JobId]:
        """Accepted jobs that have not been seen to end."""
        return [job for job in self._world.accepted if job not in self._ends]

    def client_retried(self, job: JobId) -> None:
        """A client asked for another run: the end that was seen need not last."""
        self._retried.add(job)
        self._ends.pop(job, None)

    # ── at every moment ───────────────────────────────────────────────────────────────────────────────────────────────

    async def look(self) -> None:
        """Check this moment."""
        alive = await self._world.view.workers.alive()
        for held in alive:
            self._check_worker(held.worker)
        self._check_devices(alive)
        for endpoint in await self._world.view.endpoints.active():
            await self._check_endpoint(endpoint, [one for one in alive if one.worker.endpoint == endpoint.id])
        for job in self.open_jobs():
            await self._check_job(job)

    def _check_worker(self, worker: Worker) -> None:
        terms, now_ms = self._world.setting.terms, self._world.clock.now_ms()
        limit_s, since_ms = {
            WorkerState.DECIDED: (terms.start_timeout_s, max(worker.decided_ms, self._world.started_ms)),
            WorkerState.STARTING: (terms.start_timeout_s, max(worker.decided_ms, self._world.started_ms)),
            WorkerState.DRAINING: (600 + terms.cancel_grace_s, worker.drained_ms),
            WorkerState.STOPPING: (terms.stop_grace_s + RETELL_STOP_AFTER_S, worker.stopped_ms),
        }.get(worker.state, (0.0, None))
        if since_ms is not None:
            age_s = (now_ms - since_ms) / 1000
            assert age_s <= limit_s + TROUBLE_S, f"{worker.state} for {age_s:g} s: {worker}"

    def _check_devices(self, alive: Iterable[Held]) -> None:
        promised = Counter(device for held in alive for device in held.worker.gpus)
        assert all(count == 1 for count in promised.values()), f"devices promised twice: {promised}"

    async def _check_endpoint(self, endpoint: Endpoint, alive: list[Held]) -> None:
        replacing = any(held.worker.release != endpoint.release for held in alive)
        most = endpoint.max_workers + (endpoint.max_surge if replacing else 0)
        assert len(alive) <= most, f"{len(alive)} workers of at most {most}"
        running = self._world.running(endpoint.id)
        assert len(running) <= most, f"the machine runs {len(running)} of {most}"
        for held in alive:
            assert held.in_slots <= endpoint.slots, f"{held.in_slots} jobs in {endpoint.slots} slots: {held}"
        queued = await self._jobs(endpoint, JobState.QUEUED)
        now_running = await self._jobs(endpoint, JobState.RUNNING)
        ahead = [job for job in queued if job.state is JobState.AHEAD]
        queued = [job for job in queued if job.state is JobState.QUEUED]
        low = sum(job.low_priority for job in queued)
        counts = await self._world.view.jobs.counts(endpoint.id)
        assert (counts.queued, counts.queued_low, counts.running) == (len(queued) - low, low, len(now_running))
        assert counts.ahead == len(ahead) == sum(held.ahead for held in alive)
        for job in now_running:
            self._check_running(job, alive)
        if queued:
            await self._check_reason(endpoint, queued[0])
        else:
            self._doubts.pop(endpoint.id, None)

    async def _jobs(self, endpoint: Endpoint, state: JobState) -> list[Job]:
        return list(await self._world.view.jobs.list(endpoint.team, endpoint.id, state=state, page=ALL))

    def _check_running(self, job: Job, alive: list[Held]) -> None:
        holders = [held.worker for held in alive if held.worker.id == job.worker]
        assert len(holders) == 1, f"nobody holds {job}"
        assert holders[0].state in (WorkerState.READY, WorkerState.DRAINING), f"{holders[0]} holds {job}"
        age_s = (self._world.clock.now_ms() - (job.claimed_ms or 0)) / 1000
        assert age_s <= job.execution_limit_ms / 1000 + TROUBLE_S, f"running for {age_s:g} s: {job}"
        if job.confirmed_ms is None and holders[0].pinged_ms is not None:
            assert age_s <= self._world.setting.terms.lease_s + TROUBLE_S, f"never confirmed for {age_s:g} s: {job}"

    async def _check_reason(self, endpoint: Endpoint, job: Job) -> None:
        """Every wait can be explained, and nothing is said for long that would not be decided now."""
        why = await self._queue.why(Result(job=job, output=None, error=None))
        assert why.text
        now_ms = self._world.clock.now_ms()
        said = await self._world.view.workers.decision(endpoint.id)
        said_ms = 0 if said is None else said.at_ms
        if self._world.well and (said is None or said.reason != (await self._decide(endpoint)).reason):
            wrong_ms, since_ms = self._doubts.setdefault(endpoint.id, (said_ms, now_ms))
            if wrong_ms == said_ms:
                assert now_ms - since_ms < FRESH_S * 1000, f"{job} waits, and hears only {said}"
                return
        self._doubts.pop(endpoint.id, None)

    async def _decide(self, endpoint: Endpoint) -> Plan:
        return decide(await self._fleet.snapshot(endpoint))

    # ── jobs and their ends ───────────────────────────────────────────────────────────────────────────────────────────

    async def _check_job(self, job_id: JobId) -> None:
        result = await self._world.view.jobs.result(self._world.team, None, job_id)
        assert result is not None, f"job {job_id} was accepted and is lost"
        job, now_ms = result.job, self._world.clock.now_ms()
        assert job.losses <= job.retry_limit, f"lost more often than it may be retried: {job}"
        assert job.attempt <= ATTEMPTS_MAX
        if job.state.final:
            check_story(job, await self._world.view.jobs.story(job_id))
            check_output(result)
            self._ends[job_id] = End(job=job, output=result.output, retention_ends_ms=job.purge_ms or 0)
        else:
            assert now_ms <= job.expires_ms + TROUBLE_S * 1000, f"outlived its time to live: {job}"

    async def check_ends(self) -> None:
        """No end that was seen has changed since; results are there until their retention ends."""
        for job_id, end in self._ends.items():
            try:
                result = await self._queue.status(self._world.team, None, job_id)
            except NotFound:
                assert end.retention_ends_ms <= self._world.clock.now_ms(), f"forgotten too early: {end}"
                continue
            assert (result.job, result.output) == (end.job, end.output), f"changed after its end: {end}"

    async def check_counters(self) -> None:
        """Counters since creation equal what the stories tell. Only while nothing has been pruned."""
        for endpoint in await self._world.view.endpoints.active():
            told: Counter[str] = Counter()
            for job in await self._world.view.jobs.list(endpoint.team, endpoint.id, state=None, page=ALL):
                lines = await self._world.view.jobs.story(job.id)
                told.update(line.state for line in lines if line.state in FINAL)
                told.update("retried" for line in lines if line.kind == "requeued")
            counts = await self._world.view.jobs.counts(endpoint.id)
            assert counts == Counts(**told), "the counters tell another story than the jobs"


def check_output(result: Result) -> None:
    """A completed job carries the result of the worker whose attempt was the last."""
    if result.job.state is JobState.COMPLETED:
        assert result.output is not None
        assert json.loads(result.output)["worker"] == result.job.worker, f"another worker's result: {result}"


_FOLLOWS: Final = {
    "": {"queued"},
    "queued": {"running"} | FINAL,
    "running": {"running", "queued"} | FINAL,
} | {state: {"queued"} for state in FINAL}


def check_story(job: Job, lines: Iterable[StoryLine]) -> None:
    """A job moves as the states allow; an end is left only by a client's retry; an attempt has one worker."""
    story = list(lines)
    before, attempt, worker = "", 0, None
    for line in story:
        told = "\n".join(map(str, story))
        moved = line.kind not in ("delivered_ahead", "taken_back")
        assert line.state in _FOLLOWS[before] or (not moved and line.state == before == "queued"), (
            f"{before} was followed by {line}:\n{told}"
        )
        assert before not in FINAL or line.kind == "retried", f"an end was left:\n{told}"
        if line.kind == "retried":
            attempt = 0
        if before == "queued" and line.kind == "finished":  # ahead, and its turn came unseen
            attempt += 1
        if line.kind == "claimed":
            attempt, worker = attempt + 1, line.worker
            assert line.attempt == attempt, f"attempt {line.attempt} is the {attempt}th:\n{told}"
        if before == "running":
            assert line.worker == worker, f"{line.worker} had a say in {worker}'s attempt:\n{told}"
        before = line.state
    assert before == job.state, "the story ends elsewhere"
    assert story[-1].reason == job.reason, f"no reason for the end: {job}"
