"""Whether this machine has what a server needs: GPUs, room on the disk, its port."""

from __future__ import annotations

import shutil
import socket
from pathlib import Path
from typing import Final

from stoker.doctor.finding import Finding
from stoker.runtimes import Capacity

DISK_FREE_LEAST: Final = 0.1
"""Below a tenth the SDK's own check fails every worker's start, and pulls of large images fail."""


def gpu_finding(capacity: Capacity) -> Finding:
    """Which GPUs the driver knows."""
    if capacity.devices:
        return Finding(subject="GPUs", verdict="ok", text=", ".join(device.name for device in capacity.devices))
    return Finding(subject="GPUs", verdict="note", text=capacity.text)


def disk_finding(subject: str, folder: Path) -> Finding:
    """Whether there is room."""
    usage = shutil.disk_usage(folder)
    free = f"{usage.free / 1e9:.0f} of {usage.total / 1e9:.0f} GB are free"
    if usage.free < DISK_FREE_LEAST * usage.total:
        return Finding(
            subject=subject,
            verdict="wrong",
            text=free,
            fix="make room; images of nobody: stoker image ls, stoker image rm",
        )
    return Finding(subject=subject, verdict="ok", text=free)


def port_finding(host: str, port: int) -> Finding:
    """Whether the server could listen. A server that runs already is no fault."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        socket.create_server((host, port), family=family).close()
    except OSError as error:
        return Finding(
            subject="port",
            verdict="note",
            text=f"{host} port {port} is taken or refused ({error.strerror})",
            fix="if that is no Stoker server: choose another with --port",
        )
    return Finding(subject="port", verdict="ok", text=f"{host} port {port} is free")


def existing(folder: Path) -> Path:
    """The folder, or the nearest above it that there is."""
    return next(one for one in (folder, *folder.parents) if one.exists())
