"""Registries of images over HTTP: whether one lets a login in, as the registry protocol asks it.

`GET /v2/` is refused with the way to come in: Basic, or Bearer with the address of a token service, which is asked with the login
and whose token is then tried. Nothing that a registry says is quoted: it may say anything. Over plain HTTP only this machine itself
is asked, as container engines do it.
"""

from __future__ import annotations

import asyncio
import importlib
import ipaddress
import re
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import msgspec

from stoker.errors import InvalidInput, Unavailable
from stoker.registry import DOCKER_HUB, HUB_API, Login

if TYPE_CHECKING:
    import httpx

PATIENCE_S: Final = 10.0
"""For each of up to three requests."""
TOKEN_BYTES_MAX: Final = 256 * 1024
"""Of a token service's answer; tokens have some kilobytes."""
_PARAMETER: Final = re.compile(r'(\w+)\s*=\s*"([^"]*)"')
_HUB_NAMES: Final = frozenset({DOCKER_HUB, "index.docker.io", HUB_API})


class HttpRegistries:
    """`catalog.credentials.Registries`."""

    async def check(self, login: Login) -> None:
        """Ask. Raises `InvalidInput` (`credential_refused`), `Unavailable` (`registry_unreachable`)."""
        await asyncio.to_thread(importlib.import_module, "httpx")  # it reads from the disk
        import httpx  # 5 MiB of memory that a server needs only here

        client = await asyncio.to_thread(httpx.AsyncClient, timeout=PATIENCE_S)  # it reads certificates from the disk
        async with client:
            try:
                await _check(client, login)
            except (httpx.HTTPError, httpx.InvalidURL) as error:
                raise _unreachable(login, type(error).__name__) from None


async def _check(client: httpx.AsyncClient, login: Login) -> None:
    root = f"{_scheme(login.registry)}://{_host(login.registry)}/v2/"
    first = await client.get(root)
    if first.status_code == 200:
        return  # it lets everybody in
    if first.status_code != 401:
        raise _unreachable(login, f"it answers {first.status_code}")
    header = first.headers.get("www-authenticate", "")
    scheme = header.partition(" ")[0].lower()
    if scheme == "basic":
        answer = await client.get(root, auth=(login.username, login.password))
    elif scheme == "bearer":
        token = await _token(client, login, dict(_PARAMETER.findall(header)))
        answer = await client.get(root, headers={"Authorization": f"Bearer {token}"})
    else:
        raise _unreachable(login, "it asks for something that is neither Basic nor Bearer")
    if answer.status_code in (401, 403):
        raise _refused(login)
    if answer.status_code != 200:
        raise _unreachable(login, f"it answers {answer.status_code}")


async def _token(client: httpx.AsyncClient, login: Login, parameters: dict[str, str]) -> str:
    """What the registry's token service gives for the login. Raises as `check`."""
    realm = parameters.get("realm", "")
    if not _may_hear(realm, login.registry):
        raise _unreachable(login, "its token service is at no address that may hear a password")
    query = {"account": login.username} | {name: parameters[name] for name in ("service",) if name in parameters}
    async with client.stream("GET", realm, params=query, auth=(login.username, login.password)) as answer:
        if answer.status_code in (400, 401, 403):
            raise _refused(login)
        if answer.status_code != 200:
            raise _unreachable(login, f"its token service answers {answer.status_code}")
        body = b""
        async for chunk in answer.aiter_bytes():
            body += chunk
            if len(body) > TOKEN_BYTES_MAX:
                raise _unreachable(login, "its token service does not come to an end")
    return _read_token(body, login)


def _read_token(body: bytes, login: Login) -> str:
    try:
        found: Any = msgspec.json.decode(body)
        token = found.get("token") or found["access_token"]
    except (msgspec.DecodeError, AttributeError, KeyError):
        token = None
    if not isinstance(token, str) or not token.isascii() or not token.isprintable():
        raise _unreachable(login, "its token service answers with no token")
    return token


def _scheme(registry: str) -> str:
    return "http" if _is_here(_name(registry)) else "https"


def _host(registry: str) -> str:
    return HUB_API if registry in _HUB_NAMES else registry


def _name(registry: str) -> str:
    """The host without its port."""
    return urlsplit(f"//{registry}").hostname or ""


def _may_hear(realm: str, registry: str) -> bool:
    """Whether a password may be sent there: encrypted, or within this machine when the registry is here too."""
    parts = urlsplit(realm)
    if parts.scheme == "https":
        return bool(parts.hostname)
    return parts.scheme == "http" and _is_here(parts.hostname or "") and _is_here(_name(registry))


def _is_here(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _refused(login: Login) -> InvalidInput:
    return InvalidInput(
        f"{login.registry} does not accept the username and password",
        code="credential_refused",
        next_step="correct them: stoker credential update NAME --username USER --password-stdin",
    )


def _unreachable(login: Login, why: str) -> Unavailable:
    return Unavailable(
        f"{login.registry} cannot be asked: {why}",
        code="registry_unreachable",
        next_step="check the registry's name, and whether this server can reach it",
    )


__all__ = ["HttpRegistries"]
