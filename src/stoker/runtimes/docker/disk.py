"""Disk limits: which engines keep containers to one; where none does, containers are looked at now and then, and one that wrote too
much is stopped.

Looking makes the engine walk a container's own files, so it is done rarely, and only while some container has a limit.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from stoker.ids import WorkerId
from stoker.runtimes.container import WORKER
from stoker.runtimes.docker.container import DISK

LOOK_EVERY_S: Final = 10.0
GIB: Final = 1024**3


def keeps_limits(info: Mapping[str, Any]) -> bool:
    """Whether the engine keeps a container to a size of what it writes, by what it says of itself: with zfs, and with overlay2 on an
    xfs that has project quotas, without which it refuses to create the container.

    Not with btrfs: its size counts the image too, in a measure that nobody is told, and holds nobody while quotas are being counted.
    Not with containerd's images (`driver-type`): there the engine takes a size and does nothing.
    """
    status = {str(one[0]): str(one[1]) for one in info.get("DriverStatus") or ()}
    if "driver-type" in status:
        return False
    driver = info.get("Driver")
    return driver == "zfs" or (driver == "overlay2" and status.get("Backing Filesystem") == "xfs")


def too_full(containers: list[dict[str, Any]]) -> Mapping[WorkerId, str]:
    """Which workers have written more than they may, in words. `containers` are the engine's, with sizes."""
    found: dict[WorkerId, str] = {}
    for one in containers:
        most, used = int(one["Labels"].get(DISK, 0)), int(one.get("SizeRw") or 0)
        if most and used > most and one["State"] == "running":
            text = f"because it wrote {used / GIB:.1f} GiB to its own disk, and {most / GIB:.1f} GiB are allowed"
            found[WorkerId(one["Labels"][WORKER])] = text
    return found
