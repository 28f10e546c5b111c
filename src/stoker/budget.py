"""Budgets: how much a team, or one endpoint of it, may cost in a day or a month, and what happens then. Pure.

Each of three amounts is optional: from the first on people are warned, from the second on nothing new starts and jobs wait, from the
third on new jobs are refused too. What runs finishes, and a job begins only within the cap, to the moment (`jobs_in_turn`); what was
delivered ahead and not begun by then is taken back (`worker.TakeBack`): so each worker exceeds it by the job that it runs; of several that
it runs at once by the longest, as they share the worker's time, which is what costs. With the next day or month, of UTC, everything goes
on by itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final, NamedTuple

from stoker.errors import InvalidInput
from stoker.ids import EndpointId, TeamId
from stoker.metering import HOUR_MS
from stoker.specification import MICROS

AMOUNT_MOST: Final = 1_000_000_000
"""In currency units: sums of millionths stay within 64 bits."""


class Span(StrEnum):
    """For how long an amount is."""

    DAY = "day"
    MONTH = "month"


class Level(StrEnum):
    """How far a budget is used up, in what that means."""

    FREE = "free"
    WARN = "warn"
    QUEUE = "queue"
    REFUSE = "refuse"


@dataclass(frozen=True, kw_only=True, slots=True)
class Budget:
    """A budget as it stands. Amounts are millionths of the operator's currency; None for one that does not exist."""

    team: TeamId
    endpoint: EndpointId | None = None
    """None: all that the team has, storage included."""
    span: Span = Span.MONTH
    warn_micros: int | None = None
    queue_micros: int | None = None
    refuse_micros: int | None = None
    spent_micros: int = 0
    """As it was counted last, for the span that began at `began_ms`."""
    began_ms: int = 0
    counted_ms: int = 0
    """Up to when that was counted. What workers cost since then comes on top."""

    def spent_at(self, now_ms: int) -> int:
        """What is spent of the day or month that this moment lies in."""
        return self.spent_micros if self.began_ms == begins_ms(self.span, now_ms) else 0

    def level(self, now_ms: int) -> Level:
        """How far it is used up."""
        spent = self.spent_at(now_ms)
        amounts = (
            (Level.REFUSE, self.refuse_micros),
            (Level.QUEUE, self.queue_micros),
            (Level.WARN, self.warn_micros),
        )
        return next((level for level, amount in amounts if amount is not None and spent >= amount), Level.FREE)

    def counts(self, endpoint: EndpointId) -> bool:
        """Whether it counts what the endpoint costs."""
        return self.endpoint is None or self.endpoint == endpoint

    @property
    def cap_micros(self) -> int | None:
        """From where on nothing new starts."""
        return min((one for one in (self.queue_micros, self.refuse_micros) if one is not None), default=None)

    def text(self, now_ms: int) -> str:
        """How far it is used up, in words."""
        whose = "the team's budget" if self.endpoint is None else "the endpoint's budget"
        spent = f"{self.spent_at(now_ms) / MICROS:.2f}"
        cap = self.warn_micros if self.level(now_ms) is Level.WARN else self.cap_micros
        until = datetime.fromtimestamp(ends_ms(self.span, now_ms) / 1000, UTC)
        words = f"{whose} for the {self.span}: {spent} of {(cap or 0) / MICROS:.2f} spent"
        return f"{words}, until {until:%Y-%m-%d %H:%M} UTC"


class Spender(NamedTuple):
    """A worker whose time counts, or did until lately."""

    endpoint: EndpointId
    price_micros: int
    """Of an hour."""
    ready_ms: int
    until_ms: int | None
    """When its time ceased to count; None while it goes on."""

    def cost_micros(self, from_ms: int, to_ms: int) -> int:
        """What its time between two moments costs."""
        until_ms = to_ms if self.until_ms is None else min(self.until_ms, to_ms)
        return max(0, until_ms - max(self.ready_ms, from_ms)) * self.price_micros // HOUR_MS


def begins_ms(span: Span, at_ms: int) -> int:
    """When the day or month began in which the moment lies."""
    at = datetime.fromtimestamp(at_ms / 1000, UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return round((at if span is Span.DAY else at.replace(day=1)).timestamp()) * 1000


def ends_ms(span: Span, at_ms: int) -> int:
    """When it ends."""
    days = 1 if span is Span.DAY else 32
    return begins_ms(span, begins_ms(span, at_ms) + days * 86_400_000)


def check(budget: Budget) -> None:
    """Raise `InvalidInput` unless it can be."""
    amounts = {"warn": budget.warn_micros, "queue": budget.queue_micros, "refuse": budget.refuse_micros}
    if all(amount is None for amount in amounts.values()):
        raise InvalidInput("a budget needs an amount", field="queue", next_step="give warn, queue or refuse an amount")
    for name, amount in amounts.items():
        if amount is not None and not 0 < amount <= AMOUNT_MOST * MICROS:
            raise InvalidInput(f"{name} must be more than 0 and at most {AMOUNT_MOST}", code="out_of_range", field=name)


def counting(budgets: Iterable[Budget], endpoint: EndpointId) -> list[Budget]:
    """Of a team's budgets those that count what the endpoint costs."""
    return [one for one in budgets if one.counts(endpoint)]


def arrears(budgets: Iterable[Budget], endpoint: EndpointId, now_ms: int) -> str:
    """Why nothing new of the endpoint may start, in words; empty when it may."""
    found = worst(counting(budgets, endpoint), now_ms)
    stops = found is not None and found.level(now_ms) in (Level.QUEUE, Level.REFUSE)
    return found.text(now_ms) if found is not None and stops else ""


def upto(budget: Budget, spenders: Iterable[Spender], now_ms: int) -> Budget:
    """The budget as it is used up at this moment: with what workers cost since it was counted."""
    began_ms = begins_ms(budget.span, now_ms)
    since_ms = max(began_ms, budget.counted_ms)
    more = sum(one.cost_micros(since_ms, now_ms) for one in spenders if budget.counts(one.endpoint))
    return replace(budget, spent_micros=budget.spent_at(now_ms) + more, began_ms=began_ms, counted_ms=now_ms)


def jobs_in_turn(
    budgets: Iterable[Budget], spenders: Sequence[Spender], endpoint: EndpointId, now_ms: int, *, limit_ms: int
) -> int | None:
    """How many jobs a worker of the endpoint may get now to run one after the other, so that within every cap even the last begins,
    though each of them runs for `limit_ms` and all other workers go on; None where nothing bounds them."""
    most: list[int] = []
    for budget in counting(budgets, endpoint):
        if budget.cap_micros is None:
            continue
        room_micros = budget.cap_micros - upto(budget, spenders, now_ms).spent_micros
        live = (one for one in spenders if one.until_ms is None and budget.counts(one.endpoint))
        turn_micros = sum(one.price_micros for one in live) * limit_ms // HOUR_MS
        if room_micros <= 0:
            most.append(0)
        elif turn_micros > 0:
            most.append(1 + (room_micros - 1) // turn_micros)
    return min(most, default=None)


def worst(budgets: Iterable[Budget], now_ms: int) -> Budget | None:
    """The one that is used up furthest; None when none of them says anything."""
    order = list(Level)
    furthest = max(budgets, key=lambda one: order.index(one.level(now_ms)), default=None)
    return None if furthest is None or furthest.level(now_ms) is Level.FREE else furthest


__all__ = [
    "Budget",
    "Level",
    "Span",
    "Spender",
    "arrears",
    "begins_ms",
    "check",
    "counting",
    "ends_ms",
    "jobs_in_turn",
    "upto",
    "worst",
]
