"""The pods of an installation as the cluster last said: listed once, then kept by a watch; and what is asked about one of them.

The watch goes on from the version that was seen last. When that is too long ago for the cluster, and every `LIST_EVERY_S` anyway,
all are listed again, so that nothing that was missed is missed for ever. While the connection is broken nobody is told
anything: what was seen last may be over.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Final

import structlog
from lightkube.resources.core_v1 import Pod

from stoker.errors import Unavailable
from stoker.ids import WorkerId
from stoker.runtimes.container import WORKER, container_name
from stoker.runtimes.kubernetes.api import NOT_FOUND, Api, Labels, Refusal, missing_is_fine, unavailable
from stoker.runtimes.kubernetes.namespaces import Namespaces

log = structlog.get_logger()

LIST_EVERY_S: Final = 300.0
"""Bounds how long a connection that died without a word can hide what happens."""
RETRY_FIRST_S: Final = 0.1
RETRY_MOST_S: Final = 1.0
"""Sooner than a node when an API server is back: what a node then tells of a worker that ended may be all there ever is to see."""
SYNC_S: Final = 10.0
"""How long the first question waits for the first list."""
_TOO_OLD: Final = 410

Changed = Callable[[WorkerId, Pod], None]
"""Told of every pod that is new or other than before."""
Gone = Callable[[WorkerId, Pod], None]
"""Told of every pod that is not there any more, as it was last."""


class Pods:
    """The cache. `run` fills it, until it is cancelled. `scope` is the namespace of all pods, or all namespaces."""

    def __init__(
        self, api: Api, scope: str, labels: Labels, namespaces: Namespaces, *, changed: Changed, gone: Gone
    ) -> None:
        self._api = api
        self._scope = scope
        self._labels = labels
        self._namespaces = namespaces
        self._changed = changed
        self._gone = gone
        self._pods: dict[WorkerId, Pod] = {}
        self._version = ""
        self._added: set[WorkerId] = set()
        self._synced = asyncio.Event()
        self._fault: Unavailable | None = None
        self._news = asyncio.Condition()

    # ── asking ────────────────────────────────────────────────────────────────────────────────────────────────────────

    async def all(self) -> Mapping[WorkerId, Pod]:
        """All pods, by worker. Raises `Unavailable` while the cluster does not answer."""
        await self.check()
        return self._pods

    async def check(self) -> None:
        """Raise `Unavailable` while what is here may be over."""
        if not self._synced.is_set() and self._fault is None:
            try:
                async with asyncio.timeout(SYNC_S):
                    await self._synced.wait()
            except TimeoutError:
                raise unavailable(self._api.host, f"no list of pods within {SYNC_S:g} s") from None
        if self._fault is not None:
            raise self._fault

    def get(self, worker: WorkerId) -> Pod | None:
        """The pod of a worker, if there is one."""
        return self._pods.get(worker)

    async def find(self, worker: WorkerId) -> Pod | None:
        """Its pod, also when another server has just made it. Raises `Unavailable`."""
        await self.check()
        if (pod := self._pods.get(worker)) is not None:
            return pod
        try:
            return await self._api.pod(container_name(worker), self._namespaces.of(worker))
        except Refusal as refusal:
            if refusal.status == NOT_FOUND:
                return None
            raise Unavailable(f"the cluster does not show worker {worker}: {refusal.message}") from None

    async def news(self) -> None:
        """Wait until something happens to any pod."""
        async with self._news:
            await self._news.wait()

    async def delete(self, pod: Pod, *, grace_s: int) -> None:
        """Have its node end it, or with a grace of 0 strike it out. What is gone is deleted. Raises `Unavailable`."""
        try:
            await missing_is_fine(self._api.delete_pod(pod, grace_s=grace_s))
        except Refusal as refusal:
            name = pod.metadata.name if pod.metadata is not None else ""
            raise Unavailable(f"the cluster does not stop {name}: {refusal.message}") from None

    # ── being told ────────────────────────────────────────────────────────────────────────────────────────────────────

    def add(self, worker: WorkerId, pod: Pod) -> None:
        """Take in a pod that was just created: the watch tells of it a moment later."""
        if worker not in self._pods:
            self._added.add(worker)
            self._take(worker, pod)

    async def run(self) -> None:
        """Keep the cache, whatever happens to the connection."""
        pause_s = RETRY_FIRST_S
        while True:
            try:
                await self._connect()
                pause_s = RETRY_FIRST_S
                async with asyncio.timeout(LIST_EVERY_S):
                    await self._follow()
            except TimeoutError:
                self._version = ""
            except Refusal as refusal:
                if refusal.status == _TOO_OLD:
                    self._version = ""
                    continue
                self._break(unavailable(self._api.host, f"it refuses to list pods: {refusal.message}"))
            except Unavailable as error:
                self._break(error)
            if self._fault is not None:
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, RETRY_MOST_S)

    async def _connect(self) -> None:
        """Know where to go on from, and that the cluster answers."""
        if self._version:
            await self._api.answers(self._scope, self._labels)
        else:
            await self._list()
        if self._fault is not None:
            log.info("cluster_answers", host=self._api.host)
        self._fault = None
        self._synced.set()

    async def _list(self) -> None:
        self._added.clear()
        listed, self._version = await self._api.pods(self._scope, self._labels)
        found = {worker: pod for pod in listed if (worker := worker_of(pod))}
        for worker in [one for one in self._pods if one not in found and one not in self._added]:
            self._drop(worker, self._pods[worker])
        for worker, pod in found.items():
            self._take(worker, pod)

    async def _follow(self) -> None:
        async with _closing(self._api.watch(self._scope, self._labels, self._version)) as happens:
            async for kind, pod in happens:
                assert pod.metadata is not None
                self._version = pod.metadata.resourceVersion or self._version
                worker = worker_of(pod)
                if worker is None:
                    continue
                if kind == "DELETED":
                    self._drop(worker, pod)
                else:
                    self._take(worker, pod)
                await self._tell()

    def _take(self, worker: WorkerId, pod: Pod) -> None:
        if worker not in self._pods and pod.metadata is not None:
            self._namespaces.learn(worker, pod.metadata.namespace)
        self._pods[worker] = pod
        self._changed(worker, pod)

    def _drop(self, worker: WorkerId, pod: Pod) -> None:
        self._pods.pop(worker, None)
        self._gone(worker, pod)

    async def _tell(self) -> None:
        async with self._news:
            self._news.notify_all()

    def _break(self, fault: Unavailable) -> None:
        if self._fault is None:
            log.warning("cluster_unavailable", host=self._api.host, error=fault.message)
        self._fault = fault


def worker_of(pod: Pod) -> WorkerId | None:
    """Whose pod it is; None for one that is no worker's."""
    labels = (pod.metadata.labels if pod.metadata is not None else None) or {}
    return WorkerId(labels[WORKER]) if WORKER in labels else None


@asynccontextmanager
async def _closing(happens: AsyncIterator[tuple[str, Pod]]) -> AsyncIterator[AsyncIterator[tuple[str, Pod]]]:
    """Let go of the connection however it ends."""
    try:
        yield happens
    finally:
        await happens.aclose()  # type: ignore[attr-defined]  # it is a generator
