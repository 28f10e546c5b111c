"""Live events: the ledger of a team as a stream of server-sent events, or page by page as JSON.

An event is a line of the ledger, its id the position after it. Who comes back with the last id that it saw goes on after it. A client
that does not read is cut off and may do just that: nothing waits for it in memory but what its connection holds.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal

import msgspec
from fastapi import APIRouter, Depends, Header, Query
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from stoker.catalog import Catalog
from stoker.catalog.remembered import Remembered
from stoker.clock import Clock
from stoker.errors import InvalidInput, StokerError
from stoker.follow import Follower, Ledger
from stoker.ids import EndpointId, JobId, WorkerId
from stoker.store.ledger import LedgerLine, Position
from stoker.team import ApiKey
from stoker.team import Scope as KeyScope
from stoker.web.asgi import AsgiCall, JsonRoute, to_response
from stoker.web.auth import Asks, endpoint_for, require
from stoker.web.call import answer
from stoker.web.connection import abort

HEARTBEAT_S: Final = 15.0
"""Proxies close what is silent for a minute."""
STALL_S: Final = 30.0
"""How long a client may leave its events unread, beyond what the connection holds by itself."""
STREAM: Final = "text/event-stream"
_HEADERS: Final = {
    "content-type": STREAM,
    "cache-control": "no-store",
    "x-accel-buffering": "no",  # nginx would gather what should go out at once
}

_LATEST_MS: Final = 2**53
_Moment = Annotated[int | None, Query(ge=0, le=_LATEST_MS, description="In milliseconds since the epoch.")]
About = Literal["endpoint", "job", "worker"]
JsonObject = dict[str, Any]


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """An event as clients see it. Times are milliseconds since the Unix epoch."""

    id: str
    at_ms: int
    about: About
    kind: str
    endpoint: dict[str, str]
    job: str | None
    worker: str | None
    state: str
    reason: str
    attempt: int | None
    wanted: int | None
    text: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Wish:
    """Which events a client asks for; what is empty does not choose."""

    endpoints: frozenset[EndpointId] = frozenset()
    job: JobId | None = None
    worker: WorkerId | None = None
    about: frozenset[str] = frozenset()
    kinds: frozenset[str] = frozenset()
    since_ms: int = 0
    until_ms: int = _LATEST_MS

    def __call__(self, line: LedgerLine) -> bool:
        """Whether the line is one of them."""
        return (
            (not self.endpoints or line.endpoint in self.endpoints)
            and (self.job is None or line.job == self.job)
            and (self.worker is None or line.worker == self.worker)
            and (not self.about or about(line) in self.about)
            and (not self.kinds or line.kind in self.kinds)
            and self.since_ms <= line.at_ms < self.until_ms
        )


def about(line: LedgerLine) -> About:
    """What the line tells of."""
    if line.job is not None:
        return "job"
    return "endpoint" if line.worker is None else "worker"


class EventRoutes:
    """The route, over the ledger."""

    def __init__(self, ledger: Ledger, catalog: Catalog, clock: Clock) -> None:
        self._ledger = ledger
        self._catalog = catalog
        self._names: Remembered[EndpointId, str] = Remembered(clock, self._read_name)

    def router(self) -> APIRouter:
        """`/api/events`."""
        router = APIRouter(prefix="/api", tags=["events"], route_class=JsonRoute)
        read = Depends(Asks(self._catalog, KeyScope.READ))
        described: dict[int | str, dict[str, Any]] = {200: {"content": {STREAM: {"schema": {"type": "string"}}}}}

        @router.get("/events", response_model=None, responses=described)
        async def events(
            request: Request,
            endpoint: Annotated[list[str] | None, Query(max_length=100)] = None,
            job: Annotated[str | None, Query(max_length=100)] = None,
            worker: Annotated[str | None, Query(max_length=100)] = None,
            about: Annotated[list[About] | None, Query()] = None,
            kind: Annotated[list[str] | None, Query(max_length=100)] = None,
            after: Annotated[str | None, Query(max_length=60)] = None,
            since_ms: _Moment = None,
            until_ms: _Moment = None,
            wait_s: Annotated[float, Query(ge=0, le=60)] = 0,
            last_event_id: Annotated[str | None, Header(max_length=60)] = None,
            key: ApiKey = read,
        ) -> Response:
            """What happens to endpoints, workers and jobs, after the event `after` (`0`: all that is kept; left out: from now on).

            With `since_ms` what happened from then on, with `until_ms` as well what happened before that; of a long ledger no more is read.
            Asked for `text/event-stream`, a live stream; else a page of JSON, which waits up to `wait_s` for the first event.
            """
            wish = Wish(
                endpoints=frozenset([(await endpoint_for(self._catalog, key, word)).id for word in endpoint or ()]),
                job=None if job is None else JobId(job),
                worker=None if worker is None else WorkerId(worker),
                about=frozenset(about or ()),
                kinds=frozenset(kind or ()),
                since_ms=since_ms or 0,
                until_ms=_LATEST_MS if until_ms is None else until_ms,
            )
            begin, resumed = await self._begin(last_event_id or after)
            end: Position | None = None
            if since_ms is not None or until_ms is not None:
                first, end = await self._ledger.around(wish.since_ms, wish.until_ms)
                begin = max(begin, first) if resumed or since_ms is None else first
            if STREAM in request.headers.get("accept", ""):
                return EventStream(self._frames(request, key, wish, begin, resumed))
            return await self._page(key, wish, begin, end, wait_s)

        return router

    async def _begin(self, word: str | None) -> tuple[Position, bool]:
        """Where to begin, and whether that is where the client asked to. Raises `InvalidInput`."""
        end = await self._ledger.end()
        if word is None:
            return end, False
        try:
            position = Position.parse(word)
        except ValueError:
            raise InvalidInput(
                f"'{word}' is no id of an event",
                code="invalid_event_id",
                field="after",
                next_step="send the id of the last event you saw, 0 for all that is kept, or nothing for what comes",
            ) from None
        return (position, True) if position <= end else (end, False)

    async def _page(self, key: ApiKey, wish: Wish, begin: Position, end: Position | None, wait_s: float) -> Response:
        with self._ledger.follow(key.team, begin, lambda line: key.reaches(line.endpoint) and wish(line)) as follower:
            lines = await follower.next(wait_s)
            events = [await self._event(line) for line in lines]
            more = follower.more and (end is None or follower.position < end)
            return to_response(answer({"events": events, "next": str(follower.position), "more": more}))

    async def _frames(
        self, request: Request, key: ApiKey, wish: Wish, begin: Position, resumed: bool
    ) -> AsyncGenerator[bytes]:
        """The stream, in pieces; it ends when the key opens nothing any more, and when the server stops."""
        reached = key

        def wanted(line: LedgerLine) -> bool:
            return reached.reaches(line.endpoint) and wish(line)

        with self._ledger.follow(key.team, begin, wanted) as follower:
            opened = msgspec.json.encode({"id": str(begin), "resumed": resumed}).decode()
            yield f"retry: 1000\nid: {begin}\nevent: open\ndata: {opened}\n\n".encode()
            said = begin
            while not self._ledger.closed:
                try:
                    lines = await follower.next(HEARTBEAT_S)
                    reached = await require(self._catalog, AsgiCall(request), KeyScope.READ)
                except StokerError:  # the client comes back with the last id, and hears why
                    return
                events = [await self._event(line) for line in lines if wanted(line)]
                yield b"".join(map(_frame, events)) if events else _heartbeat(follower, said)
                said = follower.position

    async def _read_name(self, endpoint: EndpointId) -> str:
        return await self._catalog.name_of(endpoint)

    async def _event(self, line: LedgerLine) -> Event:
        return Event(
            id=str(line.position),
            at_ms=line.at_ms,
            about=about(line),
            kind=line.kind,
            endpoint={"id": line.endpoint, "name": await self._names.get(line.endpoint) or ""},
            job=line.job,
            worker=line.worker,
            state=line.state,
            reason=line.reason,
            attempt=line.attempt,
            wanted=line.wanted,
            text=line.text,
        )


def _frame(event: Event) -> bytes:
    return b"id: %b\nevent: %b\ndata: %b\n\n" % (event.id.encode(), event.about.encode(), msgspec.json.encode(event))


def _heartbeat(follower: Follower, said: Position) -> bytes:
    """A comment; with the place where the stream stands, if lines went by that were not wanted."""
    return b": heartbeat\n" + (b"" if follower.position == said else f"id: {follower.position}\n".encode()) + b"\n"


class EventStream(Response):
    """Frames as they come, for as long as the client reads them."""

    def __init__(self, frames: AsyncGenerator[bytes], *, stall_s: float = STALL_S) -> None:
        super().__init__(headers=_HEADERS)
        del self.headers["content-length"]
        self._frames = frames
        self._stall_s = stall_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Write until one side has had enough."""
        writing = asyncio.create_task(self._write(send))
        leaving = asyncio.create_task(_until_gone(receive))
        try:
            await asyncio.wait((writing, leaving), return_when=asyncio.FIRST_COMPLETED)
            if writing.done() and isinstance(writing.exception(), TimeoutError):
                abort(scope)  # closing it would wait for the client once more
                await leaving
            elif writing.done():
                writing.result()
        finally:
            writing.cancel()
            leaving.cancel()

    async def _write(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        async with aclosing(self._frames) as frames:
            async for frame in frames:
                async with asyncio.timeout(self._stall_s):
                    await send({"type": "http.response.body", "body": frame, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


__all__ = ["EventRoutes"]
