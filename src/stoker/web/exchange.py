"""One request on a connection and the answer it gets, without ASGI.

To uvicorn's protocol it looks like one of its own request cycles, as far as that looks: `response_complete`, `disconnected`,
`keep_alive` and `message_event` are its names. `tests/web/test_uvicorn.py` fails when an upgrade looks at more.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import ClassVar, Final
from urllib.parse import unquote

from stoker.ids import request_id
from stoker.web.call import REQUEST_ID, Answer, Call
from stoker.web.errand import Errand
from stoker.web.hot import Wish
from stoker.web.uploads import Body, Flow, Upload, Uploads, check_size

CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"


class _NoEvent:
    """Nobody waits for what uvicorn would tell here."""

    def set(self) -> None:
        """Nothing."""


class Exchange(Call):
    """A call that is answered by the connection it came from.

    One is made for each request: what most of them are alike in is said once, by the class.
    """

    plain = True
    """Whether it came whole under a head that is known, and nothing has happened since that its answer depends on."""
    message_event: ClassVar = _NoEvent()
    began_s: float
    """When, by the clock of the event loop; only while requests are logged."""
    errand: Errand[Exchange, Answer] | None = None
    """What asks the handler, if it has to wait for something."""
    keep_alive = True
    waits_for_continue = False
    """Whether the client sends no body before it is told to."""
    received = True
    """Whether the request has arrived to its end."""
    response_complete = False
    disconnected = False
    _request_id = ""
    _upload: Upload | None = None
    _flow: Flow
    _write: Callable[[bytes], None]
    _tell: Callable[[], None] | None = None

    def __init__(self, wish: Wish, headers: Mapping[str, str], body: bytes | None) -> None:
        """What the head says; the body if it came with it, under a head that is known: else `came_in_part` tells about it."""
        self._wish = wish
        self.handler = wish.handler
        self.parameters = wish.parameters
        self.query = wish.query
        self.headers = headers
        self._whole = body

    def came_in_part(
        self, flow: Flow, write: Callable[[bytes], None], *, keep_alive: bool, waits_for_continue: bool
    ) -> None:
        """`feed` and `finish` follow."""
        self.plain = self.received = False
        self.keep_alive = keep_alive
        self.waits_for_continue = waits_for_continue
        self._flow = flow
        self._write = write

    @property
    def method(self) -> str:
        """In capitals."""
        return self._wish.method

    @property
    def path(self) -> str:
        """Decoded, without the query."""
        return self._wish.path

    @property
    def request_id(self) -> str:
        """What the request is called. Whoever asks tells it to others, so that the answer must say the same."""
        if not self._request_id:
            self.plain = False
            self._request_id = request_id(self.headers.get(REQUEST_ID))
        return self._request_id

    async def body(self, uploads: Uploads, *, limit: int, what: str) -> Body:
        """The whole body."""
        if self._whole is not None:
            check_size(what, len(self._whole), limit)
            return self._whole
        upload = self._upload
        if upload is None:
            if self.received:
                return b""
            upload = self._upload = Upload(self._flow)
        return await upload.whole(uploads, self.length, limit=limit, what=what, begin=self._begin)

    @property
    def length(self) -> int | None:
        """Bytes of the body. The parser has refused what is no length, and a length beside chunks; a head that is known has none."""
        if self._whole is not None:
            return len(self._whole)
        declared = self.headers.get("content-length")
        return None if declared is None else int(declared)

    def _begin(self) -> None:
        if self.waits_for_continue and not self.received:
            self._write(CONTINUE)
        self.waits_for_continue = False

    def release(self) -> None:
        """The body is used up."""
        if self._upload is not None:
            self._upload.release()

    def on_hang_up(self, tell: Callable[[], None]) -> None:
        """Call `tell` if the client closes the connection."""
        self._tell = tell
        if self.disconnected:
            tell()

    # ── told by the connection ────────────────────────────────────────────────────────────────────────────────────────

    def feed(self, chunk: bytes) -> None:
        """A piece of the body came."""
        if self._upload is None:
            self._upload = Upload(self._flow)
        self._upload.add(chunk)

    def finish(self) -> None:
        """The request is complete."""
        self.received = True
        if self._upload is not None:
            self._upload.finish()

    def hang_up(self) -> None:
        """The client closed the connection before it was answered."""
        self.disconnected, self.plain = True, False
        if self._upload is not None:
            self._upload.lose()
        if self._tell is not None:
            self._tell()


def split(target: bytes) -> tuple[str, str] | None:
    """The decoded path and the raw query of `/path?query`. None for other forms, which are left to the application."""
    if target[:1] != b"/" or b"#" in target or not target.isascii():
        return None
    path, _, query = target.decode("ascii").partition("?")
    return (unquote(path) if "%" in path else path), query


__all__ = ["Exchange", "split"]
