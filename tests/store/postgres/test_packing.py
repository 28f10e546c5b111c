"""Rows that are written arrive as they were."""

from __future__ import annotations

from collections.abc import AsyncIterator

import asyncpg
import pytest

from stoker.store.postgres.packing import packed, unpacked

pytestmark = pytest.mark.postgres

COLUMNS = {"word": "text", "number": "bigint", "flag": "boolean", "body": "bytea", "none": "text", "version": "xid"}
ROWS = [
    ("", -(2**63), True, b"", None, 3),
    ("plain", 2**63 - 1, False, b"\x00\xff", None, 4),
    (None, None, None, None, None, None),
    ('{"a":"\\\\", NULL}', 0, True, b"{}", None, 2**32 - 1),
    ("a\nb\x1f\x1e\t\x7f '$1' 狐 🦊 \ue000", 1, None, b"'", None, 5),
]


@pytest.fixture
async def connection(postgres_url: str) -> AsyncIterator[asyncpg.Connection]:
    """To a database of its own."""
    connection = await asyncpg.connect(postgres_url)
    yield connection
    await connection.close()


@pytest.mark.parametrize("rows", [ROWS, *([row] for row in ROWS)])
async def test_rows_are_what_they_were(connection: asyncpg.Connection, rows: list[tuple[object, ...]]) -> None:
    """Any text, the empty one alone too, and any number; what is none stays none."""
    found = await connection.fetch(f"SELECT {', '.join(COLUMNS)} FROM {unpacked(COLUMNS)}", *packed(COLUMNS, rows))
    assert [tuple(row) for row in found] == rows
