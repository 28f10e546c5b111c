"""The table of raw routes that connections look up before FastAPI sees a request, and what they share.

What is not found here (another method, a doubled or trailing slash, every other route) goes on to the application, which also
documents the raw routes and knows how to refuse. What must stay true: handlers and answers are the same on both ways.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from http import HTTPStatus
from typing import Final

import msgspec
from fastapi import APIRouter

from stoker.errors import StokerError
from stoker.web.asgi import RawEndpoint
from stoker.web.call import Answer, Call, Handler, Headers
from stoker.web.heads import target_of

OnError = Callable[[Call, Exception], Answer]
Refuse = Callable[[StokerError], Answer]

WAYS_MOST: Final = 4_096
"""First lines, and beginnings of first lines, that are remembered at once. When there are more, all are forgotten."""
LINE_BYTES: Final = 256
"""The longest that is remembered as a whole."""
_PLAIN: Final = re.compile(rb"[!\"$&-~]+").fullmatch
"""What `target_of` finds nothing special about."""


class Wish(msgspec.Struct, frozen=True, gc=False):
    """What a first line asks for, and of whom."""

    method: str
    path: str
    query: str
    parameters: Mapping[str, str]
    """Of the path, by name."""
    handler: Handler


class HotRoutes:
    """The raw routes of `routers`; `on_error` renders what their handlers raise, `refuse` what the connection itself refuses."""

    def __init__(self, routers: Iterable[APIRouter], *, on_error: OnError, refuse: Refuse) -> None:
        self.on_error = on_error
        self.refuse = refuse
        self.paths: dict[Handler, str] = {}
        """The path of each handler's route."""
        self._root = _Place()
        self._ways: dict[bytes, _Way] = {}
        self._lines: dict[bytes, Wish] = {}
        for route in (route for router in routers for route in router.routes):
            endpoint = getattr(route, "endpoint", None)
            if isinstance(endpoint, RawEndpoint):
                path: str = getattr(route, "path", "")
                self.paths[endpoint.handler] = path
                words = path.split("/")
                for method in getattr(route, "methods", ()):
                    self._root.add(words, method, endpoint.handler, ())

    def find(self, method: str, path: str, query: str = "") -> Wish | None:
        """Who answers. A word goes before a parameter; no parameter is empty."""
        before, _, last = path.rpartition("/")
        way = self._walk(method, before)
        return None if way is None else way.end(last, query)

    def read(self, line: bytes) -> Wish | None:
        """What a first line without its version asks for, if there is nothing special about it.

        As `target_of` and `find` say, but a line that names no job is read once, and of others what comes before the last word of the
        path: most clients and workers change nothing else.
        """
        wish = self._lines.get(line)
        if wish is not None:
            return wish
        before, _, last = line.rpartition(b"/")
        way = self._ways.get(before)
        if way is None:
            return self._read_anew(line)
        if _PLAIN(last) is None:
            return None
        word, _, query = last.decode("ascii").partition("?")
        wish = way.end(word, query)
        if wish is not None and "job" not in wish.parameters and len(line) <= LINE_BYTES:
            if len(self._lines) >= WAYS_MOST:
                self._lines.clear()
            self._lines[line] = wish
        return wish

    def _read_anew(self, line: bytes) -> Wish | None:
        target = target_of(line)
        wish = None if target is None else self.find(*target)
        if wish is not None and "/" not in wish.query:
            if len(self._ways) >= WAYS_MOST:
                self._ways.clear()
            way = self._walk(wish.method, wish.path.rpartition("/")[0])
            if way is not None:
                self._ways[line.rpartition(b"/")[0]] = way
        return wish

    def _walk(self, method: str, before: str) -> _Way | None:
        place = self._root
        values = []
        for word in before.split("/"):
            following = place.words.get(word)
            if following is None:
                following = place.parameter
                if following is None or not word:
                    return None
                values.append(word)
            place = following
        return _Way(method, f"{before}/", place, tuple(values))


class _Way(msgspec.Struct, frozen=True):
    """The way through the tree to where the last word of a path decides."""

    method: str
    path: str
    """With the slash before the last word."""
    place: _Place
    values: tuple[str, ...]
    """Of the parameters on it."""

    def end(self, word: str, query: str) -> Wish | None:
        """Who answers, if the path ends with this word."""
        place, values = self.place.words.get(word), self.values
        if place is None:
            place = self.place.parameter
            if place is None or not word:
                return None
            values = (*values, word)
        found = place.handlers.get(self.method)
        if found is None:
            return None
        handler, names = found
        return Wish(self.method, self.path + word, query, dict(zip(names, values)), handler)  # noqa: B905  # as many names as values, by construction


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


__all__ = ["HotRoutes", "OnError", "Refuse", "Wish", "head"]
