"""The scaling decision: the examples of `docs/scaling.md`, and what holds for every snapshot."""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, event, given
from hypothesis import strategies as st

from stoker import scaling
from stoker.endpoint import Policy, PolicyType
from stoker.ids import WorkerId
from stoker.scaling import Drain, Plan, Reason, RoomView, Snapshot, WorkerView, decide, wanted_by_load
from stoker.worker import WorkerReason, WorkerState

DOCUMENT = Path(__file__).parents[2] / "docs" / "scaling.md"
SERVING = (WorkerState.DECIDED, WorkerState.STARTING, WorkerState.READY)

# ── the examples of the document ──────────────────────────────────────────────────────────────────────────────────────


def _read_examples(text: str) -> dict[str, Any]:
    """What follows each `####` title: a JSON block with a snapshot and its plan."""
    block = re.compile(r"^#### (.+)\n(?:(?!#).*\n)*?```json\n((?:.*\n)*?)```$", re.MULTILINE)
    return {title: json.loads(body) for title, body in block.findall(text)}


EXAMPLES = _read_examples(DOCUMENT.read_text("utf-8"))


def _read_snapshot(written: dict[str, Any]) -> Snapshot:
    """A snapshot from its JSON; what is left out is as the document says."""
    values: dict[str, Any] = {
        "now_ms": 1_000_000,
        "min_workers": 0,
        "max_workers": 3,
        "idle_timeout_s": 60,
        "slots": 1,
    } | written
    kind, value = values.pop("policy", ["queue_requests", 1])
    workers = tuple(_read_worker(worker) for worker in values.pop("workers", []))
    if "rooms" in values:
        values["rooms"] = tuple(_read_room(name, has) for name, has in values["rooms"].items())
    return Snapshot(**values, policy=Policy(type=PolicyType(kind), value=value), workers=workers)


def _read_room(name: str, has: int | str | None) -> RoomView:
    """How many there is room for, or why nobody finds room."""
    return RoomView(name=name, workers=0, none=has) if isinstance(has, str) else RoomView(name=name, workers=has)


def _read_worker(written: dict[str, Any]) -> WorkerView:
    values: dict[str, Any] = {"state": "ready", "current": True, "held": 0, "decided_ms": 0} | written
    state = WorkerState(values.pop("state"))
    return WorkerView(**values, state=state)


def _write_plan(plan: Plan) -> dict[str, Any]:
    """A plan as the document shows it: words for the whole plan, numbers and names for its lines."""
    written: dict[str, Any] = {"wanted": plan.wanted, "reason": plan.reason.value, "text": plan.text}
    if plan.launch is not None:
        written["launch"] = plan.launch.count
    if plan.drain:
        written["drain"] = {line.worker: line.reason.value for line in plan.drain}
    if plan.look_again_ms is not None:
        written["look_again_ms"] = plan.look_again_ms
    return written


@pytest.mark.parametrize("title", EXAMPLES)
def test_examples_of_the_document(title: str) -> None:
    """Every example in docs/scaling.md is what the code decides."""
    assert _write_plan(decide(_read_snapshot(EXAMPLES[title]["snapshot"]))) == EXAMPLES[title]["plan"]


def test_every_block_of_the_document_is_an_example() -> None:
    """No JSON block of docs/scaling.md escapes the test above."""
    assert DOCUMENT.read_text("utf-8").count("```json") == len(EXAMPLES) > 0


def test_every_reason_has_an_example() -> None:
    """Each reason that the console can show is explained by an example of docs/scaling.md."""
    plans = [decide(_read_snapshot(example["snapshot"])) for example in EXAMPLES.values()]
    shown = {plan.reason for plan in plans} | {plan.launch.reason for plan in plans if plan.launch}
    assert shown == set(Reason)


@pytest.mark.parametrize("name", ["BACKOFF_MOST_S", "CRASHES_MOST", "CRASH_LOOP_FAILURES", "RECHECK_MS"])
def test_numbers_of_the_document(name: str) -> None:
    """docs/scaling.md names the code's limits with the code's values."""
    assert f"`{name}` = {getattr(scaling, name)}" in DOCUMENT.read_text("utf-8")


# ── any snapshot ──────────────────────────────────────────────────────────────────────────────────────────────────────

NOW_MS = 1_700_000_000_000
EMPTY = Snapshot(now_ms=NOW_MS, min_workers=0, max_workers=3, idle_timeout_s=60, slots=1, policy=Policy())
"""An endpoint without jobs and workers."""
PAST_MS = st.integers(0, 400_000).map(lambda ago: NOW_MS - ago)


ROOMS = [(RoomView(),)] * 3 + [
    (),
    (RoomView(name="A", workers=0),),
    (RoomView(name="A", workers=1),),
    (RoomView(name="A", workers=2), RoomView(name="B", workers=3)),
    (RoomView(name="A", workers=0), RoomView(name="B")),
    (RoomView(name="A", workers=0, none="no place was found on A within 60 s"), RoomView(name="B")),
]
"""Where a machine may have room: without bound, nowhere, in one kind of place or in two."""
LOADS = [(state, 0) for state in WorkerState if state is not WorkerState.GONE] + [
    (state, held) for state in (WorkerState.READY, WorkerState.DRAINING) for held in (0, 1, 3)
]
"""Where a worker may be and how many jobs it may hold there."""


@st.composite
def worker_views(draw: st.DrawFn, number: int) -> WorkerView:
    """A worker that is not gone; only one that was ready once can hold jobs, and its idle time may be an old one."""
    state, held = draw(st.sampled_from(LOADS))
    place = draw(st.sampled_from(["found", "looked for", "none"])) if state is WorkerState.DECIDED else "found"
    return WorkerView(
        id=WorkerId(f"w{number}"),
        state=state,
        current=draw(st.integers(0, 3)) < 3,
        held=held,
        decided_ms=draw(PAST_MS),
        idle_ms=draw(PAST_MS) if state in (WorkerState.READY, WorkerState.DRAINING) else None,
        placing="the cluster looks for a node" if place == "looked for" else "",
        no_room="no node has room" if place == "none" else "",
        ailing=draw(st.sampled_from(["", "", "HTTP 503"])) if state is WorkerState.READY else "",
    )


@st.composite
def snapshots(draw: st.DrawFn) -> Snapshot:
    """An endpoint as the fleet may find it: workers of several releases, more than max after max was lowered."""
    max_workers = draw(st.integers(1, 5))
    queued = draw(st.integers(0, 12))
    failures = draw(st.sampled_from([0, 0, 0, 0, 0, 1, 2, 60]))
    return Snapshot(
        now_ms=NOW_MS,
        min_workers=draw(st.integers(0, max_workers)),
        max_workers=max_workers,
        idle_timeout_s=draw(st.integers(1, 300)),
        slots=draw(st.integers(1, 3)),
        policy=Policy(type=draw(st.sampled_from(PolicyType)), value=draw(st.integers(1, 20))),
        deleted=draw(st.integers(0, 9)) == 9,
        queued=queued,
        queued_low=draw(st.integers(0, 2)),
        oldest_queued_ms=draw(PAST_MS) if queued else None,
        running=draw(st.integers(0, 9)),
        workers=tuple(draw(worker_views(number)) for number in range(draw(st.integers(0, 6)))),
        failures=failures,
        failed_ms=draw(PAST_MS) if failures else None,
        rooms=draw(st.sampled_from(ROOMS)),
        max_surge=draw(st.sampled_from([0, 0, 1, 2])),
        available=draw(st.integers(0, 9)) < 9,
    )


def serving(snapshot: Snapshot) -> list[WorkerView]:
    """Workers of the present release that take jobs now or will."""
    return [worker for worker in snapshot.workers if worker.current and worker.state in SERVING]


def rolling(snapshot: Snapshot) -> bool:
    """Whether ready workers of an old release may stay until their successors are ready."""
    return snapshot.max_surge > 0 and not all(worker.current for worker in snapshot.workers)


def launched(plan: Plan) -> int:
    """How many workers the plan starts."""
    return plan.launch.count if plan.launch else 0


def scale_downs(plan: Plan) -> list[Drain]:
    """Lines that save workers, as opposed to lines that follow a release or an endpoint out."""
    return [line for line in plan.drain if line.reason is WorkerReason.SCALED_DOWN]


def lines(plan: Plan) -> Counter[str]:
    """What the plan does, without its words: how often each worker is drained, how many are launched."""
    return Counter({"launch": launched(plan)} | Counter(line.worker for line in plan.drain))


def carried_out(snapshot: Snapshot, plan: Plan) -> Snapshot:
    """The snapshot when everything in the plan has been done, and nothing else has happened."""
    going = {line.worker for line in plan.drain}
    stayed = [
        replace(worker, state=WorkerState.DRAINING) if worker.id in going else worker for worker in snapshot.workers
    ]
    new = [
        WorkerView(
            id=WorkerId(f"new{number}"), state=WorkerState.DECIDED, current=True, held=0, decided_ms=snapshot.now_ms
        )
        for number in range(launched(plan))
    ]
    return replace(snapshot, workers=(*stayed, *new), rooms=_rooms_left(snapshot.rooms, len(new)))


def _rooms_left(rooms: tuple[RoomView, ...], count: int) -> tuple[RoomView, ...]:
    """The rooms when so many more workers are there, the first ones filled first."""
    left = []
    for room in rooms:
        taken = count if room.workers is None else min(count, room.workers)
        left.append(room if room.workers is None else replace(room, workers=room.workers - taken))
        count -= taken
    return tuple(left)


def moved(snapshot: Snapshot, by_ms: int) -> Snapshot:
    """The same story told `by_ms` later."""

    def later(at_ms: int | None) -> int | None:
        return None if at_ms is None else at_ms + by_ms

    return replace(
        snapshot,
        now_ms=snapshot.now_ms + by_ms,
        oldest_queued_ms=later(snapshot.oldest_queued_ms),
        failed_ms=later(snapshot.failed_ms),
        workers=tuple(
            replace(worker, decided_ms=worker.decided_ms + by_ms, idle_ms=later(worker.idle_ms))
            for worker in snapshot.workers
        ),
    )


@given(snapshots())
def test_within_max(snapshot: Snapshot) -> None:
    """A launch never leads beyond max, whether one counts serving workers or all that use the machine; while old workers are
    replaced, the surge comes on top of all, and is what the store is told."""
    plan = decide(snapshot)
    count = launched(plan)
    most = snapshot.max_workers + (snapshot.max_surge if rolling(snapshot) else 0)
    assert count == 0 or len(serving(snapshot)) + count <= snapshot.max_workers
    assert count == 0 or len(snapshot.workers) + count <= most
    assert plan.launch is None or plan.launch.alive_max == most
    assert snapshot.capacity is None or count <= snapshot.capacity


@given(snapshots())
def test_within_wanted(snapshot: Snapshot) -> None:
    """The number that is wanted lies between min and max, or is 0 for a deleted endpoint."""
    wanted = decide(snapshot).wanted
    assert wanted == 0 if snapshot.deleted else snapshot.min_workers <= wanted <= snapshot.max_workers


@given(snapshots())
def test_min_is_kept_ready(snapshot: Snapshot) -> None:
    """Saving workers leaves min of them ready, or no ready one goes at all; being over max is the only exception."""
    plan = decide(replace(snapshot, deleted=False))
    assume(len(serving(snapshot)) <= snapshot.max_workers)
    ready = {worker.id for worker in serving(snapshot) if worker.state is WorkerState.READY}
    going = ready & {line.worker for line in scale_downs(plan)}
    assert not going or len(ready - going) >= max(snapshot.min_workers, plan.wanted)


@given(snapshots())
def test_no_lease_is_drained_to_save_a_worker(snapshot: Snapshot) -> None:
    """A worker that holds a job goes with its release or its endpoint only."""
    held = {worker.id: worker.held for worker in snapshot.workers}
    assert all(held[line.worker] == 0 for line in scale_downs(decide(snapshot)))


@given(snapshots())
def test_only_serving_workers_are_drained_and_each_once(snapshot: Snapshot) -> None:
    """A worker on its way out is not told again, and no worker is named twice."""
    drained = [line.worker for line in decide(snapshot).drain]
    assert len(drained) == len(set(drained))
    assert set(drained) <= {worker.id for worker in snapshot.workers if worker.state in SERVING}


@given(snapshots())
def test_all_outdated_workers_leave(snapshot: Snapshot) -> None:
    """Without a surge every worker of an old release is drained at once, holding jobs or not; with one, those that do not take
    jobs yet."""
    at_once = SERVING if snapshot.max_surge == 0 else (WorkerState.DECIDED, WorkerState.STARTING)
    outdated = {worker.id for worker in snapshot.workers if worker.state in at_once and not worker.current}
    assert outdated <= {line.worker for line in decide(snapshot).drain}


@given(snapshots())
def test_old_workers_go_on_until_their_successors_are_ready(snapshot: Snapshot) -> None:
    """With a surge, replacing leaves as many ready workers as are wanted, or takes nobody away; only on a full machine where
    nothing starts or leaves, one old worker makes room. There are never more at once than are wanted and the surge."""
    surge = replace(snapshot, max_surge=max(1, snapshot.max_surge), deleted=False, paused=False)
    plan = decide(surge)
    views = {worker.id: worker for worker in surge.workers}
    new = [worker for worker in serving(surge) if worker.state is WorkerState.READY]
    old = [worker for worker in surge.workers if not worker.current and worker.state is WorkerState.READY]
    gone = [line.worker for line in plan.drain if line.worker in {worker.id for worker in old}]
    if plan.reason is Reason.NO_CAPACITY and len(gone) == 1 and len(plan.drain) == 1:
        assert all(views[worker].state is WorkerState.READY for worker in views)
    else:
        assert not gone or len(new) + len(old) - len(gone) >= min(plan.wanted, len(new) + len(old))
    assert (
        not plan.launch
        or len(serving(surge)) + len(old) - len(gone) + plan.launch.count <= plan.wanted + surge.max_surge
    )


@given(st.integers(1, 6), st.integers(1, 3), st.integers(0, 8), st.integers(0, 3), st.booleans())
def test_a_release_is_replaced_worker_by_worker(workers: int, surge: int, busy: int, room: int, full: bool) -> None:
    """Step by step, as starts succeed and drained workers end, every worker is replaced; ready are always as many as are wanted,
    or one less where the machine has no room beside them."""
    old = tuple(
        WorkerView(id=WorkerId(f"old{n}"), state=WorkerState.READY, current=False, held=int(n < busy), decided_ms=n)
        for n in range(workers)
    )
    rooms = (RoomView(name="A", workers=0 if full else room),)
    step = replace(EMPTY, min_workers=workers, max_workers=workers, max_surge=surge, workers=old, rooms=rooms)
    for _ in range(6 * workers):
        plan = decide(step)
        after = carried_out(step, plan)
        ready = [worker for worker in after.workers if worker.state is WorkerState.READY]
        assert len(ready) >= workers - (1 if full or room == 0 else 0)
        ended = [worker for worker in after.workers if worker.state is WorkerState.DRAINING]
        moved_on = tuple(
            replace(worker, id=WorkerId(f"{worker.id}{number}"), state=WorkerState.READY)
            for number, worker in enumerate(after.workers)
            if worker not in ended
        )
        left = (after.rooms[0].workers or 0) + len(ended)
        step = replace(after, workers=moved_on, rooms=(RoomView(name="A", workers=left),))
        if [worker.current for worker in step.workers] == [True] * workers:
            break
    assert [worker.current for worker in step.workers] == [True] * workers


@given(snapshots())
def test_one_direction(snapshot: Snapshot) -> None:
    """No plan starts workers and saves workers."""
    plan = decide(snapshot)
    assert not (plan.launch and scale_downs(plan))


@given(snapshots())
def test_settles_after_one_step(snapshot: Snapshot) -> None:
    """What a plan leaves behind needs no other plan."""
    plan = decide(snapshot)
    event(f"{'launches' if plan.launch else 'drains' if plan.drain else 'rests'}: {plan.reason}")
    after = decide(carried_out(snapshot, plan))
    assert (after.launch, after.drain) == (None, ())


@given(snapshots(), st.integers(1, 20), PAST_MS)
def test_more_queue_is_never_fewer_workers(snapshot: Snapshot, more: int, since_ms: int) -> None:
    """Jobs that come on top never lower the number of workers."""
    longer = replace(
        snapshot,
        queued=snapshot.queued + more,
        oldest_queued_ms=since_ms if snapshot.queued == 0 else snapshot.oldest_queued_ms,
    )
    assume(not rolling(snapshot) or snapshot.capacity is None)  # on a full machine one goes for its successor
    few, many = decide(snapshot), decide(longer)
    assert wanted_by_load(snapshot) <= wanted_by_load(longer)
    assert few.wanted <= many.wanted
    assert launched(few) - len(few.drain) <= launched(many) - len(many.drain)


@given(snapshots(), st.randoms(use_true_random=False))
def test_order_blind(snapshot: Snapshot, random: Any) -> None:
    """The order in which workers are listed changes nothing, not even the words."""
    workers = list(snapshot.workers)
    random.shuffle(workers)
    assert decide(replace(snapshot, workers=tuple(workers))) == decide(snapshot)


@given(snapshots())
def test_who_moves_on_is_given_up_and_counts_no_more(snapshot: Snapshot) -> None:
    """A worker that waits for a kind of place that nobody finds goes, once, unless its endpoint does; beyond that everything is decided as
    if it were going already."""
    waits = {one.id for one in snapshot.workers if one.current and one.no_room}
    moving = tuple(replace(one, moves_on="tried elsewhere") if one.id in waits else one for one in snapshot.workers)
    plan = decide(replace(snapshot, workers=moving))
    assert max(Counter(line.worker for line in plan.drain).values(), default=0) <= 1
    gone = {line.worker for line in plan.drain if line.reason is WorkerReason.TRIED_ELSEWHERE}
    assert gone == (set() if snapshot.deleted or snapshot.paused or snapshot.arrears else waits)
    rest = replace(
        snapshot,
        workers=tuple(replace(one, state=WorkerState.DRAINING) if one.id in gone else one for one in snapshot.workers),
    )
    assert (plan.launch, plan.wanted, plan.reason) == ((then := decide(rest)).launch, then.wanted, then.reason)


@given(snapshots(), st.sets(st.integers(0, 5)))
def test_who_gives_way_is_drained_and_counts_no_more(snapshot: Snapshot, who: set[int]) -> None:
    """A ready worker whose place others are to have is drained, whatever it holds; beyond that everything is decided as if it were
    draining already. One that goes anyway goes once."""
    ids = [WorkerId(f"w{number}") for number in who]
    giving = tuple(
        replace(worker, gives_way="others waited") if worker.id in ids else worker for worker in snapshot.workers
    )
    plan = decide(replace(snapshot, workers=giving))
    assert max(Counter(line.worker for line in plan.drain).values(), default=0) <= 1
    gone = {line.worker for line in plan.drain if line.reason is WorkerReason.GAVE_WAY}
    going = {line.worker for line in decide(snapshot).drain if line.reason is not WorkerReason.SCALED_DOWN}
    ready = {worker.id for worker in snapshot.workers if worker.id in ids and worker.state is WorkerState.READY}
    assert (snapshot.deleted and not gone) or ready - going <= gone <= ready
    rest = replace(
        snapshot,
        workers=tuple(
            replace(worker, state=WorkerState.DRAINING) if worker.id in gone else worker for worker in snapshot.workers
        ),
    )
    others = tuple(line for line in plan.drain if line.worker not in gone)
    assert replace(plan, drain=others) == decide(rest)


@given(snapshots(), st.integers(-(10**12), 10**12))
def test_only_distances_in_time_count(snapshot: Snapshot, by_ms: int) -> None:
    """The same story at another time of day gets the same plan."""
    plan, later = decide(snapshot), decide(moved(snapshot, by_ms))
    look_again_ms = None if plan.look_again_ms is None else plan.look_again_ms + by_ms
    launch = plan.launch
    if launch is not None and launch.wanted_ms is not None:
        launch = replace(launch, wanted_ms=launch.wanted_ms + by_ms)
    assert later == replace(plan, launch=launch, look_again_ms=look_again_ms)


def test_old_workers_that_never_were_ready_are_not_replaced() -> None:
    """Workers of an old release that drain before their first take count for nobody: one job gets one worker."""
    policy = Policy(type=PolicyType.QUEUE_DELAY, value=1)
    begun = WorkerView(id=WorkerId("w"), state=WorkerState.STARTING, current=False, held=0, decided_ms=0)
    old = (replace(begun, id=WorkerId("w0")), replace(begun, id=WorkerId("w1")))
    snapshot = Snapshot(
        now_ms=0,
        min_workers=0,
        max_workers=3,
        idle_timeout_s=1,
        slots=1,
        policy=policy,
        max_surge=1,
        queued=1,
        workers=old,
    )
    plan = decide(snapshot)
    assert launched(plan) == 1
    assert lines(decide(carried_out(snapshot, plan))).total() == 0


@given(snapshots(), st.floats(0, 1, exclude_max=True))
def test_safe_to_sleep_until_the_plan_says(snapshot: Snapshot, part: float) -> None:
    """Before `look_again_ms` time alone asks for nothing that the plan did not say, carried out or not."""
    plan = decide(snapshot)
    sleep_ms = 10_000_000 if plan.look_again_ms is None else plan.look_again_ms - snapshot.now_ms
    then_ms = snapshot.now_ms + int(sleep_ms * part)
    assert lines(decide(replace(snapshot, now_ms=then_ms))) <= lines(plan)
    done = carried_out(snapshot, plan)
    assert lines(decide(replace(done, now_ms=then_ms))).total() == 0


@given(snapshots())
def test_looking_again_lies_ahead(snapshot: Snapshot) -> None:
    """No plan makes the loop spin: the next look is after now, or left to an event."""
    look_again_ms = decide(snapshot).look_again_ms
    assert look_again_ms is None or look_again_ms > snapshot.now_ms


@given(snapshots())
def test_time_that_the_plan_names_matters(snapshot: Snapshot) -> None:
    """When the plan says to look again, there is a cause: an idle worker, a wait that is allowed, a start that failed."""
    plan = decide(snapshot)
    assume(plan.look_again_ms is not None)
    idle = any(worker.idle_ms is not None for worker in serving(snapshot))
    delay = snapshot.policy.type is PolicyType.QUEUE_DELAY and snapshot.queued > 0
    short = plan.wanted > len(serving(snapshot)) + launched(plan)
    assert idle or delay or short or snapshot.failures


@given(snapshots())
def test_low_priority_alone_starts_nothing(snapshot: Snapshot) -> None:
    """Without other jobs waiting, low-priority jobs never lead to more workers than min, running or not; but those that work
    get successors."""
    assume(not rolling(snapshot))
    plan = decide(replace(snapshot, queued=0, oldest_queued_ms=None))
    assert plan.launch is None or plan.launch.reason is Reason.BELOW_MIN
    assert launched(plan) <= max(0, snapshot.min_workers - len(serving(snapshot)))


@given(snapshots())
def test_idle_workers_stay_while_a_job_waits(snapshot: Snapshot) -> None:
    """Nobody is sent away for idleness in the moment a job is about to be handed out."""
    assume(snapshot.queued + snapshot.queued_low > 0)
    assume(len(serving(snapshot)) <= snapshot.max_workers)
    assert not scale_downs(decide(snapshot))


@given(snapshots())
def test_no_idle_worker_goes_early(snapshot: Snapshot) -> None:
    """Within max, a ready worker goes only after its idle timeout, and a starting one only while it has no place."""
    assume(len(serving(snapshot)) <= snapshot.max_workers)
    views = {worker.id: worker for worker in snapshot.workers}
    for line in scale_downs(decide(snapshot)):
        if views[line.worker].no_room or views[line.worker].placing:
            continue
        idle_ms = views[line.worker].idle_ms
        assert idle_ms is not None
        assert idle_ms + snapshot.idle_timeout_s * 1000 <= snapshot.now_ms


@given(snapshots())
def test_a_deleted_endpoint_empties(snapshot: Snapshot) -> None:
    """Deleting drains every worker and starts none, whatever waits."""
    plan = decide(replace(snapshot, deleted=True))
    assert plan.launch is None
    assert {line.worker for line in plan.drain} == {w.id for w in snapshot.workers if w.state in SERVING}
    assert {line.reason for line in plan.drain} <= {WorkerReason.ENDPOINT_DELETED}
    assert (plan.wanted, plan.reason) == (0, Reason.DELETED)


@given(snapshots(), st.integers(1, 60), PAST_MS)
def test_after_a_failure_one_at_a_time(snapshot: Snapshot, failures: int, failed_ms: int) -> None:
    """A start that failed is tried again alone, when nothing else is starting, and after 1, 2, 4 … 300 seconds."""
    plan = decide(replace(snapshot, failures=failures, failed_ms=failed_ms))
    starting = [worker for worker in serving(snapshot) if worker.state is not WorkerState.READY]
    assert launched(plan) <= 1
    if plan.launch:
        assert not starting
        assert snapshot.now_ms >= failed_ms + min(2 ** (failures - 1), 300) * 1000


@pytest.mark.parametrize(
    ("failures", "wait_s"), [(1, 1), (2, 2), (3, 4), (4, 8), (8, 128), (9, 256), (10, 300), (11, 300), (10_000, 300)]
)
def test_back_off_doubles(failures: int, wait_s: int) -> None:
    """The wait after a failed start begins with a second, doubles with every failure, and ends at five minutes."""
    snapshot = replace(EMPTY, queued=1, oldest_queued_ms=NOW_MS, failures=failures, failed_ms=NOW_MS)
    end_ms = NOW_MS + wait_s * 1000
    plan = decide(snapshot)
    assert (plan.launch, plan.look_again_ms) == (None, end_ms)
    assert f"next try in {wait_s} s" in plan.text
    assert decide(replace(snapshot, now_ms=end_ms - 1)).launch is None
    assert launched(decide(replace(snapshot, now_ms=end_ms))) == 1


@pytest.mark.parametrize(
    ("min_workers", "queued", "serving_now", "reason"),
    [
        (0, 1, 0, Reason.NO_WORKER_YET),
        (1, 1, 0, Reason.NO_WORKER_YET),
        (2, 1, 0, Reason.BELOW_MIN),
        (2, 0, 1, Reason.BELOW_MIN),
        (1, 2, 1, Reason.WORKERS_BUSY),
    ],
)
def test_why_a_worker_is_launched(min_workers: int, queued: int, serving_now: int, reason: Reason) -> None:
    """A launch is for min only if the load alone would not ask for as many; otherwise it is for the jobs that wait."""
    busy = [
        WorkerView(id=WorkerId(f"w{number}"), state=WorkerState.READY, current=True, held=1, decided_ms=NOW_MS)
        for number in range(serving_now)
    ]
    plan = decide(replace(EMPTY, min_workers=min_workers, queued=queued, workers=tuple(busy)))
    assert plan.launch is not None
    assert plan.launch.reason is reason


@given(snapshots())
def test_nothing_to_do_means_that_no_job_waits(snapshot: Snapshot) -> None:
    """As long as any job waits, of whatever priority, the plan says why."""
    waits = snapshot.queued + snapshot.queued_low > 0
    assert not (waits and decide(snapshot).reason is Reason.NOTHING_TO_DO)


@given(snapshots())
def test_everything_is_explained(snapshot: Snapshot) -> None:
    """Every plan and every line of it says why, in words."""
    plan = decide(snapshot)
    launch = [] if plan.launch is None else [plan.launch.text]
    assert all(text.strip() for text in [plan.text, *launch, *(line.text for line in plan.drain)])


@given(snapshots())
def test_a_launch_that_is_due_happens(snapshot: Snapshot) -> None:
    """Workers are missing after a plan only because of a named obstacle: runtime, failures, leaving workers, capacity."""
    plan = decide(snapshot)
    still_missing = plan.wanted - len(serving(snapshot)) - launched(plan)
    free = snapshot.available and not snapshot.failures and snapshot.capacity is None
    assert still_missing <= 0 or not free or len(snapshot.workers) + launched(plan) >= snapshot.max_workers


# ── what the policies promise ─────────────────────────────────────────────────────────────────────────────────────────


@given(st.integers(1, 500), st.integers(1, 100), st.integers(1, 50), st.sampled_from(PolicyType), st.integers(1, 600))
def test_the_first_job_starts_a_worker_at_once(
    queued: int, slots: int, max_workers: int, policy: PolicyType, value: int
) -> None:
    """From zero, under either policy and any value, a waiting job starts a worker without delay."""
    endpoint = replace(EMPTY, slots=slots, max_workers=max_workers, policy=Policy(type=policy, value=value))
    plan = decide(replace(endpoint, queued=queued, oldest_queued_ms=NOW_MS))
    assert plan.launch is not None
    assert plan.launch.reason is Reason.NO_WORKER_YET


@given(snapshots())
def test_a_wait_beyond_the_delay_adds_workers(snapshot: Snapshot) -> None:
    """Under queue delay, jobs without a slot add workers once the oldest has waited too long, and not before."""
    assume(not rolling(snapshot))
    value_s = 10
    busy = tuple(replace(worker, held=snapshot.slots, idle_ms=None) for worker in snapshot.workers)
    policy = Policy(type=PolicyType.QUEUE_DELAY, value=value_s)
    full = replace(snapshot, policy=policy, queued=max(1, snapshot.queued), workers=busy)
    end_ms = NOW_MS - value_s * 1000
    assert wanted_by_load(replace(full, oldest_queued_ms=end_ms)) > len(serving(full))
    assert wanted_by_load(replace(full, oldest_queued_ms=end_ms + 1)) == max(1, len(serving(full)))


@given(snapshots())
def test_a_queue_whose_age_is_unknown_has_just_begun(snapshot: Snapshot) -> None:
    """Counters and the oldest wait are read one after the other; a queue without an oldest job is a new one."""
    waiting = replace(snapshot, queued=max(1, snapshot.queued))
    assert decide(replace(waiting, oldest_queued_ms=None)) == decide(replace(waiting, oldest_queued_ms=NOW_MS))


@given(snapshots())
def test_a_failure_without_a_moment_delays_nothing(snapshot: Snapshot) -> None:
    """Without the moment of the last failure there is no back-off to wait for, only one start at a time."""
    assume(not rolling(snapshot))
    plan = decide(replace(snapshot, failures=3, failed_ms=None, available=True, rooms=(RoomView(),), deleted=False))
    starting = [worker for worker in serving(snapshot) if worker.state is not WorkerState.READY]
    room = len(snapshot.workers) < snapshot.max_workers
    assert launched(plan) == (plan.wanted > len(serving(snapshot)) and room and not starting)
