"""Reading requests and writing answers, for the routes that handle raw bytes.

Bodies are opaque on the hot path (D1): checked as JSON once, never re-encoded. A body over its limit is refused before it is
buffered beyond that limit.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Coroutine
from typing import Any, Final, Protocol, TypeVar

import msgspec
from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message

from stoker.errors import InvalidInput, TooLarge
from stoker.store import StoryLine

Model = TypeVar("Model")
Read = TypeVar("Read", covariant=True)

Handler = Callable[[Request], Coroutine[Any, Any, Response]]

SETTINGS_BYTES_MAX: Final = 1024 * 1024
"""Largest body of the management API, apart from jobs: far more than an environment that a process can be started with."""
_ANY_DECODER: Final = msgspec.json.Decoder()


class RawRoute(APIRoute):
    """A route whose handler gets the request and answers with a response: documented by FastAPI, not parsed by it."""

    def get_route_handler(self) -> Handler:
        """The endpoint itself."""
        handler: Handler = self.endpoint
        return handler


class JsonRoute(APIRoute):
    """A route whose body FastAPI parses, once it is known to be bounded and JSON."""

    def get_route_handler(self) -> Handler:
        """FastAPI's handler, with the body read before."""
        handle = super().get_route_handler()
        if self.body_field is None:
            return handle

        async def with_body(request: Request) -> Response:
            body = await read_body(request, limit=SETTINGS_BYTES_MAX, what="the body")
            if body:
                decode(body, _ANY_DECODER)
            return await handle(_replay(request, body))

        return with_body


def _replay(request: Request, body: bytes) -> Request:
    """The request, with its body to be read once more."""

    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    return Request(request.scope, receive)


async def read_body(request: Request, *, limit: int, what: str) -> bytes:
    """The request's body. Raises `TooLarge` as soon as it is known to exceed `limit` bytes."""
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > limit:
        raise too_large(what, int(declared), limit)
    chunks: list[bytes] = []
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > limit:
            raise too_large(what, size, limit)
        chunks.append(chunk)
    return b"".join(chunks)


def too_large(what: str, size: int, limit: int) -> TooLarge:
    """The error for a body of `size` bytes or more."""
    return TooLarge(
        f"{what} is larger than {limit} bytes (it has {size} or more)",
        field="body",
        next_step="send large data by reference: upload it to a bucket and pass its URL in the input",
    )


def decode(body: bytes, decoder: _Decoder[Model]) -> Model:
    """The body as a record. Raises `InvalidInput` that names the field."""
    try:
        if not body.isascii():
            str(body, "utf-8")
        return decoder.decode(body)
    except UnicodeDecodeError as error:
        raise InvalidInput(
            f"the body is not valid UTF-8 at byte {error.start}", code="invalid_json", field="body"
        ) from None
    except RecursionError:
        raise InvalidInput("the body is nested too deeply", code="invalid_json", field="body") from None
    except msgspec.ValidationError as error:
        message, _, path = str(error).partition(" - at `$")
        raise InvalidInput(message, field=path.strip(".`") or _missing_field(message)) from None
    except msgspec.DecodeError as error:
        raise InvalidInput(f"the body is not valid JSON: {error}", code="invalid_json", field="body") from None


def _missing_field(message: str) -> str:
    quoted = message.split("`")
    return quoted[1] if "missing required field" in message and len(quoted) > 1 else "body"


class _Decoder(Protocol[Read]):
    def decode(self, body: bytes, /) -> Read: ...


def answer(content: object, *, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """A JSON answer."""
    return Response(msgspec.json.encode(content), status_code=status, headers=headers, media_type="application/json")


def query_int(request: Request, name: str, *, default: int, least: int, most: int) -> int:
    """An integer from the query. Raises `InvalidInput` when it is none or out of range."""
    text = request.query_params.get(name)
    if text is None or text == "":
        return default
    if not (text.isascii() and text.isdigit() and len(text) < 16) or not least <= int(text) <= most:
        raise InvalidInput(
            f"{name} is '{text[:50]}'; it must be an integer from {least} to {most}",
            code="out_of_range",
            field=name,
            next_step=f"leave {name} out for the default, {default}",
        )
    return int(text)


def query_flag(request: Request, name: str) -> bool:
    """A flag from the query: present and not `false` or `0`."""
    return request.query_params.get(name, "false").lower() not in ("false", "0", "")


def strict_json(body: bytes) -> bytes:
    """A worker's JSON value as strict JSON: the SDK writes bare NaN and Infinity, which become null (protocol §4).

    Raises `ValueError` when it cannot be read at all.
    """
    try:
        value = json.loads(body)
        return json.dumps(_finite(value), ensure_ascii=False, separators=(",", ":")).encode("utf-8")
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_finite(inner) for inner in value]
    return value


def story_line(line: StoryLine) -> dict[str, object]:
    """A line of the ledger as it is shown."""
    return {
        "at_ms": line.at_ms,
        "kind": line.kind,
        "state": line.state,
        "reason": line.reason,
        "attempt": line.attempt,
        "worker": line.worker,
        "text": line.text,
    }
