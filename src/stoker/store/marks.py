"""How far somebody has read the ledger, so that whoever goes on, on this server or another, leaves nothing out."""

from __future__ import annotations

from typing import Final, NamedTuple

from stoker.store.ledger import Position
from stoker.store.tables import Step, Tables

FIND: Final = "SELECT position, at_ms FROM marks WHERE name = $1"
SET: Final = """
    INSERT INTO marks (name, position, at_ms) VALUES ($1, $2, $3)
    ON CONFLICT (name) DO UPDATE SET position = excluded.position, at_ms = excluded.at_ms"""


class Mark(NamedTuple):
    """Up to where, and when that was written down."""

    position: Position
    at_ms: int


class MarkRows:
    """Marks, by who reads. Looks across teams: for loops."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    async def find(self, name: str) -> Mark | None:
        """Where this one is; None when it never read."""
        rows = await self._tables.read(FIND, name)
        return Mark(Position.parse(rows[0][0]), rows[0][1]) if rows else None

    async def set(self, name: str, mark: Mark) -> None:
        """It has read so far."""
        await self._tables.change(Step(SET, (name, str(mark.position), mark.at_ms)))


__all__ = ["Mark", "MarkRows"]
