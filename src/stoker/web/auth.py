"""Who is calling: a customer's API key, a person's session, or a worker's token.

Runpod's clients send `Authorization: Bearer <key>`, its own curl examples the bare key: both are accepted.

The console sends a cookie instead, which the browser adds by itself, whoever asked for the request. So a cookie counts only in
what the console itself has sent: never when the browser says that another site is behind it, and, wherever something could
change, only together with a header that no other site can make a browser send (`CONSOLE_HEADER`).
"""

from __future__ import annotations

from http.cookies import CookieError, SimpleCookie
from typing import Final
from urllib.parse import urlsplit

from starlette.requests import Request

from stoker.catalog import Catalog, Entrance, Way
from stoker.catalog.endpoints import no_endpoint
from stoker.endpoint import Endpoint
from stoker.errors import Forbidden, Unauthenticated
from stoker.team import ApiKey, Scope
from stoker.web.asgi import AsgiCall
from stoker.web.call import Call

COOKIE: Final = "stoker_session"
CONSOLE_HEADER: Final = "x-stoker-console"
"""Sent by the console with every request. Another site would have to ask first whether it may, and is told no."""


def credential(authorization: str | None) -> str:
    """The secret in an Authorization header, with or without `Bearer`; empty if there is none."""
    header = (authorization or "").strip()
    scheme, _, rest = header.partition(" ")
    return rest.strip() if scheme.lower() == "bearer" else header


def session_token(call: Call) -> str:
    """The secret of the session's cookie; empty if there is none."""
    return session_token_in(call.headers.get("cookie"))


def session_token_in(cookie: str | None) -> str:
    """The secret of the session in a Cookie header."""
    header = cookie or ""
    if COOKIE not in header:
        return ""
    try:
        found = SimpleCookie(header).get(COOKIE)
    except CookieError:
        return ""
    return "" if found is None else found.value


def check_same_origin(call: Call) -> None:
    """Raise `Forbidden` (`cross_site`) unless the console of this server is behind the call."""
    site = call.headers.get("sec-fetch-site")
    origin = call.headers.get("origin")
    ours = site in (None, "same-origin", "none") and (
        origin is None or urlsplit(origin).netloc == call.headers.get("host")
    )
    looks_only = call.method in ("GET", "HEAD") and call.path.startswith("/api/")
    if not ours or not (looks_only or call.headers.get(CONSOLE_HEADER)):
        raise Forbidden(
            "a session counts only in requests of this server's console",
            code="cross_site",
            next_step="use an API key: Authorization: Bearer sk_…",
        )


async def authenticate(catalog: Catalog, call: Call) -> ApiKey:
    """The caller's key, from the Authorization header or else from the session. Raises `Unauthenticated`, `Forbidden`."""
    secret = credential(call.headers.get("authorization"))
    if secret:
        return await catalog.authenticate(secret)
    token = session_token(call)
    if not token:
        raise Unauthenticated(
            "the API key is missing", code="api_key_missing", next_step="send it: Authorization: Bearer sk_…"
        )
    check_same_origin(call)
    return await catalog.sessions.authenticate(token)


async def require(catalog: Catalog, call: Call, scope: Scope) -> ApiKey:
    """The caller's key. Raises as `authenticate`, and `Forbidden` when it lacks the scope."""
    key = await authenticate(catalog, call)
    key.require(scope)
    return key


class Asks:
    """A dependency of FastAPI: the caller's key, if it carries the scope. The table of routes is read off it."""

    def __init__(self, catalog: Catalog, scope: Scope, *, whole_team: bool = False) -> None:
        self._catalog = catalog
        self.scope = scope
        self.whole_team = whole_team
        """Whether keys that are for some endpoints only are refused."""

    async def __call__(self, request: Request) -> ApiKey:
        """Raises as `require`, and `Forbidden` for a key that reaches too little."""
        key = await require(self._catalog, AsgiCall(request), self.scope)
        if self.whole_team:
            key.require_whole_team()
        request.state.key = key
        return key


async def endpoint_for(catalog: Catalog, key: ApiKey, word: str) -> Endpoint:
    """The endpoint that the word means to the key. What the key does not reach does not exist. Raises `NotFound`."""
    endpoint = await catalog.find(key.team, word)
    if not key.reaches(endpoint.id):
        raise no_endpoint(word)
    return endpoint


def known_entrance(catalog: Catalog, call: Call, scope: Scope) -> Entrance | None:
    """What `entrance` finds, if it led there a moment ago and that is believed."""
    return catalog.entrances.known(_way(call, scope))


async def entrance(catalog: Catalog, call: Call, scope: Scope) -> Entrance:
    """The caller's key, and the endpoint in the path as its team knows it. Raises as `require`, and `NotFound`."""
    known = known_entrance(catalog, call, scope)
    if known is not None:
        return known
    forgotten = catalog.entrances.forgotten
    key = await require(catalog, call, scope)
    found = Entrance(key, await endpoint_for(catalog, key, call.parameters["endpoint"]))
    secret = credential(call.headers.get("authorization"))
    if secret:  # what a session opens is looked at each time
        catalog.entrances.keep(_way(call, scope), secret, found, forgotten=forgotten)
    return found


def _way(call: Call, scope: Scope) -> Way:
    return call.headers.get("authorization"), scope, call.parameters["endpoint"]
