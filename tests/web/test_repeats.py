"""Requests that came before, byte for byte: they ask for what they asked for then."""

from __future__ import annotations

from stoker.web.call import Answer, Call
from stoker.web.hot import Wish
from stoker.web.repeats import KEPT_BYTES, KEPT_MOST, Repeats
from tests.web.hot_server import serving


async def _nobody(_call: Call) -> Answer:
    raise AssertionError("nobody is asked here")


WISH = Wish("GET", "/a", "", {}, _nobody)


def test_another_byte_is_another_request() -> None:
    """Only what is the same from the first byte to the last is known."""
    repeats = Repeats()
    repeats.keep(b"GET /a", WISH, {"host": "h"})
    assert repeats.find(b"GET /a") == (WISH, {"host": "h"})
    assert repeats.find(b"GET /b") is None
    assert repeats.find(b"GET /a ") is None


def test_no_more_than_so_many_are_kept() -> None:
    """Clients that ask for another thing each time cost no memory in the end, nor do long requests."""
    repeats = Repeats()
    repeats.keep(b"x" * (KEPT_BYTES + 1), WISH, {})
    assert repeats.find(b"x" * (KEPT_BYTES + 1)) is None
    for number in range(KEPT_MOST + 1):
        repeats.keep(b"%d" % number, WISH, {})
    assert repeats.find(b"0") is None
    assert repeats.find(b"%d" % KEPT_MOST) is not None


async def test_each_repeat_is_answered_by_its_handler() -> None:
    """The handler is asked each time, and says each time what it would say to the first; what comes between changes nothing."""
    async with serving() as server, server.connect() as client:
        answers = []
        for word in ("a", "b", "a", "b", "a", "a"):
            client.ask("GET", f"/raw/echo/{word}?q={word}", "X-Test: " + word)
            status, _headers, content = await client.answer()
            answers.append((status, content))
        assert server.doors.seen == [f"/raw/echo/{word}" for word in "ababaa"]
        assert answers[2] == answers[4] == answers[5] == answers[0] != answers[1] == answers[3]
