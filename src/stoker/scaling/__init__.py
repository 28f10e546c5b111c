"""How many workers an endpoint should have: `decide(snapshot) -> plan`, pure and without memory (D8).

The snapshot holds every time that matters (when workers were decided, since when they are idle, when a launch last
failed), so hysteresis and back-off need no hidden state: shifting all times shifts nothing else. The plan says what to
launch and whom to drain, gives each line and each refusal a reason, and says when to look again.

    what the load asks for  ──>  held between min and max  ──>  more than there are?  launch, or say what forbids it
                                                                 otherwise            drain what nobody needs

What must stay true (`tests/rules/test_scaling.py` proves it):

- No plan launches beyond max, counting every worker that still uses the machine.
- A worker that holds a job is drained only with its release or its endpoint, never to save money.
- A plan, once carried out, leaves nothing to do until an event or `look_again_ms`.

The formulae are published in `docs/scaling.md`; its examples are tests.
"""

from __future__ import annotations

from dataclasses import replace

from stoker.scaling.draining import drain_giving_way, drain_moving_on, drain_outdated, settle
from stoker.scaling.fleet import count_fleet, wanted_by_load
from stoker.scaling.launching import (
    BACKOFF_FIRST_S,
    BACKOFF_MOST_S,
    CRASH_LOOP_FAILURES,
    CRASHES_MOST,
    RECHECK_MS,
    drain_replaced,
    grow,
)
from stoker.scaling.views import Drain, Launch, Plan, Reason, RoomView, Snapshot, WorkerView
from stoker.worker import WorkerState


def decide(snapshot: Snapshot) -> Plan:
    """What to do now, why, and when to look again."""
    leaving = drain_outdated(snapshot)
    if snapshot.deleted:
        return Plan(wanted=0, reason=Reason.DELETED, text="the endpoint was deleted", drain=leaving)
    if snapshot.paused:
        return Plan(wanted=0, reason=Reason.PAUSED, text="the endpoint is paused: its queue is kept", drain=leaving)
    if snapshot.arrears:
        return Plan(wanted=0, reason=Reason.BUDGET, text=snapshot.arrears, drain=leaving)
    others_turn = drain_giving_way(snapshot, leaving) + drain_moving_on(snapshot)
    snapshot, leaving = _without(snapshot, others_turn), leaving + others_turn
    fleet = count_fleet(snapshot)
    asked = wanted_by_load(snapshot)
    wanted = min(max(asked, snapshot.min_workers), snapshot.max_workers)
    replaced = drain_replaced(fleet, wanted)
    going = {line.worker for line in replaced}
    fleet = replace(fleet, old=tuple(worker for worker in fleet.old if worker.id not in going))
    if wanted > len(fleet.new):
        return grow(snapshot, fleet, asked, wanted, leaving + replaced)
    return settle(snapshot, fleet, asked, wanted, leaving + replaced)


def _without(snapshot: Snapshot, leaving: tuple[Drain, ...]) -> Snapshot:
    """As it is once those are drained."""
    going = {line.worker for line in leaving}
    workers = (replace(one, state=WorkerState.DRAINING) if one.id in going else one for one in snapshot.workers)
    return replace(snapshot, workers=tuple(workers)) if going else snapshot


def missing(snapshot: Snapshot) -> int:
    """How many workers would be launched now if there were room for as many as like."""
    launch = decide(replace(snapshot, rooms=(RoomView(),), available=True)).launch
    return 0 if launch is None else launch.count


__all__ = [
    "BACKOFF_FIRST_S",
    "BACKOFF_MOST_S",
    "CRASHES_MOST",
    "CRASH_LOOP_FAILURES",
    "RECHECK_MS",
    "Drain",
    "Launch",
    "Plan",
    "Reason",
    "RoomView",
    "Snapshot",
    "WorkerView",
    "decide",
    "missing",
    "wanted_by_load",
]
