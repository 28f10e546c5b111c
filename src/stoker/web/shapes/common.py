"""Parts of many answers."""

from __future__ import annotations

from typing import Any, TypedDict

JsonObject = dict[str, Any]


class Named(TypedDict):
    """A thing by id, and its name."""

    id: str
    name: str


class Doer(TypedDict):
    """A member by id and name; without an id it was the server itself."""

    id: str | None
    name: str


class StoryLine(TypedDict):
    """One line of what happened."""

    at_ms: int
    kind: str
    state: str
    reason: str
    attempt: int | None
    worker: str | None
    text: str


class Because(TypedDict):
    """A reason code and its sentence."""

    reason: str
    text: str
