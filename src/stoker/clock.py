"""The only place that reads the time of day.

Operations read the clock once per operation and hand the value on; rules, decisions and stores only see values.
All stored times are integer milliseconds since the Unix epoch (`*_ms`); durations are seconds (`*_s`) or milliseconds
(`*_ms`), as the name says.
"""

from __future__ import annotations

from time import time_ns
from typing import Protocol


class Clock(Protocol):
    """Where operations get the present moment from."""

    def now_ms(self) -> int:
        """Milliseconds since the Unix epoch."""
        ...


class SystemClock:
    """The machine's clock, kept from running backwards within this process."""

    def __init__(self) -> None:
        self._last_ms = 0

    def now_ms(self) -> int:
        """Milliseconds since the Unix epoch; never less than the answer before."""
        now_ms = time_ns() // 1_000_000
        if now_ms > self._last_ms:
            self._last_ms = now_ms
        return self._last_ms


class ManualClock:
    """A clock that moves only when told to: for tests and for reading a story at a given moment."""

    def __init__(self, now_ms: int = 1_700_000_000_000) -> None:
        self._now_ms = now_ms

    def now_ms(self) -> int:
        """The moment it was last moved to."""
        return self._now_ms

    def advance_s(self, seconds: float) -> None:
        """Move forward by `seconds`."""
        self._now_ms += int(seconds * 1000)
