"""The images of the server's machine, under `/api/images`. They lie on the machine, not with a team, so they are for administrators; what
only other teams use is shown to nobody else."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Depends
from pydantic import BaseModel, ConfigDict, Field

from stoker.catalog import Catalog
from stoker.images import Images
from stoker.runtimes import Image
from stoker.team import ApiKey, Scope
from stoker.web.asgi import JsonRoute
from stoker.web.auth import Asks

JsonObject = dict[str, Any]


class ImageBody(BaseModel):
    """An image by name."""

    model_config = ConfigDict(extra="forbid")

    image: str = Field(min_length=1, max_length=511)


class ImageRoutes:
    """The routes, over the operations they call."""

    def __init__(self, images: Images, catalog: Catalog) -> None:
        self._images = images
        self._catalog = catalog

    def router(self) -> APIRouter:
        """All routes under `/api/images`."""
        router = APIRouter(prefix="/api", tags=["images"], route_class=JsonRoute)

        admin = Depends(Asks(self._catalog, Scope.ADMIN, whole_team=True))

        @router.get("/images")
        async def list_images(key: ApiKey = admin) -> JsonObject:
            """Images that were fetched for workers, or are on their way."""
            return {"images": [_image(one, why) for one, why in await self._images.list(key.team)]}

        @router.post("/images/warm", status_code=202)
        async def warm_image(body: ImageBody, _key: ApiKey = admin) -> JsonObject:
            """Begin to fetch an image, so that workers need not wait for it."""
            self._images.warm(body.image)
            return {"image": body.image}

        @router.post("/images/remove")
        async def remove_image(body: ImageBody, key: ApiKey = admin) -> JsonObject:
            """Remove an image that no endpoint uses."""
            await self._images.remove(key.team, body.image)
            return {"image": body.image}

        return router


def _image(one: Image, why: str) -> JsonObject:
    return {
        "name": one.name,
        "bytes": one.bytes,
        "pulled_ms": one.pulled_ms,
        "used_ms": one.used_ms,
        "progress": one.progress,
        "error": why or None,
    }
