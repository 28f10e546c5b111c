"""The health check of workers: what an endpoint asks for, and what a row of answers means.

A worker whose endpoint has a check gets no job before it has passed it, nor from the first answer that fails until it has passed
again. One that had passed and then fails too often in a row is replaced; one that never passed has the time that every worker
has to become ready. Pure: who asks, and when, is `fleet.checks`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from stoker.errors import InvalidInput

PATH_MOST: Final = 1_024


@dataclass(frozen=True, kw_only=True, slots=True)
class HealthCheck:
    """HTTP GET to the worker's own port; an answer from 200 to 399 is good."""

    path: str
    initial_delay_s: int = 0
    """From its launch until it is asked for the first time."""
    period_s: int = 10
    """From one question to the next."""
    timeout_s: int = 3
    """For one answer."""
    successes: int = 1
    """Good answers in a row that make it healthy."""
    failures: int = 3
    """Bad answers in a row for which a worker that was healthy is replaced."""


@dataclass(frozen=True, slots=True)
class Tally:
    """Answers in a row, one of the two is 0."""

    good: int = 0
    bad: int = 0

    def with_answer(self, good: bool) -> Tally:
        """After one more."""
        return replace(self, good=self.good + 1, bad=0) if good else replace(self, good=0, bad=self.bad + 1)


class Verdict(StrEnum):
    """What a worker is after an answer."""

    HEALTHY = "healthy"
    """It may get jobs."""
    UNHEALTHY = "unhealthy"
    """It gets none."""
    LOST = "lost"
    """It is replaced."""


def verdict(check: HealthCheck, tally: Tally, *, healthy: bool, passed: bool) -> Verdict:
    """What the answers mean for a worker that was `healthy` until now, and has `passed` the check before or not."""
    if tally.good:
        return Verdict.HEALTHY if healthy or tally.good >= check.successes else Verdict.UNHEALTHY
    if passed and tally.bad >= check.failures:
        return Verdict.LOST
    return Verdict.UNHEALTHY


def check_path(path: str) -> None:
    """Raise `InvalidInput` for what cannot be asked for."""
    if not path.startswith("/") or not (path.isascii() and path.isprintable()) or " " in path or "#" in path:
        raise InvalidInput(
            f"health.path is '{path[:100]}'; it must begin with '/' and have printable ASCII characters only",
            field="health.path",
            next_step="for example /health",
        )
    if len(path) > PATH_MOST:
        raise InvalidInput(
            f"health.path has {len(path)} characters; at most {PATH_MOST} are allowed", field="health.path"
        )


__all__ = ["HealthCheck", "Tally", "Verdict", "check_path", "verdict"]
