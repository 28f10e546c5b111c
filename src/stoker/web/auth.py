"""Who is calling: a customer's API key, or a worker's token.

Runpod's clients send `Authorization: Bearer <key>`, its own curl examples the bare key: both are accepted.
"""

from __future__ import annotations

from stoker.catalog import Catalog
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


async def endpoint_of(catalog: Catalog, call: Call, scope: Scope) -> Endpoint:
    """The endpoint in the path, as the caller's team knows it. Raises as `require`, and `NotFound`."""
    key = await require(catalog, call.header("authorization"), scope)
    return await catalog.find(key.team, call.parameters["endpoint"])
