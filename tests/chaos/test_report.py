"""What is said of a day, from what was ordered, found and told."""

from __future__ import annotations

from typing import Any

import pytest

from stoker.chaos.report import Ending, Ordered, Report, judge, summary

ORDER = Ordered(number=7)
FAILS = Ordered(number=8, fails=True)


def the_day(orders: dict[str, Ordered], endings: dict[str, Ending], told: dict[str, int], **more: Any) -> Report:
    """A day without faults."""
    return judge(orders, endings, told, seed=1, struck={}, left_out={}, **more)


def completed(output: Any, attempts: int = 1) -> Ending:
    """A job that completed."""
    return Ending(state="completed", reason="handler_returned", attempts=attempts, output=output)


def test_a_good_day() -> None:
    """Jobs that completed with their own output, or ended by a rule, and were told, are no loss, however often they ran."""
    endings = {
        "a": completed(7, attempts=3),
        "b": Ending(state="failed", reason="handler_error", attempts=1),
        "c": Ending(state="failed", reason="retries_exhausted", attempts=2),
    }
    report = the_day({"a": ORDER, "b": FAILS, "c": ORDER}, endings, {"a": 1, "b": 2, "c": 1})
    assert report.good
    assert (report.completed, report.failed) == (["a"], {"handler_error": ["b"], "retries_exhausted": ["c"]})
    assert (report.again, report.told_again) == ({"a": 3, "c": 2}, ["b"])


@pytest.mark.parametrize(
    ("order", "ending", "word"),
    [
        (ORDER, None, "not ended"),
        (ORDER, completed(6), "not its own"),
        (FAILS, completed(8), "not its own"),
        (ORDER, Ending(state="failed", reason="handler_error", attempts=1), "another job's error"),
    ],
)
def test_what_is_lost(order: Ordered, ending: Ending | None, word: str) -> None:
    """A job that never ended, or ended with what is another's, is lost, by its id and with the reason."""
    report = the_day({"a": order}, {} if ending is None else {"a": ending}, {"a": 1})
    assert word in report.lost["a"]
    assert not report.good
    assert ("lost", "1") in summary(report)
    assert report.completed == []


def test_an_end_that_was_not_told() -> None:
    """A receiver that misses an event is named with the job."""
    report = the_day({"a": ORDER}, {"a": completed(7)}, {})
    assert (report.untold, report.good) == (["a"], False)


def test_a_job_that_nobody_was_answered_about() -> None:
    """A repeated submission that made a second job shows by what the receiver is told."""
    report = the_day({"a": ORDER}, {"a": completed(7)}, {"a": 1, "twin": 1})
    assert (report.doubled, report.good) == (["twin"], False)
