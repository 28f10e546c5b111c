"""A team's images, under `/api/images`: what is fetched ahead of its workers, and what its endpoints run. They lie where workers start: on
the server's machine, or on the nodes of its cluster. What another team has there does not exist for this one."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Depends
from pydantic import BaseModel, ConfigDict, Field

from stoker.audit import Actor
from stoker.catalog import Catalog
from stoker.ids import CredentialId, TeamId
from stoker.registry import Credential
from stoker.team import ApiKey, Scope
from stoker.warming import TeamImage, Warming
from stoker.web.asgi import JsonRoute
from stoker.web.auth import Asks

JsonObject = dict[str, Any]
Names = dict[CredentialId, str]


class ImageBody(BaseModel):
    """An image by name."""

    model_config = ConfigDict(extra="forbid")

    image: str = Field(min_length=1, max_length=511)


class WarmBody(ImageBody):
    """An image by name, and with what it is fetched."""

    credential: str | None = Field(
        None,
        description="Name or id of the registry credential with which it is pulled; none for images that everybody may pull.",
    )


class CheckBody(WarmBody):
    """An image by name, with what it would be pulled and started."""

    command: str = Field(
        "", max_length=10_000, description="Where images are directories its program is looked for too."
    )


class ImageRoutes:
    """The routes, over the operations they call."""

    def __init__(self, warming: Warming, catalog: Catalog) -> None:
        self._warming = warming
        self._catalog = catalog

    def router(self) -> APIRouter:
        """All routes under `/api/images`."""
        router = APIRouter(prefix="/api", tags=["images"], route_class=JsonRoute)
        read = Depends(Asks(self._catalog, Scope.READ, whole_team=True))
        manage = Depends(Asks(self._catalog, Scope.MANAGE, whole_team=True))

        @router.get("/images")
        async def list_images(key: ApiKey = read) -> JsonObject:
            """The team's images: those that were to be fetched ahead, with how far they are or why they did not come, and those that
            endpoints run."""
            names = await self._names(key.team)
            return {"images": [_image(one, names) for one in await self._warming.list(key.team)]}

        @router.post("/images/check")
        async def check_image(body: CheckBody, key: ApiKey = manage) -> JsonObject:
            """Look whether workers could have an image, before anything is made of it: its registry is asked, with the credential."""
            found = await self._catalog.lookups.find(body.image, body.command, await self._credential(key, body))
            return {"image": body.image, "text": found.text, "digest": found.digest}

        @router.post("/images/warm", status_code=202)
        async def warm_image(body: WarmBody, key: ApiKey = manage) -> JsonObject:
            """Begin to fetch an image, so that workers need not wait for it; of one that is here, what its tag means by now."""
            await self._warming.warm(Actor.of(key), body.image, await self._credential(key, body))
            return {"image": body.image}

        @router.post("/images/remove")
        async def remove_image(body: ImageBody, key: ApiKey = manage) -> JsonObject:
            """Remove an image that no endpoint uses; of one on its way nothing stays."""
            await self._warming.remove(Actor.of(key), body.image)
            return {"image": body.image}

        return router

    async def _credential(self, key: ApiKey, body: WarmBody) -> Credential | None:
        return await self._catalog.credentials.find(key.team, body.credential) if body.credential else None

    async def _names(self, team: TeamId) -> Names:
        return {one.id: one.name for one in await self._catalog.credentials.of_team(team)}


def _image(one: TeamImage, names: Names) -> JsonObject:
    warm_up, kept = one.warm_up, one.kept
    failed = warm_up is not None and warm_up.code != ""
    return {
        "name": one.name,
        "state": one.state,
        "progress": one.progress,
        "error": warm_up.text if warm_up is not None and failed else None,
        "code": warm_up.code if warm_up is not None and failed else None,
        "retry_ms": warm_up.due_ms if warm_up is not None and failed and one.state == "fetching" else None,
        "credential": None if warm_up is None or warm_up.credential is None else names.get(warm_up.credential, ""),
        "digest": "" if warm_up is None else warm_up.digest,
        "endpoints": list(one.endpoints),
        "asked_ms": None if warm_up is None else warm_up.asked_ms,
        "bytes": None if kept is None else kept.bytes,
        "pulled_ms": None if kept is None else kept.pulled_ms,
        "used_ms": None if kept is None else kept.used_ms,
    }
