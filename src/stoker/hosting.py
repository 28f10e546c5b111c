"""Which runtime serves, and how its workers reach the server.

`auto` asks the Docker engine first; where none answers, workers are child processes if only this machine can reach the server, else
there are none. Containers do not reach a server that listens on loopback, so it opens a second door for them: the same port, on the
address that this machine has in the engine's first network, and behind it the worker protocol and nothing else.
"""

from __future__ import annotations

import asyncio
import ipaddress
import os
import secrets
from dataclasses import dataclass
from pathlib import Path

import structlog

from stoker.clock import Clock
from stoker.config import Settings
from stoker.errors import Unavailable
from stoker.runtimes import Nudge
from stoker.runtimes.absent import AbsentRuntime
from stoker.runtimes.docker import DockerRuntime, Engine, Terms
from stoker.runtimes.docker.container import HOST
from stoker.runtimes.docker.engine import SOCKET
from stoker.runtimes.process import ProcessRuntime

log = structlog.get_logger()

GIB = 1024**3


@dataclass(frozen=True, kw_only=True, slots=True)
class Hosting:
    """A runtime; the name of this machine inside its workers, empty when that is the same; the address of the second door."""

    runtime: DockerRuntime | ProcessRuntime | AbsentRuntime
    host: str = ""
    door: str = ""

    async def close(self) -> None:
        """Let go of the workers; they go on."""
        if isinstance(self.runtime, DockerRuntime):
            await self.runtime.close()
        else:
            self.runtime.close()


async def choose(settings: Settings, clock: Clock, nudge: Nudge) -> Hosting:
    """The hosting that the settings ask for. Raises `Unavailable` when that is Docker and no engine answers."""
    if settings.runtime in ("docker", "auto"):
        docker = await asyncio.to_thread(_docker, settings, clock, nudge)
        try:
            return await _reach(docker, settings)
        except Unavailable as error:
            await docker.close()
            if settings.runtime == "docker":
                raise
            log.info("no_docker", why=error.message)
    if settings.runtime == "process" or (settings.runtime == "auto" and settings.on_loopback):
        root = settings.data_dir / "workers"
        return Hosting(runtime=ProcessRuntime(root, nudge=nudge, log_bytes_max=settings.worker_log_bytes_max))
    return Hosting(runtime=AbsentRuntime())


def _docker(settings: Settings, clock: Clock, nudge: Nudge) -> DockerRuntime:
    terms = Terms(
        installation=settings.installation or _installation(settings.data_dir),
        log_bytes_max=settings.worker_log_bytes_max,
        pids_max=settings.worker_pids_max,
        shm_bytes=int(settings.worker_shm_gb * GIB),
        memory_bytes=int(settings.worker_memory_gb * GIB),
        cpus=settings.worker_cpus,
        disk_bytes=int(settings.worker_disk_gb * GIB),
        mount_roots=tuple(Path(root) for root in settings.mount_roots.split(":") if root),
    )
    return DockerRuntime(engine_of(settings), settings.data_dir / "containers", clock, nudge=nudge, terms=terms)


def engine_of(settings: Settings) -> Engine:
    """The engine that the settings name, else `DOCKER_HOST`, else this machine's."""
    return Engine(settings.docker_host or os.environ.get("DOCKER_HOST") or SOCKET)


async def _reach(docker: DockerRuntime, settings: Settings) -> Hosting:
    gateway = await docker.gateway()
    if settings.worker_url:
        return Hosting(runtime=docker)
    if not settings.on_loopback:
        anywhere = settings.host in ("0.0.0.0", "::")
        return Hosting(runtime=docker, host=HOST if anywhere else "")
    if not _is_address(gateway):
        raise Unavailable(
            "containers cannot reach a server on loopback: the engine has no network 'bridge' whose address it could use",
            code="no_gateway",
            next_step="listen on another address (--host) and say which: STOKER_WORKER_URL=http://ADDRESS:PORT",
        )
    return Hosting(runtime=docker, host=HOST, door=gateway)


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _installation(data_dir: Path) -> str:
    """The name of this installation, made at its first start. Blocks, for a line in a file."""
    file = data_dir / "installation"
    if not file.exists():
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        file.write_text(secrets.token_hex(4))
    return file.read_text().strip()


__all__ = ["Hosting", "choose", "engine_of"]
