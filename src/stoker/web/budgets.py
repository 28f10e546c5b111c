"""Budgets under `/api`: what a team, or one of its endpoints, may cost in a day or a month."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, ConfigDict, Field

from stoker.audit import Actor
from stoker.budget import Budget, Span, ends_ms
from stoker.budgets import Budgets, facts
from stoker.catalog import Catalog
from stoker.clock import Clock
from stoker.ids import EndpointId, TeamId
from stoker.specification import MICROS
from stoker.team import ApiKey, Scope, Team
from stoker.web.asgi import JsonRoute
from stoker.web.auth import Asks, endpoint_for

JsonObject = dict[str, Any]
OfTeam = Annotated[str, Query(max_length=100, description="The operator's: another team, by id or name.")]


class BudgetBody(BaseModel):
    """A budget: amounts in the operator's currency, at least one of them."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    period: Span = Field(Span.MONTH, description="For how long the amounts are; days and months of UTC.")
    warn: float | None = Field(None, description="From here on the endpoint's `why` warns.")
    queue: float | None = Field(None, description="From here on nothing new starts: jobs wait.")
    refuse: float | None = Field(None, description="From here on new jobs are refused too, with 402.")


class BudgetRoutes:
    """The routes, over the operations they call."""

    def __init__(self, budgets: Budgets, catalog: Catalog, clock: Clock) -> None:
        self._budgets = budgets
        self._catalog = catalog
        self._clock = clock

    def router(self) -> APIRouter:
        """All routes about budgets."""
        router = APIRouter(prefix="/api", tags=["budgets"], route_class=JsonRoute)
        read = Depends(Asks(self._catalog, Scope.READ, whole_team=True))
        admin = Depends(Asks(self._catalog, Scope.ADMIN, whole_team=True))

        @router.get("/budgets")
        async def list_budgets(team: OfTeam = "", key: ApiKey = read) -> JsonObject:
            """The team's budget, then those of its endpoints, with what is spent."""
            whose = (await self._team(key, team)).id if team else key.team
            return {"budgets": [await self._shown(one) for one in await self._budgets.of_team(whose)]}

        @router.put("/budget")
        async def set_budget(body: BudgetBody, team: OfTeam = "", key: ApiKey = admin) -> JsonObject:
            """Set what a whole team may cost, in place of what was set before. Only the operator may: an admin of the first team."""
            await self._catalog.teams.require_operator(key)
            found = await self._team(key, team or key.team)
            return await self._save(key, body, found.id, None, f"the team {found.name}")

        @router.delete("/budget")
        async def delete_budget(team: OfTeam = "", key: ApiKey = admin) -> JsonObject:
            """Let a team cost what it likes; only the operator may. The answer shows the budget as it was."""
            await self._catalog.teams.require_operator(key)
            found = await self._team(key, team or key.team)
            return await self._shown(
                await self._budgets.delete(Actor.of(key), found.id, None, f"the team {found.name}")
            )

        @router.put("/endpoints/{endpoint}/budget")
        async def set_endpoint_budget(endpoint: str, body: BudgetBody, key: ApiKey = admin) -> JsonObject:
            """Set what an endpoint may cost, in place of what was set before."""
            found = await endpoint_for(self._catalog, key, endpoint)
            return await self._save(key, body, found.team, found.id, found.name)

        @router.delete("/endpoints/{endpoint}/budget")
        async def delete_endpoint_budget(endpoint: str, key: ApiKey = admin) -> JsonObject:
            """Let the endpoint cost what it likes. The answer shows the budget as it was."""
            found = await endpoint_for(self._catalog, key, endpoint)
            return await self._shown(await self._budgets.delete(Actor.of(key), found.team, found.id, found.name))

        return router

    async def _team(self, key: ApiKey, word: str) -> Team:
        key.require(Scope.ADMIN)
        return await self._catalog.teams.find(key, word)

    async def _save(
        self, key: ApiKey, body: BudgetBody, team: TeamId, endpoint: EndpointId | None, name: str
    ) -> JsonObject:
        budget = Budget(
            team=team,
            endpoint=endpoint,
            span=body.period,
            warn_micros=_micros(body.warn),
            queue_micros=_micros(body.queue),
            refuse_micros=_micros(body.refuse),
        )
        return await self._shown(await self._budgets.save(Actor.of(key), budget, name))

    async def _shown(self, budget: Budget) -> JsonObject:
        now_ms = self._clock.now_ms()
        of = None
        if budget.endpoint is not None:
            of = {"id": budget.endpoint, "name": await self._catalog.name_of(budget.endpoint)}
        return {
            "endpoint": of,
            **facts(budget),
            "spent": budget.spent_at(now_ms) / MICROS,
            "level": budget.level(now_ms),
            "until_ms": ends_ms(budget.span, now_ms),
        }


def _micros(amount: float | None) -> int | None:
    return None if amount is None else round(amount * MICROS)


__all__ = ["BudgetRoutes"]
