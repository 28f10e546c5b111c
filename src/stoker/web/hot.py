"""The table of raw routes that connections look up before FastAPI sees a request, and what they share.

What is not found here (another method, a doubled or trailing slash, every other route) goes on to the application, which also
documents the raw routes and knows how to refuse. What must stay true: handlers and answers are the same on both ways.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from http import HTTPStatus
from typing import Final, TypeVar

import msgspec
from fastapi import APIRouter

from stoker.errors import StokerError
from stoker.web.asgi import RawEndpoint
from stoker.web.call import Answer, Call, Handler, Headers, query_of
from stoker.web.heads import target_of

Name = TypeVar("Name")
Kept = TypeVar("Kept")
Always = Sequence[tuple[bytes, bytes]]
"""Headers as uvicorn keeps them."""
OnError = Callable[[Call, Exception], Answer]
Refuse = Callable[[StokerError], Answer]

WAYS_MOST: Final = 4_096
"""First lines, and beginnings of first lines, that are remembered at once. When there are more, all are forgotten."""
LINE_BYTES: Final = 256
"""The longest that is remembered."""
_PLAIN: Final = re.compile(rb"[!\"$&->@-~][!\"$&-~]{0,1023}").fullmatch
"""A last word, and its query, that `target_of` finds nothing special about."""
NO_CONTENT: Final = 204
OPENINGS_MOST: Final = 64
"""Handlers use few combinations of status and headers. When there are more, all are forgotten."""


class Wish(msgspec.Struct, frozen=True, gc=False):
    """What a first line asks for, and of whom."""

    method: str
    path: str
    query: Mapping[str, str]
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
        place, values = self._root, []
        for word in path.split("/"):
            following = place.words.get(word)
            if following is None:
                following = place.parameter
                if following is None or not word:
                    return None
                values.append(word)
            place = following
        found = place.handlers.get(method)
        if found is None:
            return None
        handler, names = found
        return Wish(method, path, query_of(query), dict(zip(names, values, strict=True)), handler)

    def read(self, line: bytes) -> Wish | None:
        """What a first line without its version asks for, if there is nothing special about it.

        As `target_of` and `find` say, but where the last word of the path is a parameter only that word is read each time, and
        other lines are read once: most clients and workers change nothing else.
        """
        wish = self._lines.get(line)
        if wish is not None:
            return wish
        before, _, last = line.rpartition(b"/")
        way = self._ways.get(before)
        if way is None or _PLAIN(last) is None:
            return self._read_anew(line)
        word, _, query = last.decode("ascii").partition("?")
        return way.end(word, query)

    def _read_anew(self, line: bytes) -> Wish | None:
        target = target_of(line)
        wish = None if target is None else self.find(*target)
        if wish is None:
            return None
        before = line.rpartition(b"/")[0]
        if len(before) <= LINE_BYTES and b"?" not in before and self._ends_with_parameter(wish):
            _keep(self._ways, before, _Way.of(wish))
        elif len(line) <= LINE_BYTES:
            _keep(self._lines, line, wish)
        return wish

    def _ends_with_parameter(self, wish: Wish) -> bool:
        """Whether whatever else is the last word leads to the same handler."""
        place = self._root
        for word in wish.path.split("/")[:-1]:
            place = place.words.get(word) or place.parameter or place
        return not place.words


def _keep(kept: dict[Name, Kept], name: Name, one: Kept, *, most: int = WAYS_MOST) -> None:
    if len(kept) >= most:
        kept.clear()
    kept[name] = one


class _Way(msgspec.Struct, frozen=True):
    """What lines ask for that differ in their last word only, which is a parameter."""

    method: str
    path: str
    """With the slash before the last word."""
    parameters: Mapping[str, str]
    """Those before the last word."""
    last: str
    """What the last word is called."""
    handler: Handler

    @classmethod
    def of(cls, wish: Wish) -> _Way:
        """The way that this one went."""
        *names, last = wish.parameters
        before = {name: wish.parameters[name] for name in names}
        return cls(wish.method, wish.path.rpartition("/")[0] + "/", before, last, wish.handler)

    def end(self, word: str, query: str) -> Wish:
        """What is asked for with this last word."""
        parameters = {**self.parameters, self.last: word}
        return Wish(self.method, self.path + word, query_of(query), parameters, self.handler)


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


class Openings:
    """How answers begin: their heads, but for what the request is called and the length of the content. Those of a second are the same."""

    def __init__(self) -> None:
        self._always: Always = ()
        self._kept: dict[tuple[int, Headers], bytes] = {}

    def find(self, answer: Answer, always: Always) -> bytes:
        """The head to be formatted with the name and the length. `always` is what uvicorn adds to each answer: another list each second."""
        if always is not self._always:
            self._always = always
            self._kept.clear()
        kind = answer.status, answer.headers
        opening = self._kept.get(kind)
        if opening is None:
            opening = _opening(answer, always)
            _keep(self._kept, kind, opening, most=OPENINGS_MOST)
        return opening


def _opening(answer: Answer, always: Always) -> bytes:
    lines = [f"HTTP/1.1 {answer.status} {HTTPStatus(answer.status).phrase}"]
    lines += [f"{name}: {value}" for name, value in answer.headers]
    lines += [f"{name.decode('latin-1')}: {value.decode('latin-1')}" for name, value in always]
    plain = "".join(line + "\r\n" for line in lines).encode("latin-1").replace(b"%", b"%%")
    length = (
        b"%.0a" if answer.status == NO_CONTENT else b"content-length: %d\r\n"
    )  # the first takes the length and shows nothing
    return plain + b"x-request-id: %b\r\n" + length + b"\r\n"


__all__ = ["HotRoutes", "OnError", "Openings", "Refuse", "Wish"]
