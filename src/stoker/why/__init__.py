"""Why a job, an endpoint or a worker is as it is: a reason, a sentence with its numbers, and the next step. Pure.

Called by the operations that read. Nothing is guessed: a sentence only says what was recorded; what can only be expected (when a job
will start) is counted from the endpoint's own history, and is left out when that says too little.

    jobs       waits, runs, ends
    endpoints  what the autoscaler decided last, and what to do about it
    workers    the stage of a start, what it does, why it ended
    forecast   when a waiting job will start, from how long others ran
"""

from __future__ import annotations

from dataclasses import dataclass

from stoker.why.forecast import Forecast


@dataclass(frozen=True, kw_only=True, slots=True)
class Why:
    """A reason code and a sentence."""

    reason: str
    text: str
    next_step: str = ""
    """What a person can do about it; empty when there is nothing to do but to wait."""
    expected: Forecast | None = None
    """When a waiting job is expected to start; None when it does not wait, or nobody can tell."""


__all__ = ["Forecast", "Why"]
