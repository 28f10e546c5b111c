"""The part of the management API about volumes and the files in them. Files stream: no body is ever whole in memory."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, ConfigDict, Field, StrictInt
from starlette.requests import Request
from starlette.responses import Response

from stoker.audit import Actor
from stoker.catalog import Catalog
from stoker.catalog.volumes import Volumes
from stoker.storage import Entry
from stoker.team import ApiKey, Scope
from stoker.volume import MOUNT_PATH, SIZE_GB_LEAST, SIZE_GB_MOST, Volume
from stoker.web.asgi import JsonRoute
from stoker.web.auth import Asks
from stoker.web.streams import Download, declared_length, pieces_of

JsonObject = dict[str, Any]

LISTED_MOST = 1_000
"""Entries of a directory in one answer."""
BINARY: JsonObject = {"content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}}
"""How a body that is no JSON is described."""

_SIZE = f"Size in GiB, {SIZE_GB_LEAST} to {SIZE_GB_MOST}. It may grow, never shrink."
_MOUNT_PATH = "Where workers see it, if their endpoint does not say."


class VolumeBody(BaseModel):
    """What can be changed about a volume."""

    model_config = ConfigDict(extra="forbid")

    size_gb: StrictInt | None = Field(None, description=_SIZE)
    mount_path: str | None = Field(None, description=_MOUNT_PATH)


class NewVolumeBody(VolumeBody):
    """A volume to be made."""

    name: str = Field(description="1 to 63 lower-case letters, digits and inner hyphens; never changes.")
    size_gb: StrictInt = Field(description=_SIZE)
    mount_path: str | None = Field(None, description=f"{_MOUNT_PATH} `{MOUNT_PATH}` if left out.")


class VolumeRoutes:
    """Routes about volumes."""

    def __init__(self, volumes: Volumes, catalog: Catalog, *, stall_s: float) -> None:
        self._volumes = volumes
        self._catalog = catalog
        self._stall_s = stall_s

    def routers(self) -> tuple[APIRouter, ...]:
        """All of them."""
        return self._reads(), self._changes(), self._file_reads(), self._file_changes()

    def _asks(self, scope: Scope) -> Any:
        return Depends(Asks(self._catalog, scope, whole_team=True))

    def _reads(self) -> APIRouter:
        router = _router()
        read = self._asks(Scope.READ)

        @router.get("/volumes")
        async def list_volumes(key: ApiKey = read) -> JsonObject:
            """The team's volumes, by name."""
            return {"volumes": [await self._show(one) for one in await self._volumes.of_team(key.team)]}

        @router.get("/volumes/{volume}")
        async def show_volume(volume: str, key: ApiKey = read) -> JsonObject:
            """One volume, by name or id, and which endpoints use it."""
            return await self._show(await self._volumes.find(key.team, volume))

        return router

    def _changes(self) -> APIRouter:
        router = _router()
        manage = self._asks(Scope.MANAGE)

        @router.post("/volumes", status_code=201)
        async def create_volume(body: NewVolumeBody, key: ApiKey = manage) -> JsonObject:
            """Make a volume."""
            made = await self._volumes.create(Actor.of(key), body.name, body.size_gb, body.mount_path)
            return await self._show(made)

        @router.patch("/volumes/{volume}")
        async def update_volume(volume: str, body: VolumeBody, key: ApiKey = manage) -> JsonObject:
            """Make a volume larger, or change its mount path: for endpoints that come to mount it from now on."""
            found = await self._volumes.find(key.team, volume)
            changed = await self._volumes.update(Actor.of(key), found, body.size_gb, body.mount_path)
            return await self._show(changed)

        @router.delete("/volumes/{volume}")
        async def delete_volume(volume: str, key: ApiKey = manage) -> JsonObject:
            """Delete a volume with everything in it; refused while an endpoint, or a worker that is left of one, uses it."""
            found = await self._volumes.find(key.team, volume)
            shown = await self._show(found)
            await self._volumes.delete(Actor.of(key), found)
            return shown

        return router

    def _file_reads(self) -> APIRouter:
        router = _router()
        read = self._asks(Scope.READ)

        @router.get("/volumes/{volume}/files")
        async def list_files(
            volume: str,
            path: str = "",
            after: str = "",
            limit: Annotated[int, Query(ge=1, le=LISTED_MOST)] = LISTED_MOST,
            key: ApiKey = read,
        ) -> JsonObject:
            """What is in a directory of the volume, by name; `more` says whether to ask again, `after` the last name."""
            found = await self._volumes.find(key.team, volume)
            listing = await self._volumes.list(found, path, after=after, limit=limit)
            return {"path": path, "files": [_entry(one) for one in listing.entries], "more": listing.more}

        @router.get(
            "/volumes/{volume}/files/{path:path}",
            response_class=Response,
            responses={200: BINARY, 206: BINARY},
        )
        async def download_file(request: Request, volume: str, path: str, key: ApiKey = read) -> Response:
            """A file's bytes, or those that one `Range` of bytes asks for."""
            found = await self._volumes.find(key.team, volume)
            reading = await self._volumes.read(found, path)
            try:
                return Download(request, reading)
            except BaseException:
                await reading.close()
                raise

        return router

    def _file_changes(self) -> APIRouter:
        router = _router()
        manage = self._asks(Scope.MANAGE)

        @router.put("/volumes/{volume}/files/{path:path}", openapi_extra={"requestBody": BINARY | {"required": True}})
        async def upload_file(request: Request, volume: str, path: str, key: ApiKey = manage) -> JsonObject:
            """Store the body as a file, in the place of one that is there; directories on the way are made. It appears whole or not
            at all."""
            found = await self._volumes.find(key.team, volume)
            body = pieces_of(request, stall_s=self._stall_s)
            after = await self._volumes.upload(Actor.of(key), found, path, body, declared_length(request))
            return {"path": path, "volume": await self._show(after)}

        @router.delete("/volumes/{volume}/files/{path:path}")
        async def delete_file(volume: str, path: str, recursive: bool = False, key: ApiKey = manage) -> JsonObject:
            """Delete a file, a link, or a directory: an empty one, or with `recursive` everything in it."""
            found = await self._volumes.find(key.team, volume)
            await self._volumes.remove(Actor.of(key), found, path, recursive=recursive)
            return {"path": path}

        return router

    async def _show(self, volume: Volume) -> JsonObject:
        return {
            "id": volume.id,
            "name": volume.name,
            "size_gb": volume.size_gb,
            "mount_path": volume.mount_path,
            "used_bytes": volume.used_bytes,
            "measured_ms": volume.measured_ms,
            "over": volume.over,
            "endpoints": list(await self._volumes.users(volume)),
            "created_ms": volume.created_ms,
            "updated_ms": volume.updated_ms,
        }


def _router() -> APIRouter:
    return APIRouter(prefix="/api", tags=["volumes"], route_class=JsonRoute)


def _entry(entry: Entry) -> JsonObject:
    return {"name": entry.name, "kind": entry.kind, "size": entry.size, "modified_ms": entry.modified_ms}


__all__ = ["VolumeRoutes"]
