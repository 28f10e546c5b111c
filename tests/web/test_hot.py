"""The table of raw routes: what a first line asks for is the same whether or not its way was walked before."""

from __future__ import annotations

import pytest
from fastapi import APIRouter
from hypothesis import example, given
from hypothesis import strategies as st

from stoker.web.asgi import RawEndpoint, RawRoute
from stoker.web.call import Answer, Call
from stoker.web.heads import target_of
from stoker.web.hot import OPENINGS_MOST, WAYS_MOST, HotRoutes, Openings, Wish


async def _nobody(_call: Call) -> Answer:
    raise AssertionError("nobody is asked here")


def _routes() -> HotRoutes:
    router = APIRouter(route_class=RawRoute)
    for method, path in (
        ("POST", "/v2/{endpoint}/run"),
        ("GET", "/v2/{endpoint}/status/{job}"),
        ("POST", "/v2/{endpoint}/status/{job}"),
        ("GET", "/v2/{endpoint}/health"),
        ("GET", "/v2/all"),
        ("GET", "/{word}"),
    ):
        router.add_api_route(path, RawEndpoint(_nobody), methods=[method], operation_id=f"{method} {path}")
    return HotRoutes(
        [router],
        on_error=lambda _call, _error: pytest.fail("nobody is asked"),
        refuse=lambda _error: pytest.fail("nothing is refused"),
    )


PIECES = (
    *(
        b"GET ",
        b"POST ",
        b"PUT ",
        b"/",
        b"/v2",
        b"/one",
        b"/run",
        b"/status",
        b"/health",
        b"/all",
        b"/7",
        b"?",
        b"a=b",
        b"&c=/d",
    ),
    *(b" ", b"#", b"%2f", b"\x00", b"\x7f", b"\xc3\xa4", b"//", b"~", b"!", b'"', b"$"),
)
LINES = st.lists(st.sampled_from(PIECES), max_size=8).map(b"".join)


def _fresh(line: bytes) -> Wish | None:
    target = target_of(line)
    return None if target is None else _routes().find(*target)


@given(st.lists(LINES, max_size=6), LINES)
@example([b"GET /v2/one/status/7"], b"GET /v2/one/status/8?a=b")
@example([b"GET /v2/one/status/7"], b"GET /v2/one/status/%2f")
@example([b"GET /v2/one/status/7"], b"GET /v2/one/status/a b")
@example([b"GET /v2/one/health?a=b"], b"GET /v2/one/")
@example([b"GET /v2/one/health?a=/b"], b"GET /v2/one/health?a=/c")
@example([b"GET /7"], b"GET /")
def test_a_way_that_was_walked_leads_where_it_always_leads(before: list[bytes], line: bytes) -> None:
    """Whatever was asked before: a line asks for what it asks for when nothing was."""
    routes = _routes()
    for one in before:
        routes.read(one)
    expected = _fresh(line)
    for _ in range(3):  # by a walk, by the way, by the whole line
        wish = routes.read(line)
        assert (wish is None) is (expected is None)
        if wish is not None and expected is not None:
            same = (wish.method, wish.path, wish.query, wish.parameters)
            assert same == (expected.method, expected.path, expected.query, expected.parameters)


def test_no_more_ways_than_so_many_are_remembered() -> None:
    """Clients that ask another endpoint each time cost no memory in the end."""
    routes = _routes()
    for number in range(WAYS_MOST + 1):
        routes.read(b"GET /v2/%d/status/1" % number)
    assert len(routes._ways) == 1
    assert routes.read(b"GET /v2/1/status/1") is not None


def test_no_more_lines_than_so_many_are_remembered() -> None:
    """Clients that ask with another query each time cost no memory in the end, nor do those that ask for one job after the other."""
    routes = _routes()
    for number in range(WAYS_MOST + 1):
        routes.read(b"GET /v2/one/health?a=%d" % number)
        routes.read(b"GET /v2/one/status/%d" % number)
    assert len(routes._lines) == 1
    assert routes.read(b"GET /v2/one/health?a=1") is not None


def test_heads_of_answers() -> None:
    """What uvicorn adds is in each, as it is now, and a percent sign is only that; without content there is no length."""
    openings, date = Openings(), [(b"date", b"100% today")]
    answer = Answer(200, b"{}", (("retry-after", "5%d"),))
    for always in (date, date, [(b"date", b"tomorrow")]):
        day = always[0][1]
        expected = (
            b"HTTP/1.1 200 OK\r\nretry-after: 5%d\r\ndate: "
            + day
            + b"\r\nx-request-id: me\r\ncontent-length: 2\r\n\r\n"
        )
        assert openings.find(answer, always) % (b"me", 2) == expected
    assert openings.find(Answer(204), ()) % (b"me", 0) == b"HTTP/1.1 204 No Content\r\nx-request-id: me\r\n\r\n"


def test_no_more_heads_of_answers_than_so_many_are_remembered() -> None:
    """Answers that say another thing each time cost no memory in the end."""
    openings = Openings()
    for number in range(OPENINGS_MOST + 1):
        openings.find(Answer(429, b"", (("retry-after", str(number)),)), ())
    assert len(openings._kept) == 1
