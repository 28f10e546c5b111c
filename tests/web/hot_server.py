"""Raw handlers of a test behind the real connection and the real application, in the test's own event loop."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

import uvicorn
from fastapi import APIRouter

from stoker.health import Check
from stoker.web.app import build_app, build_hot
from stoker.web.asgi import RawEndpoint, RawRoute
from stoker.web.call import Answer, Call, Handler, answer
from stoker.web.connection import connections_to
from stoker.web.jobs import read_submission
from stoker.web.requests import AccessLog, Requests
from stoker.web.uploads import Uploads

LIMIT: Final = 4 * 1024 * 1024
PATIENCE_S: Final = 30.0
"""Nothing here takes this long; a wait that does has failed."""

logging.getLogger("uvicorn").setLevel(logging.CRITICAL)


class _Quiet(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class Doors:
    """Handlers that show what a call brings, and one that waits for the test."""

    def __init__(self, uploads: Uploads) -> None:
        self.uploads = uploads
        self.entered = asyncio.Event()
        self.open = asyncio.Event()
        self.hung_up = asyncio.Event()
        self.seen: list[str] = []

    async def echo(self, call: Call) -> Answer:
        """Everything about the call but its body."""
        self.seen.append(call.path)
        return answer(
            {
                "method": call.method,
                "path": call.path,
                "word": call.parameters["word"],
                "query": call.query,
                "header": call.headers.get("x-test"),
            },
            headers=(("x-answer", "yes"),),
        )

    async def body(self, call: Call) -> Answer:
        """The body itself."""
        body = await call.body(self.uploads, limit=LIMIT, what="the body")
        self.seen.append(f"{len(body)} bytes")
        return Answer(200, bytes(body))

    async def submit(self, call: Call) -> Answer:
        """How long the input of a submission is."""
        wish = await read_submission(call, self.uploads, limit=LIMIT, sync=False, dialect="v2")
        return Answer(200, str(len(wish.input)).encode())

    async def wait(self, call: Call) -> Answer:
        """Nothing, once the door is open or the client gone."""
        call.on_hang_up(self._hang_up)
        self.entered.set()
        await self.open.wait()
        return Answer(204)

    def _hang_up(self) -> None:
        self.hung_up.set()
        self.open.set()

    async def large(self, call: Call) -> Answer:
        """As many bytes as the path says."""
        self.seen.append(call.path)
        return Answer(200, b"x" * int(call.parameters["word"]))

    async def defect(self, call: Call) -> Answer:
        """A mistake of ours."""
        raise RuntimeError("secret detail")

    def router(self) -> APIRouter:
        """The doors by name."""
        router = APIRouter(prefix="/raw", route_class=RawRoute, tags=["raw"])
        table: list[tuple[str, str, Handler]] = [
            ("GET", "/echo/{word}", self.echo),
            ("POST", "/body", self.body),
            ("POST", "/submit", self.submit),
            ("GET", "/wait", self.wait),
            ("GET", "/large/{word}", self.large),
            ("GET", "/defect", self.defect),
        ]
        for method, path, handler in table:
            router.add_api_route(path, RawEndpoint(handler), methods=[method], response_model=None)
        return router


@dataclass(frozen=True, kw_only=True)
class HotServer:
    """A running server and its doors."""

    doors: Doors
    port: int
    http: uvicorn.Server

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[Client]:
        """One connection."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            yield Client(reader, writer)
        finally:
            writer.transport.abort()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()


@dataclass(frozen=True)
class Client:
    """One end of a connection."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    def send(self, content: bytes) -> None:
        """Send bytes as they are."""
        self.writer.write(content)

    def ask(self, method: str, target: str, *headers: str, body: bytes = b"", version: str = "1.1") -> None:
        """Send a request. Its length is announced when there is a body."""
        lines = [f"{method} {target} HTTP/{version}", "Host: test", *headers]
        if body:
            lines.append(f"Content-Length: {len(body)}")
        self.send("".join(line + "\r\n" for line in lines).encode() + b"\r\n" + body)

    async def answer(self) -> tuple[int, dict[str, str], bytes]:
        """Status, headers in lower case and content of the next answer that has a length."""
        async with asyncio.timeout(PATIENCE_S):
            first, *lines = (await self.reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")[:-2]
            pairs = [line.split(": ", 1) for line in lines]
            headers = {name.lower(): value for name, value in pairs}
            assert len(headers) == len(pairs), "a header came twice"
            content = await self.reader.readexactly(int(headers.get("content-length", "0")))
        return int(first.split()[1]), headers, content

    async def rest(self) -> bytes:
        """Everything until the server closes the connection."""
        async with asyncio.timeout(PATIENCE_S):
            return await self.reader.read()


@asynccontextmanager
async def serving(
    *,
    bytes_max: int = 64 * 1024 * 1024,
    stall_s: float = PATIENCE_S,
    keep_alive_s: float = 75,
    access: AccessLog | None = None,
) -> AsyncIterator[HotServer]:
    """A server with this much room for bodies, and this much patience with quiet connections."""
    doors = Doors(Uploads(bytes_max, stall_s=stall_s))
    routers = [doors.router()]
    config = uvicorn.Config(
        Requests(build_app(routers, ready=_ready, uploads=doors.uploads), access),
        http=connections_to(build_hot(routers), access),
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=5,
        timeout_keep_alive=keep_alive_s,  # type: ignore[arg-type]  # whole seconds to uvicorn, which hands them on
    )
    http = _Quiet(config)
    listener = socket.create_server(("127.0.0.1", 0))
    task = asyncio.create_task(http.serve(sockets=[listener]))
    await until(lambda: http.started)
    try:
        yield HotServer(doors=doors, port=listener.getsockname()[1], http=http)
    finally:
        doors.open.set()
        http.should_exit = True
        await task


def _ready() -> list[Check]:
    return []


async def until(true: Callable[[], object]) -> None:
    """Wait until `true()` is true."""
    async with asyncio.timeout(PATIENCE_S):
        while not true():  # noqa: ASYNC110  # counters and lists of others: no event tells of them
            await asyncio.sleep(0.005)
