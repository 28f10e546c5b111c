"""What several servers on one PostgreSQL hold: `python -m benchmarks.scale`; its table belongs into docs/scale.md.

Jobs per second of one and of two processes, with one and with many endpoints in the database, and request times as the queue and
the past grow. Queued and finished rows are copies, made by SQL, of one that the server wrote; finished ones without bodies.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

import asyncpg
import httpx
import msgspec

from benchmarks.database import cluster
from benchmarks.figures import Spread
from benchmarks.load import Loaded
from benchmarks.rig import KEY, NAME, StokerServer, answer_of, load, start_load
from benchmarks.table import Row, plain, render

INPUT: Final = b'{"input":{"text":"' + b"x" * 280 + b'"}}'
AT_ONCE: Final = 100_000
"""Rows of one INSERT."""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """How much is measured."""

    seconds: float
    rounds: int
    connections: int
    endpoints: int
    queued: int
    finished: int


FULL: Final = Plan(seconds=5.0, rounds=3, connections=64, endpoints=1_000, queued=1_000_000, finished=10_000_000)
QUICK: Final = Plan(seconds=1.0, rounds=1, connections=16, endpoints=100, queued=10_000, finished=100_000)


# ── rows by SQL ───────────────────────────────────────────────────────────────────────────────────────────────────────


async def _columns(connection: asyncpg.Connection, table: str) -> str:
    """All but those that tell rows apart."""
    query = (
        "SELECT string_agg(column_name, ', ' ORDER BY ordinal_position) FROM information_schema.columns "
        "WHERE table_name = $1 AND column_name NOT IN ('seq', 'id')"
    )
    return str(await connection.fetchval(query, table))


async def _copies(connection: asyncpg.Connection, table: str, count: int) -> None:
    """So many more rows like the first one of the table."""
    rest = await _columns(connection, table)
    query = (
        f"INSERT INTO {table} (seq, id, {rest}) SELECT nextval('job_seq'), gen_random_uuid()::text, {rest} "
        f"FROM (SELECT {rest} FROM {table} LIMIT 1) AS one, generate_series(1, $1::int)"
    )
    for first in range(0, count, AT_ONCE):
        await connection.execute(query, min(AT_ONCE, count - first))


async def fill(url: str, *, queued: int, finished: int) -> None:
    """Grow the queue and the past; a job of each kind must be there."""
    connection = await asyncpg.connect(url)
    await _copies(connection, "jobs", queued)
    await _copies(connection, "ended_jobs", finished)
    await connection.execute(
        "INSERT INTO inputs (job, input) SELECT seq, $1 FROM jobs WHERE NOT EXISTS (SELECT FROM inputs WHERE job = seq)",
        b'{"text":"' + b"x" * 280 + b'"}',
    )
    await connection.execute(
        "UPDATE counters SET queued = queued + $1, completed = completed + $2 "
        "WHERE (endpoint, shard) = (SELECT endpoint, shard FROM counters LIMIT 1)",
        queued,
        finished,
    )
    await connection.execute("VACUUM ANALYZE")
    await connection.close()


async def more_endpoints(url: str, count: int) -> None:
    """Endpoints like the first one that want no workers."""
    connection = await asyncpg.connect(url)
    async with connection.transaction():
        for table, change in (
            ("releases", {"id": "'r' || n", "endpoint": "'e' || n"}),
            (
                "endpoints",
                {"id": "'e' || n", "name": "'e' || n", "release": "'r' || n", "min_workers": "0", "max_workers": "1"},
            ),
        ):
            names = ["id", *(await _columns(connection, table)).split(", ")]
            values = ", ".join(change.get(name, f"one.{name}") for name in names)
            await connection.execute(
                f"INSERT INTO {table} ({', '.join(names)}) SELECT {values} "
                f"FROM (SELECT * FROM {table} LIMIT 1) AS one, generate_series(1, $1::int) AS n",
                count,
            )
    await connection.close()


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


def _growth(plan: Plan, folder: Path, url: str) -> list[dict[str, Spread]]:
    """Request times with an empty past, with a long queue, and with a long past as well."""
    with StokerServer(folder / "server", workers=1, settings={"database": url}) as server:

        def times() -> dict[str, Spread]:
            return answer_of(start_load(server.order("backlog", seconds=plan.seconds)), dict[str, Spread])

        submit = f"{server.url}/v2/{NAME}/run"
        httpx.post(submit, content=INPUT, headers={"Authorization": f"Bearer {KEY}"}).raise_for_status()
        seen = [times()]
        asyncio.run(fill(url, queued=plan.queued, finished=0))
        seen.append(times())
        asyncio.run(fill(url, queued=0, finished=plan.finished))
        return [*seen, times()]


def measure(plan: Plan, folder: Path) -> list[Row]:
    """Everything, each part on a cluster of its own."""
    rows = []
    for processes in (1, 2):
        _say(f"{processes} processes")
        place = folder / f"processes-{processes}"
        place.mkdir(mode=0o711)
        with cluster(place / "cluster") as url:
            few, many = _loads(plan, place, url, processes=processes)
        rows.append(plain(f"jobs/s, {processes} process(es), 1 endpoint", few.rate, "/s", None))
        rows.append(plain(f"jobs/s, {processes} process(es), {plan.endpoints + 1:,} endpoints", many.rate, "/s", None))
    _say("growth")
    place = folder / "growth"
    place.mkdir(mode=0o711)
    with cluster(place / "cluster") as url:
        states = ("1 queued", f"{plan.queued:,} queued", f"{plan.queued:,} queued, {plan.finished:,} finished")
        for state, times in zip(states, _growth(plan, place, url), strict=True):
            rows += [plain(f"{name} p50, {state}", spread.p50, "ms", None) for name, spread in times.items()]
    return rows


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a minute, small numbers: for a look")
    parser.add_argument("--queued", type=int, help="jobs of the long queue (default: 1,000,000; 10,000 when quick)")
    parser.add_argument("--finished", type=int, help="jobs of the long past (default: ten times as many)")
    parser.add_argument("--dir", type=Path, help="where to work; a full run needs about 10 GB")
    given = parser.parse_args()
    plan = QUICK if given.quick else FULL
    queued = given.queued or plan.queued
    plan = msgspec.structs.replace(plan, queued=queued, finished=given.finished or 10 * queued)
    with tempfile.TemporaryDirectory(prefix="stoker-scale-", dir=given.dir) as folder:
        Path(folder).chmod(0o711)
        print(render(measure(plan, Path(folder))))


if __name__ == "__main__":
    main()
