"""The chronicler: writes into the log what became of jobs."""

from __future__ import annotations

import asyncio
from typing import Final

from stoker.chronicle import Chronicle
from stoker.clock import Clock
from stoker.loops import keep_going

EVERY_S: Final = 1.0


class Chronicler:
    """The loop."""

    def __init__(self, chronicle: Chronicle, clock: Clock) -> None:
        self._chronicle = chronicle
        self._clock = clock

    async def run(self) -> None:
        """Until cancelled."""
        await keep_going("chronicler", self._round)

    async def _round(self) -> None:
        if not await self._chronicle.look(self._clock.now_ms()):
            await asyncio.sleep(EVERY_S)


__all__ = ["Chronicler"]
