"""One transaction on a connection that may fail at any moment, and what its caller may believe afterwards.

Called by the lanes in `lane.py`. Three moments differ:

- Before COMMIT was sent nothing has happened: a lost race is run again, and so is, once, what a lost connection cut off.
- After its answer everything has happened.
- In between nobody knows. That is never told as success, and never run again: callers get `Unavailable` with the code
  `outcome_unknown`. Every report may be repeated (finishing twice is acknowledged twice); a submission that is repeated
  without an `Idempotency-Key` may become two jobs.
"""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

import asyncpg

from stoker.errors import OutcomeUnknown, StokerError
from stoker.store.postgres.connection import Connection, Link, lost, raced, translated

T = TypeVar("T")
Function = Callable[[Connection], Awaitable[T]]

RACES_MOST: Final = 5
"""How often one transaction is run again because others were faster."""


async def transact(link: Link, function: Function[T]) -> T:
    """Carry out `function` in one transaction and commit it.

    Raises what it raised if that is a `StokerError` of ours; what a driver raised as it is when the statement is to blame,
    else `Unavailable`. Nothing has happened then, but for `OutcomeUnknown`.
    """
    races, cuts = 0, 0
    while True:
        connection = await link.connection()
        try:
            return await _once(link, connection, function)
        except OutcomeUnknown:
            raise
        except Exception as error:
            if raced(error) and races < RACES_MOST:
                races += 1
            elif lost(error) and not isinstance(error, TimeoutError) and not cuts:
                cuts += 1
            elif lost(error):
                raise translated(error, link.database) from None
            else:
                raise


async def _once(link: Link, connection: Connection, function: Function[T]) -> T:
    try:
        await connection.execute("BEGIN")
        answer = await function(connection)
    except BaseException as error:
        await _undo(link, connection, error)
        raise
    try:
        await connection.execute("COMMIT")
    except BaseException as error:
        link.drop()
        raise _told(error) from None
    return answer


async def at_once(link: Link, function: Function[T]) -> T:
    """Carry out `function`, a single statement, which is a transaction by itself. Raises like `transact`."""
    connection = await link.connection()
    try:
        return await function(connection)
    except BaseException as error:
        if not _answered(error):
            link.drop()
        raise _told(error) from None


def _answered(error: BaseException) -> bool:
    """Whether the database says that it did not commit."""
    return isinstance(error, asyncpg.PostgresError) and not lost(error)


def _told(error: BaseException) -> BaseException:
    """What callers may believe after a commit failed so."""
    if _answered(error):
        return error
    return OutcomeUnknown(next_step="look, or repeat it; submissions are safe to repeat with an Idempotency-Key")


async def _undo(link: Link, connection: Connection, error: BaseException) -> None:
    """Leave the connection without a transaction, or not at all."""
    if isinstance(error, StokerError) or (isinstance(error, asyncpg.PostgresError) and not lost(error)):
        with contextlib.suppress(OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
            await connection.execute("ROLLBACK")
            return
    link.drop()


async def look(link: Link, function: Function[T]) -> T:
    """Carry out `function`, which only reads, without a transaction; once more if the connection was found lost.

    Raises like `transact`.
    """
    for again in (True, False):
        connection = await link.connection()
        try:
            return await function(connection)
        except BaseException as error:
            if isinstance(error, StokerError) or (isinstance(error, asyncpg.PostgresError) and not lost(error)):
                raise
            link.drop()
            if not lost(error):
                raise
            if not again or isinstance(error, TimeoutError):
                raise translated(error, link.database) from None
    raise AssertionError("the second time returns or raises")
