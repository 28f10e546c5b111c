"""The life of a worker: the whole table of states and events, the exact effects, and what holds for every history."""

from __future__ import annotations

from collections.abc import Callable
from itertools import accumulate
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from stoker.errors import IllegalTransition
from stoker.ids import EndpointId, ReleaseId, TeamId, WorkerId
from stoker.job import JobReason
from stoker.worker import (
    SIGN_OF_LIFE_EVERY_MS,
    TABLE,
    Drained,
    Emptied,
    Exit,
    Exited,
    HealthFailed,
    HealthPassed,
    Launched,
    LaunchFailed,
    LoseJobs,
    Pinged,
    ReportedUnhealthy,
    StopInRuntime,
    Stopped,
    TakeBack,
    Took,
    Vanished,
    Waits,
    Worker,
    WorkerEffect,
    WorkerEvent,
    WorkerReason,
    WorkerState,
    WorkerStep,
    advance,
)

T0 = 1_000_000
LATER = T0 + 5_000
TAKING = (WorkerState.DECIDED, WorkerState.STARTING, WorkerState.READY)
CRASH = Exit(code=1, text="exit code 1")


def decided_worker() -> Worker:
    """A worker that was decided at T0."""
    return Worker(
        id=WorkerId("worker"),
        team=TeamId("team"),
        endpoint=EndpointId("endpoint"),
        release=ReleaseId("release"),
        detail="1 job waiting",
        token_hash="hash",
        decided_ms=T0,
    )


def after(worker: Worker, *events: WorkerEvent) -> Worker:
    """The worker when these events have happened to it."""
    for event in events:
        worker = advance(worker, event).worker
    return worker


def drained(reason: WorkerReason = WorkerReason.SCALED_DOWN, at_ms: int = LATER) -> Drained:
    """Somebody wants it gone after its jobs."""
    return Drained(at_ms=at_ms, reason=reason, detail="why it goes")


def stopped(reason: WorkerReason = WorkerReason.STOPPED_BY_USER, at_ms: int = LATER) -> Stopped:
    """Somebody wants it gone now."""
    return Stopped(at_ms=at_ms, reason=reason, detail="why it goes")


READY = after(decided_worker(), Launched(at_ms=T0), Took(at_ms=T0))
WORKERS = {
    WorkerState.DECIDED: decided_worker(),
    WorkerState.STARTING: after(decided_worker(), Launched(at_ms=T0)),
    WorkerState.READY: READY,
    WorkerState.DRAINING: after(READY, drained()),
    WorkerState.STOPPING: after(READY, stopped()),
    WorkerState.GONE: after(READY, Exited(at_ms=T0, exit=CRASH)),
}
"""One worker in each state, brought there by events."""

# ── the table ─────────────────────────────────────────────────────────────────────────────────────────────────────────

TABLE_AS_STATED = """
                   decided   starting  ready     draining  stopping  gone
Waits              kept      same      same      same      same      same
Launched           starting  same      same      same      same      same
LaunchFailed       gone      same      same      same      gone      same
Took               ready     ready     kept      kept      kept      same
Pinged             kept      kept      kept      kept      kept      same
ReportedUnhealthy  stopping  stopping  stopping  stopping  same      same
HealthFailed       same      kept      kept      same      same      same
HealthPassed       same      same      same      same      same      same
Drained            stopping  stopping  draining  same      same      same
Emptied            ILLEGAL   ILLEGAL   ILLEGAL   stopping  same      same
Stopped            stopping  stopping  stopping  stopping  same      same
Exited             gone      gone      gone      gone      gone      same
Vanished           gone      gone      gone      gone      gone      same
"""
"""What each event does in each state: the next state, `kept` (a change within it), `same` (no change), or ILLEGAL."""

EVENTS: dict[str, WorkerEvent] = {
    "Waits": Waits(at_ms=LATER, text="pulling x: 1 of 2 layers"),
    "Launched": Launched(at_ms=LATER),
    "LaunchFailed": LaunchFailed(at_ms=LATER, text="no such image"),
    "Took": Took(at_ms=LATER, sdk="1.12.0"),
    "Pinged": Pinged(at_ms=LATER, sdk="1.12.0"),
    "ReportedUnhealthy": ReportedUnhealthy(at_ms=LATER, text="no CUDA"),
    "HealthFailed": HealthFailed(at_ms=LATER, text="HTTP 503"),
    "HealthPassed": HealthPassed(at_ms=LATER),
    "Drained": drained(),
    "Emptied": Emptied(at_ms=LATER),
    "Stopped": stopped(),
    "Exited": Exited(at_ms=LATER, exit=CRASH),
    "Vanished": Vanished(at_ms=LATER),
}

HEAD, *ROWS = [line.split() for line in TABLE_AS_STATED.strip().splitlines()]
CELLS = [(state, row[0], word) for row in ROWS for state, word in zip(HEAD, row[1:], strict=True)]


@pytest.mark.parametrize(("state", "name", "word"), CELLS)
def test_table(state: str, name: str, word: str) -> None:
    """Each event does in each state what the table above states."""
    worker = WORKERS[WorkerState(state)]
    if word == "ILLEGAL":
        with pytest.raises(IllegalTransition, match=f"worker worker is {state} .*: {name} cannot happen now"):
            advance(worker, EVENTS[name])
    elif word == "same":
        assert advance(worker, EVENTS[name]) == WorkerStep(worker=worker, changed=False)
    else:
        step = advance(worker, EVENTS[name])
        assert (step.worker.state, step.changed) == (state if word == "kept" else word, True)


def test_table_is_complete() -> None:
    """A new state or event must be stated in the table, and the code's table knows no others."""
    assert set(HEAD) == set(WORKERS) == set(WorkerState) == set(TABLE)
    assert [row[0] for row in ROWS] == list(EVENTS)
    assert [type(event) for event in EVENTS.values()] == list(get_args(WorkerEvent))
    assert {event for row in TABLE.values() for event in row} == set(get_args(WorkerEvent))


def test_the_worker_of_each_state_is_in_it() -> None:
    """The workers that the table is tried on are in the states that it names."""
    assert {state: worker.state for state, worker in WORKERS.items()} == {state: state for state in WorkerState}


# ── health ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_no_jobs_before_the_check_is_passed() -> None:
    """A worker with a health check stays in its cold start, takes or not, until it has passed; then its next take ends it."""
    waiting = replace(decided_worker(), unhealthy_ms=T0)
    taken = after(waiting, Launched(at_ms=T0), Took(at_ms=LATER, sdk="1.12.0"))
    assert (taken.state, taken.takes_jobs, taken.seen_ms, taken.sdk) == (
        WorkerState.STARTING,
        False,
        LATER,
        "1.12.0",
    )
    failing = after(taken, HealthFailed(at_ms=LATER, text="HTTP 503"))
    assert (failing.reason, failing.detail, failing.unhealthy_ms) == (WorkerReason.HEALTH_FAILING, "HTTP 503", T0)
    well = after(failing, HealthPassed(at_ms=LATER))
    assert (well.state, well.reason, well.unhealthy_ms) == (WorkerState.STARTING, WorkerReason.HEALTH_PASSED, None)
    ready = after(well, Took(at_ms=LATER))
    assert (ready.state, ready.takes_jobs, ready.ready_ms) == (WorkerState.READY, True, LATER)


def test_no_jobs_while_the_check_fails() -> None:
    """A ready worker gets no jobs from the first bad answer on, since then, and gets them again when it has passed."""
    failing = after(READY, HealthFailed(at_ms=LATER, text="HTTP 503"), HealthFailed(at_ms=LATER + 9, text="no answer"))
    assert (failing.state, failing.takes_jobs, failing.unhealthy_ms) == (WorkerState.READY, False, LATER)
    assert (failing.reason, failing.detail) == (WorkerReason.HEALTH_FAILING, "no answer")
    assert advance(failing, HealthFailed(at_ms=LATER + 10, text="no answer")).changed is False
    well = after(failing, HealthPassed(at_ms=LATER + 11))
    assert (well.takes_jobs, well.unhealthy_ms, well.detail) == (True, None, "")


# ── reasons and effects ───────────────────────────────────────────────────────────────────────────────────────────────


def losing(reason: JobReason, text: str) -> tuple[WorkerEffect, ...]:
    """The jobs are lost; nothing is left to stop."""
    return (LoseJobs(reason=reason, text=text),)


def stopping(reason: JobReason, text: str) -> tuple[WorkerEffect, ...]:
    """The jobs are lost, and the runtime is told."""
    return (LoseJobs(reason=reason, text=text), StopInRuntime())


EFFECTS: dict[str, Callable[[str], tuple[WorkerEffect, ...]]] = {
    "nothing": lambda text: (),
    "died": lambda text: losing(JobReason.WORKER_LOST, text),
    "told": lambda text: stopping(JobReason.WORKER_STOPPED, text),
    "crashed": lambda text: losing(JobReason.WORKER_LOST, "exit code 1"),
    "sick": lambda text: stopping(JobReason.WORKER_LOST, text),
    "silent": lambda text: stopping(JobReason.WORKER_SILENT, text),
}
"""What is done about a worker, given what became of it in words."""


@pytest.mark.parametrize(
    ("before", "name", "reason", "detail", "effects"),
    [
        ("decided", "Launched", "launched", "1 job waiting", "nothing"),
        ("decided", "LaunchFailed", "launch_failed", "no such image", "died"),
        ("decided", "Took", "first_take", "1 job waiting", "nothing"),
        ("decided", "Drained", "scaled_down", "why it goes", "told"),
        ("decided", "Exited", "crashed_while_starting", "exit code 1", "died"),
        ("starting", "Took", "first_take", "1 job waiting", "nothing"),
        ("starting", "Drained", "scaled_down", "why it goes", "told"),
        ("starting", "ReportedUnhealthy", "unhealthy", "no CUDA", "sick"),
        ("starting", "Stopped", "stopped_by_user", "why it goes", "told"),
        ("starting", "Exited", "crashed_while_starting", "exit code 1", "died"),
        ("starting", "Vanished", "vanished", "the runtime does not know it any more", "died"),
        ("ready", "Took", "first_take", "1 job waiting", "nothing"),
        ("ready", "Drained", "scaled_down", "why it goes", "nothing"),
        ("ready", "ReportedUnhealthy", "unhealthy", "no CUDA", "sick"),
        ("ready", "Stopped", "stopped_by_user", "why it goes", "told"),
        ("ready", "Exited", "exited", "exit code 1", "died"),
        ("ready", "Vanished", "vanished", "the runtime does not know it any more", "died"),
        ("draining", "Emptied", "scaled_down", "why it goes", "told"),
        ("draining", "Stopped", "stopped_by_user", "why it goes", "told"),
        ("draining", "ReportedUnhealthy", "unhealthy", "no CUDA", "sick"),
        ("draining", "Exited", "scaled_down", "why it goes", "crashed"),
        ("draining", "Vanished", "scaled_down", "why it goes", "died"),
        ("stopping", "LaunchFailed", "launch_failed", "no such image", "died"),
        ("stopping", "Exited", "stopped_by_user", "why it goes", "crashed"),
        ("stopping", "Vanished", "stopped_by_user", "why it goes", "died"),
    ],
)
def test_reason_and_effects(before: str, name: str, reason: str, detail: str, effects: str) -> None:
    """Each change gives its reason in a word and in words, and exactly its effects.

    Who was told to go went for that; jobs that it still held were lost by how it went.
    """
    step = advance(WORKERS[WorkerState(before)], EVENTS[name])
    assert (step.worker.reason, step.worker.detail, step.effects) == (reason, detail, EFFECTS[effects](detail))


@pytest.mark.parametrize("state", [*TAKING, WorkerState.DRAINING])
def test_silence_and_a_stop_are_two_losses(state: WorkerState) -> None:
    """Jobs of a silent worker count as lost; those of a worker that we stop for another reason do not."""
    assert advance(WORKERS[state], stopped(WorkerReason.SILENT)).effects == EFFECTS["silent"]("why it goes")
    for reason in set(WorkerReason) - {WorkerReason.SILENT}:
        assert advance(WORKERS[state], stopped(reason)).effects == EFFECTS["told"]("why it goes")


@pytest.mark.parametrize("state", [WorkerState.READY, WorkerState.DRAINING])
def test_a_budget_leaves_only_what_runs(state: WorkerState) -> None:
    """Who is drained because a budget is used up gives back what it has ahead, though it was drained before; once is enough."""
    step = advance(WORKERS[state], drained(WorkerReason.BUDGET_SPENT))
    assert step.worker.state is WorkerState.DRAINING
    assert (step.worker.reason, step.effects) == (WorkerReason.BUDGET_SPENT, (TakeBack(),))
    assert not advance(step.worker, drained(WorkerReason.BUDGET_SPENT)).changed


# ── moments ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_moments_of_a_life() -> None:
    """Every step writes down its moment, and none overwrites an earlier one."""
    worker = after(
        decided_worker(),
        Launched(at_ms=T0 + 1_000),
        Took(at_ms=T0 + 2_000),
        drained(at_ms=T0 + 3_000),
        Emptied(at_ms=T0 + 4_000),
        Exited(at_ms=T0 + 5_000, exit=Exit(code=0, text="exit code 0")),
    )
    moments = (worker.launched_ms, worker.ready_ms, worker.drained_ms, worker.stopped_ms, worker.gone_ms)
    assert moments == (T0 + 1_000, T0 + 2_000, T0 + 3_000, T0 + 4_000, T0 + 5_000)
    assert worker.exit == Exit(code=0, text="exit code 0")


def test_the_first_take_may_come_before_the_launch_returns() -> None:
    """A worker may take before its launch is known to have worked; then its launch was at that moment."""
    early = after(decided_worker(), Took(at_ms=T0 + 700))
    assert (early.state, early.launched_ms, early.ready_ms) == (WorkerState.READY, T0 + 700, T0 + 700)
    assert after(early, Launched(at_ms=T0 + 900)) == early


def test_ready_begins_idle() -> None:
    """A worker is idle from its first take, and a worker that is gone is not."""
    assert (READY.idle_ms, READY.seen_ms) == (T0, T0)
    assert WORKERS[WorkerState.GONE].idle_ms is None


def test_takes_in_quick_succession_are_not_written_down() -> None:
    """A take within a second of the last sign of life changes nothing; the next one does."""
    quick = Took(at_ms=T0 + SIGN_OF_LIFE_EVERY_MS - 1)
    assert advance(READY, quick) == WorkerStep(worker=READY, changed=False)
    assert after(READY, Took(at_ms=T0 + SIGN_OF_LIFE_EVERY_MS)).seen_ms == T0 + SIGN_OF_LIFE_EVERY_MS


def test_a_take_of_a_worker_never_seen_is_written_down() -> None:
    """A worker that is stopped before it was ever seen, and still takes, is seen."""
    early = after(decided_worker(), stopped())
    assert after(early, Took(at_ms=LATER)).seen_ms == LATER


def test_pings_are_signs_of_life() -> None:
    """A ping is written down with the SDK that it names; one without a name keeps what is known."""
    pinged = after(READY, Pinged(at_ms=T0 + 1, sdk="1.12.0"))
    assert (pinged.seen_ms, pinged.pinged_ms, pinged.sdk) == (T0 + 1, T0 + 1, "1.12.0")
    assert after(pinged, Pinged(at_ms=T0 + 2)).sdk == "1.12.0"
    assert after(pinged, Took(at_ms=LATER)).sdk == "1.12.0"
    assert after(pinged, Took(at_ms=LATER, sdk="1.13.0")).sdk == "1.13.0"
    assert after(decided_worker(), Pinged(at_ms=T0, sdk="1.12.0"), Took(at_ms=T0)).sdk == "1.12.0"


@pytest.mark.parametrize("state", WorkerState)
def test_what_a_state_means(state: WorkerState) -> None:
    """Only a ready worker is given jobs, and every worker but one that is gone may be using the machine."""
    worker = WORKERS[state]
    assert worker.takes_jobs == (state is WorkerState.READY)
    assert worker.alive == (state is not WorkerState.GONE)


def test_never_ready() -> None:
    """Whether a worker ended before its first take is known for good."""
    assert after(decided_worker(), Exited(at_ms=T0, exit=CRASH)).never_ready
    assert not WORKERS[WorkerState.GONE].never_ready


# ── any history ───────────────────────────────────────────────────────────────────────────────────────────────────────

HAPPENINGS: list[WorkerEvent] = [
    *EVENTS.values(),
    Took(at_ms=0),
    Took(at_ms=0),
    Pinged(at_ms=0),
    *(drained(reason) for reason in (WorkerReason.NEW_RELEASE, WorkerReason.SERVER_STOPPING)),
    *(stopped(reason) for reason in (WorkerReason.SILENT, WorkerReason.START_TIMEOUT)),
    Exited(at_ms=0, exit=Exit(code=None, text="nobody saw it end")),
]
"""Everything that may happen to a worker, sensible or not."""


@st.composite
def histories(draw: st.DrawFn) -> list[WorkerEvent]:
    """Up to twenty events at growing moments."""
    pause_ms = st.sampled_from([0, 1, 600, 5_000])
    told = draw(st.lists(st.tuples(st.sampled_from(HAPPENINGS), pause_ms), min_size=1, max_size=20))
    moments = accumulate((pause for _, pause in told), initial=T0)
    return [replace(event, at_ms=at_ms) for (event, _), at_ms in zip(told, moments, strict=False)]


def steps(history: list[WorkerEvent]) -> list[tuple[Worker, WorkerEvent, WorkerStep]]:
    """Every legal step of a history: the worker before, the event, what came of it."""
    worker = decided_worker()
    taken = []
    for event in history:
        try:
            step = advance(worker, event)
        except IllegalTransition:
            continue
        taken.append((worker, event, step))
        worker = step.worker
    return taken


ORDER = list(WorkerState)


@given(histories())
def test_a_life_goes_one_way(history: list[WorkerEvent]) -> None:
    """No event leads back: what is gone stays gone, what drains never takes again."""
    for before, _, step in steps(history):
        assert ORDER.index(before.state) <= ORDER.index(step.worker.state)
        assert before.alive or not step.changed


@given(histories())
def test_the_runtime_is_told_once(history: list[WorkerEvent]) -> None:
    """Becoming STOPPING tells the runtime to stop the worker; nothing else does."""
    for before, _, step in steps(history):
        stops = WorkerState.STOPPING is step.worker.state is not before.state
        assert (StopInRuntime() in step.effects) == stops


@given(histories())
def test_no_job_is_left_behind(history: list[WorkerEvent]) -> None:
    """Every step into STOPPING or GONE loses the jobs that are still held; no other step does."""
    for before, _, step in steps(history):
        losing = [effect for effect in step.effects if isinstance(effect, LoseJobs)]
        over = step.worker.state in (WorkerState.STOPPING, WorkerState.GONE) and step.worker.state is not before.state
        assert len(losing) == over


@given(histories())
def test_unchanged_means_unchanged(history: list[WorkerEvent]) -> None:
    """A step that reports no change has the same record and no effects."""
    for before, _, step in steps(history):
        assert step.changed or (step.worker == before and step.effects == ())


@given(histories())
def test_records_are_whole(history: list[WorkerEvent]) -> None:
    """Each state has the moments that lead to it, in order; only a worker that is gone has an end."""
    for _, _, step in steps(history):
        worker = step.worker
        known = [
            at_ms
            for at_ms in (worker.launched_ms, worker.ready_ms, worker.drained_ms, worker.stopped_ms, worker.gone_ms)
            if at_ms is not None
        ]
        assert known == sorted(known)
        assert (worker.gone_ms is not None) == (not worker.alive)
        assert (worker.stopped_ms is not None) or worker.state is not WorkerState.STOPPING
        assert (worker.ready_ms is not None) or worker.state not in (WorkerState.READY, WorkerState.DRAINING)
        assert worker.exit is None or not worker.alive


@given(histories(), st.sampled_from([Exited(at_ms=T0 + 999_999, exit=CRASH), Vanished(at_ms=T0 + 999_999)]))
def test_what_the_runtime_sees_is_the_end(history: list[WorkerEvent], end: WorkerEvent) -> None:
    """From anywhere, a worker that the runtime saw end, or does not know, is gone."""
    worker = decided_worker()
    for _, _, step in steps(history):
        worker = step.worker
    assert after(worker, end).state is WorkerState.GONE


@given(histories())
def test_it_goes_for_the_reason_it_was_told(history: list[WorkerEvent]) -> None:
    """A worker that was drained or stopped keeps that reason when it ends, unless its launch turns out to have failed."""
    for before, event, step in steps(history):
        told = before.state in (WorkerState.DRAINING, WorkerState.STOPPING)
        if told and isinstance(event, Exited | Vanished | Emptied):
            assert (step.worker.reason, step.worker.detail) == (before.reason, before.detail)
