"""One transaction for everything that waits: operations side by side, each of which may fail alone.

Called by the lanes in `writer.py`. Most work is an `Operation` on an image of the rows (`stoker.store.image`): loaded
together, decided one by one, saved together. What no image is made for (a list, a new endpoint, pruning) is a plain function
of the transaction; what it wrote is undone when it raises.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from stoker.errors import StokerError
from stoker.store.image import Needs, Operation
from stoker.store.sqlite.connection import passing, rollback, translated
from stoker.store.sqlite.load import load
from stoker.store.sqlite.results import FindResult, find_results
from stoker.store.sqlite.save import save
from stoker.store.sqlite.tx import Tx

T = TypeVar("T")
Function = Callable[[Tx], T]
Work = Operation[Any] | Function[Any]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a piece of work: its answer, or why there is none."""

    value: Any = None
    error: Exception | None = None


def write(connection: sqlite3.Connection, works: Sequence[Work]) -> list[Outcome]:
    """Carry out `works` in one transaction and commit it; never raises.

    When the machine fails (no space, I/O error, locked for too long) or the commit does, nothing of it has happened and
    everybody gets the reason. When a statement is refused the work is done again one by one, to find out whose it was.
    """
    try:
        connection.execute("BEGIN IMMEDIATE")
        outcomes = _carry_out(Tx(connection), works)
        connection.execute("COMMIT")
    except Exception as error:
        rollback(connection)
        if passing(error) or len(works) == 1:
            return [Outcome(error=translated(error)) for _ in works]
        return [outcome for work in works for outcome in write(connection, [work])]
    return outcomes


def _carry_out(tx: Tx, works: Sequence[Work]) -> list[Outcome]:
    """Operations first, together; then the functions, which see what the operations wrote."""
    outcomes: dict[int, Outcome] = {}
    operations = [(place, work) for place, work in enumerate(works) if not callable(work)]
    if operations:
        needs = Needs()
        for _, operation in operations:
            operation.need(needs)
        image = load(tx, needs)
        for place, operation in operations:
            try:
                outcomes[place] = Outcome(operation.decide(image))
            except StokerError as error:
                outcomes[place] = Outcome(error=error)
        save(tx, image)
    for place, work in enumerate(works):
        if callable(work):
            outcomes[place] = _apart(tx, work)
    return [outcomes[place] for place in range(len(works))]


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
    try:
        found = _find_results(tx, works)
        others = len(found) < len(works)
        if others:
            connection.execute("BEGIN")
        outcomes = [found[place] if place in found else _looked(tx, work) for place, work in enumerate(works)]
        if others:
            connection.execute("COMMIT")
    except Exception as error:
        rollback(connection)
        return [Outcome(error=translated(error)) for _ in works]
    return outcomes


def _find_results(tx: Tx, works: Sequence[Work]) -> dict[int, Outcome]:
    wanted = {place: work for place, work in enumerate(works) if isinstance(work, FindResult)}
    if not wanted:
        return {}
    results = find_results(tx, list(wanted.values()))
    return {place: Outcome(result) for place, result in zip(wanted, results, strict=True)}


def _looked(tx: Tx, work: Work) -> Outcome:
    try:
        assert callable(work), "an operation is for the writer"
        return Outcome(work(tx))
    except Exception as error:
        return Outcome(error=translated(error))
