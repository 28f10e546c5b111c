"""Rates under `/api`: how much keys may ask of an endpoint, and how much one key may ask at most."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, ConfigDict, Field, StrictInt

from stoker.audit import Actor
from stoker.catalog import Catalog
from stoker.ids import KeyId
from stoker.team import ApiKey, Scope
from stoker.web.asgi import JsonRoute
from stoker.web.auth import Asks

JsonObject = dict[str, Any]


class RateBody(BaseModel):
    """How much may be asked."""

    model_config = ConfigDict(extra="forbid")

    rate: StrictInt | None = Field(
        description="Requests to `/run` in ten seconds, others in proportion; null: no rate of its own."
    )


class RateRoutes:
    """The routes, over the operations they call."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    def router(self) -> APIRouter:
        """All routes about rates."""
        router = APIRouter(prefix="/api", tags=["rates"], route_class=JsonRoute)
        admin = Depends(Asks(self._catalog, Scope.ADMIN, whole_team=True))

        @router.put("/endpoints/{endpoint}/rate")
        async def set_endpoint_rate(
            endpoint: str,
            body: RateBody,
            team: Annotated[
                str, Query(max_length=100, description="Whose it is, by id or name; left out: yours.")
            ] = "",
            key: ApiKey = admin,
        ) -> JsonObject:
            """Set how much each key may ask of an endpoint, in place of what the server allows. Only the operator may: an admin of the first
            team."""
            whose = (await self._catalog.teams.find(key, team)).id if team else key.team
            found = await self._catalog.find(whose, endpoint)
            await self._catalog.teams.require_operator(key)
            made = await self._catalog.set_rate(Actor.of(key), found, body.rate)
            return {"id": made.id, "name": made.name, "rate": made.rate}

        @router.put("/keys/{key_id}/rate")
        async def set_key_rate(key_id: str, body: RateBody, key: ApiKey = admin) -> JsonObject:
            """Let a key of the team ask less of each endpoint than the endpoint allows."""
            made = await self._catalog.teams.set_rate(key, KeyId(key_id), body.rate)
            return {"id": made.id, "name": made.name, "rate": made.rate}

        return router


__all__ = ["RateRoutes"]
