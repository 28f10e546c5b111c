"""Stops: workers that we told to end and that are not over yet, and why their end will be as it will be."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterable
from typing import Final

import structlog
from lightkube.resources.core_v1 import Pod

from stoker.errors import Unavailable
from stoker.ids import WorkerId
from stoker.runtimes.kubernetes.listeners import Listeners
from stoker.runtimes.kubernetes.watch import Pods

log = structlog.get_logger()

STRIKE_AFTER_S: Final = 5.0
"""How long after its grace a pod may be there before it is struck out, because its node does not answer."""
_ASK_GRACE_S: Final = 1
"""The least that a cluster gives: with 0 it would not wait until the container is dead."""


class Stops:
    """By worker, until it is buried."""

    def __init__(self, pods: Pods, listeners: Listeners) -> None:
        self._pods = pods
        self._listeners = listeners
        self._why: dict[WorkerId, str] = {}
        self._strikes: dict[WorkerId, asyncio.Task[None]] = {}
        self._struck: set[WorkerId] = set()

    def __contains__(self, worker: object) -> bool:
        return worker in self._why

    async def stop(self, worker: WorkerId, pod: Pod, grace_s: float) -> None:
        """Let its node send SIGTERM, and SIGKILL when the grace is over. Raises `Unavailable`."""
        self._why.setdefault(worker, _why(grace_s))
        self._listeners.begin(worker, pod)
        await self._listeners.heard(worker)
        await self._pods.delete(pod, grace_s=max(_ASK_GRACE_S, math.ceil(grace_s)))
        strike = self._strikes.get(worker)
        if grace_s <= 0 and (strike is None or strike.done()):
            self._strikes[worker] = asyncio.create_task(self._strike_later(worker), name=f"strike out {worker}")

    def why(self, worker: WorkerId) -> str:
        """In what way it was stopped, as the end of a sentence; empty when it was not."""
        return self._why.get(worker, "")

    def is_struck(self, worker: WorkerId) -> bool:
        """Whether its pod was struck out, so that nobody saw its end."""
        return worker in self._struck

    def forget(self, worker: WorkerId) -> None:
        """It is over."""
        self._why.pop(worker, None)
        self._struck.discard(worker)
        if (strike := self._strikes.pop(worker, None)) is not None:
            strike.cancel()

    def tasks(self) -> Iterable[asyncio.Task[None]]:
        """What goes on."""
        return self._strikes.values()

    async def _strike_later(self, worker: WorkerId) -> None:
        """A pod that is still there long after it was to be killed is on a node that does not answer, or does not hear."""
        await asyncio.sleep(_ASK_GRACE_S + STRIKE_AFTER_S)
        pod = self._pods.get(worker)
        if pod is None:
            return
        self._struck.add(worker)
        try:
            await self._pods.delete(pod, grace_s=0)
        except Unavailable as error:  # the lifeline tells us again
            log.warning("runtime_unavailable", worker=worker, error=error.message)


def _why(grace_s: float) -> str:
    return f"when its grace of {grace_s:g} s had passed" if grace_s > 0 else "because it was stopped at once"
