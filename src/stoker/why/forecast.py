"""When a waiting job will start, counted from the endpoint's own history. Pure.

With `lanes` jobs running at once and `before` jobs ahead of it, a job starts when enough of them have ended: in the middle after
`(before + 1 - free) / lanes` times the median run. With no worker ready the start of one comes first. The 90th percentile is
the same with the 90th percentiles of runs and starts: pessimistic, since not every job is that slow.

What it assumes: jobs to come run as long as the last ones did, and the number of workers stays as it is.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

SAMPLES_LEAST: Final = 5
"""With fewer ended jobs, or starts where one is needed, nothing is foretold."""
SAMPLES_MOST: Final = 100
"""The latest are looked at: an endpoint's jobs change with its releases."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Forecast:
    """Seconds from now on until a job starts."""

    p50_s: float
    p90_s: float
    samples: int
    """How many ended jobs say so."""


@dataclass(frozen=True, kw_only=True, slots=True)
class History:
    """How long the endpoint's latest jobs ran, and its latest workers took to their first take."""

    runs_ms: Sequence[int] = ()
    starts_ms: Sequence[int] = ()


def forecast(history: History, *, before: int, lanes: int, free: int, ready: bool) -> Forecast | None:
    """Until the job with `before` others ahead of it starts; None when the history says too little.

    `lanes` jobs can run at once on the workers that there are or will be, `free` of them do not now; `ready` says whether any
    worker takes jobs.
    """
    runs = history.runs_ms[:SAMPLES_MOST]
    if lanes <= 0 or (not ready and len(history.starts_ms) < SAMPLES_LEAST):
        return None
    turns = max(0, before + 1 - free) / lanes
    if turns and len(runs) < SAMPLES_LEAST:
        return None
    p50_s, p90_s = (
        (turns * _percentile(runs, share) + (0 if ready else _percentile(history.starts_ms, share))) / 1000
        for share in (0.5, 0.9)
    )
    return Forecast(p50_s=round(p50_s, 1), p90_s=round(p90_s, 1), samples=len(runs))


def _percentile(values: Sequence[int], share: float) -> int:
    """The nearest rank; 0 of nothing."""
    ordered = sorted(values)
    return ordered[math.ceil(share * len(ordered)) - 1] if ordered else 0


__all__ = ["SAMPLES_LEAST", "SAMPLES_MOST", "Forecast", "History", "forecast"]
