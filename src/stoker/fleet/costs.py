"""What a job cost: its turns in a slot, at the prices of the workers that ran it.

A slot costs its part of the worker, whether other slots were in use or not. So nobody's neighbours change what a job costs, and what all jobs
cost together is never more than the running time of their workers costs in the ledger of usage, nor those of one key more than its part
there ([why](../../../docs/decisions/0010-cost-of-a-job.md)).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from stoker.clock import Clock
from stoker.fleet.turns import Turn, slots_of, turns_of
from stoker.ids import WorkerId
from stoker.job import Job
from stoker.metering import HOUR_MS
from stoker.specification import MICROS
from stoker.store import Store, StoryLine
from stoker.worker import Worker


def cost_of(turns: Sequence[Turn], workers: Mapping[WorkerId, Worker], now_ms: int, *, slots: int = 1) -> float:
    """In the operator's currency, down to a whole millionth; a turn that goes on costs what it cost until now. `slots` are those of a
    worker."""
    total = sum(_ms(turn, workers[turn.worker], now_ms) * workers[turn.worker].price_per_hour_micros for turn in turns)
    return total // (HOUR_MS * slots) / MICROS


def _ms(turn: Turn, worker: Worker, now_ms: int) -> int:
    """How much of it counts: what comes after a worker's stop is free."""
    ends = (now_ms if turn.ended_ms is None else turn.ended_ms, worker.counted_until_ms)
    return max(0, min(end for end in ends if end is not None) - turn.begun_ms)


class JobCosts:
    """Costs by job."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def of(self, job: Job, story: Sequence[StoryLine]) -> float | None:
        """What all attempts of the job cost; None when that cannot be told: its workers are forgotten, or its endpoint changed too often."""
        turns = turns_of(story)
        if not turns:
            return 0.0 if job.attempt == 0 else None
        found = [await self._store.workers.get(worker) for worker in {turn.worker for turn in turns}]
        workers = {one.id: one for one in found if one is not None}
        slots = await slots_of(self._store, job, turns)
        if slots is None or len(workers) < len(found):
            return None
        return cost_of(turns, workers, self._clock.now_ms(), slots=slots)


__all__ = ["JobCosts", "cost_of"]
