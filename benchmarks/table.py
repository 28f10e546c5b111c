"""The table of results: rows beside their goals, as Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

import msgspec


class Bound(msgspec.Struct, frozen=True):
    """A goal: what must be reached, and where we are going."""

    must: float
    aim: float
    more_is_better: bool

    def holds(self, value: float, limit: float) -> bool:
        """Whether the value is on the right side of the limit."""
        return value >= limit if self.more_is_better else value <= limit

    def text(self, limit: float) -> str:
        """Such as `≥ 0.3`."""
        return f"{'≥' if self.more_is_better else '≤'} {limit:g}"


def at_least(must: float, aim: float) -> Bound:
    """More is better."""
    return Bound(must=must, aim=aim, more_is_better=True)


def at_most(must: float, aim: float) -> Bound:
    """Less is better."""
    return Bound(must=must, aim=aim, more_is_better=False)


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One thing measured."""

    what: str
    ours: str
    reference: str
    ratio: float | None
    bound: Bound | None
    judged: float
    """What the goal is about: the ratio, or the value itself."""

    @property
    def verdict(self) -> str:
        """How the value stands to its goal."""
        if self.bound is None:
            return ""
        if self.bound.holds(self.judged, self.bound.aim):
            return "aim"
        return "must" if self.bound.holds(self.judged, self.bound.must) else "missed"


def plain(what: str, value: float, unit: str, bound: Bound | None, reference: str = "") -> Row:
    """A row judged by itself."""
    return Row(what=what, ours=f"{value:,.4g} {unit}", reference=reference, ratio=None, bound=bound, judged=value)


def beside(what: str, pairs: Sequence[tuple[float, float]], unit: str) -> Row:
    """A row of medians over rounds, each value with the one that it is compared with, and no goal."""
    ratio = median(ours / theirs for ours, theirs in pairs)
    ours, theirs = (f"{median(values):,.4g} {unit}" for values in zip(*pairs, strict=True))
    return Row(what=what, ours=ours, reference=theirs, ratio=ratio, bound=None, judged=ratio)


def render(rows: Sequence[Row]) -> str:
    """A Markdown table."""
    head = ("", "Stoker", "reference", "ratio", "must", "aim", "reached")
    cells = [head, tuple("---" for _ in head), *(_cells(row) for row in rows)]
    widths = [max(len(line[place]) for line in cells) for place in range(len(head))]
    return "\n".join(
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |" for line in cells
    )


def _cells(row: Row) -> tuple[str, ...]:
    must, aim = ("", "") if row.bound is None else (row.bound.text(row.bound.must), row.bound.text(row.bound.aim))
    ratio = "" if row.ratio is None else f"{row.ratio:.3g}"
    return (row.what, row.ours, row.reference, ratio, must, aim, row.verdict)
