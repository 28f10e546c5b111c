"""uvicorn's HTTP protocol with a short way for the raw routes.

A request for a raw route is answered from here: no scope, no ASGI messages, no framework. Everything else takes uvicorn's way
to the application, untouched: as soon as a request's head is complete it is one or the other. What both share is uvicorn's:
parsing, keep-alive and its timeout, the order of pipelined answers, flow control, the lists that a graceful stop waits for.

It leans on insides of uvicorn, so that package is pinned to one minor version, and `tests/web/test_uvicorn.py` fails when
an upgrade changes one of them.
"""

from __future__ import annotations

from typing import Any, ClassVar, Final

from starlette.types import Scope
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from stoker.web.call import Answer
from stoker.web.exchange import Exchange, split
from stoker.web.hot import HotRoutes, head

JOINED_BYTES_MAX: Final = 64 * 1024
"""Content up to this size is written in one piece with its head; joining a larger one would copy it."""
NO_CONTENT: Final = 204
ABORT: Final = "stoker.abort"
"""The extension of the scope by which an application drops the connection."""


class Connection(HttpToolsProtocol):
    """One client's connection. `connections_to` makes the class for a server."""

    hot: ClassVar[HotRoutes]
    dated: ClassVar[tuple[object, bytes]] = (None, b"")
    """uvicorn's list of headers that each answer gets, which it replaces once a second, and the same as lines."""

    _running: Exchange | None = None

    # ── the parser says ───────────────────────────────────────────────────────────────────────────────────────────────

    def on_message_begin(self) -> None:
        """A request begins. uvicorn would make its scope here; most requests never need one."""
        self.url = b""
        self.headers = []
        self.expect_100_continue = False

    def on_headers_complete(self) -> None:
        """Decide the way."""
        exchange = self._exchange()
        if exchange is None:
            self._take_the_long_way()
            return
        before: Any = self.cycle
        self.cycle = exchange  # type: ignore[assignment]  # looks like one: see `exchange`
        if before is None or before.response_complete:
            self._start(exchange)
        else:
            self.flow.pause_reading()
            self.pipeline.appendleft((exchange, self.app))  # type: ignore[arg-type]  # as above

    def _exchange(self) -> Exchange | None:
        parser = self.parser
        target = split(self.url)
        if target is None or parser.should_upgrade():
            return None
        path, query = target
        method = parser.get_method().decode("ascii")
        found = self.hot.find(method, path)
        if found is None:
            return None
        return Exchange(
            method,
            path,
            query,
            found[1],
            handler=found[0],
            headers=self.headers,
            keep_alive=parser.get_http_version() != "1.0" and parser.should_keep_alive(),
            waits_for_continue=self.expect_100_continue,
            flow=self.flow,
            write=self.transport.write,
        )

    def _take_the_long_way(self) -> None:
        url, headers, expects = self.url, self.headers, self.expect_100_continue
        super().on_message_begin()
        self.url, self.expect_100_continue = url, expects
        self.scope["extensions"] = {ABORT: {"call": self.transport.abort}}
        self.headers.extend(headers)  # the scope has this very list
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """A piece of a body. Of a request that has been answered it is dropped."""
        cycle: object = self.cycle
        if not isinstance(cycle, Exchange):
            super().on_body(body)
        elif not cycle.response_complete:
            cycle.feed(body)

    def on_message_complete(self) -> None:
        """A request has ended."""
        cycle: object = self.cycle
        if isinstance(cycle, Exchange):
            cycle.finish()
        else:
            super().on_message_complete()

    # ── the connection says ───────────────────────────────────────────────────────────────────────────────────────────

    def connection_lost(self, exc: Exception | None) -> None:
        """The client is gone, and so is who waits for it."""
        super().connection_lost(exc)
        running, self._running = self._running, None
        if running is not None:
            running.hang_up()

    # ── answering ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def _start_asgi_task(self, cycle: Any, app: Any) -> None:
        """uvicorn starts what was pipelined by this name."""
        if isinstance(cycle, Exchange):
            self._start(cycle)
        else:
            super()._start_asgi_task(cycle, app)

    def _start(self, exchange: Exchange) -> None:
        self._running = exchange
        exchange.task = task = self.loop.create_task(self._serve(exchange))
        self.tasks.add(task)

    async def _serve(self, exchange: Exchange) -> None:
        try:
            answer = await self._ask(exchange)
        except BaseException:
            self.transport.close()  # the server has waited for this request long enough, and stops
            raise
        finally:
            exchange.release()
            self.tasks.discard(exchange.task)  # a callback of the task would cost a turn of the loop
        if self.flow.write_paused and not exchange.disconnected:
            await self.flow.drain()
        self._running = None
        if not self.transport.is_closing():
            self._send(exchange, answer)

    async def _ask(self, exchange: Exchange) -> Answer:
        try:
            return await exchange.handler(exchange)
        except Exception as error:
            return self.hot.on_error(exchange, error)

    def _send(self, exchange: Exchange, answer: Answer) -> None:
        if answer.closes or (exchange.waits_for_continue and not exchange.received):
            exchange.keep_alive = False  # a body that was not asked for may come or not: nobody can tell what follows
        content = answer.content
        lines = head(answer.status, answer.headers) + self._dated()
        if answer.status != NO_CONTENT:
            lines += b"content-length: %d\r\n" % len(content)
        lines += b"\r\n" if exchange.keep_alive else b"connection: close\r\n\r\n"
        if len(content) <= JOINED_BYTES_MAX:
            self.transport.write(lines + content)
        else:
            self.transport.writelines((lines, content))
        exchange.response_complete = True
        if not exchange.keep_alive:
            self.transport.close()
        self.on_response_complete()

    def _dated(self) -> bytes:
        headers = self.server_state.default_headers
        if self.dated[0] is not headers:
            lines = b"".join(b"%b: %b\r\n" % header for header in headers)
            type(self).dated = (headers, lines)
        return self.dated[1]


def connections_to(hot_routes: HotRoutes) -> type[Connection]:
    """The protocol for uvicorn that knows these routes."""

    class Bound(Connection):
        hot = hot_routes

    return Bound


def abort(scope: Scope) -> None:
    """Drop the connection that a request came from, with what was written and not read; nothing where there is none."""
    call = scope.get("extensions", {}).get(ABORT, {}).get("call")
    if call is not None:
        call()


__all__ = ["Connection", "abort", "connections_to"]
