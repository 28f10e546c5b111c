"""How quick commits have been lately, and so whether the event loop may make one itself.

Called by `writer.py`. To hand a commit to the thread and to hear of its end wakes two threads, which takes as long as a quick disk takes to
flush. Whether a disk is quick is known only afterwards, so what must stay true: one that is slow holds up the event loop for
one commit, and then for none before `QUICK_RUN` of them, made by the thread, were quick again.
"""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter
from typing import Final

QUICK_S: Final = 0.001
"""A commit that takes less is quick: the event loop is away no longer than by a batch of statements."""
QUICK_RUN: Final = 16
"""So many in a row were quick before another is believed to be."""


class Pace:
    """Of commits, one after the other. `now_s` is a clock that only moves forward."""

    def __init__(self, now_s: Callable[[], float] = perf_counter) -> None:
        self._now_s = now_s
        self._begun_s = 0.0
        self._run = 0
        """Quick ones in a row."""

    def begin(self) -> None:
        """A commit begins."""
        self._begun_s = self._now_s()

    def end(self) -> None:
        """It is on the disk, or has failed."""
        self._run = self._run + 1 if self._now_s() - self._begun_s < QUICK_S else 0

    @property
    def quick(self) -> bool:
        """Whether the next is likely to be quick."""
        return self._run >= QUICK_RUN
