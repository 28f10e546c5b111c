"""Answers about the server itself."""

from __future__ import annotations

from typing import Any, Literal, TypedDict


class SettingShown(TypedDict):
    """A setting; `value` of a secret one is None, and `is_set` says whether there is one."""

    name: str
    value: Any
    is_set: bool
    secret: bool
    origin: Literal["command_line", "environment", "file", "default"]
    description: str


class SettingList(TypedDict):
    """All settings, in the order of the documentation."""

    settings: list[SettingShown]


class Licence(TypedDict):
    """A package that is shipped; `text` where the licence asks for it."""

    part: Literal["server", "console"]
    name: str
    version: str
    licence: str
    text: str


class About(TypedDict):
    """What a server is."""

    version: str
    python: str
    database: str
    licences: list[Licence]
