"""How much may wait for the database: so many operations, and so many bytes of bodies.

Called by the lanes of both databases. A database that stands still must cost callers an error, not the server its memory.
"""

from __future__ import annotations

from typing import Final

from stoker.errors import Unavailable

WAITING_MOST: Final = 50_000
"""Operations that may wait: several seconds of work."""
BYTES_MOST: Final = 256 * 1024 * 1024
"""Bodies that may wait with them: sixty of the largest."""


class Room:
    """What waits. Whoever enters leaves, whatever becomes of it."""

    __slots__ = ("_bytes", "_bytes_most", "_count", "_most")

    def __init__(self, *, most: int = WAITING_MOST, bytes_most: int = BYTES_MOST) -> None:
        self._most = most
        self._bytes_most = bytes_most
        self._count = 0
        self._bytes = 0

    def enter(self, size: int) -> None:
        """One more, with so many bytes; a body alone is let in however large it is. Raises `Unavailable` (`store_busy`)."""
        if self._count >= self._most or (self._bytes and self._bytes + size > self._bytes_most):
            raise Unavailable(
                "too many operations wait for the database", code="store_busy", next_step="try again shortly"
            )
        self._count += 1
        self._bytes += size

    def leave(self, size: int, count: int = 1) -> None:
        """So many are done, or given up, with so many bytes together."""
        self._count -= count
        self._bytes -= size
