"""HTTP byte by byte, for what no client library would send."""

from __future__ import annotations

import http.client
import json
import socket
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

from tests.live import KEY, PATIENCE_S

CREDENTIAL = f"Authorization: Bearer {KEY}\r\n".encode()

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class Wire:
    """One connection to the server at `url`."""

    def __init__(self, url: str) -> None:
        to = urlsplit(url)
        assert to.hostname is not None
        self._socket = socket.create_connection((to.hostname, to.port or 80), timeout=PATIENCE_S)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()

    def head(self, method: bytes, target: bytes, *headers: bytes) -> None:
        """Send the head of a request, with our team's key and these header lines."""
        lines = b"".join(header + b"\r\n" for header in headers)
        self.send(method + b" " + target + b" HTTP/1.1\r\nHost: test\r\n" + CREDENTIAL + lines + b"\r\n")

    def send(self, content: bytes) -> None:
        """Send bytes as they are."""
        self._socket.sendall(content)

    def chunk(self, content: bytes) -> None:
        """Send one chunk of a chunked body; an empty one ends it."""
        self.send(b"%x\r\n%b\r\n" % (len(content), content))

    def asked(self) -> bool:
        """Whether the server asks for the body, which a request with `Expect: 100-continue` holds back."""
        return self._socket.recv(len(CONTINUE), socket.MSG_WAITALL) == CONTINUE

    def pour(self, piece: bytes, times: int) -> int:
        """Send chunks until the server closes the connection or all are sent; how many went out."""
        for sent in range(times):
            try:
                self.chunk(piece)
            except (ConnectionError, TimeoutError):
                return sent
        return times

    def rest(self) -> bytes:
        """Everything until the server closes the connection."""
        return b"".join(iter(lambda: self._socket.recv(65_536), b""))

    def answer(self) -> tuple[int, dict[str, str], bytes]:
        """Status, headers in lower case and body of the next answer."""
        response = http.client.HTTPResponse(self._socket)
        response.begin()
        headers = {name.lower(): value for name, value in response.getheaders()}
        return response.status, headers, response.read()

    def refusal(self) -> tuple[int, str]:
        """Status and code of the next answer, which must be a refusal in our form."""
        status, headers, content = self.answer()
        body: dict[str, Any] = json.loads(content)
        assert headers["content-type"] == "application/json"
        assert body["error"]
        return status, body["code"]
