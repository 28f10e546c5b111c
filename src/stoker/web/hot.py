"""The table of raw routes that connections look up before FastAPI sees a request, and what they share.

What is not found here (another method, a doubled or trailing slash, every other route) goes on to the application, which also
documents the raw routes and knows how to refuse. What must stay true: handlers and answers are the same on both ways.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from http import HTTPStatus

from fastapi import APIRouter

from stoker.errors import StokerError
from stoker.web.asgi import RawEndpoint
from stoker.web.call import Answer, Call, Handler, Headers

OnError = Callable[[Call, Exception], Answer]
Refuse = Callable[[StokerError], Answer]
Found = tuple[Handler, dict[str, str]]


class HotRoutes:
    """The raw routes of `routers`; `on_error` renders what their handlers raise, `refuse` what the connection itself refuses."""

    def __init__(self, routers: Iterable[APIRouter], *, on_error: OnError, refuse: Refuse) -> None:
        self.on_error = on_error
        self.refuse = refuse
        self._root = _Place()
        for route in (route for router in routers for route in router.routes):
            endpoint = getattr(route, "endpoint", None)
            if isinstance(endpoint, RawEndpoint):
                words: list[str] = getattr(route, "path", "").split("/")
                for method in getattr(route, "methods", ()):
                    self._root.add(words, method, endpoint.handler, ())

    def find(self, method: str, path: str) -> Found | None:
        """Who answers, and the parameters of the path by name. A word goes before a parameter; no parameter is empty."""
        place = self._root
        values = []
        for word in path.split("/"):
            following = place.words.get(word)
            if following is None:
                following = place.parameter
                if following is None or not word:
                    return None
                values.append(word)
            place = following
        found = place.handlers.get(method)
        return None if found is None else (found[0], dict(zip(found[1], values, strict=True)))


class _Place:
    """A place in the tree of paths: what may follow, by word or as a parameter, and who answers when nothing follows."""

    def __init__(self) -> None:
        self.words: dict[str, _Place] = {}
        self.parameter: _Place | None = None
        self.handlers: dict[str, tuple[Handler, tuple[str, ...]]] = {}

    def add(self, words: Sequence[str], method: str, handler: Handler, names: tuple[str, ...]) -> None:
        """Register what answers to `words` from here; `names` are those of the parameters before."""
        if not words:
            self.handlers[method] = (handler, names)
        elif words[0].startswith("{"):
            self.parameter = self.parameter or _Place()
            self.parameter.add(words[1:], method, handler, (*names, words[0][1:-1]))
        else:
            self.words.setdefault(words[0], _Place()).add(words[1:], method, handler, names)


@lru_cache(maxsize=64)
def head(status: int, headers: Headers) -> bytes:
    """The first lines of an answer. Handlers use few combinations, so that each is made once."""
    lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}", *(f"{name}: {value}" for name, value in headers)]
    return "".join(line + "\r\n" for line in lines).encode("latin-1")


__all__ = ["HotRoutes", "OnError", "Refuse", "head"]
