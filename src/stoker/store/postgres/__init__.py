"""The store for several servers: a PostgreSQL database (design §1).

Opened by `databases.py`. Writes go through one lane with one connection, which commits everything that waits in one transaction;
reads, and the rare writes that need no image, go through a small pool beside it.

    jobs, workers ───────────── lane ─ batch ─ load, save ─┐
    endpoints, teams, parts, leases ─ pool ────────────────┼─ transaction ─ connection
    wakes (a connection of its own)                        └─ packing
"""

from __future__ import annotations

import asyncio
import random
from typing import Final, Self

from stoker.store.audit import AuditRows
from stoker.store.budgets import BudgetRows
from stoker.store.credentials import CredentialRows
from stoker.store.marks import MarkRows
from stoker.store.migrations import migrations
from stoker.store.notices import NoticeRows
from stoker.store.postgres.batch import SHARDS, Writing
from stoker.store.postgres.connection import Database, Link, Terms
from stoker.store.postgres.endpoints import PostgresEndpoints
from stoker.store.postgres.jobs import PostgresJobs
from stoker.store.postgres.known import Known
from stoker.store.postgres.lane import Lane, Pool
from stoker.store.postgres.leases import PostgresLeases
from stoker.store.postgres.ledger import PostgresLedger, adopt
from stoker.store.postgres.schema import migrate
from stoker.store.postgres.selection import LISTS
from stoker.store.postgres.tables import PostgresTables
from stoker.store.postgres.wakes import PostgresWakes
from stoker.store.postgres.workers import PostgresWorkers
from stoker.store.room import Room
from stoker.store.sealed import Place, SealedRows
from stoker.store.selecting import SelectedJobs
from stoker.store.sessions import SessionRows
from stoker.store.sizes import SizeRows
from stoker.store.teams import TeamRows
from stoker.store.templates import TemplateRows
from stoker.store.trace_parents import TraceParentRows
from stoker.store.usage import UsageRows
from stoker.store.views import ViewRows
from stoker.store.volumes import VolumeRows
from stoker.store.warm_ups import WarmUpRows

POOL_SIZE: Final = 4
"""Connections beside that of the lane. A read takes a fraction of a millisecond: more would only queue in the database."""
NOW: Final = "SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint"
"""The only place that asks the database for the time: to compare clocks, not to use it."""


JOBS: Final = Place(
    find="""SELECT job, 'jobs', s3_config FROM inputs WHERE s3_config IS NOT NULL AND job > $1 ORDER BY job LIMIT $2""",
    update="UPDATE inputs SET s3_config = $1 WHERE job = $2 AND s3_config = $3",
)
"""What is sealed of jobs."""


ENDED: Final = "SELECT 1 FROM ended_jobs"


class PostgresStore:
    """`Store` on PostgreSQL. It belongs to the event loop in which it was opened; `room` bounds what waits to be written."""

    def __init__(self, database: Database, *, room: Room | None = None) -> None:
        shard = random.randrange(SHARDS)  # nosec B311  # nobody gains by guessing it
        known = Known()
        self._lane = Lane(Link(database), Writing(shard, known), room or Room())
        self._pool = Pool(database, POOL_SIZE, Room())
        self.jobs = PostgresJobs(self._lane, self._pool, known)
        self.workers = PostgresWorkers(self._lane, self._pool)
        self.endpoints = PostgresEndpoints(self._pool)
        tables = PostgresTables(self._pool)
        self.teams = TeamRows(tables)
        self.sessions = SessionRows(tables)
        self.credentials = CredentialRows(tables)
        self.templates = TemplateRows(tables)
        self.views = ViewRows(tables)
        self.volumes = VolumeRows(tables)
        self.warm_ups = WarmUpRows(tables)
        self.audit = AuditRows(tables)
        self.notices = NoticeRows(tables)
        self.usage = UsageRows(tables)
        self.sizes = SizeRows(tables, ENDED)
        self.selections = SelectedJobs(tables, LISTS)
        self.budgets = BudgetRows(tables)
        self.trace_parents = TraceParentRows(tables)
        self.marks = MarkRows(tables)
        self.sealed = SealedRows(tables, JOBS)
        self.ledger = PostgresLedger(self._pool)
        self.leases = PostgresLeases(self._pool)
        self.wakes = PostgresWakes(database, self._pool, known)

    @classmethod
    async def open(cls, terms: Terms) -> Self:
        """The store in a database that exists, with the schema up to date.

        Raises `Unavailable` when it cannot be reached, `StokerError` when it is of a newer Stoker.
        """
        database = Database(terms)
        await migrate(database, await asyncio.to_thread(migrations, "postgres"))
        store = cls(database)
        await store._pool.write(adopt)
        return store

    async def used_bytes(self) -> int | None:
        """Nobody can tell: a table stays as large as it was when rows of it go, and how much in it is free is not written down."""
        return None

    async def skew_ms(self, now_ms: int) -> int:
        """Half of the way there and back is counted as skew; it is a millisecond or less."""
        database_ms: int = await self._pool.read(lambda tx: tx.fetchval(NOW))
        return now_ms - database_ms

    async def close(self) -> None:
        """Finish what was begun and let go of the database. Calls that come later raise `Unavailable`."""
        await self.wakes.close()
        await self._pool.close()
        await self._lane.close()


__all__ = ["PostgresStore", "Terms"]
