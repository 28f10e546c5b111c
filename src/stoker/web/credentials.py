"""The part of the management API about registry credentials. No answer has a password."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Depends
from pydantic import BaseModel, ConfigDict, SecretStr

from stoker.audit import Actor
from stoker.catalog import Catalog
from stoker.catalog.credentials import CredentialWish
from stoker.registry import Credential
from stoker.team import ApiKey, Scope
from stoker.web.asgi import JsonRoute
from stoker.web.auth import Asks

JsonObject = dict[str, Any]


class CredentialBody(BaseModel):
    """What can be changed about a credential."""

    model_config = ConfigDict(extra="forbid")

    name: str | None = None
    registry: str | None = None
    username: str | None = None
    password: SecretStr | None = None

    def wish(self) -> CredentialWish:
        """As `catalog` takes it."""
        return CredentialWish(
            name=self.name,
            registry=self.registry,
            username=self.username,
            password=None if self.password is None else self.password.get_secret_value(),
        )


class NewCredentialBody(CredentialBody):
    """A credential to be stored."""

    name: str
    registry: str
    username: str
    password: SecretStr


class CredentialRoutes:
    """Routes about registry credentials."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    def routers(self) -> tuple[APIRouter, ...]:
        """All of them."""
        return self._reads(), self._changes()

    def _router(self) -> APIRouter:
        return APIRouter(prefix="/api", tags=["credentials"], route_class=JsonRoute)

    def _reads(self) -> APIRouter:
        router = self._router()
        read = Depends(Asks(self._catalog, Scope.READ, whole_team=True))

        @router.get("/credentials")
        async def list_credentials(key: ApiKey = read) -> JsonObject:
            """The team's registry credentials, without their passwords."""
            found = await self._catalog.credentials.of_team(key.team)
            return {"credentials": [await self._show(one) for one in found]}

        @router.get("/credentials/{credential}")
        async def show_credential(credential: str, key: ApiKey = read) -> JsonObject:
            """One registry credential, by name or id, and which endpoints use it."""
            return await self._show(await self._catalog.credentials.find(key.team, credential))

        return router

    def _changes(self) -> APIRouter:
        router = self._router()
        manage = Depends(Asks(self._catalog, Scope.MANAGE, whole_team=True))

        @router.post("/credentials", status_code=201)
        async def create_credential(body: NewCredentialBody, key: ApiKey = manage) -> JsonObject:
            """Store a name and a password for a registry."""
            return await self._show(await self._catalog.credentials.create(Actor.of(key), body.wish()))

        @router.patch("/credentials/{credential}")
        async def update_credential(credential: str, body: CredentialBody, key: ApiKey = manage) -> JsonObject:
            """Change what is given. Workers that are launched from now on use it."""
            found = await self._catalog.credentials.find(key.team, credential)
            return await self._show(await self._catalog.credentials.update(Actor.of(key), found, body.wish()))

        @router.delete("/credentials/{credential}")
        async def delete_credential(credential: str, key: ApiKey = manage) -> JsonObject:
            """Forget a credential; refused while an endpoint uses it."""
            found = await self._catalog.credentials.find(key.team, credential)
            await self._catalog.credentials.delete(Actor.of(key), found)
            return await self._show(found)

        @router.post("/credentials/{credential}/test")
        async def test_credential(credential: str, key: ApiKey = manage) -> JsonObject:
            """Ask the registry whether it lets the credential in."""
            found = await self._catalog.credentials.find(key.team, credential)
            await self._catalog.credentials.test(found)
            return {"works": True}

        return router

    async def _show(self, credential: Credential) -> JsonObject:
        return {
            "id": credential.id,
            "name": credential.name,
            "registry": credential.registry,
            "username": credential.username,
            "password": {"secret": True},
            "endpoints": list(await self._catalog.credentials.users(credential)),
            "created_ms": credential.created_ms,
            "updated_ms": credential.updated_ms,
        }


__all__ = ["CredentialRoutes"]
