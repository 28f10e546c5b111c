"""A server that misbehaves as a real one does on its worst day: the only stand-in among these tests."""

from __future__ import annotations

import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self

Fault = Callable[["FaultyServer", BaseHTTPRequestHandler], None]


class FaultyServer:
    """Answers every request with one fault. Use it in a `with` block."""

    def __init__(self, fault: Fault) -> None:
        self.closing = threading.Event()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                fault(outer, self)

            do_POST = do_GET

            def log_message(self, format: str, *args: object) -> None:
                """Nothing: the test tells what happened."""

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.02})
        self.url = f"http://127.0.0.1:{self._http.server_port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.closing.set()
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()


def says(status: int, body: str, kind: str = "application/json") -> Fault:
    """An answer with this status and body."""

    def fault(_server: FaultyServer, request: BaseHTTPRequestHandler) -> None:
        request.send_response(status)
        request.send_header("Content-Type", kind)
        request.send_header("Content-Length", str(len(body.encode())))
        request.end_headers()
        request.wfile.write(body.encode())

    return fault


def silence(server: FaultyServer, _request: BaseHTTPRequestHandler) -> None:
    """No answer at all."""
    server.closing.wait()


def breaks_off(_server: FaultyServer, request: BaseHTTPRequestHandler) -> None:
    """Half an answer."""
    request.send_response(200)
    request.send_header("Content-Length", "1000")
    request.end_headers()
    request.wfile.write(b'{"at_ms":1,"text":"half"}\n{"endp')


def pauses(server: FaultyServer, request: BaseHTTPRequestHandler) -> None:
    """A log whose second line takes its time."""
    request.send_response(200)
    request.end_headers()
    request.wfile.write(b'{"at_ms":1,"text":"first"}\n')
    server.closing.wait(1.0)
    request.wfile.write(b'{"at_ms":2,"text":"last"}\n')
