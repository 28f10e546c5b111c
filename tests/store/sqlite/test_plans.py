"""How statements find their rows: by an index, and at a cost that does not grow with the queue."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable, Iterator

import pytest

from stoker.ids import WorkerId
from stoker.store import NewJob, Page
from stoker.store.sqlite import claims, endpoints, jobs, signs, streams, submissions, teams, transitions, workers
from stoker.store.sqlite.connection import MEMORY, connect
from stoker.store.sqlite.transaction import Tx, write
from tests.store.records import (
    ENDPOINT,
    LEASE_MS,
    NOW,
    RELEASE,
    TEAM,
    a_job,
    a_key,
    a_release,
    a_team,
    a_worker,
    an_endpoint,
)

MODULES = (claims, endpoints, jobs, signs, streams, submissions, teams, transitions, workers)

SMALL_TABLES = {
    "endpoints.ACTIVE": "every endpoint is asked for",
    "endpoints.ADD_RELEASE": "an endpoint may wait for it; there are few, and this is a management call",
    "jobs.LIST_RUNNING": "the index holds running jobs only: as many as there are slots",
    "signs.STOPS_DUE": "stops are as few as jobs that were just cancelled",
    "teams.FIRST": "the first row of the table",
    "workers.ALIVE": "every worker that is alive is asked for",
}
"""Statements that may walk a whole table or index, and why."""


@pytest.fixture
def connection() -> Iterator[sqlite3.Connection]:
    """A furnished database with a ready worker, without threads."""
    connection = connect(MEMORY)
    run(connection, lambda tx: teams._add(tx, a_team(), a_key()))
    run(connection, lambda tx: endpoints._add(tx, an_endpoint(), a_release()))
    run(connection, lambda tx: workers._add(tx, a_worker(), 1))
    yield connection
    connection.close()


def run(connection: sqlite3.Connection, *operations: Callable[[Tx], object]) -> None:
    """Carry out operations that must succeed."""
    assert [outcome.error for outcome in write(connection, operations)] == [None] * len(operations)


def statements() -> dict[str, str]:
    """Every statement of the adapter, by module and name."""
    return {
        f"{module.__name__.rpartition('.')[2]}.{name}": value
        for module in MODULES
        for name, value in vars(module).items()
        if isinstance(value, str)
        and re.match(r"\s*(SELECT|INSERT|UPDATE|DELETE)\b", value)
        and not name.startswith("_")
    }


def plan(connection: sqlite3.Connection, sql: str) -> str:
    """How SQLite would go about it."""
    places = max([sql.count("?"), *map(int, re.findall(r"\?(\d+)", sql))])
    numbered = {int(number) for number in re.findall(r"\?(\d+)", sql)}
    values = [None] * (max(numbered) if numbered else places)
    return "\n".join(row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {sql}", values))


@pytest.mark.parametrize("name", statements())
def test_rows_are_found_by_an_index(connection: sqlite3.Connection, name: str) -> None:
    """No statement walks a whole table, except those that are known to be small."""
    lines = plan(connection, statements()[name]).splitlines()
    walked = [line for line in lines if line.startswith("SCAN") and not line.startswith("SCAN (subquery")]
    assert bool(walked) == (name in SMALL_TABLES), lines


def test_claim_walks_the_queue(connection: sqlite3.Connection) -> None:
    """A claim reads the index of queued jobs in its own order: nothing is sorted."""
    text = plan(connection, claims.NEXT_QUEUED)
    assert "USING INDEX jobs_queued (endpoint=? AND low_priority=?)" in text
    assert "TEMP B-TREE" not in text


def steps(connection: sqlite3.Connection, operation: Callable[[Tx], object]) -> int:
    """How many steps of SQLite's machine an operation takes."""
    count = 0

    def step() -> int:
        nonlocal count
        count += 1
        return 0

    connection.set_progress_handler(step, 1)
    run(connection, operation)
    connection.set_progress_handler(None, 1)
    return count


def submit_many(connection: sqlite3.Connection, count: int) -> None:
    """Jobs of both priorities that wait."""
    new = [NewJob(job=a_job(low_priority=number % 2 == 1), input=b"1") for number in range(count)]
    run(connection, *(lambda tx, one=one: submissions.submit(tx, one) for one in new))


COSTS: dict[str, Callable[[Tx], object]] = {
    "claim": lambda tx: claims.claim(
        tx, claims.Take(worker=WorkerId("workerone"), limit=1, at_ms=NOW, lease_ms=LEASE_MS, sdk="")
    ),
    "submit": lambda tx: submissions.submit(tx, NewJob(job=a_job(), input=b"1")),
    "counts": lambda tx: tx.one(jobs.COUNTS, (ENDPOINT,)),
    "oldest": lambda tx: tx.one(jobs.OLDEST_QUEUED, (ENDPOINT,)),
    "due": lambda tx: tx.all(jobs.DUE, (NOW, 10)),
    "list": lambda tx: jobs._list(tx, TEAM, ENDPOINT, None, Page(limit=5)),
    "failures": lambda tx: tx.all(workers.FAILED, (RELEASE,)),
}


@pytest.mark.parametrize("name", COSTS)
def test_cost_does_not_grow_with_the_queue(connection: sqlite3.Connection, name: str) -> None:
    """With two hundred times as many jobs waiting an operation takes the same steps, give or take a tenth."""
    submit_many(connection, 10)
    run(connection, COSTS[name])  # a first take costs more than the next
    few = steps(connection, COSTS[name])
    submit_many(connection, 2_000)
    assert steps(connection, COSTS[name]) <= few * 1.1


def test_place_in_the_queue_is_bounded(connection: sqlite3.Connection) -> None:
    """Counting those ahead stops at the most: a place in a very long queue costs no more than in a long one."""
    job = a_job(low_priority=True)
    submit_many(connection, 400)
    run(connection, lambda tx: submissions.submit(tx, NewJob(job=job, input=b"1")))
    tx = Tx(connection)
    assert jobs._ahead_of(tx, job) == 400
    assert jobs._count_ahead(tx, job, 0, jobs.NO_END, 150) == 150
