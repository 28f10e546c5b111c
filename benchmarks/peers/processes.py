"""The processes of a contestant: started, found, weighed, killed.

Contestants start processes that start processes, and some leave their parent. This process adopts what is left behind, so that
everything a contestant started is a descendant of ours, and one contestant at a time is on the stage.
"""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

import psutil

_PR_SET_CHILD_SUBREAPER: Final = 36
_GONE_S: Final = 10.0


def adopt_orphans() -> None:
    """Become the parent of every descendant whose own parent ends. Linux only.

    Raises OSError when the kernel refuses.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")


def descendants(but: Iterable[int] = ()) -> list[psutil.Process]:
    """Every process below this one, except those in `but` and what is below them."""
    spared = set(but)
    for pid in tuple(spared):
        with suppress(psutil.NoSuchProcess):
            spared.update(child.pid for child in psutil.Process(pid).children(recursive=True))
    return [one for one in psutil.Process().children(recursive=True) if one.pid not in spared]


def pss_bytes(processes: Iterable[psutil.Process]) -> int:
    """Memory of all of them; pages that several share are counted once."""
    total = 0
    for process in processes:
        with suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
            total += int(process.memory_full_info().pss)
    return total


def kill(but: Iterable[int] = ()) -> None:
    """kill -9 to every descendant not spared, in one go, and again until none is left.

    Raises TimeoutError when some survive.
    """
    spared = tuple(but)
    deadline_s = time.monotonic() + _GONE_S
    while left := descendants(spared):
        for process in left:
            with suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGKILL)
        psutil.wait_procs(left, timeout=0.5)
        if time.monotonic() > deadline_s:
            raise TimeoutError(f"survived kill -9: {', '.join(str(process) for process in left)}")


def spawn(
    command: Sequence[str], *, folder: Path, log: Path, environment: Mapping[str, str], user: int | None = None
) -> subprocess.Popen[bytes]:
    """Start a program in a session of its own, its output appended to `log`."""
    with log.open("ab") as output:
        return subprocess.Popen(
            list(command),
            cwd=folder,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            user=user,
        )


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
