"""The prober: asks workers how they are, whose endpoints have a health check."""

from __future__ import annotations

import asyncio
from typing import Final

from stoker.fleet.checks import Checks
from stoker.loops import keep_going

EVERY_S: Final = 1.0
"""The shortest period of a check."""


class Prober:
    """The loop."""

    def __init__(self, checks: Checks) -> None:
        self._checks = checks

    async def run(self) -> None:
        """Until cancelled."""
        try:
            await keep_going("prober", self._round)
        finally:
            await self._checks.close()

    async def _round(self) -> None:
        await self._checks.look()
        await asyncio.sleep(EVERY_S)
