"""A server whose workers are containers: its runtime, and how they reach it.

Called by `hosting.py` and `doctor.py`, and imported only where an engine is asked: its client takes 12 MiB of memory.
"""

from __future__ import annotations

import ipaddress
import os
import secrets
from dataclasses import dataclass
from pathlib import Path

from stoker.clock import Clock
from stoker.config import Settings
from stoker.errors import Unavailable
from stoker.runtimes import Nudge
from stoker.runtimes.docker import DockerRuntime, Engine, Terms
from stoker.runtimes.docker.container import HOST
from stoker.runtimes.docker.engine import SOCKET

GIB = 1024**3


@dataclass(frozen=True, kw_only=True, slots=True)
class Reached:
    """The name of the server's machine inside containers, empty when that is the same; the address of the second door."""

    host: str = ""
    door: str = ""


def runtime(settings: Settings, clock: Clock, nudge: Nudge) -> DockerRuntime:
    """The runtime that the settings describe. Blocks, for a line in a file."""
    terms = Terms(
        installation=settings.installation or _installation(settings.data_dir),
        log_bytes_max=settings.worker_log_bytes_max,
        pids_max=settings.worker_pids_max,
        shm_bytes=int(settings.worker_shm_gb * GIB),
        memory_bytes=int(settings.worker_memory_gb * GIB),
        cpus=settings.worker_cpus,
        disk_bytes=int(settings.worker_disk_gb * GIB),
        mounts=settings.mount_terms,
    )
    return DockerRuntime(engine_of(settings), settings.data_dir / "containers", clock, nudge=nudge, terms=terms)


def engine_of(settings: Settings) -> Engine:
    """The engine that the settings name, else `DOCKER_HOST`, else this machine's."""
    return Engine(settings.docker_host or os.environ.get("DOCKER_HOST") or SOCKET)


async def reach(docker: DockerRuntime, settings: Settings) -> Reached:
    """How containers reach the server. Raises `Unavailable` when no engine answers, or they cannot."""
    gateway = await docker.gateway()
    if settings.worker_url:
        return Reached()
    if not settings.on_loopback:
        anywhere = settings.host in ("0.0.0.0", "::")
        return Reached(host=HOST if anywhere else "")
    if not _is_address(gateway):
        raise Unavailable(
            "containers cannot reach a server on loopback: the engine has no network 'bridge' whose address it could use",
            code="no_gateway",
            next_step="listen on another address (--host) and say which: STOKER_WORKER_URL=http://ADDRESS:PORT",
        )
    return Reached(host=HOST, door=gateway)


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


__all__ = ["Reached", "engine_of", "reach", "runtime"]
