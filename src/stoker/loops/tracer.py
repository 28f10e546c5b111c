"""The tracer: tells a collector of traces what became of jobs."""

from __future__ import annotations

import asyncio
from typing import Final

from stoker.clock import Clock
from stoker.loops import keep_going
from stoker.traces import Traces

EVERY_S: Final = 1.0


class Tracer:
    """The loop."""

    def __init__(self, traces: Traces, clock: Clock) -> None:
        self._traces = traces
        self._clock = clock

    async def run(self) -> None:
        """Until cancelled."""
        await keep_going("tracer", self._round)

    async def _round(self) -> None:
        now_ms = self._clock.now_ms()
        if not await self._traces.look(now_ms):
            await self._traces.forget(now_ms)
            await asyncio.sleep(EVERY_S)


__all__ = ["Tracer"]
