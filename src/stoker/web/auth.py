"""Who is calling: a customer's API key, or a worker's token.

Runpod's clients send `Authorization: Bearer <key>`, its own curl examples the bare key: both are accepted.
"""

from __future__ import annotations

from starlette.requests import Request

from stoker.catalog import Catalog
from stoker.endpoint import Endpoint
from stoker.errors import Unauthenticated
from stoker.team import ApiKey, Scope


def credential(request: Request) -> str:
    """The secret in the Authorization header, with or without `Bearer`; empty if there is none."""
    header = request.headers.get("authorization", "").strip()
    scheme, _, rest = header.partition(" ")
    return rest.strip() if scheme.lower() == "bearer" else header


async def require(catalog: Catalog, request: Request, scope: Scope) -> ApiKey:
    """The caller's key. Raises `Unauthenticated`, or `Forbidden` when it lacks the scope."""
    secret = credential(request)
    if not secret:
        raise Unauthenticated(
            "the API key is missing", code="api_key_missing", next_step="send it: Authorization: Bearer sk_…"
        )
    key = await catalog.authenticate(secret)
    key.require(scope)
    return key


async def endpoint_of(catalog: Catalog, request: Request, scope: Scope) -> Endpoint:
    """The endpoint in the path, as the caller's team knows it. Raises as `require`, and `NotFound`."""
    key = await require(catalog, request, scope)
    return await catalog.find(key.team, request.path_params["endpoint"])
