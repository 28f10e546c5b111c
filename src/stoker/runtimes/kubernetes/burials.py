"""Burials: what is to be kept of a worker that is over is kept, then its pod is removed, so that nothing of it stays on a node."""

from __future__ import annotations

import asyncio
import functools
import math
from collections.abc import Collection, Iterable, Sequence
from typing import Final

import structlog
from lightkube.resources.core_v1 import Pod

from stoker.errors import StokerError, Unavailable
from stoker.ids import WorkerId
from stoker.runtimes import LogLine, Nudge
from stoker.runtimes.container import with_last_line
from stoker.runtimes.kubernetes.api import Refusal
from stoker.runtimes.kubernetes.archive import Archive
from stoker.runtimes.kubernetes.condition import (
    Condition,
    Ended,
    Look,
    Refused,
    has_run,
    last_trouble,
    lost_exit,
    pull_words,
)
from stoker.runtimes.kubernetes.listeners import Listeners
from stoker.runtimes.kubernetes.record import End
from stoker.runtimes.kubernetes.stops import Stops
from stoker.runtimes.kubernetes.stories import Stories
from stoker.runtimes.kubernetes.watch import Pods
from stoker.worker import Exit

log = structlog.get_logger()

RECORD_WAIT_S: Final = 5.0
"""How long to wait for the record of a pod that another server stopped."""
RECORD_ASK_S: Final = 0.5
BURY_S: Final = 1.0
"""How long a look waits for records to be written; who is not done by then is shown by the next."""


class Burials:
    """Those that go on, pods that went before they were buried, and pods whose removal has not been seen yet."""

    def __init__(
        self,
        *,
        pods: Pods,
        archive: Archive,
        stops: Stops,
        listeners: Listeners,
        stories: Stories,
        look: Look,
        nudge: Nudge,
        log_bytes_max: int,
    ) -> None:
        self._pods = pods
        self._archive = archive
        self._stops = stops
        self._listeners = listeners
        self._stories = stories
        self._look = look
        self._nudge = nudge
        self._log_bytes_max = log_bytes_max
        self._burying: dict[WorkerId, asyncio.Task[None]] = {}
        self._lost: dict[WorkerId, Pod] = {}
        self._removing: set[WorkerId] = set()
        self._removals: set[asyncio.Task[None]] = set()

    # ── who ───────────────────────────────────────────────────────────────────────────────────────────────────────────

    def is_over(self, worker: WorkerId, condition: Condition) -> bool:
        """Whether it is to be buried."""
        return worker in self._lost or isinstance(condition, Ended | Refused)

    def is_buried(self, worker: WorkerId) -> bool:
        """Whether what may still be there of its pod says nothing any more."""
        return worker in self._removing or self._archive.has(worker)

    def under_way(self) -> Collection[WorkerId]:
        """Who is being buried."""
        return self._burying.keys()

    def lose(self, worker: WorkerId, pod: Pod) -> bool:
        """Its pod is gone. Whether it went before it was buried."""
        if self.is_buried(worker):
            self._removing.discard(worker)
            return False
        self._lost[worker] = pod
        return True

    # ── what is done ──────────────────────────────────────────────────────────────────────────────────────────────────

    def bury(self, worker: WorkerId, pod: Pod) -> None:
        """Begin, unless somebody has; of one that has a record only the pod is left."""
        if worker in self._burying or worker in self._removing:
            return
        if self._archive.has(worker):
            self._remove(worker, pod)
        else:
            task = asyncio.create_task(self._keep_record(worker, pod), name=f"bury {worker}")
            self._burying[worker] = task
            task.add_done_callback(functools.partial(self._buried, worker))

    def bury_lost(self) -> None:
        """Those whose pods went."""
        for worker, pod in self._lost.items():
            self.bury(worker, pod)

    async def settle(self) -> None:
        """Wait until all are buried; not for long."""
        if self._burying:
            await asyncio.wait(list(self._burying.values()), timeout=BURY_S)

    async def settled(self, worker: WorkerId) -> None:
        """Wait until this one is, if it is being."""
        if (burying := self._burying.get(worker)) is not None:
            await asyncio.wait([burying])

    def tasks(self) -> Iterable[asyncio.Task[None]]:
        """What goes on."""
        return [*self._burying.values(), *self._removals]

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
        lines = await self._listeners.last_words(worker, pod)
        end = await self._written(worker, pod)
        if end is None:
            end = await self._end(worker, self._latest(worker, pod), lines)
            await self._archive.add(worker, end, lines, bytes_max=self._log_bytes_max)
        ends[worker] = end
        self._lost.pop(worker, None)
        for known in (self._listeners, self._stops, self._stories):
            known.forget(worker)
        if self._pods.get(worker) is not None:
            self._remove(worker, pod)

    def _latest(self, worker: WorkerId, pod: Pod) -> Pod:
        """Its pod as it was last."""
        return self._lost.get(worker) or self._pods.get(worker) or pod

    async def _written(self, worker: WorkerId, pod: Pod) -> End | None:
        """What another server has recorded, or is about to, of a pod that it stopped: it has followed the output from before, where we may
        find none any more."""
        about = self._latest(worker, pod).metadata
        stopped_by_other = about is not None and about.deletionTimestamp is not None
        if worker in self._stops or not (stopped_by_other or worker in self._lost):
            return None
        tries = math.ceil(RECORD_WAIT_S / RECORD_ASK_S) if stopped_by_other else 1
        for again in range(tries):
            if (found := await self._archive.find(worker)) is not None:
                return found
            if again + 1 < tries:
                await asyncio.sleep(RECORD_ASK_S)
        return None

    async def _end(self, worker: WorkerId, pod: Pod, lines: Sequence[LogLine]) -> End:
        match self._look(pod):
            case Ended(exit=exit):
                return End(exit=self._explained(worker, exit, lines))
            case Refused(text=text, image=image):
                events = await self._stories.events(pod)
                told = last_trouble(events) if image else ""
                return End(exit=Exit(code=None, text=pull_words(image, told) if told else text), ran=has_run(events))
            case _:
                return End(exit=lost_exit(pod, forced=self._stops.is_struck(worker)))

    def _explained(self, worker: WorkerId, exit: Exit, lines: Sequence[LogLine]) -> Exit:
        stopped = self._stops.why(worker) if exit.code else ""
        last = next((line.text for line in reversed(lines) if line.text.strip()), "")
        text = f"{exit.text} {stopped}".strip()
        return Exit(code=exit.code, text=with_last_line(text, exit.code, last))

    # ── the pod ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def _remove(self, worker: WorkerId, pod: Pod) -> None:
        self._removing.add(worker)
        removal = asyncio.create_task(self._discard(worker, pod), name=f"remove {worker}")
        self._removals.add(removal)
        removal.add_done_callback(self._removals.discard)

    async def _discard(self, worker: WorkerId, pod: Pod) -> None:
        """Remove a pod whose container is dead. The next look finds what could not be removed."""
        try:
            await self._pods.delete(pod, grace_s=0)
        except Unavailable as error:
            self._removing.discard(worker)
            log.warning("pod_not_removed", pod=pod.metadata.name if pod.metadata else "", error=error.message)
