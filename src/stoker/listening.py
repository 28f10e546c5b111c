"""Where a server listens, and the data directory that it has for itself. Blocks; called once, at the start."""

from __future__ import annotations

import fcntl
import socket
from pathlib import Path
from typing import TextIO

from stoker.config import Settings
from stoker.errors import Conflict, Unavailable


def settle(settings: Settings) -> tuple[TextIO | None, socket.socket]:
    """The data directory, ours alone if the database is in it, and the port. Blocks."""
    settings.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    lock = None if settings.database else lock_data_dir(settings.data_dir)
    return lock, listen(settings.host, settings.port)


def lock_data_dir(data_dir: Path) -> TextIO:
    """One server per data directory. The lock goes with the process, however it ends."""
    lock = (data_dir / "lock").open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.close()
        raise Conflict(
            f"another server uses the data directory {data_dir}",
            code="data_dir_in_use",
            field="data_dir",
            next_step="stop it, or choose another with --data-dir",
        ) from None
    return lock


def listen(host: str, port: int, *, beside_others: bool = False) -> socket.socket:
    """`beside_others`: other servers of ours listen there too."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family, backlog=2048, reuse_port=beside_others)
    except OSError as error:
        raise Unavailable(
            f"cannot listen on {host} port {port}: {(error.strerror or str(error)).partition(' (while ')[0]}",
            code="address_in_use",
            field="port",
            next_step="stop what uses the port, or choose another with --port",
        ) from None
    listener.setblocking(False)
    return listener


def url_of(listener: socket.socket, *, scheme: str = "http") -> str:
    """Where clients reach who accepts from it."""
    host, port = listener.getsockname()[:2]
    return f"{scheme}://{reachable(host)}:{port}"


def reachable(host: str) -> str:
    """How a URL names who listens on this address."""
    if host in ("0.0.0.0", "::"):
        return "127.0.0.1"
    return f"[{host}]" if ":" in host else host


__all__ = ["listen", "lock_data_dir", "reachable", "settle", "url_of"]
