"""What became of every job that was accepted, and of the webhooks that tell of their ends. Pure.

A job is *lost* when it was answered with 200 and, after everything has settled, does not exist, has not ended, or ended with what is not its
own. One that ended otherwise than completed has *failed by rule*: its reason says which. What a job was to do is in its order.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

HANDLER_ERROR: Final = "handler_error"


@dataclass(frozen=True, kw_only=True, slots=True)
class Ordered:
    """What a job was to do."""

    number: int
    work_ms: int = 0
    fails: bool = False
    """Whether its handler reports an error."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Ending:
    """How a job was found after its end."""

    state: str
    reason: str
    attempts: int
    output: Any = None


@dataclass(frozen=True, kw_only=True)
class Report:
    """The day, each thing by ids of jobs."""

    seed: int
    struck: Mapping[str, int]
    """How often each fault struck."""
    left_out: Mapping[str, str]
    """Faults that were asked for and could not be, each with the reason."""
    accepted: Sequence[str]
    completed: Sequence[str]
    failed: Mapping[str, Sequence[str]]
    """By rule: the reason code of the end."""
    again: Mapping[str, int]
    """Jobs that ran more than once, with the number of their attempts."""
    lost: Mapping[str, str]
    """Each with what is wrong with it."""
    told: Sequence[str]
    """Jobs whose end was told to the receiver."""
    told_again: Sequence[str]
    """Those of them that were told more than once, under the same id."""
    untold: Sequence[str]
    doubled: Sequence[str]
    """Jobs that the receiver was told of and nobody was answered about: a submission that was repeated made a second job."""
    refused: Mapping[str, int] = field(default_factory=dict)
    """How often a submission had to be repeated, by the status or the error."""

    @property
    def good(self) -> bool:
        """Whether every promise was kept."""
        return not (self.lost or self.untold or self.doubled)


def judge(
    orders: Mapping[str, Ordered],
    endings: Mapping[str, Ending],
    told: Mapping[str, int],
    **more: Any,
) -> Report:
    """The report of jobs that were accepted, by their ids: how they ended, and how often the receiver was told of each."""
    lost = {job: wrong for job, order in orders.items() if (wrong := _wrong(order, endings.get(job)))}
    ended = {job: end for job, end in endings.items() if job in orders and job not in lost}
    failed: dict[str, list[str]] = {}
    for job, end in ended.items():
        if end.state != "completed":
            failed.setdefault(end.reason, []).append(job)
    return Report(
        accepted=list(orders),
        completed=[job for job, end in ended.items() if end.state == "completed"],
        failed=failed,
        again={job: end.attempts for job, end in endings.items() if end.attempts > 1},
        lost=lost,
        told=[job for job in orders if job in told],
        told_again=[job for job, times in told.items() if times > 1],
        untold=[job for job in orders if job not in told],
        doubled=[job for job in told if job not in orders],
        **more,
    )


def _wrong(order: Ordered, end: Ending | None) -> str:
    """What is wrong with how a job ended; empty when nothing is."""
    if end is None:
        return "it has not ended, or does not exist"
    if end.state == "completed" and (order.fails or end.output != order.number):
        return f"it completed with {end.output!r}, which is not its own"
    if end.reason == HANDLER_ERROR and not order.fails:
        return "it failed with another job's error"
    return ""


def summary(report: Report) -> list[tuple[str, str]]:
    """The lines of a person's table: a name and its numbers."""
    struck = ", ".join(f"{count} {fault}" for fault, count in report.struck.items()) or "none"
    lines = [("seed", str(report.seed)), ("faults", struck)]
    lines += [(f"not done: {fault}", reason) for fault, reason in report.left_out.items()]
    refused = ", ".join(f"{why} {count} times" for why, count in Counter(report.refused).most_common())
    lines += [("submissions repeated", refused)] if refused else []
    lines += [("accepted", str(len(report.accepted))), ("completed", str(len(report.completed)))]
    lines += [(f"failed by rule: {rule}", str(len(jobs))) for rule, jobs in sorted(report.failed.items())]
    lines += [
        ("run more than once", _most(report.again.values(), len(report.again))),
        ("lost", str(len(report.lost))),
        ("webhook events delivered", f"{len(report.told)}, {len(report.told_again)} of them more than once"),
        ("webhook events missing", str(len(report.untold))),
        ("doubled", str(len(report.doubled))),
    ]
    return lines


def _most(attempts: Any, count: int) -> str:
    return f"{count}, at most {max(attempts)} times" if count else "0"


__all__ = ["HANDLER_ERROR", "Ending", "Ordered", "Report", "judge", "summary"]
