"""What is decided on known rows is what the database would have said, whoever else writes to them."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import suppress

import asyncpg
import pytest

from stoker.errors import NotFound
from stoker.ids import WorkerId
from stoker.job import Finished, Job, JobState
from stoker.store import Page
from stoker.store.image import StoredWorker
from stoker.store.postgres import PostgresStore
from stoker.store.postgres.batch import Writing
from stoker.store.postgres.known import Known
from stoker.store.rows import JOB, WORKER, WORKER_WIDTH, stored_job, worker
from stoker.worker import Drained, WorkerReason
from tests.store.postgres.test_wakes import Ear
from tests.store.records import ENDPOINT, NOW, TEAM, allow_slots, cancel, finish, hire, run, submit, take
from tests.store.records import WORKER as ONE
from tests.store.test_counters import WORKERS, agree, all_jobs, anything

pytestmark = pytest.mark.postgres

JOBS = f"SELECT {JOB}, jobs.xmin FROM jobs"
HELD = f"""
    SELECT {WORKER}, workers.running, workers.stopping, endpoints.slots, workers.ahead, workers.xmin
    FROM workers JOIN endpoints ON endpoints.id = workers.endpoint"""
WAITING = "SELECT id FROM jobs WHERE endpoint = $1 AND state = 'queued' ORDER BY low_priority, seq"


@pytest.fixture
async def connection(postgres_url: str) -> AsyncIterator[asyncpg.Connection]:
    """For looking past the stores."""
    connection = await asyncpg.connect(postgres_url)
    yield connection
    await connection.close()


def known_of(store: PostgresStore) -> Known:
    """What a store knows."""
    writing = store._lane._write
    assert isinstance(writing, Writing)
    return writing._known


async def written(connection: asyncpg.Connection) -> int:
    """Transactions that changed anything until now."""
    return int(await connection.fetchval("SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint"))


async def check(store: PostgresStore, connection: asyncpg.Connection) -> int:
    """Compare every known row that still has its version with the database; how many there were."""
    known = known_of(store)
    jobs = {(row[1], row[-1]): stored_job(row) for row in await connection.fetch(JOBS)}
    held = {(row[0], row[-1]): StoredWorker(worker(row), *row[WORKER_WIDTH:-1]) for row in await connection.fetch(HELD)}
    found = [(one, jobs.get((job, version))) for job, (version, one) in known._jobs.items()]
    found += [(one.stored, jobs.get((one.head.job, one.version))) for queue in known._queues.values() for one in queue]
    assert [stored for one, stored in found if stored not in (None, one)] == []
    workers = [(one, held.get((name, version))) for name, (version, one) in known._workers.items()]
    assert [stored for one, stored in workers if stored not in (None, one)] == []
    for name, running in known._running.items():
        assert running == {job for job, (_, one) in known._jobs.items() if one.job.worker == name}
    return sum(stored is not None for _, stored in [*found, *workers])


async def one_thing(store: PostgresStore, chance: random.Random, known: list[Job], at_ms: int) -> None:
    """Of a job that another server has not committed yet this one may know nothing."""
    with suppress(NotFound):
        await anything(store, chance, known, at_ms)


@pytest.mark.parametrize("seed", range(4))
async def test_two_servers_agree(
    direct: PostgresStore, other: PostgresStore, connection: asyncpg.Connection, seed: int
) -> None:
    """Two servers at work on the same jobs and workers, sometimes at once: counters and counts agree with the rows, and what either
    knows in its version is what is stored."""
    chance, known, compared = random.Random(seed), list[Job](), 0
    await allow_slots(direct, 3)
    for one in WORKERS:
        await hire(direct, one)
    for step in range(40):
        at_ms = NOW + step
        stores = [chance.choice((direct, direct, other)) for _ in range(chance.choice((1, 1, 6)))]
        await asyncio.gather(*(one_thing(store, chance, known, at_ms) for store in stores))
        for store in (direct, other):
            compared += await check(store, connection)
    await agree(direct, await all_jobs(direct, known))
    await agree(other, await all_jobs(other, known))
    assert compared > 20


async def test_a_job_in_one_statement(direct: PostgresStore, connection: asyncpg.Connection) -> None:
    """Where one server works alone, a job costs two transactions that write: it arrives and is taken, and it ends."""
    await hire(direct)
    await finish(direct, await run(direct))
    before = await written(connection)
    job, _ = await asyncio.gather(submit(direct), take(direct))
    await finish(direct, job)
    assert await written(connection) - before == 2
    assert await check(direct, connection) == 1


async def test_what_another_server_wrote_is_seen(direct: PostgresStore, other: PostgresStore) -> None:
    """A job that another server ended stays as it is: the late report of the first changes nothing."""
    await hire(direct)
    job = await run(direct)
    assert (await cancel(other, job)).job.state is JobState.CANCELLED
    step = await finish(direct, job)
    assert (step.changed, step.job.state) == (False, JobState.CANCELLED)
    result = await direct.jobs.result(TEAM, ENDPOINT, job.id)
    assert result is not None
    assert result.job.state is JobState.CANCELLED


async def test_a_job_of_another_server_goes_first(direct: PostgresStore, other: PostgresStore) -> None:
    """A queue that one server knows to be empty got a job at another: the next take is given it, not the job that comes along."""
    await hire(direct)
    await finish(direct, await run(direct))
    earlier = await submit(other)
    later, taken = await asyncio.gather(submit(direct), take(direct))
    assert [claim.job.id for claim in taken.claims] == [earlier.id]
    assert [claim.job.id for claim in (await take(direct)).claims] == [later.id]


async def test_a_worker_that_another_server_drains(direct: PostgresStore, other: PostgresStore) -> None:
    """It gets nothing more, though the server that it asks knew it as ready."""
    await hire(direct)
    await finish(direct, await run(direct))
    await other.workers.advance(ONE, Drained(at_ms=NOW, reason=WorkerReason.REFRESH_ASKED))
    _, taken = await asyncio.gather(submit(direct), take(direct))
    assert taken.claims == []


async def test_fewer_slots_count_at_once(direct: PostgresStore, other: PostgresStore) -> None:
    """Slots that another server took away are not filled."""
    await hire(direct)
    await finish(direct, await run(direct))
    await allow_slots(other, 1)
    _, _, taken = await asyncio.gather(submit(direct), submit(direct), take(direct, limit=2))
    assert len(taken.claims) == 1


async def test_one_of_two_reports_counts(direct: PostgresStore, other: PostgresStore) -> None:
    """Two servers are told the end of one job at once, again and again: each time one of them ends it, and the worker is free."""
    await hire(direct)
    for number in range(10):
        job = await run(direct, at_ms=NOW + number)
        event = Finished(at_ms=NOW + number, worker=ONE, failed=False)
        steps = await asyncio.gather(*(store.jobs.advance(job.id, event) for store in (direct, other)))
        assert sorted(step.changed for step in steps) == [False, True]
        (held,) = await other.workers.alive()
        assert (held.worker.id, held.running) == (WorkerId(ONE), 0)


async def test_jobs_keep_their_order(direct: PostgresStore) -> None:
    """Jobs of one server are handed out as they came, whether their transaction read what it needed or knew it."""
    await hire(direct)
    await finish(direct, await run(direct))
    jobs = [await submit(direct, idempotency_key=None if number % 3 else str(number)) for number in range(8)]
    taken = await take(direct, limit=8)
    assert [claim.job.id for claim in taken.claims] == [job.id for job in jobs]


async def test_numbers_are_used_once(direct: PostgresStore, other: PostgresStore) -> None:
    """Numbers that came along with an earlier transaction are nobody else's, also when that which was to use them did not happen."""
    await hire(direct)
    for _ in range(5):
        await asyncio.gather(submit(direct), submit(direct))
        await asyncio.gather(submit(other), submit(direct), take(direct))
    jobs = await direct.jobs.list(TEAM, ENDPOINT, state=None, page=Page(limit=100))
    assert len(jobs) == 20
    assert {await direct.jobs.input(TEAM, job.id) for job in jobs} == {b'{"n": 1}'}


async def test_nothing_is_said_of_a_queue_that_others_filled(direct: PostgresStore, other: PostgresStore) -> None:
    """A server says without looking that a take would find nothing only while it hears the others, and none has said otherwise."""
    ear = Ear()
    await hire(direct)

    async def look() -> bool:
        await finish(direct, await run(direct))
        assert (await take(direct)).claims == []
        return direct.jobs.nothing_for(ONE, NOW + 1)

    assert not await look()
    await direct.wakes.listen(ear)
    assert await look()
    await submit(other)
    await other.wakes.send([f"next {ENDPOINT}"])
    await ear.hears(f"next {ENDPOINT}")
    assert not direct.jobs.nothing_for(ONE, NOW + 1)
    assert len((await take(direct)).claims) == 1
