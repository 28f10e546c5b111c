"""Reading targets, queries and bodies, byte by byte and without a server."""

from __future__ import annotations

from urllib.parse import parse_qsl

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stoker.errors import InvalidInput
from stoker.web.call import parse_query
from stoker.web.exchange import split
from stoker.web.wire import PIECE_BYTES, decode

ANY = msgspec.json.Decoder(msgspec.Raw)


@given(st.text(st.sampled_from("abü=&+%2C09 ;"), max_size=30))
def test_queries_are_read_as_the_standard_library_does(query: str) -> None:
    """Names and values are those of `parse_qsl`, the last of a name winning."""
    assert parse_query(query) == dict(parse_qsl(query, keep_blank_values=True))


def test_targets() -> None:
    """A path is decoded as a whole before it is split; other forms of targets are left alone."""
    assert split(b"/a%2fb/c?d=%20") == ("/a/b/c", "d=%20")
    assert split(b"/a??") == ("/a", "?")
    assert [split(target) for target in (b"*", b"http://x/a", b"/a#b", "/ü".encode(), b"")] == [None] * 5


@pytest.mark.parametrize("before", [0, 1, PIECE_BYTES - 2, PIECE_BYTES - 1, PIECE_BYTES, 3 * PIECE_BYTES + 5])
def test_text_is_checked_piece_by_piece(before: int) -> None:
    """Characters that fall between two pieces are whole, and the first byte that is no text is named wherever it is."""
    good = b'"' + b"x" * before + "ü😀".encode() + b'"'
    assert bytes(decode(good, ANY)) == good
    assert bytes(decode(bytearray(good), ANY)) == good
    for bad in (b"\xff", b"\xf0\x9f\x98"):
        place = before + 1
        with pytest.raises(InvalidInput, match=f"not valid UTF-8 at byte {place}$"):
            decode(b'"' + b"x" * before + bad + b'"', ANY)


def test_text_that_ends_early() -> None:
    """A character that is cut off at the end is no text."""
    with pytest.raises(InvalidInput, match=r"not valid UTF-8 at byte 1$"):
        decode(b'"\xc3', ANY)
