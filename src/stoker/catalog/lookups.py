"""Whether workers could have an image, asked before anything is made of it: of the runtime, and of the image's registry.

What workers do later is the runtime's own; a registry may be another by then. What is found out here is only told.
"""

from __future__ import annotations

from dataclasses import dataclass

from stoker.catalog.credentials import Credentials, Registries
from stoker.registry import Credential, place_of
from stoker.runtimes import BuildsImages, ChecksImages, FetchesImages, Runtime


@dataclass(frozen=True, kw_only=True, slots=True)
class FoundImage:
    """Where workers will have it from, in words."""

    text: str
    digest: str = ""
    """What its name means now, if a registry was asked and says it."""


class Lookups:
    """Looking for images."""

    def __init__(self, runtime: Runtime, credentials: Credentials, registries: Registries) -> None:
        self._runtime = runtime
        self._credentials = credentials
        self._registries = registries

    async def find(self, image: str, command: str, credential: Credential | None) -> FoundImage:
        """Look for it. Raises `InvalidInput` when no worker could have it, or start with the command; `Unavailable` when nobody can tell."""
        if isinstance(self._runtime, ChecksImages):
            await self._runtime.check_image(image, command)
        if not isinstance(self._runtime, FetchesImages):
            return FoundImage(text="workers can be started from it")
        if isinstance(self._runtime, BuildsImages) and await self._runtime.is_built_here(image):
            return FoundImage(text="it was built on the server's machine, and no registry is asked for it")
        login = None if credential is None else await self._credentials.login(credential.team, credential.id)
        digest = await self._registries.find(image, login)
        return FoundImage(text=f"{place_of(image).registry} has it", digest=digest)


__all__ = ["FoundImage", "Lookups"]
