"""Copies of the SQLite file: one made while servers write to it, and one put in its place while none runs.

Called by `stoker backup` and `stoker restore`, in a process of their own. SQLite copies within one reading transaction, so a copy is
the database at one moment; a server that writes meanwhile is not held up. What must stay true: a copy has its name only once it is
whole, checked and on the disk.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Final

from stoker.errors import Conflict, InvalidInput, NotFound, StokerError, Unavailable
from stoker.store.sqlite.connection import BUSY_TIMEOUT_MS, translated

ENDINGS: Final = ("", "-wal", "-shm")
"""The files of a database that was not closed, by the ending of the name. They belong together: without its log a database may lack
what was committed."""


def copy(source: Path, target: Path) -> int:
    """Copy the database `source` to the new file `target`; its size in bytes.

    Raises `NotFound` when there is no database, `Conflict` (`file_exists`), `InvalidInput` when it is none of ours or damaged,
    `Unavailable` when the disk does not do it.
    """
    if not source.is_file():
        raise NotFound(
            f"there is no database {source}",
            code="no_database",
            next_step="say where it is with --data-dir",
        )
    if target.exists():
        raise Conflict(f"{target} exists already", code="file_exists", next_step="choose another name")
    with _until_whole(target) as unfinished:
        _copy(source, unfinished)
        check(unfinished)
    return target.stat().st_size


def _copy(source: Path, target: Path) -> None:
    try:
        with (
            closing(sqlite3.connect(f"{source.absolute().as_uri()}?mode=ro", uri=True)) as reading,
            closing(sqlite3.connect(target)) as writing,
        ):
            reading.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
            reading.backup(writing)
            writing.execute("PRAGMA journal_mode = DELETE")  # one file, whatever reads it
    except sqlite3.Error as error:
        raise _damaged(source) if _no_database(error) else translated(error) from error


def check(file: Path) -> None:
    """Raise `InvalidInput` (`no_backup`) unless `file` is a whole database of ours."""
    try:
        with closing(sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True)) as reading:
            sound = reading.execute("PRAGMA quick_check(1)").fetchone()[0] == "ok"
            ours = reading.execute("SELECT 1 FROM sqlite_schema WHERE name = 'api_keys'").fetchone() is not None
    except sqlite3.Error as error:
        raise _damaged(file) if _no_database(error) else translated(error) from error
    if not (sound and ours):
        raise _damaged(file)


def put_in_place(file: Path, database: Path) -> Path | None:
    """Make `file` the database; where the one before it was put, if there was one. Only while no server uses either.

    `file` and `database` are in one folder: a rename is all or nothing.
    """
    existed = database.exists()
    aside = _free_name(database)
    for ending in ENDINGS:
        with suppress(FileNotFoundError):
            os.rename(f"{database}{ending}", f"{aside}{ending}")
    os.rename(file, database)
    _flush(database.parent)
    return aside if existed else None


def _free_name(database: Path) -> Path:
    names = (database.with_name(f"{database.name}.before-{number}") for number in range(1, 10_000))
    return next(name for name in names if not name.exists())


@contextmanager
def _until_whole(target: Path) -> Iterator[Path]:
    """A name to write to; what is there at the end gets the name `target`, after an error nothing is left."""
    unfinished = target.with_name(f".{target.name}.unfinished")
    try:
        os.close(os.open(unfinished, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    except OSError as error:
        raise Unavailable(f"cannot write {unfinished}: {error.strerror}", code="cannot_write") from None
    try:
        yield unfinished
        _flush(unfinished)
        os.rename(unfinished, target)
        _flush(target.parent)
    finally:
        unfinished.unlink(missing_ok=True)


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _no_database(error: sqlite3.Error) -> bool:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT)


def _damaged(file: Path) -> StokerError:
    return InvalidInput(
        f"{file} is no database of Stoker, or it is damaged",
        code="no_backup",
        field="file",
        next_step="name a file that `stoker backup` has written",
    )


__all__ = ["check", "copy", "put_in_place"]
