"""Operations that share a transaction: each may fail alone, and the machine's failures are told to all."""

from __future__ import annotations

import asyncio
import gc
import sqlite3
import warnings
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path

import pytest

from stoker.errors import Defect, DiskFull, NotFound, Unavailable
from stoker.ids import JobId
from stoker.job import Cancelled, Job
from stoker.store import Counts, NewJob
from stoker.store.room import WAITING_MOST
from stoker.store.sqlite import SqliteStore, jobs
from stoker.store.sqlite.connection import connect
from stoker.store.sqlite.transaction import Outcome, Session, Work, read
from stoker.store.sqlite.tx import Tx
from stoker.store.sqlite.writer import BATCH_MOST, Writer
from stoker.store.submissions import Submit
from stoker.store.transitions import AdvanceJob
from tests.store.records import ENDPOINT, NOW, a_job

TAKEN = "INSERT INTO stops (worker, job, asked_ms) VALUES ('w', 'j', 1)"
COUNT = "SELECT count(*) FROM stops"


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    """A writing connection, without a thread."""
    with closing(connect(tmp_path / "stoker.db")) as connection:
        yield connection


@pytest.fixture
async def lane(connection: sqlite3.Connection) -> AsyncIterator[Writer]:
    """What writes for an event loop."""
    writer = Writer(Session(connection), name="test")
    yield writer
    await writer.close()


def write(connection: sqlite3.Connection, works: Sequence[Work]) -> list[Outcome]:
    """Carry out `works` in a transaction, by one who knows nothing yet."""
    return Session(connection).write(works)


def add(number: int) -> Callable[[Tx], int]:
    """An operation that writes one row."""
    return lambda tx: tx.execute("INSERT INTO stops (worker, job, asked_ms) VALUES ('w', ?, 1)", (number,)).rowcount


def write_then_fail(tx: Tx) -> None:
    """Work that writes, and then finds out that it must not."""
    tx.execute(TAKEN)
    raise NotFound("after all")


def submit(job: Job) -> Submit:
    """A job arrives."""
    return Submit(NewJob(job=job, input=b"1"))


def test_one_failure_does_not_take_the_others_along(connection: sqlite3.Connection) -> None:
    """What failed is undone; what came before and after it is kept, with its counters and its lines."""
    job, unknown = a_job(), JobId("unknown")
    works: list[Work] = [add(1), write_then_fail, AdvanceJob(unknown, Cancelled(at_ms=NOW)), submit(job), add(2)]
    outcomes = write(connection, works)
    assert [outcome.value for outcome in outcomes] == [1, None, None, job, 1]
    assert [type(outcome.error) for outcome in outcomes[1:3]] == [NotFound, NotFound]
    for sql, count in (("stops", 2), ("jobs", 1), ("inputs", 1), ("story", 1)):
        assert connection.execute(f"SELECT count(*) FROM {sql}").fetchone() == (count,)
    assert connection.execute("SELECT endpoint, queued FROM counters").fetchall() == [(ENDPOINT, 1)]


def test_refused_job_fails_alone(connection: sqlite3.Connection) -> None:
    """When the schema refuses what one operation saves, those that shared its transaction are carried out without it."""
    job = a_job()
    write(connection, [submit(job)])
    outcomes = write(connection, [submit(job), submit(a_job())])
    assert [type(outcome.error) for outcome in outcomes] == [Defect, type(None)]
    assert connection.execute("SELECT endpoint, queued FROM counters").fetchall() == [(ENDPOINT, 2)]
    assert connection.execute("SELECT count(*) FROM story").fetchone() == (2,)


def test_broken_constraint_fails_alone(connection: sqlite3.Connection) -> None:
    """A statement that the schema refuses is our defect, and nobody else's."""
    (kept, refused, after) = write(connection, [lambda tx: tx.execute(TAKEN).rowcount] * 2 + [add(2)])
    assert (kept.value, after.value) == (1, 1)
    assert isinstance(refused.error, Defect)
    assert connection.execute(COUNT).fetchone() == (2,)


def test_pruning_beside_the_end_of_a_job(connection: sqlite3.Connection) -> None:
    """A job that ends and is forgotten in one transaction leaves no line behind for the next that gets its number."""
    old, new = a_job(retention_ms=0), a_job()
    ended = AdvanceJob(old.id, Cancelled(at_ms=NOW))
    outcomes = write(connection, [submit(old), ended, lambda tx: jobs._prune(tx, NOW, 10)])
    assert [outcome.error for outcome in outcomes] == [None] * 3
    assert outcomes[2].value == 1
    write(connection, [submit(new)])
    assert connection.execute("SELECT kind FROM story WHERE job IS NOT NULL").fetchall() == [("submitted",)]


def test_failed_read_fails_alone(connection: sqlite3.Connection) -> None:
    """Of operations that read together, one that fails does not disturb the others."""
    (refused, answered) = read(connection, [lambda tx: tx.one("SELECT nothing"), lambda tx: tx.one(COUNT)])
    assert isinstance(refused.error, Defect)
    assert answered.value == (0,)


def fill(tx: Tx) -> None:
    """Needs more pages than there are."""
    tx.execute("CREATE TABLE heap (x)")
    for _ in range(50):
        tx.execute("INSERT INTO heap VALUES (?)", (b"x" * 10_000,))


def test_full_disk_is_told_to_all(connection: sqlite3.Connection) -> None:
    """Without space nothing of the transaction has happened and everybody is told; with space it works again."""
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    connection.execute(f"PRAGMA max_page_count = {pages + 10}")
    outcomes = write(connection, [add(1), fill, add(2)])
    assert [type(outcome.error) for outcome in outcomes] == [DiskFull] * 3
    assert len({id(outcome.error) for outcome in outcomes}) == 3
    assert connection.execute(COUNT).fetchone() == (0,)
    connection.execute(f"PRAGMA max_page_count = {pages + 10_000}")
    assert [outcome.error for outcome in write(connection, [add(1), fill, add(2)])] == [None] * 3


def test_failed_commit_finds_its_cause(connection: sqlite3.Connection) -> None:
    """When only the commit finds out that the transaction cannot be, what is to blame fails and the rest is carried out."""
    dangling = (
        "INSERT INTO releases (id, endpoint, number, image, command, env, gpus_per_worker, created_ms)"
        " VALUES ('r', 'nobody', 1, '', '', '{}', 0, 0)"
    )
    outcomes = write(connection, [add(1), lambda tx: tx.execute(dangling).rowcount])
    assert outcomes[0] == Outcome(1)
    assert isinstance(outcomes[1].error, Defect)
    assert connection.execute(COUNT).fetchone() == (1,)


def test_locked_file_is_unavailable(connection: sqlite3.Connection, tmp_path: Path) -> None:
    """While another process holds the file callers are told to come back; then it works again."""
    connection.execute("PRAGMA busy_timeout = 0")
    with sqlite3.connect(tmp_path / "stoker.db", isolation_level=None) as other:
        other.execute("BEGIN IMMEDIATE")
        assert [type(outcome.error) for outcome in write(connection, [add(1), add(2)])] == [Unavailable] * 2
        other.execute("ROLLBACK")
    other.close()
    assert write(connection, [add(1)]) == [Outcome(1)]


# ── the thread ────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_what_waits_shares_a_transaction(connection: sqlite3.Connection) -> None:
    """Operations that come together are committed together, in their order, never more than the most."""
    statements: list[str] = []
    connection.set_trace_callback(statements.append)
    lane = Writer(Session(connection), name="test")
    jobs = [a_job() for _ in range(3 * BATCH_MOST)]
    assert await asyncio.gather(*(lane.run(submit(job)) for job in jobs)) == jobs
    assert statements.count("COMMIT") == 3
    assert connection.execute("SELECT id FROM jobs ORDER BY seq").fetchall() == [(job.id,) for job in jobs]
    await lane.close()


async def test_answers_go_to_their_callers(lane: Writer) -> None:
    """Each caller gets the answer, or the error, of its own operation."""

    def answer(number: int) -> Callable[[Tx], int]:
        def operation(_: Tx) -> int:
            if number % 3 == 0:
                raise NotFound(str(number))
            return number

        return operation

    answers = await asyncio.gather(*(lane.run(answer(number)) for number in range(100)), return_exceptions=True)
    for number, said in enumerate(answers):
        assert (said.message if isinstance(said, NotFound) else said) == (str(number) if number % 3 == 0 else number)


@pytest.mark.slow
async def test_too_many_waiting(lane: Writer) -> None:
    """The queue in front of the thread is bounded: beyond it callers are told to come back."""
    waiting = [lane.run(lambda _: None) for _ in range(WAITING_MOST)]
    with pytest.raises(Unavailable) as refused:
        await lane.run(lambda _: 1)
    assert refused.value.code == "store_busy"
    await asyncio.gather(*waiting)
    assert await lane.run(lambda _: 1) == 1


def test_loop_that_was_abandoned(tmp_path: Path) -> None:
    """A loop that ends without closing the store loses nothing that was answered, and the file can be opened again."""
    path = tmp_path / "stoker.db"

    async def abandon() -> None:
        store = await SqliteStore.open(path)
        await store.jobs.submit(NewJob(job=a_job(), input=b"1"))

    async def look() -> Counts:
        store = await SqliteStore.open(path)
        counts = await store.jobs.counts(ENDPOINT)
        await store.close()
        return counts

    asyncio.run(abandon())
    with warnings.catch_warnings(action="ignore", category=ResourceWarning):
        gc.collect()  # nobody closes what was abandoned
    assert asyncio.run(look()) == Counts(queued=1)
