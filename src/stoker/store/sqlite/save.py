"""What changed in an image, written back in few statements.

Called by `transaction.py`, once per transaction. Columns that a change leaves alone are not named: they cost no work on their
indexes.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from functools import cache
from operator import attrgetter, itemgetter
from typing import Any, Final

from stoker.store import NewJob
from stoker.store.image import COUNTERS, LINE, Body, Image, JobChange, Move, StoredJob
from stoker.store.rows import (
    END,
    WORKER,
    end_values,
    job_values,
    meter_value,
    moving_worker_values,
    plain_error,
    worker_values,
)
from stoker.store.sqlite.tx import LARGE_BYTES, Statement, Tx, places
from stoker.store.usage import ACCOUNT

_FIXED: Final = [
    "id",
    "team",
    "endpoint",
    "low_priority",
    "created_ms",
    "execution_limit_ms",
    "retention_ms",
    "retry_limit",
    "receiver",
    "key",
]
_MOVING: Final = [
    "state",
    "reason",
    "queued_ms",
    "expires_ms",
    "attempt",
    "losses",
    "worker",
    "claimed_ms",
    "confirmed_ms",
    "lease_until_ms",
    "finished_ms",
    "deadline_ms",
    "purge_ms",
]
_LEASE: Final = ["claimed_ms", "confirmed_ms", "lease_until_ms", "deadline_ms"]
_SUBMITTED: Final = [*_FIXED, *_MOVING]
_HOLDS: Final = ["running", "stopping", "ahead"]
_TOUCHED: Final = ["idle_ms", "seen_ms", "pinged_ms", "sdk"]
_KEPT: Final = "s3_config = CASE WHEN ?2 IN ('completed', 'cancelled') THEN NULL ELSE s3_config END"
"""A failed or timed-out job keeps its S3 configuration: a client's retry needs it. The second value is the state."""

SAVE_WORKER: Final = """
    UPDATE workers SET state = ?, reason = ?, detail = ?, launched_ms = ?, ready_ms = ?, idle_ms = ?, drained_ms = ?,
      stopped_ms = ?, gone_ms = ?, seen_ms = ?, pinged_ms = ?, sdk = ?, exit_code = ?, exit_text = ?,
      unhealthy_ms = ?, meter = ?, unmetered = ?, running = ?, stopping = ?, ahead = ?
    WHERE id = ?"""
COUNT: Final = (
    f"INSERT INTO counters (endpoint, {', '.join(COUNTERS)}) VALUES {places(len(COUNTERS) + 1)} "
    f"ON CONFLICT (endpoint) DO UPDATE SET {', '.join(f'{name} = {name} + excluded.{name}' for name in COUNTERS)}"
)
ASK_STOP: Final = "INSERT OR REPLACE INTO stops (worker, job, asked_ms, told_ms) VALUES (?, ?, ?, ?)"
LET_GO: Final = "DELETE FROM stops WHERE worker = ? AND job = ?"
KEEP_KEY: Final = "INSERT OR REPLACE INTO submit_keys (endpoint, key, job, body_hash, at_ms) VALUES (?, ?, ?, ?, ?)"
DROP_PARTS: Final = "DELETE FROM parts WHERE job = ?"
ADD_PART: Final = "INSERT INTO parts (job, part) VALUES (?, ?)"
DROP_OUTPUT: Final = "DELETE FROM outputs WHERE job = ?"
REOPEN_STREAM: Final = "UPDATE jobs SET stream_closed = 0 WHERE seq = ?"
TELL_END: Final = f"""
    INSERT INTO notices ({END}, url, dialect) SELECT {places(END.count(",") + 1)[1:-1]}, webhook, dialect
    FROM jobs WHERE seq = ?"""
KEEP_END: Final = """
    UPDATE notices SET kept = 1, input = inputs.input, output = outputs.output, error = outputs.error
    FROM jobs JOIN inputs ON inputs.job = jobs.seq LEFT JOIN outputs ON outputs.job = jobs.seq
    WHERE jobs.seq = ? AND notices.job = jobs.id AND NOT notices.kept"""
"""Before anything of the job is written."""


def inserts(table: str, columns: str, conflict: str = "") -> Statement:
    """Insert rows of `columns`, which may carry the table's name."""
    names = columns.replace(f"{table}.", "")
    width = names.count(",") + 1
    return cache(lambda rows: f"INSERT INTO {table} ({names}) VALUES {places(width, rows)} {conflict}")


def update(table: str, key: str, columns: Sequence[str], *more: str) -> str:
    """Update a row of `key` and `columns`, found by the key."""
    changes = ", ".join([*(f"{name} = ?{number}" for number, name in enumerate(columns, 2)), *more])
    return f"UPDATE {table} SET {changes} WHERE {key} = ?1"


_OUTPUT: Final = "job, output, error"
ADD_JOBS: Final = inserts("jobs", ", ".join(["seq", *_SUBMITTED, "webhook", "dialect", "s3_config"]))
ADD_INPUTS: Final = inserts("inputs", "job, input")
ADD_WORKERS: Final = inserts("workers", f"{WORKER}, running, stopping, ahead")
REPLACE_OUTPUTS: Final = inserts(
    "outputs", _OUTPUT, "ON CONFLICT (job) DO UPDATE SET output = excluded.output, error = excluded.error"
)
MERGE_OUTPUTS: Final = inserts(
    "outputs",
    _OUTPUT,
    "ON CONFLICT (job) DO UPDATE SET output = coalesce(excluded.output, output), error = coalesce(excluded.error, error)",
)
BOOK: Final = inserts("usage", f"{ACCOUNT}, ms", f"ON CONFLICT ({ACCOUNT}) DO UPDATE SET ms = ms + excluded.ms")
TELL: Final = inserts("story", ", ".join(LINE[:-1]))
"""Without the job's id: it is found by the number when it is read."""
TOUCH_WORKER: Final = update("workers", "id", [*_TOUCHED, *_HOLDS, "meter"])

_CHANGED: Final = {
    Move.CLAIMED: ["state", "reason", "attempt", "worker", *_LEASE],
    Move.ENDED: ["state", "reason", "finished_ms", "lease_until_ms", "deadline_ms", "purge_ms"],
    Move.RENEWED: ["reason", *_LEASE[1:]],
    Move.OTHER: _MOVING,
}
MOVES: Final = {
    move: update("jobs", "seq", columns, *([_KEPT] if "finished_ms" in columns else []))
    for move, columns in _CHANGED.items()
}
_moved: Final = {move: job_values(columns, of="after") for move, columns in _CHANGED.items()}
_submitted: Final = job_values(_SUBMITTED, of="job")
_touched: Final = attrgetter(*(f"worker.{name}" for name in ["id", *_TOUCHED]), *_HOLDS)
_holds: Final = attrgetter(*_HOLDS)
_told: Final = attrgetter(*LINE[:-1])
_body: Final = itemgetter(1)


def save(tx: Tx, image: Image) -> None:
    """Write it all."""
    for kept in image.kept_ends:
        tx.execute(KEEP_END, (kept.seq,))
    if image.new_jobs:
        _add_jobs(tx, [(image.jobs[job], new) for job, new in image.new_jobs.items()])
    _save_jobs(tx, image.job_changes())
    _save_streams(tx, image)
    _save_bodies(tx, image.bodies)
    _save_workers(tx, image)
    for (worker, job), stop in image.changed_stops.items():
        if stop is None:
            tx.execute(LET_GO, (worker, job))
        else:
            tx.execute(ASK_STOP, (worker, job, stop.asked_ms, stop.told_ms))
    for key in image.new_keys:
        tx.execute(KEEP_KEY, (*key, *image.keys[key]))
    for endpoint, changes in image.counted().items():
        tx.execute(COUNT, (endpoint, *changes))
    tx.write(TELL, [*map(_told, image.lines)])
    tx.write(BOOK, [(*account, ms) for account, ms in image.used.items()])
    for ended in image.ends:
        tx.execute(TELL_END, (*end_values(ended.job), ended.seq))


def _add_jobs(tx: Tx, added: Sequence[tuple[StoredJob, NewJob]]) -> None:
    tx.write(
        ADD_JOBS, [(*_submitted(stored), new.webhook, new.dialect or None, new.s3_config) for stored, new in added]
    )
    _write_bodies(tx, ADD_INPUTS, [(stored.seq, new.input) for stored, new in added])


def _write_bodies(
    tx: Tx, statement: Statement, rows: Sequence[tuple[int, Any]] | Sequence[tuple[int, Any, Any]]
) -> None:
    """Rows whose second value is a body: one by one when one of them is large."""
    if max(map(len, filter(None, map(_body, rows))), default=0) < LARGE_BYTES:
        tx.write(statement, rows)
    else:
        for row in rows:
            tx.write(statement, [row])


def _save_jobs(tx: Tx, changes: Collection[JobChange]) -> None:
    moved: defaultdict[Move, list[JobChange]] = defaultdict(list)
    for change in changes:
        moved[change.move].append(change)
    for move, statement in MOVES.items():
        if move in moved:
            tx.each(statement, map(_moved[move], moved[move]))


def _save_bodies(tx: Tx, bodies: dict[int, Body]) -> None:
    replaced, merged = [], []
    for seq, body in bodies.items():
        row = (seq, body.output, plain_error(body.error))
        if not body.fresh:
            merged.append(row)
        elif body.output is None and body.error is None:
            tx.execute(DROP_OUTPUT, (seq,))
        else:
            replaced.append(row)
    _write_bodies(tx, REPLACE_OUTPUTS, replaced)
    _write_bodies(tx, MERGE_OUTPUTS, merged)


def _save_streams(tx: Tx, image: Image) -> None:
    for seq in image.dropped_parts:
        tx.execute(DROP_PARTS, (seq,))
    for seq in image.reopened:
        tx.execute(REOPEN_STREAM, (seq,))
    for seq, parts in image.new_parts.items():
        for part in parts:
            tx.execute(ADD_PART, (seq, part))


def _save_workers(tx: Tx, image: Image) -> None:
    new = [image.workers[worker] for worker in image.new_workers]
    tx.write(ADD_WORKERS, [(*worker_values(one.worker), one.running, one.stopping, one.ahead) for one in new])
    touched = []
    for stored in image.worker_changes():
        after = stored.worker
        if after.id in image.restated:
            tx.execute(SAVE_WORKER, (*moving_worker_values(after), *_holds(stored), after.id))
        else:
            touched.append((*_touched(stored), meter_value(after)))
    tx.each(TOUCH_WORKER, touched)
