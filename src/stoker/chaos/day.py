"""The whole of it: servers and a database are set up, struck under load, let settle, and every accepted job is accounted for."""

from __future__ import annotations

import asyncio
import secrets
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Collection, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from stoker.chaos.databases import Database, Struck, open_database
from stoker.chaos.faults import Fault, schedule
from stoker.chaos.load import ASK_EVERY_S, Load
from stoker.chaos.receiver import Receiver
from stoker.chaos.report import Report, judge
from stoker.chaos.servers import WORKER_FILE, Server
from stoker.chaos.stage import Stage

WORKER: Final = Path(__file__).parent / "worker"
SERVER_SETTINGS: Final = {
    "port": 0,
    "runtime": "process",
    "hold_s": 5,
    "ping_interval_ms": 1_000,
    "lease_s": 10,
    "stop_grace_s": 2,
    "shutdown_grace_s": 2,
    "observe_every_s": 0.5,
    "rate_factor": 0,
    "webhook_networks": "127.0.0.0/8",
    "webhook_timeout_s": 3,
}
"""Short times, so that minutes see what else takes hours; no limit to what one client may ask."""
SAY_EVERY_S: Final = 10.0

Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Order:
    """What somebody wants to see."""

    duration_s: float
    rate: float
    """Jobs a second."""
    faults: Collection[Fault]
    seed: int
    workers: int
    servers: int
    settle_s: float
    """How long the platform may take, after the last strike, until all has ended and is told."""
    database: str = ""
    database_kill: str = ""
    database_start: str = ""
    logs: Path
    """Where the servers' logs go."""


async def spend(order: Order, say: Say) -> Report:
    """Such a day; what happens is said in lines. Raises `InvalidInput`, and `Unavailable` when nothing could be set up."""
    with tempfile.TemporaryDirectory(prefix="stoker-chaos-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        database = await asyncio.to_thread(
            open_database, order.database, folder, kill=order.database_kill, start=order.database_start
        )
        try:
            async with _staged(order, database, folder) as (stage, load):
                return await _run(order, database, stage, load, say)
        finally:
            await asyncio.to_thread(database.close)


@asynccontextmanager
async def _staged(order: Order, database: Database, folder: Path) -> AsyncIterator[tuple[Stage, Load]]:
    """Servers, an endpoint with ready workers to come, and a receiver."""
    key = f"sk_chaos_{secrets.token_hex(16)}"
    order.logs.mkdir(parents=True, exist_ok=True)
    settings = SERVER_SETTINGS | {"data_dir": folder / "data", "bootstrap_key": key} | dict(database.settings)
    count = min(order.servers, database.servers_most)
    servers = [Server(order.logs / f"server-{number}.log", settings) for number in range(count)]
    receiver = Receiver()
    await receiver.start()
    try:
        for server in servers:
            await server.start(patience_s=0)
        load = Load([server.url for server in servers], key, order.seed)
        try:
            await load.create_endpoint(
                image=f"dir:{WORKER}",
                command=f"{sys.executable} -u {WORKER_FILE}",
                min_workers=1,
                max_workers=order.workers,
                retries=10,
                webhook=receiver.url,
            )
            yield (
                Stage(servers=servers, database=Struck(database), receiver=receiver, folder=folder),
                load,
            )
        finally:
            await load.close()
    finally:
        for server in servers:
            await server.stop()
        await receiver.close()


async def _run(order: Order, database: Database, stage: Stage, load: Load, say: Say) -> Report:
    left_out = {fault: why for fault, why in database.cannot.items() if fault in order.faults}
    strikes = schedule(order.seed, order.duration_s, [fault for fault in order.faults if fault not in left_out])
    say(
        f"servers: {len(stage.servers)}; {order.rate:g} jobs a second for {order.duration_s:g} s; strikes: {len(strikes)}"
    )
    following = asyncio.create_task(load.follow())
    telling = asyncio.create_task(_tell(stage, load, say))
    try:
        await _together(load.send(order.rate, order.duration_s), stage.carry_out(strikes))
        say("the last strike is over; settling")
        await _settle(order, stage, load)
    finally:
        for task in (following, telling):
            task.cancel()
        await asyncio.gather(following, telling, return_exceptions=True)
    return judge(
        load.orders,
        load.endings,
        stage.receiver.told,
        seed=order.seed,
        struck=dict(sorted(stage.struck.items())),
        left_out=left_out,
        refused=dict(load.refused),
    )


async def _together(*those: Coroutine[Any, Any, None]) -> None:
    """All of them; the first that fails ends the others and is raised as it is."""
    try:
        async with asyncio.TaskGroup() as tasks:
            for one in those:
                tasks.create_task(one)
    except BaseExceptionGroup as failed:
        first: BaseException = failed
        while isinstance(first, BaseExceptionGroup):
            first = first.exceptions[0]
        raise first from None


async def _settle(order: Order, stage: Stage, load: Load) -> None:
    """Wait until every job has ended and was told, or it takes too long."""
    loop = asyncio.get_running_loop()
    until_s = loop.time() + order.settle_s
    while loop.time() < until_s:
        if len(load.endings) == len(load.orders) and all(job in stage.receiver.told for job in load.orders):
            return
        await asyncio.sleep(ASK_EVERY_S)


async def _tell(stage: Stage, load: Load, say: Say) -> None:
    while True:
        await asyncio.sleep(SAY_EVERY_S)
        struck = sum(stage.struck.values())
        say(
            f"{len(load.orders)} accepted, {len(load.endings)} ended, {len(stage.receiver.told)} told, {struck} strikes"
        )


__all__ = ["Order", "spend"]
