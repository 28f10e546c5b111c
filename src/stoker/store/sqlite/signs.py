"""Pings and stops: which of its jobs a worker still has, and what it was told to let go.

Called by `jobs.py` inside a transaction. A worker that lets go of its last stop, and runs nothing, is idle from then on.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from stoker.ids import JobId, WorkerId
from stoker.job import Confirmed
from stoker.store import Stop
from stoker.store.rows import STOP, stop
from stoker.store.sqlite.transaction import Tx
from stoker.store.sqlite.transitions import LET_GO, advance_job, rest, running_on

SETTLED_MS: Final = 2_000
"""A ping may have left the worker this long before it is read: younger stops may not have reached it then."""

STOPS_OF: Final = f"SELECT {STOP} FROM stops WHERE stops.worker = ? ORDER BY stops.asked_ms, stops.job"
STOPS_DUE: Final = f"SELECT {STOP} FROM stops WHERE stops.asked_ms < ? ORDER BY stops.asked_ms, stops.job"
MARK_TOLD: Final = "UPDATE stops SET told_ms = ? WHERE worker = ? AND job = ?"


def stops(tx: Tx, worker: WorkerId) -> Sequence[Stop]:
    """What the worker has to let go, longest asked first."""
    return [stop(row) for row in tx.all(STOPS_OF, (worker,))]


def stops_due(tx: Tx, asked_before_ms: int) -> Sequence[Stop]:
    """Stops not obeyed since before that moment; those of gone workers went with them."""
    return [stop(row) for row in tx.all(STOPS_DUE, (asked_before_ms,))]


def mark_told(tx: Tx, worker: WorkerId, jobs: Sequence[JobId], at_ms: int) -> None:
    """The worker was told of these just now."""
    for job in jobs:
        tx.execute(MARK_TOLD, (at_ms, worker, job))


def confirm(tx: Tx, worker: WorkerId, jobs: Sequence[JobId] | None, *, at_ms: int, lease_ms: int) -> None:
    """Renew leases of what the worker has; what it was told to stop and does not name, it has let go."""
    event = Confirmed(at_ms=at_ms, worker=worker, lease_until_ms=at_ms + lease_ms)
    named = None if jobs is None else frozenset(jobs)
    for stored in running_on(tx, worker):
        if named is None or stored.job.id in named:
            advance_job(tx, stored, event)
    if named is not None:
        _let_go(tx, worker, [row for row in stops(tx, worker) if row.job not in named], at_ms - SETTLED_MS, at_ms)


def clear_stops(tx: Tx, worker: WorkerId, asked_before_ms: int) -> None:
    """The worker has let go of everything it was asked to stop before that moment."""
    _let_go(tx, worker, stops(tx, worker), asked_before_ms, asked_before_ms)


def _let_go(tx: Tx, worker: WorkerId, rows: Sequence[Stop], asked_before_ms: int, at_ms: int) -> None:
    free = [row.job for row in rows if row.asked_ms < asked_before_ms]
    for job in free:
        tx.execute(LET_GO, (worker, job))
    if free:
        rest(tx, worker, at_ms)
