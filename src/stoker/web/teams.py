"""The part of the management API about who comes in: team, members, keys, audit log."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, ConfigDict, Field, StrictInt

from stoker.catalog import Catalog, NewKey
from stoker.ids import KeyId, MemberId
from stoker.store.audit import Written
from stoker.team import ApiKey, Member, Scope, parse_role, parse_scopes
from stoker.web.asgi import JsonRoute
from stoker.web.auth import Asks, endpoint_for

JsonObject = dict[str, Any]


class TeamBody(BaseModel):
    """What can be changed about a team."""

    model_config = ConfigDict(extra="forbid")

    name: str


class NewMemberBody(BaseModel):
    """A member to be."""

    model_config = ConfigDict(extra="forbid")

    name: str
    role: str = Field("developer", description="`reader`, `developer`, `admin` or `owner`.")


class MemberBody(BaseModel):
    """What can be changed about a member."""

    model_config = ConfigDict(extra="forbid")

    name: str | None = None
    role: str | None = None


class KeyBody(BaseModel):
    """A key to be made."""

    model_config = ConfigDict(extra="forbid")

    name: str
    scopes: list[str] = Field(default_factory=lambda: ["run"])
    member: str | None = Field(None, description="Id or name of the member whose key it will be; who asks if left out.")
    endpoints: list[str] = Field(
        default_factory=list, description="Names or ids of the only endpoints that it reaches; none for all."
    )
    expires_in_s: StrictInt | None = Field(None, description="Seconds until it expires; never if left out.")


class RotateBody(BaseModel):
    """How to rotate a key."""

    model_config = ConfigDict(extra="forbid")

    grace_s: StrictInt = Field(3_600, description="Seconds for which the old secret goes on working.")


class TeamRoutes:
    """Routes about who comes in."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    def routers(self) -> tuple[APIRouter, ...]:
        """All of them."""
        return self._team_routes(), self._member_routes(), self._key_routes(), self._audit_routes()

    def _asks(self, scope: Scope, *, whole_team: bool = True) -> Any:
        return Depends(Asks(self._catalog, scope, whole_team=whole_team))

    def _team_routes(self) -> APIRouter:
        router = APIRouter(prefix="/api", tags=["team"], route_class=JsonRoute)
        anybody, admin = self._asks(Scope.READ, whole_team=False), self._asks(Scope.ADMIN)

        @router.get("/me")
        async def me(key: ApiKey = anybody) -> JsonObject:
            """Whose key this is and what it may do."""
            team = await self._catalog.teams.get(key.team)
            names = await self._catalog.teams.names(key.team)
            return {
                "team": {"id": team.id, "name": team.name},
                "member": {"id": key.member, "name": names[key.member], "role": key.role},
                "key": _key(key, names),
                "may": [scope for scope in Scope if key.allows(scope)],
                "operator": await self._catalog.teams.is_operator(key.team),
            }

        @router.patch("/team")
        async def rename_team(body: TeamBody, key: ApiKey = admin) -> JsonObject:
            """Give the team another name; only owners may."""
            team = await self._catalog.teams.rename(key, body.name)
            return {"id": team.id, "name": team.name, "created_ms": team.created_ms}

        return router

    def _member_routes(self) -> APIRouter:
        router = APIRouter(prefix="/api", tags=["members"], route_class=JsonRoute)
        admin = self._asks(Scope.ADMIN)

        @router.get("/members")
        async def list_members(key: ApiKey = admin) -> JsonObject:
            """The team's members, removed ones included."""
            return {"members": [_member(one) for one in await self._catalog.teams.members(key.team)]}

        @router.post("/members", status_code=201)
        async def add_member(body: NewMemberBody, key: ApiKey = admin) -> JsonObject:
            """Add a person or a program to the team. It can do nothing before it has a key."""
            return _member(await self._catalog.teams.add_member(key, body.name, parse_role(body.role)))

        @router.patch("/members/{member}")
        async def update_member(member: str, body: MemberBody, key: ApiKey = admin) -> JsonObject:
            """Change name or role of a member, by name or id. Keys of the member do from now on what the new role allows."""
            role = None if body.role is None else parse_role(body.role)
            return _member(await self._catalog.teams.update_member(key, member, name=body.name, role=role))

        @router.delete("/members/{member}")
        async def remove_member(member: str, key: ApiKey = admin) -> JsonObject:
            """Remove a member: their keys open nothing from now on."""
            return _member(await self._catalog.teams.remove_member(key, member))

        return router

    def _key_routes(self) -> APIRouter:
        router = APIRouter(prefix="/api", tags=["keys"], route_class=JsonRoute)
        admin = self._asks(Scope.ADMIN)

        @router.get("/keys")
        async def list_keys(key: ApiKey = admin) -> JsonObject:
            """The team's keys, without their secrets."""
            names = await self._catalog.teams.names(key.team)
            return {"keys": [_key(one, names) for one in await self._catalog.teams.keys(key.team)]}

        @router.post("/keys", status_code=201)
        async def create_key(body: KeyBody, key: ApiKey = admin) -> JsonObject:
            """Make a key. The answer is the only place where its secret is shown."""
            made, secret = await self._catalog.teams.create_key(key, await self._wish(key, body))
            return _key(made, await self._catalog.teams.names(key.team)) | {"secret": secret}

        @router.post("/keys/{key_id}/rotate")
        async def rotate_key(key_id: str, body: RotateBody | None = None, key: ApiKey = admin) -> JsonObject:
            """Give a key a new secret, which is shown only here. The old one goes on working for a while."""
            grace_ms = (body or RotateBody()).grace_s * 1000
            made, secret = await self._catalog.teams.rotate_key(key, KeyId(key_id), grace_ms=grace_ms)
            return _key(made, await self._catalog.teams.names(key.team)) | {"secret": secret}

        @router.delete("/keys/{key_id}")
        async def revoke_key(key_id: str, key: ApiKey = admin) -> JsonObject:
            """Revoke a key."""
            revoked = await self._catalog.teams.revoke_key(key, KeyId(key_id))
            return _key(revoked, await self._catalog.teams.names(key.team))

        return router

    async def _wish(self, key: ApiKey, body: KeyBody) -> NewKey:
        found = [await endpoint_for(self._catalog, key, word) for word in body.endpoints]
        return NewKey(
            name=body.name,
            scopes=parse_scopes(body.scopes),
            member=body.member,
            endpoints=frozenset(one.id for one in found),
            life_ms=None if body.expires_in_s is None else body.expires_in_s * 1000,
        )

    def _audit_routes(self) -> APIRouter:
        router = APIRouter(prefix="/api", tags=["audit"], route_class=JsonRoute)
        admin = self._asks(Scope.ADMIN)

        @router.get("/audit")
        async def list_audit(
            limit: Annotated[int, Query(ge=1, le=1000)] = 50,
            before: Annotated[int | None, Query(ge=1, le=2**63 - 1)] = None,
            thing: Annotated[str, Query(max_length=100)] = "",
            key: ApiKey = admin,
        ) -> JsonObject:
            """Who configured what, newest first; `before` is the number of the last line of the page before, `thing` an id."""
            names = await self._catalog.teams.names(key.team)
            lines = await self._catalog.teams.audit(key.team, before=before, thing=thing, limit=limit)
            return {"lines": [_line(one, names) for one in lines]}

        return router


def _member(member: Member) -> JsonObject:
    return {
        "id": member.id,
        "name": member.name,
        "role": member.role,
        "created_ms": member.created_ms,
        "removed_ms": member.removed_ms,
    }


def _key(key: ApiKey, names: dict[MemberId | None, str]) -> JsonObject:
    return {
        "id": key.id,
        "name": key.name,
        "member": {"id": key.member, "name": names.get(key.member, "")},
        "scopes": sorted(key.scopes),
        "endpoints": sorted(key.endpoints),
        "created_ms": key.created_ms,
        "expires_ms": key.expires_ms,
        "used_ms": key.used_ms,
        "old_until_ms": key.old_until_ms,
        "revoked_ms": key.revoked_ms,
        "rate": key.rate,
    }


def _line(written: Written, names: dict[MemberId | None, str]) -> JsonObject:
    line = written.line
    return {
        "number": written.number,
        "at_ms": line.at_ms,
        "member": {"id": line.by.member, "name": names.get(line.by.member, "")},
        "key": line.by.key,
        "action": line.action,
        "kind": line.kind,
        "thing": line.thing,
        "name": line.name,
        "before": line.before,
        "after": line.after,
    }


__all__ = ["TeamRoutes"]
