"""Rows by SQL: a long queue, a long past and many endpoints, as copies of rows that a server wrote.

A copy has every column of its row, whatever they are, so that what is measured has the schema of today. Ids of copies follow each other, as
the server's own do: an index of them grows at its end.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Final

import asyncpg

AT_ONCE: Final = 1_000_000
"""Rows of one INSERT."""
INPUT: Final = b'{"text":"' + b"x" * 280 + b'"}'


def fill(database: Path | str, *, queued: int, finished: int) -> None:
    """Grow the queue and the past of a SQLite file or of the PostgreSQL at a URL, while no server runs; a job of each kind must be there.

    Finished ones are without bodies."""
    if isinstance(database, Path):
        with closing(sqlite3.connect(database, isolation_level=None)) as connection:
            _fill_file(connection, queued, finished)
    else:
        asyncio.run(_fill_server(database, queued, finished))
    os.sync()  # or the first commits that are measured wait for the disk to take it all


# ── SQLite ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _fill_file(connection: sqlite3.Connection, queued: int, finished: int) -> None:
    for pragma in (
        "journal_mode = OFF",
        "synchronous = OFF",
        "cache_size = -262144",
    ):  # it is thrown away if this fails
        connection.execute(f"PRAGMA {pragma}")
    _copy_rows(connection, "queued", queued)
    _copy_rows(connection, "completed", finished)
    connection.execute(
        "INSERT INTO inputs (job, input) SELECT seq, ? FROM jobs WHERE state = 'queued' AND seq NOT IN (SELECT job FROM inputs)",
        [INPUT],
    )
    connection.execute("UPDATE counters SET queued = queued + ?, completed = completed + ?", [queued, finished])


def _copy_rows(connection: sqlite3.Connection, state: str, count: int) -> None:
    """So many more jobs like the first one in that state."""
    names = [name for _, name, *_ in connection.execute("PRAGMA table_info(jobs)") if name not in ("seq", "id")]
    rest = ", ".join(names)
    (last,) = connection.execute("SELECT max(seq) FROM jobs").fetchone()
    connection.execute(
        f"WITH RECURSIVE copy (seq) AS (SELECT ?1 + 1 UNION ALL SELECT seq + 1 FROM copy WHERE seq < ?1 + ?2) "
        f"INSERT INTO jobs (seq, id, {rest}) SELECT seq, printf('f%031x', seq), {rest} "
        f"FROM copy, (SELECT {rest} FROM jobs WHERE state = ?3 LIMIT 1) WHERE ?2 > 0",
        [last, count, state],
    )


# ── PostgreSQL ────────────────────────────────────────────────────────────────────────────────────────────────────────


async def _fill_server(url: str, queued: int, finished: int) -> None:
    connection = await asyncpg.connect(url)
    await connection.execute("SET synchronous_commit = off")
    await _copies(connection, "jobs", queued)
    await _copies(connection, "ended_jobs", finished)
    await connection.execute(
        "INSERT INTO inputs (job, input) SELECT seq, $1 FROM jobs WHERE NOT EXISTS (SELECT FROM inputs WHERE job = seq)",
        INPUT,
    )
    await connection.execute(
        "UPDATE counters SET queued = queued + $1, completed = completed + $2 "
        "WHERE (endpoint, shard) = (SELECT endpoint, shard FROM counters LIMIT 1)",
        queued,
        finished,
    )
    await connection.execute("VACUUM ANALYZE")
    await connection.close()


async def _copies(connection: asyncpg.Connection, table: str, count: int) -> None:
    """So many more rows like the first one of the table."""
    rest = await _columns(connection, table)
    query = (
        f"INSERT INTO {table} (seq, id, {rest}) SELECT seq, 'f' || lpad(to_hex(seq), 31, '0'), {rest} "
        f"FROM (SELECT {rest} FROM {table} LIMIT 1) AS one, "
        "LATERAL (SELECT nextval('job_seq') AS seq FROM generate_series(1, $1::int)) AS copy"
    )
    for first in range(0, count, AT_ONCE):
        await connection.execute(query, min(AT_ONCE, count - first))


async def _columns(connection: asyncpg.Connection, table: str) -> str:
    """All but those that tell rows apart."""
    query = (
        "SELECT string_agg(column_name, ', ' ORDER BY ordinal_position) FROM information_schema.columns "
        "WHERE table_name = $1 AND column_name NOT IN ('seq', 'id')"
    )
    return str(await connection.fetchval(query, table))


async def more_endpoints(url: str, count: int) -> None:
    """Endpoints like the first one that want no workers."""
    connection = await asyncpg.connect(url)
    async with connection.transaction():
        for table, change in (
            ("releases", {"id": "'r' || n", "endpoint": "'e' || n"}),
            (
                "endpoints",
                {"id": "'e' || n", "name": "'e' || n", "release": "'r' || n", "min_workers": "0", "max_workers": "1"},
            ),
        ):
            names = ["id", *(await _columns(connection, table)).split(", ")]
            values = ", ".join(change.get(name, f"one.{name}") for name in names)
            await connection.execute(
                f"INSERT INTO {table} ({', '.join(names)}) SELECT {values} "
                f"FROM (SELECT * FROM {table} LIMIT 1) AS one, generate_series(1, $1::int) AS n",
                count,
            )
    await connection.close()
