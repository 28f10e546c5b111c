"""The job API and the worker protocol without a framework: routes that handle raw bytes are answered before FastAPI sees them.

Routing, middlewares and exception stacks of a framework cost several times what such a handler does. What must stay true:
handlers and answers are the same on both ways. Whatever is not found here (another method, a doubled or trailing slash, every
other route) goes on to the application, which also documents these routes and knows how to refuse.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from stoker.web.wire import Handler, RawRoute

OnError = Callable[[Request, Exception], Awaitable[Response]]
Found = tuple[Handler, dict[str, str]]


class HotRoutes:
    """An application around `app` that answers the raw routes of `routers` itself; `on_error` renders what they raise."""

    def __init__(self, app: ASGIApp, routers: Iterable[APIRouter], *, on_error: OnError) -> None:
        self._app = app
        self._on_error = on_error
        self._root = _Place()
        for route in (route for router in routers for route in router.routes):
            if isinstance(route, RawRoute):
                for method in route.methods or ():
                    self._root.add(route.path.split("/"), method, route.get_route_handler(), ())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or go on."""
        found = self._root.find(scope["path"].split("/"), scope["method"]) if scope["type"] == "http" else None
        if found is None:
            await self._app(scope, receive, send)
            return
        handler, scope["path_params"] = found
        request = Request(scope, receive, send)
        try:
            response = await handler(request)
        except Exception as error:
            response = await self._on_error(request, error)
        await response(scope, receive, send)


class _Place:
    """A place in the tree of paths: what may follow, by word or as a parameter, and who answers when nothing follows."""

    def __init__(self) -> None:
        self._words: dict[str, _Place] = {}
        self._parameter: _Place | None = None
        self._handlers: dict[str, tuple[Handler, tuple[str, ...]]] = {}

    def add(self, words: Sequence[str], method: str, handler: Handler, names: tuple[str, ...]) -> None:
        """Register what answers to `words` from here; `names` are those of the parameters before."""
        if not words:
            self._handlers[method] = (handler, names)
        elif words[0].startswith("{"):
            self._parameter = self._parameter or _Place()
            self._parameter.add(words[1:], method, handler, (*names, words[0][1:-1]))
        else:
            self._words.setdefault(words[0], _Place()).add(words[1:], method, handler, names)

    def find(self, words: Sequence[str], method: str) -> Found | None:
        """Who answers, and the parameters by name. A word goes before a parameter; no parameter is empty."""
        place = self
        values = []
        for word in words:
            following = place._words.get(word)
            if following is None and word:
                following = place._parameter
                values.append(word)
            if following is None:
                return None
            place = following
        found = place._handlers.get(method)
        return None if found is None else (found[0], dict(zip(found[1], values, strict=True)))
