"""The ledger in PostgreSQL: the table of contents `LedgerRows`.

A line becomes visible when its transaction commits, and transactions commit in another order than they draw numbers. A line is
handed out when every transaction up to its own has ended (`pg_snapshot_xmin`), in the order of transactions; so a line that
appears later always lies behind those that were handed out. A transaction that stays open for long, anywhere in the cluster, holds
back what was written after it began.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from stoker.ids import TeamId
from stoker.store.ledger import SLACK_MS, START, Lines, Position
from stoker.store.postgres.connection import Connection
from stoker.store.postgres.lane import Pool
from stoker.store.rows import LEDGER, ledger_line

END: Final = "SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint"
AFTER: Final = f"""
    WITH settled AS (SELECT pg_snapshot_xmin(pg_current_snapshot()) AS tx),
    looked AS (
      SELECT story.tx, story.seq, story.job_id, story.job, {LEDGER} FROM story
      WHERE (story.tx, story.seq) > ($1::bigint::text::xid8, $2::bigint) ORDER BY story.tx, story.seq LIMIT $3),
    last AS (SELECT tx, seq, count(*) OVER () AS count FROM looked ORDER BY tx DESC, seq DESC LIMIT 1)
    SELECT settled.tx::text::bigint, coalesce(last.count, 0), last.tx::text::bigint, last.seq,
      looked.tx::text::bigint, looked.seq, looked.job_id, {LEDGER.replace("story.", "looked.")}
    FROM settled LEFT JOIN last ON true
    LEFT JOIN looked ON looked.tx < settled.tx AND ($4::text[] IS NULL OR looked.team = ANY ($4::text[]))
      AND (looked.job IS NULL OR looked.job_id IS NOT NULL)
    ORDER BY looked.tx, looked.seq"""
TROUBLES: Final = AFTER.replace(
    "AND (looked.job IS NULL OR looked.job_id IS NOT NULL)",
    "AND looked.job_id IS NOT NULL AND (looked.kind = 'requeued' OR looked.state IN ('failed', 'timed_out'))",
)
"""Always a row: the first columns are alike in all. Lines of an older Stoker name no job, and are left out."""
BEFORE: Final = """
    SELECT tx::text::bigint, seq FROM story WHERE job IS NULL AND worker IS NULL AND at_ms < $1 ORDER BY at_ms DESC LIMIT 1"""
BEYOND: Final = """
    SELECT tx::text::bigint, seq FROM story WHERE job IS NULL AND worker IS NULL AND at_ms > $1 ORDER BY at_ms LIMIT 1"""
_HEAD: Final = 4
FORGET: Final = """
    DELETE FROM story WHERE (tx, seq) IN (
      SELECT tx, seq FROM story WHERE job IS NULL AND worker IS NULL AND at_ms < $1 ORDER BY at_ms LIMIT $2
      FOR UPDATE SKIP LOCKED)"""
FOREIGN: Final = "UPDATE story SET tx = '0' WHERE tx >= pg_snapshot_xmax(pg_current_snapshot())"


async def adopt(tx: Connection) -> None:
    """Lines of transactions that have yet to come: they were restored from a database that had seen more of them than this
    one. They keep the order of their numbers."""
    await tx.execute(FOREIGN)


class PostgresLedger:
    """`LedgerRows`."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def end(self) -> Position:
        """Before the oldest transaction that has not ended."""
        return Position(await self._pool.read(lambda tx: tx.fetchval(END)), 0)

    async def read(self, after: Position, *, teams: Collection[TeamId] | None, limit: int) -> Lines:
        """By transaction and number, in one statement: all of it is about one state of the database."""
        return await self._lines(AFTER, after, limit, None if teams is None else list(teams))

    async def around(self, since_ms: int, until_ms: int) -> tuple[Position, Position | None]:
        """By the index of lines about endpoints."""
        begin = await self._pool.read(lambda tx: tx.fetchrow(BEFORE, since_ms - SLACK_MS))
        end = await self._pool.read(lambda tx: tx.fetchrow(BEYOND, until_ms + SLACK_MS))
        return (START if begin is None else Position(*begin)), (None if end is None else Position(*end))

    async def troubles(self, after: Position, *, limit: int) -> Lines:
        """Likewise."""
        return await self._lines(TROUBLES, after, limit, None)

    async def _lines(self, sql: str, after: Position, limit: int, teams: list[TeamId] | None) -> Lines:
        rows = await self._pool.read(lambda tx: tx.fetch(sql, *after, limit, teams))
        settled, count, *last = rows[0][:_HEAD]
        held_back = count > 0 and last[0] >= settled
        more = count == limit and not held_back
        return Lines(
            lines=[ledger_line(row[_HEAD:]) for row in rows if row[_HEAD] is not None],
            upto=Position(*last) if more else max(after, Position(settled, 0)),
            more=more,
            held_back=held_back,
        )

    async def prune(self, before_ms: int, limit: int) -> int:
        """By the index of lines about endpoints."""
        tag = await self._pool.write(lambda tx: tx.execute(FORGET, before_ms, limit))
        return int(tag.rpartition(" ")[2])
