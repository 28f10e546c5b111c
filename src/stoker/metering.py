"""Metering: what a worker's time was, hour by hour, and whose.

The time of a worker counts from its first take until it is told to stop, or is gone: starting and stopping are free. It is *running*
while the worker holds a job, *idle* otherwise. A worker carries a `Meter` of what is not in the ledger of usage yet. Transitions note
on it what they end: a spell of idleness, a job's attempt. `read` turns it into entries and gives back a meter that begins where
those end; both are stored in one transaction, so no moment is counted twice or left out, however often a reading is tried.

What must stay true (`tests/rules/test_metering.py`): the entries of a reading add up to the time that passed, in every hour.
Running time is a key's as far as its jobs held the worker: several at once share it, and what none held is nobody's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from typing import Final, NamedTuple

import msgspec

from stoker.ids import TeamId

HOUR_MS: Final = 3_600_000
DAY_MS: Final = 24 * HOUR_MS
KEYS_MOST: Final = 32
"""Keys whose jobs a meter keeps apart between two readings; the time of further ones is nobody's."""
NOBODY: Final = ""
"""The key of time that belongs to none."""


class Use(StrEnum):
    """What is paid for."""

    RUNNING = "running"
    IDLE = "idle"
    STORAGE = "storage"


class Meter(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A worker's time that is not in the ledger of usage yet."""

    upto_ms: int
    """Until when it is."""
    rested_ms: int = 0
    """How much of the time since then were spells of idleness that are over."""
    held: tuple[tuple[str, int], ...] = ()
    """For how many milliseconds since then jobs of a key held the worker, attempts that are over."""


class Reading(NamedTuple):
    """A part of a worker's time."""

    hour_ms: int
    """The hour's beginning."""
    use: Use
    key: str
    """Whose jobs held it, or `NOBODY`."""
    ms: int


class Account(NamedTuple):
    """What time is booked on: the columns of the ledger of usage but the amount."""

    team: TeamId
    hour_ms: int
    endpoint: str
    """Empty for storage."""
    release: str
    specification: str
    price_micros: int
    """Of an hour of the worker, or of a GiB in a volume, in millionths of the operator's currency."""
    use: str
    key: str
    volume: str
    """Empty for workers."""


class Held(NamedTuple):
    """A job that the worker runs now."""

    key: str
    since_ms: int


def rested(meter: Meter, since_ms: int, at_ms: int) -> Meter:
    """A spell of idleness ended."""
    more_ms = max(0, at_ms - max(since_ms, meter.upto_ms))
    return Meter(meter.upto_ms, meter.rested_ms + more_ms, meter.held)


def let_go(meter: Meter, key: str, since_ms: int, at_ms: int) -> Meter:
    """An attempt of a job ended."""
    more_ms = at_ms - max(since_ms, meter.upto_ms)
    if more_ms <= 0 or not key:
        return meter
    known = dict(meter.held)
    if key not in known and len(known) >= KEYS_MOST:
        return meter
    known[key] = known.get(key, 0) + more_ms
    return Meter(meter.upto_ms, meter.rested_ms, tuple(known.items()))


def read(
    meter: Meter, at_ms: int, *, idle_ms: int | None, holding: Sequence[Held] = ()
) -> tuple[Meter, tuple[Reading, ...]]:
    """What the time until `at_ms` was, and the meter that begins there; nothing if that is not after the last reading."""
    if at_ms <= meter.upto_ms:
        return meter, ()
    idle = _Idleness(meter, at_ms, idle_ms, holding)
    weights = _weights(meter, at_ms, holding, running_ms=at_ms - meter.upto_ms - idle.total_ms)
    readings: list[Reading] = []
    for hour_ms, begin_ms, end_ms in _hours(meter.upto_ms, at_ms):
        rested_ms = idle.until(end_ms) - idle.until(begin_ms)
        running_ms = end_ms - begin_ms - rested_ms
        readings.append(Reading(hour_ms, Use.IDLE, NOBODY, rested_ms))
        readings += [Reading(hour_ms, Use.RUNNING, key, ms) for key, ms in _split(running_ms, weights)]
    return Meter(at_ms), tuple(one for one in readings if one.ms)


class _Idleness:
    """How much of the time was idle until when. The last spell, of idleness or of work, is known to the moment; what was before
    it is known as a sum, and is spread evenly. That matters only when an hour ends in it."""

    def __init__(self, meter: Meter, at_ms: int, idle_ms: int | None, holding: Sequence[Held]) -> None:
        begun = [one.since_ms for one in holding]
        since_ms = idle_ms if idle_ms is not None else min(begun, default=at_ms)
        self._begin_ms = meter.upto_ms
        self._last_ms = min(at_ms, max(since_ms, meter.upto_ms))
        self._before_ms = min(meter.rested_ms, self._last_ms - self._begin_ms)
        self._last_idle = idle_ms is not None
        self.total_ms = self.until(at_ms)

    def until(self, at_ms: int) -> int:
        """Idle milliseconds from the beginning to that moment."""
        length_ms = self._last_ms - self._begin_ms
        passed_ms = min(at_ms, self._last_ms) - self._begin_ms
        before_ms = self._before_ms * passed_ms // length_ms if length_ms else 0
        return before_ms + (max(0, at_ms - self._last_ms) if self._last_idle else 0)


def _weights(meter: Meter, at_ms: int, holding: Sequence[Held], *, running_ms: int) -> Mapping[str, int]:
    """In which proportion the running time is whose."""
    weights = dict(meter.held)
    for one in holding:
        if one.key:
            weights[one.key] = weights.get(one.key, 0) + max(0, at_ms - max(one.since_ms, meter.upto_ms))
    unheld_ms = max(0, running_ms - sum(weights.values()))
    return weights | {NOBODY: unheld_ms} if unheld_ms or not weights else weights


def _split(ms: int, weights: Mapping[str, int]) -> Iterator[tuple[str, int]]:
    """Whole milliseconds in proportion to the weights; none is lost."""
    total, passed, given_ms = sum(weights.values()), 0, 0
    for key, weight in sorted(weights.items()):
        passed += weight
        upto_ms = ms * passed // total if total else ms
        yield key, upto_ms - given_ms
        given_ms = upto_ms


def _hours(from_ms: int, to_ms: int) -> Iterator[tuple[int, int, int]]:
    """The hours of a time: each one's beginning, and from when to when the time lies in it."""
    begin_ms = from_ms
    while begin_ms < to_ms:
        hour_ms = begin_ms - begin_ms % HOUR_MS
        end_ms = min(to_ms, hour_ms + HOUR_MS)
        yield hour_ms, begin_ms, end_ms
        begin_ms = end_ms


def hours_of(from_ms: int, to_ms: int) -> Iterator[tuple[int, int]]:
    """How many milliseconds of a time lie in which hour."""
    return ((hour_ms, end_ms - begin_ms) for hour_ms, begin_ms, end_ms in _hours(from_ms, to_ms))


__all__ = [
    "DAY_MS",
    "HOUR_MS",
    "NOBODY",
    "Account",
    "Held",
    "Meter",
    "Reading",
    "Use",
    "hours_of",
    "let_go",
    "read",
    "rested",
]
