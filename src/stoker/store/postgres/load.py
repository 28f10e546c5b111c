"""The rows that a transaction's operations need, locked and read into an image.

Called by `batch.py`, once per transaction. Several servers share the database, so rows are locked in one order: idempotency
keys, workers, named jobs, each by id; then heads of queues, of which those that another server has are skipped: nobody waits for
them. A worker's row is locked by everybody who changes what it holds; that is what makes its counts true.

What must stay true: the cost does not depend on how many jobs wait or have ended. The index `jobs_queued` is walked from its
beginning.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from hashlib import blake2b
from typing import Final

from stoker.ids import EndpointId, JobId, WorkerId
from stoker.job import JobState
from stoker.store.image import AHEAD_BYTES, Head, Image, KeyUse, Needs, Queued, StoredWorker, SubmitKey
from stoker.store.postgres.connection import Connection
from stoker.store.rows import JOB, JOB_WIDTH, PLACE, STOP, WORKER, WORKER_WIDTH, Row, place_of, stop, stored_job, worker

NEW_SEQS: Final = "SELECT nextval('job_seq') FROM generate_series(1, $1)"
LOCK_KEYS: Final = "SELECT pg_advisory_xact_lock(key) FROM unnest($1::bigint[]) AS key"
KEY_USES: Final = """
    SELECT used.endpoint, used.key, used.job, used.body_hash, used.at_ms
    FROM unnest($1::text[], $2::text[]) AS wanted (endpoint, key)
    JOIN submit_keys AS used ON used.endpoint = wanted.endpoint AND used.key = wanted.key"""
_WORKERS: Final = f"""
    SELECT {WORKER}, workers.running, workers.stopping, endpoints.slots, workers.ahead
    FROM workers JOIN endpoints ON endpoints.id = workers.endpoint WHERE workers.id"""
_LOCKED: Final = "ORDER BY workers.id FOR NO KEY UPDATE OF workers"
WORKERS: Final = f"{_WORKERS} = ANY($1::text[]) {_LOCKED}"
WORKERS_OF: Final = f"""
    {_WORKERS} IN (SELECT unnest($1::text[])
                   UNION SELECT worker FROM jobs WHERE id = ANY($2::text[]) AND worker IS NOT NULL) {_LOCKED}"""
"""Named workers, and those of named jobs: who that is may change until the jobs are locked too."""
JOBS: Final = f"SELECT {JOB} FROM jobs WHERE jobs.id = ANY($1::text[]) ORDER BY jobs.id FOR UPDATE"
ENDED: Final = f"SELECT {JOB} FROM ended_jobs AS jobs WHERE jobs.id = ANY($1::text[]) ORDER BY jobs.id FOR UPDATE"
RUNNING_OF: Final = f"""
    SELECT {JOB} FROM jobs WHERE jobs.worker = ANY($1::text[]) AND jobs.state = 'running' ORDER BY jobs.id FOR UPDATE"""
AHEAD_OF: Final = f"""
    SELECT {JOB} FROM unnest($1::text[], $2::bigint[]) AS wanted (worker, most) CROSS JOIN LATERAL (
      SELECT * FROM jobs WHERE jobs.worker = wanted.worker AND jobs.state = 'ahead'
      ORDER BY jobs.low_priority, jobs.seq LIMIT wanted.most FOR UPDATE) AS jobs"""
AHEAD_IN: Final = f"""
    SELECT {JOB} FROM jobs WHERE jobs.worker = ANY($1::text[]) AND jobs.state = 'ahead' AND jobs.seq <= $2
    LIMIT $3 FOR UPDATE"""
HAVE_AHEAD: Final = "SELECT id FROM workers WHERE endpoint = ANY($1::text[]) AND gone_ms IS NULL AND ahead > 0"
STOPS: Final = f"SELECT {STOP} FROM stops WHERE stops.worker = ANY($1::text[]) ORDER BY stops.asked_ms, stops.job"
HEADS: Final = f"""
    SELECT {JOB}, (SELECT input FROM inputs WHERE inputs.job = jobs.seq),
      (SELECT s3_config FROM inputs WHERE inputs.job = jobs.seq)
    FROM unnest($1::text[], $2::bigint[]) AS wanted (endpoint, most) CROSS JOIN LATERAL (
      SELECT * FROM jobs WHERE jobs.endpoint = wanted.endpoint AND jobs.state = 'queued'
      ORDER BY jobs.low_priority, jobs.seq LIMIT wanted.most FOR UPDATE SKIP LOCKED) AS jobs
    ORDER BY jobs.low_priority, jobs.seq"""
HEADS_AHEAD: Final = f"""
    SELECT {JOB}, jobs.input, jobs.s3_config FROM (
      SELECT head.*, inputs.input, inputs.s3_config, row_number() OVER up_to AS place,
        sum(octet_length(inputs.input)) OVER up_to AS size
      FROM unnest($1::text[], $2::bigint[], $3::bigint[]) AS wanted (endpoint, most, first) CROSS JOIN LATERAL (
        SELECT jobs.*, wanted.first FROM jobs WHERE jobs.endpoint = wanted.endpoint AND jobs.state = 'queued'
        ORDER BY jobs.low_priority, jobs.seq LIMIT wanted.most FOR UPDATE SKIP LOCKED) AS head
      JOIN inputs ON inputs.job = head.seq
      WINDOW up_to AS (PARTITION BY head.endpoint ORDER BY head.low_priority, head.seq)) AS jobs
    WHERE jobs.place <= jobs.first OR jobs.size <= $4 ORDER BY jobs.low_priority, jobs.seq"""
"""With jobs to be delivered ahead: those after the first only while all inputs of an endpoint have so many bytes."""
QUEUED: Final = f"""
    SELECT {JOB} FROM jobs WHERE jobs.endpoint = $1 AND jobs.state = 'queued' AND jobs.seq <= $2
    ORDER BY jobs.low_priority, jobs.seq LIMIT $3 FOR UPDATE SKIP LOCKED"""
ONE_AT_A_TIME: Final = "SELECT 1 FROM endpoints WHERE id = ANY($1::text[]) ORDER BY id FOR NO KEY UPDATE"
"""Two servers that count workers to add one must not both find room."""
ONE_LEDGER: Final = "SELECT pg_advisory_xact_lock(5463, 2)"
"""Two servers that look for free GPUs must not both find the same: endpoints share them."""
PLACES: Final = f"SELECT {PLACE} FROM workers WHERE workers.gone_ms IS NULL"
ALIVE: Final = "SELECT endpoint, count(*) FROM workers WHERE endpoint = ANY($1::text[]) AND gone_ms IS NULL GROUP BY 1"


async def load(tx: Connection, needs: Needs) -> Image:
    """The image of what is needed; what is not there is missing in it."""
    image = Image(iter(await new_seqs(tx, needs.new_jobs) if needs.new_jobs else ()))
    made = await _load_keys(tx, image, needs.keys) if needs.keys else set()
    jobs = needs.jobs | made
    having = await _having_ahead(tx, needs) if needs.queued else set()
    await _load_workers(tx, image, needs.workers | having, jobs)
    if jobs:
        await _load_jobs(tx, image, jobs)
    for which in needs.queued:
        await _load_queued(tx, image, which)
    await _load_running(tx, image, needs.held_by)
    await _load_ahead(tx, image, needs)
    await _load_stops(tx, image)
    await _load_heads(tx, image, needs)
    if needs.alive_of:
        await _count_alive(tx, image, needs.alive_of)
    if needs.places:
        await tx.execute(ONE_LEDGER)
        image.places = [place_of(row) for row in await tx.fetch(PLACES)]
    return image


async def new_seqs(tx: Connection, count: int) -> list[int]:
    """So many row numbers for jobs, which nobody else gets."""
    return [seq for (seq,) in await tx.fetch(NEW_SEQS, count)]


async def _load_keys(tx: Connection, image: Image, keys: set[SubmitKey]) -> set[JobId]:
    """Hold the keys, so that nobody else uses them until the commit; the jobs that they made before."""
    await tx.execute(LOCK_KEYS, sorted(map(_number, keys)))
    wanted = list(keys)
    rows = await tx.fetch(KEY_USES, [key.endpoint for key in wanted], [key.key for key in wanted])
    for endpoint, key, *use in rows:
        image.keys[SubmitKey(endpoint, key)] = KeyUse(*use)
    return {use.job for use in image.keys.values()}


def _number(key: SubmitKey) -> int:
    """The key's lock. Two keys with one number wait for each other without need, nothing worse."""
    text = f"{key.endpoint}\n{key.key}".encode()
    return int.from_bytes(blake2b(text, digest_size=8).digest(), signed=True)


async def _load_workers(tx: Connection, image: Image, workers: set[WorkerId], jobs: set[JobId]) -> None:
    if jobs:
        _add_workers(image, await tx.fetch(WORKERS_OF, list(workers), list(jobs)))
    elif workers:
        _add_workers(image, await tx.fetch(WORKERS, list(workers)))


def _add_workers(image: Image, rows: Iterable[Row]) -> None:
    for row in rows:
        image.workers[row[0]] = StoredWorker(worker(row), *row[WORKER_WIDTH:])


async def _load_jobs(tx: Connection, image: Image, jobs: set[JobId]) -> None:
    """Where they are now. A statement that waits for a job finds nothing if it was moved meanwhile: then it is looked for
    where it went, and once more where it was."""
    for where in (JOBS, ENDED, JOBS):
        missing = jobs - image.jobs.keys()
        if missing:
            _add_jobs(image, await tx.fetch(where, list(missing)))
    with_workers = (JobState.AHEAD, JobState.RUNNING)
    runners = {stored.job.worker for stored in image.jobs.values() if stored.job.state in with_workers}
    late = [one for one in runners if one is not None and one not in image.workers]
    if late:  # claimed between the two statements
        _add_workers(image, await tx.fetch(WORKERS, late))


def _add_jobs(image: Image, rows: Iterable[Row]) -> list[JobId]:
    """Once each, however often they are read."""
    added = []
    for row in rows:
        stored = stored_job(row)
        image.jobs.setdefault(stored.job.id, stored)
        added.append(stored.job.id)
    return added


async def _load_running(tx: Connection, image: Image, workers: set[WorkerId]) -> None:
    busy = [one for one in workers if one in image.workers and image.workers[one].running]
    if busy:
        for job in _add_jobs(image, await tx.fetch(RUNNING_OF, busy)):
            holder = image.jobs[job].job.worker
            assert holder is not None
            image.running[holder].add(job)


async def _having_ahead(tx: Connection, needs: Needs) -> set[WorkerId]:
    """Workers that have jobs ahead which are to be purged: they are locked before their jobs."""
    return {worker for (worker,) in await tx.fetch(HAVE_AHEAD, [which.endpoint for which in needs.queued])}


async def _load_queued(tx: Connection, image: Image, which: Queued) -> None:
    """Those in the queue before those that were delivered ahead."""
    found = _add_jobs(image, await tx.fetch(QUEUED, *which))
    having = [one for one, stored in image.workers.items() if stored.ahead and stored.worker.endpoint == which.endpoint]
    if having:
        found += _add_jobs(image, await tx.fetch(AHEAD_IN, having, which.newest, which.limit - len(found)))
    image.queued[which.endpoint] = found


async def _load_ahead(tx: Connection, image: Image, needs: Needs) -> None:
    """All that a worker has ahead, or the first of them: a report of one job costs the same however many wait behind it."""
    most = {
        one: stored.ahead if one in needs.held_by else needs.turns(stored.slots)
        for one, stored in image.workers.items()
        if stored.ahead
    }
    for job in _add_jobs(image, await tx.fetch(AHEAD_OF, list(most), list(most.values()))) if most else ():
        holder = image.jobs[job].job.worker
        assert holder is not None
        image.ahead[holder].add(job)


async def _load_stops(tx: Connection, image: Image) -> None:
    told = [one for one, stored in image.workers.items() if stored.stopping]
    for row in await tx.fetch(STOPS, told) if told else ():
        found = stop(row)
        image.stops[found.worker][found.job] = found


async def _load_heads(tx: Connection, image: Image, needs: Needs) -> None:
    """Normal priority first, each in the order of submission."""
    wanted = image.heads_wanted(needs)
    if not wanted:
        return
    most = [one.jobs + one.ahead for one in wanted.values()]
    if any(one.ahead for one in wanted.values()):
        first = [one.jobs for one in wanted.values()]
        rows = await tx.fetch(HEADS_AHEAD, list(wanted), most, first, AHEAD_BYTES)
    else:
        rows = await tx.fetch(HEADS, list(wanted), most)
    found: defaultdict[EndpointId, list[Head]] = defaultdict(list)
    for job, row in zip(_add_jobs(image, rows), rows, strict=True):
        found[image.jobs[job].job.endpoint].append(Head(job, row[JOB_WIDTH], row[JOB_WIDTH + 1]))
    for endpoint in wanted:
        image.add_head(endpoint, found[endpoint], wanted[endpoint])


async def _count_alive(tx: Connection, image: Image, endpoints: set[EndpointId]) -> None:
    wanted = list(endpoints)
    await tx.execute(ONE_AT_A_TIME, wanted)
    image.alive.update(dict.fromkeys(wanted, 0))
    image.alive.update(dict(map(tuple, await tx.fetch(ALIVE, wanted))))
