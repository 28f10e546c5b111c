"""Which runtime serves, and how its workers reach the server.

`auto` asks the Docker engine first; where none answers, workers are child processes if only this machine can reach the server, else
there are none. Pods are only run where the settings say so. Containers do not reach a server that listens on loopback, so it opens a door for them: the same port (or that of
`worker_listen`), on the address that this machine has in the engine's first network, and behind it the worker protocol and nothing else.
"""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Protocol

import structlog

from stoker.clock import Clock
from stoker.config import Settings
from stoker.errors import Unavailable
from stoker.runtimes import Nudge, Runtime
from stoker.runtimes.absent import AbsentRuntime
from stoker.runtimes.process import ProcessRuntime

log = structlog.get_logger()


class ServedRuntime(Runtime, Protocol):
    """A runtime that a server opens and closes."""

    def close(self) -> Awaitable[None] | None:
        """Let go of the workers; they go on."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Hosting:
    """A runtime; the name of this machine inside its workers, empty when that is the same; the address of the second door."""

    runtime: ServedRuntime
    host: str = ""
    door: str = ""

    async def close(self) -> None:
        """Let go of the workers; they go on."""
        closing = self.runtime.close()
        if closing is not None:
            await closing


async def choose(settings: Settings, clock: Clock, nudge: Nudge) -> Hosting:
    """The hosting that the settings ask for. Raises `Unavailable` when that is Docker and no engine answers, `InvalidInput` when
    it is Kubernetes and no cluster is configured; a cluster that does not answer may come back."""
    if settings.runtime in ("docker", "auto"):
        await asyncio.to_thread(importlib.import_module, "stoker.containers")  # it reads from the disk
        from stoker import containers  # 12 MiB of memory that a server without containers can do without

        try:
            docker = await asyncio.to_thread(containers.runtime, settings, clock, nudge)
            try:
                reached = await containers.reach(docker, settings)
            except Unavailable:
                await docker.close()
                raise
            return Hosting(runtime=docker, host=reached.host, door=reached.door)
        except Unavailable as error:
            if settings.runtime == "docker":
                raise
            log.info("no_docker", why=error.message)
    if settings.runtime == "kubernetes":
        await asyncio.to_thread(importlib.import_module, "stoker.clusters")
        from stoker import clusters

        kubernetes = await asyncio.to_thread(clusters.runtime, settings, clock, nudge)
        kubernetes.open()
        return Hosting(runtime=kubernetes)
    if settings.runtime == "process" or (settings.runtime == "auto" and settings.on_loopback):
        root = settings.data_dir / "workers"
        return Hosting(runtime=ProcessRuntime(root, nudge=nudge, log_bytes_max=settings.worker_log_bytes_max))
    return Hosting(runtime=AbsentRuntime())


__all__ = ["Hosting", "choose"]
