"""What is known without asking is what the database would say."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from stoker.ids import WorkerId
from stoker.job import AttemptLost, Cancelled, Finished, Job, JobReason, JobStep, Retried, TimePassed
from stoker.store import Bodies, NewJob
from stoker.store.claims import Take
from stoker.store.image import Image, Operation, Queued, StoredWorker
from stoker.store.rows import WORKER_WIDTH, stored_job, worker
from stoker.store.sqlite import endpoints
from stoker.store.sqlite.connection import connect
from stoker.store.sqlite.load import JOBS, WORKERS
from stoker.store.sqlite.results import FindResult
from stoker.store.sqlite.transaction import Session, Unsettling, Work
from stoker.store.sqlite.tx import Tx
from stoker.store.streams import Progress
from stoker.store.submissions import Submit
from stoker.store.transitions import AddWorker, AdvanceJob, AdvanceWorker, PurgeQueue
from stoker.worker import Drained, Exit, Exited, WorkerReason
from tests.store.records import ENDPOINT, LEASE_MS, NOW, TEAM, a_job, a_release, a_worker, an_endpoint

WORKERS_MOST = 4


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Session]:
    """A session whose database has an endpoint."""
    connection = connect(tmp_path / "stoker.db")
    connection.execute("PRAGMA foreign_keys = OFF")  # its team is not there
    session = Session(connection)
    done(session, lambda tx: endpoints._add(tx, an_endpoint(slots=2), a_release()))
    yield session
    connection.close()


def done(session: Session, *works: Work) -> list[object]:
    """Answers of works that share a transaction; those that were refused have None."""
    return [outcome.value for outcome in session.write(works)]


def check(session: Session) -> int:
    """Compare all that is known with the database; how many rows that were."""
    known, tx = session.known, Tx(session.connection)
    rows = {row[1]: stored_job(row) for row in tx.gather(JOBS, set(known._jobs))}
    assert known._jobs == rows
    held = {row[0]: StoredWorker(worker(row), *row[WORKER_WIDTH:]) for row in tx.gather(WORKERS, set(known._workers))}
    assert known._workers == held
    waiting = "SELECT id FROM jobs WHERE endpoint = ? AND state = 'queued' ORDER BY low_priority, seq"
    for endpoint, queue in known._queues.items():
        assert [head.job for head in queue] == [row[0] for row in tx.all(waiting, (endpoint,))]
    for job, result in known.recent._results.items():
        assert FindResult(TEAM, ENDPOINT, job)(tx) == result
    known.settle()
    for endpoint in known._empty:
        assert tx.all(waiting, (endpoint,)) == []
    if known.last_seq is not None:
        assert known.last_seq == tx.all("SELECT max(seq) FROM jobs")[0][0]
    return len(rows) + len(held)


class Chance:
    """Draws operations."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._jobs: list[Job] = []
        self._workers: list[WorkerId] = []
        self._at_ms = NOW

    def works(self) -> list[Work]:
        """Some that share a transaction."""
        self._at_ms += self._random.choice((1, 50, 3_000))
        return [self._one() for _ in range(self._random.randint(1, 5))]

    def _one(self) -> Work:
        at_ms, draw = self._at_ms, self._random.random()
        if draw < 0.3 or not self._jobs:
            self._jobs.append(a_job(at_ms=at_ms, low_priority=self._random.random() < 0.3))
            return Submit(NewJob(job=self._jobs[-1], input=b"1"))
        if draw < 0.4 or not self._workers:
            self._workers.append(WorkerId(f"w{len(self._workers)}"))
            return AddWorker(a_worker(self._workers[-1]), WORKERS_MOST)
        if draw < 0.65:
            return self._take(at_ms)
        if draw < 0.7:
            return self._other(at_ms)
        return self._event(at_ms)

    def _take(self, at_ms: int) -> Work:
        return Take(
            worker=self._random.choice(self._workers),
            limit=self._random.randint(1, 2),
            at_ms=at_ms,
            lease_ms=LEASE_MS,
            sdk="1.12.0",
            lost_before_ms=self._random.choice((None, None, at_ms)),
            ahead=self._random.choice((0, 0, 2)),
        )

    def _other(self, at_ms: int) -> Work:
        one = self._random.choice(self._workers)
        return self._random.choice(
            (
                AdvanceWorker(one, Drained(at_ms=at_ms, reason=WorkerReason.REFRESH_ASKED, detail="")),
                AdvanceWorker(one, Exited(at_ms=at_ms, exit=Exit(code=1, text=""))),
                PurgeQueue(Queued(ENDPOINT, 2**62, 3), at_ms),
            )
        )

    def _event(self, at_ms: int) -> Operation[object]:
        job = self._random.choice(self._jobs[-12:]).id
        one = self._random.choice(self._workers)
        if self._random.random() < 0.3:
            return Progress(
                job=job, worker=one, at_ms=at_ms, lease_ms=LEASE_MS, output=b"%d" % self._random.randint(0, 9)
            )
        return AdvanceJob(
            job,
            self._random.choice(
                (
                    Finished(at_ms=at_ms, worker=one, failed=self._random.random() < 0.5),
                    AttemptLost(at_ms=at_ms, worker=one, reason=JobReason.WORKER_SILENT),
                    Cancelled(at_ms=at_ms),
                    Retried(at_ms=at_ms, expires_ms=at_ms + 1_000_000),
                    TimePassed(at_ms=at_ms),
                )
            ),
            Bodies(output=b"2"),
        )


@pytest.mark.parametrize("seed", range(12))
def test_known_is_what_is_stored(session: Session, seed: int) -> None:
    """Whatever happens to jobs and workers, no row is known otherwise than it is stored."""
    chance, compared = Chance(seed), 0
    for _ in range(150):
        done(session, *chance.works())
        compared += check(session)
    assert compared > 100


def test_nothing_is_known_after_a_failure(session: Session) -> None:
    """A transaction that was undone leaves nothing behind that anybody could believe."""
    done(session, AddWorker(a_worker(), 1))
    first = a_job()
    done(session, Submit(NewJob(job=first, input=b"1")), take())
    assert check(session) == 2
    session.begin([Defective(first.id, Cancelled(at_ms=NOW + 1))])
    assert check(session) == 0
    assert session.connection.execute("SELECT state FROM jobs").fetchall() == [("running",)]


class Defective(AdvanceJob, frozen=True, gc=False):
    """Does what it should, and then finds a defect."""

    def decide(self, image: Image) -> JobStep:
        """Fails."""
        super().decide(image)
        raise RuntimeError("a defect")


def take() -> Take:
    """A worker asks for a job."""
    return Take(worker=a_worker().id, limit=1, at_ms=NOW + 1, lease_ms=LEASE_MS, sdk="", lost_before_ms=None)


def test_job_that_left_a_known_queue(session: Session) -> None:
    """A queue of which a job was cancelled is not known any more, though nobody looked at it meanwhile."""
    done(session, AddWorker(a_worker(), 1))
    job, next_one = a_job(), a_job()
    done(session, take(), Submit(NewJob(job=job, input=b"1")), Submit(NewJob(job=next_one, input=b"1")))
    assert [head.job for head in session.known._queues[ENDPOINT]] == [job.id, next_one.id]
    done(session, AdvanceJob(job.id, Cancelled(at_ms=NOW + 1)))
    check(session)
    (taken,) = done(session, take())
    assert [claim.job.id for claim in taken.claims.claims] == [next_one.id]  # type: ignore[attr-defined]


def test_slots_of_an_endpoint_that_changed(session: Session) -> None:
    """More slots count from the next take on, for workers that are known."""
    done(session, AddWorker(a_worker(), 1))
    done(session, *(Submit(NewJob(job=a_job(), input=b"1")) for _ in range(5)))
    assert [len(held.claims.claims) for held in done(session, take(), take(), take())] == [1, 1, 0]  # type: ignore[attr-defined]
    done(session, Unsettling(lambda tx: tx.execute("UPDATE endpoints SET slots = 3").rowcount))
    assert [len(held.claims.claims) for held in done(session, take(), take())] == [1, 0]  # type: ignore[attr-defined]


def test_what_another_process_wrote(session: Session, tmp_path: Path) -> None:
    """Nobody else should write to the file; if somebody does, it is seen."""
    done(session, AddWorker(a_worker(), 1))
    job = a_job()
    done(session, Submit(NewJob(job=job, input=b"1")), take())
    with sqlite3.connect(tmp_path / "stoker.db") as other:
        other.execute("UPDATE jobs SET state = 'queued', worker = NULL")
    other.close()
    (step,) = done(session, AdvanceJob(job.id, Finished(at_ms=NOW + 2, worker=a_worker().id, failed=False)))
    assert not step.changed  # type: ignore[attr-defined]
