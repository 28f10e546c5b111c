"""One transaction for everything that waits: operations side by side, each of which may fail alone.

Called by the lanes in `writer.py`. An operation is a plain function of the transaction. What it wrote is undone when it
raises, and the others are not touched. Changes of counters and lines of the ledger are collected and written once.
"""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from functools import cache
from typing import Any, Final

from stoker.store import Counts
from stoker.store.sqlite.connection import passing, rollback, translated

Row = tuple[Any, ...]
Operation = Callable[["Tx"], Any]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of an operation: its answer, or why there is none."""

    value: Any = None
    error: Exception | None = None


@dataclass(frozen=True, slots=True)
class Line:
    """A line of the ledger as it is written; `job` is the row number of the job."""

    at_ms: int
    team: str
    endpoint: str
    job: int | None
    worker: str | None
    kind: str
    state: str
    reason: str
    attempt: int | None
    text: str


_COUNTERS: Final = tuple(field.name for field in fields(Counts))
_PLACE: Final = {name: place for place, name in enumerate(_COUNTERS)}
_COUNT: Final = (
    f"INSERT INTO counters (endpoint, {', '.join(_COUNTERS)}) VALUES (?{', ?' * len(_COUNTERS)}) "
    f"ON CONFLICT (endpoint) DO UPDATE SET {', '.join(f'{name} = {name} + excluded.{name}' for name in _COUNTERS)}"
)
_LINE: Final = tuple(field.name for field in fields(Line))
_CHUNKS: Final = (64, 16, 4, 1)
"""Rows per statement. Few sizes, so that each is compiled once; long ones, because each statement hands the
interpreter's lock over and back."""


@cache
def _tell(count: int) -> str:
    row = f"(?{', ?' * (len(_LINE) - 1)})"
    return f"INSERT INTO story ({', '.join(_LINE)}) VALUES {', '.join([row] * count)}"


class Tx:
    """A transaction as its operations see it."""

    __slots__ = ("_changes", "_lines", "execute")

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.execute = connection.execute
        self._changes: list[tuple[str, str, int]] = []
        self._lines: list[Line] = []

    def one(self, sql: str, values: Sequence[object] = ()) -> Row | None:
        """The only row, or None."""
        row: Row | None = self.execute(sql, values).fetchone()
        return row

    def all(self, sql: str, values: Sequence[object] = ()) -> list[Row]:
        """Every row."""
        return self.execute(sql, values).fetchall()

    def count(self, endpoint: str, counter: str, change: int) -> None:
        """Change a counter of an endpoint when the transaction ends."""
        self._changes.append((endpoint, counter, change))

    def tell(self, line: Line) -> None:
        """Write a line of the ledger when the transaction ends."""
        self._lines.append(line)

    def mark(self) -> tuple[int, int]:
        """How much was collected so far: what `rewind` takes."""
        return len(self._changes), len(self._lines)

    def rewind(self, mark: tuple[int, int]) -> None:
        """Forget what was collected since the mark."""
        del self._changes[mark[0] :]
        del self._lines[mark[1] :]

    def flush(self) -> None:
        """Write what was collected."""
        changes: defaultdict[str, list[int]] = defaultdict(lambda: [0] * len(_COUNTERS))
        for endpoint, counter, change in self._changes:
            changes[endpoint][_PLACE[counter]] += change
        for endpoint, places in changes.items():
            self.execute(_COUNT, (endpoint, *places))
        rest = self._lines
        for size in _CHUNKS:
            while len(rest) >= size:
                chunk, rest = rest[:size], rest[size:]
                self.execute(_tell(size), [getattr(line, name) for line in chunk for name in _LINE])
        self._changes, self._lines = [], []


def write(connection: sqlite3.Connection, operations: Sequence[Operation]) -> list[Outcome]:
    """Carry out `operations` in one transaction and commit it; never raises.

    When the machine fails (no space, I/O error, locked for too long) or the commit does, nothing of it has happened and
    every operation gets the reason.
    """
    try:
        connection.execute("BEGIN IMMEDIATE")
        tx = Tx(connection)
        outcomes = [_apart(tx, operation) for operation in operations]
        tx.flush()
        connection.execute("COMMIT")
    except Exception as error:
        rollback(connection)
        return [Outcome(error=translated(error)) for _ in operations]
    return outcomes


def _apart(tx: Tx, operation: Operation) -> Outcome:
    """Carry out one operation, or nothing of it. Raises when the whole transaction is lost."""
    mark = tx.mark()
    tx.execute("SAVEPOINT operation")
    try:
        outcome = Outcome(operation(tx))
    except Exception as error:
        if passing(error):
            raise
        tx.rewind(mark)
        tx.execute("ROLLBACK TO operation")
        outcome = Outcome(error=translated(error))
    tx.execute("RELEASE operation")
    return outcome


def read(connection: sqlite3.Connection, operations: Sequence[Operation]) -> list[Outcome]:
    """Carry out `operations`, which only read, on one state of the database; never raises."""
    try:
        connection.execute("BEGIN")
        tx = Tx(connection)
        outcomes = [_looked(tx, operation) for operation in operations]
        connection.execute("COMMIT")
    except Exception as error:
        rollback(connection)
        return [Outcome(error=translated(error)) for _ in operations]
    return outcomes


def _looked(tx: Tx, operation: Operation) -> Outcome:
    try:
        return Outcome(operation(tx))
    except Exception as error:
        return Outcome(error=translated(error))
