"""What answers to a health check mean."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stoker.checkup import HealthCheck, Tally, Verdict, check_path, verdict
from stoker.errors import InvalidInput

CHECK = HealthCheck(path="/health", successes=2, failures=3)


def verdicts(answers: str, check: HealthCheck = CHECK, *, passed: bool = True) -> list[Verdict]:
    """What a worker is after each answer; `+` is a good one. It begins well if it has passed before."""
    tally, healthy, said = Tally(), passed, []
    for answer in answers:
        tally = tally.with_answer(answer == "+")
        said.append(verdict(check, tally, healthy=healthy, passed=passed))
        healthy = said[-1] is Verdict.HEALTHY
        passed = passed or healthy
    return said


H, U, L = Verdict.HEALTHY, Verdict.UNHEALTHY, Verdict.LOST


@pytest.mark.parametrize(
    ("answers", "passed", "expected"),
    [
        ("+++", True, [H, H, H]),
        ("-+", True, [U, U]),
        ("-++", True, [U, U, H]),
        ("---", True, [U, U, L]),
        ("--+--+", True, [U, U, U, U, U, U]),
        ("++", False, [U, H]),
        ("-----", False, [U, U, U, U, U]),
        ("++---", False, [U, H, U, U, L]),
    ],
)
def test_verdicts(answers: str, passed: bool, expected: list[Verdict]) -> None:
    """The first bad answer takes the jobs away; enough good ones in a row give them back, enough bad ones replace who had passed."""
    assert verdicts(answers, passed=passed) == expected


@given(
    st.text(alphabet="+-", max_size=30),
    st.builds(HealthCheck, path=st.just("/"), successes=st.integers(1, 4), failures=st.integers(1, 4)),
    st.booleans(),
)
def test_whatever_is_answered(answers: str, check: HealthCheck, passed: bool) -> None:
    """A bad answer never leaves a worker healthy, a good one never loses it, and one that never passed is never lost."""
    said = verdicts(answers, check, passed=passed)
    for answer, one in zip(answers, said, strict=True):
        assert one is not (Verdict.LOST if answer == "+" else Verdict.HEALTHY)
    if not passed and Verdict.HEALTHY not in said:
        assert Verdict.LOST not in said


@pytest.mark.parametrize("path", ["", "health", "http://x/", "/a b", "/a#b", "/ü", "/a\n", "/" + "x" * 1_024])
def test_paths_that_are_refused(path: str) -> None:
    """What is asked for is a path on the worker itself."""
    with pytest.raises(InvalidInput) as caught:
        check_path(path)
    assert caught.value.field == "health.path"


def test_path_with_a_query() -> None:
    """A query may come along."""
    check_path("/ping?deep=1&x=%20")
