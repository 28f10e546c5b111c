"""Workers as pods: the runtime of a cluster, which decides where and when each of them starts.

The cluster is the memory: pods of this installation are found by their labels after a restart, by every server of it; what bears
another label is left alone. A pod lives once. When it has ended, its output and the words of its end are kept in a record beside it
(`record`) and the pod is removed, so that no worker's file system stays on a node.

    api         the API         pod         order → objects        watch      what the cluster said last
    terms       house rules     condition   records → words        record     what stays of a worker
    policy      whom they meet  rights      what we must be let do archive    all records
    ahead       image → objects fetches     images on their way    notes      why pods do not start

Calls follow the contract of the port; `launch` returns as soon as the cluster has the pod, and `observe` tells the rest.
"""

from __future__ import annotations

import asyncio
import functools
import math
from collections.abc import AsyncGenerator, Coroutine, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, Final

import structlog
from lightkube.resources.core_v1 import Pod

from stoker.clock import Clock
from stoker.errors import Conflict, InvalidInput, StokerError, Unavailable
from stoker.ids import VolumeId, WorkerId
from stoker.runtimes import Capacity, Login, LogLine, Nudge, Observation, Step, WorkerSpec
from stoker.runtimes.container import INSTALLATION, check_image, container_name, with_last_line
from stoker.runtimes.kubernetes.api import EVERYWHERE, NOT_FOUND, Access, Api, Refusal, missing_is_fine
from stoker.runtimes.kubernetes.archive import Archive
from stoker.runtimes.kubernetes.condition import (
    Condition,
    Ended,
    Refused,
    Runs,
    Waits,
    address_of,
    condition_of,
    has_run,
    image_of,
    last_trouble,
    leaving_of,
    leaving_with,
    lost_exit,
    pull_words,
    steps_of,
    waiting_with,
)
from stoker.runtimes.kubernetes.fetches import Fetches
from stoker.runtimes.kubernetes.notes import Notes
from stoker.runtimes.kubernetes.pod import MANAGER, claim_name, claims_of, home_of, namespace_of, pod_of, secrets_of
from stoker.runtimes.kubernetes.policy import policy_of
from stoker.runtimes.kubernetes.record import End
from stoker.runtimes.kubernetes.terms import Terms
from stoker.runtimes.kubernetes.watch import Pods
from stoker.runtimes.output import lines_of
from stoker.worker import Exit

log = structlog.get_logger()

LISTEN_S: Final = 0.5
"""How long a stop waits until the output is being followed: what a worker says at its end goes with its pod."""
STRIKE_AFTER_S: Final = 5.0
"""How long after its grace a pod may be there before it is struck out, because its node does not answer."""
RECORD_WAIT_S: Final = 5.0
"""How long to wait for the record of a pod that another server stopped."""
BURY_S: Final = 1.0
"""How long a look waits for records to be written; who is not done by then is shown by the next."""
ASKED_AT_ONCE: Final = 16
"""Pods that have just started, or are taken away, of which a look asks for the story at the same time."""
ACCOUNT_WAIT_S: Final = 10.0
"""How long a namespace may be without the account of its pods."""
ACCOUNT_ASK_S: Final = 0.25
_ASK_GRACE_S: Final = 1
"""The least that a cluster gives: with 0 it would not wait until the container is dead."""


@dataclass(slots=True)
class _Listener:
    """Hears the last words of a worker that is being stopped."""

    lines: list[LogLine] = field(default_factory=list)
    heard: asyncio.Event = field(default_factory=asyncio.Event)
    task: asyncio.Task[None] | None = None


class KubernetesRuntime:
    """Runs workers as pods. Call `open` in the event loop, and `close` before it ends; the workers go on."""

    def __init__(self, api: Api, clock: Clock, *, nudge: Nudge | None, terms: Terms) -> None:
        self._api = api
        self._clock = clock
        self._nudge = nudge or (lambda: None)
        self._terms = terms
        self._labels = {**MANAGER, INSTALLATION: terms.installation}
        self._scope = EVERYWHERE if terms.by_team else terms.namespace
        self._pods = Pods(api, self._scope, self._labels, changed=self._on_change, gone=self._on_gone)
        self._watching: tuple[asyncio.Task[None], ...] = ()
        self._archive = Archive(api, self._scope, self._labels, self._home)
        self._fetches = Fetches(api, clock, terms, self._prepare)
        self._homes: dict[WorkerId, str] = {}
        self._prepared: set[str] = set()
        self._launching: dict[WorkerId, asyncio.Task[None]] = {}
        self._listeners: dict[WorkerId, _Listener] = {}
        self._burying: dict[WorkerId, asyncio.Task[None]] = {}
        self._lost: dict[WorkerId, Pod] = {}
        self._stopped: dict[WorkerId, str] = {}
        self._struck: set[WorkerId] = set()
        self._removing: set[WorkerId] = set()
        self._steps: dict[WorkerId, tuple[Step, ...]] = {}
        self._takers: dict[WorkerId, str] = {}
        self._notes = Notes(self._events)
        self._errands: set[asyncio.Task[None]] = set()

    def open(self) -> None:
        """Begin to watch."""
        if not self._watching:
            pods = asyncio.create_task(self._pods.run(), name="watch pods")
            self._watching = (pods, asyncio.create_task(self._notes.run(), name="ask about pods"))

    # ── the five calls ────────────────────────────────────────────────────────────────────────────────────────────────

    async def launch(self, spec: WorkerSpec) -> None:
        """Have the cluster take the pod. The order goes on if the caller stops waiting for it."""
        task = self._launching.get(spec.worker)
        if task is None:
            task = asyncio.create_task(self._start(spec), name=f"start {spec.worker}")
            self._launching[spec.worker] = task
            task.add_done_callback(functools.partial(self._launched, spec.worker))
        await asyncio.shield(task)

    async def stop(self, worker: WorkerId, *, grace_s: float) -> None:
        """Let its node send SIGTERM, and SIGKILL to all that is in the container when the grace is over."""
        if worker in self._launching:
            return
        pod = await self._find(worker)
        if pod is None or isinstance(self._condition(pod), Ended):
            return
        self._stopped.setdefault(worker, _why_stopped(grace_s))
        await self._listen(worker, pod)
        await self._delete(pod, max(_ASK_GRACE_S, math.ceil(grace_s)))
        if grace_s <= 0:
            self._run_errand(self._strike_later(worker))

    async def observe(self) -> Sequence[Observation]:
        """What the watch knows, and the records of those that ended."""
        ends = await self._archive.all()
        pods = await self._pods.all()
        launching = set(self._launching)
        conditions = {worker: self._condition(pod) for worker, pod in [*pods.items(), *self._lost.items()]}
        for worker, pod in [*pods.items(), *self._lost.items()]:
            if worker not in ends and worker not in self._removing and self._is_over(worker, conditions[worker]):
                self._bury(worker, pod)
            elif worker not in self._listeners and leaving_of(pod):  # whoever told it to end may be gone
                self._run_errand(self._listen(worker, pod))
        if self._burying:
            await asyncio.wait(list(self._burying.values()), timeout=BURY_S)
        seen = {worker: Observation(worker=worker) for worker in (*launching, *self._launching, *self._burying)}
        over = {*ends, *self._burying, *self._removing}
        there = {worker: pod for worker, pod in pods.items() if worker not in over}
        conditions |= {worker: self._condition(pod) for worker, pod in there.items() if worker not in conditions}
        untold = [(worker, pod) for worker, pod in there.items() if self._is_untold(worker, pod, conditions[worker])]
        for first in range(0, len(untold), ASKED_AT_ONCE):
            await asyncio.gather(*(self._learn(worker, pod) for worker, pod in untold[first : first + ASKED_AT_ONCE]))
        seen |= {worker: self._look_at(worker, pod, conditions[worker]) for worker, pod in there.items()}
        seen |= {worker: _observation(worker, end) for worker, end in ends.items()}
        return [seen[worker] for worker in sorted(seen)]

    async def logs(self, worker: WorkerId, *, tail: int, follow: bool) -> AsyncGenerator[LogLine]:
        """From its node while the pod is there, else from the record."""
        if worker not in await self._archive.all() and (pod := await self._find(worker)) is not None:
            if follow:
                pod = await self._until_started(worker) or pod
            try:
                async with aclosing(self._output(pod, tail=tail, follow=follow)) as output:
                    async for line in output:
                        yield line
                return
            except Refusal:
                pass  # it has not started, or has been buried meanwhile
        for line in await self._kept_output(worker, tail):
            yield line

    async def capacity(self) -> Capacity:
        """Nobody can tell: the cluster may even grow for a worker."""
        return Capacity(known=False, text="the cluster finds the place of each worker")

    # ── abilities ─────────────────────────────────────────────────────────────────────────────────────────────────────

    async def check_image(self, image: str, command: str) -> None:
        """Whether the names can be understood. Whether the image exists is seen when a node pulls it."""
        check_image(image, command)

    async def pull(self, image: str, *, login: Login | None) -> str:
        """Have it on all nodes that workers may run on."""
        return await self._fetches.pull(image, login)

    def pulling(self, image: str) -> str:
        """On how many of them it is."""
        return self._fetches.pulling(image)

    async def remove_image(self, image: str) -> None:
        """Give up a fetch. Nodes let go of what is there when they need the room."""
        await self._fetches.give_up(image)

    async def address(self, worker: WorkerId) -> str:
        """In the network of the cluster's pods, which servers inside of it reach."""
        pod = await self._find(worker)
        return address_of(pod) if pod is not None else ""

    async def grow_volume(self, team: str, volume: VolumeId, size_bytes: int) -> None:
        """Have its claim ask for more."""
        name, namespace = claim_name(volume, self._terms), namespace_of(team, self._terms)
        try:
            await missing_is_fine(self._api.grow_claim(name, namespace, size_bytes))
        except Refusal as refusal:
            raise Conflict(
                f"the storage of the volume cannot grow: {refusal.message}",
                code="volume_cannot_grow",
                field="size_gb",
                next_step="its storage class needs allowVolumeExpansion: ask who runs the cluster",
            ) from None

    async def remove_volume(self, team: str, volume: VolumeId) -> None:
        """Remove its claim."""
        name, namespace = claim_name(volume, self._terms), namespace_of(team, self._terms)
        try:
            await missing_is_fine(self._api.delete_claim(name, namespace))
        except Refusal as refusal:
            raise Unavailable(f"the cluster does not remove claim {name}: {refusal.message}") from None

    async def trim_logs(self, bytes_max: int) -> int:
        """Empty the records of those that ended first."""
        return await self._archive.trim(bytes_max)

    async def forget(self, worker: WorkerId) -> None:
        """Remove the record. Raises `Conflict` while the worker runs."""
        ends = await self._archive.all()
        pod = self._pods.get(worker)
        if worker in self._launching or (worker not in ends and worker not in self._removing and pod is not None):
            raise Conflict(f"worker {worker} still runs", next_step="stop it first")
        await self._archive.forget(worker)
        self._homes.pop(worker, None)

    async def close(self) -> None:
        """Stop watching. Workers go on; another `KubernetesRuntime` of the same installation finds them."""
        listening = [one.task for one in self._listeners.values() if one.task is not None]
        tasks = [*self._watching, *listening, *self._errands, *self._launching.values(), *self._burying.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._api.close()

    # ── launching ─────────────────────────────────────────────────────────────────────────────────────────────────────

    async def _start(self, spec: WorkerSpec) -> None:
        """Secrets first, as a node may be quick; they belong to the pod from the moment that it is there."""
        if spec.worker in await self._archive.all():
            return
        check_image(spec.image, spec.command)
        pod, namespace = pod_of(spec, self._terms), namespace_of(spec.team, self._terms)
        self._homes[spec.worker] = namespace
        try:
            await self._prepare(namespace)
            for claim in claims_of(spec, self._terms):
                await self._api.ensure(claim, namespace)
            secrets = secrets_of(spec, self._terms)
            for secret in secrets:
                await self._api.ensure(secret, namespace)
            created = await self._create(pod, namespace)
        except Refusal as refusal:
            await self._let_go(spec, namespace)
            raise _launch_error(spec, refusal) from None
        there = created or await self._find(spec.worker)
        if there is None:  # it was, and is over
            await self._let_go(spec, namespace)
            return
        self._pods.add(spec.worker, there)
        for secret in secrets:
            assert secret.metadata is not None
            await missing_is_fine(self._api.own(str(secret.metadata.name), there))

    async def _create(self, pod: Pod, namespace: str) -> Pod | None:
        """A namespace that is new gets the account of its pods a moment later, and takes no pod before."""
        for _ in range(math.ceil(ACCOUNT_WAIT_S / ACCOUNT_ASK_S)):
            try:
                return await self._api.ensure(pod, namespace)
            except Refusal as refusal:
                if "error looking up service account" not in refusal.message:
                    raise
            await asyncio.sleep(ACCOUNT_ASK_S)
        return await self._api.ensure(pod, namespace)

    async def _let_go(self, spec: WorkerSpec, namespace: str) -> None:
        """Secrets of a pod that is not to be belong to nobody."""
        for secret in secrets_of(spec, self._terms):
            assert secret.metadata is not None
            try:
                await missing_is_fine(self._api.delete_secret(str(secret.metadata.name), namespace))
            except Refusal as refusal:
                log.warning("secret_left", secret=secret.metadata.name, error=refusal.message)

    async def _prepare(self, namespace: str) -> None:
        """Have the namespace there, and whom its workers may talk to; once for each."""
        if namespace in self._prepared:
            return
        if self._terms.by_team:
            await self._api.ensure_namespace(home_of(namespace, self._terms))
        if self._terms.network_policy:
            await self._api.ensure(policy_of(self._terms.installation), namespace)
        self._prepared.add(namespace)

    def _launched(self, worker: WorkerId, task: asyncio.Task[None]) -> None:
        del self._launching[worker]
        if not task.cancelled():
            task.exception()  # whoever waited has it

    # ── looking ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def _look_at(self, worker: WorkerId, pod: Pod, condition: Condition) -> Observation:
        """A pod that is not over."""
        leaving = "" if worker in self._stopped else self._takers.get(worker, "")
        match condition:
            case Waits(waiting=waiting, asked=True):
                waiting = waiting_with(waiting, self._notes.of(worker, pod))
                return Observation(worker=worker, waiting=waiting, leaving=leaving)
            case Waits(waiting=waiting):
                return Observation(worker=worker, waiting=waiting, leaving=leaving)
            case _:
                steps = self._steps.get(worker, ())
                return Observation(worker=worker, steps=steps, leaving=leaving, image=image_of(pod))

    def _is_untold(self, worker: WorkerId, pod: Pod, condition: Condition) -> bool:
        """Whether the cluster's notes are to be read once: it has started, or somebody takes it away."""
        if worker not in self._takers and worker not in self._stopped and leaving_of(pod):
            return True
        return worker not in self._steps and not isinstance(condition, Waits)

    async def _learn(self, worker: WorkerId, pod: Pod) -> None:
        """The stages of its start, and why somebody else ends it."""
        events = await self._events(pod)
        if not isinstance(self._condition(pod), Waits):
            self._notes.forget(worker)
            self._steps[worker] = steps_of(pod, events)
        if worker not in self._stopped and (leaving := leaving_of(pod)):
            self._takers[worker] = leaving_with(leaving, events)

    async def _events(self, pod: Pod) -> list[Any]:
        """What the cluster noted; nothing where we may not ask."""
        try:
            return await self._api.events(pod)
        except Refusal as refusal:
            log.warning("events_not_read", error=refusal.message)
            return []

    async def _find(self, worker: WorkerId) -> Pod | None:
        """Its pod, also when another server has just made it."""
        await self._pods.check()
        if (pod := self._pods.get(worker)) is not None:
            return pod
        try:
            return await self._api.pod(container_name(worker), self._home(worker))
        except Refusal as refusal:
            if refusal.status == NOT_FOUND:
                return None
            raise Unavailable(f"the cluster does not show worker {worker}: {refusal.message}") from None

    def _home(self, worker: WorkerId) -> str:
        """The namespace of a worker."""
        pod = self._pods.get(worker) or self._lost.get(worker)
        if pod is not None and pod.metadata is not None and pod.metadata.namespace:
            return pod.metadata.namespace
        return self._homes.get(worker, self._terms.namespace)

    # ── stopping ──────────────────────────────────────────────────────────────────────────────────────────────────────

    async def _delete(self, pod: Pod, grace_s: int) -> None:
        assert pod.metadata is not None
        name, namespace = str(pod.metadata.name), str(pod.metadata.namespace)
        try:
            await missing_is_fine(self._api.delete_pod(name, namespace, grace_s=grace_s))
        except Refusal as refusal:
            raise Unavailable(f"the cluster does not stop {name}: {refusal.message}") from None

    async def _strike_later(self, worker: WorkerId) -> None:
        """A pod that is still there long after it was to be killed is on a node that does not answer, or does not hear."""
        await asyncio.sleep(_ASK_GRACE_S + STRIKE_AFTER_S)
        pod = self._pods.get(worker)
        if pod is None:
            return
        self._struck.add(worker)
        try:
            await self._delete(pod, 0)
        except Unavailable as error:  # the lifeline tells us again
            log.warning("runtime_unavailable", worker=worker, error=error.message)

    async def _listen(self, worker: WorkerId, pod: Pod) -> None:
        """Follow its output from now on."""
        if worker in self._listeners or not isinstance(self._condition(pod), Runs):
            return
        listener = _Listener()
        self._listeners[worker] = listener
        listener.task = asyncio.create_task(self._hear(worker, pod, listener), name=f"listen to {worker}")
        try:
            async with asyncio.timeout(LISTEN_S):
                await listener.heard.wait()
        except TimeoutError:
            pass  # it has said nothing yet

    async def _hear(self, worker: WorkerId, pod: Pod, listener: _Listener) -> None:
        """All its output; from its beginning again when the API server goes away meanwhile, for as long as its node may have it."""
        while True:
            lines: list[LogLine] = []
            try:
                async for line in self._output(pod, tail=None, follow=True):
                    if listener.lines and not lines:
                        log.info("output_heard_again", worker=worker)
                    lines.append(line)
                    if len(lines) >= len(listener.lines):
                        listener.lines = lines
                    listener.heard.set()
                return
            except Refusal:
                return  # its node has none of it any more
            except Unavailable as error:
                log.info("output_cut_short", worker=worker, error=error.message)
                if self._pods.get(worker) is None:
                    return
            finally:
                listener.heard.set()
            await asyncio.sleep(LISTEN_S)

    # ── what the watch tells ──────────────────────────────────────────────────────────────────────────────────────────

    def _on_change(self, worker: WorkerId, pod: Pod) -> None:
        if self._is_over(worker, self._condition(pod)):
            if worker in self._stopped:
                self._bury(worker, pod)
            else:
                self._nudge()
        elif worker in self._stopped:  # it was told to end before its node had said that it runs
            self._run_errand(self._listen(worker, pod))

    def _on_gone(self, worker: WorkerId, pod: Pod) -> None:
        if worker in self._removing or self._archive.has(worker):
            self._removing.discard(worker)
            return
        self._lost[worker] = pod
        if worker in self._stopped:
            self._bury(worker, pod)
        else:
            self._nudge()

    def _is_over(self, worker: WorkerId, condition: Condition) -> bool:
        return worker in self._lost or isinstance(condition, Ended | Refused)

    # ── burying ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def _bury(self, worker: WorkerId, pod: Pod) -> None:
        """Keep what is to be kept of a worker that is over, then remove its pod."""
        if worker not in self._burying and not self._archive.has(worker):
            task = asyncio.create_task(self._keep_record(worker, pod), name=f"bury {worker}")
            self._burying[worker] = task
            task.add_done_callback(functools.partial(self._buried, worker))

    def _buried(self, worker: WorkerId, task: asyncio.Task[None]) -> None:
        self._burying.pop(worker, None)
        if task.cancelled():
            return
        error = task.exception()
        if isinstance(error, StokerError | Refusal):
            log.warning("worker_not_buried", worker=worker, error=str(error))
        elif error is not None:
            log.error("worker_not_buried", worker=worker, exc_info=error)
        else:
            self._nudge()

    async def _keep_record(self, worker: WorkerId, pod: Pod) -> None:
        ends = await self._archive.all()
        lines = await self._last_words(worker, pod)
        end = await self._written(worker, pod)
        if end is None:
            end = await self._end(worker, self._lost.get(worker) or self._pods.get(worker) or pod, lines)
            await self._archive.add(worker, end, lines, bytes_max=self._terms.log_bytes_max)
        ends[worker] = end
        for known in (self._listeners, self._lost, self._stopped, self._steps, self._takers):
            known.pop(worker, None)
        self._notes.forget(worker)
        self._struck.discard(worker)
        if self._pods.get(worker) is not None:
            self._removing.add(worker)
            self._run_errand(self._discard(pod))

    async def _written(self, worker: WorkerId, pod: Pod) -> End | None:
        """What another server has recorded, or is about to, of a pod that it stopped: it has followed the output from before, where we may
        find none any more."""
        about = (self._lost.get(worker) or self._pods.get(worker) or pod).metadata
        stopped_by_other = about is not None and about.deletionTimestamp is not None
        if worker in self._stopped or not (stopped_by_other or worker in self._lost):
            return None
        tries = math.ceil(RECORD_WAIT_S / LISTEN_S) if stopped_by_other else 1
        for again in range(tries):
            if (found := await self._archive.find(worker)) is not None:
                return found
            if again + 1 < tries:
                await asyncio.sleep(LISTEN_S)
        return None

    async def _last_words(self, worker: WorkerId, pod: Pod) -> list[LogLine]:
        listener = self._listeners.get(worker)
        if listener is not None and listener.task is not None:
            await asyncio.wait([listener.task], timeout=RECORD_WAIT_S)
            listener.task.cancel()
            return listener.lines
        try:
            return [line async for line in self._output(pod, tail=None, follow=False)]
        except Refusal:
            return []  # it never ran, or its node keeps no output of it

    async def _end(self, worker: WorkerId, pod: Pod, lines: Sequence[LogLine]) -> End:
        match self._condition(pod):
            case Ended(exit=exit):
                return End(exit=self._explained(worker, exit, lines))
            case Refused(text=text, image=image):
                events = await self._events(pod)
                told = last_trouble(events) if image else ""
                return End(exit=Exit(code=None, text=pull_words(image, told) if told else text), ran=has_run(events))
            case _:
                return End(exit=lost_exit(pod, forced=worker in self._struck))

    def _explained(self, worker: WorkerId, exit: Exit, lines: Sequence[LogLine]) -> Exit:
        stopped = self._stopped.get(worker, "") if exit.code else ""
        last = next((line.text for line in reversed(lines) if line.text.strip()), "")
        text = f"{exit.text} {stopped}".strip()
        return Exit(code=exit.code, text=with_last_line(text, exit.code, last))

    async def _discard(self, pod: Pod) -> None:
        """Remove a pod whose container is dead. The next look finds what could not be removed."""
        try:
            await self._delete(pod, 0)
        except Unavailable as error:
            log.warning("pod_not_removed", pod=pod.metadata.name if pod.metadata else "", error=error.message)

    # ── output and records ────────────────────────────────────────────────────────────────────────────────────────────

    async def _output(self, pod: Pod, *, tail: int | None, follow: bool) -> AsyncGenerator[LogLine]:
        assert pod.metadata is not None
        name, namespace = str(pod.metadata.name), str(pod.metadata.namespace)
        async with aclosing(self._api.output(name, namespace, tail=tail, follow=follow)) as pieces:
            async for line in lines_of(pieces):
                if line.at_ms:  # else it is a word of the node's, about a container that is gone
                    yield line

    async def _until_started(self, worker: WorkerId) -> Pod | None:
        """Its pod once it has run; None when it is gone."""
        while (pod := self._pods.get(worker)) is not None:
            if not isinstance(self._condition(pod), Waits):
                return pod
            await self._pods.news()
        return None

    async def _kept_output(self, worker: WorkerId, tail: int) -> Sequence[LogLine]:
        if (burying := self._burying.get(worker)) is not None:
            await asyncio.wait([burying])
        return await self._archive.output(worker, tail)

    # ── small things ──────────────────────────────────────────────────────────────────────────────────────────────────

    def _condition(self, pod: Pod) -> Condition:
        return condition_of(pod, now_ms=self._clock.now_ms(), prepare_s=self._terms.prepare_s)

    def _run_errand(self, errand: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(errand)
        self._errands.add(task)
        task.add_done_callback(self._errands.discard)


def _observation(worker: WorkerId, end: End) -> Observation:
    return Observation(worker=worker, exit=end.exit) if end.ran else Observation(worker=worker, refused=end.exit.text)


def _why_stopped(grace_s: float) -> str:
    return f"when its grace of {grace_s:g} s had passed" if grace_s > 0 else "because it was stopped at once"


def _launch_error(spec: WorkerSpec, refusal: Refusal) -> StokerError:
    """What the cluster's refusal to take a pod means: its own words name the rule."""
    if "exceeded quota" in refusal.message:
        return Unavailable(f"the quota of the namespace has no room: {refusal.message}", code="quota_exceeded")
    if refusal.status in (400, 422) or "denied the request" in refusal.message or '" is forbidden: ' in refusal.message:
        return InvalidInput(
            f"the cluster does not admit {spec.image}: {refusal.message}",
            code="not_admitted",
            next_step="ask who runs the cluster, or change what the message names",
        )
    return Unavailable(f"the cluster does not take {spec.image}: {refusal.message}", code="launch_failed")


__all__ = ["Access", "Api", "KubernetesRuntime", "Refusal", "Terms"]
