"""The table of the contest: one row each, or why there is none.

Rates, memory and the generator's share are the middle of the rounds; latencies are of the jobs of all rounds together.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import median
from typing import Final

import msgspec

from benchmarks.figures import Spread
from benchmarks.peers.measure import Crash, Turn

MIB: Final = 2**20
HEAD: Final = (
    "",
    "an accepted job is in",
    "jobs/s",
    "idle p50",
    "idle p99",
    "memory",
    "jobs lost",
    "results lost",
    "generator",
)


class Record(msgspec.Struct, kw_only=True):
    """Everything known about one contestant."""

    label: str
    kept: str
    failure: str = ""
    """Why it did not take part, or did not go on."""
    turns: list[Turn] = []
    crash: Crash | None = None


def render(records: Sequence[Record]) -> str:
    """A Markdown table, then the failures as a list."""
    lines = [HEAD, tuple("---" for _ in HEAD), *(_cells(record) for record in records)]
    widths = [max(len(line[place]) for line in lines) for place in range(len(HEAD))]
    table = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |" for line in lines
    ]
    failures = [f"- {record.label}: {record.failure}" for record in records if record.failure]
    return "\n".join([*table, *([""] if failures else []), *failures])


def _cells(record: Record) -> tuple[str, ...]:
    turns = record.turns
    if not turns:
        return (record.label, record.kept, *("" for _ in HEAD[2:]))

    def middle(read: Callable[[Turn], float]) -> float:
        return median(read(turn) for turn in turns)

    idle = Spread.of([seconds for turn in turns for seconds in turn.idle.total_s])
    return (
        record.label,
        record.kept,
        f"{middle(lambda turn: turn.load.jobs / turn.load.seconds):,.0f}",
        _ms(idle.p50),
        _ms(idle.p99),
        f"{middle(lambda turn: turn.pss_bytes) / MIB:,.0f} MiB",
        *_lost(record.crash),
        f"{middle(lambda turn: turn.load.own_cpu_s / turn.load.seconds):.0%}",
    )


def _ms(value: float) -> str:
    return f"{value:.1f} ms" if value < 100 else f"{value:,.0f} ms"


def _lost(crash: Crash | None) -> tuple[str, str]:
    if crash is None:
        return ("", "")
    return (
        f"{crash.unfinished_missing} of {crash.unfinished}",
        f"{crash.finished_missing:,} of {crash.finished:,}",
    )
