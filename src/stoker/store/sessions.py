"""Who is signed in to the console, in the database: hashes only, so that a stolen file opens nothing."""

from __future__ import annotations

from typing import Final

from stoker.store.tables import Row, Step, Tables, insert
from stoker.team import Session

COLUMNS: Final = "token_hash, key_hash, created_ms, expires_ms"
FIND: Final = f"SELECT {COLUMNS} FROM sessions WHERE token_hash = $1"
END: Final = "DELETE FROM sessions WHERE token_hash = $1"
FORGET: Final = "DELETE FROM sessions WHERE expires_ms <= $1"


class SessionRows:
    """Sessions. They look across teams: a session is how a browser says who it is."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    async def add(self, session: Session) -> None:
        """Store one, and forget those that had expired by its beginning."""
        values = (session.token_hash, session.key_hash, session.created_ms, session.expires_ms)
        await self._tables.change(Step(FORGET, (session.created_ms,)), Step(insert("sessions", COLUMNS), values))

    async def get(self, token_hash: str) -> Session | None:
        """The session of that token, expired ones included."""
        return next((_session(row) for row in await self._tables.read(FIND, token_hash)), None)

    async def end(self, token_hash: str) -> None:
        """Forget it. One that is not there is forgotten already."""
        await self._tables.change(Step(END, (token_hash,)))


def _session(row: Row) -> Session:
    return Session(token_hash=row[0], key_hash=row[1], created_ms=row[2], expires_ms=row[3])


__all__ = ["SessionRows"]
