"""Copying the log into the database, beside the writer instead of in one of its commits.

Called by the writer between two transactions. SQLite begins its log anew once all of it was copied; under load there is always
something new by the time that a copy is done. So the long copy is made on a connection beside the writer's, and the short
rest between two transactions, when nothing new can come.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from stoker.store.sqlite.hand import Hand

CHANGES: Final = 20_000
"""Rows written between two checkpoints. Most share their pages: some 32 MiB of small jobs."""
BODY_BYTES: Final = 32 * 1024 * 1024
"""Bodies written between two checkpoints, when they are large."""

Task = Callable[[], None]


class Checkpoints:
    """When to copy, and who does it."""

    def __init__(self, writer: sqlite3.Connection, beside: sqlite3.Connection) -> None:
        self._writer = writer
        self._beside = beside
        self._hand = Hand("stoker-store-checkpoints")
        self._changes = 0
        self._bytes = 0
        self._copying = False
        self._rest = False

    def wrote(self, size: int) -> None:
        """So many bytes of bodies went into the log."""
        self._bytes += size

    def due(self) -> Task | None:
        """What to do before the next transaction, in a thread. No transaction may be open."""
        if self._rest:
            self._rest = False
            return lambda: _copy(self._writer)
        changes = self._writer.total_changes
        if not self._copying and (changes - self._changes >= CHANGES or self._bytes >= BODY_BYTES):
            self._changes = changes
            self._bytes = 0
            self._copying = True
            self._hand.do(lambda: _copy(self._beside), self._copied)
        return None

    def _copied(self, _: None) -> None:
        self._copying = False
        self._rest = True

    async def close(self) -> None:
        """Once the copy is made."""
        await self._hand.close()
        self._beside.close()


def _copy(connection: sqlite3.Connection) -> None:
    """As much as can be without making anybody wait. What fails here, commits repeat once the log has grown long."""
    with suppress(sqlite3.Error):
        connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
