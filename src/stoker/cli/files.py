"""Documents of endpoints in files: TOML or JSON, read and written; and how a difference between two is printed."""

from __future__ import annotations

import json
import os
import re
import sys
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import click

from stoker.amounts import counted
from stoker.cli import output
from stoker.cli.specification import free_of

Document = Mapping[str, Any]

_BARE: Final = re.compile(r"[A-Za-z0-9_-]+")


def read(file: str) -> dict[str, Any]:
    """The document in a file; `-` is standard input. A relative `dir:` image is taken from where the file is.

    Raises `UsageError` for what is neither TOML nor JSON.
    """
    try:
        text = sys.stdin.read() if file == "-" else Path(file).read_text("utf-8")
        found = json.loads(text) if text.lstrip().startswith("{") else tomllib.loads(text)
    except (OSError, ValueError) as error:
        raise click.UsageError(f"cannot read {file}: {error}") from None
    if not isinstance(found, dict):
        raise click.UsageError(f"{file} holds no document of an endpoint")
    image = found.get("image")
    if isinstance(image, str) and image.startswith("dir:"):
        beside = os.getcwd() if file == "-" else os.path.dirname(os.path.abspath(file))
        found["image"] = f"dir:{os.path.normpath(os.path.join(beside, os.path.expanduser(image.removeprefix('dir:'))))}"
    return found


def to_toml(document: Document) -> str:
    """A document as TOML: plain values first, then a table for each mapping."""
    plain = [_line(name, value) for name, value in document.items() if not isinstance(value, Mapping)]
    tables = [
        f"\n[{_key(name)}]\n" + "".join(_line(inner, given) for inner, given in value.items())
        for name, value in document.items()
        if isinstance(value, Mapping) and value
    ]
    return "".join([*plain, *tables])


def _line(name: str, value: object) -> str:
    return f"{_key(name)} = {_value(value)}\n"


def _key(name: str) -> str:
    return name if _BARE.fullmatch(name) else _value(name)


def _value(value: object) -> str:
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{_key(name)} = {_value(inner)}" for name, inner in value.items()) + " }"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return json.dumps(value)


def say_plan(plan: Mapping[str, Any]) -> None:
    """Print what is done, or would be: field by field, and how a worker fits on the machine."""
    names = {"create": "create", "update": "change", "nothing": "nothing to change in"}
    output.say(f"{names[plan['action']]} {plan['endpoint']['name']}")
    for line in _differences(plan["before"], plan["after"], ""):
        output.say(f"  {line}")
    if plan["action"] == "update" and plan["new_release"]:
        output.say("  a new release: new workers run it, old ones finish their jobs and go")
    if plan["action"] == "nothing":
        return
    needed, choices = plan["fit"]["gpus_needed"], plan["fit"]["choices"]
    output.say(f"  a worker needs {counted(needed, 'GPU')} and may be placed in")
    for each in choices:
        free = free_of(each) if each["free"] is None else f"{free_of(each)} free"
        output.say(f"    {each['name']}: {free}, {each['worker_per_hour']:g} per hour and worker")
    if not choices:
        output.say("    nothing that is known now")


def say_difference(before: Document, after: Document) -> None:
    """Print what differs, or that nothing does."""
    lines = list(_differences(before, after, ""))
    for line in lines:
        output.say(line)
    if not lines:
        output.remark("nothing differs")


def _differences(before: Document, after: Document, path: str) -> Iterator[str]:
    for name in dict.fromkeys((*before, *after)):
        old, new = before.get(name), after.get(name)
        if _nested(old) or _nested(new):
            yield from _differences(old or {}, new or {}, f"{path}{name}.")
        elif name not in before or old is None:
            yield f"+ {path}{name}: {_shown(new)}"
        elif name not in after or new is None:
            yield f"- {path}{name}: {_shown(old)}"
        else:
            yield f"~ {path}{name}: {_shown(old)} -> {_shown(new)}"


def _nested(value: object) -> bool:
    return isinstance(value, Mapping) and "secret" not in value


def _shown(value: object) -> str:
    if isinstance(value, Mapping):
        return "(secret)"
    return output.one_line(value if isinstance(value, str) and value else json.dumps(value))


__all__ = ["read", "say_difference", "say_plan", "to_toml"]
