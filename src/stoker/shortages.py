"""Shortages: kinds of places that nobody finds for workers now, so that the next kind which an endpoint may use is tried. Pure.

Whoever places workers without saying what there is, a cluster, never says that a kind of place is full; it says of a worker that there
is no room for it yet. When one has waited so for long enough its kind is short: it is passed over for a while, and who waits there
moves on. When all kinds are short none is passed over and nobody moves: a worker that waits is the signal for whoever adds machines.

    a worker waits for wait_s  ──>  its kind is short  ──>  all who wait there move on  ──>  short for pass_over_s more

Like the scaling decision it has no memory: what was tried is read from the workers that moved on.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from stoker.specification import Specification
from stoker.worker import Worker, WorkerReason, WorkerState


@dataclass(frozen=True, kw_only=True, slots=True)
class Patience:
    """How long whoever places workers is waited for."""

    wait_s: float = 60.0
    """How long a worker may be without a place of one kind before another kind is tried."""
    pass_over_s: float = 600.0
    """How long a kind is passed over from then on."""


def shortages(
    now_ms: int,
    choices: Sequence[Specification],
    workers: Iterable[Worker],
    moved_on_ms: Mapping[str, int],
    patience: Patience,
) -> Mapping[str, str]:
    """The kinds to pass over, by id, with the reason in words.

    `choices` are those that a release may use, `workers` are its own; `moved_on_ms` is when the last one moved on from a kind.
    """
    waited = {one.specification for one in workers if _waits(one) and now_ms - one.decided_ms >= patience.wait_s * 1000}
    passed = {kind for kind, at_ms in moved_on_ms.items() if now_ms < at_ms + patience.pass_over_s * 1000}
    short = {
        one.id: f"no place was found on {one.name} within {patience.wait_s:g} s"
        for one in choices
        if one.id in waited | passed
    }
    return short if len(short) < len(choices) else {}


def _waits(worker: Worker) -> bool:
    """Whether somebody has said that there is no room for it yet."""
    return worker.state is WorkerState.DECIDED and worker.reason is WorkerReason.NO_ROOM_YET
