"""Which fault strikes when."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from stoker.chaos.faults import FIRST_S, Fault, schedule

SEEDS = st.integers(min_value=0, max_value=10_000)
DURATIONS = st.floats(min_value=10, max_value=3_600)
FAULTS = st.sets(st.sampled_from(list(Fault)), min_size=1)


@given(SEEDS, DURATIONS, FAULTS)
def test_the_same_seed_strikes_alike(seed: int, duration_s: float, faults: set[Fault]) -> None:
    """Seed, duration and faults say all, in whichever order the faults are named."""
    assert schedule(seed, duration_s, faults) == schedule(seed, duration_s, sorted(faults, reverse=True))


@given(SEEDS, DURATIONS, FAULTS)
def test_each_fault_strikes_and_is_over_in_time(seed: int, duration_s: float, faults: set[Fault]) -> None:
    """However short the load, each fault that was asked for strikes, no other does, and none outlasts it."""
    strikes = schedule(seed, duration_s, faults)
    assert {one.fault for one in strikes} == faults
    assert [one.at_s for one in strikes] == sorted(one.at_s for one in strikes)
    assert all(one.at_s >= FIRST_S and one.at_s + one.lasts_s <= duration_s for one in strikes)
    assert all(0 <= one.which < 1 for one in strikes)


def test_seeds_differ() -> None:
    """Another seed is another day."""
    assert schedule(1, 60, set(Fault)) != schedule(2, 60, set(Fault))


def test_no_faults() -> None:
    """A day without faults has no strikes."""
    assert schedule(1, 60, set()) == ()
