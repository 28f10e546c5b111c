"""What a killed shim left behind of its worker, found among all processes of the machine and killed. Blocks.

Called by the process runtime, which says who belonged to the worker; whoever left that family still carries the marker.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Final

import psutil

SWEEPS_MAX: Final = 20
"""Rounds of SIGKILL; the next look at the worker goes on where they did not do."""
ROUND_S: Final = 0.05
"""How long those that were killed may take to go until the next round."""


def sweep(family: Callable[[], set[int]], marker: tuple[str, str]) -> bool:
    """Kill the family, and everything that has the variable `marker` with that value. Whether nothing is left now."""
    for _ in range(SWEEPS_MAX):
        pids = family()
        left = [process for process in psutil.process_iter() if process.pid in pids or _carries(process, marker)]
        if not left:
            return True
        for process in left:
            with suppress(psutil.Error):
                process.kill()
        psutil.wait_procs(left, timeout=ROUND_S)
    return False


def _carries(process: psutil.Process, marker: tuple[str, str]) -> bool:
    variable, value = marker
    try:
        return process.environ().get(variable) == value and process.status() != psutil.STATUS_ZOMBIE
    except (psutil.Error, OSError):
        return False


__all__ = ["sweep"]
