"""Answers about views."""

from __future__ import annotations

from typing import TypedDict


class ViewShown(TypedDict):
    """Filters of jobs under a name: fields of the selection of jobs."""

    name: str
    filters: dict[str, str | int]
    updated_ms: int


class ViewList(TypedDict):
    """All views, by name."""

    views: list[ViewShown]
