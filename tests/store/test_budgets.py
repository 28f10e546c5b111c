"""Budgets as they are kept."""

from __future__ import annotations

from dataclasses import replace

import pytest

from stoker.audit import Action, Actor, AuditLine, Kind
from stoker.budget import Budget, Span
from stoker.errors import NotFound
from stoker.ids import WorkerId
from stoker.store import Store
from stoker.store.budgets import with_endpoint
from stoker.worker import Stopped, Vanished, WorkerReason
from tests.store.records import DAY_MS, ENDPOINT, FOREIGN_ENDPOINT, NOW, OTHER_TEAM, TEAM, WORKER, a_worker, hire

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


async def test_it_goes_with_its_endpoint(store: Store) -> None:
    """The budget of an endpoint goes when that is deleted, in the same transaction, and none is made afterwards; usage stays."""
    own = Budget(team=TEAM, endpoint=ENDPOINT, queue_micros=2)
    await store.budgets.save(own, LINE)
    await hire(store)
    await store.workers.read_meter(WORKER, NOW + 1_000)
    found = await store.endpoints.get(ENDPOINT)
    assert found is not None
    gone = replace(found, deleted_ms=NOW, version=found.version + 1)
    await store.endpoints.update(gone, None, with_endpoint(ENDPOINT))
    assert list(await store.budgets.all()) == []
    with pytest.raises(NotFound):
        await store.budgets.save(own, LINE)
    assert list(await store.budgets.all()) == []
    (used,) = await store.usage.sums(TEAM, from_ms=0, to_ms=NOW + DAY_MS, period_ms=DAY_MS, endpoint=ENDPOINT)
    assert used.ms == 1_000


async def test_whose_time_counts(store: Store) -> None:
    """The team's workers from their first take until they are told to stop; of those that went only who went after the moment."""
    await hire(store, price_per_hour_micros=7)
    await hire(store, WorkerId("early"))
    await hire(store, WorkerId("late"))
    await hire(store, WorkerId("foreign"), team=OTHER_TEAM, endpoint=FOREIGN_ENDPOINT, release="rel-endpointforeign")
    assert await store.workers.add(a_worker(WorkerId("starts")), alive_max=100)
    await store.workers.advance(WorkerId("early"), Vanished(at_ms=NOW + 5))
    await store.workers.advance(WorkerId("late"), Stopped(at_ms=NOW + 6, reason=WorkerReason.STOPPED_BY_USER))
    await store.workers.advance(WorkerId("late"), Vanished(at_ms=NOW + 8))
    found = await store.budgets.spenders(TEAM, NOW + 5)
    assert sorted((one.price_micros, one.ready_ms, one.until_ms) for one in found if one.until_ms is None) == [
        (7, NOW, None)
    ]
    assert [(one.endpoint, one.until_ms) for one in found if one.until_ms is not None] == [(ENDPOINT, NOW + 6)]


async def test_counted_for_another_span(store: Store) -> None:
    """What was counted for a month is not written to a budget that is for a day by now."""
    month = Budget(team=TEAM, queue_micros=2)
    await store.budgets.save(replace(month, span=Span.DAY), LINE)
    await store.budgets.spent(replace(month, spent_micros=5, began_ms=NOW))
    (kept,) = await store.budgets.all()
    assert kept.spent_micros == 0
