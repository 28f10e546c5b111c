"""The part of the management API about the server itself: what it was told, and what it is made of.

Settings are those of the whole server, so all of them are shown to the operator alone: an admin of the first team, which the first start made.
Admins of other teams see those that are about them. What settings hold that is secret is left out before it comes here.
"""

from __future__ import annotations

import asyncio
import json
import platform
import re
from collections.abc import Container, Iterator, Sequence
from functools import cache
from importlib import metadata
from typing import Any, Final

from fastapi import APIRouter, Depends

from stoker import __version__
from stoker.catalog import Catalog
from stoker.team import ApiKey, Scope
from stoker.web.asgi import JsonRoute
from stoker.web.auth import Asks
from stoker.web.console import BUILT

JsonObject = dict[str, Any]

LICENCES: Final = "licences.json"
"""What the built console is made of; the build writes it."""
_UNNAMED: Final = re.compile("UNKNOWN|See .*", re.IGNORECASE)


class ServerRoutes:
    """The routes. `settings` are shown as they are, to the operator; to other teams those with a name `for_teams`."""

    def __init__(
        self, settings: Sequence[JsonObject], catalog: Catalog, *, database: str, for_teams: Container[str]
    ) -> None:
        self._settings = settings
        self._for_teams = for_teams
        self._catalog = catalog
        self._database = database

    def router(self) -> APIRouter:
        """All of them."""
        router = APIRouter(prefix="/api", tags=["server"], route_class=JsonRoute)
        admin = Depends(Asks(self._catalog, Scope.ADMIN, whole_team=True))
        read = Depends(Asks(self._catalog, Scope.READ))

        @router.get("/settings")
        async def list_settings(key: ApiKey = admin) -> JsonObject:
            """Settings of the server, with their values and where those came from; of a secret one only whether it is set. Admins of the
            first team see every one, those of other teams what is about them."""
            everything = await self._catalog.teams.is_operator(key.team)
            return {"settings": [one for one in self._settings if everything or one["name"] in self._for_teams]}

        @router.get("/about")
        async def about(_key: ApiKey = read) -> JsonObject:
            """The server's version, what it runs on, and the licences of all that is shipped with it."""
            return {
                "version": __version__,
                "python": platform.python_version(),
                "database": self._database,
                "licences": await asyncio.to_thread(licences),
            }

        return router


@cache
def licences() -> Sequence[JsonObject]:
    """Everything that comes with us, and under which licence: Python packages, and what the console's script holds. Blocks."""
    file = BUILT / LICENCES
    script = json.loads(file.read_text("utf-8")) if file.is_file() else []
    python = [_python(one) for one in sorted(_shipped("stoker", set()), key=str.lower)]
    return [*python, *({"part": "console", **one} for one in script)]


def _shipped(name: str, seen: set[str]) -> Iterator[str]:
    """Names of installed packages that a package needs, and those that they need."""
    for line in metadata.requires(name) or ():
        wanted, _, marker = line.partition(";")
        match = re.match(r"[\w.-]+", wanted)
        if match is None or "extra ==" in marker:
            continue
        found = match[0].lower().replace("_", "-")
        try:
            metadata.distribution(found)
        except metadata.PackageNotFoundError:
            continue  # for another system
        if found not in seen:
            seen.add(found)
            yield found
            yield from _shipped(found, seen)


def _python(name: str) -> JsonObject:
    told = metadata.metadata(name)
    fields: dict[str, Any] = told.json
    said = str(fields.get("license_expression") or fields.get("license") or "").strip()
    if not said or "\n" in said or _UNNAMED.fullmatch(said):
        named = [one.rpartition(" :: ")[2] for one in fields.get("classifier", ()) if one.startswith("License ::")]
        said = ", ".join(named) or said.partition("\n")[0]
    return {"part": "server", "name": told["Name"], "version": told["Version"], "licence": said, "text": ""}


__all__ = ["ServerRoutes", "licences"]
