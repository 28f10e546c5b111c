"""Who runs the loops: one server at a time, the one that holds a named lease (D14).

A lease lasts `LEASE_MS` and is renewed every `EVERY_S`. A holder that dies is followed by another within that time; one that
stops gives it back at once. A holder that cannot renew ends its loops before the lease does. Clocks of servers differ by
less than `SKEW_MOST_MS`, or the server that is off does not serve (`server.py`).

What must stay true: whatever a loop does it may do twice, for a process can be stopped in the middle and go on after its
lease. Decisions are stored under their own conditions (`WorkerRows.add`, `worker.advance`, `job.advance`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import suppress
from typing import Any, Final

import structlog

from stoker.clock import Clock
from stoker.errors import StokerError
from stoker.store import NamedLeases

log = structlog.get_logger()

LEASE_MS: Final = 8_000
EVERY_S: Final = 2.0
SKEW_MOST_MS: Final = 2_000
"""By how much the clocks of a server and of the database may differ: a quarter of a lease."""

Loops = Callable[[], Sequence[Coroutine[Any, Any, None]]]


async def always() -> bool:
    """Whoever can should."""
    return True


class Duty:
    """One named lease, and what runs while this server holds it."""

    def __init__(
        self,
        name: str,
        holder: str,
        leases: NamedLeases,
        clock: Clock,
        *,
        loops: Loops = lambda: (),
        wanted: Callable[[], Awaitable[bool]] = always,
    ) -> None:
        self.name = name
        self._holder = holder
        self._leases = leases
        self._clock = clock
        self._loops = loops
        self._wanted = wanted
        self._until_ms = 0
        self._tasks: list[asyncio.Task[None]] = []
        self.held = False
        """Whether the lease is this server's."""

    async def run(self) -> None:
        """Hold the lease whenever it can be had, until cancelled; then end the loops and give it back."""
        try:
            while True:
                await self.hold()
                await asyncio.sleep(EVERY_S)
        finally:
            await self._give_back()

    async def hold(self) -> None:
        """Take or renew the lease, and begin or end the loops accordingly."""
        now_ms = self._clock.now_ms()
        try:
            async with asyncio.timeout(EVERY_S):
                mine = await self._wanted() and await self._leases.hold(
                    self.name, self._holder, at_ms=now_ms, until_ms=now_ms + LEASE_MS
                )
        except (StokerError, TimeoutError) as error:
            mine = now_ms + int(2 * EVERY_S * 1000) < self._until_ms  # there is time to try again before it ends
            log.warning("lease_not_renewed", lease=self.name, error=str(error), held=mine)
        else:
            self._until_ms = now_ms + LEASE_MS if mine else 0
        if mine and not self.held:
            self._begin()
        elif self.held and not mine:
            await self._end()

    def _begin(self) -> None:
        self.held = True
        self._tasks = [asyncio.create_task(loop, name=self.name) for loop in self._loops()]
        log.info("lease_held", lease=self.name)

    async def _end(self) -> None:
        self.held = False
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []
        log.info("lease_ended", lease=self.name)

    async def _give_back(self) -> None:
        if self.held:
            await self._end()
            with suppress(StokerError, TimeoutError):  # it ends by itself
                async with asyncio.timeout(EVERY_S):
                    await self._leases.release(self.name, self._holder)
