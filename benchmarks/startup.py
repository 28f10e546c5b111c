"""How long a person waits: for `stoker serve` to listen, and for `stoker --help`."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from statistics import median

from benchmarks.rig import StokerServer
from benchmarks.table import Row, plain


def measure(folder: Path, *, times: int) -> list[Row]:
    """The middle one of so many starts; the server's database exists already."""
    serve = []
    with StokerServer(folder, workers=0) as server:
        for _ in range(times):
            server.kill()
            began_s = time.perf_counter()
            server.start()
            serve.append(time.perf_counter() - began_s)
    return [
        plain("start of `stoker serve`, until it listens", median(serve), "s", None),
        plain("`stoker --help`", median(_help() for _ in range(times)), "s", None),
    ]


def _help() -> float:
    began_s = time.perf_counter()
    command = [str(Path(sys.executable).with_name("stoker")), "--help"]
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - began_s
