"""Which workers are replaced for failing everything."""

from stoker.ids import EndpointId, WorkerId
from stoker.streaks import REMEMBERED_MOST, Streaks

A, B = EndpointId("a"), EndpointId("b")
ONE, TWO = WorkerId("one"), WorkerId("two")


def test_replaced_after_failures_in_a_row_while_another_succeeds() -> None:
    """The last failure that is too many, and not one before, replaces it."""
    streaks = Streaks(3)
    answers = [streaks.note(A, ONE, failed=True)]
    assert not streaks.note(A, TWO, failed=False)
    answers += [streaks.note(A, ONE, failed=True) for _ in range(2)]
    assert answers == [False, False, True]


def test_a_success_begins_a_new_streak() -> None:
    """Whoever succeeds now and then is not broken."""
    streaks = Streaks(2)
    for _ in range(5):
        assert not streaks.note(A, ONE, failed=True)
        assert not streaks.note(A, ONE, failed=False)
        assert not streaks.note(A, TWO, failed=False)


def test_jobs_that_fail_everywhere_replace_nobody() -> None:
    """When nobody succeeds, or only on another endpoint, or only before, the jobs are at fault."""
    streaks = Streaks(2)
    streaks.note(A, TWO, failed=False)
    assert not any(streaks.note(A, worker, failed=True) for worker in (ONE, TWO) * 5)
    streaks.note(B, TWO, failed=False)
    assert not streaks.note(A, ONE, failed=True)


def test_zero_replaces_nobody() -> None:
    """The rule can be turned off."""
    streaks = Streaks(0)
    assert not any(streaks.note(A, ONE, failed=True) or streaks.note(A, TWO, failed=False) for _ in range(50))


def test_memory_is_bounded() -> None:
    """Workers that ended in the middle of a streak are not remembered for ever."""
    streaks = Streaks(2)
    for number in range(REMEMBERED_MOST + 5):
        streaks.note(A, WorkerId(str(number)), failed=True)
    assert len(streaks._streaks) == REMEMBERED_MOST
