"""The web console: the files that `make console` builds, served as they are. What it knows it asks from `/api`, like everybody else.

The built folder is part of the package; a checkout may be without it, and then the page at `/` says so. Every address of the
console is answered with the same page, which reads the address itself: which words addresses begin with, the build wrote down.
Files with a hash in their name are kept by browsers for ever, the page is asked for each time.

What must stay true: no script, style or frame comes from anywhere but here, and nothing is sent anywhere else.
"""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, Self

import msgspec
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

BUILT: Final = Path(__file__).parent / "built"
"""Where `make console` puts what it builds."""
ADDRESSES: Final = "addresses.json"
"""The first words of the console's addresses, as a list."""
PAGE: Final = "index.html"
TYPES: Final = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
POLICY: Final = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "connect-src 'self'",
        # Results of jobs: pictures, sound and films come inside the answer, or are links to buckets.
        "img-src 'self' data: blob: http: https:",
        "media-src 'self' data: blob: http: https:",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types svelte-trusted-html",
    )
)
HEADERS: Final = {
    "content-security-policy": POLICY,
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
}
"""Beside what every answer says (`app.FOR_BROWSERS`)."""
FOR_EVER: Final = "public, max-age=31536000, immutable"
EACH_TIME: Final = "no-cache"
NOT_BUILT: Final = b"""<!doctype html>
<html lang="en"><meta charset="utf-8"><title>Stoker</title>
<h1>The console was not built</h1>
<p>This server serves its API (<a href="/api/docs">try it</a>), and has no console. In a checkout, <code>make console</code> builds it;
then start the server again.</p>
</html>
"""


class Part(msgspec.Struct, frozen=True):
    """A file of the console, in memory."""

    kind: str
    content: bytes
    """Compressed with gzip."""
    tag: str

    @classmethod
    def of(cls, content: bytes, kind: str) -> Self:
        """From what is in a file of that media type."""
        tag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
        return cls(kind, gzip.compress(content, mtime=0), tag)


class Console:
    """The built console; without parts where none was built."""

    def __init__(self, parts: Mapping[str, Part], addresses: Sequence[str]) -> None:
        self._parts = parts
        self._addresses = addresses

    @classmethod
    def load(cls, folder: Path = BUILT) -> Self:
        """What is in the folder. Blocks."""
        if not (folder / PAGE).is_file():
            return cls({PAGE: Part.of(NOT_BUILT, TYPES[".html"])}, ())
        files = [file for file in folder.rglob("*") if file.suffix in TYPES]
        parts = {str(file.relative_to(folder)): Part.of(file.read_bytes(), TYPES[file.suffix]) for file in files}
        return cls(parts, json.loads((folder / ADDRESSES).read_text("utf-8")))

    def router(self) -> APIRouter:
        """A route for each file, and for each word that addresses begin with."""
        router = APIRouter(include_in_schema=False)
        for name, part in self._parts.items():
            if name != PAGE:
                keep = FOR_EVER if name.startswith("assets/") else EACH_TIME
                router.add_api_route(f"/{name}", _Sent(part, keep), methods=["GET", "HEAD"])
        page = _Sent(self._parts[PAGE], EACH_TIME)
        for path in ("/", *(path for word in self._addresses for path in (f"/{word}", f"/{word}/{{rest:path}}"))):
            router.add_api_route(path, page, methods=["GET", "HEAD"])
        return router


class _Sent:
    """A part as an answer. `keep` says how long browsers may keep it."""

    def __init__(self, part: Part, keep: str) -> None:
        self._part = part
        self._headers = {**HEADERS, "cache-control": keep, "etag": part.tag, "vary": "accept-encoding"}

    async def __call__(self, request: Request) -> Response:
        """Nothing, when the browser has it already."""
        if request.headers.get("if-none-match") == self._part.tag:
            return Response(status_code=304, headers=self._headers)
        headers = {**self._headers, "content-type": self._part.kind}
        if "gzip" in request.headers.get("accept-encoding", ""):
            return Response(self._part.content, headers={**headers, "content-encoding": "gzip"})
        return Response(gzip.decompress(self._part.content), headers=headers)


__all__ = ["BUILT", "Console"]
