"""How statements find their rows: by an index, and at a cost that does not grow with the queue."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from typing import Final

import asyncpg
import pytest

from stoker.store import audit, credentials, notices, sealed, teams, templates, usage, views
from stoker.store.postgres import (
    PostgresStore,
    Terms,
    endpoints,
    jobs,
    leases,
    ledger,
    load,
    parts,
    results,
    save,
    workers,
)
from stoker.store.postgres.connection import Connection, Database
from stoker.store.postgres.save import PARTS
from tests.store.records import ENDPOINT, WORKER, finish, hire, run, submit

pytestmark = pytest.mark.postgres

MODULES = (
    audit,
    credentials,
    endpoints,
    jobs,
    leases,
    ledger,
    load,
    notices,
    parts,
    results,
    sealed,
    teams,
    templates,
    usage,
    views,
    workers,
)

SMALL_TABLES = {
    "endpoints.ACTIVE": "every endpoint is asked for",
    "jobs.NEWEST": "a sequence has one row",
    "jobs.STOPS_DUE": "stops are as few as jobs that were just cancelled",
    "leases.HOLDERS": "as many as there are servers",
    "sealed.PRESENT": "the only row of the table",
    "sealed.REPLACE": "the same",
    "teams.CALLED": "teams are few, and only the operator looks for one by its name",
    "usage.VOLUMES": "every volume is asked for",
}
"""Statements that may walk a whole table, and why."""

FILL = """
    INSERT INTO jobs SELECT nextval('job_seq'), 'queued-' || n, 'team-one', $1, 'queued', 'submitted', n % 2 = 1, n, n, n + 1000000,
      1, 1, 1, 0, 0, NULL, NULL, NULL, NULL, NULL, n + 1000000 FROM generate_series(1, $2) AS n"""
FILL_ENDED = """
    INSERT INTO ended_jobs SELECT nextval('job_seq'), 'ended-' || n, 'team-one', $1, 'completed', 'handler_returned', false, n, n,
      n, 1, 1, 1, 1, 0, 'w', n, n, NULL, n, n + 1000000 FROM generate_series(1, $2) AS n"""
VACUUMS = "SELECT autovacuum_count FROM pg_stat_user_tables WHERE relname = 'jobs'"
FILL_INPUTS = "INSERT INTO inputs SELECT seq, '1' FROM all_jobs ON CONFLICT DO NOTHING"


def statements() -> dict[str, str]:
    """Every statement of the adapter, by module and name."""
    found = {
        f"{module.__name__.rpartition('.')[2]}.{name}": value
        for module in MODULES
        for name, value in vars(module).items()
        if isinstance(value, str)
        and re.match(r"\s*\(?(SELECT|INSERT|UPDATE|DELETE|WITH)\b", value)
        and not name.startswith("_")
    }
    found |= {f"jobs.LISTS[{state}]": sql for state, sql in jobs.LISTS.items()}
    return found | {f"save.{part.clauses[-1][0]}": save._statement((part,)) for part in PARTS}


@pytest.fixture
async def connection(postgres_url: str) -> AsyncIterator[Connection]:
    """A connection as the store makes it, which keeps plans that suit any values."""
    connection = await Database(Terms(url=postgres_url)).connect()
    await connection.execute("SET plan_cache_mode = force_generic_plan")
    yield connection
    await connection.close()


async def fill(connection: Connection, count: int) -> None:
    """So many more waiting jobs, and as many that are over."""
    for sql in (FILL, FILL_ENDED):
        await connection.execute(
            sql.replace("'queued-'", f"'q{count}-'").replace("'ended-'", f"'e{count}-'"), ENDPOINT, count
        )
    await connection.execute(FILL_INPUTS)
    await connection.execute("ANALYZE")


async def plan(connection: Connection, sql: str, *, analyze: bool = False, values: tuple[str, ...] = ()) -> str:
    """How PostgreSQL would go about it."""
    count = max([0, *map(int, re.findall(r"\$(\d+)", sql))])
    given = ", ".join(values or ["NULL"] * count)
    await connection.execute(f"PREPARE one AS {sql}")
    how = "(ANALYZE, BUFFERS, TIMING OFF)" if analyze else ""
    rows = await connection.fetch(f"EXPLAIN {how} EXECUTE one{f'({given})' if count else ''}")
    await connection.execute("DEALLOCATE one")
    return "\n".join(row[0] for row in rows)


async def test_rows_are_found_by_an_index(direct: PostgresStore, connection: Connection) -> None:
    """No statement walks a whole table, except those that are known to be small: planned while empty, and when full."""
    await hire(direct)
    for count in (0, 5_000):
        await fill(connection, count)
        walked = {name for name, sql in statements().items() if "Seq Scan" in await plan(connection, sql)}
        assert walked <= set(SMALL_TABLES)


async def test_plans_of_an_empty_queue_serve_a_full_one(direct: PostgresStore, connection: Connection) -> None:
    """The plan of a claim reads the queue's index in its own order, though it was made before anything waited."""
    text = await plan(connection, load.HEADS)
    assert "Index Scan using jobs_queued on jobs" in text
    assert re.search(r"Limit.*\n.*LockRows.*\n.*Index Scan using jobs_queued", text)


async def test_statements_are_planned_once(direct: PostgresStore) -> None:
    """However often they run: to plan a write of few rows takes longer than to carry it out."""
    await hire(direct)
    for _ in range(10):
        await finish(direct, await run(direct))
    connection = await direct._lane._link.connection()
    [(anew, kept)] = await connection.fetch("SELECT sum(custom_plans), sum(generic_plans) FROM pg_prepared_statements")
    assert (anew, kept > 30) == (0, True)


async def pages(connection: Connection, sql: str, *values: str) -> int:
    """How many pages a statement looks at."""
    text = await plan(connection, sql, analyze=True, values=values)
    found = re.search(r"Buffers: shared hit=(\d+)(?: read=(\d+))?", text)
    assert found is not None, text
    return int(found[1]) + int(found[2] or 0)


STEADY = {
    "heads": (load.HEADS, ("array['endpointone']", "array[3]")),
    "job": (load.JOBS, ("array['q200-7']",)),
    "ended": (load.ENDED, ("array['e200-7']",)),
    "counts": (jobs.COUNTS, ("'endpointone'",)),
    "oldest": (jobs.OLDEST_QUEUED, ("'endpointone'",)),
    "due": (jobs.DUE, ("5", "10")),
    "list": (jobs.LIST_ALL, ("'endpointone'", "'team-one'", "4611686018427387904", "5")),
    "results": (results.RESULTS, ("array['e200-7', 'q200-7']",)),
}


@pytest.mark.parametrize("name", STEADY)
async def test_cost_does_not_grow_with_the_queue(direct: PostgresStore, connection: Connection, name: str) -> None:
    """With fifty times as many jobs waiting and ended a statement looks at a few more pages of its indexes at most."""
    sql, values = STEADY[name]
    await fill(connection, 200)
    few = await pages(connection, sql, *values)
    await fill(connection, 10_000)
    await connection.execute("ANALYZE")
    assert await pages(connection, sql, *values) <= few + 12


async def test_a_renewed_lease_touches_no_index(direct: PostgresStore, postgres_url: str) -> None:
    """A ping finds room on the page of the job, and leaves the indexes alone."""
    await hire(direct)
    await submit(direct)
    await direct.jobs.claim(WORKER, limit=1, at_ms=1, lease_ms=10, sdk="")
    connection = await asyncpg.connect(postgres_url)
    for at_ms in range(2, 12):
        await direct.jobs.confirm(WORKER, None, at_ms=at_ms, lease_ms=10)
    await direct.close()
    await connection.execute("SELECT pg_stat_force_next_flush()")
    updated, hot = await connection.fetchrow(
        "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE relname = 'jobs'"
    )
    await connection.close()
    assert updated >= 10
    assert hot >= updated - 1


@pytest.mark.slow
async def test_a_queue_is_vacuumed_by_what_was_written(direct: PostgresStore, connection: Connection) -> None:
    """However many jobs wait, the dead rows of a few thousand changes are cleared away: PostgreSQL's own settings would wait
    for a fifth of the table."""
    await fill(connection, 30_000)
    await connection.execute("VACUUM ANALYZE jobs")
    before = await connection.fetchval(VACUUMS)
    await connection.execute("UPDATE jobs SET reason = reason WHERE id ~ '^q30000-[1-4]...$'")
    async with asyncio.timeout(60):
        while True:  # PostgreSQL looks every few seconds
            if await connection.fetchval(VACUUMS) > before:
                return
            await asyncio.sleep(0.1)


ONE_THING = re.compile(r"Index Cond: \(+(?:\w+\.)?(?:endpoint|id|seq|job|worker|token_hash)(?:\)?::text)? = ")
"""A scan that begins at one endpoint, or at one row that belongs to one: a job, a worker, a token."""


PLACES: Final = "load.PLACES"
"""What all workers hold: only for a launch, which no job waits for at a claim."""


async def test_the_way_of_a_job_stays_within_its_endpoint(direct: PostgresStore, connection: Connection) -> None:
    """Whatever a transaction of the hot path loads or writes is found by its endpoint, or by the key of a job or worker of it."""
    hot = {name: sql for name, sql in statements().items() if name.startswith(("load.", "save.")) and name != PLACES}
    scans = []
    for name, sql in hot.items():
        found = re.findall(r"Scan using \w+ on .*(?:\n\s+.*)?", await plan(connection, sql))
        scans += [f"{name}: {scan}" for scan in found]
    assert len(scans) > len(hot) / 3
    assert [scan for scan in scans if not ONE_THING.search(scan)] == []
