"""A connection to the SQLite file: how it is set, brought up to date, and how its errors are told.

Called by `SqliteStore.open`. Every commit is flushed to the disk (`synchronous=FULL`) before anybody hears of it (D2).
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from stoker.errors import Defect, DiskFull, StokerError, Unavailable
from stoker.store.migrations import Migration, migrations

MEMORY: Final = ":memory:"
SQLITE_LEAST: Final = (3, 37, 0)
"""The first release with STRICT tables."""
BUSY_TIMEOUT_MS: Final = 5_000
"""How long to wait for another process, such as a backup, to let go of the file."""
CACHE_KIB: Final = 32 * 1024
"""Pages each connection may keep; beyond it the system's file cache serves."""
WAL_BYTES_MOST: Final = 64 * 1024 * 1024
"""To what the log is cut back after a burst."""
PAGE_BYTES: Final = 16 * 1024
"""Of new files. A body of 100 KiB is seven pages instead of 26: each is checked, written to the log and copied on its own."""
CHECKPOINT_PAGES: Final = 128 * 1024 * 1024 // PAGE_BYTES
"""Pages in the log before a commit copies them to the database (128 MiB), should that not have been done beside it
(`checkpoints.py`). The fewer copies, the more changes of a page share one; a start after a crash reads the log."""
STATEMENTS_KEPT: Final = 512
"""More than there are different statements, so that each is compiled once."""

_SETTINGS: Final = (
    f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}",
    f"PRAGMA page_size = {PAGE_BYTES}",  # before the log: afterwards it cannot change any more
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",
    "PRAGMA foreign_keys = ON",
    "PRAGMA temp_store = MEMORY",
    "PRAGMA secure_delete = FAST",  # what is wiped, such as S3 keys, does not stay behind in free space
    f"PRAGMA cache_size = -{CACHE_KIB}",
    f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}",
    f"PRAGMA journal_size_limit = {WAL_BYTES_MOST}",
)


def connect(path: Path | str) -> sqlite3.Connection:
    """The writing connection, with the schema up to date; makes the folder and the file.

    Raises `Unavailable` when the file cannot be opened, `StokerError` when it is of a newer Stoker.
    """
    if sqlite3.sqlite_version_info < SQLITE_LEAST:
        raise StokerError(f"SQLite {sqlite3.sqlite_version} is too old; 3.37 or newer is needed", code="sqlite_too_old")
    if path == MEMORY:
        return _prepared(path)
    try:
        _make_private(Path(path))
        with _alone(Path(path).parent):
            return _prepared(path)
    except OSError as error:
        raise Unavailable(f"the database {path} cannot be opened: {error.strerror}") from error


def _prepared(path: Path | str) -> sqlite3.Connection:
    try:
        connection = _opened(path)
    except sqlite3.Error as error:
        raise translated(error) from error
    try:
        migrate(connection, migrations("sqlite"))
    except BaseException:
        connection.close()
        raise
    return connection


def connect_reader(path: Path | str) -> sqlite3.Connection:
    """A connection that only reads, beside the writing one. Raises `Unavailable`."""
    try:
        connection = _opened(path)
        connection.execute("PRAGMA query_only = ON")
    except sqlite3.Error as error:
        raise translated(error) from error
    return connection


def connect_beside(path: Path | str) -> sqlite3.Connection:
    """A connection for checkpoints. Raises `Unavailable`."""
    try:
        return _opened(path)
    except sqlite3.Error as error:
        raise translated(error) from error


def _make_private(path: Path) -> None:
    """What customers submit is in the file: only its owner may read it. SQLite's side files inherit the mode."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.touch(mode=0o600, exist_ok=True)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Let one process after the other in: switching a fresh file to WAL fails at once when two try, without waiting.

    It is the folder that is locked. Opening and closing the file itself would drop the locks that SQLite has on it.
    """
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _opened(path: Path | str) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, cached_statements=STATEMENTS_KEPT)
    try:
        for setting in _SETTINGS:
            connection.execute(setting)
    except BaseException:
        connection.close()
        raise
    return connection


# ── schema ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def migrate(connection: sqlite3.Connection, steps: Sequence[Migration]) -> None:
    """Take those of `steps` that the database lacks, all or none; others wait meanwhile.

    Raises `StokerError` (`database_too_new`) when it has seen more steps than these, `Unavailable` when it is locked.
    """
    try:
        connection.execute("BEGIN EXCLUSIVE")
        try:
            _take(connection, steps)
            connection.execute("COMMIT")
        except BaseException:
            rollback(connection)
            raise
    except sqlite3.Error as error:
        raise translated(error) from error


def _take(connection: sqlite3.Connection, steps: Sequence[Migration]) -> None:
    present: int = connection.execute("PRAGMA user_version").fetchone()[0]
    if present > len(steps):
        raise StokerError(
            f"the database has schema {present}, this Stoker knows {len(steps)}: a newer Stoker has used it",
            code="database_too_new",
            next_step="start that newer Stoker, or restore a backup made before the upgrade",
        )
    for step in steps[present:]:
        for statement in _statements(step.sql):
            connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {step.number}")


def _statements(sql: str) -> list[str]:
    """The statements one by one: `executescript` would commit before the first."""
    statements, pending = [], ""
    for line in sql.splitlines(keepends=True):
        pending += line
        if sqlite3.complete_statement(pending):
            statements.append(pending)
            pending = ""
    if pending.strip():
        statements.append(pending)
    return statements


# ── errors ────────────────────────────────────────────────────────────────────────────────────────────────────────────

_PASSING: Final = frozenset(
    {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_INTERRUPT,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_PROTOCOL,
    }
)
"""Primary codes of what the machine may get over: the same call can succeed later."""


def passing(error: Exception) -> bool:
    """Whether the machine, not the statement, is to blame."""
    return isinstance(error, sqlite3.Error) and (getattr(error, "sqlite_errorcode", 0) & 0xFF) in _PASSING


def translated(error: Exception) -> Exception:
    """A driver's error in our words, a fresh one for each caller; others as they are."""
    if not isinstance(error, sqlite3.Error):
        return error
    name = getattr(error, "sqlite_errorname", type(error).__name__)
    if getattr(error, "sqlite_errorcode", 0) == sqlite3.SQLITE_FULL:
        return DiskFull(next_step="make room on the disk of the data directory")
    if passing(error):
        return Unavailable(f"the database cannot do this right now ({name})")
    return Defect(f"the database refused a statement ({name}: {error})")


def rollback(connection: sqlite3.Connection) -> None:
    """Undo the transaction, unless SQLite has done so already."""
    if connection.in_transaction:
        with suppress(sqlite3.Error):  # the next BEGIN fails then, and comes here again
            connection.execute("ROLLBACK")
