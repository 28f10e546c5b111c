"""Turns: while which workers ran a job, and how many others they may have run beside it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from stoker.audit import AuditLine
from stoker.ids import WorkerId
from stoker.job import Job, JobState
from stoker.store import Store, StoryLine

CHANGES_MOST: Final = 50
"""Changes of an endpoint that are looked through; after more of them since a job began nobody can tell."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Turn:
    """While a worker ran the job."""

    worker: WorkerId
    begun_ms: int
    ended_ms: int | None = None
    """None while it does."""


def turns_of(story: Sequence[StoryLine]) -> Sequence[Turn]:
    """The turns of a job, from its lines of the ledger."""
    turns: list[Turn] = []
    attempt: int | None = None
    for line in story:
        runs = line.state == JobState.RUNNING and line.worker is not None
        if turns and turns[-1].ended_ms is None and not (runs and line.attempt == attempt):
            turns[-1] = replace(turns[-1], ended_ms=line.at_ms)
        if runs and line.worker is not None and (not turns or turns[-1].ended_ms is not None):
            turns.append(Turn(worker=line.worker, begun_ms=line.at_ms))
            attempt = line.attempt
    return turns


def slots_during(turns: Sequence[Turn], changes: Iterable[AuditLine], slots_now: int) -> int:
    """The most jobs that a worker may have run at once during the turns, which are not none; `changes` of its endpoint, newest first.

    What was changed after the last turn counts no more: a job that has ended costs what it cost.
    """
    begun_ms, ended_ms = turns[0].begun_ms, turns[-1].ended_ms
    slots, seen = slots_now, []
    for line in changes:
        if line.at_ms < begun_ms:
            break
        if ended_ms is None or line.at_ms <= ended_ms:
            seen.append(slots)
        if line.before is not None:
            slots = int(line.before.get("slots", slots))
    return max(slots, *seen, 1)


async def slots_of(store: Store, job: Job, turns: Sequence[Turn]) -> int | None:
    """The most jobs that a worker of the job's endpoint may have run at once during its turns; None when nobody can tell."""
    endpoint = await store.endpoints.get(job.endpoint)
    if endpoint is None:
        return None
    changes = await store.audit.lines(job.team, thing=job.endpoint, limit=CHANGES_MOST)
    if len(changes) >= CHANGES_MOST and changes[-1].line.at_ms >= turns[0].begun_ms:
        return None
    return slots_during(turns, (one.line for one in changes), endpoint.slots)


__all__ = ["Turn", "slots_during", "slots_of", "turns_of"]
