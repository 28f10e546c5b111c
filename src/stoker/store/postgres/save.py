"""What changed in an image, written back in one statement.

Called by `batch.py`, once per transaction. Each kind of change is a part of the statement, a `WITH` clause with rows of its
own; the statement for a given set of parts is composed once. So a transaction is saved in one round trip, whatever it did.

An image of rows that were known, not read, is saved by a guarded statement: a row is written only in the version that was known, and
at the end everything that was lent is looked at. If anything is another by now the statement fails, and nothing of it happens.

What must stay true: no row is named by two parts. They see the database as it was before the statement, and not each other.
Guarded parts lock rows in the order in which `load.py` does: workers, then jobs, each by id.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from operator import itemgetter
from typing import Any, Final

import asyncpg
from msgspec.structs import astuple

from stoker.job import Job, JobState
from stoker.store.image import COUNTERS, LINE, Image, JobChange, Move
from stoker.store.postgres.connection import Connection, raced
from stoker.store.postgres.known import Lent
from stoker.store.postgres.packing import count_of, names, packed, unpacked, width
from stoker.store.rows import (
    END,
    end_values,
    metered_values,
    moving_worker_values,
    plain_error,
    worker_values,
)
from stoker.store.usage import ACCOUNT

Columns = dict[str, str]
"""Names of columns, with their types."""


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """A kind of change: clauses of a `WITH`, by name, in which `{new}` are its rows."""

    columns: Columns
    clauses: tuple[tuple[str, str], ...]
    table: str = ""
    """Of the rows that are written only in their known version, if the statement is guarded: in the first clause, which tells them."""

    def written(self, *, guarded: bool) -> Columns:
        """What a row has."""
        return self.columns | _VERSION if guarded and self.table else self.columns


_VERSION: Final = {"version": "xid"}


def _types(texts: str = "", numbers: str = "", flags: str = "", bodies: str = "") -> Columns:
    kinds = {"text": texts, "bigint": numbers, "boolean": flags, "bytea": bodies}
    return {name: kind for kind, of_kind in kinds.items() for name in of_kind.split()}


def _insert(name: str, table: str, columns: Columns, conflict: str = "") -> Part:
    sql = f"INSERT INTO {table} ({names(columns)}) SELECT {names(columns)} FROM {{new}} {conflict}"
    return Part(columns, ((name, sql),))


def _update(name: str, table: str, key: str, columns: Columns) -> Part:
    changes = ", ".join(f"{column} = new.{column}" for column in columns if column != key)
    sql = f"UPDATE {table} SET {changes} FROM {{new}} WHERE {table}.{key} = new.{key}{{still}} RETURNING 1"
    return Part(columns, ((name, sql),), table)


def _delete(name: str, table: str, columns: Columns) -> Part:
    which = " AND ".join(f"{table}.{column} = new.{column}" for column in columns)
    return Part(columns, ((name, f"DELETE FROM {table} USING {{new}} WHERE {which}"),))


# ── jobs ──────────────────────────────────────────────────────────────────────────────────────────────────────────────

_FIXED: Final = _types(
    "id team endpoint receiver key", "seq created_ms execution_limit_ms retention_ms retry_limit", flags="low_priority"
)
_MOVING: Final = _types(
    "state reason worker",
    "queued_ms expires_ms attempt losses claimed_ms confirmed_ms lease_until_ms finished_ms",
)
_LIVE: Final = _types(numbers="deadline_ms")
_ENDED: Final = _types(numbers="purge_ms")
_END: Final = _types("id state reason", "finished_ms purge_ms")
_CARRIED: Final = ", ".join(name for name in _FIXED | _MOVING if name not in ("state", "reason", "finished_ms", "id"))

ADD_JOBS: Final = _insert("add_jobs", "jobs", _FIXED | _MOVING | _LIVE)
ADD_ENDED: Final = _insert("add_ended", "ended_jobs", _FIXED | _MOVING | _ENDED)
DROP_JOBS: Final = Part(
    _types("id"), (("drop_jobs", "DELETE FROM jobs USING {new} WHERE jobs.id = new.id{still} RETURNING 1"),), "jobs"
)
DROP_ENDED: Final = _delete("drop_ended", "ended_jobs", _types("id"))
CLAIM_JOBS: Final = _update(
    "claim_jobs",
    "jobs",
    "id",
    _types("id state reason worker", "attempt claimed_ms confirmed_ms lease_until_ms deadline_ms"),
)
RENEW_JOBS: Final = _update("renew_jobs", "jobs", "id", _types("id reason", "confirmed_ms lease_until_ms deadline_ms"))
MOVE_JOBS: Final = _update("move_jobs", "jobs", "id", _types("id") | _MOVING | _LIVE)
MOVE_ENDED: Final = _update("move_ended", "ended_jobs", "id", _types("id") | _MOVING | _ENDED)
END_JOBS: Final = Part(
    _END,
    (
        (
            "leaving",
            f"""DELETE FROM jobs USING {{new}} WHERE jobs.id = new.id{{still}}
            RETURNING jobs.id, {", ".join(f"jobs.{name}" for name in _CARRIED.split(", "))},
              new.state, new.reason, new.finished_ms, new.purge_ms""",
        ),
        (
            "end_jobs",
            f"""INSERT INTO ended_jobs (id, {_CARRIED}, state, reason, finished_ms, purge_ms)
            SELECT id, {_CARRIED.replace("lease_until_ms", "NULL")}, state, reason, finished_ms, purge_ms FROM leaving""",
        ),
    ),
    "jobs",
)
REOPEN: Final = Part(
    _types("id"), (("reopen", "UPDATE ended_jobs SET stream_closed = false FROM {new} WHERE ended_jobs.id = new.id"),)
)
FORGET_S3: Final = Part(
    _types(numbers="job"),
    (
        (
            "forget_s3",
            "UPDATE inputs SET s3_config = NULL FROM {new} WHERE inputs.job = new.job AND inputs.s3_config IS NOT NULL",
        ),
    ),
)
"""A failed or timed-out job keeps its S3 configuration: a client's retry needs it."""

# ── what belongs to jobs ──────────────────────────────────────────────────────────────────────────────────────────────

_OUTPUT: Final = _types(numbers="job", bodies="output error")
_STOP: Final = _types("worker job", "asked_ms told_ms")
_NUMBERS: Final = ("at_ms", "job", "attempt")
_TOLD: Final = {name: "bigint" if name in _NUMBERS else "text" for name in LINE}

ADD_INPUTS: Final = _insert("add_inputs", "inputs", _types("webhook dialect", "job", bodies="input s3_config"))
TELL_ENDS: Final = Part(
    _types("job team endpoint lane ended", "since_ms due_ms seq"),
    (
        (
            "tell_ends",
            f"""INSERT INTO notices ({END}, url, dialect)
            SELECT {", ".join(f"new.{name}" for name in END.split(", "))}, inputs.webhook, inputs.dialect
            FROM {{new}} JOIN inputs ON inputs.job = new.seq""",
        ),
    ),
)
KEEP_ENDS: Final = Part(
    _types("id", "seq"),
    (
        (
            "keep_ends",
            """UPDATE notices SET kept = true, input = inputs.input, output = outputs.output, error = outputs.error
            FROM {new} JOIN inputs ON inputs.job = new.seq LEFT JOIN outputs ON outputs.job = new.seq
            WHERE notices.job = new.id AND NOT notices.kept""",
        ),
    ),
)
"""It sees the outputs as they were before this transaction."""
REPLACE_OUTPUTS: Final = _insert(
    "replace_outputs",
    "outputs",
    _OUTPUT,
    "ON CONFLICT (job) DO UPDATE SET output = excluded.output, error = excluded.error",
)
MERGE_OUTPUTS: Final = _insert(
    "merge_outputs",
    "outputs",
    _OUTPUT,
    """ON CONFLICT (job) DO UPDATE
    SET output = coalesce(excluded.output, outputs.output), error = coalesce(excluded.error, outputs.error)""",
)
DROP_OUTPUTS: Final = _delete("drop_outputs", "outputs", _types(numbers="job"))
DROP_PARTS: Final = _delete("drop_parts", "parts", _types(numbers="job"))
ADD_PARTS: Final = _insert("add_parts", "parts", _types(numbers="job", bodies="part"))
ASK_STOPS: Final = _insert(
    "ask_stops",
    "stops",
    _STOP,
    "ON CONFLICT (worker, job) DO UPDATE SET asked_ms = excluded.asked_ms, told_ms = excluded.told_ms",
)
LET_GO: Final = _delete("let_go", "stops", _types("worker job"))
KEEP_KEYS: Final = _insert(
    "keep_keys",
    "submit_keys",
    _types("endpoint key job body_hash", "at_ms"),
    """ON CONFLICT (endpoint, key) DO UPDATE
    SET job = excluded.job, body_hash = excluded.body_hash, at_ms = excluded.at_ms""",
)
TELL: Final = _insert("tell", "story", _TOLD)
COUNT: Final = _insert(
    "count",
    "counters",
    _types("endpoint", f"shard {' '.join(COUNTERS)}"),
    "ON CONFLICT (endpoint, shard) DO UPDATE SET "
    + ", ".join(f"{name} = counters.{name} + excluded.{name}" for name in COUNTERS),
)

# ── workers ───────────────────────────────────────────────────────────────────────────────────────────────────────────

_HELD: Final = _types(numbers="running stopping ahead")
_MOVED: Final = {
    **_types("state reason detail", "launched_ms ready_ms idle_ms drained_ms stopped_ms gone_ms seen_ms pinged_ms"),
    **_types("sdk", "exit_code"),
    **_types("exit_text", "unhealthy_ms"),
    **_types("meter", flags="unmetered"),
}
_WORKER: Final = (
    _types(
        "id team endpoint release token_hash gpus specification",
        "memory_bytes price_per_hour_micros wanted_ms decided_ms",
    )
    | _MOVED
)
ADD_WORKERS: Final = _insert("add_workers", "workers", _WORKER | _HELD)
MOVE_WORKERS: Final = _update("move_workers", "workers", "id", _types("id") | _MOVED | _HELD)
TOUCH_WORKERS: Final = _update(
    "touch_workers",
    "workers",
    "id",
    _types("id sdk meter", "idle_ms seen_ms pinged_ms running stopping ahead", flags="unmetered"),
)

BOOK: Final = _insert(
    "book",
    "usage",
    _types("team endpoint release specification use key volume", "hour_ms price_micros ms"),
    f"ON CONFLICT ({ACCOUNT}) DO UPDATE SET ms = usage.ms + excluded.ms",
)


# ── guards ────────────────────────────────────────────────────────────────────────────────────────────────────────────

_STILL: Final = " AND {table}.xmin = new.version"


def _unchanged(table: str) -> Part:
    sql = f"""NOT EXISTS (SELECT FROM {{new}} WHERE NOT EXISTS (
        SELECT FROM {table} WHERE {table}.id = new.id AND {table}.xmin = new.version))"""
    return Part(_types("id") | _VERSION, ((f"unchanged_{table}", sql),))


UNCHANGED_JOBS: Final = _unchanged("jobs")
UNCHANGED_WORKERS: Final = _unchanged("workers")
SAME_SLOTS: Final = Part(
    _types("id", "slots"),
    (
        (
            "same_slots",
            """NOT EXISTS (SELECT FROM {new} WHERE NOT EXISTS (
            SELECT FROM endpoints WHERE endpoints.id = new.id AND endpoints.slots = new.slots))""",
        ),
    ),
)
NO_OTHERS_WAIT: Final = Part(
    _types("endpoint", "waiting"),
    (
        (
            "no_others_wait",
            """NOT EXISTS (SELECT FROM {new} WHERE new.waiting <> (SELECT count(*) FROM (
            SELECT FROM jobs WHERE jobs.endpoint = new.endpoint AND jobs.state = 'queued' LIMIT new.waiting + 1) AS seen))""",
        ),
    ),
)
CHECKS: Final = (UNCHANGED_JOBS, UNCHANGED_WORKERS, SAME_SLOTS, NO_OTHERS_WAIT)
"""Conditions, not clauses: true while what was lent is as it was known."""


class Changes:
    """Rows by part."""

    def __init__(self) -> None:
        self._rows: dict[Part, list[Sequence[Any]]] = {}

    def add(self, part: Part, *row: Any) -> None:
        """One more row of a part."""
        self._rows.setdefault(part, []).append(row)

    async def write(self, tx: Connection) -> int | None:
        """All of them; under which number of a transaction. None when there are none."""
        if not self._rows:
            return None
        parts = tuple(part for part in PARTS if part in self._rows)  # in one order: fewer different statements
        version: int = await tx.fetchval(_statement(parts), *self._values(parts))
        return version

    async def write_guarded(self, tx: Connection, lent: Lent, seqs: int) -> tuple[int, list[int]]:
        """All of them, or nothing if something that was `lent` is another by now: then it raises what `moved` knows. Under which
        number of a transaction; and so many `seqs` for jobs to come.
        """
        for part, rows in self._rows.items():
            if part.table:
                self._rows[part] = [(*row, lent.version(part.table, row[0])) for row in sorted(rows, key=itemgetter(0))]
        believed: tuple[Mapping[Any, int], ...] = (lent.jobs, lent.workers, lent.slots, lent.waiting)
        for check, rows_of_check in zip(CHECKS, believed, strict=True):
            if rows_of_check:
                self._rows[check] = list(rows_of_check.items())
        parts = tuple(part for part in (*PARTS, *CHECKS) if part in self._rows)
        row = await tx.fetchrow(_guarded(parts), *self._values(parts, guarded=True), seqs)
        assert row is not None
        return row[0], row[1]

    def _values(self, parts: Sequence[Part], *, guarded: bool = False) -> Iterator[Any]:
        return (value for part in parts for value in packed(part.written(guarded=guarded), self._rows[part]))


PARTS: Final = tuple(value for value in vars().values() if isinstance(value, Part) and value not in CHECKS)
_NUMBER: Final = "pg_current_xact_id()::xid"
_NEXT_SEQS: Final = "ARRAY(SELECT nextval('job_seq') FROM generate_series(1, ${}::bigint))"


@cache
def _statement(parts: tuple[Part, ...]) -> str:
    clauses, first = [], 1
    for part in parts:
        new = unpacked(part.columns, first)
        clauses += [f"{name} AS ({sql.format(new=new, still='')})" for name, sql in part.clauses]
        first += width(part.columns)
    return f"WITH {', '.join(clauses)} SELECT {_NUMBER}"


@cache
def _guarded(parts: tuple[Part, ...]) -> str:
    """Dividing by zero is the only way to fail that needs no function of our own in the database."""
    clauses: list[str] = []
    workers: list[str] = []
    jobs: list[str] = []
    checks: list[str] = []
    first = 1
    for part in parts:
        columns = part.written(guarded=True)
        new, still = unpacked(columns, first), _STILL.format(table=part.table) if part.table else ""
        filled = [(name, sql.format(new=new, still=still)) for name, sql in part.clauses]
        if part in CHECKS:
            checks += [condition for _, condition in filled]
        else:
            clauses += [f"{name} AS ({sql})" for name, sql in filled]
        if part.table:
            all_written = f"(SELECT count(*) FROM {filled[0][0]}) = {count_of(first)}"
            (workers if part.table == "workers" else jobs).append(all_written)
        first += width(columns)
    still_so = " AND ".join([*workers, *jobs, *checks]) or "true"
    changes = f"WITH {', '.join(clauses)} " if clauses else ""
    return f"{changes}SELECT {_NUMBER}, {_NEXT_SEQS.format(first)}, 1 / ({still_so})::int"


def moved(error: BaseException) -> bool:
    """Whether a guarded statement found that something was another by now, or lost a race."""
    return isinstance(error, asyncpg.DivisionByZeroError) or raced(error)


def changes_of(image: Image, shard: int) -> Changes:
    """Everything to be written; counters go to this server's `shard`."""
    changes = Changes()
    _new_jobs(changes, image)
    for change in image.job_changes():
        _job(changes, change)
    _reopened(changes, image)
    _bodies(changes, image)
    _parts(changes, image)
    _workers(changes, image)
    _stops(changes, image)
    for key in image.new_keys:
        changes.add(KEEP_KEYS, key.endpoint, key.key, *image.keys[key])
    for endpoint, counted in sorted(image.counted().items()):
        if any(counted):
            changes.add(COUNT, endpoint, shard, *counted)
    for line in image.lines:
        changes.add(TELL, *astuple(line))
    for account, ms in sorted(image.used.items()):
        one = account
        words = (one.team, one.endpoint, one.release, one.specification, one.use, one.key, one.volume)
        changes.add(BOOK, *words, one.hour_ms, one.price_micros, ms)
    for ended in image.ends:
        changes.add(TELL_ENDS, *end_values(ended.job), ended.seq)
    for kept in image.kept_ends:
        changes.add(KEEP_ENDS, kept.job.id, kept.seq)
    return changes


def _new_jobs(changes: Changes, image: Image) -> None:
    for job, new in image.new_jobs.items():
        stored = image.jobs[job]
        _place(changes, stored.seq, stored.job)
        gone = stored.job.state in _WITHOUT_S3
        changes.add(
            ADD_INPUTS, new.webhook, new.dialect or None, stored.seq, new.input, None if gone else new.s3_config
        )


_WITHOUT_S3: Final = (JobState.COMPLETED, JobState.CANCELLED)


def _place(changes: Changes, seq: int, job: Job) -> None:
    """A row of its own, in the table that its state belongs to."""
    fixed = (
        job.id,
        job.team,
        job.endpoint,
        job.receiver,
        job.key,
        seq,
        job.created_ms,
        job.execution_limit_ms,
        job.retention_ms,
    )
    row = (*fixed, job.retry_limit, job.low_priority, *_moving(job))
    if job.state.final:
        changes.add(ADD_ENDED, *row, job.purge_ms)
    else:
        changes.add(ADD_JOBS, *row, job.deadline_ms)


def _moving(job: Job) -> tuple[Any, ...]:
    """For `_MOVING`."""
    words = (job.state.word, job.reason.word, job.worker)
    times = (job.claimed_ms, job.confirmed_ms, job.lease_until_ms, job.finished_ms)
    return (*words, job.queued_ms, job.expires_ms, job.attempt, job.losses, *times)


def _job(changes: Changes, change: JobChange) -> None:
    before, job = change.before, change.after
    if job.state in _WITHOUT_S3:
        changes.add(FORGET_S3, change.seq)
    match change.move:
        case Move.CLAIMED:
            times = (job.claimed_ms, job.confirmed_ms, job.lease_until_ms, job.deadline_ms)
            changes.add(CLAIM_JOBS, job.id, job.state.word, job.reason.word, job.worker, job.attempt, *times)
        case Move.RENEWED:
            lease = (job.confirmed_ms, job.lease_until_ms, job.deadline_ms)
            changes.add(RENEW_JOBS, job.id, job.reason.word, *lease)
        case Move.ENDED:
            changes.add(END_JOBS, job.id, job.state.word, job.reason.word, job.finished_ms, job.purge_ms)
        case Move.OTHER:
            _move(changes, change.seq, before, job)


def _move(changes: Changes, seq: int, before: Job, job: Job) -> None:
    """From the table of one state to the table of another, or within one."""
    if before.state.final is not job.state.final:
        changes.add(DROP_ENDED if before.state.final else DROP_JOBS, job.id)
        _place(changes, seq, job)
    elif job.state.final:
        changes.add(MOVE_ENDED, job.id, *_moving(job), job.purge_ms)
    else:
        changes.add(MOVE_JOBS, job.id, *_moving(job), job.deadline_ms)


def _reopened(changes: Changes, image: Image) -> None:
    """Only of jobs that ended again in the same transaction: others left the table that knows about it."""
    for change in image.job_changes():
        if change.seq in image.reopened and change.before.state.final and change.after.state.final:
            changes.add(REOPEN, change.after.id)


def _bodies(changes: Changes, image: Image) -> None:
    for seq, body in image.bodies.items():
        if not body.fresh:
            changes.add(MERGE_OUTPUTS, seq, body.output, plain_error(body.error))
        elif body.output is None and body.error is None:
            changes.add(DROP_OUTPUTS, seq)
        else:
            changes.add(REPLACE_OUTPUTS, seq, body.output, plain_error(body.error))


def _parts(changes: Changes, image: Image) -> None:
    for seq in image.dropped_parts:
        changes.add(DROP_PARTS, seq)
    for seq, parts in image.new_parts.items():
        for part in parts:
            changes.add(ADD_PARTS, seq, part)


def _workers(changes: Changes, image: Image) -> None:
    for worker in image.new_workers:
        stored = image.workers[worker]
        changes.add(ADD_WORKERS, *worker_values(stored.worker), stored.running, stored.stopping, stored.ahead)
    for stored in image.worker_changes():
        after, held = stored.worker, (stored.running, stored.stopping, stored.ahead)
        if after.id in image.new_workers:
            continue
        if after.id not in image.restated:
            meter, unmetered = metered_values(after)
            seen = (after.idle_ms, after.seen_ms, after.pinged_ms)
            changes.add(TOUCH_WORKERS, after.id, after.sdk, meter, *seen, *held, unmetered)
        else:
            changes.add(MOVE_WORKERS, after.id, *moving_worker_values(after), *held)


def _stops(changes: Changes, image: Image) -> None:
    for (worker, job), stop in image.changed_stops.items():
        if stop is None:
            changes.add(LET_GO, worker, job)
        else:
            changes.add(ASK_STOPS, worker, job, stop.asked_ms, stop.told_ms)
