"""Budgets: how far they are used up, for which days and months, and what that means."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from stoker.budget import AMOUNT_MOST, Budget, Level, Span, arrears, begins_ms, check, counting, ends_ms, worst
from stoker.errors import InvalidInput
from stoker.ids import EndpointId, TeamId
from stoker.specification import MICROS


def at(text: str) -> int:
    """A moment of UTC in milliseconds."""
    return round(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


NOW = at("2026-12-31T23:59:59")


def a_budget(**more: Any) -> Budget:
    """For the month, of which nothing is spent."""
    values: dict[str, Any] = {"team": TeamId("t"), "queue_micros": 5 * MICROS, "began_ms": at("2026-12-01")}
    return Budget(**values | more)


@pytest.mark.parametrize(
    ("span", "moment", "begins", "ends"),
    [
        (Span.DAY, "2026-02-28T23:59:59", "2026-02-28", "2026-03-01"),
        (Span.MONTH, "2026-02-28T23:59:59", "2026-02-01", "2026-03-01"),
        (Span.MONTH, "2026-12-01", "2026-12-01", "2027-01-01"),
        (Span.MONTH, "2028-01-31", "2028-01-01", "2028-02-01"),
    ],
)
def test_days_and_months(span: Span, moment: str, begins: str, ends: str) -> None:
    """They are those of the calendar, in UTC."""
    assert (begins_ms(span, at(moment)), ends_ms(span, at(moment))) == (at(begins), at(ends))


def test_levels() -> None:
    """Each amount that is reached means more than the one before; an amount that is not there means nothing."""
    budget = a_budget(warn_micros=3, queue_micros=5, refuse_micros=7)
    spent = [a_budget(warn_micros=3, queue_micros=5, refuse_micros=7, spent_micros=n).level(NOW) for n in (2, 3, 5, 7)]
    assert spent == [Level.FREE, Level.WARN, Level.QUEUE, Level.REFUSE]
    assert (budget.cap_micros, a_budget(queue_micros=None).cap_micros) == (5, None)
    assert a_budget(queue_micros=None, warn_micros=1, spent_micros=9).level(NOW) is Level.WARN


def test_the_next_month_begins_with_nothing() -> None:
    """What was spent in another month counts no more, counted again or not."""
    budget = a_budget(spent_micros=9 * MICROS)
    assert budget.level(NOW) is Level.QUEUE
    assert (budget.level(NOW + 1000), budget.spent_at(NOW + 1000)) == (Level.FREE, 0)


def test_what_stops_an_endpoint() -> None:
    """Its own budget and the team's, not that of another; in words, with the numbers and the end."""
    mine, other = EndpointId("mine"), EndpointId("other")
    team, own = a_budget(), a_budget(endpoint=mine, spent_micros=5 * MICROS)
    foreign = a_budget(endpoint=other, spent_micros=9 * MICROS)
    assert counting([team, own, foreign], mine) == [team, own]
    assert worst([team, own], NOW) == own
    assert worst([team], NOW) is None
    text = "the endpoint's budget for the month: 5.00 of 5.00 spent, until 2027-01-01 00:00 UTC"
    assert arrears([team, own, foreign], mine, NOW) == text
    assert arrears([team], mine, NOW) == ""
    assert arrears([a_budget(queue_micros=None, warn_micros=1, spent_micros=5)], mine, NOW) == ""


@pytest.mark.parametrize(
    ("amounts", "field"),
    [
        ({"queue_micros": None}, "queue"),
        ({"warn_micros": 0}, "warn"),
        ({"queue_micros": -1}, "queue"),
        ({"refuse_micros": (AMOUNT_MOST + 1) * MICROS}, "refuse"),
    ],
)
def test_what_is_no_budget(amounts: dict[str, Any], field: str) -> None:
    """One without an amount, or with one out of range, is refused with the field."""
    with pytest.raises(InvalidInput) as refusal:
        check(a_budget(**amounts))
    assert refusal.value.field == field
    check(a_budget())
