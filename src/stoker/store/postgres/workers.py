"""Workers in PostgreSQL: the table of contents `WorkerRows`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from stoker.ids import EndpointId, ReleaseId, WorkerId
from stoker.store import Decision, Failures, Held, StoryLine
from stoker.store.postgres.connection import Connection
from stoker.store.postgres.lane import Lane, Pool
from stoker.store.postgres.tables import carry_out
from stoker.store.rows import STORY, WORKER, WORKER_WIDTH, Row, story_line
from stoker.store.rows import failures as failures_of
from stoker.store.rows import worker as worker_of
from stoker.store.tables import Step, plain
from stoker.store.writes import WorkerWrites
from stoker.worker import START_FAILURES, Worker, WorkerReason

_HELD: Final = f"SELECT {WORKER}, workers.running, workers.stopping, workers.ahead FROM workers"
ALIVE: Final = f"{_HELD} WHERE workers.gone_ms IS NULL ORDER BY workers.seq"
ALIVE_OF: Final = f"{_HELD} WHERE workers.gone_ms IS NULL AND workers.endpoint = $1 ORDER BY workers.seq"
GONE_OF: Final = f"""
    {_HELD} WHERE workers.gone_ms IS NOT NULL AND workers.endpoint = $1
    ORDER BY workers.gone_ms DESC, workers.seq DESC LIMIT $2"""
SINCE: Final = f"""
    SELECT {WORKER} FROM workers WHERE workers.gone_ms IS NULL
    UNION ALL SELECT {WORKER} FROM workers WHERE workers.gone_ms > $1"""
FIND: Final = f"SELECT {WORKER} FROM workers WHERE workers.id = $1"
BY_TOKEN: Final = f"SELECT {WORKER} FROM workers WHERE workers.token_hash = $1"
FAILED: Final = f"""
    SELECT gone_ms, detail, reason FROM workers
    WHERE release = $1 AND gone_ms IS NOT NULL AND ready_ms IS NULL
      AND reason IN ({", ".join(f"'{reason.value}'" for reason in START_FAILURES)})
      AND decided_ms > (SELECT forgiven_ms FROM releases WHERE id = $1)
      AND decided_ms > coalesce((SELECT max(decided_ms) FROM workers WHERE release = $1 AND ready_ms IS NOT NULL), -1)
    ORDER BY gone_ms DESC, seq DESC"""

MOVED_ON: Final = f"""
    SELECT specification, max(stopped_ms) FROM workers
    WHERE release = $1 AND reason = '{WorkerReason.TRIED_ELSEWHERE.value}' GROUP BY specification"""

STORY_OF: Final = f"SELECT {STORY} FROM story WHERE worker = $1 AND job IS NULL ORDER BY seq"
RECORD: Final = """
    INSERT INTO decisions (endpoint, at_ms, reason, text, wanted) VALUES ($1, $2, $3, $4, $5) ON CONFLICT (endpoint)
    DO UPDATE SET at_ms = excluded.at_ms, reason = excluded.reason, text = excluded.text, wanted = excluded.wanted"""
DECISION: Final = "SELECT at_ms, reason, text, wanted FROM decisions WHERE endpoint = $1"
UNMETERED: Final = "SELECT id FROM workers WHERE unmetered ORDER BY seq"
FORGET: Final = """
    WITH gone AS (
      DELETE FROM workers WHERE id IN (
        SELECT id FROM workers WHERE gone_ms < $1 AND NOT unmetered ORDER BY gone_ms, seq LIMIT $2 FOR UPDATE SKIP LOCKED)
      RETURNING id, gone_ms, seq),
    story AS (DELETE FROM story USING gone WHERE story.worker = gone.id AND story.job IS NULL)
    SELECT id FROM gone ORDER BY gone_ms, seq"""


class PostgresWorkers(WorkerWrites):
    """`WorkerRows`."""

    def __init__(self, lane: Lane, pool: Pool) -> None:
        super().__init__(lane)
        self._pool = pool

    async def get(self, worker: WorkerId) -> Worker | None:
        """By id."""
        return _worker(await self._pool.read(lambda tx: tx.fetchrow(FIND, worker)))

    async def by_token(self, token_hash: str) -> Worker | None:
        """By the SHA-256 of its token."""
        return _worker(await self._pool.read(lambda tx: tx.fetchrow(BY_TOKEN, token_hash)))

    async def of_endpoint(self, endpoint: EndpointId, *, gone: int = 0) -> Sequence[Held]:
        """Alive ones oldest first, then gone ones, the last one first."""

        async def both(tx: Connection) -> list[Row]:
            alive = await tx.fetch(ALIVE_OF, endpoint)
            return alive + (await tx.fetch(GONE_OF, endpoint, gone) if gone else [])

        return [_held(row) for row in await self._pool.read(both)]

    async def alive(self) -> Sequence[Held]:
        """Of every team, oldest first."""
        return [_held(row) for row in await self._pool.read(lambda tx: tx.fetch(ALIVE))]

    async def since(self, gone_after_ms: int) -> Sequence[Worker]:
        """Of every team."""
        return [worker_of(row) for row in await self._pool.read(lambda tx: tx.fetch(SINCE, gone_after_ms))]

    async def failures(self, release: ReleaseId) -> Failures:
        """Those decided after the last one that became ready."""
        rows = await self._pool.read(lambda tx: tx.fetch(FAILED, release))
        return failures_of(rows)

    async def moved_on(self, release: ReleaseId) -> Mapping[str, int]:
        """When the last one did, for each specification."""
        rows = await self._pool.read(lambda tx: tx.fetch(MOVED_ON, release))
        return {row[0]: row[1] for row in rows}

    async def story(self, worker: WorkerId) -> Sequence[StoryLine]:
        """In the order of writing; what it did with jobs is told by their stories."""
        return [story_line(row) for row in await self._pool.read(lambda tx: tx.fetch(STORY_OF, worker))]

    async def unmetered(self) -> Sequence[WorkerId]:
        """Oldest first."""
        return [row[0] for row in await self._pool.read(lambda tx: tx.fetch(UNMETERED))]

    async def record(self, decision: Decision, *also: Step) -> None:
        """One row for each endpoint."""
        values = (decision.endpoint, decision.at_ms, decision.reason, plain(decision.text), decision.wanted)
        await self._pool.write(lambda tx: _record(tx, values, also))

    async def decision(self, endpoint: EndpointId) -> Decision | None:
        """The row that `record` wrote."""
        row = await self._pool.read(lambda tx: tx.fetchrow(DECISION, endpoint))
        if row is None:
            return None
        return Decision(endpoint=endpoint, at_ms=row[0], reason=row[1], text=row[2], wanted=row[3])

    async def prune(self, gone_before_ms: int, limit: int) -> Sequence[WorkerId]:
        """With their stories, those that went first first."""
        return [row[0] for row in await self._pool.write(lambda tx: tx.fetch(FORGET, gone_before_ms, limit))]


def _worker(row: Row | None) -> Worker | None:
    return None if row is None else worker_of(row)


async def _record(tx: Connection, values: Row, also: Sequence[Step]) -> None:
    await tx.execute(RECORD, *values)
    await carry_out(tx, also)


def _held(row: Row) -> Held:
    running, stopping, ahead = row[WORKER_WIDTH:]
    return Held(worker=worker_of(row), running=running, stopping=stopping, ahead=ahead)
