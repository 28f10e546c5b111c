"""Metering: whatever happened, the entries of a reading add up, and each moment belongs to one of them."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from stoker.metering import HOUR_MS, KEYS_MOST, NOBODY, Held, Meter, Reading, Use, hours_of, let_go, read, rested

T = 1_700_000_000_000 - 1_700_000_000_000 % HOUR_MS
"""An hour begins."""


def sums(readings: tuple[Reading, ...]) -> dict[tuple[Use, str], int]:
    """Milliseconds by what and whose."""
    found: Counter[tuple[Use, str]] = Counter()
    for one in readings:
        found[one.use, one.key] += one.ms
    return dict(found)


def test_an_idle_worker() -> None:
    """All of its time is idle, and nobody's; the next reading begins where this one ended."""
    meter, readings = read(Meter(T), T + 5_000, idle_ms=T)
    assert readings == (Reading(T, Use.IDLE, NOBODY, 5_000),)
    assert meter == Meter(T + 5_000)
    assert read(meter, T + 5_000, idle_ms=T) == (meter, ())
    assert read(meter, T + 4_000, idle_ms=T) == (meter, ())


def test_one_job_at_a_time() -> None:
    """Spells that are over and the job that runs: each millisecond is idle, or that of a key."""
    meter = let_go(rested(Meter(T), T, T + 1_000), "key-a", T + 1_000, T + 3_000)
    meter = rested(meter, T + 3_000, T + 3_500)
    _, readings = read(meter, T + 10_000, idle_ms=None, holding=[Held("key-b", T + 3_500)])
    assert sums(readings) == {
        (Use.IDLE, NOBODY): 1_500,
        (Use.RUNNING, "key-a"): 2_000,
        (Use.RUNNING, "key-b"): 6_500,
    }


def test_several_at_once_share() -> None:
    """Two jobs that held the worker at the same time have half of it each."""
    holding = [Held("key-a", T), Held("key-b", T)]
    _, readings = read(Meter(T), T + 10_000, idle_ms=None, holding=holding)
    assert sums(readings) == {(Use.RUNNING, "key-a"): 5_000, (Use.RUNNING, "key-b"): 5_000}


def test_time_without_a_job() -> None:
    """A worker that has not let go of a job that is over runs for nobody."""
    meter = let_go(Meter(T), "key-a", T, T + 4_000)
    _, readings = read(meter, T + 10_000, idle_ms=None)
    assert sums(readings) == {(Use.RUNNING, "key-a"): 4_000, (Use.RUNNING, NOBODY): 6_000}


def test_what_was_counted_counts_no_more() -> None:
    """What began before the last reading counts from there."""
    meter = let_go(rested(Meter(T + 5_000), T, T + 6_000), "key-a", T + 1_000, T + 7_000)
    assert meter == Meter(T + 5_000, 1_000, (("key-a", 2_000),))
    _, readings = read(Meter(T + 5_000), T + 6_000, idle_ms=None, holding=[Held("key-a", T)])
    assert sums(readings) == {(Use.RUNNING, "key-a"): 1_000}


def test_hours_are_kept_apart() -> None:
    """The last spell is divided where the hour ends, and what was before it stays before it."""
    begin = T + HOUR_MS - 10_000
    meter = rested(Meter(begin), begin, begin + 4_000)
    _, readings = read(meter, T + HOUR_MS + 20_000, idle_ms=None, holding=[Held("key-a", begin + 4_000)])
    assert readings == (
        Reading(T, Use.IDLE, NOBODY, 4_000),
        Reading(T, Use.RUNNING, "key-a", 6_000),
        Reading(T + HOUR_MS, Use.RUNNING, "key-a", 20_000),
    )


def test_many_keys() -> None:
    """A meter stays small: beyond so many keys the time is nobody's."""
    meter = Meter(T)
    for number in range(KEYS_MOST + 1):
        meter = let_go(meter, f"key-{number:02}", T + number, T + number + 1)
    assert len(meter.held) == KEYS_MOST
    _, readings = read(meter, T + KEYS_MOST + 1, idle_ms=None)
    assert sums(readings)[Use.RUNNING, NOBODY] == 1


keys = st.sampled_from(["", "key-a", "key-b", "key-c"])
moments = st.integers(min_value=-HOUR_MS, max_value=30 * HOUR_MS).map(lambda ms: T + ms)


@given(
    begin=moments,
    end=moments,
    rested_ms=st.integers(min_value=0, max_value=40 * HOUR_MS),
    held=st.dictionaries(keys.filter(bool), st.integers(min_value=0, max_value=40 * HOUR_MS)),
    idle=st.none() | moments,
    holding=st.lists(st.builds(Held, keys, moments), max_size=4),
)
def test_everything_adds_up(
    begin: int, end: int, rested_ms: int, held: dict[str, int], idle: int | None, holding: list[Held]
) -> None:
    """Whatever was noted, even by clocks that disagree: each hour's entries are as long as the time in it, and none is negative."""
    meter = Meter(begin, rested_ms, tuple(held.items()))
    after, readings = read(meter, end, idle_ms=idle, holding=[] if idle is not None else holding)
    by_hour: Counter[int] = Counter()
    for one in readings:
        assert one.ms > 0
        by_hour[one.hour_ms] += one.ms
    assert dict(by_hour) == dict(hours_of(begin, end))
    assert after.upto_ms == max(begin, end)
