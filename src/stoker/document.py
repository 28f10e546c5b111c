"""An endpoint as a document: its fields by name, in JSON, as the API shows them, files hold them and audit lines compare them.

Secret values are never in one: `{"secret": true}` marks where one is. What a customer gives for such a value is a `NewSecret`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

from stoker.checkup import HealthCheck
from stoker.endpoint import OF_ENDPOINT, OF_RELEASE, Endpoint, Env, Policy, PolicyType, Release, Secret
from stoker.volume import read_mount

AHEAD_WORDS: Final[Mapping[int | None, str]] = {None: "auto", 0: "off"}
"""How `deliver_ahead` is written; other numbers as they are."""
TYPE: Final = "async"
"""The only type of endpoint there is."""
MASK: Final[Mapping[str, bool]] = {"secret": True}


@dataclass(frozen=True, slots=True)
class NewSecret:
    """A secret value as a customer gives it. It is in no `repr`."""

    value: str | None
    """None keeps the one that is there."""

    def __repr__(self) -> str:
        return "NewSecret(…)" if self.value is not None else "NewSecret(None)"


def document(endpoint: Endpoint, release: Release) -> dict[str, Any]:
    """Every field that can be configured, secrets masked."""
    return {"type": TYPE} | {
        name: shown(name, getattr(release if name in OF_RELEASE else endpoint, name)) for name in ORDER
    }


def of_release(release: Release) -> dict[str, Any]:
    """What workers of the release execute, secrets masked."""
    return {name: shown(name, getattr(release, name)) for name in OF_RELEASE}


def masked(env: Env) -> dict[str, Any]:
    """Environment variables, secret values masked."""
    return {name: value if isinstance(value, str) else dict(MASK) for name, value in env.items()}


def shown(name: str, value: Any) -> Any:
    """A field's value in JSON, secrets masked."""
    if name == "env":
        return masked(value)
    if name == "volumes":
        return [str(mount) for mount in value]
    if name == "specifications":
        return list(value)
    if isinstance(value, Policy):
        return {"type": value.type.value, "value": value.value}
    if isinstance(value, HealthCheck):
        return asdict(value)
    if name == "deliver_ahead":
        return AHEAD_WORDS.get(value, value)
    return value


def stored(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Fields as a template keeps them: like `shown`, with what secrets were sealed to."""
    plain = {name: shown(name, value) for name, value in fields.items() if name != "env"}
    if "env" in fields:
        env: Env = fields["env"]
        plain["env"] = {
            name: value if isinstance(value, str) else {"sealed": value.sealed} for name, value in env.items()
        }
    return plain


def read(stored_fields: Mapping[str, Any]) -> dict[str, Any]:
    """Fields from what `stored` made."""
    fields = dict(stored_fields)
    if "env" in fields:
        fields["env"] = {
            name: value if isinstance(value, str) else Secret(value["sealed"]) for name, value in fields["env"].items()
        }
    if "volumes" in fields:
        fields["volumes"] = tuple(read_mount(text) for text in fields["volumes"])
    if "specifications" in fields:
        fields["specifications"] = tuple(fields["specifications"])
    if fields.get("health") is not None:
        fields["health"] = HealthCheck(**fields["health"])
    if "policy" in fields:
        fields["policy"] = Policy(type=PolicyType(fields["policy"]["type"]), value=fields["policy"]["value"])
    if "deliver_ahead" in fields:
        numbers = {word: number for number, word in AHEAD_WORDS.items()}
        fields["deliver_ahead"] = numbers.get(fields["deliver_ahead"], fields["deliver_ahead"])
    return fields


def hidden(stored_fields: Mapping[str, Any]) -> dict[str, Any]:
    """Stored fields as they are shown."""
    return {name: shown(name, value) for name, value in read(stored_fields).items()}


ORDER: Final = ("name", "app_name", *OF_RELEASE, *(name for name in OF_ENDPOINT if name not in ("name", "app_name")))
"""Of all fields, for readers."""

__all__ = ["AHEAD_WORDS", "MASK", "NewSecret", "document", "hidden", "masked", "of_release", "read", "shown", "stored"]
