"""A place in the ledger that somebody reads on from, kept in the store: who takes over goes on there.

What must stay true: a place is written down after what lies before it was told. So after a crash some is told twice, and nothing never.
"""

from __future__ import annotations

from typing import Final

from stoker.store import Store
from stoker.store.ledger import Position
from stoker.store.marks import Mark

KEEP_EVERY_MS: Final = 5_000
CATCH_UP_MS: Final = 86_400_000
"""How old a mark may be: what is older nobody waits for."""


class Bookmark:
    """The place of one reader."""

    def __init__(self, store: Store, name: str) -> None:
        self._store = store
        self._name = name
        self._position: Position | None = None
        self._kept: Mark | None = None

    async def find(self, now_ms: int) -> Position:
        """Where to go on: here, else where the last reader was within a day, else at the end of the ledger."""
        if self._position is None:
            mark = await self._store.marks.find(self._name)
            fresh = mark is not None and now_ms - mark.at_ms <= CATCH_UP_MS
            self._position = mark.position if mark is not None and fresh else await self._store.ledger.end()
            await self._keep(now_ms)
        return self._position

    async def move(self, position: Position, now_ms: int, *, more: bool) -> None:
        """Everything before it was told. It is written down when there is no more to tell at once, and now and then."""
        if position == self._position:
            return
        self._position = position
        if not more or self._kept is None or now_ms >= self._kept.at_ms + KEEP_EVERY_MS:
            await self._keep(now_ms)

    async def _keep(self, now_ms: int) -> None:
        assert self._position is not None, "it was found first"
        self._kept = Mark(self._position, now_ms)
        await self._store.marks.set(self._name, self._kept)


__all__ = ["CATCH_UP_MS", "KEEP_EVERY_MS", "Bookmark"]
