"""The ledger in SQLite: the table of contents `LedgerRows`. One writer numbers the lines in the order of commits."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from stoker.ids import TeamId
from stoker.store.ledger import SLACK_MS, START, LedgerLine, Lines, Position
from stoker.store.rows import LEDGER, ledger_line
from stoker.store.sqlite.tx import Row, Tx
from stoker.store.sqlite.writer import Lane

NEWEST: Final = "SELECT coalesce(max(seq), 0) FROM story"
AFTER: Final = f"""
    SELECT 0, story.seq, (SELECT jobs.id FROM jobs WHERE jobs.seq = story.job), {LEDGER} FROM story
    WHERE story.seq > ? ORDER BY story.seq LIMIT ?"""
LAST_OF: Final = "SELECT max(seq), count(*) FROM (SELECT seq FROM story WHERE seq > ? ORDER BY seq LIMIT ?)"
TROUBLES: Final = f"""
    SELECT 0, story.seq, jobs.id, {LEDGER} FROM story JOIN jobs ON jobs.seq = story.job
    WHERE story.seq > ? AND story.seq <= ? AND (story.kind = 'requeued' OR story.state IN ('failed', 'timed_out'))
    ORDER BY story.seq"""
BEFORE: Final = """
    SELECT seq FROM story WHERE job IS NULL AND worker IS NULL AND at_ms < ? ORDER BY at_ms DESC LIMIT 1"""
BEYOND: Final = """
    SELECT seq FROM story WHERE job IS NULL AND worker IS NULL AND at_ms > ? ORDER BY at_ms LIMIT 1"""
KEEP_PLACE: Final = """
    INSERT OR IGNORE INTO story (seq, at_ms, team, endpoint, kind, state, reason, text) VALUES (?, ?, '', '', 'forgotten', '', '', '')"""
FORGET: Final = """
    DELETE FROM story WHERE seq IN (
      SELECT seq FROM story WHERE job IS NULL AND worker IS NULL AND at_ms < ? ORDER BY at_ms LIMIT ?)"""


class SqliteLedger:
    """`LedgerRows`."""

    def __init__(self, writer: Lane, reader: Lane) -> None:
        self._writer = writer
        self._reader = reader

    async def end(self) -> Position:
        """After the newest line."""
        return Position(0, await self._reader.run(newest))

    async def read(self, after: Position, *, teams: Collection[TeamId] | None, limit: int) -> Lines:
        """By number."""
        rows = await self._reader.run(lambda tx: tx.all(AFTER, (after.seq, limit)))
        return Lines(
            lines=[_line(row) for row in rows if teams is None or row[4] in teams],
            upto=Position(0, rows[-1][1]) if rows else after,
            more=len(rows) == limit,
        )

    async def around(self, since_ms: int, until_ms: int) -> tuple[Position, Position | None]:
        """By the index of lines about endpoints."""
        begin, end = await self._reader.run(
            lambda tx: (tx.all(BEFORE, (since_ms - SLACK_MS,)), tx.all(BEYOND, (until_ms + SLACK_MS,)))
        )
        return (Position(0, begin[0][0]) if begin else START), (Position(0, end[0][0]) if end else None)

    async def troubles(self, after: Position, *, limit: int) -> Lines:
        """By number."""
        last, count, rows = await self._reader.run(lambda tx: _troubles(tx, after.seq, limit))
        return Lines(
            lines=[_line(row) for row in rows],
            upto=after if last is None else Position(0, last),
            more=count == limit,
        )

    async def prune(self, before_ms: int, limit: int) -> int:
        """By the index of lines about endpoints."""
        return await self._writer.run(lambda tx: _prune(tx, before_ms, limit))


def _troubles(tx: Tx, after: int, limit: int) -> tuple[int | None, int, list[Row]]:
    last, count = tx.all(LAST_OF, (after, limit))[0]
    return last, count, [] if last is None else tx.all(TROUBLES, (after, last))


def _line(row: Row) -> LedgerLine:
    return ledger_line(row)


def _prune(tx: Tx, before_ms: int, limit: int) -> int:
    last = newest(tx)
    gone = tx.execute(FORGET, (before_ms, limit)).rowcount
    kept = keep_place(tx, last, before_ms)
    return gone - kept


def newest(tx: Tx) -> int:
    """The number of the newest line."""
    number: int = tx.all(NEWEST)[0][0]
    return number


def keep_place(tx: Tx, last: int, at_ms: int) -> int:
    """After lines were forgotten: `last` was the newest, and its number must not be given again, or who follows would take the
    next line for one that it knows. How many lines that took: one if it was among the forgotten."""
    return tx.execute(KEEP_PLACE, (last, at_ms)).rowcount if last else 0
