"""The embedded store: one SQLite file, for a laptop and for a GPU box (design §1).

Opened by `databases.py`. All writing goes through one connection: everything that waits is one transaction, which the event loop
makes and a thread flushes. Reading goes through a second thread, beside it, on the last committed state; results and
other single rows, which are asked for most, are read at once.

    jobs, workers, endpoints, teams, parts ─ writer ─ transaction ─ load, save ─ rows, tx
    (what is called)                         (who does it)          (an image of the rows)
"""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path
from typing import Final, Self

from stoker.store.audit import AuditRows
from stoker.store.budgets import BudgetRows
from stoker.store.credentials import CredentialRows
from stoker.store.marks import MarkRows
from stoker.store.notices import NoticeRows
from stoker.store.sealed import Place, SealedRows
from stoker.store.selecting import SelectedJobs
from stoker.store.sessions import SessionRows
from stoker.store.sizes import SizeRows
from stoker.store.sqlite.connection import MEMORY, connect, connect_beside, connect_reader
from stoker.store.sqlite.endpoints import SqliteEndpoints
from stoker.store.sqlite.jobs import SqliteJobs
from stoker.store.sqlite.known import Known
from stoker.store.sqlite.leases import SqliteLeases, SqliteWakes
from stoker.store.sqlite.ledger import SqliteLedger
from stoker.store.sqlite.selection import LISTS
from stoker.store.sqlite.tables import SqliteTables
from stoker.store.sqlite.transaction import Session, read
from stoker.store.sqlite.tx import Tx
from stoker.store.sqlite.workers import SqliteWorkers
from stoker.store.sqlite.writer import Inline, Lane, Reader, Writer
from stoker.store.teams import TeamRows
from stoker.store.templates import TemplateRows
from stoker.store.trace_parents import TraceParentRows
from stoker.store.usage import UsageRows
from stoker.store.views import ViewRows
from stoker.store.volumes import VolumeRows
from stoker.store.warm_ups import WarmUpRows

JOBS: Final = Place(
    find="""SELECT seq, 'jobs', s3_config FROM jobs WHERE s3_config IS NOT NULL AND seq > $1 ORDER BY seq LIMIT $2""",
    update="UPDATE jobs SET s3_config = $1 WHERE seq = $2 AND s3_config = $3",
)
"""What is sealed of jobs."""


ENDED: Final = "SELECT 1 FROM jobs WHERE purge_ms IS NOT NULL"


class SqliteStore:
    """`Store` on SQLite. It belongs to the event loop in which it was opened."""

    def __init__(self, writer: Lane, reader: Lane, quick: Lane, known: Known) -> None:
        self._lanes = (quick, reader, writer)
        self._reader = reader
        self.jobs = SqliteJobs(writer, reader, quick, known)
        self.workers = SqliteWorkers(writer, reader, quick)
        self.endpoints = SqliteEndpoints(writer, reader, quick)
        tables = SqliteTables(writer, reader)
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
        self.ledger = SqliteLedger(writer, reader)
        self.leases = SqliteLeases(writer, reader)
        self.wakes = SqliteWakes()

    @classmethod
    async def open(cls, path: Path | str, *, inline: bool = False) -> Self:
        """The store in the file `path`, made if it is missing, or in memory (`MEMORY`).

        `inline` works on the calling thread and has no threads of its own. Raises `Unavailable` when the file cannot be
        opened, `StokerError` when it is of a newer Stoker.
        """
        session = Session(await asyncio.to_thread(connect, path))
        if inline:
            looking = Inline(session.connection, partial(read, session.connection))
            return cls(Inline(session.connection, session.write), looking, looking, session.known)
        if path == MEMORY:  # nobody else can open a database in memory
            writer = Writer(session, name="stoker-store-writer")
            return cls(writer, writer, writer, session.known)
        try:
            reader, quick = [await asyncio.to_thread(connect_reader, path) for _ in range(2)]
            beside = await asyncio.to_thread(connect_beside, path)
        except BaseException:
            session.connection.close()
            raise
        return cls(
            Writer(session, name="stoker-store-writer", beside=beside),
            Reader(reader, name="stoker-store-reader"),
            Inline(quick, partial(read, quick)),
            session.known,
        )

    async def used_bytes(self) -> int | None:
        """Pages that are in use: what is free in the file is used again before it grows."""

        def used(tx: Tx) -> int:
            pages, free, size = (
                tx.all(f"PRAGMA {name}")[0][0] for name in ("page_count", "freelist_count", "page_size")
            )
            return int((pages - free) * size)

        return await self._reader.run(used)

    async def skew_ms(self, now_ms: int) -> int:
        """The file has the clock of its machine."""
        return 0

    async def close(self) -> None:
        """Finish what was begun and close the file. Calls that come later raise `Unavailable`."""
        for lane in self._lanes:
            await lane.close()


__all__ = ["MEMORY", "SqliteStore"]
