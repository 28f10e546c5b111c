"""A transaction as what runs in it sees it: statements, few of them, each for many rows.

Called by everything that speaks SQL. Each step of a statement hands the interpreter's lock over; so rows are added many at a time,
and read in one step where many are. They are changed one by one: a statement that changes many of them puts their new values
into a table of its own first, which costs more than the steps that it saves.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any, Final

from msgspec import json

Row = tuple[Any, ...]

Statement = Callable[[int], str]
"""The statement that writes so many rows at once."""

ROWS_MOST: Final = 32
"""Rows that one statement writes. There is a statement for every number up to it, each compiled once."""
LARGE_BYTES: Final = 65_536
"""Bodies from this size on are read and written one at a time: SQLite copies all values of a statement before it begins."""


class Tx:
    """A transaction."""

    __slots__ = ("each", "execute")

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.execute = connection.execute
        self.each = connection.executemany

    def one(self, sql: str, values: Sequence[object] = ()) -> Row | None:
        """The only row, or None."""
        row: Row | None = self.execute(sql, values).fetchone()
        return row

    def all(self, sql: str, values: Sequence[object] = ()) -> list[Row]:
        """Every row, a step each."""
        return self.execute(sql, values).fetchall()

    def gather(self, sql: str, *values: object) -> list[list[Any]]:
        """Every row of a statement made by `gathered`, in one step. A collection among the values becomes a JSON array, to be
        read by `IN (SELECT value FROM json_each(?))`."""
        plain = [json.encode(list(value)).decode() if isinstance(value, set | list) else value for value in values]
        rows: list[list[Any]] = json.decode(self.execute(sql, plain).fetchall()[0][0])
        return rows

    def write(self, statement: Statement, rows: Sequence[Sequence[object]]) -> None:
        """Carry out `statement(n)` for all rows, `n` at a time."""
        for start in range(0, len(rows), ROWS_MOST):
            chunk = rows[start : start + ROWS_MOST]
            self.execute(statement(len(chunk)), list(chain.from_iterable(chunk)))


def gathered(columns: str, rest: str) -> str:
    """Select `columns`, none of them a blob, as one row with a JSON array of all rows."""
    names = ", ".join(column.rpartition(".")[2].rpartition(" ")[2] for column in columns.split(", "))
    return f"SELECT json_group_array(json_array({names})) FROM (SELECT {columns} {rest})"


def insert(table: str, columns: str) -> str:
    """The statement that inserts one row of `columns`, which may carry the table's name."""
    return f"INSERT INTO {table} ({columns.replace(f'{table}.', '')}) VALUES {places(columns.count(',') + 1)}"


def places(count: int, rows: int = 1) -> str:
    """`(?, ?), (?, ?)`: the values of so many rows with so many columns."""
    row = f"({', '.join('?' * count)})"
    return ", ".join([row] * rows)
