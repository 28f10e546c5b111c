"""Budgets as they are kept."""

from __future__ import annotations

from dataclasses import replace

import pytest

from stoker.audit import Action, Actor, AuditLine, Kind
from stoker.budget import Budget, Span
from stoker.errors import NotFound
from stoker.store import Store
from tests.store.records import ENDPOINT, NOW, OTHER_TEAM, TEAM

LINE = AuditLine(at_ms=NOW, by=Actor(team=TEAM), action=Action.CHANGED, kind=Kind.BUDGET, thing=TEAM, name="the team")


async def test_kept_and_forgotten(store: Store) -> None:
    """A team has one budget, and one for each endpoint; setting one again leaves what is spent; others see none of it."""
    team = Budget(team=TEAM, warn_micros=1, refuse_micros=3)
    own = Budget(team=TEAM, endpoint=ENDPOINT, span=Span.DAY, queue_micros=2)
    for budget in (own, team):
        await store.budgets.save(budget, LINE)
    assert list(await store.budgets.of_team(TEAM)) == [team, own] == list(await store.budgets.all())
    assert list(await store.budgets.of_team(OTHER_TEAM)) == []
    await store.budgets.spent(replace(team, spent_micros=5, began_ms=NOW))
    await store.budgets.save(replace(team, warn_micros=None, queue_micros=9), LINE)
    changed = replace(team, warn_micros=None, queue_micros=9, spent_micros=5, began_ms=NOW)
    assert list(await store.budgets.of_team(TEAM)) == [changed, own]
    await store.budgets.delete(own, LINE)
    with pytest.raises(NotFound):
        await store.budgets.delete(own, LINE)
    assert list(await store.budgets.all()) == [changed]


async def test_counted_for_another_span(store: Store) -> None:
    """What was counted for a month is not written to a budget that is for a day by now."""
    month = Budget(team=TEAM, queue_micros=2)
    await store.budgets.save(replace(month, span=Span.DAY), LINE)
    await store.budgets.spent(replace(month, spent_micros=5, began_ms=NOW))
    (kept,) = await store.budgets.all()
    assert kept.spent_micros == 0
