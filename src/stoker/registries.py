"""Registries of images over HTTP: whether one lets a login in, and whether it has an image, as the registry protocol asks it.

What is asked for is refused with the way to come in: Basic, or Bearer with the address of a token service, which is asked with the login
and whose token is then tried. Nothing that a registry says is quoted: it may say anything. Over plain HTTP only this machine itself
is asked, as container engines do it.
"""

from __future__ import annotations

import asyncio
import importlib
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import msgspec

from stoker.errors import InvalidInput, Unavailable
from stoker.hosts import is_loopback
from stoker.registry import DOCKER_HUB, HUB_API, Login, Place, place_of

if TYPE_CHECKING:
    import httpx

PATIENCE_S: Final = 10.0
"""For each of up to three requests."""
TOKEN_BYTES_MAX: Final = 256 * 1024
"""Of a token service's answer; tokens have some kilobytes."""
_PARAMETER: Final = re.compile(r'(\w+)\s*=\s*"([^"]*)"')
_DIGEST: Final = re.compile("sha256:[0-9a-f]{64}")
_MANIFESTS: Final = ", ".join(
    f"application/vnd.{kind}+json"
    for kind in (
        "oci.image.index.v1",
        "oci.image.manifest.v1",
        "docker.distribution.manifest.list.v2",
        "docker.distribution.manifest.v2",
    )
)
"""Without these a registry may say that it has no such image."""
_HUB_NAMES: Final = frozenset({DOCKER_HUB, "index.docker.io", HUB_API})


class HttpRegistries:
    """`catalog.credentials.Registries`."""

    async def check(self, login: Login) -> None:
        """Ask. Raises `InvalidInput` (`credential_refused`), `Unavailable` (`registry_unreachable`)."""
        async with _asked(login.registry, login) as registry:
            answer = await registry.ask("GET", "")
            if answer.status_code in (401, 403):
                raise _refused(login)
            if answer.status_code != 200:
                raise _unreachable(login.registry, f"it answers {answer.status_code}")

    async def find(self, image: str, login: Login | None) -> str:
        """The digest of what the name means now; empty if the registry does not say it. Raises `InvalidInput` (`image_not_found`,
        `image_denied`, `credential_refused`, `credential_elsewhere`), `Unavailable` (`registry_unreachable`, `image_rate_limited`)."""
        place = place_of(image)
        if login is not None and _api(login.registry) != _api(place.registry):
            raise _elsewhere(login, place)
        async with _asked(place.registry, login) as registry:
            answer = await registry.ask(
                "HEAD",
                f"{place.repository}/manifests/{place.reference}",
                scope=f"repository:{place.repository}:pull",
                accept=_MANIFESTS,
            )
        if answer.status_code != 200:
            raise _not_found(image, place, answer.status_code)
        digest = answer.headers.get("docker-content-digest", "")
        return digest if _DIGEST.fullmatch(digest) else ""


@asynccontextmanager
async def _asked(name: str, login: Login | None) -> AsyncIterator[_Registry]:
    """The registry, to be asked."""
    await asyncio.to_thread(importlib.import_module, "httpx")  # it reads from the disk
    import httpx  # 5 MiB of memory that a server needs only here

    client = await asyncio.to_thread(httpx.AsyncClient, timeout=PATIENCE_S)  # it reads certificates from the disk
    async with client:
        try:
            yield _Registry(client, name, login)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise _unreachable(name, type(error).__name__) from None


@dataclass(frozen=True, slots=True)
class _Registry:
    client: httpx.AsyncClient
    name: str
    login: Login | None

    async def ask(self, method: str, path: str, *, scope: str = "", accept: str = "*/*") -> httpx.Response:
        """What it answers to the login, or to everybody when there is none. Raises `InvalidInput`, `Unavailable`."""
        url = f"{_scheme(self.name)}://{_api(self.name)}/v2/{path}"
        headers = {"Accept": accept}
        first = await self.client.request(method, url, headers=headers)
        if first.status_code != 401:
            return first
        header = first.headers.get("www-authenticate", "")
        scheme = header.partition(" ")[0].lower()
        if scheme == "basic":
            if self.login is None:
                return first
            auth = (self.login.username, self.login.password)
            return await self.client.request(method, url, headers=headers, auth=auth)
        if scheme == "bearer":
            token = await self._token(dict(_PARAMETER.findall(header)), scope)
            if token is None:
                return first
            return await self.client.request(method, url, headers=headers | {"Authorization": f"Bearer {token}"})
        raise _unreachable(self.name, "it asks for something that is neither Basic nor Bearer")

    async def _token(self, parameters: dict[str, str], scope: str) -> str | None:
        """What the registry's token service gives for the login, or to everybody; None when it gives nothing to everybody."""
        realm, login = parameters.get("realm", ""), self.login
        if not _may_hear(realm, self.name):
            raise _unreachable(self.name, "its token service is at no address that may hear a password")
        query = {name: parameters[name] for name in ("service",) if name in parameters}
        if login is not None:
            query = {"account": login.username} | query
        if scope:
            query["scope"] = scope
        auth = None if login is None else (login.username, login.password)
        async with self.client.stream("GET", realm, params=query, auth=auth) as answer:
            if answer.status_code in (400, 401, 403):
                if login is None:
                    return None
                raise _refused(login)
            if answer.status_code != 200:
                raise _unreachable(self.name, f"its token service answers {answer.status_code}")
            body = b""
            async for chunk in answer.aiter_bytes():
                body += chunk
                if len(body) > TOKEN_BYTES_MAX:
                    raise _unreachable(self.name, "its token service does not come to an end")
        return _read_token(body, self.name)


def _read_token(body: bytes, registry: str) -> str:
    try:
        found: Any = msgspec.json.decode(body)
        token = found.get("token") or found["access_token"]
    except (msgspec.DecodeError, AttributeError, KeyError):
        token = None
    if not isinstance(token, str) or not token.isascii() or not token.isprintable():
        raise _unreachable(registry, "its token service answers with no token")
    return token


def _scheme(registry: str) -> str:
    return "http" if is_loopback(_name(registry)) else "https"


def _api(registry: str) -> str:
    """Where it is asked."""
    return HUB_API if registry in _HUB_NAMES else registry


def _name(registry: str) -> str:
    """The host without its port."""
    return urlsplit(f"//{registry}").hostname or ""


def _may_hear(realm: str, registry: str) -> bool:
    """Whether a password may be sent there: encrypted, or within this machine when the registry is here too."""
    parts = urlsplit(realm)
    if parts.scheme == "https":
        return bool(parts.hostname)
    return parts.scheme == "http" and is_loopback(parts.hostname or "") and is_loopback(_name(registry))


def _refused(login: Login) -> InvalidInput:
    return InvalidInput(
        f"{login.registry} does not accept the username and password",
        code="credential_refused",
        next_step="correct them: stoker credential update NAME --username USER --password-stdin",
    )


def _elsewhere(login: Login, place: Place) -> InvalidInput:
    return InvalidInput(
        f"the credential is for {login.registry}, and the image is at {place.registry}",
        code="credential_elsewhere",
        field="credential",
        next_step="choose a credential for that registry, or none",
    )


def _not_found(image: str, place: Place, status: int) -> InvalidInput | Unavailable:
    if status in (401, 403):
        return InvalidInput(
            f"{place.registry} denies access to {image}, or there is no such image",
            code="image_denied",
            field="image",
            next_step="name a registry credential that may read it, and look whether the name is right",
        )
    if status == 404:
        return InvalidInput(
            f"{place.registry} has no {place.repository} with the tag or digest {place.reference}",
            code="image_not_found",
            field="image",
            next_step="look whether its name and tag are right",
        )
    if status == 429:
        return Unavailable(
            f"{place.registry} refuses to be asked more often for now",
            code="image_rate_limited",
            next_step="wait, or use a registry credential with a higher limit",
        )
    return _unreachable(place.registry, f"it answers {status}")


def _unreachable(registry: str, why: str) -> Unavailable:
    return Unavailable(
        f"{registry} cannot be asked: {why}",
        code="registry_unreachable",
        next_step="check the registry's name, and whether this server can reach it",
    )


__all__ = ["HttpRegistries"]
