"""Jobs in PostgreSQL: the table of contents `JobRows`. What each call does lies in the modules it names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from stoker.ids import EndpointId, JobId, TeamId, WorkerId
from stoker.job import Job, JobState
from stoker.store import SUBMIT_KEY_LIFE_MS, Counts, Page, Parts, Result, Stop, StoryLine
from stoker.store.image import COUNTERS, Queued
from stoker.store.postgres import parts
from stoker.store.postgres.connection import Connection
from stoker.store.postgres.known import Known
from stoker.store.postgres.lane import Lane, Pool
from stoker.store.postgres.results import Results
from stoker.store.recent import theirs
from stoker.store.rows import JOB, STOP, STORY, Row, stop, stored_job, story_line
from stoker.store.transitions import PurgeQueue
from stoker.store.writes import JobWrites

AHEAD_MOST: Final = 10_000
PURGE_STEP: Final = 500
"""Jobs that one transaction purges: a long queue must not hold up everybody else."""

INPUT: Final = """
    SELECT inputs.input FROM all_jobs AS jobs JOIN inputs ON inputs.job = jobs.seq
    WHERE jobs.id = $1 AND jobs.team = $2"""

SEQ_OF: Final = "SELECT seq FROM all_jobs WHERE id = $1 AND team = $2 AND endpoint = $3"
NO_END: Final = 2**62
"""Larger than any row number."""
_TAIL: Final = "jobs.endpoint = $1 AND jobs.team = $2 AND jobs.seq < $3 ORDER BY jobs.seq DESC LIMIT $4"
_QUEUED: Final = [
    f"SELECT {JOB} FROM jobs WHERE jobs.state = 'queued' AND jobs.low_priority = {low} AND {_TAIL}"
    for low in ("false", "true")
]
_RUNNING: Final = f"SELECT {JOB} FROM jobs WHERE jobs.state = 'running' AND {_TAIL}"
_AHEAD: Final = f"SELECT {JOB} FROM jobs WHERE jobs.state = 'ahead' AND {_TAIL}"
_ENDED: Final[dict[JobState | None, str]] = {
    state: f"SELECT {JOB} FROM ended_jobs AS jobs WHERE jobs.state = '{state.value}' AND {_TAIL}"
    for state in JobState
    if state.final
}


def _newest(lists: Sequence[str]) -> str:
    """The newest of several lists, each of which is walked no further than is needed."""
    return f"{' UNION ALL '.join(f'({one})' for one in lists)} ORDER BY seq DESC LIMIT $4"


LIST_QUEUED: Final = _newest([*_QUEUED, _AHEAD])
LIST_ALL: Final = _newest([*_QUEUED, _AHEAD, _RUNNING, *_ENDED.values()])
LISTS: Final[dict[JobState | None, str]] = {
    None: LIST_ALL,
    JobState.QUEUED: LIST_QUEUED,
    JobState.AHEAD: _AHEAD,
    JobState.RUNNING: _RUNNING,
    **_ENDED,
}

DUE: Final = """
    (SELECT id, expires_ms AS due_ms FROM jobs WHERE state = 'queued' AND expires_ms <= $1 ORDER BY expires_ms LIMIT $2)
    UNION ALL
    (SELECT id, deadline_ms FROM jobs WHERE state = 'ahead' AND deadline_ms <= $1 ORDER BY deadline_ms LIMIT $2)
    UNION ALL
    (SELECT id, deadline_ms FROM jobs WHERE state = 'running' AND deadline_ms <= $1 ORDER BY deadline_ms LIMIT $2)
    ORDER BY due_ms LIMIT $2"""
NEWEST: Final = "SELECT last_value FROM job_seq"
PLACE: Final = "SELECT seq, low_priority FROM jobs WHERE id = $1 AND team = $2 AND state = 'queued'"
COUNT_AHEAD: Final = """
    SELECT count(*) FROM (SELECT 1 FROM jobs
      WHERE endpoint = $1 AND state = 'queued' AND low_priority = $2 AND seq < $3 LIMIT $4) AS ahead"""
COUNTS: Final = f"""
    SELECT {", ".join(f"coalesce(sum({name}), 0)::bigint" for name in COUNTERS)} FROM counters WHERE endpoint = $1"""
OLDEST_QUEUED: Final = """
    SELECT queued_ms FROM jobs WHERE endpoint = $1 AND state = 'queued' AND NOT low_priority ORDER BY seq LIMIT 1"""
WAITING: Final = """
    SELECT waits.endpoint FROM (SELECT endpoint FROM counters GROUP BY endpoint HAVING sum(queued) > 0) AS waits
    ORDER BY (
      SELECT queued_ms FROM jobs
      WHERE jobs.endpoint = waits.endpoint AND state = 'queued' AND NOT low_priority ORDER BY seq LIMIT 1
    ), waits.endpoint LIMIT $1"""
STORY_OF: Final = f"SELECT {STORY} FROM story WHERE job = (SELECT seq FROM all_jobs WHERE id = $1) ORDER BY seq"

RUNNING_ON: Final = f"SELECT {JOB} FROM jobs WHERE jobs.worker = $1 AND jobs.state = 'running' ORDER BY jobs.seq"
AHEAD_ON: Final = f"SELECT {JOB} FROM jobs WHERE jobs.worker = $1 AND jobs.state = 'ahead' ORDER BY jobs.seq"
STOPS_OF: Final = f"SELECT {STOP} FROM stops WHERE stops.worker = $1 ORDER BY stops.asked_ms, stops.job"
STOPS_DUE: Final = f"SELECT {STOP} FROM stops WHERE stops.asked_ms < $1 ORDER BY stops.asked_ms, stops.job"

FORGET: Final = """
    WITH gone AS (
      DELETE FROM ended_jobs WHERE id IN (
        SELECT id FROM ended_jobs WHERE purge_ms <= $1 ORDER BY purge_ms LIMIT $2 FOR UPDATE SKIP LOCKED)
      RETURNING seq, id, receiver),
    a AS (DELETE FROM inputs USING gone WHERE inputs.job = gone.seq),
    b AS (DELETE FROM outputs USING gone WHERE outputs.job = gone.seq),
    c AS (DELETE FROM parts USING gone WHERE parts.job = gone.seq),
    d AS (DELETE FROM story USING gone WHERE story.job = gone.seq),
    e AS (
      UPDATE notices SET outlives = true, kept = true,
        input = CASE WHEN notices.kept OR notices.due_ms IS NULL THEN notices.input ELSE inputs.input END,
        output = CASE WHEN notices.kept OR notices.due_ms IS NULL THEN notices.output ELSE outputs.output END,
        error = CASE WHEN notices.kept OR notices.due_ms IS NULL THEN notices.error ELSE outputs.error END
      FROM gone JOIN inputs ON inputs.job = gone.seq LEFT JOIN outputs ON outputs.job = gone.seq
      WHERE gone.receiver IS NOT NULL AND notices.job = gone.id)
    SELECT count(*), array_agg(id) FILTER (WHERE receiver IS NOT NULL) FROM gone"""
"""Notices that were not delivered yet outlive their job, and take along what they are about. All of them are locked, so that
whatever else happens to them happens before or after."""
FORGET_NOTICES: Final = "DELETE FROM notices WHERE job = ANY($1::text[]) AND due_ms IS NULL"
FORGET_KEYS: Final = """
    DELETE FROM submit_keys WHERE (endpoint, key) IN (
      SELECT endpoint, key FROM submit_keys WHERE at_ms <= $1 ORDER BY at_ms LIMIT $2 FOR UPDATE SKIP LOCKED)"""


class PostgresJobs(JobWrites):
    """`JobRows`."""

    def __init__(self, lane: Lane, pool: Pool, known: Known) -> None:
        super().__init__(lane)
        self._lane = lane
        self._pool = pool
        self._known = known
        self._recent = known.recent
        self._results = Results(pool)

    # ── for customers ─────────────────────────────────────────────────────────────────────────────────────────────────

    async def result(self, team: TeamId, endpoint: EndpointId | None, job: JobId) -> Result | None:
        """See `results`."""
        return theirs(self._recent.get(job) or await self._results.find(job), team, endpoint)

    def known_result(self, team: TeamId, endpoint: EndpointId | None, job: JobId) -> Result | None:
        """Of jobs that were completed here lately."""
        return self._recent.find(team, endpoint, job)

    async def input(self, team: TeamId, job: JobId) -> bytes | None:
        """What was submitted."""
        row = await self._pool.read(lambda tx: tx.fetchrow(INPUT, job, team))
        return None if row is None else row[0]

    async def list(self, team: TeamId, endpoint: EndpointId, *, state: JobState | None, page: Page) -> Sequence[Job]:
        """Newest first; every state has an index that holds little else."""
        rows = await self._pool.read(lambda tx: _list(tx, team, endpoint, state, page))
        return [stored_job(row).job for row in rows]

    async def read_parts(self, team: TeamId, endpoint: EndpointId, job: JobId, *, bytes_max: int) -> Parts | None:
        """See `parts`; a poll that finds nothing new writes nothing."""
        found, unread = await self._pool.read(lambda tx: parts.peek(tx, team, endpoint, job))
        if not unread:
            return found
        return await self._pool.write(lambda tx: parts.read_parts(tx, team, endpoint, job, bytes_max=bytes_max))

    async def purge_queue(self, endpoint: EndpointId, at_ms: int) -> int:
        """In steps, up to the newest job there was at the beginning."""
        newest = await self._pool.read(lambda tx: tx.fetchval(NEWEST))
        total = 0
        while True:
            purged = await self._lane.run(PurgeQueue(Queued(endpoint, newest, PURGE_STEP), at_ms))
            total += purged
            if purged < PURGE_STEP:
                return total

    async def ahead_of(self, job: Job) -> int:
        """Walks the index of the queue, at most `AHEAD_MOST` entries."""
        return await self._pool.read(lambda tx: _ahead_of(tx, job))

    async def counts(self, endpoint: EndpointId) -> Counts:
        """One row for each shard, kept by every transition."""
        row = await self._pool.read(lambda tx: tx.fetchrow(COUNTS, endpoint))
        assert row is not None
        return Counts(**dict(zip(COUNTERS, row, strict=True)))

    async def oldest_queued_ms(self, endpoint: EndpointId) -> int | None:
        """The first entry of the queue's index."""
        row = await self._pool.read(lambda tx: tx.fetchrow(OLDEST_QUEUED, endpoint))
        return None if row is None else row[0]

    async def waiting(self, limit: int) -> Sequence[EndpointId]:
        """By their counters."""
        return [row[0] for row in await self._pool.read(lambda tx: tx.fetch(WAITING, limit))]

    async def story(self, job: JobId) -> Sequence[StoryLine]:
        """In the order of writing."""
        rows = await self._pool.read(lambda tx: tx.fetch(STORY_OF, job))
        return [story_line(row, job=job) for row in rows]

    # ── for workers and loops ─────────────────────────────────────────────────────────────────────────────────────────

    def nothing_for(self, worker: WorkerId, at_ms: int) -> bool:
        """See `known`."""
        return self._known.nothing_for(worker, at_ms)

    async def due(self, now_ms: int, limit: int) -> Sequence[JobId]:
        """Of those that wait by index; those that workers have are few, and all looked at."""
        return [row[0] for row in await self._pool.read(lambda tx: tx.fetch(DUE, now_ms, limit))]

    async def stops(self, worker: WorkerId) -> Sequence[Stop]:
        """Longest asked first."""
        return [stop(row) for row in await self._pool.read(lambda tx: tx.fetch(STOPS_OF, worker))]

    async def stops_due(self, asked_before_ms: int) -> Sequence[Stop]:
        """Those of gone workers went with them."""
        return [stop(row) for row in await self._pool.read(lambda tx: tx.fetch(STOPS_DUE, asked_before_ms))]

    async def held_by(self, worker: WorkerId) -> Sequence[Job]:
        """Each in the order of submission."""

        async def both(tx: Connection) -> list[Row]:
            return [*await tx.fetch(AHEAD_ON, worker), *await tx.fetch(RUNNING_ON, worker)]

        return [stored_job(row).job for row in await self._pool.read(both)]

    async def prune(self, now_ms: int, limit: int) -> int:
        """Bodies, parts and story go with their job's row; at most `limit` keys go too."""

        async def forget(tx: Connection) -> int:
            count = await _forget(tx, now_ms, limit)
            await tx.execute(FORGET_KEYS, now_ms - SUBMIT_KEY_LIFE_MS, limit)
            return count

        return self._forgot(await self._pool.write(forget))

    async def prune_early(self, at_ms: int, limit: int) -> int:
        """By the index of what is due next."""
        return self._forgot(await self._pool.write(lambda tx: _forget(tx, NO_END, limit)))

    def _forgot(self, count: int) -> int:
        if count:
            self._recent.clear()
        return count


async def _forget(tx: Connection, due_ms: int, limit: int) -> int:
    row = await tx.fetchrow(FORGET, due_ms, limit)
    assert row is not None
    count: int = row[0]
    if row[1]:
        await tx.execute(FORGET_NOTICES, row[1])
    return count


async def _list(
    tx: Connection, team: TeamId, endpoint: EndpointId, state: JobState | None, page: Page
) -> Sequence[Row]:
    before: int | None = NO_END
    if page.before is not None:
        before = await tx.fetchval(SEQ_OF, page.before, team, endpoint)
        if before is None:
            return []
    return await tx.fetch(LISTS[state], endpoint, team, before, page.limit)


async def _ahead_of(tx: Connection, job: Job) -> int:
    place = await tx.fetchrow(PLACE, job.id, job.team)
    if place is None:
        return 0
    seq, low_priority = place
    if not low_priority:
        return await _count_ahead(tx, job, False, seq, AHEAD_MOST)
    ahead = await _count_ahead(tx, job, False, NO_END, AHEAD_MOST)
    return ahead + await _count_ahead(tx, job, True, seq, AHEAD_MOST - ahead)


async def _count_ahead(tx: Connection, job: Job, low_priority: bool, before: int, most: int) -> int:
    count: int = await tx.fetchval(COUNT_AHEAD, job.endpoint, low_priority, before, most)
    return count
