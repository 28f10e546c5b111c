"""Rates: a whole window's requests at once, then as many as the rate says, whatever the order and the pauses."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stoker.rate import DEBT_WINDOWS, RUNPOD, WINDOW_S, Asked, Rate, admit, charge, interval_s, rates

T0 = 1_000.0


def admitted(rate: Rate, moments: list[float]) -> list[float]:
    """Which of the requests at these moments are admitted."""
    paid_s, through = 0.0, []
    for moment in sorted(moments):
        paid_s, wait_s = admit(paid_s, moment, rate.interval_s)
        if not wait_s:
            through.append(moment)
    return through


@pytest.mark.parametrize("count", [1, 2, 7, 100, 1_000])
def test_a_burst_and_then_the_rate(count: int) -> None:
    """As many as the rate says may come at once, not one more; who then waits as long as is said gets one."""
    paid_s = 0.0
    for _ in range(count):
        paid_s, wait_s = admit(paid_s, T0, Rate(count).interval_s)
        assert wait_s == 0
    paid_s, wait_s = admit(paid_s, T0, Rate(count).interval_s)
    assert wait_s == pytest.approx(WINDOW_S / count)
    assert admit(paid_s, T0 + wait_s * 0.9, Rate(count).interval_s)[1] > 0
    assert admit(paid_s, T0 + wait_s, Rate(count).interval_s)[1] == 0


@given(st.integers(1, 50), st.lists(st.floats(0, 100), max_size=300))
def test_no_window_has_more_than_twice_the_rate(count: int, moments: list[float]) -> None:
    """In any stretch of time no more is admitted than a burst and what the rate gives meanwhile."""
    through = admitted(Rate(count), [T0 + moment for moment in moments])
    for place, first in enumerate(through):
        for number, last in enumerate(through[place:], 1):
            assert number <= count + (last - first) / Rate(count).interval_s + 1e-3


@given(st.integers(1, 50), st.lists(st.floats(0.001, 5), max_size=100))
def test_who_keeps_to_the_rate_is_never_refused(count: int, pauses: list[float]) -> None:
    """Requests that are no closer to each other than the rate says are all admitted."""
    moments, moment = [], T0
    for pause in pauses:
        moment += Rate(count).interval_s + pause
        moments.append(moment)
    assert admitted(Rate(count), moments) == moments


def test_what_others_admitted_counts() -> None:
    """What another server admitted is paid for here too, but never for longer than a bound."""
    rate = Rate(100)
    paid_s = charge(0.0, T0, 99 * rate.interval_s)
    paid_s, wait_s = admit(paid_s, T0, rate.interval_s)
    assert wait_s == 0
    assert admit(paid_s, T0, rate.interval_s)[1] > 0
    assert charge(paid_s, T0, 10**9 * rate.interval_s) == T0 + DEBT_WINDOWS * WINDOW_S


def test_rates() -> None:
    """The factor multiplies Runpod's rates; every kind has one; 0 is none at all, and the least is one request."""
    assert {asked: rate.count for asked, rate in rates(1).items()} == dict(RUNPOD)
    assert rates(2.5)[Asked.RUN].count == 2_500
    assert rates(0.001)[Asked.PURGE].count == 1
    assert set(RUNPOD) == set(Asked)
    assert rates(0) == {}


@pytest.mark.parametrize("rate", [1, 1_000, 1_000_000])
def test_a_rate_is_said_for_run(rate: int) -> None:
    """A rate of one's own says how many `/run` are allowed; the other kinds keep the proportion that Runpod has, one request at least."""
    assert WINDOW_S / interval_s(rate, Asked.RUN) == pytest.approx(rate)
    for asked, count in RUNPOD.items():
        assert WINDOW_S / interval_s(rate, asked) == pytest.approx(max(1, rate * count / RUNPOD[Asked.RUN]))
