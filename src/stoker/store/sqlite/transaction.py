"""One transaction for everything that waits: operations side by side, each of which may fail alone.

Called by the lanes in `writer.py`. Most work is an `Operation` on an image of the rows (`stoker.store.image`): loaded
together, decided one by one, saved together. What no image is made for (a list, a new endpoint, pruning) is a plain function
of the transaction; what it wrote is undone when it raises.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeGuard, TypeVar

import msgspec

from stoker.errors import StokerError
from stoker.store.image import Image, Needs, Operation
from stoker.store.sqlite.connection import passing, rollback, translated
from stoker.store.sqlite.known import Known
from stoker.store.sqlite.load import load
from stoker.store.sqlite.results import FindResult
from stoker.store.sqlite.save import save
from stoker.store.sqlite.tx import Tx

T = TypeVar("T")
Function = Callable[[Tx], T]
Work = Operation[Any] | Function[Any]


class Outcome(msgspec.Struct, frozen=True, gc=False):
    """What became of a piece of work: its answer, or why there is none."""

    value: Any = None
    error: Exception | None = None


class _Marked(Generic[T]):
    """A function of which something is known."""

    def __init__(self, function: Function[T]) -> None:
        self._function = function

    def __call__(self, tx: Tx) -> T:
        """Carry it out."""
        return self._function(tx)


class Brief(_Marked[T]):
    """It is as short as an operation: a few rows by their keys."""


class Unsettling(_Marked[T]):
    """It changes rows which an image may know, such as the slots of an endpoint."""


class Session:
    """The writing connection, and what is known of its rows."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection
        self.known = Known()
        self._image: Image | None = None
        """Of the open transaction."""
        self._version = -1
        """SQLite's number for what other connections wrote."""

    def write(self, works: Sequence[Work]) -> list[Outcome]:
        """Carry out `works` in one transaction and commit it; never raises.

        When the machine fails (no space, I/O error, locked for too long) or the commit does, nothing of it has happened and
        everybody gets the reason. When a statement is refused the work is done again one by one, to find out whose it was.
        """
        try:
            outcomes = self._carry_out(works)
        except Exception as error:
            return self._failed(works, error)
        return self.flush(works, outcomes)

    def begin(self, works: Sequence[Work]) -> list[Outcome] | None:
        """Carry out `works` in a transaction that is left open, for `flush` to commit.

        None, and no transaction, when anything failed: `write` finds out what and whose it was.
        """
        try:
            return self._carry_out(works)
        except Exception:
            self._undo()
            return None

    def flush(self, works: Sequence[Work], outcomes: list[Outcome]) -> list[Outcome]:
        """Commit what `works` did; `outcomes` if that went well, else as `write`."""
        try:
            self.connection.execute("COMMIT")
        except Exception as error:
            return self._failed(works, error)
        if self._image is not None:
            self.known.keep(self._image)
        return outcomes

    def _failed(self, works: Sequence[Work], error: Exception) -> list[Outcome]:
        self._undo()
        if passing(error) or len(works) == 1:
            return [Outcome(error=translated(error)) for _ in works]
        return [outcome for work in works for outcome in self.write([work])]

    def _undo(self) -> None:
        rollback(self.connection)
        self.known.forget()

    def _carry_out(self, works: Sequence[Work]) -> list[Outcome]:
        """Operations first, together; then the functions, which see what the operations wrote."""
        tx = Tx(self.connection)
        tx.execute("BEGIN IMMEDIATE")
        self._image = None
        if _are_operations(works):
            return self._operate(tx, works)
        operations = [work for work in works if not callable(work)]
        decided = iter(self._operate(tx, operations) if operations else ())
        return [self._call(tx, work) if callable(work) else next(decided) for work in works]

    def _call(self, tx: Tx, work: Function[Any]) -> Outcome:
        outcome = _apart(tx, work)
        if isinstance(work, Unsettling):
            self._image = None
            self.known.forget()
        return outcome

    def _operate(self, tx: Tx, operations: Sequence[Operation[Any]]) -> list[Outcome]:
        needs = Needs()
        for operation in operations:
            operation.need(needs)
        self._look_for_others(tx)
        image = self._image = load(tx, needs, self.known)
        outcomes = []
        for operation in operations:
            try:
                outcomes.append(Outcome(operation.decide(image)))
            except StokerError as error:
                outcomes.append(Outcome(error=error))
        save(tx, image)
        return outcomes

    def _look_for_others(self, tx: Tx) -> None:
        """Nobody else should write to the file. If somebody did, nothing is known any more."""
        version = tx.all("PRAGMA data_version")[0][0]
        if version != self._version:
            self._version = version
            self.known.forget()


def _are_operations(works: Sequence[Work]) -> TypeGuard[Sequence[Operation[Any]]]:
    """Whether there is no function among them, as is most often so."""
    return not any(map(callable, works))


def _apart(tx: Tx, function: Function[Any]) -> Outcome:
    """Carry out one function, or nothing of it. Raises when the whole transaction is lost."""
    tx.execute("SAVEPOINT work")
    try:
        outcome = Outcome(function(tx))
    except Exception as error:
        if passing(error):
            raise
        tx.execute("ROLLBACK TO work")
        outcome = Outcome(error=translated(error))
    tx.execute("RELEASE work")
    return outcome


def read(connection: sqlite3.Connection, works: Sequence[Work]) -> list[Outcome]:
    """Carry out `works`, functions which only read, on one state of the database; never raises."""
    tx = Tx(connection)
    several = len(works) > 1 or not isinstance(works[0], FindResult)
    try:
        if several:
            connection.execute("BEGIN")
        outcomes = [_looked(tx, work) for work in works]
        if several:
            connection.execute("COMMIT")
    except Exception as error:
        rollback(connection)
        return [Outcome(error=translated(error)) for _ in works]
    return outcomes


def _looked(tx: Tx, work: Work) -> Outcome:
    try:
        assert callable(work), "an operation is for the writer"
        return Outcome(work(tx))
    except Exception as error:
        return Outcome(error=translated(error))
