"""The ledger of GPUs: two pure functions over device ids, so that no device is ever promised twice.

Whoever decides a launch calls `reserve` with everything that living workers hold, and writes the answer down with the decision,
before anything starts.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def free_devices(capacity: Sequence[str], reserved: Iterable[str]) -> list[str]:
    """Devices of `capacity` that nobody holds, in its order. Reserved ids that the machine lacks are of no account."""
    held = set(reserved)
    return [device for device in capacity if device not in held]


def reserve(capacity: Sequence[str], reserved: Iterable[str], count: int) -> tuple[str, ...] | None:
    """The first `count` free devices, or None when there are fewer: a worker gets all of its GPUs or does not start."""
    free = free_devices(capacity, reserved)
    return tuple(free[:count]) if len(free) >= count else None
