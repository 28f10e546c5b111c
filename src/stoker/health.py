"""Whether a server can do its work: a few checks, each with words.

Only what makes requests fail keeps a server from being ready. What keeps jobs waiting (no loops, no runtime) does not: a load balancer that
took every server away for it would refuse the jobs that could wait.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from stoker.clock import Clock
from stoker.errors import StokerError
from stoker.metrics import Metrics
from stoker.store import Store

BEAT_S: Final = 1.0
ASK_S: Final = 2.0
"""How long the database may take to answer a small question."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Check:
    """One thing that was looked at."""

    name: str
    ok: bool
    text: str
    needed: bool = True
    """Whether a server is not ready without it."""


def status(checks: Sequence[Check]) -> str:
    """`ready`, `degraded` when only something fails that is not needed, or `not ready`."""
    if all(check.ok for check in checks):
        return "ready"
    return "degraded" if all(check.ok for check in checks if check.needed) else "not ready"


class Pulse:
    """Asks the database a small question again and again, and notes how late the event loop is. So who asks for the health of a
    server costs nothing, and the answer is at most `BEAT_S` + `ASK_S` old."""

    def __init__(self, store: Store, clock: Clock, metrics: Metrics) -> None:
        self._store = store
        self._clock = clock
        self._metrics = metrics
        self.store = Check(name="store", ok=True, text="not asked yet")
        self.loops = Check(name="loops", ok=True, text="not asked yet", needed=False)

    async def beat(self) -> None:
        """Wait, then ask."""
        loop = asyncio.get_running_loop()
        begin_s = loop.time()
        await asyncio.sleep(BEAT_S)
        self._metrics.loop_delay.observe(max(0.0, loop.time() - begin_s - BEAT_S))
        await self.ask()

    async def ask(self) -> None:
        """The question: who runs the loops."""
        loop = asyncio.get_running_loop()
        begin_s = loop.time()
        try:
            async with asyncio.timeout(ASK_S):
                holders = await self._store.leases.holders("loops", self._clock.now_ms())
        except (StokerError, TimeoutError) as error:
            why = error.code if isinstance(error, StokerError) else f"no answer within {ASK_S:g} s"
            self._metrics.store_failures.add()
            self.store = Check(name="store", ok=False, text=f"the database does not answer: {why}")
            return
        took_s = loop.time() - begin_s
        self._metrics.store_read.observe(took_s)
        self.store = Check(name="store", ok=True, text=f"the database answers in {took_s * 1000:.1f} ms")
        text = "a server runs the loops" if holders else "no server runs the loops: no worker is started or watched"
        self.loops = Check(name="loops", ok=bool(holders), text=text, needed=False)


__all__ = ["Check", "Pulse", "status"]
