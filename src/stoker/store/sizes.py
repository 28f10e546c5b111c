"""How much the database keeps of what is forgotten some day. Looks across teams: for loops.

Counting walks an index, and stops at the most that the caller wants to know of: so it costs what the bound costs, not what is there.
"""

from __future__ import annotations

from typing import Final

from stoker.store.tables import Tables

COUNT: Final = "SELECT count(*) FROM ({} LIMIT $1) AS counted"
EVENTS: Final = "SELECT 1 FROM story WHERE job IS NULL AND worker IS NULL"
AUDIT: Final = "SELECT 1 FROM audit"


class SizeRows:
    """Counts of rows."""

    def __init__(self, tables: Tables, ended: str) -> None:
        """`ended` is the SELECT of a row for each finished job."""
        self._tables = tables
        self._ended = ended

    async def jobs(self, most: int) -> int:
        """Finished jobs, counted up to the most."""
        return await self._count(self._ended, most)

    async def events(self, most: int) -> int:
        """Lines about endpoints, counted up to the most."""
        return await self._count(EVENTS, most)

    async def audit(self, most: int) -> int:
        """Lines of the audit log, counted up to the most."""
        return await self._count(AUDIT, most)

    async def _count(self, rows: str, most: int) -> int:
        return int((await self._tables.read(COUNT.format(rows), most))[0][0])


__all__ = ["SizeRows"]
