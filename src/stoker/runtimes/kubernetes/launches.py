"""Launches: from an order to a pod that the cluster has taken, with all that belongs to it."""

from __future__ import annotations

import asyncio
import functools
import math
from collections.abc import Collection, Iterable
from typing import Final

import structlog
from lightkube.resources.core_v1 import Pod, Secret

from stoker.errors import InvalidInput, StokerError, Unavailable
from stoker.ids import WorkerId
from stoker.runtimes import WorkerSpec
from stoker.runtimes.container import check_image
from stoker.runtimes.kubernetes.api import Api, Refusal, missing_is_fine
from stoker.runtimes.kubernetes.archive import Archive
from stoker.runtimes.kubernetes.claims import Claims
from stoker.runtimes.kubernetes.namespaces import Namespaces
from stoker.runtimes.kubernetes.pod import namespace_of, pod_of, secrets_of
from stoker.runtimes.kubernetes.terms import Terms
from stoker.runtimes.kubernetes.watch import Pods

log = structlog.get_logger()

ACCOUNT_WAIT_S: Final = 10.0
"""How long a namespace may be without the account of its pods."""
ACCOUNT_ASK_S: Final = 0.25


class Launches:
    """Those that go on, by worker. A launch goes on if its caller stops waiting for it."""

    def __init__(
        self, api: Api, terms: Terms, *, pods: Pods, archive: Archive, namespaces: Namespaces, claims: Claims
    ) -> None:
        self._api = api
        self._terms = terms
        self._pods = pods
        self._archive = archive
        self._namespaces = namespaces
        self._claims = claims
        self._tasks: dict[WorkerId, asyncio.Task[None]] = {}

    async def launch(self, spec: WorkerSpec) -> None:
        """Have the cluster take the pod; whoever comes meanwhile waits for the same."""
        task = self._tasks.get(spec.worker)
        if task is None:
            task = asyncio.create_task(self._start(spec), name=f"start {spec.worker}")
            self._tasks[spec.worker] = task
            task.add_done_callback(functools.partial(self._launched, spec.worker))
        await asyncio.shield(task)

    def workers(self) -> Collection[WorkerId]:
        """Who is on the way."""
        return self._tasks.keys()

    def tasks(self) -> Iterable[asyncio.Task[None]]:
        """What goes on."""
        return self._tasks.values()

    def _launched(self, worker: WorkerId, task: asyncio.Task[None]) -> None:
        del self._tasks[worker]
        if not task.cancelled():
            task.exception()  # whoever waited has it

    async def _start(self, spec: WorkerSpec) -> None:
        """Secrets first, as a node may be quick; they belong to the pod from the moment that it is there."""
        if spec.worker in await self._archive.all():
            return
        check_image(spec.image, spec.command)
        pod, namespace = pod_of(spec, self._terms), namespace_of(spec.team, self._terms)
        secrets = secrets_of(spec, self._terms)
        self._namespaces.learn(spec.worker, namespace)
        try:
            await self._namespaces.prepare(namespace)
            await self._claims.ensure(spec)
            for secret in secrets:
                await self._api.ensure(secret, namespace)
            created = await self._create(pod, namespace)
        except Refusal as refusal:
            await self._let_go(secrets, namespace)
            raise _launch_error(spec, refusal) from None
        there = created or await self._pods.find(spec.worker)
        if there is None:  # it was, and is over
            await self._let_go(secrets, namespace)
            return
        self._pods.add(spec.worker, there)
        for secret in secrets:
            await missing_is_fine(self._api.own(_name_of(secret), there))

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

    async def _let_go(self, secrets: Iterable[Secret], namespace: str) -> None:
        """Secrets of a pod that is not to be belong to nobody."""
        for secret in secrets:
            try:
                await missing_is_fine(self._api.delete_secret(_name_of(secret), namespace))
            except Refusal as refusal:
                log.warning("secret_left", secret=_name_of(secret), error=refusal.message)


def _name_of(secret: Secret) -> str:
    assert secret.metadata is not None
    return str(secret.metadata.name)


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
