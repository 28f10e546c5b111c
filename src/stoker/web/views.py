"""Views under `/api/views`: filters of jobs that a team has given a name."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Depends

from stoker.audit import Actor
from stoker.catalog import Catalog
from stoker.store.views import View
from stoker.team import ApiKey, Scope
from stoker.web.asgi import JsonRoute
from stoker.web.auth import Asks
from stoker.web.selections import Filters

JsonObject = dict[str, Any]


class ViewBody(Filters):
    """What a view chooses, and its name."""

    name: str


class ViewRoutes:
    """The routes, over the operations they call."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    def router(self) -> APIRouter:
        """All of them."""
        router = APIRouter(prefix="/api", tags=["views"], route_class=JsonRoute)
        read = Depends(Asks(self._catalog, Scope.READ, whole_team=True))
        manage = Depends(Asks(self._catalog, Scope.MANAGE, whole_team=True))

        @router.get("/views")
        async def list_views(key: ApiKey = read) -> JsonObject:
            """The team's views, by name."""
            return {"views": [_shown(one) for one in await self._catalog.views.of_team(key.team)]}

        @router.get("/views/{view}")
        async def show_view(view: str, key: ApiKey = read) -> JsonObject:
            """One view."""
            return _shown(await self._catalog.views.find(key.team, view))

        @router.post("/views", status_code=201)
        async def save_view(body: ViewBody, key: ApiKey = manage) -> JsonObject:
            """Keep filters of jobs under a name, in place of others of that name."""
            filters = body.model_dump(mode="json", exclude_defaults=True, exclude={"name"})
            return _shown(await self._catalog.views.save(Actor.of(key), body.name, filters))

        @router.delete("/views/{view}")
        async def delete_view(view: str, key: ApiKey = manage) -> JsonObject:
            """Forget a view."""
            found = await self._catalog.views.find(key.team, view)
            await self._catalog.views.delete(Actor.of(key), found)
            return _shown(found)

        return router


def _shown(view: View) -> JsonObject:
    return {"name": view.name, "filters": dict(view.filters), "updated_ms": view.updated_ms}


__all__ = ["ViewRoutes"]
