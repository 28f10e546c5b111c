"""Jobs in SQLite: the table of contents `JobRows`. What each call does lies in the modules it names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from stoker.ids import EndpointId, JobId, TeamId, WorkerId
from stoker.job import Job, JobState
from stoker.store import SUBMIT_KEY_LIFE_MS, Counts, Page, Parts, Result, Stop, StoryLine
from stoker.store.image import Queued
from stoker.store.recent import theirs
from stoker.store.rows import JOB, STOP, STORY, stop, stored_job, story_line
from stoker.store.sqlite import parts
from stoker.store.sqlite.known import Known
from stoker.store.sqlite.ledger import keep_place, newest
from stoker.store.sqlite.results import FindResult
from stoker.store.sqlite.transaction import Unsettling
from stoker.store.sqlite.tx import Tx
from stoker.store.sqlite.writer import Lane
from stoker.store.transitions import PurgeQueue
from stoker.store.writes import JobWrites

AHEAD_MOST: Final = 10_000
PURGE_STEP: Final = 500
"""Jobs that one transaction purges: a long queue must not hold up everybody else."""

INPUT: Final = "SELECT inputs.input FROM jobs JOIN inputs ON inputs.job = jobs.seq WHERE jobs.id = ? AND jobs.team = ?"

SEQ_OF: Final = "SELECT seq FROM jobs WHERE id = ? AND team = ? AND endpoint = ?"
NO_END: Final = 2**62
"""Larger than any row number."""
_LISTED: Final = f"SELECT {JOB} FROM jobs INDEXED BY"
_TAIL: Final = "AND jobs.team = ? AND jobs.seq < ? ORDER BY jobs.seq DESC LIMIT ?"
LIST_ALL: Final = f"{_LISTED} jobs_of_endpoint WHERE jobs.endpoint = ? {_TAIL}"
LIST_ENDED: Final = f"""
    {_LISTED} jobs_ended WHERE jobs.finished_ms IS NOT NULL AND jobs.state = ? AND jobs.endpoint = ? {_TAIL}"""
LIST_RUNNING: Final = f"{_LISTED} jobs_running WHERE jobs.state = 'running' AND jobs.endpoint = ? {_TAIL}"
LIST_AHEAD: Final = f"{_LISTED} jobs_ahead WHERE jobs.state = 'ahead' AND jobs.endpoint = ? {_TAIL}"
LIST_QUEUED: Final = f"""
    {_LISTED} jobs_queued WHERE jobs.state = 'queued' AND jobs.low_priority = ? AND jobs.endpoint = ? {_TAIL}"""

DUE: Final = "SELECT id FROM jobs WHERE deadline_ms IS NOT NULL AND deadline_ms <= ? ORDER BY deadline_ms LIMIT ?"
NEWEST: Final = "SELECT coalesce(max(seq), 0) FROM jobs"

PLACE: Final = "SELECT seq, low_priority FROM jobs WHERE id = ? AND team = ? AND state = 'queued'"
COUNT_AHEAD: Final = """
    SELECT count(*) FROM (SELECT 1 FROM jobs
      WHERE endpoint = ? AND state = 'queued' AND low_priority = ? AND seq < ? LIMIT ?)"""

COUNTS: Final = """
    SELECT queued, queued_low, ahead, running, completed, failed, cancelled, timed_out, retried
    FROM counters WHERE endpoint = ?"""
OLDEST_QUEUED: Final = """
    SELECT queued_ms FROM jobs WHERE endpoint = ? AND state = 'queued' AND low_priority = 0 ORDER BY seq LIMIT 1"""
WAITING: Final = """
    SELECT counters.endpoint, (
      SELECT jobs.queued_ms FROM jobs
      WHERE jobs.endpoint = counters.endpoint AND jobs.state = 'queued' AND jobs.low_priority = 0 ORDER BY jobs.seq LIMIT 1
    ) AS since_ms
    FROM counters WHERE counters.queued > 0 ORDER BY since_ms, counters.endpoint LIMIT ?"""
STORY_OF: Final = f"SELECT {STORY} FROM story WHERE job = (SELECT jobs.seq FROM jobs WHERE jobs.id = ?) ORDER BY seq"

RUNNING_ON: Final = f"SELECT {JOB} FROM jobs WHERE jobs.worker = ? AND jobs.state = 'running' ORDER BY jobs.seq"
AHEAD_ON: Final = f"SELECT {JOB} FROM jobs WHERE jobs.worker = ? AND jobs.state = 'ahead' ORDER BY jobs.seq"
STOPS_OF: Final = f"SELECT {STOP} FROM stops WHERE stops.worker = ? ORDER BY stops.asked_ms, stops.job"
STOPS_DUE: Final = f"SELECT {STOP} FROM stops WHERE stops.asked_ms < ? ORDER BY stops.asked_ms, stops.job"

OUTLIVED: Final = (
    "SELECT seq, id, receiver FROM jobs WHERE purge_ms IS NOT NULL AND purge_ms <= ? ORDER BY purge_ms LIMIT ?"
)
FORGET_JOB: Final = "DELETE FROM jobs WHERE seq = ?"
FORGET_STORY: Final = "DELETE FROM story WHERE job = ?"
OUTLIVE: Final = """
    UPDATE notices SET outlives = 1, kept = 1,
      input = CASE WHEN notices.kept THEN notices.input ELSE inputs.input END,
      output = CASE WHEN notices.kept THEN notices.output ELSE outputs.output END,
      error = CASE WHEN notices.kept THEN notices.error ELSE outputs.error END
    FROM jobs JOIN inputs ON inputs.job = jobs.seq LEFT JOIN outputs ON outputs.job = jobs.seq
    WHERE jobs.seq = ? AND notices.job = jobs.id AND notices.due_ms IS NOT NULL"""
"""What was not told yet outlives its job, and takes along what it is about."""
FORGET_NOTICES: Final = "DELETE FROM notices WHERE job = ? AND due_ms IS NULL"
FORGET_KEYS: Final = """
    DELETE FROM submit_keys WHERE (endpoint, key) IN
      (SELECT endpoint, key FROM submit_keys WHERE at_ms <= ? ORDER BY at_ms LIMIT ?)"""


class SqliteJobs(JobWrites):
    """`JobRows`."""

    def __init__(self, writer: Lane, reader: Lane, quick: Lane, known: Known) -> None:
        super().__init__(writer)
        self._known = known
        self._recent = known.recent
        self._writer = writer
        self._reader = reader
        self._quick = quick

    # ── for customers ─────────────────────────────────────────────────────────────────────────────────────────────────

    async def result(self, team: TeamId, endpoint: EndpointId | None, job: JobId) -> Result | None:
        """See `results`."""
        known = self._recent.get(job)
        if known is not None:
            return theirs(known, team, endpoint)
        return await self._quick.run(FindResult(team, endpoint, job))

    def known_result(self, team: TeamId, endpoint: EndpointId | None, job: JobId) -> Result | None:
        """Of jobs that were lately in hand."""
        return self._recent.find(team, endpoint, job)

    async def input(self, team: TeamId, job: JobId) -> bytes | None:
        """What was submitted."""
        row = await self._reader.run(lambda tx: tx.one(INPUT, (job, team)))
        return None if row is None else row[0]

    async def list(self, team: TeamId, endpoint: EndpointId, *, state: JobState | None, page: Page) -> Sequence[Job]:
        """Newest first; every state has an index that holds little else."""
        return await self._reader.run(lambda tx: _list(tx, team, endpoint, state, page))

    async def read_parts(self, team: TeamId, endpoint: EndpointId, job: JobId, *, bytes_max: int) -> Parts | None:
        """See `parts`; a poll that finds nothing new writes nothing."""
        found, unread = await self._reader.run(lambda tx: parts.peek(tx, team, endpoint, job))
        if not unread:
            return found
        return await self._writer.run(lambda tx: parts.read_parts(tx, team, endpoint, job, bytes_max=bytes_max))

    async def purge_queue(self, endpoint: EndpointId, at_ms: int) -> int:
        """In steps, up to the newest job there was at the beginning."""
        newest = await self._reader.run(lambda tx: tx.all(NEWEST)[0][0])
        total = 0
        while True:
            purged = await self._writer.run(PurgeQueue(Queued(endpoint, newest, PURGE_STEP), at_ms))
            total += purged
            if purged < PURGE_STEP:
                return total

    async def ahead_of(self, job: Job) -> int:
        """Walks the index of the queue, at most `AHEAD_MOST` entries."""
        return await self._reader.run(lambda tx: _ahead_of(tx, job))

    async def counts(self, endpoint: EndpointId) -> Counts:
        """One row, kept by every transition."""
        row = await self._quick.run(lambda tx: tx.one(COUNTS, (endpoint,)))
        return Counts() if row is None else Counts(**dict(zip(Counts.__struct_fields__, row, strict=True)))

    async def oldest_queued_ms(self, endpoint: EndpointId) -> int | None:
        """The first entry of the queue's index."""
        row = await self._quick.run(lambda tx: tx.one(OLDEST_QUEUED, (endpoint,)))
        return None if row is None else row[0]

    async def waiting(self, limit: int) -> Sequence[EndpointId]:
        """By their counters."""
        return [row[0] for row in await self._reader.run(lambda tx: tx.all(WAITING, (limit,)))]

    async def story(self, job: JobId) -> Sequence[StoryLine]:
        """In the order of writing."""
        rows = await self._reader.run(lambda tx: tx.all(STORY_OF, (job,)))
        return [story_line(row, job=job) for row in rows]

    # ── for workers and loops ─────────────────────────────────────────────────────────────────────────────────────────

    def nothing_for(self, worker: WorkerId, at_ms: int) -> bool:
        """See `known`."""
        return self._known.nothing_for(worker, at_ms)

    async def due(self, now_ms: int, limit: int) -> Sequence[JobId]:
        """The index of deadlines, from its beginning."""
        rows = await self._reader.run(lambda tx: tx.all(DUE, (now_ms, limit)))
        return [row[0] for row in rows]

    async def stops(self, worker: WorkerId) -> Sequence[Stop]:
        """Longest asked first."""
        return [stop(row) for row in await self._reader.run(lambda tx: tx.all(STOPS_OF, (worker,)))]

    async def stops_due(self, asked_before_ms: int) -> Sequence[Stop]:
        """Those of gone workers went with them."""
        return [stop(row) for row in await self._reader.run(lambda tx: tx.all(STOPS_DUE, (asked_before_ms,)))]

    async def held_by(self, worker: WorkerId) -> Sequence[Job]:
        """Each in the order of submission."""
        rows = await self._reader.run(lambda tx: tx.all(AHEAD_ON, (worker,)) + tx.all(RUNNING_ON, (worker,)))
        return [stored_job(row).job for row in rows]

    async def prune(self, now_ms: int, limit: int) -> int:
        """Bodies and parts go with their job's row; at most `limit` keys go too."""
        return await self._writer.run(Unsettling(lambda tx: _prune(tx, now_ms, limit)))

    async def prune_early(self, at_ms: int, limit: int) -> int:
        """By the index of what is due next."""
        return await self._writer.run(Unsettling(lambda tx: _forget(tx, NO_END, at_ms, limit)))


def _list(tx: Tx, team: TeamId, endpoint: EndpointId, state: JobState | None, page: Page) -> Sequence[Job]:
    before = NO_END
    if page.before is not None:
        row = tx.one(SEQ_OF, (page.before, team, endpoint))
        if row is None:
            return []
        before = row[0]
    which = (endpoint, team, before, page.limit)
    if state is None:
        rows = tx.all(LIST_ALL, which)
    elif state is JobState.QUEUED:
        rows = tx.all(LIST_QUEUED, (0, *which)) + tx.all(LIST_QUEUED, (1, *which)) + tx.all(LIST_AHEAD, which)
        rows = sorted(rows, reverse=True)[: page.limit]  # a row begins with its number
    elif state is JobState.AHEAD:
        rows = tx.all(LIST_AHEAD, which)
    elif state is JobState.RUNNING:
        rows = tx.all(LIST_RUNNING, which)
    else:
        rows = tx.all(LIST_ENDED, (state.value, *which))
    return [stored_job(row).job for row in rows]


def _ahead_of(tx: Tx, job: Job) -> int:
    place = tx.one(PLACE, (job.id, job.team))
    if place is None:
        return 0
    seq, low_priority = place
    if not low_priority:
        return _count_ahead(tx, job, 0, seq, AHEAD_MOST)
    ahead = _count_ahead(tx, job, 0, NO_END, AHEAD_MOST)
    return ahead + _count_ahead(tx, job, 1, seq, AHEAD_MOST - ahead)


def _count_ahead(tx: Tx, job: Job, low_priority: int, before: int, most: int) -> int:
    count: int = tx.all(COUNT_AHEAD, (job.endpoint, low_priority, before, most))[0][0]
    return count


def _prune(tx: Tx, now_ms: int, limit: int) -> int:
    forgotten = _forget(tx, now_ms, now_ms, limit)
    tx.execute(FORGET_KEYS, (now_ms - SUBMIT_KEY_LIFE_MS, limit))
    return forgotten


def _forget(tx: Tx, due_ms: int, at_ms: int, limit: int) -> int:
    outlived, last = tx.all(OUTLIVED, (due_ms, limit)), newest(tx)
    for seq, job, receiver in outlived:
        if receiver is not None:
            tx.execute(OUTLIVE, (seq,))
            tx.execute(FORGET_NOTICES, (job,))
        tx.execute(FORGET_STORY, (seq,))
        tx.execute(FORGET_JOB, (seq,))
    keep_place(tx, last, at_ms)
    return len(outlived)
