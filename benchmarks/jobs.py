"""Jobs per second, latencies and memory of Stoker on its embedded store, beside the floors: `make bench`.

Every round measures the floors and Stoker one after the other, in an order drawn from the seed; ratios are taken within a
round and the middle one of all rounds is shown. Absolute figures belong to the machine and the hour.
"""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from statistics import median
from typing import Any, Final

import msgspec

from benchmarks import backlog, coldstart, crash, database, floor, startup
from benchmarks.backlog import Backlog
from benchmarks.crash import Crashes
from benchmarks.figures import Spread, rss_bytes
from benchmarks.floor import Logged
from benchmarks.load import Loaded
from benchmarks.peers.brokers import Absent
from benchmarks.rig import FloorServer, StokerServer, answer_of, load, start_load
from benchmarks.table import Bound, Row, at_least, at_most, plain, render

KIB: Final = 1024
MIB: Final = 1024 * 1024

Fields = dict[str, Any]


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """How much is measured."""

    rounds: int
    seconds: float
    """Of each measurement of a round."""
    connections: int
    """Submitters, and as many workers."""
    many_queued: int
    crashes: int
    held_takes: int


FULL: Final = Plan(rounds=5, seconds=3.0, connections=64, many_queued=100_000, crashes=10, held_takes=512)
QUICK: Final = Plan(rounds=3, seconds=0.7, connections=16, many_queued=10_000, crashes=1, held_takes=128)
FEW_QUEUED: Final = 1_000


class Round(msgspec.Struct, kw_only=True):
    """What one round saw, by the names of its steps."""

    floor_load: Loaded
    stoker_load: Loaded
    floor_idle: Loaded
    stoker_idle: Loaded
    floor_100k: Loaded
    stoker_100k: Loaded
    stoker_4m: Loaded
    log_small: Logged
    log_100k: Logged
    flush: Spread


def run_round(plan: Plan, folder: Path, bare: FloorServer, stoker: StokerServer, chance: Random) -> Round:
    """Every step once, in random order."""
    busy: Fields = {"submitters": plan.connections, "takes": plan.connections, "seconds": plan.seconds}
    idle: Fields = {"submitters": 1, "takes": 1, "seconds": plan.seconds, "pause_s": 0.002}
    half: Fields = {"submitters": plan.connections // 2, "takes": plan.connections // 2, "seconds": plan.seconds}
    large: Fields = {"submitters": 4, "takes": 4, "seconds": plan.seconds, "body_bytes": 4 * MIB}
    steps: dict[str, Callable[[], Any]] = {
        "floor_load": lambda: load(bare.order(**busy)),
        "stoker_load": lambda: load(stoker.order(**busy)),
        "floor_idle": lambda: load(bare.order(**idle)),
        "stoker_idle": lambda: load(stoker.order(**idle)),
        "floor_100k": lambda: load(bare.order(**half, body_bytes=100 * KIB)),
        "stoker_100k": lambda: load(stoker.order(**half, body_bytes=100 * KIB)),
        "stoker_4m": lambda: load(stoker.order(**large)),
        "log_small": lambda: floor.log_jobs(folder, callers=1, body_bytes=300, seconds=plan.seconds / 2),
        "log_100k": lambda: floor.log_jobs(folder, callers=16, body_bytes=100 * KIB, seconds=plan.seconds / 2),
        "flush": lambda: floor.flush(folder, seconds=plan.seconds / 4),
    }
    names = list(steps)
    chance.shuffle(names)
    return Round(**{name: steps[name]() for name in names})


class Memory(msgspec.Struct, kw_only=True):
    """Resident memory of the server, in bytes."""

    idle: int
    per_take: float


def memory(stoker: StokerServer, takes: int) -> Memory:
    """Of a fresh server, and of each further take that it holds."""
    before = rss_bytes(stoker.pid)
    holding = start_load(stoker.order("hold", takes=takes, seconds=3.0))
    time.sleep(2.5)
    after = rss_bytes(stoker.pid)
    answer_of(holding, type(None))
    return Memory(idle=before, per_take=(after - before) / takes)


# ── rows ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _cpu_us(loaded: Loaded) -> float:
    return 1e6 * loaded.cpu_s / max(1, loaded.jobs)


def _beside(
    what: str,
    rounds: Sequence[Round],
    ours: Callable[[Round], float],
    theirs: Callable[[Round], float],
    unit: str,
    bound: Bound | None,
) -> Row:
    """A row judged by the ratio."""
    return Row(
        what=what,
        ours=f"{median(map(ours, rounds)):,.4g} {unit}",
        reference=f"{median(map(theirs, rounds)):,.4g} {unit}",
        ratio=median(ours(one) / theirs(one) for one in rounds),
        bound=bound,
        judged=median(ours(one) / theirs(one) for one in rounds),
    )


def rows_of_rounds(rounds: Sequence[Round]) -> list[Row]:
    """Throughput and latency."""

    def idle(what: str, read: Callable[[Loaded], float], bound: Bound) -> Row:
        beside = _beside(what, rounds, lambda r: read(r.stoker_idle), lambda r: r.log_small.insert_ms.p50, "ms", None)
        return msgspec.structs.replace(beside, bound=bound, judged=median(read(r.stoker_idle) for r in rounds))

    insert = "F1 insert p50"
    return [
        _beside("jobs/s / F0", rounds, lambda r: r.stoker_load.rate, lambda r: r.floor_load.rate, "/s", at_least(0.30, 0.45)),
        _beside("CPU of the server per job / F0", rounds, lambda r: _cpu_us(r.stoker_load), lambda r: _cpu_us(r.floor_load), "µs", at_most(3.5, 2)),
        _beside(f"idle: submit accepted, p50 / {insert}", rounds, lambda r: r.stoker_idle.accepted_ms.p50, lambda r: r.log_small.insert_ms.p50, "ms", at_most(4, 2.5)),
        idle(f"idle: delivered to a held take, p50 ms (ratio: {insert})", lambda x: x.delivered_ms.p50, at_most(1.5, 0.8)),
        idle("idle: delivered, p99 ms", lambda x: x.delivered_ms.p99, at_most(5, 2)),
        idle(f"idle: COMPLETED visible, p50 ms (ratio: {insert})", lambda x: x.completed_ms.p50, at_most(3, 1.7)),
        idle("idle: COMPLETED visible, p99 ms", lambda x: x.completed_ms.p99, at_most(10, 4)),
        _beside("idle: COMPLETED visible, p50 / F0", rounds, lambda r: r.stoker_idle.completed_ms.p50, lambda r: r.floor_idle.completed_ms.p50, "ms", None),
        _beside("100 KiB jobs/s / F1 at 100 KiB", rounds, lambda r: r.stoker_100k.rate, lambda r: r.log_100k.jobs_per_s, "/s", at_least(0.4, 0.8)),
        _beside("100 KiB jobs/s / F0 at 100 KiB", rounds, lambda r: r.stoker_100k.rate, lambda r: r.floor_100k.rate, "/s", None),
        _beside("CPU of the server per job of 100 KiB / F0", rounds, lambda r: _cpu_us(r.stoker_100k), lambda r: _cpu_us(r.floor_100k), "µs", None),
        plain("4 MiB jobs/s", median(r.stoker_4m.rate for r in rounds), "/s", at_least(10, 30)),
        plain("F2: fdatasync of 4 KiB, p50", median(r.flush.p50 for r in rounds), "ms", None),
        plain("load generator, CPU per job", median(1e6 * r.stoker_load.own_cpu_s / max(1, r.stoker_load.jobs) for r in rounds), "µs", None),
    ]  # fmt: skip


def rows_of_state(seen: Memory, queued: Backlog, crashes: Crashes) -> list[Row]:
    """Memory, backlog, crashes."""
    rows = [
        plain("memory of the idle server", seen.idle / MIB, "MiB", at_most(80, 50)),
        plain("memory of a held take", seen.per_take / KIB, "KiB", at_most(16, 8)),
        plain("memory of a queued job", queued.job_bytes, "bytes", at_most(300, 50)),
        plain(f"restart with {queued.many:,} queued, first take answered", queued.restart_s, "s", at_most(3, 1.2)),
    ]
    for name, bound in (("take", at_most(1.5, 1.15)), ("submit", at_most(1.5, 1.15)), ("stats", at_most(2, 1.2))):
        ours, theirs = queued.with_many[name].p50, queued.with_few[name].p50
        rows.append(
            Row(
                what=f"{name} p50 with {queued.many:,} queued / with {queued.few:,}",
                ours=f"{ours:.3g} ms",
                reference=f"{theirs:.3g} ms",
                ratio=ours / theirs,
                bound=bound,
                judged=ours / theirs,
            )
        )
    what = f"accepted jobs missing after kill -9 ({crashes.rounds} rounds, {crashes.accepted:,} accepted)"
    return [*rows, plain(what, crashes.missing, "jobs", at_most(0, 0))]


# ── the run ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def measure(plan: Plan, folder: Path, chance: Random) -> list[Row]:
    """Everything; a line to stderr for every part."""
    rounds = []
    with FloorServer() as bare, StokerServer(folder / "load", workers=plan.connections) as stoker:
        _say("memory")
        seen = memory(stoker, plan.held_takes)
        for number in range(plan.rounds):
            _say(f"round {number + 1} of {plan.rounds}")
            rounds.append(run_round(plan, folder, bare, stoker, chance))
    _say("backlog")
    queued = backlog.measure(folder / "backlog", few=FEW_QUEUED, many=plan.many_queued, seconds=plan.seconds)
    _say("crashes")
    crashes = crash.measure(folder / "crash", rounds=plan.crashes, workers=8, chance=chance)
    _say("start-up")
    started = startup.measure(folder / "startup", times=plan.rounds)
    rows = rows_of_rounds(rounds) + rows_of_state(seen, queued, crashes) + started
    return rows + _cold_start(plan) + _on_postgres(plan, folder, chance)


def _cold_start(plan: Plan) -> list[Row]:
    """None where no engine can be started, and a line that says so."""
    _say("cold start of a container")
    try:
        return coldstart.measure(rounds=plan.rounds)
    except Absent as error:
        _say(f"left out: {error}")
        return []


def _on_postgres(plan: Plan, folder: Path, chance: Random) -> list[Row]:
    """None where PostgreSQL is not installed, and a line that says so."""
    _say("PostgreSQL")
    place = folder / "postgres"
    place.mkdir()
    folder.chmod(0o711)  # PostgreSQL may have to run as another user
    fields = {"rounds": plan.rounds, "connections": plan.connections}
    try:
        return database.measure(place, **fields, seconds=plan.seconds, chance=chance)
    except Absent as error:
        _say(f"left out: {error}")
        return []


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _machine(plan: Plan, seed: int) -> str:
    today = datetime.datetime.now(datetime.UTC).date()
    return (
        f"{today}, seed {seed}, {os.cpu_count()} cores, {platform.system()} {platform.release()} {platform.machine()}, "
        f"CPython {platform.python_version()}, SQLite {sqlite3.sqlite_version}; {plan.rounds} rounds of {plan.seconds:g} s, "
        f"{plan.connections} submitters and {plan.connections} workers"
    )


def main() -> None:
    """Measure and print the table, which says what was missed."""
    parser = argparse.ArgumentParser(
        prog="make bench", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="about a minute instead of several")
    parser.add_argument("--seed", type=int, default=1, help="of the order of the steps and the moments of the kills")
    parser.add_argument(
        "--dir", type=Path, help="where to work: on the disk that matters (default: the temporary directory)"
    )
    given = parser.parse_args()
    plan = QUICK if given.quick else FULL
    with tempfile.TemporaryDirectory(prefix="stoker-bench-", dir=given.dir) as folder:
        rows = measure(plan, Path(folder), Random(given.seed))
    print(f"\n{_machine(plan, given.seed)}\n")
    print(render(rows))


if __name__ == "__main__":
    main()
