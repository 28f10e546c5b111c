"""Signing in to the console: an API key is exchanged for a cookie that scripts cannot read."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, SecretStr
from starlette.requests import Request
from starlette.responses import Response

from stoker.catalog import Catalog
from stoker.web.asgi import AsgiCall, JsonRoute, to_response
from stoker.web.auth import COOKIE, check_same_origin, session_token
from stoker.web.call import answer

JsonObject = dict[str, Any]


class SignInBody(BaseModel):
    """By which key."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    key: SecretStr


class SessionRoutes:
    """Routes that everybody may ask. `secure`: browsers send the cookie over HTTPS alone."""

    def __init__(self, catalog: Catalog, *, secure: bool) -> None:
        self._catalog = catalog
        self._secure = secure

    def router(self) -> APIRouter:
        """Both of them."""
        router = APIRouter(prefix="/api", tags=["session"], route_class=JsonRoute)

        @router.post("/session")
        async def sign_in(body: SignInBody, request: Request) -> Response:
            """Sign in to the console: the answer sets a cookie, which is worth what the key is worth until it ends."""
            check_same_origin(AsgiCall(request))
            key, session, token = await self._catalog.sessions.sign_in(body.key.get_secret_value().strip())
            life_s = (session.expires_ms - session.created_ms) // 1000
            said = {"key": key.id, "expires_ms": session.expires_ms}
            return to_response(answer(said, headers=(("set-cookie", self._cookie(request, token, life_s)),)))

        @router.delete("/session")
        async def sign_out(request: Request) -> Response:
            """Sign out: the session of the cookie ends, if there is one, and the cookie goes."""
            call = AsgiCall(request)
            check_same_origin(call)
            if token := session_token(call):
                await self._catalog.sessions.sign_out(token)
            return to_response(answer({}, headers=(("set-cookie", self._cookie(request, "", 0)),)))

        return router

    def _cookie(self, request: Request, token: str, life_s: int) -> str:
        secure = self._secure or request.headers.get("x-forwarded-proto") == "https"
        words = [f"{COOKIE}={token}", "Path=/", f"Max-Age={life_s}", "HttpOnly", "SameSite=Strict"]
        return "; ".join([*words, "Secure"] if secure else words)


__all__ = ["SessionRoutes"]
