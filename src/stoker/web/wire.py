"""What raw bytes mean: bodies as records, the numbers and flags of a query.

Bodies are opaque on the hot path (D1): checked as JSON once, never re-encoded.
"""

from __future__ import annotations

import codecs
import json
import math
from typing import Any, Final, Protocol, TypeVar

import msgspec

from stoker.errors import InvalidInput
from stoker.web.call import Call
from stoker.web.uploads import Body

Model = TypeVar("Model")
Read = TypeVar("Read", covariant=True)

PIECE_BYTES: Final = 64 * 1024
"""How much of a body is decoded at once to see whether it is text."""


def decode(body: Body, decoder: _Decoder[Model]) -> Model:
    """The body as a record. Raises `InvalidInput` that names the field."""
    try:
        if not body.isascii():
            _check_text(body)
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


def _check_text(body: Body) -> None:
    """Raises `UnicodeDecodeError` for what is no UTF-8. As one string a body could take four times its size."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    view = memoryview(body)
    for start in range(0, len(body), PIECE_BYTES):
        piece = view[start : start + PIECE_BYTES]
        pending = len(decoder.getstate()[0])
        try:
            decoder.decode(piece, start + PIECE_BYTES >= len(body))
        except UnicodeDecodeError as error:
            error.start += start - pending
            raise


def _missing_field(message: str) -> str:
    quoted = message.split("`")
    return quoted[1] if "missing required field" in message and len(quoted) > 1 else "body"


class _Decoder(Protocol[Read]):
    def decode(self, body: Body, /) -> Read: ...


def query_int(call: Call, name: str, *, default: int, least: int, most: int) -> int:
    """An integer from the query. Raises `InvalidInput` when it is none or out of range."""
    text = call.query.get(name)
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


def query_flag(call: Call, name: str) -> bool:
    """A flag from the query: present and not `false` or `0`."""
    return call.query.get(name, "false").lower() not in ("false", "0", "")


def strict_json(body: Body) -> bytes:
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
