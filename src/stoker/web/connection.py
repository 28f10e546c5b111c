"""uvicorn's HTTP protocol with a short way for the raw routes, and a shorter one for requests that were seen before.

- A request without a body that is the same, byte for byte, as the last one here is not even read (a worker takes, a client polls), and
  one that came in one piece under a head that this server has parsed before (`heads.py`) is not parsed.
- Any other for a raw route is parsed by uvicorn's parser and answered from here: no scope, no ASGI messages, no framework.
- Everything else takes uvicorn's way to the application, untouched.

As soon as a request's head is complete it is one or the other, or refused because it is too large. What they share is uvicorn's: keep-alive, the order of pipelined
answers, flow control, the lists that a graceful stop waits for.

It leans on insides of uvicorn, so that package is pinned to one minor version, and `tests/web/test_uvicorn.py` fails when
an upgrade changes one of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, ClassVar, Final

import httptools
from starlette.types import Scope
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from stoker import ids
from stoker.errors import HeadTooLarge, InvalidInput, StokerError
from stoker.web.call import Answer, Handler
from stoker.web.errand import Errand
from stoker.web.exchange import Exchange, split
from stoker.web.heads import Heads, by_name, check_head, check_head_size
from stoker.web.hot import HotRoutes, Openings, Wish
from stoker.web.requests import AccessLog

JOINED_BYTES_MAX: Final = 64 * 1024
"""Content up to this size is written in one piece with its head; joining a larger one would copy it."""
REPEATED_BYTES: Final = 1_024
"""The longest request that is compared with what comes after it."""
LINGER_S: Final = 2.0
"""How long a connection that was refused is kept for its client to read why: closed at once, what the client still sends would destroy
the answer on its way."""
ABORT: Final = "stoker.abort"
"""The extension of the scope by which an application drops the connection."""


class Connection(HttpToolsProtocol):
    """One client's connection. `connections_to` makes the class for a server."""

    hot: ClassVar[HotRoutes]
    heads: ClassVar[Heads]
    openings: ClassVar[Openings]
    access: ClassVar[AccessLog | None]
    """Where raw routes are logged; None: they are not."""
    logged: ClassVar[Mapping[Handler, str]]
    """The raw routes that are, by who answers."""
    _running: Exchange | None = None
    _last: bytes = b""
    """The last request without a body that was understood, and what it said."""
    _last_wish: Wish
    _last_headers: Mapping[str, str]
    _mid_request = False
    """Whether the parser has a part of a request, or of what is none."""
    _mid_head = False
    """Whether that part is not even a whole head."""
    _got_on = False
    """Whether what came last began something, or ended it, or was a piece of a body."""
    _pending_bytes = 0
    """What came and did none of it: it is inside a head, or between the chunks of a body."""
    _unknown: bytes | None = None
    """What came while nothing was under way, until the parser has said what its head means."""
    _refused = False
    """Whether nothing that comes is of any interest."""
    _quiet_since_s = 0.0
    _watch: asyncio.TimerHandle | None = None

    # ── bytes come ────────────────────────────────────────────────────────────────────────────────────────────────────

    def data_received(self, data: bytes) -> None:
        """Most often one whole request, while nothing is under way."""
        cycle: Any = self.cycle
        if not self._mid_request and (cycle is None or cycle.response_complete) and not self.flow.write_paused:
            exchange = self._read(data)
            if exchange is not None:
                self.cycle = exchange  # type: ignore[assignment]  # looks like one: see `exchange`
                self._start(exchange)
                return
            self._unknown = data
        self._parse(data)
        self._unknown = None

    def _read(self, data: bytes) -> Exchange | None:
        """What came, if it is known as a whole or by its head."""
        if data == self._last:
            return Exchange(self._last_wish, self._last_headers, b"")
        known = self.heads.find(data)
        if known is None:
            return None
        line, headers, body = known
        wish = self.hot.read(line)
        if wish is None:
            return None
        if not body and len(data) <= REPEATED_BYTES:
            self._last, self._last_wish, self._last_headers = data, wish, headers
        return Exchange(wish, headers, body)

    def _parse(self, data: bytes) -> None:
        if self._refused:
            return
        self._got_on = False
        try:
            self.parser.feed_data(data)
            self._pending_bytes = self._pending_bytes + len(data) if self._mid_request and not self._got_on else 0
            check_head_size(self._pending_bytes)
        except httptools.HttpParserUpgrade:
            pass  # nobody here speaks another protocol: it has been asked and answered as HTTP
        except httptools.HttpParserError as error:
            cause = error.__context__
            self._refuse(cause if isinstance(cause, StokerError) else _not_http())
        except HeadTooLarge as error:
            self._refuse(error)

    def _refuse(self, error: StokerError) -> None:
        """Close the connection; with an answer, if it can only be taken for the answer to what is refused."""
        self._refused = self._mid_request = True
        cycle: Any = self.cycle
        under_way = cycle is not None and not cycle.response_complete
        if under_way and (self._mid_head or self.pipeline or getattr(cycle, "response_started", False)):
            self.transport.close()
            return
        refusal = self.hot.refuse(error)
        self.transport.write(self._head(refusal, ids.request_id(None), closes=True) + refusal.content)
        if under_way:
            cycle.disconnected = True
            cycle.message_event.set()
            self._hang_up()
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.loop.call_later(LINGER_S, self.transport.close)

    # ── the parser says ───────────────────────────────────────────────────────────────────────────────────────────────

    def on_message_begin(self) -> None:
        """A request begins. uvicorn would make its scope here; most requests never need one."""
        self._mid_request = self._mid_head = self._got_on = True
        self.url = b""
        self.headers = []
        self.expect_100_continue = False

    def on_headers_complete(self) -> None:
        """Decide the way."""
        check_head(self.url, self.headers)
        self._mid_head, self._got_on = False, True
        exchange = self._exchange()
        if exchange is None:
            self._take_the_long_way()
            return
        before: Any = self.cycle
        self.cycle = exchange  # type: ignore[assignment]  # as above
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
        wish = self.hot.find(parser.get_method().decode("ascii"), *target)
        if wish is None:
            return None
        keep_alive = parser.get_http_version() != "1.0" and parser.should_keep_alive()
        if self._unknown is not None and keep_alive:
            self.heads.keep(self._unknown, self.headers)
            self._unknown = None
        exchange = Exchange(wish, by_name(self.headers), None)
        exchange.came_in_part(
            self.flow, self.transport.write, keep_alive=keep_alive, waits_for_continue=self.expect_100_continue
        )
        return exchange

    def _take_the_long_way(self) -> None:
        url, headers, expects = self.url, self.headers, self.expect_100_continue
        super().on_message_begin()
        self.url, self.expect_100_continue = url, expects
        self.scope["extensions"] = {ABORT: {"call": self.transport.abort}}
        self.headers.extend(headers)  # the scope has this very list
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """A piece of a body. Of a request that has been answered it is dropped."""
        self._got_on = True
        cycle: object = self.cycle
        if not isinstance(cycle, Exchange):
            super().on_body(body)
        elif not cycle.response_complete:
            cycle.feed(body)

    def on_message_complete(self) -> None:
        """A request has ended."""
        self._mid_request, self._got_on = False, True
        cycle: object = self.cycle
        if isinstance(cycle, Exchange):
            cycle.finish()
        else:
            super().on_message_complete()

    # ── the connection says ───────────────────────────────────────────────────────────────────────────────────────────

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client. One that asks for nothing is not waited for longer than one that has been answered."""
        super().connection_made(transport)  # type: ignore[arg-type]  # a transport of a socket
        self._quiet_since_s = self.loop.time()
        self._watch = self.loop.call_later(self.timeout_keep_alive, self._look)

    def connection_lost(self, exc: Exception | None) -> None:
        """The client is gone, and so is who waits for it."""
        super().connection_lost(exc)
        if self._watch is not None:
            self._watch.cancel()
        self._hang_up()

    def _hang_up(self) -> None:
        running, self._running = self._running, None
        if running is not None:
            running.hang_up()

    # ── answering ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def _start_asgi_task(self, cycle: Any, app: Any) -> None:
        """uvicorn starts what was pipelined by this name, within the answer before it: a thousand of them must not be within each other."""
        if isinstance(cycle, Exchange):
            self.loop.call_soon(self._start_next, cycle)
        else:
            super()._start_asgi_task(cycle, app)

    def _start_next(self, exchange: Exchange) -> None:
        if not exchange.disconnected:
            self._start(exchange)

    def _start(self, exchange: Exchange) -> None:
        """Ask the handler. What it cannot answer at once is an errand that a graceful stop waits for."""
        self._running = exchange
        handler = exchange.handler
        if handler in self.logged:
            exchange.began_s, exchange.plain = self.loop.time(), False
        try:
            reply = handler(exchange)
        except Exception as error:
            self._answered(exchange, None, error)
            return
        if isinstance(reply, Answer):
            self._answered(exchange, reply, None)
            return
        errand = Errand(reply, self._answered, exchange, self.loop)
        errand.begin()
        if not errand.done:
            exchange.errand = errand
            self.tasks.add(errand)  # type: ignore[arg-type]  # looks like a task

    def _answered(self, exchange: Exchange, answer: Answer | None, error: BaseException | None) -> None:
        """The handler is done. To a plain request all is said that there is to say at once."""
        if exchange.errand is not None:
            self.tasks.discard(exchange.errand)
        if answer is None or not exchange.plain or not exchange.keep_alive or self.flow.write_paused:
            self._answer_with_care(exchange, answer, error)
            return
        content = answer.content
        if len(content) > JOINED_BYTES_MAX or self.transport.is_closing():
            self._send(exchange, answer)
            return
        opening = self.openings.find(answer, self.server_state.default_headers)
        self.transport.write(opening % (b"%016x" % ids.draw_64(), len(content)) + content)
        exchange.response_complete = True
        self._running = None
        self._rest()

    def _answer_with_care(self, exchange: Exchange, answer: Answer | None, error: BaseException | None) -> None:
        """The same for any other."""
        exchange.release()
        if error is not None:
            if not isinstance(error, Exception):
                self.transport.close()  # the server has waited for this request long enough, and stops
                return
            answer = self.hot.on_error(exchange, error)
        assert answer is not None
        if self.flow.write_paused and not exchange.disconnected:
            task = self.loop.create_task(self._send_later(exchange, answer))
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)
        else:
            self._send(exchange, answer)

    async def _send_later(self, exchange: Exchange, answer: Answer) -> None:
        """Once the client has read what it asked for before."""
        await self.flow.drain()
        self._send(exchange, answer)

    def _send(self, exchange: Exchange, answer: Answer) -> None:
        self._running = None
        route = self.logged.get(exchange.handler)
        if route is not None and self.access is not None:
            self.access.exchanged(exchange, answer, route=route, took_s=self.loop.time() - exchange.began_s)
        if exchange.disconnected or self.transport.is_closing():
            return
        if answer.closes or (exchange.waits_for_continue and not exchange.received):
            exchange.keep_alive = False  # a body that was not asked for may come or not: nobody can tell what follows
        head, content = self._head(answer, exchange.request_id, closes=not exchange.keep_alive), answer.content
        if len(content) <= JOINED_BYTES_MAX:
            self.transport.write(head + content)
        else:
            self.transport.writelines((head, content))
        exchange.response_complete = True
        if not exchange.keep_alive:
            self.transport.close()
        self._rest()

    def _head(self, answer: Answer, name: str, *, closes: bool) -> bytes:
        head = self.openings.find(answer, self.server_state.default_headers) % (name.encode(), len(answer.content))
        return head[:-2] + b"connection: close\r\n\r\n" if closes else head

    # ── keep-alive ────────────────────────────────────────────────────────────────────────────────────────────────────

    def on_response_complete(self) -> None:
        """uvicorn has sent an answer."""
        self._rest()

    def _rest(self) -> None:
        """Nothing is under way, or what was pipelined is next. As uvicorn does it, but with one timer that looks now and then instead of
        one for each answer."""
        if self.pipeline or self.flow.read_paused:
            super().on_response_complete()
            self._unset_keepalive_if_required()
        self._quiet_since_s = self.loop.time()
        if self._watch is None and not self.transport.is_closing():
            self._watch = self.loop.call_later(self.timeout_keep_alive, self._look)

    def _look(self) -> None:
        """Close a connection on which nothing was asked for too long."""
        self._watch = None
        cycle: Any = self.cycle
        if self.transport.is_closing() or not (cycle is None or cycle.response_complete):
            return  # the next answer sets the next timer
        left_s = self._quiet_since_s + self.timeout_keep_alive - self.loop.time()
        if left_s > 0:
            self._watch = self.loop.call_later(left_s, self._look)
        else:
            self.transport.close()


def _not_http() -> StokerError:
    return InvalidInput("this is no request of HTTP/1.1", code="invalid_http", next_step="see what your client sends")


def connections_to(hot_routes: HotRoutes, access_log: AccessLog | None = None) -> type[Connection]:
    """The protocol for uvicorn that knows these routes, and logs them if it shall."""

    class Bound(Connection):
        hot = hot_routes
        heads = Heads()
        openings = Openings()
        access = access_log
        logged = (
            {}
            if access_log is None
            else {who: path for who, path in hot_routes.paths.items() if access_log.wants(path)}
        )

    return Bound


def abort(scope: Scope) -> None:
    """Drop the connection that a request came from, with what was written and not read; nothing where there is none."""
    call = scope.get("extensions", {}).get(ABORT, {}).get("call")
    if call is not None:
        call()


__all__ = ["Connection", "abort", "connections_to"]
