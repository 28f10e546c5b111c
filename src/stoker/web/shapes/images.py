"""Answers about images and the credentials of their registries."""

from __future__ import annotations

from typing import Literal, TypedDict


class CredentialShown(TypedDict):
    """A registry credential, without its password."""

    id: str
    name: str
    registry: str
    username: str
    password: dict[str, bool]
    endpoints: list[str]
    created_ms: int
    updated_ms: int


class Credentials(TypedDict):
    """All registry credentials."""

    credentials: list[CredentialShown]


class ImageFound(TypedDict):
    """An image that workers could have: from where, and what its name means now if a registry says it."""

    image: str
    text: str
    digest: str


class ImageShown(TypedDict):
    """An image of the team, on the server's machine or on its way there."""

    name: str
    state: Literal["fetching", "here", "failed", "not_fetched"]
    progress: str
    error: str | None
    code: str | None
    retry_ms: int | None
    credential: str | None
    digest: str
    endpoints: list[str]
    asked_ms: int | None
    bytes: int | None
    pulled_ms: int | None
    used_ms: int | None


class ImageList(TypedDict):
    """All images of the team."""

    images: list[ImageShown]
