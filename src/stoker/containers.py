"""A server whose workers are containers: its runtime, and how they reach it.

Called by `hosting.py` and `doctor/`, and imported only where an engine is asked: its client takes 12 MiB of memory.
"""

from __future__ import annotations

import ipaddress
import os
import socket
import ssl
from dataclasses import dataclass
from pathlib import Path

from stoker.clock import Clock
from stoker.config import Settings
from stoker.errors import Unavailable
from stoker.installation import installation_of
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
    """The runtime that the settings describe. Blocks, for a line in a file. Raises `Unavailable` as `engine_of`."""
    terms = Terms(
        installation=installation_of(settings),
        log_bytes_max=settings.worker_log_bytes_max,
        pids_max=settings.worker_pids_max,
        shm_bytes=int(settings.worker_shm_gb * GIB),
        memory_bytes=int(settings.worker_memory_gb * GIB),
        cpus=settings.worker_cpus,
        disk_bytes=int(settings.worker_disk_gb * GIB),
        block_metadata=settings.block_metadata,
        mounts=settings.mount_terms,
    )
    return DockerRuntime(engine_of(settings), settings.data_dir / "containers", clock, nudge=nudge, terms=terms)


def engine_of(settings: Settings) -> Engine:
    """The engine that the settings name, else `DOCKER_HOST`, else this machine's. Blocks, for certificates.

    Raises `Unavailable` for an address of another kind, and for certificates that cannot be read.
    """
    host = settings.docker_host or os.environ.get("DOCKER_HOST") or SOCKET
    if not host.startswith(("unix://", "tcp://")):
        raise Unavailable(
            f"'{host}' is no address of an engine that Stoker can use",
            code="engine_unavailable",
            next_step="write unix:///path or tcp://host:port; for ssh://, forward the socket: ssh -L /path:/var/run/docker.sock host",
        )
    return Engine(host, _tls() if host.startswith("tcp://") else None)


def _tls() -> ssl.SSLContext | None:
    """How the engine's client encrypts, by its usual variables `DOCKER_TLS_VERIFY` and `DOCKER_CERT_PATH`."""
    if not os.environ.get("DOCKER_TLS_VERIFY"):
        return None
    folder = Path(os.environ.get("DOCKER_CERT_PATH") or Path.home() / ".docker")
    try:
        context = ssl.create_default_context(cafile=folder / "ca.pem")
        context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    except OSError as error:  # errors of certificates are among them
        raise Unavailable(
            f"DOCKER_TLS_VERIFY is set, and the certificates in {folder} cannot be used: {error}",
            code="engine_unavailable",
            next_step="put ca.pem, cert.pem and key.pem there, or name their directory in DOCKER_CERT_PATH",
        ) from None
    return context


async def reach(docker: DockerRuntime, settings: Settings) -> Reached:
    """How containers reach the server. Raises `Unavailable` when no engine answers, or they cannot."""
    gateway = await docker.gateway()
    if settings.worker_url:
        return Reached()
    anywhere = settings.worker_host in ("0.0.0.0", "::")
    if not settings.workers_on_loopback and not anywhere:
        return Reached()
    if not _is_ours(gateway):
        raise Unavailable(
            "containers cannot reach this server: the engine is rootless, on another machine, or has no network 'bridge'",
            code="no_gateway",
            next_step="listen on an address of the network (--host) and say which: STOKER_WORKER_URL=http://ADDRESS:PORT",
        )
    return Reached(host=HOST, door="" if anywhere else gateway)


def _is_ours(address: str) -> bool:
    """Whether this machine has the address."""
    try:
        family = socket.AF_INET6 if ipaddress.ip_address(address).version == 6 else socket.AF_INET
        with socket.socket(family, socket.SOCK_DGRAM) as one:
            one.bind((address, 0))
    except (ValueError, OSError):
        return False
    return True


__all__ = ["Reached", "engine_of", "reach", "runtime"]
