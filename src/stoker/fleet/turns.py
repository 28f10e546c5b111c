"""Turns: while which workers ran a job, and how many others they may have run beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from stoker.ids import WorkerId
from stoker.job import Job, JobState
from stoker.store import Store, StoryLine

CHANGES_MOST: Final = 50
"""Changes of an endpoint that are looked through; after more of them during one job nobody can tell."""


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


async def slots_since(store: Store, job: Job, at_ms: int) -> int | None:
    """The most jobs that a worker of its endpoint may have run at once since then; None when nobody can tell."""
    endpoint = await store.endpoints.get(job.endpoint)
    if endpoint is None:
        return None
    changes = await store.audit.lines(job.team, thing=job.endpoint, limit=CHANGES_MOST)
    since = [one.line for one in changes if one.line.at_ms >= at_ms]
    if len(since) >= CHANGES_MOST:
        return None
    before = [int(line.before["slots"]) for line in since if line.before is not None and "slots" in line.before]
    return max([endpoint.slots, *before])


__all__ = ["Turn", "slots_since", "turns_of"]
