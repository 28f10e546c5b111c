"""Workers as pods: the runtime of a cluster, which decides where and when each of them starts.

The cluster is the memory: pods of this installation are found by their labels after a restart, by every server of it; what bears
another label is left alone. A pod lives once. When it has ended, its output and the words of its end are kept in a record beside it
and the pod is removed, so that no worker's file system stays on a node.

    a worker    launches    order → pod taken      stories     why, when, who          listeners   what it prints
                stops       told to end            burials     its end kept, its pod removed
    a pod       pod         order → objects        watch       what the cluster said   condition   records → words
                notes       why pods do not start
    a record    record      what stays of one      archive     all of them
    beside it   namespaces  made once, and whose   claims      volumes                 policy      whom workers meet
                fetches     images on their way    ahead       image → objects
    the rest    api         the API                rights      what we must be let do  terms       house rules

Calls follow the contract of the port; `launch` returns as soon as the cluster has the pod, and `observe` tells the rest.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing

from lightkube.resources.core_v1 import Pod

from stoker.clock import Clock
from stoker.errors import Conflict
from stoker.ids import VolumeId, WorkerId
from stoker.runtimes import Capacity, Login, LogLine, Nudge, Observation, WorkerSpec
from stoker.runtimes.container import INSTALLATION, check_image
from stoker.runtimes.kubernetes.api import EVERYWHERE, Access, Api, Refusal
from stoker.runtimes.kubernetes.archive import Archive
from stoker.runtimes.kubernetes.burials import Burials
from stoker.runtimes.kubernetes.claims import Claims
from stoker.runtimes.kubernetes.condition import Condition, Ended, Waits, address_of, condition_of, leaving_of
from stoker.runtimes.kubernetes.fetches import Fetches
from stoker.runtimes.kubernetes.launches import Launches
from stoker.runtimes.kubernetes.listeners import Listeners, output_of
from stoker.runtimes.kubernetes.namespaces import Namespaces
from stoker.runtimes.kubernetes.pod import MANAGER
from stoker.runtimes.kubernetes.record import End
from stoker.runtimes.kubernetes.stops import Stops
from stoker.runtimes.kubernetes.stories import Stories
from stoker.runtimes.kubernetes.terms import Terms
from stoker.runtimes.kubernetes.watch import Pods


class KubernetesRuntime:
    """Runs workers as pods. Call `open` in the event loop, and `close` before it ends; the workers go on."""

    def __init__(self, api: Api, clock: Clock, *, nudge: Nudge | None, terms: Terms) -> None:
        self._api = api
        self._clock = clock
        self._nudge = nudge or (lambda: None)
        self._terms = terms
        labels = {**MANAGER, INSTALLATION: terms.installation}
        scope = EVERYWHERE if terms.by_team else terms.namespace
        namespaces = Namespaces(api, terms)
        self._pods = Pods(api, scope, labels, namespaces, changed=self._on_change, gone=self._on_gone)
        self._archive = Archive(api, scope, labels, namespaces)
        self._fetches = Fetches(api, clock, terms, namespaces)
        self._claims = Claims(api, terms)
        self._launches = Launches(
            api, terms, pods=self._pods, archive=self._archive, namespaces=namespaces, claims=self._claims
        )
        self._listeners = Listeners(api, self._pods, self._look)
        self._stops = Stops(self._pods, self._listeners)
        self._stories = Stories(api, self._stops, self._look)
        self._burials = Burials(
            pods=self._pods,
            archive=self._archive,
            stops=self._stops,
            listeners=self._listeners,
            stories=self._stories,
            look=self._look,
            nudge=self._nudge,
            log_bytes_max=terms.log_bytes_max,
        )
        self._watching: tuple[asyncio.Task[None], ...] = ()

    def open(self) -> None:
        """Begin to watch."""
        if not self._watching:
            pods = asyncio.create_task(self._pods.run(), name="watch pods")
            self._watching = (pods, asyncio.create_task(self._stories.run(), name="ask about pods"))

    # ── the five calls ────────────────────────────────────────────────────────────────────────────────────────────────

    async def launch(self, spec: WorkerSpec) -> None:
        """Have the cluster take the pod. The order goes on if the caller stops waiting for it."""
        await self._launches.launch(spec)

    async def stop(self, worker: WorkerId, *, grace_s: float) -> None:
        """Let its node send SIGTERM, and SIGKILL to all that is in the container when the grace is over."""
        if worker in self._launches.workers():
            return
        pod = await self._pods.find(worker)
        if pod is not None and not isinstance(self._look(pod), Ended):
            await self._stops.stop(worker, pod, grace_s)

    async def observe(self) -> Sequence[Observation]:
        """What the watch knows, and the records of those that ended."""
        ends = await self._archive.all()
        pods = await self._pods.all()
        begun = set(self._launches.workers())
        conditions = {worker: self._look(pod) for worker, pod in pods.items()}
        await self._bury(pods, conditions)
        begun |= {*self._launches.workers(), *self._burials.under_way()}
        there = {
            worker: pod
            for worker, pod in pods.items()
            if worker not in self._burials.under_way() and not self._burials.is_buried(worker)
        }
        conditions |= {worker: self._look(pod) for worker, pod in there.items() if worker not in conditions}
        await self._stories.learn(there, conditions)
        seen = {worker: Observation(worker=worker) for worker in begun}
        seen |= {worker: self._stories.observation(worker, pod, conditions[worker]) for worker, pod in there.items()}
        seen |= {worker: _ended(worker, end) for worker, end in ends.items()}
        return [seen[worker] for worker in sorted(seen)]

    async def logs(self, worker: WorkerId, *, tail: int, follow: bool) -> AsyncGenerator[LogLine]:
        """From its node while the pod is there, else from the record."""
        if worker not in await self._archive.all() and (pod := await self._pods.find(worker)) is not None:
            if follow:
                pod = await self._until_started(worker) or pod
            try:
                async with aclosing(output_of(self._api, pod, tail=tail, follow=follow)) as output:
                    async for line in output:
                        yield line
                return
            except Refusal:
                pass  # it has not started, or has been buried meanwhile
        await self._burials.settled(worker)
        for line in await self._archive.output(worker, tail):
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
        pod = await self._pods.find(worker)
        return address_of(pod) if pod is not None else ""

    async def grow_volume(self, team: str, volume: VolumeId, size_bytes: int) -> None:
        """Have its claim ask for more."""
        await self._claims.grow(team, volume, size_bytes)

    async def remove_volume(self, team: str, volume: VolumeId) -> None:
        """Remove its claim."""
        await self._claims.remove(team, volume)

    async def trim_logs(self, bytes_max: int) -> int:
        """Empty the records of those that ended first."""
        return await self._archive.trim(bytes_max)

    async def forget(self, worker: WorkerId) -> None:
        """Remove the record. Raises `Conflict` while the worker runs."""
        await self._archive.all()
        there = self._pods.get(worker) is not None and not self._burials.is_buried(worker)
        if there or worker in self._launches.workers():
            raise Conflict(f"worker {worker} still runs", next_step="stop it first")
        await self._archive.forget(worker)

    async def close(self) -> None:
        """Stop watching. Workers go on; another `KubernetesRuntime` of the same installation finds them."""
        tasks = [*self._watching, *self._launches.tasks(), *self._listeners.tasks(), *self._stops.tasks()]
        tasks += self._burials.tasks()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._api.close()

    # ── looking ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def _look(self, pod: Pod) -> Condition:
        return condition_of(pod, now_ms=self._clock.now_ms(), prepare_s=self._terms.prepare_s)

    async def _bury(self, pods: Mapping[WorkerId, Pod], conditions: Mapping[WorkerId, Condition]) -> None:
        """Those that are over; and listen to those that somebody takes away: whoever told them to end may be gone."""
        for worker, pod in pods.items():
            if self._burials.is_over(worker, conditions[worker]):
                self._burials.bury(worker, pod)
            elif leaving_of(pod):
                self._listeners.begin(worker, pod)
        self._burials.bury_lost()
        await self._burials.settle()

    async def _until_started(self, worker: WorkerId) -> Pod | None:
        """Its pod once it has run; None when it is gone."""
        while (pod := self._pods.get(worker)) is not None:
            if not isinstance(self._look(pod), Waits):
                return pod
            await self._pods.news()
        return None

    # ── what the watch tells ──────────────────────────────────────────────────────────────────────────────────────────

    def _on_change(self, worker: WorkerId, pod: Pod) -> None:
        if self._burials.is_over(worker, self._look(pod)):
            self._on_end(worker, pod)
        elif worker in self._stops:  # it was told to end before its node had said that it runs
            self._listeners.begin(worker, pod)

    def _on_gone(self, worker: WorkerId, pod: Pod) -> None:
        if self._burials.lose(worker, pod):
            self._on_end(worker, pod)

    def _on_end(self, worker: WorkerId, pod: Pod) -> None:
        """Whom we stopped nobody else buries."""
        if worker in self._stops:
            self._burials.bury(worker, pod)
        else:
            self._nudge()


def _ended(worker: WorkerId, end: End) -> Observation:
    return Observation(worker=worker, exit=end.exit) if end.ran else Observation(worker=worker, refused=end.exit.text)


__all__ = ["Access", "Api", "KubernetesRuntime", "Refusal", "Terms"]
