"""How a container ended, in words. Pure, but for the kernel's log."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Mapping
from typing import Any, Final

from stoker.runtimes.container import code_text, with_last_line
from stoker.worker import Exit

KERNEL_LOG: Final = "/dev/kmsg"
_READ_BYTES: Final = 8192
"""One record of the kernel's log, which a read never splits, is at most this long."""
_KILLED_BY_KERNEL: Final = re.compile(
    r"task_memcg=\S*{container}\S*,task=(?P<name>[^,]+),pid=(?P<pid>\d+)".replace(
        "{container}", "(?P<container>[0-9a-f]{64})"
    )
)


def exit_of(state: Mapping[str, Any], *, stopped: str, victim: str, last_line: str) -> Exit:
    """From the engine's `State`. `stopped` says why we ended it, if we did; `victim` which process the kernel killed for its
    memory, if that is known; `last_line` is the last that it wrote."""
    code = int(state["ExitCode"])
    text = _cause(code, out_of_memory=bool(state.get("OOMKilled")), stopped=stopped, victim=victim)
    if state.get("Error"):
        text = f"{text}; the engine says: {state['Error']}"
    return Exit(code=code, text=with_last_line(text, code, last_line))


def _cause(code: int, *, out_of_memory: bool, stopped: str, victim: str) -> str:
    if out_of_memory and code:
        who = f"the kernel killed {victim}" if victim else "the kernel killed one of its processes"
        return f"out of memory: {who} because the worker reached its memory limit (exit code {code})"
    if stopped and code:
        return f"{code_text(code)} {stopped}"
    if code == 128 + signal.SIGKILL:
        return f"{code_text(code)}, by somebody outside of Stoker or because the machine ran out of memory"
    return code_text(code)


def read_victims() -> dict[str, str]:
    """Which process the kernel killed for its memory, by container id. Blocks; empty where we may not read its log."""
    victims: dict[str, str] = {}
    try:
        log = os.open(KERNEL_LOG, os.O_RDONLY | os.O_NONBLOCK)
    except OSError:
        return victims
    try:
        while record := os.read(log, _READ_BYTES):
            if found := _KILLED_BY_KERNEL.search(record.decode("utf-8", "replace")):
                victims[found["container"]] = f"{found['name']} (process {found['pid']})"
    except OSError:  # the end: nothing more to read now
        pass
    finally:
        os.close(log)
    return victims
