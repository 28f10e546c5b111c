"""Answers about who comes in: members, keys, sessions, the audit log."""

from __future__ import annotations

from typing import TypedDict

from stoker.team import Role, Scope
from stoker.web.shapes.common import Doer, JsonObject, Named


class MemberOfMe(TypedDict):
    """The member whose key it is."""

    id: str
    name: str
    role: Role


class Key(TypedDict):
    """An API key, without its secret."""

    id: str
    name: str
    member: Doer
    scopes: list[Scope]
    endpoints: list[str]
    created_ms: int
    expires_ms: int | None
    used_ms: int | None
    old_until_ms: int | None
    revoked_ms: int | None
    rate: int | None


class Rated(TypedDict):
    """An endpoint or a key, and how much may be asked of it, or by it; None: it has no rate of its own."""

    id: str
    name: str
    rate: int | None


class NewKey(Key):
    """A key with its secret, which is shown only now."""

    secret: str


class Me(TypedDict):
    """Who asks, and what they may do; those of the operator's team may also say what others cost."""

    team: Named
    member: MemberOfMe
    key: Key
    may: list[Scope]
    operator: bool


class Session(TypedDict):
    """A session that has begun."""

    key: str
    expires_ms: int


class MemberShown(TypedDict):
    """A member."""

    id: str
    name: str
    role: Role
    created_ms: int
    removed_ms: int | None


class AuditLine(TypedDict):
    """One change of what is configured."""

    number: int
    at_ms: int
    member: Doer
    key: str | None
    action: str
    kind: str
    thing: str
    name: str
    before: JsonObject | None
    after: JsonObject | None


class Keys(TypedDict):
    """All keys."""

    keys: list[Key]


class Members(TypedDict):
    """All members."""

    members: list[MemberShown]


class AuditLines(TypedDict):
    """A page of the audit log."""

    lines: list[AuditLine]
