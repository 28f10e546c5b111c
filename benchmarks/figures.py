"""Numbers that the parts of the benchmarks exchange: spreads of times, CPU time and memory of a process."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import psutil


class Spread(msgspec.Struct, frozen=True):
    """Milliseconds: the middle one, and the one that 99 of 100 are not above."""

    p50: float = 0.0
    p99: float = 0.0

    @classmethod
    def of(cls, seconds: Sequence[float]) -> Spread:
        """Of durations in seconds; zeros when there are none."""
        if not seconds:
            return cls()
        ordered = sorted(seconds)
        return cls(p50=ordered[len(ordered) // 2] * 1e3, p99=ordered[len(ordered) * 99 // 100] * 1e3)


def cpu_s(pid: int) -> float:
    """User and system time of one process so far, in seconds; 0 for no process."""
    if pid == 0:
        return 0.0
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)


def rss_bytes(pid: int) -> int:
    """Memory of one process."""
    return int(psutil.Process(pid).memory_info().rss)
