"""What several servers on one PostgreSQL hold: `python -m benchmarks.scale`; its table belongs into docs/scale.md.

Jobs per second of one and of two processes, with one and with many endpoints in the database, and request times as the queue and
the past grow, on SQLite too (`filling.py` makes the rows).
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import httpx
import msgspec

from benchmarks.database import cluster
from benchmarks.figures import Spread
from benchmarks.filling import fill, more_endpoints
from benchmarks.load import Loaded
from benchmarks.rig import KEY, NAME, StokerServer, answer_of, load, start_load
from benchmarks.table import Row, beside, plain, render

INPUT: Final = b'{"input":{"text":"' + b"x" * 280 + b'"}}'
LOOK_S: Final = 1.0


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """How much is measured."""

    seconds: float
    rounds: int
    looks: int
    """At how long requests take, of `LOOK_S` each."""
    connections: int
    endpoints: int
    queued: int
    finished: int


FULL: Final = Plan(
    seconds=5.0, rounds=3, looks=9, connections=64, endpoints=1_000, queued=1_000_000, finished=10_000_000
)
QUICK: Final = Plan(seconds=1.0, rounds=1, looks=2, connections=16, endpoints=100, queued=10_000, finished=100_000)


# ── what is measured ──────────────────────────────────────────────────────────────────────────────────────────────────


def _loads(plan: Plan, folder: Path, url: str, *, processes: int) -> tuple[Loaded, Loaded]:
    """The best of all rounds, with one endpoint and with many."""
    settings = {"database": url, "processes": str(processes)}
    with StokerServer(folder / "server", workers=plan.connections, settings=settings) as server:

        def best() -> Loaded:
            order: dict[str, Any] = {"submitters": plan.connections, "takes": plan.connections, "seconds": plan.seconds}
            seen = [load(server.order(**order)) for _ in range(plan.rounds)]
            return max(seen, key=lambda one: one.rate)

        few = best()
        asyncio.run(more_endpoints(url, plan.endpoints))
        return few, best()


Times = dict[str, Spread]
"""Of requests, by name."""


def _growth(plan: Plan, folder: Path, url: str, url_beside: str) -> Iterator[list[tuple[Times, Times]]]:
    """Request times with a long queue, then with a long past as well, round by round beside those of a server with one job; on SQLite
    where there are no URLs. Rows are made while the server is down."""
    with _with_one_job(folder / "server", url) as server, _with_one_job(folder / "beside", url_beside) as beside:

        def times(of: StokerServer) -> Times:
            return answer_of(start_load(of.order("backlog", seconds=LOOK_S)), Times)

        for queued, finished in ((plan.queued, 0), (0, plan.finished)):
            times(server)  # a job has to be finished to be copied
            server.kill()
            beside.kill()
            began_s = time.monotonic()
            fill(url or server.data_dir / "stoker.db", queued=queued, finished=finished)
            # Filling ends the log, and commits to one that grows take twice as long as to one that is written over: both begin anew.
            fill(url_beside or beside.data_dir / "stoker.db", queued=0, finished=0)
            _say(f"filled in {time.monotonic() - began_s:.0f} s")
            server.start()
            beside.start()
            yield [(times(server), times(beside)) for _ in range(plan.looks)]


@contextmanager
def _with_one_job(folder: Path, url: str) -> Iterator[StokerServer]:
    with StokerServer(folder, workers=1, settings={"database": url} if url else None) as server:
        submit = f"{server.url}/v2/{NAME}/run"
        httpx.post(submit, content=INPUT, headers={"Authorization": f"Bearer {KEY}"}).raise_for_status()
        yield server


def _grown(plan: Plan, database: str, seen: Iterable[list[tuple[Times, Times]]]) -> Iterator[Row]:
    states = (f"{plan.queued:,} queued", f"{plan.queued:,} queued, {plan.finished:,} finished")
    for state, rounds in zip(states, seen, strict=True):
        for name in rounds[0][0]:
            pairs = [(ours[name].p50, theirs[name].p50) for ours, theirs in rounds]
            yield beside(f"{name} p50 on {database}, {state} / 1 queued", pairs, "ms")


def measure_servers(plan: Plan, folder: Path) -> list[Row]:
    """Jobs per second, each number of processes on a cluster of its own."""
    rows = []
    for processes in (1, 2):
        _say(f"{processes} processes")
        place = folder / f"processes-{processes}"
        place.mkdir(mode=0o711)
        with cluster(place / "cluster") as url:
            few, many = _loads(plan, place, url, processes=processes)
        rows.append(plain(f"jobs/s, {processes} process(es), 1 endpoint", few.rate, "/s", None))
        rows.append(plain(f"jobs/s, {processes} process(es), {plan.endpoints + 1:,} endpoints", many.rate, "/s", None))
    return rows


def measure_growth(plan: Plan, folder: Path) -> list[Row]:
    """Request times on both databases."""
    _say("growth on SQLite")
    rows = list(_grown(plan, "SQLite", _growth(plan, folder, "", "")))
    _say("growth on PostgreSQL")
    place = folder / "growth"
    place.mkdir(mode=0o711)
    with cluster(place / "cluster") as url, cluster(place / "cluster-beside") as url_beside:
        return [*rows, *_grown(plan, "PostgreSQL", _growth(plan, place, url, url_beside))]


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a minute, small numbers: for a look")
    parser.add_argument("--queued", type=int, help="jobs of the long queue (default: 1,000,000; 10,000 when quick)")
    parser.add_argument("--finished", type=int, help="jobs of the long past (default: ten times as many)")
    parser.add_argument("--growth", action="store_true", help="only how request times grow")
    parser.add_argument("--dir", type=Path, help="where to work; a full run needs about 10 GB")
    given = parser.parse_args()
    plan = QUICK if given.quick else FULL
    queued = given.queued or plan.queued
    plan = msgspec.structs.replace(plan, queued=queued, finished=given.finished or 10 * queued)
    with tempfile.TemporaryDirectory(prefix="stoker-scale-", dir=given.dir) as folder:
        Path(folder).chmod(0o711)
        servers = [] if given.growth else measure_servers(plan, Path(folder))
        print(render([*servers, *measure_growth(plan, Path(folder))]))


if __name__ == "__main__":
    main()
