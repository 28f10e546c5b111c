"""What the cluster noted about each worker: why it does not start, the stages of its start, and who takes it away.

Notes about a pod that has started, or that somebody takes away, are read once; about those that wait `notes` goes on asking.
"""

from __future__ import annotations

import asyncio
from collections.abc import Container, Mapping, Sequence
from typing import Final

import structlog
from lightkube.resources.core_v1 import Event, Pod

from stoker.ids import WorkerId
from stoker.runtimes import Observation, Step
from stoker.runtimes.kubernetes.api import Api, Refusal
from stoker.runtimes.kubernetes.condition import (
    Condition,
    Look,
    Waits,
    image_of,
    leaving_of,
    leaving_with,
    steps_of,
    waiting_with,
)
from stoker.runtimes.kubernetes.notes import Notes

log = structlog.get_logger()

ASKED_AT_ONCE: Final = 16
"""Pods that have just started, or are taken away, of which a look asks for the story at the same time."""


class Stories:
    """What was told. `stopped` are those whom we take away ourselves."""

    def __init__(self, api: Api, stopped: Container[WorkerId], look: Look) -> None:
        self._api = api
        self._stopped = stopped
        self._look = look
        self._notes = Notes(self.events)
        self._steps: dict[WorkerId, tuple[Step, ...]] = {}
        self._takers: dict[WorkerId, str] = {}

    async def run(self) -> None:
        """Ask about pods that wait, until cancelled."""
        await self._notes.run()

    async def learn(self, pods: Mapping[WorkerId, Pod], conditions: Mapping[WorkerId, Condition]) -> None:
        """Ask about those of which something is to be told that is not known yet."""
        untold = [(worker, pod) for worker, pod in pods.items() if self._is_untold(worker, pod, conditions[worker])]
        for first in range(0, len(untold), ASKED_AT_ONCE):
            await asyncio.gather(*(self._ask(worker, pod) for worker, pod in untold[first : first + ASKED_AT_ONCE]))

    def observation(self, worker: WorkerId, pod: Pod, condition: Condition) -> Observation:
        """How a worker is that is not over."""
        leaving = "" if worker in self._stopped else self._takers.get(worker, "")
        match condition:
            case Waits(waiting=waiting, asked=asked):
                if asked:
                    waiting = waiting_with(waiting, self._notes.of(worker, pod))
                return Observation(worker=worker, waiting=waiting, leaving=leaving)
            case _:
                steps = self._steps.get(worker, ())
                return Observation(worker=worker, steps=steps, leaving=leaving, image=image_of(pod))

    async def events(self, pod: Pod) -> Sequence[Event]:
        """What the cluster noted; nothing where we may not ask."""
        try:
            return await self._api.events(pod)
        except Refusal as refusal:
            log.warning("events_not_read", error=refusal.message)
            return []

    def forget(self, worker: WorkerId) -> None:
        """It is over."""
        self._steps.pop(worker, None)
        self._takers.pop(worker, None)
        self._notes.forget(worker)

    def _is_untold(self, worker: WorkerId, pod: Pod, condition: Condition) -> bool:
        if worker not in self._takers and worker not in self._stopped and leaving_of(pod):
            return True
        return worker not in self._steps and not isinstance(condition, Waits)

    async def _ask(self, worker: WorkerId, pod: Pod) -> None:
        """The stages of its start, and why somebody else ends it."""
        events = await self.events(pod)
        if not isinstance(self._look(pod), Waits):
            self._notes.forget(worker)
            self._steps[worker] = steps_of(pod, events)
        if worker not in self._stopped and (leaving := leaving_of(pod)):
            self._takers[worker] = leaving_with(leaving, events)
