"""The whole HTTP surface as one ASGI application, and the one table from errors to answers.

Every error body is `{"error": text, "code": stable_code, "field": …, "next_step": …}`. What Stoker did not raise on purpose
is "internal" to the outside: the log has the traceback, the client never does.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Final

import structlog
import swagger_ui_bundle
from fastapi import APIRouter, FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.docs import get_swagger_ui_html
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, HTMLResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from stoker import __version__
from stoker.errors import (
    Conflict,
    Forbidden,
    InvalidInput,
    NotFound,
    Refused,
    StokerError,
    TooLarge,
    Unauthenticated,
    Unavailable,
)
from stoker.web.hot import HotRoutes
from stoker.web.wire import answer

log = structlog.get_logger()

STATUS: Final[dict[type[StokerError], int]] = {
    InvalidInput: 400,
    Unauthenticated: 401,
    Forbidden: 403,
    NotFound: 404,
    Conflict: 409,
    TooLarge: 413,
    Refused: 400,
    Unavailable: 503,
    StokerError: 500,
}
"""The first class that an error is an instance of decides."""

RETRY_AFTER_S: Final = "1"

ASSETS: Final = {
    "swagger-ui-bundle.js": "text/javascript",
    "swagger-ui.css": "text/css",
    "favicon-32x32.png": "image/png",
}
"""What the page at `/api/docs` loads. Types are said here: looking them up reads the machine's own tables, in the loop."""


def build_app(routers: Sequence[APIRouter], *, ready: Callable[[], Awaitable[bool]]) -> ASGIApp:
    """The application. `ready` is asked by `/healthz`."""
    app = FastAPI(
        title="Stoker",
        version=__version__,
        description="Async serverless GPU endpoints on machines you own.",
        openapi_url="/api/openapi.json",
        docs_url=None,
        redoc_url=None,
    )
    for router in routers:
        app.include_router(router)
    _add_docs(app)

    @app.get("/healthz", tags=["server"])
    async def healthz() -> Response:
        """200 when the server can accept jobs, 503 while it starts or stops."""
        is_ready = await ready()
        return answer({"status": "ready" if is_ready else "not ready"}, status=200 if is_ready else 503)

    app.add_exception_handler(StokerError, _on_stoker_error)
    app.add_exception_handler(RequestValidationError, _on_invalid_request)
    app.add_exception_handler(HTTPException, _on_http_error)
    app.add_exception_handler(ClientDisconnect, _on_disconnect)
    app.add_exception_handler(Exception, _on_defect)
    app.add_middleware(SingleSlashes)
    app.add_middleware(JsonBodies)
    return HotRoutes(app, routers, on_error=answer_error)


def _add_docs(app: FastAPI) -> None:
    """A page to try the API, from files of an installed package: it works without a network."""

    @app.get("/api/docs/assets/{name}", include_in_schema=False)
    async def asset(name: str) -> Response:
        if name not in ASSETS:
            raise HTTPException(404)
        return FileResponse(Path(swagger_ui_bundle.swagger_ui_path) / name, media_type=ASSETS[name])

    @app.get("/api/docs", include_in_schema=False)
    async def docs() -> HTMLResponse:
        return get_swagger_ui_html(
            openapi_url="/api/openapi.json",
            title="Stoker API",
            swagger_js_url="/api/docs/assets/swagger-ui-bundle.js",
            swagger_css_url="/api/docs/assets/swagger-ui.css",
            swagger_favicon_url="/api/docs/assets/favicon-32x32.png",
        )


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
            scope = {**scope, "path": path, "raw_path": path.encode("utf-8")}
        await self._app(scope, receive, send)


class JsonBodies:
    """Every body is JSON here, whatever its Content-Type says: `curl -d` says it is a form."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Rewrite the header, then go on."""
        if scope["type"] == "http":
            headers = [header for header in scope["headers"] if header[0] != b"content-type"]
            scope = {**scope, "headers": [*headers, (b"content-type", b"application/json")]}
        await self._app(scope, receive, send)


def error_body(error: StokerError) -> dict[str, str | None]:
    """An error as clients see it."""
    return {"error": error.message, "code": error.code, "field": error.field, "next_step": error.next_step}


async def answer_error(request: Request, error: Exception) -> Response:
    """The answer to whatever a handler raised."""
    if isinstance(error, StokerError):
        return await _on_stoker_error(request, error)
    if isinstance(error, ClientDisconnect):
        return await _on_disconnect(request, error)
    return await _on_defect(request, error)


async def _on_stoker_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, StokerError)
    status = next(status for kind, status in STATUS.items() if isinstance(error, kind))
    if status == 500:
        return await _on_defect(request, error)
    headers = {"Retry-After": RETRY_AFTER_S} if status == 503 else {}
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return answer(error_body(error), status=status, headers=headers)


async def _on_invalid_request(_request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    where = [str(part) for part in first["loc"] if part not in ("body", "query", "path")]
    field = ".".join(where) or "body"
    unknown = first["type"] == "extra_forbidden"
    message = f"there is no field '{field}'" if unknown else f"{field}: {first['msg']}"
    refused = InvalidInput(message, field=field, next_step="see /api/docs for what is accepted")
    return answer(error_body(refused), status=400)


async def _on_http_error(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    codes = {404: "no_such_route", 405: "method_not_allowed"}
    body = {"error": error.detail, "code": codes.get(error.status_code, "http_error"), "field": None, "next_step": None}
    if error.status_code in codes:
        body["next_step"] = "see /api/docs for all routes"
    return answer(body, status=error.status_code, headers=dict(error.headers or {}))


async def _on_disconnect(_request: Request, _error: Exception) -> Response:
    """Nobody is left to read this."""
    return Response(status_code=400)


async def _on_defect(request: Request, error: Exception) -> Response:
    log.error("request_failed", method=request.method, path=request.url.path, exc_info=error)
    body = {"error": "internal error", "code": "internal", "field": None}
    return answer(body | {"next_step": "the server's log says more"}, status=500)
