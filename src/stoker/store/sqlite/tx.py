"""A transaction as what runs in it sees it: statements, few of them, each for many rows.

Called by everything that speaks SQL. Each step of a statement hands the interpreter's lock over and back, which is what a
statement costs beside the event loop; so rows are written in chunks, of few sizes, each of which is compiled once.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from typing import Any, Final

Row = tuple[Any, ...]

_CHUNKS: Final = (64, 16, 4, 1)
"""Rows per statement."""
LARGE_BYTES: Final = 65_536
"""Values from this size on are written one row at a time: SQLite copies all values of a statement before it begins."""


class Tx:
    """A transaction."""

    __slots__ = ("execute",)

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.execute = connection.execute

    def one(self, sql: str, values: Sequence[object] = ()) -> Row | None:
        """The only row, or None."""
        row: Row | None = self.execute(sql, values).fetchone()
        return row

    def all(self, sql: str, values: Sequence[object] = ()) -> list[Row]:
        """Every row."""
        return self.execute(sql, values).fetchall()

    def among(self, sql: str, names: Iterable[object], *more: object) -> list[Row]:
        """Every row of a statement whose first value is a JSON array: `IN (SELECT value FROM json_each(?))`."""
        return self.execute(sql, (json.dumps(list(names)), *more)).fetchall()

    def write(self, statement: Callable[[int], str], rows: Sequence[Sequence[object]]) -> None:
        """Carry out `statement(n)` for all rows, `n` at a time."""
        rest = rows
        for size in _CHUNKS:
            if len(rest) < size:
                continue
            sql = statement(size)
            while len(rest) >= size:
                chunk, rest = rest[:size], rest[size:]
                self.execute(sql, list(chain.from_iterable(chunk)))


def places(count: int, rows: int = 1) -> str:
    """`(?, ?), (?, ?)`: the values of so many rows with so many columns."""
    row = f"({', '.join('?' * count)})"
    return ", ".join([row] * rows)


def insert(table: str, columns: str) -> str:
    """The statement that inserts one row of `columns`, which may carry the table's name."""
    return f"INSERT INTO {table} ({columns.replace(f'{table}.', '')}) VALUES {places(columns.count(',') + 1)}"
