"""What a raw handler gets and what it returns: a `Call` and an `Answer`, without a framework.

Two kinds of call exist and handlers cannot tell them apart: `exchange.Exchange` comes from the connection itself and costs
little; `asgi.AsgiCall` comes through FastAPI, for what only it knows (doubled slashes, tests in the process). No body is
read before a handler asks for it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final
from urllib.parse import unquote_plus

import msgspec

from stoker.job import Job
from stoker.store import Claim
from stoker.web.uploads import Body, Uploads

Headers = tuple[tuple[str, str], ...]

REQUEST_ID: Final = "x-request-id"
"""The header that names a request."""
JSON: Final[Headers] = (("content-type", "application/json"),)


class Call(ABC):
    """One request, as its handler sees it."""

    parameters: Mapping[str, str]
    """What the path says, by the names in the route."""
    query: Mapping[str, str]
    """The parameters of the query. The last of a name counts; one without a value is empty."""
    headers: Mapping[str, str]
    """By name, in lower case. The first of a name counts."""
    about: Job | Sequence[Claim] = ()
    """What it made or handed out, for the access log."""

    @property
    @abstractmethod
    def method(self) -> str:
        """In capitals."""

    @property
    @abstractmethod
    def path(self) -> str:
        """Decoded, without the query."""

    @property
    @abstractmethod
    def request_id(self) -> str:
        """What the request is called, in its answer and in the log."""

    @property
    @abstractmethod
    def length(self) -> int | None:
        """Bytes of the body, as they were announced or have come; None when nobody knows."""

    @abstractmethod
    async def body(self, uploads: Uploads, *, limit: int, what: str) -> Body:
        """The whole body. What is too large to be kept by the way is counted in `uploads` until `release`.

        Raises `TooLarge` as soon as it is known to exceed `limit` bytes, `Stalled` when it does not come, and
        `ClientDisconnect` when it never will.
        """

    @abstractmethod
    def release(self) -> None:
        """The body is used up: others may send theirs. Comes by itself with the answer."""

    @abstractmethod
    def on_hang_up(self, tell: Callable[[], None]) -> None:
        """Call `tell` if the client closes the connection before it is answered."""


class Answer(msgspec.Struct, frozen=True, gc=False):
    """What a handler returns. Content is sent as it is, under the length it has."""

    status: int
    content: bytes = b""
    headers: Headers = ()

    @property
    def closes(self) -> bool:
        """Whether the connection is of no use after it: the rest of a body may still be under way."""
        return self.status == 408


Reply = Answer | Coroutine[Any, Any, Answer]
"""At once, or when what it depends on is there."""
Handler = Callable[[Call], Reply]


def answer(content: object, *, status: int = 200, headers: Headers = ()) -> Answer:
    """A JSON answer."""
    return Answer(status, msgspec.json.encode(content), JSON + headers)


def query_of(query: str) -> Mapping[str, str]:
    """A query by name. It is the caller's to read only: who asks with the same one gets the same."""
    if not query:
        return _NONE
    return _seen(query) if len(query) <= SEEN_MOST else parse_query(query)


def parse_query(query: str) -> Mapping[str, str]:
    """A query by name, as `urllib.parse.parse_qsl` reads it, but decoding only what is encoded."""
    parts = (part.partition("=") for part in query.split("&") if part)
    return {_plain(name): _plain(value) for name, _, value in parts}


_NONE: Final[Mapping[str, str]] = {}
_seen: Final = lru_cache(maxsize=2_048)(parse_query)
SEEN_MOST: Final = 256
"""Characters of a query that is kept, for whoever asks with the same one all day: a worker that takes."""


def _plain(text: str) -> str:
    return unquote_plus(text) if "%" in text or "+" in text else text


async def awaited(reply: Reply) -> Answer:
    """The answer, when it is there."""
    return reply if isinstance(reply, Answer) else await reply


__all__ = [
    "JSON",
    "REQUEST_ID",
    "Answer",
    "Call",
    "Handler",
    "Headers",
    "Reply",
    "answer",
    "awaited",
    "parse_query",
    "query_of",
]
