"""Registries of images: where one is by its name, and credentials: who may pull from where.

An endpoint names a credential by its id. The password is sealed while it is stored; `catalog.credentials` opens it for a pull.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from stoker.errors import InvalidInput
from stoker.ids import CredentialId, TeamId
from stoker.team import check_name

DOCKER_HUB: Final = "docker.io"
"""How images name it; its API is at another address."""
HUB_API: Final = "registry-1.docker.io"
USERNAME_MOST: Final = 255
PASSWORD_MOST: Final = 16_384
"""Characters; tokens of some clouds have thousands."""

_REGISTRY = re.compile(
    r"(?=.{1,255}$)[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?(:[0-9]{1,5})?|\[[0-9A-Fa-f:]+\](:[0-9]{1,5})?"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Credential:
    """A name and a password for a registry, as they are stored."""

    id: CredentialId
    team: TeamId
    name: str
    registry: str
    """Host and port as in the name of an image, such as `ghcr.io` or `registry.example.com:5000`."""
    username: str
    password: str
    """Sealed."""
    created_ms: int
    updated_ms: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Login:
    """A credential that was opened, for the moment in which it is used. Its password is in no `repr`."""

    registry: str
    username: str
    password: str

    def __repr__(self) -> str:
        return f"Login(registry={self.registry!r}, username={self.username!r})"


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """Where an image is."""

    registry: str
    """Host and port."""
    repository: str
    reference: str
    """A tag or a digest."""


def full_name(image: str) -> str:
    """The name with its registry, as `docker.io/library/python:3.12`; the engines' short names are spelled out."""
    host, slash, _ = image.partition("/")
    if slash and ("." in host or ":" in host or host == "localhost"):
        return image
    return f"{DOCKER_HUB}/{image}" if slash else f"{DOCKER_HUB}/library/{image}"


def place_of(image: str) -> Place:
    """Where a name that can be understood leads to."""
    name, _, digest = full_name(image).partition("@")
    registry, _, path = name.partition("/")
    repository, _, tag = path.partition(":")
    return Place(registry=registry, repository=repository, reference=digest or tag or "latest")


def check(credential: Credential, password: str | None) -> None:
    """Raise `InvalidInput` for the first value that is not allowed; `password` as it was given, if it was."""
    check_name(credential.name)
    if not _REGISTRY.fullmatch(credential.registry):
        raise InvalidInput(
            f"registry is '{credential.registry[:100]}'; it must be a host, with a port if needed, as in the name of an image",
            field="registry",
            next_step="for example ghcr.io, docker.io or registry.example.com:5000",
        )
    if not 1 <= len(credential.username) <= USERNAME_MOST or not credential.username.isprintable():
        raise InvalidInput(f"username must have 1 to {USERNAME_MOST} printable characters", field="username")
    if ":" in credential.username:
        raise InvalidInput("username must not contain a colon: HTTP puts one behind it", field="username")
    if password is not None and not (1 <= len(password) <= PASSWORD_MOST and password.isprintable()):
        raise InvalidInput(f"password must have 1 to {PASSWORD_MOST} printable characters", field="password")


__all__ = ["DOCKER_HUB", "HUB_API", "Credential", "Login", "Place", "check", "full_name", "place_of"]
