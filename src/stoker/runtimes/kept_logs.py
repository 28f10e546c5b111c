"""The output of ended workers, for runtimes that keep a directory for each: all of it together stays within a bound. Blocks."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path


def trim_logs(root: Path, bytes_max: int, *, end: str, logs: Collection[str]) -> int:
    """Remove the logs of those workers below `root` that ended first, until the rest fits; how many bytes went.

    A worker has ended when its directory holds the file `end`, at the moment when that was written.
    """
    kept = sorted(_kept(root, end, logs), reverse=True)
    left, removed = bytes_max, 0
    for _ended_s, size, home in kept:
        left -= size
        if left < 0:
            for name in logs:
                (home / name).unlink(missing_ok=True)
            removed += size
    return removed


def _kept(root: Path, end: str, logs: Collection[str]) -> list[tuple[float, int, Path]]:
    """When each ended, how many bytes its logs have, and where they are."""
    found = []
    for file in root.glob(f"*/{end}"):
        try:
            ended_s = file.stat().st_mtime
            size = sum(log.stat().st_size for name in logs if (log := file.parent / name).exists())
        except FileNotFoundError:  # forgotten meanwhile
            continue
        if size:
            found.append((ended_s, size, file.parent))
    return found


__all__ = ["trim_logs"]
