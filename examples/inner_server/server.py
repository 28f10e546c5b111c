"""The program that does the work: an HTTP server on this container's loopback, as image generators often are.

`POST /invert` takes the bytes of an image and answers with all of them inverted; `GET /` says that it is up; `POST /crash` ends it.
"""

import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PORT = 8188


class Painter(BaseHTTPRequestHandler):
    """One request."""

    def do_GET(self) -> None:
        self._answer(b"up")

    def do_POST(self) -> None:
        if self.path == "/crash":
            os._exit(1)
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self._answer(bytes(255 - byte for byte in body))

    def _answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_words: object) -> None:
        """Requests are the handler's to tell."""


ThreadingHTTPServer(("127.0.0.1", PORT), Painter).serve_forever()
