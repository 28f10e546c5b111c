"""Which faults strike when: a schedule drawn from a seed. Pure.

The same seed, duration and faults give the same schedule on every machine. Each fault strikes once, in an order of chance, before any strikes
again, and at least once however short the load is; every strike is over before the load ends, so that what follows is settling and nothing else.
"""

from __future__ import annotations

import random
from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Fault(StrEnum):
    """What is done to the platform."""

    meaning: str

    def __new__(cls, word: str, meaning: str) -> Fault:
        """A fault with its meaning in words."""
        fault = str.__new__(cls, word)
        fault._value_ = word
        fault.meaning = meaning
        return fault

    KILL_WORKER = "kill-worker", "SIGKILL to a worker"
    PAUSE_WORKER = "pause-worker", "SIGSTOP to a worker, SIGCONT later"
    KILL_SERVER = "kill-server", "SIGKILL to a server, started again later"
    PAUSE_SERVER = "pause-server", "SIGSTOP to a server, SIGCONT later"
    KILL_DATABASE = "kill-database", "SIGKILL to PostgreSQL, started again later"
    PAUSE_DATABASE = "pause-database", "SIGSTOP to all of PostgreSQL, SIGCONT later"
    FILL_DISK = "fill-disk", "no more room on the disk of the database"
    BREAK_RECEIVER = "break-receiver", "the receiver of webhooks refuses, hangs or hangs up"


FIRST_S: Final = 2.0
"""From the begin of the load to the first strike."""
GAP_MOST_S: Final = 4.0
"""From one strike to the next; strikes may overlap."""
ROUND_MOST: Final = 0.7
"""Of the duration: in so much of it each fault strikes once."""
LASTS_S: Final = {
    Fault.KILL_WORKER: (0.0, 0.0),
    Fault.PAUSE_WORKER: (1.0, 15.0),
    Fault.KILL_SERVER: (0.0, 3.0),
    Fault.PAUSE_SERVER: (0.5, 10.0),
    Fault.KILL_DATABASE: (0.0, 3.0),
    Fault.PAUSE_DATABASE: (0.5, 5.0),
    Fault.FILL_DISK: (2.0, 6.0),
    Fault.BREAK_RECEIVER: (1.0, 8.0),
}
"""How long each is let be: pauses reach beyond a lease, so that what wakes up finds that others have its jobs."""
LASTS_MOST: Final = 0.2
"""Of the duration: a short day has short faults."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Strike:
    """One fault at one moment of the load."""

    at_s: float
    fault: Fault
    lasts_s: float
    which: float
    """Who of those that are there when it strikes: from 0, the first, to below 1, the last."""


def schedule(seed: int, duration_s: float, faults: Collection[Fault]) -> tuple[Strike, ...]:
    """All strikes of a load of that duration, in their order."""
    chance = random.Random(seed)  # nosec B311  # it chooses faults, no secret
    strikes: list[Strike] = []
    round_of: list[Fault] = []
    at_s = FIRST_S
    gap_most_s = min(GAP_MOST_S, ROUND_MOST * (duration_s - FIRST_S) / max(1, len(faults)))
    while faults:
        if not round_of:
            round_of = sorted(faults)
            chance.shuffle(round_of)
        fault = round_of.pop()
        lasts_s = min(chance.uniform(*LASTS_S[fault]), LASTS_MOST * duration_s)
        if at_s + lasts_s >= duration_s:
            break
        strikes.append(
            Strike(at_s=round(at_s, 2), fault=fault, lasts_s=round(lasts_s, 2), which=round(chance.random(), 3) % 1)
        )
        at_s += gap_most_s * chance.uniform(0.25, 1)
    return tuple(strikes)


__all__ = ["Fault", "Strike", "schedule"]
