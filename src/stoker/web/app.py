"""The whole HTTP surface as one ASGI application, and the one table from errors to answers.

Every error body is `{"error": text, "code": stable_code, "field": …, "next_step": …}`. What Stoker did not raise on purpose
is "internal" to the outside: the log has the traceback, the client never does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import structlog
from fastapi import APIRouter, FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from stoker import __version__
from stoker.errors import (
    Conflict,
    DiskFull,
    Exhausted,
    Forbidden,
    HeadTooLarge,
    InvalidInput,
    NotFound,
    Refused,
    Stalled,
    StokerError,
    TargetTooLong,
    TooLarge,
    TooMany,
    Unauthenticated,
    Unavailable,
)
from stoker.health import Check, status
from stoker.web.api_docs import add_docs
from stoker.web.asgi import request_name, to_response
from stoker.web.call import Answer, Call, Headers, answer
from stoker.web.hot import HotRoutes
from stoker.web.shapes import describe
from stoker.web.uploads import Uploads

log = structlog.get_logger()

STATUS: Final[dict[type[StokerError], int]] = {
    InvalidInput: 400,
    Unauthenticated: 401,
    Exhausted: 402,
    Forbidden: 403,
    NotFound: 404,
    Conflict: 409,
    TooLarge: 413,
    TooMany: 429,
    Stalled: 408,
    TargetTooLong: 414,
    HeadTooLarge: 431,
    Refused: 400,
    DiskFull: 507,
    Unavailable: 503,
    StokerError: 500,
}
"""The first class that an error is an instance of decides."""

_HEADERS: Final[dict[int, Headers]] = {
    401: (("www-authenticate", "Bearer"),),
    503: (("retry-after", "1"),),
    507: (("retry-after", "30"),),
}
"""What goes with a refusal of this status; seconds."""

FOR_BROWSERS: Final = (
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
    ("referrer-policy", "no-referrer"),
)
"""On every answer: nothing is taken for a script that is none, shown in a frame of others, or told to others by its address."""
OVER_TLS: Final = (("strict-transport-security", "max-age=31536000"),)
"""Beside them where the server itself speaks TLS: a browser that was here comes back over TLS alone, for a year."""


def build_hot(routers: Sequence[APIRouter]) -> HotRoutes:
    """The raw routes of `routers`, for connections to answer before the application is asked."""
    return HotRoutes(routers, on_error=answer_error, refuse=_refusal)


def build_app(
    routers: Sequence[APIRouter], *, ready: Callable[[], Sequence[Check]], uploads: Uploads | None = None
) -> FastAPI:
    """The application. `ready` is asked by `/readyz`; `uploads` is the room for bodies of the management API."""
    app = FastAPI(
        title="Stoker",
        version=__version__,
        description="Async serverless GPU endpoints on machines you own.",
        openapi_url="/api/openapi.json",
        docs_url=None,
        redoc_url=None,
    )
    app.state.uploads = uploads
    for router in routers:
        app.include_router(router)
    add_docs(app)
    _add_shapes(app)

    @app.get("/healthz", tags=["server"])
    async def healthz() -> Response:
        """200 for as long as the process answers at all, whatever becomes of its database: what restarts it may ask this."""
        return to_response(answer({"status": "alive"}))

    @app.get("/readyz", tags=["server"])
    async def readyz() -> Response:
        """200 when the server can accept jobs, 503 while it starts or stops, has no database, no room, or a wrong clock; with the
        checks in words."""
        checks = ready()
        shown = {check.name: {"ok": check.ok, "text": check.text, "needed": check.needed} for check in checks}
        said = status(checks)
        return to_response(answer({"status": said, "checks": shown}, status=503 if said == "not ready" else 200))

    app.add_exception_handler(StokerError, _on_error)
    app.add_exception_handler(RequestValidationError, _on_invalid_request)
    app.add_exception_handler(HTTPException, _on_http_error)
    app.add_exception_handler(ClientDisconnect, _on_error)
    app.add_exception_handler(Exception, _on_error)
    app.add_middleware(SingleSlashes)
    app.add_middleware(JsonBodies)
    return app


def _add_shapes(app: FastAPI) -> None:
    """The description says what answers look like."""
    described = app.openapi

    def openapi() -> dict[str, Any]:
        return app.openapi_schema if app.openapi_schema is not None else describe(described())

    app.openapi = openapi  # type: ignore[method-assign]  # as FastAPI's own documentation does it


class SingleSlashes:
    """`/v2//endpoint/run` is `/v2/endpoint/run`: clients glue paths to base URLs that end with a slash."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Collapse, then go on."""
        if scope["type"] == "http" and "//" in scope["path"]:
            path = scope["path"]
            while "//" in path:
                path = path.replace("//", "/")
            scope.update(path=path, raw_path=path.encode("utf-8"))
        await self._app(scope, receive, send)


class JsonBodies:
    """Every body is JSON here, whatever its Content-Type says: `curl -d` says it is a form."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Rewrite the header, then go on."""
        if scope["type"] == "http":
            headers = [header for header in scope["headers"] if header[0] != b"content-type"]
            scope["headers"] = [*headers, (b"content-type", b"application/json")]
        await self._app(scope, receive, send)


def error_body(error: StokerError) -> dict[str, str | None]:
    """An error as clients see it."""
    return {"error": error.message, "code": error.code, "field": error.field, "next_step": error.next_step}


def answer_error(call: Call, error: Exception) -> Answer:
    """The answer to whatever the handler of a raw route raised."""
    return _answer_to(error, method=call.method, path=call.path, request=call.request_id)


def _answer_to(error: Exception, *, method: str, path: str, request: str) -> Answer:
    if not isinstance(error, StokerError) or _status_of(error) == 500:
        if isinstance(error, ClientDisconnect):
            return Answer(400)  # nobody is left to read this
        log.error("request_failed", request=request, method=method, path=path, exc_info=error)
        body = {"error": "internal error", "code": "internal", "field": None}
        body |= {"next_step": f"the server's log says more about request {request}"}
        return answer(body, status=500)
    return _refusal(error)


def _refusal(error: StokerError) -> Answer:
    status = _status_of(error)
    if isinstance(error, TooMany):
        return answer(error_body(error), status=status, headers=(("retry-after", str(error.retry_after_s)),))
    return answer(error_body(error), status=status, headers=_HEADERS.get(status, ()))


def _status_of(error: Exception) -> int:
    return next((status for kind, status in STATUS.items() if isinstance(error, kind)), 500)


async def _on_error(request: Request, error: Exception) -> Response:
    named = request_name(request)
    return to_response(_answer_to(error, method=request.method, path=request.url.path, request=named))


async def _on_invalid_request(_request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    where = [str(part) for part in first["loc"] if part not in ("body", "query", "path")]
    field = ".".join(where) or "body"
    unknown = first["type"] == "extra_forbidden"
    message = f"there is no field '{field}'" if unknown else f"{field}: {first['msg']}"
    refused = InvalidInput(message, field=field, next_step="see /api/docs for what is accepted")
    return to_response(answer(error_body(refused), status=400))


async def _on_http_error(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    codes = {404: "no_such_route", 405: "method_not_allowed"}
    body = {"error": error.detail, "code": codes.get(error.status_code, "http_error"), "field": None, "next_step": None}
    if error.status_code in codes:
        body["next_step"] = "see /api/docs for all routes"
    headers = tuple((error.headers or {}).items())
    return to_response(answer(body, status=error.status_code, headers=headers))
