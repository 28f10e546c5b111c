"""Tables and diagrams of the two state machines, found by trying every event in every state.

The machines keep their rules as functions, so what an event leads to is not written in their tables: it is observed here, on
sample records and sample events that reach every branch. `scripts/docs.py` writes the results into `docs/reference/`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, get_args

from msgspec.structs import replace

from stoker import job, worker
from stoker.ids import EndpointId, JobId, ReleaseId, TeamId, WorkerId


@dataclass(frozen=True, kw_only=True)
class Machine:
    """What there is to try."""

    states: type[StrEnum]
    advance: Callable[[Any, Any], Any]
    table: Mapping[Any, Mapping[type, Any]]
    events: tuple[type, ...]
    """The classes of its events."""
    effects: tuple[type, ...]
    """The classes of its effects."""
    samples: Sequence[Any]
    """Records, at least one in each state."""
    happenings: Sequence[Any]
    """Events, at least one of each class."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What one event did to one record."""

    before: str
    event: str
    after: str
    changed: bool
    reason: str
    """The new reason; empty when nothing but moments changed."""
    effects: str


def outcomes(machine: Machine) -> list[Outcome]:
    """All that can happen, each once, in the order of the states and events."""
    found: dict[Outcome, None] = {}
    for record in sorted(machine.samples, key=lambda record: list(machine.states).index(record.state)):
        legal = machine.table[record.state]
        for event in machine.happenings:
            if type(event) in legal:
                found[_try(machine, record, event)] = None
    return list(found)


def _try(machine: Machine, record: Any, event: Any) -> Outcome:
    step = machine.advance(record, event)
    after = getattr(step, step.__struct_fields__[0])
    told = after.state != record.state or after.reason != record.reason
    return Outcome(
        before=record.state,
        event=type(event).__name__,
        after=after.state,
        changed=step.changed,
        reason=after.reason if told else "",
        effects=", ".join(_effect(effect) for effect in step.effects),
    )


def _effect(effect: Any) -> str:
    reason = getattr(effect, "reason", None)
    name = f"`{type(effect).__name__}`"
    return name if reason is None else f"{name} ({reason})"


# ── what is drawn of it ───────────────────────────────────────────────────────────────────────────────────────────────


def diagram(machine: Machine) -> str:
    """A Mermaid diagram: states, and the events that lead from one to another."""
    edges: dict[tuple[str, str], dict[str, None]] = {}
    for outcome in outcomes(machine):
        if outcome.after != outcome.before:
            edges.setdefault((outcome.before, outcome.after), {})[outcome.event] = None
    left = {before for before, _ in edges}
    states = list(machine.states)
    lines = ["```mermaid", "stateDiagram-v2", f"    [*] --> {states[0]}"]
    lines += [f"    {before} --> {after}: {', '.join(events)}" for (before, after), events in edges.items()]
    lines += [f"    {state} --> [*]" for state in states if state not in left]
    return "\n".join([*lines, "```"])


def matrix(machine: Machine) -> str:
    """Events down, states across, in each cell what may come of it."""
    cells: dict[tuple[str, str], dict[str, None]] = {}
    for outcome in outcomes(machine):
        cells.setdefault((outcome.event, outcome.before), {})[_word(outcome)] = None
    rows = [
        [f"`{event.__name__}`", *(_cell(cells.get((event.__name__, state), {})) for state in machine.states)]
        for event in machine.events
    ]
    return table(["", *machine.states], rows)


def _cell(words: Mapping[str, None]) -> str:
    return " or ".join(sorted(words, key="same".__eq__)) or "-"


def _word(outcome: Outcome) -> str:
    if not outcome.changed:
        return "same"
    return "kept" if outcome.after == outcome.before else f"**{outcome.after}**"


def changes(machine: Machine) -> str:
    """Every change of a state or its reason, with the effects."""
    rows = [
        [outcome.before, f"`{outcome.event}`", outcome.after, f"`{outcome.reason}`", outcome.effects]
        for outcome in outcomes(machine)
        if outcome.reason
    ]
    return table(["In", "Event", "Becomes", "Reason", "Effects"], rows)


def events(machine: Machine) -> str:
    """The events and what they mean."""
    return _meanings("Event", machine.events)


def effects(machine: Machine) -> str:
    """The effects and what they ask for."""
    return _meanings("Effect", machine.effects)


def _meanings(title: str, classes: tuple[type, ...]) -> str:
    rows = [[f"`{one.__name__}`", " ".join((inspect.getdoc(one) or "").split())] for one in classes]
    return table([title, "Meaning"], rows)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    return "\n".join(f"| {' | '.join(cells)} |" for cells in [head, ["---"] * len(head), *rows])


# ── samples ───────────────────────────────────────────────────────────────────────────────────────────────────────────

_OURS, _OTHER = WorkerId("ours"), WorkerId("other")
_LOSSES = (
    job.JobReason.WORKER_LOST,
    job.JobReason.WORKER_SILENT,
    job.JobReason.WORKER_STOPPED,
    job.JobReason.DELIVERY_UNCONFIRMED,
    job.JobReason.DELIVERY_FAILED,
    job.JobReason.RESULT_MISSING,
)


def _jobs() -> list[job.Job]:
    """Jobs in all states; running ones with and without a lease, a confirmation, and a retry left."""
    queued = job.Job(
        id=JobId("job"),
        team=TeamId("team"),
        endpoint=EndpointId("endpoint"),
        created_ms=0,
        queued_ms=0,
        expires_ms=3_000,
        execution_limit_ms=2_000,
        retention_ms=1_000,
        retry_limit=1,
    )
    ahead = job.advance(queued, job.DeliveredAhead(at_ms=0, worker=_OURS, lease_until_ms=1_000)).job
    running = job.advance(queued, job.Claimed(at_ms=0, worker=_OURS, lease_until_ms=None)).job
    leased = replace(running, lease_until_ms=1_000)
    confirmed = replace(leased, confirmed_ms=1)
    ended = [
        replace(running, state=state, finished_ms=1)
        for state in job.JobState
        if state not in (queued.state, ahead.state, running.state)
    ]
    return [queued, ahead, running, leased, confirmed, replace(leased, retry_limit=0), *ended]


JOB = Machine(
    states=job.JobState,
    advance=job.advance,
    table=job.TABLE,
    events=get_args(job.JobEvent),
    effects=get_args(job.JobEffect),
    samples=_jobs(),
    happenings=[
        *(job.Claimed(at_ms=at_ms, worker=_OURS, lease_until_ms=None) for at_ms in (0, 3_000)),
        *(job.DeliveredAhead(at_ms=at_ms, worker=_OURS, lease_until_ms=None) for at_ms in (0, 3_000)),
        *(job.TurnCame(at_ms=at_ms) for at_ms in (0, 3_000, 1_000)),
        *(job.Confirmed(at_ms=0, worker=worker, lease_until_ms=None) for worker in (_OURS, _OTHER)),
        *(job.Finished(at_ms=0, worker=_OURS, failed=failed) for failed in (False, True)),
        job.Finished(at_ms=0, worker=_OTHER, failed=False),
        *(job.OutputRefused(at_ms=0, worker=worker) for worker in (_OURS, _OTHER)),
        *(job.AttemptLost(at_ms=0, worker=_OURS, reason=reason) for reason in _LOSSES),
        job.AttemptLost(at_ms=0, worker=_OTHER, reason=job.JobReason.WORKER_LOST),
        job.Cancelled(at_ms=0),
        job.Purged(at_ms=0),
        job.Retried(at_ms=0, expires_ms=3_000),
        *(job.TimePassed(at_ms=at_ms) for at_ms in (3_000, 2_000, 1_000, 0)),
    ],
)


def _workers() -> list[worker.Worker]:
    """Workers in all states, and one that is not well; those on their way out were told to go by the autoscaler."""
    decided = worker.Worker(
        id=_OURS,
        team=TeamId("team"),
        endpoint=EndpointId("endpoint"),
        release=ReleaseId("release"),
        token_hash="",
        decided_ms=0,
    )
    told = worker.WorkerReason.SCALED_DOWN
    going = (worker.WorkerState.DRAINING, worker.WorkerState.STOPPING, worker.WorkerState.GONE)
    ailing = replace(decided, state=worker.WorkerState.READY, unhealthy_ms=1_000)
    return [
        *(
            replace(decided, state=state, reason=told if state in going else decided.reason)
            for state in worker.WorkerState
        ),
        ailing,
    ]


_EXIT = worker.Exit(code=1, text="")
_GO = worker.WorkerReason.STOPPED_BY_USER

WORKER = Machine(
    states=worker.WorkerState,
    advance=worker.advance,
    table=worker.TABLE,
    events=get_args(worker.WorkerEvent),
    effects=get_args(worker.WorkerEffect),
    samples=_workers(),
    happenings=[
        worker.Waits(at_ms=9_000, text="pulling"),
        worker.Waits(at_ms=9_000, text="the cluster looks for a node", reason=worker.WorkerReason.PLACING),
        worker.Waits(at_ms=9_000, text="no node has room", reason=worker.WorkerReason.NO_ROOM_YET),
        worker.Launched(at_ms=9_000),
        worker.LaunchFailed(at_ms=9_000, text=""),
        worker.Took(at_ms=9_000),
        worker.Pinged(at_ms=9_000),
        worker.ReportedUnhealthy(at_ms=9_000, text=""),
        worker.HealthFailed(at_ms=9_000, text=""),
        worker.HealthPassed(at_ms=9_000),
        worker.Drained(at_ms=9_000, reason=_GO),
        worker.Emptied(at_ms=9_000),
        worker.Stopped(at_ms=9_000, reason=_GO),
        worker.Stopped(at_ms=9_000, reason=worker.WorkerReason.SILENT),
        worker.Exited(at_ms=9_000, exit=_EXIT),
        worker.Vanished(at_ms=9_000),
    ],
)
