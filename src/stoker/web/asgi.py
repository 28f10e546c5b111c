"""Raw handlers behind FastAPI, and the bodies of what FastAPI parses.

FastAPI documents the raw routes, finds them when a path is written oddly, and serves them to tests in the process. It never
parses their bodies.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Final

import msgspec
from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message

from stoker import ids
from stoker.web.call import REQUEST_ID, Answer, Call, Handler, awaited, query_of
from stoker.web.uploads import SMALL_BYTES, Body, Uploads, check_size, stalled
from stoker.web.wire import decode

AsgiHandler = Callable[[Request], Coroutine[Any, Any, Response]]

SETTINGS_BYTES_MAX: Final = 1024 * 1024
"""Largest body of the management API, apart from jobs: far more than an environment that a process can be started with."""
_ANY_DECODER: Final = msgspec.json.Decoder()


class AsgiCall(Call):
    """A call that came through FastAPI. Whoever makes one closes it."""

    def __init__(self, request: Request) -> None:
        self.parameters = request.path_params
        self.query = query_of(request.scope["query_string"].decode("latin-1"))
        self.headers = request.headers
        self._request = request
        self._uploads: Uploads | None = None
        self._held = 0
        self._watch: asyncio.Task[None] | None = None

    @property
    def method(self) -> str:
        """In capitals."""
        return self._request.method

    @property
    def path(self) -> str:
        """Decoded, without the query."""
        return self._request.url.path

    @property
    def request_id(self) -> str:
        """As `Requests` named it."""
        return request_name(self._request)

    @property
    def length(self) -> int | None:
        """Bytes of the body, as they were announced."""
        declared = self.headers.get("content-length", "")
        return int(declared) if declared.isdigit() else None

    async def body(self, uploads: Uploads, *, limit: int, what: str) -> bytes:
        """The whole body."""
        most = limit if self.length is None else self.length
        check_size(what, most, limit)
        if most > SMALL_BYTES:
            self._uploads, self._held = uploads, await uploads.reserve(most)
        return await self._read(uploads.stall_s, limit, what)

    async def _read(self, stall_s: float, limit: int, what: str) -> bytes:
        chunks: list[bytes] = []
        size = 0
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(stall_s) as patience:
                async for chunk in self._request.stream():
                    patience.reschedule(loop.time() + stall_s)
                    size += len(chunk)
                    check_size(what, size, limit)
                    chunks.append(chunk)
        except TimeoutError:
            raise stalled(size, stall_s) from None
        return b"".join(chunks)

    def release(self) -> None:
        """The body is used up."""
        if self._held and self._uploads is not None:
            self._uploads.release(self._held)
            self._held = 0

    def on_hang_up(self, tell: Callable[[], None]) -> None:
        """Call `tell` if the client closes the connection."""
        self._watch = asyncio.create_task(self._wait_for_hang_up(tell))

    async def _wait_for_hang_up(self, tell: Callable[[], None]) -> None:
        while (await self._request.receive())["type"] != "http.disconnect":
            pass
        tell()

    def close(self) -> None:
        """It has been answered."""
        self.release()
        if self._watch is not None:
            self._watch.cancel()


class RawEndpoint:
    """A raw handler as an endpoint of FastAPI, under the handler's name and docstring."""

    def __init__(self, handler: Handler) -> None:
        self.handler = handler
        self.__name__ = getattr(handler, "__name__", "raw")
        self.__doc__ = handler.__doc__

    async def __call__(self, request: Request) -> Response:
        """Ask the handler."""
        call = AsgiCall(request)
        try:
            return to_response(await awaited(self.handler(call)))
        finally:
            call.close()


def request_name(request: Request) -> str:
    """What the request is called. `Requests` has named it, where it is around the application."""
    named: str | None = getattr(request.state, "request_id", None)
    return named or ids.request_id(request.headers.get(REQUEST_ID))


def to_response(answer: Answer) -> Response:
    """The same answer, for ASGI."""
    headers = dict(answer.headers) | ({"connection": "close"} if answer.closes else {})
    return Response(answer.content, status_code=answer.status, headers=headers)


class RawRoute(APIRoute):
    """A route to a `RawEndpoint`: documented by FastAPI, not parsed by it."""

    def get_route_handler(self) -> AsgiHandler:
        """The endpoint itself."""
        endpoint: AsgiHandler = self.endpoint
        return endpoint


class JsonRoute(APIRoute):
    """A route whose body FastAPI parses, once it is known to be bounded and JSON. Its description says which scope it asks for."""

    def __init__(self, path: str, endpoint: Callable[..., Any], **more: Any) -> None:
        super().__init__(path, endpoint, **more)
        for dependency in self.dependant.dependencies:
            scope = getattr(dependency.call, "scope", None)
            if scope is not None:
                self.openapi_extra = {**(self.openapi_extra or {}), "x-scope": str(scope)}

    def get_route_handler(self) -> AsgiHandler:
        """FastAPI's handler, with the body read before."""
        handle = super().get_route_handler()
        if self.body_field is None:
            return handle

        async def with_body(request: Request) -> Response:
            call = AsgiCall(request)
            try:
                body = await call.body(request.app.state.uploads, limit=SETTINGS_BYTES_MAX, what="the body")
                if body:
                    decode(body, _ANY_DECODER)
                return await handle(_replay(request, body))
            finally:
                call.close()

        return with_body


def _replay(request: Request, body: Body) -> Request:
    """The request, with its body to be read once more."""

    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    return Request(request.scope, receive)


__all__ = ["AsgiCall", "JsonRoute", "RawEndpoint", "RawRoute", "request_name", "to_response"]
