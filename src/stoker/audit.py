"""The audit log: who configured what, with how it was before and after.

Operations make a line for every change of what a team configures; the store writes it in the same transaction, so that neither
is without the other. Secrets are masked before a line is made: what seals and what opens never comes here. Jobs and workers have
their stories instead.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from stoker.ids import KeyId, MemberId, TeamId
from stoker.team import ApiKey

Facts = Mapping[str, Any]
"""How a thing is, as the API shows it: JSON, secrets masked."""

SERVER: Final = "the server"
"""Who acts when nobody asked: on the first start, and by commands on the server's machine."""


class Kind(StrEnum):
    """What was changed."""

    TEAM = "team"
    MEMBER = "member"
    KEY = "key"
    ENDPOINT = "endpoint"
    TEMPLATE = "template"
    VIEW = "view"
    CREDENTIAL = "credential"
    VOLUME = "volume"
    IMAGE = "image"
    BUDGET = "budget"
    WEBHOOK = "webhook"
    """What signs the team's webhooks, or a notice of one."""


class Action(StrEnum):
    """What was done to it."""

    CREATED = "created"
    CHANGED = "changed"
    DELETED = "deleted"
    ROTATED = "rotated"
    REVOKED = "revoked"
    PAUSED = "paused"
    RESUMED = "resumed"
    ROLLED_BACK = "rolled_back"
    RETRIED = "retried"
    UPLOADED = "uploaded"
    """A file of a volume."""
    REMOVED = "removed"
    """A file or directory of a volume, or an image."""
    WARMED = "warmed"
    """An image, ahead of its workers."""
    REDELIVERED = "redelivered"


@dataclass(frozen=True, kw_only=True, slots=True)
class Actor:
    """Who does something."""

    team: TeamId
    member: MemberId | None = None
    key: KeyId | None = None

    @classmethod
    def of(cls, key: ApiKey) -> Actor:
        """Whoever sent the key."""
        return cls(team=key.team, member=key.member, key=key.id)


@dataclass(frozen=True, kw_only=True, slots=True)
class AuditLine:
    """One change."""

    at_ms: int
    by: Actor
    action: Action
    kind: Kind
    thing: str
    """Its id."""
    name: str
    """As it was called."""
    before: Facts | None = None
    """None for what is new."""
    after: Facts | None = None
    """None for what is gone."""


def difference(before: Facts, after: Facts) -> tuple[Facts, Facts]:
    """Of both only what differs; mappings are compared name by name."""
    old: dict[str, Any] = {}
    new: dict[str, Any] = {}
    for name in dict.fromkeys((*before, *after)):
        one, other = before.get(name), after.get(name)
        if one == other:
            continue
        if isinstance(one, Mapping) and isinstance(other, Mapping):
            one, other = difference(one, other)
        old[name], new[name] = one, other
    return old, new
