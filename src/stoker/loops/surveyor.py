"""The surveyor: measures how much is in volumes."""

from __future__ import annotations

import asyncio
from typing import Final

from stoker.catalog.volumes import Volumes
from stoker.loops import keep_going

SHARE: Final = 9
"""Pause for each second of measuring: counting millions of files must not become all that a disk does."""


class Surveyor:
    """The loop."""

    def __init__(self, volumes: Volumes, *, every_s: float) -> None:
        self._volumes = volumes
        self._every_s = every_s

    async def run(self) -> None:
        """Until cancelled."""
        await keep_going("surveyor", self._round)

    async def _round(self) -> None:
        loop = asyncio.get_running_loop()
        begun_s = loop.time()
        await self._volumes.measure_all()
        await asyncio.sleep(max(self._every_s, SHARE * (loop.time() - begun_s)))
