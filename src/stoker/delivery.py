"""How many jobs a worker gets besides those that it can begin at once: `jobs_ahead(demand)`, pure and without memory.

A worker looks for its next job about once a second, whatever its jobs need; with several in hand it begins the next one at
once. What is delivered ahead cannot be moved to another worker, so it is taken from the surplus only: what is left when every
live worker has filled its slots, in equal shares. What it trades is told in `docs/delivery.md`.
"""

from __future__ import annotations

import math
import re
from functools import lru_cache
from typing import Final

import msgspec

WORK_MS: Final = 12_000
"""So much work makes the pause of a second less than a tenth of it."""
RUN_MOST_MS: Final = 6_000
"""Above this the pause is small beside one job, and a job ahead would wait long for its turn."""
AHEAD_MOST: Final = 250
"""The ping names every job that a worker has: more would not fit into its URL."""
_ONE_SLOT: Final = (1, 7, 6)
"""Earlier releases leave out jobs in their pings, or take without pause (protocol §10, §20)."""
_SEVERAL_SLOTS: Final = (1, 9, 1)
"""Before this a job that is taken while another runs does not start until one ends (protocol §6)."""
_VERSION = re.compile(r"(\d+)\.(\d+)\.(\d+)")


class Demand(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One endpoint at the moment of a take."""

    setting: int | None
    """`Endpoint.deliver_ahead`: None for as many as are good, 0 for none."""
    sdk: str
    """The version that the worker names."""
    slots: int
    queued: int
    """Jobs in the queue, of either priority, without those that were delivered ahead."""
    live: int
    """Workers that take jobs or will: ready and starting ones."""
    run_ms: float | None
    """Mean run time of the endpoint's jobs; None while it is unknown."""


def jobs_ahead(demand: Demand) -> int:
    """How many jobs the worker may get to wait there for their turn."""
    live = max(1, demand.live)
    share = max(0, demand.queued - live * demand.slots) // live
    if not share or not gains(demand.sdk, demand.slots):
        return 0
    wanted = _wanted(demand) if demand.setting is None else demand.setting
    return min(wanted, share, AHEAD_MOST)


def _wanted(demand: Demand) -> int:
    if demand.run_ms is None or demand.run_ms > RUN_MOST_MS:
        return 0
    return math.ceil(WORK_MS * demand.slots / max(1.0, demand.run_ms))


@lru_cache(maxsize=64)
def gains(sdk: str, slots: int) -> bool:
    """Whether this SDK is better off with jobs ahead. Unknown ones are left alone."""
    found = _VERSION.match(sdk)
    if found is None:
        return False
    version = tuple(int(number) for number in found.groups())
    return version >= (_ONE_SLOT if slots == 1 else _SEVERAL_SLOTS)
