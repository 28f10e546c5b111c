"""The platform that is struck, and its strikes: each fault is begun, let be, and ended."""

from __future__ import annotations

import asyncio
import signal
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar, assert_never

import psutil

from stoker.chaos.databases import Struck
from stoker.chaos.faults import Fault, Strike
from stoker.chaos.receiver import Breakage, Receiver
from stoker.chaos.servers import Server, workers_below

Victim = TypeVar("Victim")


@dataclass(kw_only=True)
class Stage:
    """Everything that can be struck."""

    servers: Sequence[Server]
    database: Struck
    receiver: Receiver
    folder: Path
    """Where workers have their files."""
    struck: Counter[str] = field(default_factory=Counter)
    """How often each fault struck; one that found nobody did not."""

    async def carry_out(self, strikes: Sequence[Strike]) -> None:
        """Each at its moment, from now on; until the last is over."""
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        async with asyncio.TaskGroup() as tasks:
            for strike in strikes:
                await asyncio.sleep(max(0.0, began_s + strike.at_s - loop.time()))
                tasks.create_task(self._strike(strike), name=strike.fault)

    async def _strike(self, strike: Strike) -> None:
        match strike.fault:
            case Fault.KILL_WORKER | Fault.PAUSE_WORKER:
                done = await self._strike_worker(strike)
            case Fault.KILL_SERVER | Fault.PAUSE_SERVER:
                done = await self._strike_server(strike)
            case Fault.KILL_DATABASE | Fault.PAUSE_DATABASE | Fault.FILL_DISK:
                await self.database.strike(strike.fault, strike.lasts_s)
                done = True
            case Fault.BREAK_RECEIVER:
                done = await self._break_receiver(strike)
            case _:
                assert_never(strike.fault)
        self.struck[strike.fault] += done

    async def _strike_worker(self, strike: Strike) -> bool:
        worker = _chosen(await asyncio.to_thread(workers_below, self.folder), strike)
        if worker is None:
            return False
        with suppress(psutil.NoSuchProcess):
            if strike.fault is Fault.KILL_WORKER:
                worker.kill()
                return True
            worker.suspend()
            try:
                await asyncio.sleep(strike.lasts_s)
            finally:
                worker.resume()
            return True
        return False

    async def _strike_server(self, strike: Strike) -> bool:
        server = _chosen(self.servers, strike)
        assert server is not None, "there is always one"
        async with server.lock:
            if strike.fault is Fault.KILL_SERVER:
                await server.kill()
                await asyncio.sleep(strike.lasts_s)
                await server.start()
                return True
            server.signal(signal.SIGSTOP)
            try:
                await asyncio.sleep(strike.lasts_s)
            finally:
                server.signal(signal.SIGCONT)
            return True

    async def _break_receiver(self, strike: Strike) -> bool:
        self.receiver.broken = _chosen(list(Breakage), strike)
        try:
            await asyncio.sleep(strike.lasts_s)
        finally:
            self.receiver.broken = None
        return True


def _chosen(those: Sequence[Victim], strike: Strike) -> Victim | None:
    return those[int(strike.which * len(those))] if those else None


__all__ = ["Stage"]
