"""How many requests a key may make at an endpoint: what counts together, the rates, and the one rule that admits or refuses. Pure.

A bucket is one number: the moment at which everything that was admitted has been paid for, at one request per `interval_s`. It may be
ahead of now by the window at most, so a full window's requests may come at once, and after that as fast as they are paid for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import Final

WINDOW_S: Final = 10.0
"""Rates are stated for ten seconds, as Runpod states them."""
DEBT_WINDOWS: Final = 2
"""How far what other servers admitted may put a bucket ahead: what was said wrongly is over soon."""


ROUNDING_S: Final = 1e-4
"""Seconds since 1970 are known to some 0.2 µs, and each request of a window adds its rounding."""


class Asked(StrEnum):
    """Requests that are counted together."""

    RUN = "run"
    RUNSYNC = "runsync"
    LOOK = "look"
    """Status, status-sync, stream, health, stats."""
    CANCEL = "cancel"
    """Cancel and retry."""
    PURGE = "purge"


RUNPOD: Final[Mapping[Asked, int]] = {
    Asked.RUN: 1_000,
    Asked.RUNSYNC: 2_000,
    Asked.LOOK: 2_000,
    Asked.CANCEL: 100,
    Asked.PURGE: 2,
}
"""What Runpod allows in a window (protocol, job API §2.3)."""


@dataclass(frozen=True, slots=True)
class Rate:
    """So many requests in a window."""

    count: float

    @property
    def interval_s(self) -> float:
        """What one request costs."""
        return WINDOW_S / self.count


def rates(factor: float) -> dict[Asked, Rate]:
    """Runpod's rates, so many times over; none at all for 0. Each allows one request at least."""
    return {} if factor == 0 else {asked: Rate(max(1.0, count * factor)) for asked, count in RUNPOD.items()}


@lru_cache(maxsize=4_096)
def interval_s(rate: int, asked: Asked) -> float:
    """What one request costs where `rate` requests to `/run` are allowed in a window."""
    return rates(rate / RUNPOD[Asked.RUN])[asked].interval_s


def admit(paid_s: float, now_s: float, interval_s: float) -> tuple[float, float]:
    """The bucket after one more request, and 0; or the bucket as it is, and how many seconds to wait."""
    after_s = (paid_s if paid_s > now_s else now_s) + interval_s
    wait_s = after_s - now_s - WINDOW_S
    return (after_s, 0.0) if wait_s <= ROUNDING_S else (paid_s, wait_s)


def charge(paid_s: float, now_s: float, cost_s: float) -> float:
    """The bucket after other servers have admitted requests that cost so much together."""
    return min(max(paid_s, now_s) + cost_s, now_s + DEBT_WINDOWS * WINDOW_S)


__all__ = ["DEBT_WINDOWS", "RUNPOD", "WINDOW_S", "Asked", "Rate", "admit", "charge", "interval_s", "rates"]
