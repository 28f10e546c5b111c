"""The table of raw routes that connections look up before FastAPI sees a request, and what they share.

What is not found here (another method, a doubled or trailing slash, every other route) goes on to the application, which also
documents the raw routes and knows how to refuse. What must stay true: handlers and answers are the same on both ways.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from http import HTTPStatus

from fastapi import APIRouter

from stoker.web.asgi import RawEndpoint
from stoker.web.call import Answer, Call, Handler, Headers

OnError = Callable[[Call, Exception], Answer]
Found = tuple[Handler, dict[str, str]]


class HotRoutes:
    """The raw routes of `routers`; `on_error` renders what their handlers raise."""

    def __init__(self, routers: Iterable[APIRouter], *, on_error: OnError) -> None:
        self.on_error = on_error
        self._root = _Place()
        for route in (route for router in routers for route in router.routes):
            endpoint = getattr(route, "endpoint", None)
            if isinstance(endpoint, RawEndpoint):
                words: list[str] = getattr(route, "path", "").split("/")
                for method in getattr(route, "methods", ()):
                    self._root.add(words, method, endpoint.handler, ())

    def find(self, method: str, path: str) -> Found | None:
        """Who answers, and the parameters of the path by name."""
        return self._root.find(path.split("/"), method)


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
        """A word goes before a parameter; no parameter is empty."""
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


@lru_cache(maxsize=64)
def head(status: int, headers: Headers) -> bytes:
    """The first lines of an answer. Handlers use few combinations, so that each is made once."""
    lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}", *(f"{name}: {value}" for name, value in headers)]
    return "".join(line + "\r\n" for line in lines).encode("latin-1")


__all__ = ["HotRoutes", "OnError", "head"]
