"""What happens to workers: launch, drain, stop, observe; and what their environment is.

Called by the autoscaler (launch and drain lines of a plan), by the lifeline (what the runtime sees, what time has done), by
users (stop) and by the server (stop everything). Decisions are made elsewhere: `scaling.decide` for how many,
`worker.advance` for what an event means. Stored state leads: a worker is written down before it is launched, and told to stop
again for as long as the store says STOPPING.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import structlog

from stoker import ids
from stoker.catalog.sealing import opened
from stoker.clock import Clock
from stoker.endpoint import Endpoint, Release
from stoker.errors import Conflict, StokerError, Unavailable
from stoker.gpus import free_devices, reserve
from stoker.ids import EndpointId, TeamId, WorkerId
from stoker.images import Images
from stoker.job import Job, JobState
from stoker.runtimes import Capacity, Forgets, LogLine, Observation, Runtime, Volume, WorkerSpec
from stoker.scaling import Plan, Snapshot, WorkerView
from stoker.signals import Signals
from stoker.store import Decision, Held, Store, StoryLine
from stoker.vault import NO_VAULT, Vault
from stoker.worker import (
    Drained,
    Emptied,
    Exited,
    Launched,
    LaunchFailed,
    Pulling,
    StopInRuntime,
    Stopped,
    Vanished,
    Worker,
    WorkerEvent,
    WorkerReason,
    WorkerState,
    WorkerStep,
)

log = structlog.get_logger()

RETELL_STOP_AFTER_S: Final = 5.0
"""A worker that is still there this long after its grace is killed outright."""
LOG_LINES_MOST: Final = 100_000
"""Lines of one worker that are searched for a job's."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FleetTerms:
    """The times that govern workers, and the address they call."""

    worker_url: str
    """Base URL without a slash at the end, reachable from workers."""
    ping_interval_ms: int
    lease_s: float
    cancel_grace_s: float
    stop_grace_s: float
    start_timeout_s: float
    gone_workers_kept_s: float
    skip_system_checks: bool = True
    """Whether the SDK leaves out its checks of memory, disk and outbound network, which fail every start on a closed network."""


class Fleet:
    """Operations on workers."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        signals: Signals,
        runtime: Runtime,
        terms: FleetTerms,
        vault: Vault = NO_VAULT,
        images: Images | None = None,
    ) -> None:
        self._store = store
        self._clock = clock
        self._signals = signals
        self._runtime = runtime
        self._terms = terms
        self._vault = vault
        self._images = images or Images(store, clock, runtime)
        self._pulling: dict[WorkerId, tuple[Worker, Release]] = {}
        self._launching: dict[WorkerId, asyncio.Task[None]] = {}
        self._stopping: set[WorkerId] = set()
        self._decided: dict[EndpointId, tuple[str, str, int]] = {}
        self._since_ms = clock.now_ms()  # what workers could not say or hear before is not held against them
        self._available = True
        self._closing = False
        self._hurried = False

    # ── for the autoscaler ────────────────────────────────────────────────────────────────────────────────────────────

    async def snapshot(self, endpoint: Endpoint) -> Snapshot:
        """Everything the scaling decision looks at."""
        counts = await self._store.jobs.counts(endpoint.id)
        held = await self._store.workers.of_endpoint(endpoint.id)
        failures = await self._store.workers.failures(endpoint.release)
        release = await self._release(endpoint)
        capacity, capacity_text = await self._room(release)
        return Snapshot(
            now_ms=self._clock.now_ms(),
            min_workers=endpoint.min_workers,
            max_workers=endpoint.max_workers,
            idle_timeout_s=endpoint.idle_timeout_s,
            slots=endpoint.slots,
            policy=endpoint.policy,
            deleted=endpoint.deleted_ms is not None,
            paused=endpoint.paused_ms is not None,
            queued=counts.queued,
            queued_low=counts.queued_low,
            oldest_queued_ms=await self._store.jobs.oldest_queued_ms(endpoint.id),
            running=counts.running,
            workers=tuple(_view(one, endpoint) for one in held),
            failures=failures.count,
            crashes=failures.crashes,
            failed_ms=failures.last_ms,
            failure_text=failures.text,
            capacity=capacity,
            capacity_text=capacity_text,
            available=self._available,
        )

    async def carry_out(self, endpoint: Endpoint, plan: Plan) -> None:
        """Do what the plan says, line by line; a line that the world has overtaken is skipped."""
        if self._closing:
            return  # what it says is about a server that goes on
        await self._record(endpoint, plan)
        if endpoint.deleted_ms is not None:  # jobs that its last workers lost: nobody will ever run them
            await self._store.jobs.purge_queue(endpoint.id, self._clock.now_ms())
        for line in plan.drain:
            await self._drain(line.worker, line.reason, line.text)
        if plan.launch is not None:
            release = await self._release(endpoint)
            for _ in range(plan.launch.count):
                await self._launch(endpoint, release, plan.launch.text)

    async def _record(self, endpoint: Endpoint, plan: Plan) -> None:
        """Keep the decision if it is another than the last: under load most looks decide the same."""
        said = (plan.reason, plan.text, plan.wanted)
        if self._decided.get(endpoint.id) == said:
            return
        await self._store.workers.record(
            Decision(
                endpoint=endpoint.id, at_ms=self._clock.now_ms(), reason=plan.reason, text=plan.text, wanted=plan.wanted
            )
        )
        self._decided[endpoint.id] = said

    async def _release(self, endpoint: Endpoint) -> Release:
        release = await self._store.endpoints.release(endpoint.release)
        assert release is not None, "an endpoint always names a stored release"
        return release

    async def _room(self, release: Release) -> tuple[int | None, str]:
        """How many more workers of the release fit on the machine, and why no more."""
        if release.gpus_per_worker == 0:
            return None, ""
        try:
            capacity = await self._runtime.capacity()
        except Unavailable as error:
            return 0, error.message
        free = len(free_devices(capacity.gpus, await self._reserved()))
        text = f"{free} of {len(capacity.gpus)} GPUs are free, a worker needs {release.gpus_per_worker}"
        return free // release.gpus_per_worker, text

    async def _reserved(self) -> list[str]:
        return [gpu for held in await self._store.workers.alive() for gpu in held.worker.gpus]

    # ── launching ─────────────────────────────────────────────────────────────────────────────────────────────────────

    async def _launch(self, endpoint: Endpoint, release: Release, text: str) -> None:
        """Write the worker down, then start it in the background: a start may take long."""
        gpus = await self._reserve(release)
        if gpus is None:
            return
        token = ids.new_worker_token()
        worker = Worker(
            id=ids.new_worker_id(),
            team=endpoint.team,
            endpoint=endpoint.id,
            release=release.id,
            detail=text,
            token_hash=ids.secret_hash(token),
            gpus=gpus,
            decided_ms=self._clock.now_ms(),
        )
        start = asyncio.Event()
        task = asyncio.create_task(self._start(worker, release, token, start), name=f"launch {worker.id}")
        self._launching[worker.id] = task
        task.add_done_callback(lambda _done: self._launching.pop(worker.id, None))
        if not await self._store.workers.add(worker, alive_max=endpoint.max_workers):
            task.cancel()
            return
        log.info("worker_decided", worker=worker.id, endpoint=endpoint.name, why=text)
        start.set()

    async def _reserve(self, release: Release) -> tuple[str, ...] | None:
        if release.gpus_per_worker == 0:
            return ()
        capacity = await self._runtime.capacity()
        return reserve(capacity.gpus, await self._reserved(), release.gpus_per_worker)

    async def _start(self, worker: Worker, release: Release, token: str, start: asyncio.Event) -> None:
        await start.wait()
        try:
            spec = await self._spec(worker, release, token)
            image = await self._have_image(worker, release)
            pulled_ms = self._clock.now_ms()
            login = await self._images.login(release)
            steps = await self._runtime.launch(replace(spec, image=image, login=login))
        except StokerError as error:
            log.warning("launch_failed", worker=worker.id, error=error.message)
            await self._advance(worker, LaunchFailed(at_ms=self._clock.now_ms(), text=error.message))
        else:
            del self._launching[worker.id]
            stages = (("pulled", pulled_ms), *((one.name, one.at_ms) for one in steps)) if steps else ()
            step = await self._advance(worker, Launched(at_ms=self._clock.now_ms(), stages=stages))
            if step.worker.state in (WorkerState.STOPPING, WorkerState.GONE):
                await self._stop_in_runtime(worker.id, grace_s=0)

    async def _spec(self, worker: Worker, release: Release, token: str) -> WorkerSpec:
        """What the runtime is told; secrets are open in it. Raises `Unavailable` when they cannot be opened."""
        env = await opened(self._vault, worker.team, release.env)
        return worker_spec(worker, release, worker_environment(worker, token, self._terms, env))

    async def _have_image(self, worker: Worker, release: Release) -> str:
        self._pulling[worker.id] = (worker, release)
        try:
            return await self._images.have(release)
        finally:
            del self._pulling[worker.id]

    async def _tell_pulls(self) -> None:
        """Let everybody who waits for a worker see how far its image is."""
        for worker, release in list(self._pulling.values()):
            text = self._images.progress(release)
            if text and (await self._advance(worker, Pulling(at_ms=self._clock.now_ms(), text=text))).changed:
                self._signals.scale(worker.endpoint)

    # ── ending ────────────────────────────────────────────────────────────────────────────────────────────────────────

    async def stop(self, worker: Worker, *, now: bool) -> Worker:
        """A user wants the worker gone: after its jobs, or at once."""
        at_ms = self._clock.now_ms()
        reason, detail = WorkerReason.STOPPED_BY_USER, "a user stopped it"
        event: WorkerEvent = (
            Stopped(at_ms=at_ms, reason=reason, detail=detail)
            if now
            else Drained(at_ms=at_ms, reason=reason, detail=detail)
        )
        step = await self._advance(worker, event)
        self._signals.look_at_workers()
        return step.worker

    async def _drain(self, worker_id: WorkerId, reason: WorkerReason, detail: str) -> None:
        worker = await self._store.workers.get(worker_id)
        if worker is None:
            return
        await self._advance(worker, Drained(at_ms=self._clock.now_ms(), reason=reason, detail=detail))
        self._signals.look_at_workers()

    async def _advance(self, worker: Worker, event: WorkerEvent) -> WorkerStep:
        """Store the event, wake whoever is concerned, and tell the runtime if the step says so."""
        held = await self._store.jobs.held_by(worker.id)
        step = await self._store.workers.advance(worker.id, event)
        if not step.changed:
            return step
        if step.worker.state is not worker.state:
            log.info(
                "worker_moved",
                worker=worker.id,
                state=step.worker.state,
                why=step.worker.reason,
                detail=step.worker.detail,
            )
        for job in held:
            self._signals.job_changed(job.id)
        self._signals.jobs_queued(worker.endpoint)
        if any(isinstance(effect, StopInRuntime) for effect in step.effects):
            await self._stop_in_runtime(worker.id, grace_s=self._grace_s(step.worker))
        self._signals.worker_changed(worker.id)
        return step

    def _grace_s(self, worker: Worker) -> float:
        """A worker that did not obey before is not asked again."""
        deaf = worker.reason in (WorkerReason.JOB_NOT_STOPPED, WorkerReason.SILENT, WorkerReason.START_TIMEOUT)
        return 0.0 if deaf else self._terms.stop_grace_s

    async def _stop_in_runtime(self, worker: WorkerId, *, grace_s: float) -> None:
        """Tell the runtime. If it does not answer, the lifeline tells it again; if it still launches the worker, whoever
        launches it does so at the end: calls for one worker are made one after another."""
        if worker in self._launching or worker in self._stopping:
            return
        self._stopping.add(worker)
        try:
            await self._runtime.stop(worker, grace_s=grace_s)
        except Unavailable as error:
            log.warning("runtime_unavailable", worker=worker, error=error.message)
        finally:
            self._stopping.discard(worker)

    # ── for the lifeline ──────────────────────────────────────────────────────────────────────────────────────────────

    async def look(self) -> None:
        """Compare what the runtime sees with what is stored, and let time do its work on workers."""
        alive = await self._store.workers.alive()
        launching = frozenset(self._launching)  # what is seen may be older than the end of a launch
        try:
            seen = {one.worker: one for one in await self._runtime.observe()}
        except Unavailable as error:
            self._available = False
            log.warning("runtime_unavailable", error=error.message)
            return
        self._available = True
        for held in alive:
            if held.worker.id in seen or held.worker.id not in launching:
                await self._look_at(held, seen.get(held.worker.id))
        await self._stop_strays({held.worker.id for held in alive}, list(seen.values()))
        await self._replace_disobedient()
        await self._tell_pulls()

    async def _look_at(self, held: Held, seen: Observation | None) -> None:
        worker, now_ms = held.worker, self._clock.now_ms()
        if seen is not None and seen.exit is not None:
            await self._advance(worker, Exited(at_ms=now_ms, exit=seen.exit))
        elif seen is None:
            await self._advance(worker, Vanished(at_ms=now_ms))
        elif worker.state is WorkerState.DRAINING and held.running + held.ahead == 0:
            await self._advance(worker, Emptied(at_ms=now_ms))
        elif worker.state is WorkerState.STOPPING:
            await self._insist(worker, now_ms)
        else:
            await self._look_at_time(worker, now_ms)

    async def _insist(self, worker: Worker, now_ms: int) -> None:
        patience_s = self._grace_s(worker) + RETELL_STOP_AFTER_S
        if now_ms - (worker.stopped_ms or 0) > patience_s * 1000:
            await self._stop_in_runtime(worker.id, grace_s=0)

    async def _look_at_time(self, worker: Worker, now_ms: int) -> None:
        waited_s = (now_ms - max(worker.decided_ms, self._since_ms)) / 1000
        silent_s = (now_ms - max(worker.seen_ms or 0, self._since_ms)) / 1000
        if worker.never_ready and waited_s > self._terms.start_timeout_s:
            text = f"it did not ask for work within {self._terms.start_timeout_s:g} s"
            await self._advance(worker, Stopped(at_ms=now_ms, reason=WorkerReason.START_TIMEOUT, detail=text))
        elif worker.pinged_ms is not None and not worker.never_ready and silent_s > self._terms.lease_s:
            text = f"it has been silent for {silent_s:.0f} s"
            await self._advance(worker, Stopped(at_ms=now_ms, reason=WorkerReason.SILENT, detail=text))

    async def _stop_strays(self, alive: set[WorkerId], seen: Sequence[Observation]) -> None:
        """Workers of ours that run although the store says they are over (or lost its memory of them)."""
        for one in seen:
            if one.exit is None and one.worker not in alive and one.worker not in self._launching:
                worker = await self._store.workers.get(one.worker)
                if worker is None or not worker.alive:
                    log.warning("stray_worker_stopped", worker=one.worker)
                    await self._stop_in_runtime(one.worker, grace_s=0)

    async def _replace_disobedient(self) -> None:
        """A worker that went on with a job it was told to stop is replaced when its grace is over."""
        now_ms = self._clock.now_ms()
        asked_before_ms = now_ms - int(self._terms.cancel_grace_s * 1000)
        if asked_before_ms < self._since_ms:
            return
        for stop in await self._store.jobs.stops_due(asked_before_ms):
            worker = await self._store.workers.get(stop.worker)
            if worker is not None and worker.alive:
                text = f"it did not stop job {stop.job} within {self._terms.cancel_grace_s:g} s"
                await self._advance(worker, Stopped(at_ms=now_ms, reason=WorkerReason.JOB_NOT_STOPPED, detail=text))

    async def welcome_back(self) -> None:
        """After a restart, or after another server: nobody heard the workers meanwhile, so their leases begin anew, and what was
        decided last may be another's. The next look sees who died."""
        self._decided.clear()
        self._since_ms = self._clock.now_ms()
        now_ms, lease_ms = self._clock.now_ms(), int(self._terms.lease_s * 1000)
        for held in await self._store.workers.alive():
            if held.worker.pinged_ms is not None:
                await self._store.jobs.confirm(held.worker.id, None, at_ms=now_ms, lease_ms=lease_ms)

    async def forget_gone(self, limit: int) -> int:
        """Forget workers that went long ago, with what the runtime keeps of them; how many."""
        before_ms = self._clock.now_ms() - int(self._terms.gone_workers_kept_s * 1000)
        gone = await self._store.workers.prune(before_ms, limit)
        if isinstance(self._runtime, Forgets):
            for worker in gone:
                with contextlib.suppress(Conflict):  # it still runs: a stray, which the next look stops
                    await self._runtime.forget(worker)
        return len(gone)

    # ── for the server ────────────────────────────────────────────────────────────────────────────────────────────────

    async def close(self, *, grace_s: float) -> None:
        """Launch nothing more, let workers finish for `grace_s`, then stop them; jobs left over go back to the queue."""
        self._closing = True
        for task in list(self._launching.values()):
            task.cancel()
        await asyncio.gather(*self._launching.values(), return_exceptions=True)
        for held in await self._store.workers.alive():
            await self._drain(held.worker.id, WorkerReason.SERVER_STOPPING, "the server is stopping")
        await self._until_gone(grace_s)
        self._hurried = False
        for held in await self._store.workers.alive():
            event = Stopped(
                at_ms=self._clock.now_ms(), reason=WorkerReason.SERVER_STOPPING, detail="the server is stopping"
            )
            await self._advance(held.worker, event)
        await self._until_gone(self._terms.stop_grace_s + RETELL_STOP_AFTER_S)

    def hurry(self) -> None:
        """Cut the grace of `close` short."""
        self._hurried = True
        self._signals.look_at_workers()

    async def _until_gone(self, wait_s: float) -> None:
        loop = asyncio.get_running_loop()
        until_s = loop.time() + wait_s
        while not self._hurried:
            await self.look()
            left_s = until_s - loop.time()
            if left_s <= 0 or not await self._store.workers.alive():
                return
            await self._signals.workers_to_look_at(min(left_s, 0.2))

    # ── for users ─────────────────────────────────────────────────────────────────────────────────────────────────────

    async def workers(self, endpoint: EndpointId, *, gone: int) -> Sequence[Held]:
        """Workers of the endpoint, and the last `gone` that went."""
        return await self._store.workers.of_endpoint(endpoint, gone=gone)

    async def worker(self, team: TeamId, worker: WorkerId) -> Worker | None:
        """A worker of the team, or None."""
        found = await self._store.workers.get(worker)
        return found if found is not None and found.team == team else None

    def logs(self, worker: WorkerId, *, tail: int, follow: bool) -> AsyncIterator[LogLine]:
        """Output of a worker."""
        return self._runtime.logs(worker, tail=tail, follow=follow)

    async def capacity(self) -> Capacity:
        """What the machine offers."""
        return await self._runtime.capacity()

    async def job_logs(self, job: Job, story: Sequence[StoryLine]) -> AsyncIterator[tuple[WorkerId, LogLine]]:
        """What every worker that held the job printed about it: lines that the SDK marks with the job's id (protocol §19)."""
        mark = f'"requestId": "{job.id}"'
        for worker in dict.fromkeys(line.worker for line in story if line.worker is not None):
            async for line in self._runtime.logs(worker, tail=LOG_LINES_MOST, follow=False):
                if mark in line.text:
                    yield worker, line

    async def decision(self, endpoint: EndpointId) -> Decision | None:
        """The latest decision about the endpoint."""
        return await self._store.workers.decision(endpoint)

    async def story(self, worker: WorkerId) -> Sequence[StoryLine]:
        """What happened to a worker."""
        return await self._store.workers.story(worker)

    async def held(self, worker: Worker) -> Held:
        """The worker with the jobs that it holds."""
        jobs = await self._store.jobs.held_by(worker.id)
        ahead = sum(job.state is JobState.AHEAD for job in jobs)
        stopping = len(await self._store.jobs.stops(worker.id))
        return Held(worker=worker, running=len(jobs) - ahead, stopping=stopping, ahead=ahead)


def _view(held: Held, endpoint: Endpoint) -> WorkerView:
    worker = held.worker
    return WorkerView(
        id=worker.id,
        state=worker.state,
        current=worker.release == endpoint.release,
        held=held.in_slots or min(1, held.ahead),  # what it has ahead needs no other worker: it could not go there
        decided_ms=worker.decided_ms,
        idle_ms=worker.idle_ms,
        pulling=worker.detail if worker.reason is WorkerReason.IMAGE_PULLING else "",
    )


def worker_spec(worker: Worker, release: Release, env: Mapping[str, str]) -> WorkerSpec:
    """The order to launch the worker."""
    return WorkerSpec(
        worker=worker.id,
        endpoint=worker.endpoint,
        team=worker.team,
        image=release.image,
        command=release.command,
        entrypoint=release.entrypoint,
        env=env,
        gpus=worker.gpus,
        volumes=tuple(_volume(text) for text in release.volumes),
        http_port=release.http_port,
        disk_bytes=release.disk_gb * 1024**3,
    )


def _volume(text: str) -> Volume:
    source, target, *how = text.split(":")
    return Volume(source=source, target=target, read_only=how == ["ro"])


def worker_environment(worker: Worker, token: str, terms: FleetTerms, user: Mapping[str, str]) -> dict[str, str]:
    """The user's environment, and what the worker protocol needs (protocol §2, §3): four URLs, the ids, the credential.

    The log level and the SDK's checks of the machine are defaults that the user may override; the rest is ours. The worker id is filled in already and only `$ID`, the job, is left; the token rides in the query, because an image may
    replace the header with a key of its own (§2.1).
    """
    base = f"{terms.worker_url}/worker"
    urls = {
        "WEBHOOK_GET_JOB": f"{base}/job-take/{worker.id}?t={token}",
        "WEBHOOK_POST_OUTPUT": f"{base}/job-done/{worker.id}/$ID?t={token}",
        "WEBHOOK_POST_STREAM": f"{base}/job-stream/{worker.id}/$ID?t={token}",
        "WEBHOOK_PING": f"{base}/ping/{worker.id}?t={token}",
    }
    names = urls | {
        "POD_ID": worker.id,
        "POD_HOSTNAME": worker.id,
        "ENDPOINT_ID": worker.endpoint,
        "AI_API_KEY": token,
        "PING_INTERVAL": str(terms.ping_interval_ms),
    }
    ours = {f"{vendor}_{name}": value for vendor in ("RUNPOD", "NOVITA") for name, value in names.items()}
    defaults = {"RUNPOD_DEBUG_LEVEL": "INFO", "RUNPOD_GPU_COUNT": str(len(worker.gpus))}
    if terms.skip_system_checks:
        defaults["RUNPOD_SKIP_AUTO_SYSTEM_CHECKS"] = "true"
    return defaults | dict(user) | ours


__all__ = ["Fleet", "FleetTerms", "worker_environment"]
