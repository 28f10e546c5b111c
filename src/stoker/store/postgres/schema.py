"""The schema of a PostgreSQL database, brought up to date.

Called by `PostgresStore.open`, before anything else uses the database. Servers that start together take turns: the one after
finds everything done. All missing steps are one transaction: a step that fails leaves what was there before.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from stoker.errors import StokerError
from stoker.store.migrations import Migration
from stoker.store.postgres.connection import Connection, Database, translated

TURN: Final = "SELECT pg_advisory_xact_lock(5463, 1)"
"""One after the other. Two numbers, so that it is apart from the locks of idempotency keys, which are one."""
MAKE: Final = "CREATE TABLE IF NOT EXISTS schema_steps (number integer PRIMARY KEY, name text NOT NULL)"
TAKEN: Final = "SELECT coalesce(max(number), 0) FROM schema_steps"
NOTE: Final = "INSERT INTO schema_steps (number, name) VALUES ($1, $2)"


async def migrate(database: Database, steps: Sequence[Migration]) -> int:
    """Take those of `steps` that the database lacks, all or none; how many it lacked.

    Raises `StokerError` (`database_too_new`) when it has seen more steps than these, `Unavailable`, `Defect`.
    """
    connection = await database.connect(patient=True)  # a step may rewrite a large table
    try:
        await connection.execute("BEGIN")
        lacked = await _take(connection, steps)
        await connection.execute("COMMIT")
    except StokerError:
        raise
    except Exception as error:
        raise translated(error, database) from None
    finally:
        connection.terminate()  # which undoes what was not committed
    return lacked


async def _take(connection: Connection, steps: Sequence[Migration]) -> int:
    await connection.execute(TURN)
    await connection.execute(MAKE)
    present: int = await connection.fetchval(TAKEN)
    if present > len(steps):
        raise StokerError(
            f"the database has schema {present}, this Stoker knows {len(steps)}: a newer Stoker has used it",
            code="database_too_new",
            next_step="start that newer Stoker, or restore a backup made before the upgrade",
        )
    for step in steps[present:]:
        await connection.execute(step.sql)
        await connection.execute(NOTE, step.number, step.name)
    return len(steps) - present
