"""Telling other servers what was rung here, and ringing here what they tell.

Started by the server when its database is shared. Words of a millisecond travel together; what cannot be sent is dropped,
because whoever waits looks again by itself after a while. While no other server listens nothing is gathered.
"""

from __future__ import annotations

import asyncio
from typing import Final

import structlog

from stoker.errors import StokerError
from stoker.signals import Signals
from stoker.store import Wakes

log = structlog.get_logger()

GATHER_S: Final = 0.001
"""How long words wait for company."""
WORDS_MOST: Final = 10_000
"""Words that may wait while the database is slow; more are dropped."""


class Relay:
    """Between the signals of this process and the wakes of the store."""

    def __init__(self, wakes: Wakes, signals: Signals) -> None:
        self._wakes = wakes
        self._signals = signals
        self._words: dict[str, None] = {}
        self._waiting = asyncio.Event()

    async def run(self) -> None:
        """Until cancelled."""
        self._signals.tell = self._tell
        await self._wakes.listen(self._signals.heard)
        while True:
            await self._waiting.wait()
            await asyncio.sleep(GATHER_S)
            self._waiting.clear()
            words = list(self._words)
            self._words.clear()
            try:
                await self._wakes.send(words)
            except StokerError as error:
                log.warning("words_dropped", count=len(words), code=error.code)

    def _tell(self, word: str) -> None:
        if len(self._words) < WORDS_MOST and self._wakes.others_listen():
            self._words[word] = None
            self._waiting.set()
