"""The fields of an endpoint as a table: effect, range and default, from the code that enforces, serves and stores them."""

from __future__ import annotations

from dataclasses import MISSING, fields
from typing import Any, Final

from scripts import machines
from stoker.document import ORDER, shown
from stoker.endpoint import LIMITS, OF_RELEASE, TEXT_MOST, Endpoint, Release
from stoker.web.endpoint_bodies import EndpointBody

SET_BY_SERVER: Final = {
    "name": "16 random hexadecimal characters",
    "image": "none: it must be given",
    "max_workers": "`3`, or `min_workers` if that is more",
    "retention_s": "the setting `retention_s`",
}
"""Defaults that are no value of the record."""


def table() -> str:
    """Every field."""
    rows = [
        [f"`{name}`", _effect(name), _range(name), _default(name), "yes" if name in OF_RELEASE else ""]
        for name in ("type", *ORDER)
    ]
    return machines.table(["Field", "Effect", "Range", "Default", "Makes a release"], rows)


def _effect(name: str) -> str:
    return (EndpointBody.model_fields[name].description or "").replace("|", "&#124;")


def _range(name: str) -> str:
    known = {
        "type": "`async`",
        "policy": _numbers("policy.value"),
        "env": _texts("env", "variables"),
        "health": _parts("health"),
    }
    if name in known:
        return known[name]
    if name in LIMITS:
        return _numbers(name)
    return _texts(name, "characters") if name in TEXT_MOST else ""


def _parts(name: str) -> str:
    """The ranges of an object's fields."""
    found = {part: LIMITS[part] for part in LIMITS if part.startswith(f"{name}.")}
    return ", ".join(
        f"`{part.removeprefix(f'{name}.')}` {limit.least} to {limit.most} {limit.unit}" for part, limit in found.items()
    )


def _numbers(name: str) -> str:
    limit = LIMITS[name]
    return f"{limit.least} to {limit.most} {limit.unit}: {limit.why}"


def _texts(name: str, unit: str) -> str:
    most = f"at most {TEXT_MOST[name]} {unit}"
    return f"{most}, each with at most {TEXT_MOST['env value']} characters" if name == "env" else most


def _default(name: str) -> str:
    if name in SET_BY_SERVER:
        return SET_BY_SERVER[name]
    if name == "type":
        return "`async`"
    record: type[Any] = Release if name in OF_RELEASE else Endpoint
    (field,) = (one for one in fields(record) if one.name == name)
    value = field.default if field.default_factory is MISSING else field.default_factory()
    told = shown(name, value)
    if isinstance(told, dict) and told:
        return ", ".join(f"`{inner}`" for inner in told.values())
    return f"`{told}`" if told or told == 0 else "none"
