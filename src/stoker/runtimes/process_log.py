"""Reading the log of a worker of the process runtime, while its shim goes on writing and rotating it.

The current file may be set aside at any moment, and a new one begun; a reader keeps the one it has open and finishes it before
it goes on with the next. A reader that looks away for two turns misses a file, as with any bounded log.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import BinaryIO

from stoker.runtimes import LogLine, process_shim


class LogReader:
    """Reads the log in a worker's directory. Everything here blocks, but for `close`."""

    def __init__(self, home: Path) -> None:
        self._path = home / process_shim.LOG_FILE
        self._older_path = home / process_shim.OLDER_LOG_FILE
        self._file: BinaryIO | None = None
        self._partial = b""

    def tail(self, count: int) -> list[LogLine]:
        """The last `count` lines; `more` goes on behind them."""
        older = self._read_older()
        lines = self.more()
        if len(lines) < count:
            lines = [*_parse(older), *lines]
        return lines[-count:] if count > 0 else []

    def more(self) -> list[LogLine]:
        """The lines that were added since the last call."""
        if self._file is None:
            self._file = self._open()
        if self._file is None:
            return []
        data = self._partial + self._file.read()
        while self._set_aside():
            data += self._file.read()  # what was written before it was set aside
            self._file.close()
            self._file = self._open()
            if self._file is None:
                break
            data += self._file.read()
        whole, newline, self._partial = data.rpartition(b"\n")
        return _parse(whole + newline)

    def close(self) -> None:
        """Let go of the file."""
        if self._file is not None:
            self._file.close()

    def _open(self) -> BinaryIO | None:
        try:
            return self._path.open("rb")
        except FileNotFoundError:
            return None

    def _read_older(self) -> bytes:
        try:
            return self._older_path.read_bytes()
        except FileNotFoundError:
            return b""

    def _set_aside(self) -> bool:
        """Whether our file is no longer the current one."""
        assert self._file is not None
        try:
            return os.fstat(self._file.fileno()).st_ino != self._path.stat().st_ino
        except FileNotFoundError:
            return False


def _parse(data: bytes) -> list[LogLine]:
    stamped = (line.partition(b" ") for line in data.split(b"\n") if line)
    return [LogLine(at_ms=int(stamp), text=text.decode("utf-8", "replace")) for stamp, _, text in stamped]
