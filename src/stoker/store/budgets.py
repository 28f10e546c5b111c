"""Budgets in the database, and how far they are used up."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from stoker.audit import AuditLine
from stoker.budget import Budget, Span, Spender
from stoker.errors import NotFound
from stoker.ids import EndpointId, TeamId
from stoker.store import audit
from stoker.store.tables import Row, Step, Tables

_COLUMNS: Final = "team, endpoint, span, warn_micros, queue_micros, refuse_micros, spent_micros, began_ms, counted_ms"
ALL: Final = f"SELECT {_COLUMNS} FROM budgets ORDER BY team, endpoint"
OF_TEAM: Final = f"SELECT {_COLUMNS} FROM budgets WHERE team = $1 ORDER BY endpoint"
SAVE: Final = f"""
    INSERT INTO budgets ({_COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT (team, endpoint) DO UPDATE
    SET span = excluded.span, warn_micros = excluded.warn_micros, queue_micros = excluded.queue_micros,
      refuse_micros = excluded.refuse_micros"""
DELETE: Final = "DELETE FROM budgets WHERE team = $1 AND endpoint = $2"
SPENT: Final = """
    UPDATE budgets SET spent_micros = $1, began_ms = $2, counted_ms = $3 WHERE team = $4 AND endpoint = $5 AND span = $6"""
OF_ENDPOINT: Final = "DELETE FROM budgets WHERE endpoint = $1"
STILL_THERE: Final = "UPDATE endpoints SET name = name WHERE id = $1 AND deleted_ms IS NULL"
SPENDERS: Final = """
    SELECT endpoint, price_per_hour_micros, ready_ms, COALESCE(stopped_ms, gone_ms) FROM workers
    WHERE gone_ms IS NULL AND ready_ms IS NOT NULL AND team = $1
    UNION ALL
    SELECT endpoint, price_per_hour_micros, ready_ms, COALESCE(stopped_ms, gone_ms) FROM workers
    WHERE gone_ms > $2 AND ready_ms IS NOT NULL AND team = $1"""


class BudgetRows:
    """Budgets. One whose endpoint is not named is the whole team's."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    async def all(self) -> Sequence[Budget]:
        """Those of all teams. Looks across teams: for loops."""
        return [_budget(row) for row in await self._tables.read(ALL)]

    async def of_team(self, team: TeamId) -> Sequence[Budget]:
        """The team's own, then those of its endpoints."""
        return [_budget(row) for row in await self._tables.read(OF_TEAM, team)]

    async def save(self, budget: Budget, line: AuditLine) -> None:
        """Store one in place of the one that there was; what is spent stays. Raises `NotFound` for an endpoint that is gone."""
        amounts = (budget.warn_micros, budget.queue_micros, budget.refuse_micros)
        counted = (budget.spent_micros, budget.began_ms, budget.counted_ms)
        values = (budget.team, budget.endpoint or "", budget.span.value, *amounts, *counted)
        there = (
            () if budget.endpoint is None else (Step(STILL_THERE, (budget.endpoint,), _no_endpoint(budget.endpoint)),)
        )
        await self._tables.change(*there, Step(SAVE, values), audit.step(line))

    async def delete(self, budget: Budget, line: AuditLine) -> None:
        """Forget it. Raises `NotFound`."""
        await self._tables.change(Step(DELETE, (budget.team, budget.endpoint or ""), no_budget()), audit.step(line))

    async def spent(self, budget: Budget) -> None:
        """Write down how far it is used up, unless it is for another span by now."""
        which = (budget.team, budget.endpoint or "", budget.span.value)
        await self._tables.change(Step(SPENT, (budget.spent_micros, budget.began_ms, budget.counted_ms, *which)))

    async def spenders(self, team: TeamId, since_ms: int) -> Sequence[Spender]:
        """The team's workers whose time counts, or did after that moment."""
        return [Spender(EndpointId(row[0]), *row[1:]) for row in await self._tables.read(SPENDERS, team, since_ms)]


def with_endpoint(endpoint: EndpointId) -> Step:
    """The step that lets the budget of an endpoint go with it."""
    return Step(OF_ENDPOINT, (endpoint,))


def no_budget() -> NotFound:
    """The refusal for one that does not exist."""
    return NotFound("there is no such budget", code="budget_not_found", next_step="list them: stoker budget ls")


def _no_endpoint(endpoint: EndpointId) -> NotFound:
    return NotFound(f"there is no endpoint '{endpoint}'", code="endpoint_not_found")


def _budget(row: Row) -> Budget:
    return Budget(
        team=TeamId(row[0]),
        endpoint=EndpointId(row[1]) if row[1] else None,
        span=Span(row[2]),
        warn_micros=row[3],
        queue_micros=row[4],
        refuse_micros=row[5],
        spent_micros=row[6],
        began_ms=row[7],
        counted_ms=row[8],
    )


__all__ = ["BudgetRows", "no_budget", "with_endpoint"]
