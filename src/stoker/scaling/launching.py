"""When there are too few workers: how many start, or what forbids it; and who of an old release goes for them."""

from __future__ import annotations

import math
from typing import Final

from stoker.amounts import counted
from stoker.scaling.fleet import Fleet, first_to_go
from stoker.scaling.views import Drain, Launch, Plan, Reason, RoomView, Snapshot, Why
from stoker.worker import WorkerReason

BACKOFF_FIRST_S: Final = 1
BACKOFF_MOST_S: Final = 300
"""After n failed launches in a row the next one waits min(2 to the power n-1, 300) seconds."""
CRASH_LOOP_FAILURES: Final = 3
"""From this many failed launches in a row it is a crash loop, and every waiting job says so."""
CRASHES_MOST: Final = 8
"""After this many in a row that began to run and ended by themselves, launches stop until somebody changes something: what a
worker does wrong at its start it does every time. What the machine or a registry did wrong may mend itself, and goes on."""
RECHECK_MS: Final = 2_000
"""How soon to ask again after the runtime did not answer or had no room: neither announces that it changed its mind."""


def grow(snapshot: Snapshot, fleet: Fleet, asked: int, wanted: int, leaving: tuple[Drain, ...]) -> Plan:
    """The plan when more are wanted than the present release has."""
    missing = wanted - len(fleet.new)
    launch, why = None, _obstacle(snapshot, fleet, wanted)
    if why is None:
        cause, text = _cause(snapshot, fleet, asked, wanted)
        count = _possible(snapshot, min(missing, _beyond(snapshot, fleet, wanted)))
        where = _where(snapshot, count)
        launch = Launch(
            count=count,
            alive_max=_alive_max(snapshot),
            reason=cause,
            text=text + where,
            wanted_ms=snapshot.queued_since_ms,
        )
        reason, words = why_starting(snapshot, fleet.starting + launch.count)
        why = (reason, words + where)
    return Plan(
        wanted=wanted,
        reason=why[0],
        text=why[1],
        launch=launch,
        drain=leaving + _make_room(snapshot, fleet, leaving, why[0]),
        look_again_ms=snapshot.first_after_now(
            snapshot.now_ms + snapshot.delay_left_ms,
            snapshot.now_ms + _backoff_left_ms(snapshot),
            _recheck_ms(snapshot, missing),
        ),
    )


def _recheck_ms(snapshot: Snapshot, missing: int) -> int | None:
    """When to ask again a runtime that does not answer, or a machine without room for all that are missing."""
    full = snapshot.capacity is not None and snapshot.capacity < missing
    return snapshot.now_ms + RECHECK_MS if full or not snapshot.available else None


def _obstacle(snapshot: Snapshot, fleet: Fleet, wanted: int) -> Why | None:
    """Why nothing can be launched now; None when something can."""
    if not snapshot.available:
        return Reason.RUNTIME_UNAVAILABLE, "the runtime that starts workers does not answer"
    if snapshot.crashes >= CRASHES_MOST and not fleet.starting:
        return _given_up(snapshot)
    if snapshot.failures and (fleet.starting or _backoff_left_ms(snapshot)):
        return _trouble(snapshot, trying=fleet.starting > 0)
    if _beyond(snapshot, fleet, wanted) <= 0:
        begun = f"{counted(len(fleet.new), 'worker')} of {wanted} of the new release, {fleet.starting} still starting"
        return Reason.REPLACING, f"{begun}; {counted(len(fleet.old), 'worker')} of an old one until they are ready"
    if len(snapshot.workers) >= _alive_max(snapshot):
        leaving = len(snapshot.workers) - len(fleet.serving)
        return (
            Reason.AT_MAX_WORKERS,
            f"{counted(leaving, 'worker')} still finishing or stopping, and at most {_alive_max(snapshot)} may exist at once",
        )
    if snapshot.capacity is not None and snapshot.capacity <= 0:
        return Reason.NO_CAPACITY, snapshot.full_text or "the machine has no room for another worker"
    return None


def _possible(snapshot: Snapshot, missing: int) -> int:
    """How many of the missing workers may start now; after a failure one at a time, to see whether it lives."""
    if snapshot.failures:
        return 1
    room = _alive_max(snapshot) - len(snapshot.workers)
    return min(missing, room, missing if snapshot.capacity is None else snapshot.capacity)


def _cause(snapshot: Snapshot, fleet: Fleet, asked: int, wanted: int) -> Why:
    have = len(fleet.serving)
    if asked < snapshot.min_workers:
        return Reason.BELOW_MIN, f"{counted(have, 'worker')} of at least {snapshot.min_workers}"
    reason = Reason.WORKERS_BUSY if have else Reason.NO_WORKER_YET
    return reason, f"{counted(snapshot.queued, 'job')} waiting, {counted(have, 'worker')} of {wanted} wanted"


def _where(snapshot: Snapshot, count: int) -> str:
    """Where they go, in words, if that is not where they would like to go most."""
    first, *others = snapshot.rooms or (RoomView(),)
    left = 0 if first.workers is None else count - first.workers
    if left <= 0:
        return ""
    parts = [f"{first.workers} on {first.name}"] if first.workers else []
    for room in others:
        if left > 0 and room.workers != 0:
            parts.append(f"{left if room.workers is None else min(left, room.workers)} on {room.name}")
            left -= left if room.workers is None else room.workers
    return f"; {', '.join(parts)}: {first.none or f'{first.name} has no more room'}"


def why_starting(snapshot: Snapshot, count: int) -> Why:
    """What a waiting job hears while workers start."""
    if snapshot.failures:
        return _trouble(snapshot, trying=True)
    coming = [worker for worker in snapshot.workers if worker.current and worker.serves]
    unplaced = next((worker.no_room for worker in coming if worker.no_room), "")
    if unplaced:
        return Reason.NO_CAPACITY, f"{counted(count, 'worker')} starting: {unplaced}"
    pulling = next((worker.pulling for worker in coming if worker.pulling), "")
    if pulling:
        return Reason.IMAGE_PULLING, f"{counted(count, 'worker')} starting: {pulling}"
    ailing = next((worker.ailing for worker in coming if worker.ailing), "")
    if ailing:
        return Reason.HEALTH_FAILING, f"{counted(count, 'worker')} starting, health check: {ailing}"
    placing = next((worker.placing for worker in coming if worker.placing), "")
    return Reason.WORKER_STARTING, f"{counted(count, 'worker')} starting" + (f": {placing}" if placing else "")


# ── replacing workers of an old release ───────────────────────────────────────────────────────────────────────────────


def _beyond(snapshot: Snapshot, fleet: Fleet, wanted: int) -> int:
    """How many more may serve at once: those that are wanted, and the surge beside old ones."""
    return wanted + (snapshot.max_surge if fleet.old else 0) - len(fleet.serving)


def _alive_max(snapshot: Snapshot) -> int:
    """How many may exist at once: while workers of an old release are still there, the surge comes on top."""
    return snapshot.max_workers + (0 if all(worker.current for worker in snapshot.workers) else snapshot.max_surge)


def drain_replaced(fleet: Fleet, wanted: int) -> tuple[Drain, ...]:
    """Old workers whose successors are ready, and those that nobody needs; idle ones first."""
    kept = max(0, wanted - sum(worker.takes_jobs for worker in fleet.new))
    first = sorted(first_to_go(fleet.old), key=lambda worker: worker.held > 0)
    return tuple(
        Drain(worker=worker.id, reason=WorkerReason.NEW_RELEASE, text="workers of a newer release took its place")
        for worker in first[: max(0, len(fleet.old) - kept)]
    )


def _make_room(snapshot: Snapshot, fleet: Fleet, leaving: tuple[Drain, ...], reason: Reason) -> tuple[Drain, ...]:
    """On a full machine there is no room for a successor beside an old worker: then one at a time goes before it."""
    others = leaving or fleet.starting or not all(worker.serves for worker in snapshot.workers)
    if reason is not Reason.NO_CAPACITY or others or not fleet.old:
        return ()
    first = min(first_to_go(fleet.old), key=lambda worker: worker.held > 0)
    text = "the endpoint has a newer release, and no room for its workers beside this one"
    return (Drain(worker=first.id, reason=WorkerReason.NEW_RELEASE, text=text),)


# ── when launches fail ────────────────────────────────────────────────────────────────────────────────────────────────


def _backoff_left_ms(snapshot: Snapshot) -> int:
    """How long the next launch has to wait for the last one that failed."""
    if snapshot.failures == 0 or snapshot.failed_ms is None:
        return 0
    doublings = min(snapshot.failures - 1, BACKOFF_MOST_S.bit_length())
    wait_ms = min(BACKOFF_FIRST_S << doublings, BACKOFF_MOST_S) * 1000
    return max(0, snapshot.failed_ms + wait_ms - snapshot.now_ms)


def _given_up(snapshot: Snapshot) -> Why:
    """What a waiting job hears when nothing will be launched any more."""
    text = (
        f"{counted(snapshot.failures, 'start')} in a row failed, the last with: {snapshot.failure_text or 'no message'}"
    )
    return Reason.CRASH_LOOP, f"{text}; no more are tried until a new release, or: stoker endpoint retry"


def _trouble(snapshot: Snapshot, *, trying: bool) -> Why:
    """What a waiting job hears while launches fail."""
    reason = Reason.CRASH_LOOP if snapshot.failures >= CRASH_LOOP_FAILURES else Reason.LAUNCH_BACKOFF
    starts = counted(snapshot.failures, "start") + (" in a row" if snapshot.failures > 1 else "")
    then = "trying again now" if trying else f"next try in {math.ceil(_backoff_left_ms(snapshot) / 1000)} s"
    return reason, f"{starts} failed, the last with: {snapshot.failure_text or 'no message'}; {then}"
