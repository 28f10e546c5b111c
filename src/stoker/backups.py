"""Backup and restore of a server's database, on its machine: `stoker backup`, `stoker restore`.

A backup is the database without the key for its secrets, on purpose: whoever finds the file can open none of them. A PostgreSQL
database has tools of its own, and is refused here.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from stoker import keyring
from stoker.clock import SystemClock
from stoker.config import Settings
from stoker.errors import Conflict, InvalidInput, NotFound
from stoker.listening import lock_data_dir
from stoker.store.sqlite import SqliteStore
from stoker.store.sqlite import backup as copies


@dataclass(frozen=True, kw_only=True, slots=True)
class Restored:
    """What a restore did."""

    jobs_from: Path
    """The backup."""
    aside: Path | None
    """Where the database before is now, if there was one."""


def backup(settings: Settings, file: Path) -> int:
    """Write the database to a new file, while servers run; its size in bytes. Raises `StokerError`."""
    return copies.copy(_database_of(settings), file)


def restore(settings: Settings, file: Path, *, replace: bool) -> Restored:
    """Make a backup the database of the data directory. The database before it stays beside it.

    Nothing is changed unless the backup is whole, of this Stoker or an older one, and its secrets can be opened with the key of the
    settings. Raises `Conflict` (`data_dir_in_use` while a server runs, `database_exists` unless `replace`), `InvalidInput`.
    """
    database = _database_of(settings)
    if not file.is_file():
        raise NotFound(f"there is no file {file}", code="no_such_backup", field="file")
    copies.check(file)
    settings.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    with lock_data_dir(settings.data_dir):
        if database.exists() and not replace:
            raise Conflict(
                f"there is a database already: {database}",
                code="database_exists",
                next_step="to put it aside and go on, repeat with --replace",
            )
        with tempfile.TemporaryDirectory(prefix=".restore-", dir=settings.data_dir) as folder:
            copied = Path(folder) / database.name
            copied.touch(mode=0o600)
            shutil.copyfile(file, copied)
            asyncio.run(_bring_up_to_date(settings, copied))
            return Restored(jobs_from=file, aside=copies.put_in_place(copied, database))


async def _bring_up_to_date(settings: Settings, database: Path) -> None:
    """What a server would do at its start, before anybody relies on it."""
    store = await SqliteStore.open(database)
    try:
        await keyring.open_vault(store, keyring.key_source(settings), SystemClock().now_ms())
    finally:
        await store.close()


def _database_of(settings: Settings) -> Path:
    if settings.database:
        raise InvalidInput(
            "the database is PostgreSQL, which has tools of its own for this",
            code="not_sqlite",
            field="database",
            next_step="use pg_dump and pg_restore, or the backups of the service: docs/how-to/back-up.md",
        )
    return settings.data_dir / "stoker.db"


__all__ = ["Restored", "backup", "restore"]
