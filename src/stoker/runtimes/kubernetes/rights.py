"""What the server's account must be allowed to do in a cluster, and nothing else. Pure.

The Helm chart grants it, `stoker doctor` asks for it, and the documentation lists it; tests compare them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

NEEDED: Final[Mapping[tuple[str, str], Sequence[str]]] = {
    ("", "pods"): ("get", "list", "watch", "create", "delete"),
    ("", "pods/log"): ("get",),
    ("", "events"): ("list",),
    ("", "secrets"): ("create", "patch", "delete"),
    ("", "configmaps"): ("get", "list", "create", "patch", "delete"),
    ("", "persistentvolumeclaims"): ("create", "patch", "delete"),
    ("apps", "daemonsets"): ("get", "create", "delete"),
    ("networking.k8s.io", "networkpolicies"): ("create",),
}
"""By group and kind of object: verbs, in the workers' namespace."""


@dataclass(frozen=True, slots=True)
class Right:
    """To do one thing with one kind of object."""

    group: str
    resource: str
    verb: str


def rights_of(*, by_team: bool) -> list[Right]:
    """All rights; where each team has a namespace of its own, they are needed in all namespaces."""
    rights = [Right(group, resource, verb) for (group, resource), verbs in NEEDED.items() for verb in verbs]
    return [*rights, Right("", "namespaces", "create")] if by_team else rights
