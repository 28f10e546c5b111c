"""What a request is called, and its line of the access log.

Every answer names its request (`X-Request-Id`): as the client or a proxy called it, if that is a plain word, else anew. The log says the same
word, so what one request did is found across lines and servers.

Called around the application, and by `connection.py` for the raw routes, which it costs nothing while they are not logged. What is logged
is made of names: the route, not the path; ids of what the path names; who asked by the id of the key. Never a query, a header or a body.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Final

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from structlog.contextvars import bound_contextvars

from stoker import ids
from stoker.job import Job
from stoker.team import ApiKey
from stoker.web.auth import credential, session_token_in
from stoker.web.call import REQUEST_ID, Answer
from stoker.web.exchange import Exchange

log = structlog.get_logger()

KeyOf = Callable[[str, str], ApiKey | None]
"""Who a secret, or else a session's token, was last seen to be."""
IDS: Final = frozenset(("endpoint", "job", "worker"))
"""Parameters of paths that are logged."""
MANAGED: Final = "/api"
"""Routes below it are those of management."""
MOVES: Final = (
    "/run",
    "/runsync",
    "/{endpoint}/jobs",
    "/cancel",
    "/cancel/{job}",
    "/retry",
    "/retry/{job}",
    "/purge-queue",
)
"""How routes end that submit, cancel or retry jobs."""


class AccessLog:
    """A line for each request that was answered and is wanted: those of `management`, or `everything`, which is the job API, workers, health,
    metrics and the console too; where each step of a job has a line (`moves`), each request that brings one about has its own beside it."""

    def __init__(self, key_of: KeyOf, *, management: bool, everything: bool, moves: bool) -> None:
        self._key_of = key_of
        self._management = management
        self._everything = everything
        self._moves = moves

    def exchanged(self, exchange: Exchange, answer: Answer, *, route: str, took_s: float) -> None:
        """A raw route that is wanted was answered."""
        key = self._key(exchange.headers.get("authorization"), exchange.headers.get("cookie"))
        about = exchange.about
        jobs = [about.id] if isinstance(about, Job) else [claim.job.id for claim in about]
        self._say(
            exchange.method,
            route,
            answer.status,
            len(answer.content),
            took_s,
            key,
            {"request": exchange.request_id, **_named(exchange.parameters), **({"jobs": jobs} if jobs else {})},
        )

    def answered(self, scope: Scope, *, status: int, size: int, took_s: float) -> None:
        """The application answered; status 0 if it could not, because the client had left."""
        route: str = getattr(scope.get("route"), "path", "")
        if not self.wants(route):
            return
        headers = Headers(scope=scope)
        state = scope["state"]
        key = state.get("key") or self._key(headers.get("authorization"), headers.get("cookie"))
        named = {"request": state["request_id"], **_named(scope.get("path_params", {}))}
        self._say(scope["method"], route, status, size, took_s, key, named)

    def wants(self, route: str) -> bool:
        """Whether requests of this route are logged."""
        managed, moves = self._management and route.startswith(MANAGED), self._moves and route.endswith(MOVES)
        return self._everything or managed or moves

    def _key(self, authorization: str | None, cookie: str | None) -> ApiKey | None:
        return self._key_of(credential(authorization), session_token_in(cookie))

    def _say(
        self,
        method: str,
        route: str,
        status: int,
        size: int,
        took_s: float,
        key: ApiKey | None,
        named: Mapping[str, Any],
    ) -> None:
        who = {} if key is None else {"key": key.id, "team": key.team}
        ms = round(took_s * 1000, 3)
        log.info("request", method=method, route=route, status=status, ms=ms, bytes=size, **who, **named)


def _named(parameters: Mapping[str, object]) -> dict[str, str]:
    """Ids in a path. Whoever asks may have written anything there, so only what looks like one."""
    return {
        name: value
        for name, value in parameters.items()
        if name in IDS and isinstance(value, str) and ids.PLAIN_WORD.fullmatch(value)
    }


class Requests:
    """The application, with a name for each request: on its answer, and in whatever is logged meanwhile."""

    def __init__(self, app: ASGIApp, access: AccessLog | None = None) -> None:
        self._app = app
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Name it, then go on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        name = ids.request_id(Headers(scope=scope).get(REQUEST_ID))
        scope.setdefault("state", {})["request_id"] = name
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        status = size = 0

        async def send_named(message: Message) -> None:
            nonlocal status, size
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)[REQUEST_ID] = name
            else:
                size += len(message.get("body", b""))
            await send(message)

        with bound_contextvars(request=name):
            try:
                await self._app(scope, receive, send_named)
            finally:
                if self._access is not None:
                    self._access.answered(scope, status=status, size=size, took_s=loop.time() - began_s)


__all__ = ["AccessLog", "KeyOf", "Requests"]
