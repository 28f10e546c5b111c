"""An event loop with its own time: when nobody can run, time jumps to the next timer.

A day passes in seconds, and a test that would wait for ever fails at once. Nothing outside the process is waited for, so
whatever runs in it has no threads and no sockets.
"""

import asyncio
import selectors

SPINS_MOST = 200_000
"""Turns of the loop within one moment: more of them are somebody who never waits."""


class Stuck(BaseException):
    """Nobody can run and no timer is set, or somebody runs and lets no time pass."""


class _Jumping(selectors.SelectSelector):
    """A selector that never waits: it adds the wait to the time."""

    now_s = 0.0
    _spins = 0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Jump; there is never anything to report."""
        if timeout is None:
            raise Stuck(f"deadlock at {self.now_s:.3f} s: nobody can run and no timer is set")
        self._spins = 0 if timeout > 0 else self._spins + 1
        if self._spins > SPINS_MOST:
            self._spins = 0
            raise Stuck(f"livelock at {self.now_s:.3f} s: somebody runs on and on and lets no time pass")
        self.now_s += max(0.0, timeout)
        return []


class SimulatedLoop(asyncio.SelectorEventLoop):
    """Starts at 0 seconds."""

    def __init__(self) -> None:
        self._jumping = _Jumping()
        super().__init__(self._jumping)

    def time(self) -> float:
        """Seconds that have been jumped over."""
        return self._jumping.now_s
