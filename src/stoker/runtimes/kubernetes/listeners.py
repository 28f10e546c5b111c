"""What workers print: read from their nodes, and followed to the end of those that are about to end.

A node forgets what a container printed together with its pod. So whoever is told to end, by us or by somebody else, is listened to from
then on.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Final

import structlog
from lightkube.resources.core_v1 import Pod

from stoker.errors import Unavailable
from stoker.ids import WorkerId
from stoker.runtimes import LogLine
from stoker.runtimes.kubernetes.api import Api, Refusal
from stoker.runtimes.kubernetes.condition import Look, Runs
from stoker.runtimes.kubernetes.watch import Pods
from stoker.runtimes.output import lines_of

log = structlog.get_logger()

LISTEN_S: Final = 0.5
"""How long a stop waits until the output is being followed: what a worker says at its end goes with its pod."""
LAST_WORDS_S: Final = 5.0
"""How long the output of a worker that is over may still be coming."""


async def output_of(api: Api, pod: Pod, *, tail: int | None, follow: bool) -> AsyncGenerator[LogLine]:
    """What its node has of it; `tail` None for all. Raises `Refusal` when it has nothing: the worker has not started, or its pod is gone."""
    async with aclosing(api.output(pod, tail=tail, follow=follow)) as pieces:
        async for line in lines_of(pieces):
            if line.at_ms:  # else it is a word of the node's, about a container that is gone
                yield line


@dataclass(slots=True)
class _Listener:
    """Hears the last words of a worker."""

    lines: list[LogLine] = field(default_factory=list)
    heard: asyncio.Event = field(default_factory=asyncio.Event)
    task: asyncio.Task[None] | None = None


class Listeners:
    """Who is listened to."""

    def __init__(self, api: Api, pods: Pods, look: Look) -> None:
        self._api = api
        self._pods = pods
        self._look = look
        self._listeners: dict[WorkerId, _Listener] = {}

    def begin(self, worker: WorkerId, pod: Pod) -> None:
        """Follow its output from now on, if it runs."""
        if worker not in self._listeners and isinstance(self._look(pod), Runs):
            listener = self._listeners[worker] = _Listener()
            listener.task = asyncio.create_task(self._hear(worker, pod, listener), name=f"listen to {worker}")

    async def heard(self, worker: WorkerId) -> None:
        """Wait until its output is being followed; not for long, as it may say nothing."""
        if (listener := self._listeners.get(worker)) is not None:
            try:
                async with asyncio.timeout(LISTEN_S):
                    await listener.heard.wait()
            except TimeoutError:
                pass  # it has said nothing yet

    async def last_words(self, worker: WorkerId, pod: Pod) -> list[LogLine]:
        """All that a worker which is over has printed, as far as anybody still knows."""
        listener = self._listeners.get(worker)
        if listener is not None and listener.task is not None:
            await asyncio.wait([listener.task], timeout=LAST_WORDS_S)
            listener.task.cancel()
            return listener.lines
        try:
            return [line async for line in output_of(self._api, pod, tail=None, follow=False)]
        except Refusal:
            return []  # it never ran, or its node keeps no output of it

    def forget(self, worker: WorkerId) -> None:
        """Its words are kept elsewhere."""
        self._listeners.pop(worker, None)

    def tasks(self) -> Iterable[asyncio.Task[None]]:
        """What goes on."""
        return [one.task for one in self._listeners.values() if one.task is not None]

    async def _hear(self, worker: WorkerId, pod: Pod, listener: _Listener) -> None:
        """All its output; from its beginning again when the API server goes away meanwhile, for as long as its node may have it."""
        while True:
            lines: list[LogLine] = []
            try:
                async for line in output_of(self._api, pod, tail=None, follow=True):
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
