"""What stays of a worker when its container is removed: how it ended, and its output.

    root/<worker id>/     exit.json  output.log

The log is written before the record, the record before the container is removed, each in one step, so that a server may be
killed in between. Everything here blocks.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from stoker.ids import WorkerId
from stoker.runtimes import LogLine
from stoker.runtimes.kept_logs import trim_logs
from stoker.worker import Exit

EXIT_FILE: Final = "exit.json"
LOG_FILE: Final = "output.log"


class Records:
    """All records below `root`."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def read(self) -> dict[WorkerId, Exit]:
        """How all recorded workers ended."""
        found = sorted(self._root.glob(f"*/{EXIT_FILE}")) if self._root.exists() else []
        ends = {WorkerId(file.parent.name): json.loads(file.read_text("utf-8")) for file in found}
        return {worker: Exit(code=end["code"], text=end["text"]) for worker, end in ends.items()}

    def write(self, worker: WorkerId, end: Exit, output: Iterable[LogLine]) -> None:
        """Keep both."""
        home = self._root / worker
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        lines = (f"{line.at_ms} {line.text}\n" for line in output)
        _replace(home / LOG_FILE, "".join(lines).encode("utf-8", "surrogateescape"))
        _replace(home / EXIT_FILE, json.dumps({"code": end.code, "text": end.text}).encode())

    def output(self, worker: WorkerId, tail: int) -> list[LogLine]:
        """The last lines, oldest first."""
        try:
            text = (self._root / worker / LOG_FILE).read_text("utf-8", "replace")
        except FileNotFoundError:
            return []
        stamped = [line.partition(" ") for line in text.split("\n") if line]
        return [LogLine(at_ms=int(stamp), text=words) for stamp, _, words in stamped[-tail:]] if tail > 0 else []

    def trim(self, bytes_max: int) -> int:
        """Keep no more output than that; how many bytes went."""
        return trim_logs(self._root, bytes_max, end=EXIT_FILE, logs=(LOG_FILE,))

    def remove(self, worker: WorkerId) -> None:
        """Forget both."""
        shutil.rmtree(self._root / worker, ignore_errors=True)


def _replace(file: Path, content: bytes) -> None:
    """Write in one step: whoever reads sees all of it or nothing."""
    unfinished = file.with_suffix(".new")
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as out:
        out.write(content)
    unfinished.replace(file)
