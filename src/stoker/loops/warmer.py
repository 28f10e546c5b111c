"""The warmer: fetches images that teams want to have before their workers start."""

from __future__ import annotations

from typing import Final

from stoker.loops import keep_going
from stoker.signals import IMAGES, Signals
from stoker.warming import Warming

EVERY_S: Final = 1.0
"""How soon progress is written down, and a wish is seen whose signal was lost."""


class Warmer:
    """The loop."""

    def __init__(self, signals: Signals, warming: Warming) -> None:
        self._signals = signals
        self._warming = warming

    async def run(self) -> None:
        """Until cancelled; what is being fetched is given up then."""
        try:
            await keep_going("warmer", self._round)
        finally:
            await self._warming.close()

    async def _round(self) -> None:
        with self._signals.listen(IMAGES) as ear:
            await self._warming.look()
            await ear.wait(EVERY_S)
