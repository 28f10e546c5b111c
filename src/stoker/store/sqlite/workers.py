"""Workers in SQLite: the table of contents `WorkerRows`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from stoker.ids import EndpointId, ReleaseId, WorkerId
from stoker.store import Decision, Failures, Held, StoryLine
from stoker.store.rows import STORY, WORKER, WORKER_WIDTH, story_line
from stoker.store.rows import failures as failures_of
from stoker.store.rows import worker as worker_of
from stoker.store.sqlite.ledger import keep_place, newest
from stoker.store.sqlite.tables import carry_out
from stoker.store.sqlite.transaction import Brief
from stoker.store.sqlite.tx import Row, Tx
from stoker.store.sqlite.writer import Lane
from stoker.store.tables import Step, plain
from stoker.store.writes import WorkerWrites
from stoker.worker import START_FAILURES, Worker, WorkerReason

_HELD: Final = f"SELECT {WORKER}, workers.running, workers.stopping, workers.ahead FROM workers"
ALIVE: Final = f"{_HELD} WHERE workers.gone_ms IS NULL ORDER BY workers.seq"
ALIVE_OF: Final = f"{_HELD} WHERE workers.gone_ms IS NULL AND workers.endpoint = ? ORDER BY workers.seq"
GONE_OF: Final = f"""
    {_HELD} WHERE workers.gone_ms IS NOT NULL AND workers.endpoint = ?
    ORDER BY workers.gone_ms DESC, workers.seq DESC LIMIT ?"""
LIVE: Final = f"SELECT {WORKER} FROM workers WHERE workers.gone_ms IS NULL ORDER BY workers.seq"
GONE_AFTER: Final = f"""
    SELECT {WORKER} FROM workers WHERE workers.gone_ms IS NOT NULL AND workers.gone_ms > ? ORDER BY workers.gone_ms"""
FIND: Final = f"SELECT {WORKER} FROM workers WHERE workers.id = ?"
BY_TOKEN: Final = f"SELECT {WORKER} FROM workers WHERE workers.token_hash = ?"

FAILED: Final = f"""
    SELECT gone_ms, detail, reason FROM workers
    WHERE release = ?1 AND gone_ms IS NOT NULL AND ready_ms IS NULL
      AND reason IN ({", ".join(f"'{reason.value}'" for reason in START_FAILURES)})
      AND decided_ms > (SELECT forgiven_ms FROM releases WHERE id = ?1)
      AND decided_ms > coalesce((SELECT max(decided_ms) FROM workers WHERE release = ?1 AND ready_ms IS NOT NULL), -1)
    ORDER BY gone_ms DESC, seq DESC"""

MOVED_ON: Final = f"""
    SELECT specification, max(stopped_ms) FROM workers
    WHERE release = ? AND reason = '{WorkerReason.TRIED_ELSEWHERE.value}' GROUP BY specification"""

STORY_OF: Final = f"SELECT {STORY} FROM story WHERE worker = ? AND job IS NULL ORDER BY seq"
RECORD: Final = "INSERT OR REPLACE INTO decisions (endpoint, at_ms, reason, text, wanted) VALUES (?, ?, ?, ?, ?)"
DECISION: Final = "SELECT at_ms, reason, text, wanted FROM decisions WHERE endpoint = ?"
UNMETERED: Final = "SELECT id FROM workers WHERE unmetered = 1 ORDER BY seq"
GONE_BEFORE: Final = (
    "SELECT id FROM workers WHERE gone_ms IS NOT NULL AND gone_ms < ? AND unmetered = 0 ORDER BY gone_ms, seq LIMIT ?"
)
FORGET_STORY: Final = "DELETE FROM story WHERE worker = ? AND job IS NULL"
FORGET: Final = "DELETE FROM workers WHERE id = ?"


class SqliteWorkers(WorkerWrites):
    """`WorkerRows`."""

    def __init__(self, writer: Lane, reader: Lane, quick: Lane) -> None:
        super().__init__(writer)
        self._writer = writer
        self._reader = reader
        self._quick = quick

    async def get(self, worker: WorkerId) -> Worker | None:
        """By id."""
        return _worker(await self._quick.run(lambda tx: tx.one(FIND, (worker,))))

    async def by_token(self, token_hash: str) -> Worker | None:
        """By the SHA-256 of its token."""
        return _worker(await self._quick.run(lambda tx: tx.one(BY_TOKEN, (token_hash,))))

    async def of_endpoint(self, endpoint: EndpointId, *, gone: int = 0) -> Sequence[Held]:
        """Alive ones oldest first, then gone ones, the last one first."""
        rows = await self._reader.run(
            lambda tx: tx.all(ALIVE_OF, (endpoint,)) + (tx.all(GONE_OF, (endpoint, gone)) if gone else [])
        )
        return [_held(row) for row in rows]

    async def alive(self) -> Sequence[Held]:
        """Of every team, oldest first."""
        return [_held(row) for row in await self._reader.run(lambda tx: tx.all(ALIVE))]

    async def since(self, gone_after_ms: int) -> Sequence[Worker]:
        """Of every team."""
        rows = await self._reader.run(lambda tx: tx.all(LIVE) + tx.all(GONE_AFTER, (gone_after_ms,)))
        return [worker_of(row) for row in rows]

    async def failures(self, release: ReleaseId) -> Failures:
        """Those decided after the last one that became ready."""
        rows = await self._reader.run(lambda tx: tx.all(FAILED, (release,)))
        return failures_of(rows)

    async def moved_on(self, release: ReleaseId) -> Mapping[str, int]:
        """When the last one did, for each specification."""
        rows = await self._reader.run(lambda tx: tx.all(MOVED_ON, (release,)))
        return {row[0]: row[1] for row in rows}

    async def story(self, worker: WorkerId) -> Sequence[StoryLine]:
        """In the order of writing; what it did with jobs is told by their stories."""
        return [story_line(row) for row in await self._reader.run(lambda tx: tx.all(STORY_OF, (worker,)))]

    async def unmetered(self) -> Sequence[WorkerId]:
        """Oldest first."""
        return [row[0] for row in await self._reader.run(lambda tx: tx.all(UNMETERED))]

    async def record(self, decision: Decision, *also: Step) -> None:
        """One row for each endpoint."""
        values = (decision.endpoint, decision.at_ms, decision.reason, plain(decision.text), decision.wanted)
        await self._writer.run(Brief(lambda tx: _record(tx, values, also)))

    async def decision(self, endpoint: EndpointId) -> Decision | None:
        """The row that `record` wrote."""
        row = await self._quick.run(lambda tx: tx.one(DECISION, (endpoint,)))
        if row is None:
            return None
        return Decision(endpoint=endpoint, at_ms=row[0], reason=row[1], text=row[2], wanted=row[3])

    async def prune(self, gone_before_ms: int, limit: int) -> Sequence[WorkerId]:
        """With their stories, those that went first first."""
        return await self._writer.run(lambda tx: _prune(tx, gone_before_ms, limit))


def _worker(row: Row | None) -> Worker | None:
    return None if row is None else worker_of(row)


def _held(row: Row) -> Held:
    running, stopping, ahead = row[WORKER_WIDTH:]
    return Held(worker=worker_of(row), running=running, stopping=stopping, ahead=ahead)


def _record(tx: Tx, values: Row, also: Sequence[Step]) -> None:
    tx.execute(RECORD, values)
    carry_out(tx, also)


def _prune(tx: Tx, gone_before_ms: int, limit: int) -> list[WorkerId]:
    gone, last = [row[0] for row in tx.all(GONE_BEFORE, (gone_before_ms, limit))], newest(tx)
    for worker in gone:
        tx.execute(FORGET_STORY, (worker,))
        tx.execute(FORGET, (worker,))
    keep_place(tx, last, gone_before_ms)
    return gone
