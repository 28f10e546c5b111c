"""A connection to PostgreSQL: where it is, how long anything may take, how it comes back, and how its errors are told.

Called by the lanes in `lane.py`, by `schema.py` and by `wakes.py`. What must stay true: the password is in no message, no
log and no `repr`; while the database is away nobody waits longer than one attempt to connect.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol
from urllib.parse import urlsplit

import asyncpg

from stoker.errors import Defect, DiskFull, StokerError, Unavailable

POSTGRES_LEAST: Final = 13
"""The oldest major version that its makers kept alive when this was written; tests run on the machine's."""
PAUSE_LEAST_S: Final = 0.1
PAUSE_MOST_S: Final = 2.0
"""After a failed attempt to connect nobody tries again for so long; it doubles with every failure."""
STATEMENTS_KEPT: Final = 512
"""More than there are different statements, so that each is planned once per connection."""

PLANNING: Final = {
    "enable_seqscan": "off",
    "enable_bitmapscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "jit": "off",
    "plan_cache_mode": "force_generic_plan",
}
"""Every statement has its index and wants few rows. Plans are kept, so one made while a table was empty must not be one that walks
it; the statistics of a queue are always late. Left to itself PostgreSQL would plan a write of few rows anew every time, which takes
twice as long as to carry it out: it knows how many there are only then, and expects more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """Where the database is and how long it may take."""

    url: str = field(repr=False)
    connect_s: float = 3.0
    """For one attempt to connect."""
    statement_s: float = 15.0
    """For one statement. The server is told too, so that it does not go on alone."""

    @property
    def place(self) -> str:
        """The database in words, without user and password."""
        parts = urlsplit(self.url)
        host = parts.netloc.rpartition("@")[2]
        return f"{host or 'local socket'}{parts.path}"


class Connection(Protocol):
    """What we use of asyncpg's connection."""

    async def execute(self, query: str, *values: object) -> str:
        """Carry out a statement; its tag, such as `UPDATE 3`."""
        ...

    async def fetch(self, query: str, *values: object) -> list[Sequence[Any]]:
        """Every row."""
        ...

    async def fetchrow(self, query: str, *values: object) -> Sequence[Any] | None:
        """The first row, or None."""
        ...

    async def fetchval(self, query: str, *values: object) -> Any:
        """The first value of the first row."""
        ...

    async def close(self, *, timeout: float | None = None) -> None:
        """Say goodbye and wait for it."""
        ...

    def is_closed(self) -> bool:
        """Whether it can be used no more."""
        ...

    def terminate(self) -> None:
        """Close the socket, now."""
        ...


class Database:
    """The server behind all connections of a store: whether it may be tried now."""

    def __init__(self, terms: Terms) -> None:
        self.terms = terms
        self._pause_s = 0.0
        self._not_before_s = 0.0

    async def connect(self, *, patient: bool = False) -> Connection:
        """A fresh connection; a `patient` one lets statements take their time.

        Raises `Unavailable`: at once while a failure is fresh, else after `connect_s` at the latest.
        """
        clock = asyncio.get_running_loop().time
        if clock() < self._not_before_s:
            raise self.away()
        try:
            connection = await self._opened(0.0 if patient else self.terms.statement_s)
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            self._pause_s = min(PAUSE_MOST_S, max(PAUSE_LEAST_S, self._pause_s * 2))
            self._not_before_s = clock() + self._pause_s
            raise self.away(_why(error)) from None  # a driver's error may quote the URL
        self._pause_s = 0.0
        return connection

    async def _opened(self, statement_s: float) -> Connection:
        terms = self.terms
        milliseconds = str(int(statement_s * 1000))
        connection: Connection = await asyncpg.connect(
            terms.url,
            timeout=terms.connect_s,
            command_timeout=statement_s * 1.2 or None,  # the server's own limit comes first: its error says more
            statement_cache_size=STATEMENTS_KEPT,
            max_cached_statement_lifetime=0,
            max_cacheable_statement_size=0,
            server_settings=PLANNING
            | {
                "application_name": "stoker",
                "statement_timeout": milliseconds,
                "idle_in_transaction_session_timeout": milliseconds,
                "timezone": "UTC",
            },
        )
        return connection

    def away(self, why: str = "") -> Unavailable:
        """What callers are told while there is no connection."""
        return Unavailable(
            f"the database {self.terms.place} cannot be reached{why}",
            code="database_unavailable",
            next_step="try again shortly; if it lasts, check that PostgreSQL runs and that the URL is right",
        )


def _why(error: BaseException) -> str:
    """The reason in words that hold no secret."""
    if isinstance(error, TimeoutError):
        return ": it does not answer"
    if isinstance(error, OSError):
        return f": {(error.strerror or type(error).__name__).partition(' (')[0]}"
    return f" ({_name(error)})"


class Link:
    """One place for a connection. Whoever uses it has it alone."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self._connection: Connection | None = None

    async def connection(self) -> Connection:
        """The connection, a fresh one if it was lost. Raises `Unavailable`."""
        if self._connection is None or self._connection.is_closed():
            self._connection = await self.database.connect()
        return self._connection

    def drop(self) -> None:
        """Never use this connection again: something is under way on it that nobody waits for."""
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None

    async def close(self) -> None:
        """Say goodbye; without an answer in time it is dropped."""
        if self._connection is not None and not self._connection.is_closed():
            with contextlib.suppress(OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
                await self._connection.close(timeout=self.database.terms.connect_s)
        self.drop()


# ── errors ────────────────────────────────────────────────────────────────────────────────────────────────────────────

_PASSING: Final = ("08", "25P03", "25006", "53", "55", "57", "58")
"""SQLSTATEs, or their classes, that the machine may get over: the same call can succeed later."""
_RACES: Final = ("40001", "40P01")
"""serialization_failure and deadlock_detected: nobody's fault, and over as soon as it is told."""


def lost(error: BaseException) -> bool:
    """Whether the connection is gone, or of no use any more."""
    if isinstance(error, asyncpg.PostgresError):
        return _state(error).startswith(("08", "25P03", "57P"))
    return isinstance(error, OSError | TimeoutError | asyncpg.InterfaceError | asyncpg.InternalClientError)


def raced(error: BaseException) -> bool:
    """Whether doing the same again will do."""
    return isinstance(error, asyncpg.PostgresError) and _state(error) in _RACES


def passing(error: BaseException) -> bool:
    """Whether the machine, not the statement, is to blame."""
    return lost(error) or (isinstance(error, asyncpg.PostgresError) and _state(error).startswith(_PASSING + _RACES))


def translated(error: BaseException, database: Database) -> StokerError:
    """A driver's error in our words, a fresh one for each caller. It quotes no values: they are customers'."""
    if isinstance(error, StokerError):
        return type(error)(error.message, code=error.code, field=error.field, next_step=error.next_step)
    if lost(error):
        return database.away(_why(error))
    if isinstance(error, asyncpg.DiskFullError):
        return DiskFull(
            "the disk of the database has no room for this", next_step="make room on the disk of PostgreSQL"
        )
    if passing(error):
        return Unavailable(f"the database cannot do this right now ({_name(error)})", code="database_unavailable")
    return Defect(f"the database refused a statement ({_name(error)}: {error})")


def _state(error: BaseException) -> str:
    return getattr(error, "sqlstate", None) or ""


def _name(error: BaseException) -> str:
    state = _state(error)
    return f"{type(error).__name__} {state}".strip()


__all__ = ["Connection", "Database", "Link", "Terms", "lost", "passing", "raced", "translated"]
