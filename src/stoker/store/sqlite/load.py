"""The rows that a transaction's operations need, read into an image.

Called by `transaction.py`, once per transaction. What must stay true: the cost does not depend on how many jobs wait or have
ended. The index `jobs_queued` is walked from its beginning, once for each priority.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import count
from typing import Final

from stoker.ids import EndpointId, JobId, WorkerId
from stoker.store.image import AHEAD_BYTES, Head, Image, KeyUse, Needs, Queued, StoredJob, StoredWorker, Wanted
from stoker.store.rows import JOB, JOB_WIDTH, PLACE, STOP, WORKER, WORKER_WIDTH, Row, place_of, stop, stored_job, worker
from stoker.store.sqlite.known import Known
from stoker.store.sqlite.tx import LARGE_BYTES, Tx, gathered

_AMONG: Final = "IN (SELECT value FROM json_each(?))"
LAST_JOB: Final = "SELECT coalesce(max(seq), 0) FROM jobs"
KEY_USE: Final = "SELECT job, body_hash, at_ms FROM submit_keys WHERE endpoint = ? AND key = ?"
JOBS: Final = gathered(JOB, f"FROM jobs WHERE jobs.id {_AMONG}")
RUNNING_OF: Final = gathered(JOB, f"FROM jobs WHERE jobs.worker {_AMONG} AND jobs.state = 'running'")
AHEAD_OF: Final = gathered(
    JOB,
    "FROM jobs INDEXED BY jobs_ahead WHERE jobs.worker = ? AND jobs.state = 'ahead' "
    "ORDER BY jobs.low_priority, jobs.seq LIMIT ?",
)
AHEAD_IN: Final = gathered(
    JOB,
    "FROM jobs INDEXED BY jobs_ahead WHERE jobs.state = 'ahead' AND jobs.endpoint = ? AND jobs.seq <= ? LIMIT ?",
)
WORKERS: Final = gathered(
    f"{WORKER}, workers.running, workers.stopping, endpoints.slots, workers.ahead",
    f"FROM workers JOIN endpoints ON endpoints.id = workers.endpoint WHERE workers.id {_AMONG}",
)
STOPS: Final = gathered(STOP, f"FROM stops WHERE stops.worker {_AMONG} ORDER BY stops.asked_ms, stops.job")
HEAD: Final = gathered(
    f"{JOB}, CASE WHEN length(inputs.input) < {LARGE_BYTES} THEN CAST(inputs.input AS TEXT) END AS input, "
    "CAST(jobs.s3_config AS TEXT) AS s3_config",
    "FROM jobs INDEXED BY jobs_queued JOIN inputs ON inputs.job = jobs.seq "
    "WHERE jobs.endpoint = ? AND jobs.state = 'queued' AND jobs.low_priority = ? ORDER BY jobs.seq LIMIT ?",
)
"""Inputs are JSON, and therefore text."""
LARGE_INPUT: Final = "SELECT input FROM inputs WHERE job = ?"
QUEUED: Final = gathered(
    JOB,
    "FROM jobs INDEXED BY jobs_queued "
    "WHERE jobs.endpoint = ? AND jobs.state = 'queued' AND jobs.low_priority IN (0, 1) AND jobs.seq <= ? LIMIT ?",
)
PLACES: Final = f"SELECT {PLACE} FROM workers WHERE workers.gone_ms IS NULL"
ALIVE: Final = "SELECT count(*) FROM workers WHERE endpoint = ? AND gone_ms IS NULL"


def load(tx: Tx, needs: Needs, known: Known) -> Image:
    """The image of what is needed; what is not there is missing in it."""
    image = Image(_new_seqs(tx, known) if needs.new_jobs else iter(()))
    known.lend(image, needs)
    made = _load_keys(tx, image, needs)
    _load_jobs(tx, image, (needs.jobs | made) - image.jobs.keys())
    for which in needs.queued:
        _load_queued(tx, image, which)
    others = _workers_of(image) - image.workers.keys()
    known.lend_workers(image, others)
    _load_workers(tx, image, (needs.workers | others) - image.workers.keys())
    _load_running(tx, image, needs.held_by)
    more = {one: stored for one, stored in image.workers.items() if stored.ahead or stored.stopping}
    if more:
        _load_ahead(tx, image, needs, more)
        _load_stops(tx, image, more)
    for endpoint, wanted in image.heads_wanted(needs).items():
        queue = known.queue(image, endpoint)
        if queue is None:
            _load_head(tx, image, endpoint, wanted)
        else:
            image.add_head(endpoint, queue, wanted, whole=True)
    for endpoint in needs.alive_of:
        image.alive[endpoint] = tx.all(ALIVE, (endpoint,))[0][0]
    if needs.places:
        image.places = [place_of(row) for row in tx.all(PLACES)]
    return image


def _new_seqs(tx: Tx, known: Known) -> Iterator[int]:
    """There is one writer: nobody else takes the next number."""
    if known.last_seq is None:
        known.last_seq = tx.all(LAST_JOB)[0][0]
    return count(known.last_seq + 1)


def _load_keys(tx: Tx, image: Image, needs: Needs) -> set[JobId]:
    """Jobs that the keys made."""
    for key in needs.keys:
        row = tx.one(KEY_USE, key)
        if row is not None:
            image.keys[key] = KeyUse(*row)
    return {use.job for use in image.keys.values()}


def _load_jobs(tx: Tx, image: Image, jobs: set[JobId]) -> None:
    if jobs:
        _add_jobs(image, tx.gather(JOBS, jobs))


def _add_jobs(image: Image, rows: Iterable[Row]) -> list[JobId]:
    """Once each, however often they are read."""
    added = []
    for row in rows:
        stored = stored_job(row)
        image.jobs.setdefault(stored.job.id, stored)
        added.append(stored.job.id)
    return added


def _load_queued(tx: Tx, image: Image, which: Queued) -> None:
    """Those in the queue before those that were delivered ahead."""
    found = _add_jobs(image, tx.gather(QUEUED, *which))
    found += _add_jobs(image, tx.gather(AHEAD_IN, which.endpoint, which.newest, which.limit - len(found)))
    image.queued[which.endpoint] = found


def _workers_of(image: Image) -> set[WorkerId]:
    """Who has the jobs."""
    workers = {stored.job.worker for stored in image.jobs.values() if stored.job.state.held}
    return {worker for worker in workers if worker is not None}


def _load_workers(tx: Tx, image: Image, workers: set[WorkerId]) -> None:
    for row in tx.gather(WORKERS, workers) if workers else ():
        image.workers[row[0]] = StoredWorker(worker(row), *row[WORKER_WIDTH:])


def _load_running(tx: Tx, image: Image, workers: set[WorkerId]) -> None:
    busy = [one for one in workers if one in image.workers and image.workers[one].running]
    if busy:
        for job in _add_jobs(image, tx.gather(RUNNING_OF, busy)):
            runs: StoredJob = image.jobs[job]
            assert runs.job.worker is not None
            image.running[runs.job.worker].add(job)


def _load_ahead(tx: Tx, image: Image, needs: Needs, workers: Mapping[WorkerId, StoredWorker]) -> None:
    """All that a worker has ahead, or the first of them: a report of one job costs the same however many wait behind it."""
    for one, stored in workers.items():
        if stored.ahead:
            most = stored.ahead if one in needs.held_by else needs.turns(stored.slots)
            image.ahead[one].update(_add_jobs(image, tx.gather(AHEAD_OF, one, most)))


def _load_stops(tx: Tx, image: Image, workers: Mapping[WorkerId, StoredWorker]) -> None:
    told = [one for one, stored in workers.items() if stored.stopping]
    for row in tx.gather(STOPS, told) if told else ():
        found = stop(row)
        image.stops[found.worker][found.job] = found


def _load_head(tx: Tx, image: Image, endpoint: EndpointId, wanted: Wanted) -> None:
    """Normal priority first, each in the order of submission."""
    rows: list[Row] = []
    for low_priority in (0, 1):
        missing = wanted.jobs + wanted.ahead - len(rows)
        if missing > 0:
            rows += tx.gather(HEAD, endpoint, low_priority, missing)
    image.add_head(endpoint, list(_within(wanted.jobs, _heads(tx, image, rows))), wanted)


def _heads(tx: Tx, image: Image, rows: Sequence[Row]) -> Iterator[Head]:
    for job, row in zip(_add_jobs(image, rows), rows, strict=True):
        yield _head(tx, job, row)


def _within(jobs: int, heads: Iterable[Head]) -> Iterator[Head]:
    """The first `jobs`, and those after them while all inputs have at most `AHEAD_BYTES`."""
    size = 0
    for place, head in enumerate(heads):
        size += len(head.input)
        if place >= jobs and size > AHEAD_BYTES:
            return
        yield head


def _head(tx: Tx, job: JobId, row: Row) -> Head:
    input, s3_config = row[JOB_WIDTH:]
    body: bytes = tx.all(LARGE_INPUT, (row[0],))[0][0] if input is None else input.encode()
    return Head(job, body, None if s3_config is None else s3_config.encode())
