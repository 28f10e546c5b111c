"""How many jobs are delivered ahead: never at the cost of another worker, and only where it helps."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from stoker.delivery import AHEAD_MOST, RUN_MOST_MS, Demand, jobs_ahead

LONG = Demand(setting=None, sdk="1.12.0", slots=1, queued=10_000, live=1, run_ms=50.0)

DEMANDS = st.builds(
    Demand,
    setting=st.none() | st.integers(0, AHEAD_MOST),
    sdk=st.sampled_from(["1.12.0", "1.9.1", "1.7.6", "1.6.2", ""]),
    slots=st.integers(1, 100),
    queued=st.integers(0, 100_000),
    live=st.integers(0, 100),
    run_ms=st.none() | st.floats(0, 100_000),
)


@given(DEMANDS)
def test_every_worker_finds_its_share(demand: Demand) -> None:
    """If every live worker takes as much as this one, there is enough for all their slots."""
    count = jobs_ahead(demand)
    assert 0 <= count <= AHEAD_MOST
    if count:
        assert demand.queued >= max(1, demand.live) * (demand.slots + count)


@given(DEMANDS, st.integers(0, 1_000))
def test_more_queue_is_never_fewer_jobs(demand: Demand, more: int) -> None:
    """The number grows with the queue, and falls with the number of workers that share it."""
    assert jobs_ahead(demand) <= jobs_ahead(replace(demand, queued=demand.queued + more))
    assert jobs_ahead(demand) >= jobs_ahead(replace(demand, live=max(1, demand.live) + more))


@given(DEMANDS)
def test_off_is_off(demand: Demand) -> None:
    """With the setting 0 nothing is delivered ahead."""
    assert jobs_ahead(replace(demand, setting=0)) == 0


@pytest.mark.parametrize(
    ("sdk", "slots", "gains"),
    [
        ("1.12.0", 1, True),
        ("1.7.6", 1, True),
        ("1.7.5", 1, False),
        ("1.6.2", 1, False),
        ("", 1, False),
        ("1.9.0", 2, False),
        ("1.9.1", 2, True),
    ],
)
def test_only_where_it_helps(sdk: str, slots: int, gains: bool) -> None:
    """SDK versions for which it hurts, and unknown ones, get nothing ahead."""
    assert (jobs_ahead(replace(LONG, sdk=sdk, slots=slots)) > 0) is gains


@pytest.mark.parametrize(("run_ms", "count"), [(50.0, 240), (500.0, 24), (2_000.0, 6), (1.0, 250), (None, 0)])
def test_auto_is_twelve_seconds_of_work(run_ms: float | None, count: int) -> None:
    """As many as keep the worker busy for twelve seconds; none while the run time is unknown."""
    assert jobs_ahead(replace(LONG, run_ms=run_ms)) == count


def test_long_jobs_wait_in_the_queue() -> None:
    """Nothing is delivered ahead of jobs that run longer than a few seconds."""
    assert jobs_ahead(replace(LONG, run_ms=RUN_MOST_MS + 1.0)) == 0
