"""Answers about usage and budgets."""

from __future__ import annotations

from typing import NotRequired, TypedDict

from stoker.budget import Level, Span
from stoker.usage import Period
from stoker.web.shapes.common import Named


class UsageTotal(TypedDict):
    """What was used, and its cost in the operator's currency."""

    running_s: float
    idle_s: float
    storage_gib_h: float
    cost: float


class UsageLine(UsageTotal):
    """Usage of a period; what rows are told apart by is there if it was asked for."""

    at_ms: int
    endpoint: NotRequired[Named | None]
    release: NotRequired[str | None]
    specification: NotRequired[str | None]
    use: NotRequired[str]
    key: NotRequired[str | None]
    volume: NotRequired[str | None]


class UsageShown(TypedDict):
    """Usage by hour or day, oldest first."""

    from_ms: int
    to_ms: int
    by: Period
    rows: list[UsageLine]
    total: UsageTotal


class BudgetShown(TypedDict):
    """A budget; without an endpoint that of the team. Amounts are in the operator's currency."""

    endpoint: Named | None
    period: Span
    warn: float | None
    queue: float | None
    refuse: float | None
    spent: float
    level: Level
    until_ms: int


class BudgetList(TypedDict):
    """The team's budget, then those of its endpoints."""

    budgets: list[BudgetShown]
