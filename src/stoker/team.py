"""Teams and their API keys: who may do what.

A key belongs to one team and carries scopes. What another team owns does not exist for it (D11). Only the SHA-256 of a
key is stored; the key itself is shown once, when it is made.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from stoker.errors import Forbidden, InvalidInput
from stoker.ids import KeyId, TeamId


class Scope(StrEnum):
    """One kind of thing a key may do. `admin` includes the others."""

    READ = "read"
    """See the team's endpoints, workers, jobs and results."""
    RUN = "run"
    """Submit, cancel and retry jobs, and read them."""
    MANAGE = "manage"
    """Create, change and delete endpoints; stop workers; purge queues."""
    ADMIN = "admin"
    """Everything, and the team's keys."""


_INCLUDES: dict[Scope, frozenset[Scope]] = {
    Scope.READ: frozenset({Scope.READ}),
    Scope.RUN: frozenset({Scope.READ, Scope.RUN}),
    Scope.MANAGE: frozenset({Scope.READ, Scope.RUN, Scope.MANAGE}),
    Scope.ADMIN: frozenset(Scope),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Team:
    """Who owns endpoints, jobs and keys."""

    id: TeamId
    name: str
    created_ms: int


@dataclass(frozen=True, kw_only=True, slots=True)
class ApiKey:
    """A key as it is stored."""

    id: KeyId
    team: TeamId
    name: str
    scopes: frozenset[Scope]
    secret_hash: str
    created_ms: int
    revoked_ms: int | None = None

    def allows(self, scope: Scope) -> bool:
        """Whether the key carries `scope`, or one that includes it."""
        return self.revoked_ms is None and any(scope in _INCLUDES[held] for held in self.scopes)

    def require(self, scope: Scope) -> None:
        """Raise `Forbidden` unless the key allows `scope`."""
        if not self.allows(scope):
            raise Forbidden(
                f"this API key lacks the scope '{scope}'",
                code="scope_missing",
                next_step=f"use a key with the scope '{scope}', or make one: stoker key create NAME --scope {scope}",
            )


def parse_scopes(words: list[str]) -> frozenset[Scope]:
    """Scopes from their words. Raises `InvalidInput` for an unknown word or none at all."""
    known = {scope.value for scope in Scope}
    for word in words:
        if word not in known:
            raise InvalidInput(f"'{word}' is no scope; choose from {', '.join(sorted(known))}", field="scopes")
    if not words:
        raise InvalidInput("a key needs at least one scope", field="scopes")
    return frozenset(Scope(word) for word in words)
