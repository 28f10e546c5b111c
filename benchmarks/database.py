"""Stoker on PostgreSQL beside the floor: jobs per second and idle latencies, and the cluster that this and `scale.py` run on."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from statistics import median
from typing import Any

import msgspec
import psutil

from benchmarks.load import Loaded
from benchmarks.peers.brokers import Broker, start
from benchmarks.rig import FloorServer, StokerServer, load
from benchmarks.table import Row, at_least, at_most, plain

STOPS_S = 30.0


@contextmanager
def cluster(folder: Path) -> Iterator[str]:
    """The URL of a fresh PostgreSQL with its own defaults, which flush. Raises `peers.brokers.Absent`."""
    folder.parent.chmod(0o711)  # for the user that PostgreSQL runs as when we are root
    url, pids = start(Broker.POSTGRES, folder)
    try:
        yield url
    finally:
        processes = [psutil.Process(pid) for pid in pids]
        for pid in pids:
            os.kill(pid, signal.SIGINT)
        psutil.wait_procs(processes, timeout=STOPS_S)


class Round(msgspec.Struct, kw_only=True):
    """What one round saw."""

    floor: Loaded
    load: Loaded
    idle: Loaded


def measure(folder: Path, *, rounds: int, connections: int, seconds: float, chance: Random) -> list[Row]:
    """The floor and a server on PostgreSQL, one after the other in random order, round by round."""
    busy: dict[str, Any] = {"submitters": connections, "takes": connections, "seconds": seconds}
    idle: dict[str, Any] = {"submitters": 1, "takes": 1, "seconds": seconds, "pause_s": 0.002}
    seen = []
    with (
        cluster(folder / "cluster") as url,
        FloorServer() as bare,
        StokerServer(folder / "server", workers=connections, settings={"database": url}) as stoker,
    ):
        for _ in range(rounds):
            steps: dict[str, Callable[[], Loaded]] = {
                "floor": lambda: load(bare.order(**busy)),
                "load": lambda: load(stoker.order(**busy)),
                "idle": lambda: load(stoker.order(**idle)),
            }
            names = list(steps)
            chance.shuffle(names)
            seen.append(Round(**{name: steps[name]() for name in names}))
    return _rows(seen)


def _rows(rounds: list[Round]) -> list[Row]:
    ratio = median(one.load.rate / one.floor.rate for one in rounds)
    return [
        Row(
            what="jobs/s, PostgreSQL / F0",
            ours=f"{median(one.load.rate for one in rounds):,.4g} /s",
            reference=f"{median(one.floor.rate for one in rounds):,.4g} /s",
            ratio=ratio,
            bound=at_least(0.18, 0.28),
            judged=ratio,
        ),
        plain("idle on PostgreSQL: delivered, p50", median(one.idle.delivered_ms.p50 for one in rounds), "ms", at_most(3, 1.5)),
        plain("idle on PostgreSQL: COMPLETED visible, p50", median(one.idle.completed_ms.p50 for one in rounds), "ms", at_most(6, 3.3)),
    ]  # fmt: skip
