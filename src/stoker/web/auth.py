"""Who is calling: a customer's API key, or a worker's token.

Runpod's clients send `Authorization: Bearer <key>`, its own curl examples the bare key: both are accepted.
"""

from __future__ import annotations

from starlette.requests import Request

from stoker.catalog import Catalog
from stoker.catalog.endpoints import no_endpoint
from stoker.endpoint import Endpoint
from stoker.errors import Unauthenticated
from stoker.team import ApiKey, Scope
from stoker.web.call import Call


def credential(authorization: str | None) -> str:
    """The secret in an Authorization header, with or without `Bearer`; empty if there is none."""
    header = (authorization or "").strip()
    scheme, _, rest = header.partition(" ")
    return rest.strip() if scheme.lower() == "bearer" else header


async def require(catalog: Catalog, authorization: str | None, scope: Scope) -> ApiKey:
    """The caller's key, from the Authorization header. Raises `Unauthenticated`, or `Forbidden` when it lacks the scope."""
    secret = credential(authorization)
    if not secret:
        raise Unauthenticated(
            "the API key is missing", code="api_key_missing", next_step="send it: Authorization: Bearer sk_…"
        )
    key = await catalog.authenticate(secret)
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
        key = await require(self._catalog, request.headers.get("authorization"), self.scope)
        if self.whole_team:
            key.require_whole_team()
        return key


async def endpoint_for(catalog: Catalog, key: ApiKey, word: str) -> Endpoint:
    """The endpoint that the word means to the key. What the key does not reach does not exist. Raises `NotFound`."""
    endpoint = await catalog.find(key.team, word)
    if not key.reaches(endpoint.id):
        raise no_endpoint(word)
    return endpoint


async def endpoint_of(catalog: Catalog, call: Call, scope: Scope) -> Endpoint:
    """The endpoint in the path, as the caller's team knows it. Raises as `require`, and `NotFound`."""
    key = await require(catalog, call.header("authorization"), scope)
    return await endpoint_for(catalog, key, call.parameters["endpoint"])
