"""What a long queue costs: requests with many jobs queued beside the same with few, and the way back after a kill -9."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Final

import msgspec

from benchmarks.figures import Spread, rss_bytes
from benchmarks.rig import StokerServer, answer_of, start_load
from stoker.clock import SystemClock
from stoker.queue import Queue, Submission
from stoker.signals import Signals
from stoker.store.sqlite import SqliteStore

AT_ONCE: Final = 500
"""Submissions that share a transaction while the queue is filled."""
INPUT: Final = b'{"text":"' + b"x" * 280 + b'"}'


class Backlog(msgspec.Struct, kw_only=True):
    """Request times with `few` and with `many` jobs queued, and how long a start with `many` takes."""

    few: int
    many: int
    with_few: dict[str, Spread]
    with_many: dict[str, Spread]
    restart_s: float
    """From the start of the process to the first take that was answered with a job."""
    job_bytes: float
    """Resident memory of a server that was started with `many` and asked, beyond one with `few`, for each further job."""


def measure(folder: Path, *, few: int, many: int, seconds: float) -> Backlog:
    """On a server of its own, whose queue is filled while it is down."""
    with StokerServer(folder, workers=1) as server:
        server.kill()
        asyncio.run(_fill(folder / "stoker.db", few))
        server.start()
        with_few = _requests(server, seconds)
        few_bytes = rss_bytes(server.pid)
        server.kill()
        asyncio.run(_fill(folder / "stoker.db", many - few))
        restart_s = _restart(server)
        with_many = _requests(server, seconds)
        job_bytes = (rss_bytes(server.pid) - few_bytes) / (many - few)
    seen = {"with_few": with_few, "with_many": with_many}
    return Backlog(few=few, many=many, restart_s=restart_s, job_bytes=job_bytes, **seen)


def _requests(server: StokerServer, seconds: float) -> dict[str, Spread]:
    return answer_of(start_load(server.order("backlog", seconds=seconds)), dict[str, Spread])


def _restart(server: StokerServer) -> float:
    waiting = start_load(server.order("first_take"))
    began_s = time.monotonic()
    server.start()
    return answer_of(waiting, float) - began_s


async def _fill(database: Path, count: int) -> None:
    """Queue `count` jobs for the only endpoint."""
    store = await SqliteStore.open(database)
    queue = Queue(store, SystemClock(), Signals())
    (endpoint,) = await store.endpoints.active()
    for first in range(0, count, AT_ONCE):
        jobs = range(first, min(first + AT_ONCE, count))
        await asyncio.gather(*(queue.submit(endpoint, Submission(input=INPUT)) for _ in jobs))
    await store.close()
