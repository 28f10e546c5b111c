"""How statements find their rows: by an index, and at a cost that does not grow with the queue."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from stoker.ids import WorkerId
from stoker.store import NewJob, Page, audit, credentials, notices, sealed, teams, templates, usage, views
from stoker.store.claims import Take
from stoker.store.sqlite import endpoints, jobs, ledger, load, parts, save, workers
from stoker.store.sqlite.connection import MEMORY, connect
from stoker.store.sqlite.transaction import Session, Work
from stoker.store.sqlite.tx import Tx
from stoker.store.submissions import Submit
from stoker.store.transitions import AddWorker
from tests.store.records import (
    ENDPOINT,
    LEASE_MS,
    NOW,
    RELEASE,
    TEAM,
    a_job,
    a_release,
    a_worker,
    an_endpoint,
)

MODULES = (
    audit,
    credentials,
    endpoints,
    jobs,
    ledger,
    load,
    notices,
    parts,
    save,
    sealed,
    teams,
    templates,
    usage,
    views,
    workers,
)

SMALL_TABLES = {
    "usage.NEXT": "the first entries of an index, in its order, as many as may be kept; once a minute, where that is bounded",
    "audit.OLDEST": "the first rows of the table, in its order, as many as are asked for",
    "endpoints.ACTIVE": "every endpoint is asked for",
    "endpoints.ADD_RELEASE": "an endpoint may wait for it; there are few, and this is a management call",
    "jobs.LIST_AHEAD": "the index holds jobs that were delivered ahead only: as many as workers do in a few seconds",
    "jobs.LIST_RUNNING": "the index holds running jobs only: as many as there are slots",
    "load.AHEAD_IN": "the same; purging is a management call",
    "jobs.WAITING": "every endpoint whose jobs wait is asked for, and none of its jobs but the first",
    "jobs.STOPS_DUE": "stops are as few as jobs that were just cancelled",
    "sealed.PRESENT": "the only row of the table",
    "sealed.REPLACE": "the same",
    "teams.CALLED": "teams are few, and only the operator looks for one by its name",
    "teams.FIRST": "the first row of the table",
    "workers.ALIVE": "every worker that is alive is asked for",
    "workers.LIVE": "the same",
    "usage.VOLUMES": "every volume is asked for",
    "workers.UNMETERED": "the index holds workers whose time goes on only: those that are alive, and a few that went just now",
    "load.PLACES": "what all of them hold, before one more is added",
}
"""Statements that may walk a whole table or index, and why."""


@pytest.fixture
def connection() -> Iterator[sqlite3.Connection]:
    """A furnished database with a ready worker, without threads."""
    connection = connect(MEMORY)
    run(connection, lambda tx: tx.execute("INSERT INTO teams VALUES (1, ?, 'one', 0)", (TEAM,)).rowcount)
    run(connection, lambda tx: endpoints._add(tx, an_endpoint(), a_release()))
    run(connection, AddWorker(a_worker(), alive_max=1))
    yield connection
    connection.close()


def run(connection: sqlite3.Connection, *works: Work) -> None:
    """Carry out what must succeed."""
    assert [outcome.error for outcome in Session(connection).write(works)] == [None] * len(works)


def statements() -> dict[str, str]:
    """Every statement of the adapter, by module and name."""
    return {
        f"{module.__name__.rpartition('.')[2]}.{name}": sql.replace("$", "?")
        for module in MODULES
        for name, sql in texts(vars(module))
        if re.match(r"\s*(SELECT|INSERT|UPDATE|DELETE)\b", sql) and not name.startswith("_")
    }


def texts(names: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Those that are written down, and those that are made for so many rows."""
    for name, value in names.items():
        if isinstance(value, str):
            yield name, value
        elif isinstance(value, dict) and name == "MOVES":
            yield from ((f"{name}[{move.name}]", text) for move, text in value.items())
        elif callable(value) and name.isupper():
            yield name, value(4)


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
    given = (
        "SCAN (subquery",
        "SCAN 4 CONSTANT ROWS",
        "SCAN 4-ROW VALUES CLAUSE",  # the same, as newer releases of SQLite say it
        "SCAN json_each",
        "SCAN walked",
    )  # values and pages, no tables
    walked = [line for line in lines if line.startswith("SCAN") and not line.startswith(given)]
    assert bool(walked) == (name in SMALL_TABLES), lines


def test_claim_walks_the_queue(connection: sqlite3.Connection) -> None:
    """A claim reads the index of queued jobs in its own order: nothing is sorted."""
    text = plan(connection, load.HEAD)
    assert "USING INDEX jobs_queued (endpoint=? AND low_priority=?)" in text
    assert "TEMP B-TREE" not in text


def steps(connection: sqlite3.Connection, work: Work) -> int:
    """How many steps of SQLite's machine it takes."""
    count = 0

    def step() -> int:
        nonlocal count
        count += 1
        return 0

    connection.set_progress_handler(step, 1)
    run(connection, work)
    connection.set_progress_handler(None, 1)
    return count


def submit_many(connection: sqlite3.Connection, count: int) -> None:
    """Jobs of both priorities that wait."""
    new = [NewJob(job=a_job(low_priority=number % 2 == 1), input=b"1") for number in range(count)]
    run(connection, *map(Submit, new))


COSTS: dict[str, Callable[[], Work]] = {
    "claim": lambda: Take(
        worker=WorkerId("workerone"), limit=1, at_ms=NOW, lease_ms=LEASE_MS, sdk="", lost_before_ms=None
    ),
    "submit": lambda: Submit(NewJob(job=a_job(), input=b"1")),
    "counts": lambda: lambda tx: tx.one(jobs.COUNTS, (ENDPOINT,)),
    "oldest": lambda: lambda tx: tx.one(jobs.OLDEST_QUEUED, (ENDPOINT,)),
    "due": lambda: lambda tx: tx.all(jobs.DUE, (NOW, 10)),
    "list": lambda: lambda tx: jobs._list(tx, TEAM, ENDPOINT, None, Page(limit=5)),
    "failures": lambda: lambda tx: tx.all(workers.FAILED, (RELEASE,)),
}


@pytest.mark.parametrize("name", COSTS)
def test_cost_does_not_grow_with_the_queue(connection: sqlite3.Connection, name: str) -> None:
    """With two hundred times as many jobs waiting an operation takes the same steps, give or take a tenth."""
    submit_many(connection, 10)
    run(connection, COSTS[name]())  # a first take costs more than the next
    few = steps(connection, COSTS[name]())
    submit_many(connection, 2_000)
    assert steps(connection, COSTS[name]()) <= few * 1.1


def test_place_in_the_queue_is_bounded(connection: sqlite3.Connection) -> None:
    """Counting those ahead stops at the most: a place in a very long queue costs no more than in a long one."""
    job = a_job(low_priority=True)
    submit_many(connection, 400)
    run(connection, Submit(NewJob(job=job, input=b"1")))
    tx = Tx(connection)
    assert jobs._ahead_of(tx, job) == 400
    assert jobs._count_ahead(tx, job, 0, jobs.NO_END, 150) == 150
