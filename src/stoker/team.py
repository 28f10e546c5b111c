"""Teams, their members and API keys: who may do what.

A member is a named person (or program) of one team, with a role. A key belongs to a member and carries scopes: it may do what
both allow, on all endpoints of the team or on those that it names. What another team owns, and what a key does not reach, does
not exist for it (D11). Only the SHA-256 of a key is stored; the key itself is shown once, when it is made or rotated.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from stoker.errors import Forbidden, InvalidInput, Unauthenticated
from stoker.ids import EndpointId, KeyId, MemberId, TeamId

NAME_MOST: Final = 100
"""Characters of the name of a team, a member or a key."""
KEY_LIFE_MOST_MS: Final = 10 * 366 * 86_400_000
"""Ten years: whoever wants longer wants a key that does not expire."""
GRACE_MOST_MS: Final = 30 * 86_400_000
"""A month, for which the secret before a rotation may go on working."""
_SEND: Final = "send a valid key: Authorization: Bearer sk_…"


class Scope(StrEnum):
    """One kind of thing a key may do. `admin` includes the others."""

    READ = "read"
    """See the team's endpoints, workers, jobs and results."""
    RUN = "run"
    """Submit, cancel and retry jobs, and read them."""
    MANAGE = "manage"
    """Create, change and delete endpoints, templates and registry credentials; stop workers; purge queues."""
    ADMIN = "admin"
    """Everything, and the team's members, keys and audit log."""


_INCLUDES: Final[dict[Scope, frozenset[Scope]]] = {
    Scope.READ: frozenset({Scope.READ}),
    Scope.RUN: frozenset({Scope.READ, Scope.RUN}),
    Scope.MANAGE: frozenset({Scope.READ, Scope.RUN, Scope.MANAGE}),
    Scope.ADMIN: frozenset(Scope),
}


class Role(StrEnum):
    """What a member may do at most, from the least to the most."""

    READER = "reader"
    """Look at everything but keys, members and the audit log."""
    DEVELOPER = "developer"
    """Run jobs and configure endpoints."""
    ADMIN = "admin"
    """Also members, keys and the audit log; makes nobody an owner."""
    OWNER = "owner"
    """Also owners, and the team's name. A team always has one."""

    @property
    def scopes(self) -> frozenset[Scope]:
        """What keys of such a member may carry."""
        return _OF_ROLE[self]

    def covers(self, other: Role) -> bool:
        """Whether who has this role may give, take and change the other one."""
        order = list(Role)
        return order.index(self) >= order.index(other)


_OF_ROLE: Final[dict[Role, frozenset[Scope]]] = {
    Role.READER: frozenset({Scope.READ}),
    Role.DEVELOPER: frozenset({Scope.READ, Scope.RUN, Scope.MANAGE}),
    Role.ADMIN: frozenset(Scope),
    Role.OWNER: frozenset(Scope),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Team:
    """Who owns endpoints, jobs and keys."""

    id: TeamId
    name: str
    created_ms: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Member:
    """A person or a program of a team."""

    id: MemberId
    team: TeamId
    name: str
    role: Role
    created_ms: int
    removed_ms: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class ApiKey:
    """A key as it is stored, with the role of the member whom it belongs to."""

    id: KeyId
    team: TeamId
    member: MemberId
    role: Role
    """The member's, as it stood when the key was read; not the key's own, so never written with it."""
    name: str
    scopes: frozenset[Scope]
    endpoints: frozenset[EndpointId] = frozenset()
    """The only ones that it reaches; empty for all."""
    secret_hash: str
    created_ms: int
    expires_ms: int | None = None
    used_ms: int | None = None
    """When it was last used, give or take `catalog.USED_EVERY_MS`."""
    old_hash: str | None = None
    """Of the secret before the last rotation."""
    old_until_ms: int | None = None
    """Until when the old secret goes on working."""
    revoked_ms: int | None = None
    rate: int | None = None
    """Requests to `/run` that it may make at one endpoint in ten seconds, others in proportion, where the endpoint allows more; None: as the
    endpoint says."""

    def allows(self, scope: Scope) -> bool:
        """Whether the key carries `scope`, or one that includes it, and its member's role has it."""
        if self.revoked_ms is not None or scope not in _OF_ROLE[self.role]:
            return False
        return any(scope in _INCLUDES[held] for held in self.scopes)

    def require(self, scope: Scope) -> None:
        """Raise `Forbidden` unless the key allows `scope`."""
        if self.allows(scope):
            return
        if scope not in _OF_ROLE[self.role]:
            raise Forbidden(
                f"this API key belongs to a member with the role '{self.role}', which lacks the scope '{scope}'",
                code="scope_missing",
                next_step="ask an admin of the team for another role: stoker member update MEMBER --role ROLE",
            )
        raise Forbidden(
            f"this API key lacks the scope '{scope}'",
            code="scope_missing",
            next_step=f"use a key with the scope '{scope}', or make one: stoker key create NAME --scope {scope}",
        )

    def reaches(self, endpoint: EndpointId) -> bool:
        """Whether the endpoint, which is its team's, exists for it."""
        return not self.endpoints or endpoint in self.endpoints

    def require_whole_team(self) -> None:
        """Raise `Forbidden` for a key that reaches some endpoints only: what is not an endpoint's is closed to it."""
        if self.endpoints:
            raise Forbidden(
                "this API key is for some endpoints only; this concerns the whole team",
                code="key_limited",
                next_step="use a key that names no endpoints",
            )

    def check_opens(self, secret_hash: str, now_ms: int) -> None:
        """Raise `Unauthenticated` when the secret with that hash, by which the key was found, opens it no more."""
        if self.revoked_ms is not None:
            raise Unauthenticated("the API key was revoked", next_step=_SEND)
        if self.expires_ms is not None and now_ms >= self.expires_ms:
            raise Unauthenticated("the API key has expired", code="key_expired", next_step=_SEND)
        if secret_hash != self.secret_hash and now_ms >= (self.old_until_ms or 0):
            raise Unauthenticated(
                "the API key was rotated, and the time of grace of this secret is over",
                code="key_rotated",
                next_step=_SEND,
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class Session:
    """A person who is signed in to the console with a key. It opens what the key opens, until it ends."""

    token_hash: str
    """Of the secret in the cookie."""
    key_hash: str
    """Of the secret of the key. A session ends when that secret opens the key no more."""
    created_ms: int
    expires_ms: int


def parse_scopes(words: list[str]) -> frozenset[Scope]:
    """Scopes from their words. Raises `InvalidInput` for an unknown word or none at all."""
    known = {scope.value for scope in Scope}
    for word in words:
        if word not in known:
            raise InvalidInput(f"'{word}' is no scope; choose from {', '.join(sorted(known))}", field="scopes")
    if not words:
        raise InvalidInput("a key needs at least one scope", field="scopes")
    return frozenset(Scope(word) for word in words)


def parse_role(word: str) -> Role:
    """A role from its word. Raises `InvalidInput`."""
    if word not in set(Role):
        raise InvalidInput(f"'{word}' is no role; choose from {', '.join(Role)}", field="role")
    return Role(word)


def check_name(name: str) -> None:
    """Raise `InvalidInput` for what cannot be the name of a team, a member or a key."""
    if not 1 <= len(name) <= NAME_MOST or not name.isprintable() or not name.strip():
        raise InvalidInput(f"name must have 1 to {NAME_MOST} printable characters", field="name")
