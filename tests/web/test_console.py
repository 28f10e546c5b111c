"""How the console's files are served: kept or asked for again, allowed to load from nowhere else, and only at its own addresses."""

from __future__ import annotations

import asyncio
import gzip
import json
import re
from pathlib import Path

import httpx
import pytest

from stoker.health import Check
from stoker.web.app import build_app
from stoker.web.console import Console
from tests.live import LiveServer

HASHED = "assets/index-DocLQZOa.js"


@pytest.fixture
def built(tmp_path: Path) -> Path:
    """A folder as the build leaves it: one for each test."""
    (tmp_path / "assets").mkdir()
    (tmp_path / "index.html").write_text("<!doctype html><title>console</title>")
    (tmp_path / "favicon.svg").write_text("<svg/>")
    (tmp_path / HASHED).write_text("export {};" * 100)
    (tmp_path / "addresses.json").write_text(json.dumps(["endpoints", "jobs"]))
    return tmp_path


async def browser(folder: Path) -> httpx.AsyncClient:
    """A client of an application that serves the folder."""

    def ready() -> list[Check]:
        return []

    console = await asyncio.to_thread(Console.load, folder)
    app = build_app([console.router()], ready=ready)
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://server")


async def test_every_address_has_the_page(built: Path) -> None:
    """The console's own addresses, however deep, are answered with its page; what begins otherwise does not exist."""
    async with await browser(built) as client:
        for path in ("/", "/endpoints", "/endpoints/a/jobs", "/jobs/x?tab=1"):
            answer = await client.get(path)
            assert (answer.status_code, answer.text) == (200, "<!doctype html><title>console</title>"), path
            assert answer.headers["content-type"] == "text/html; charset=utf-8"
        for path in ("/nothing", "/endpointsx", "/assets/none.js", "/addresses.json", "/api/nothing", "/v2/a", "/../x"):
            assert (await client.get(path)).status_code == 404, path
        assert (await client.post("/endpoints")).status_code == 405
        assert (await client.head("/")).status_code == 200


async def test_what_browsers_keep(built: Path) -> None:
    """A file with a hash in its name is kept for ever; the page is asked for again, and sent only when it is another."""
    async with await browser(built) as client:
        hashed = await client.get(f"/{HASHED}")
        assert hashed.headers["cache-control"] == "public, max-age=31536000, immutable"
        page = await client.get("/")
        assert page.headers["cache-control"] == "no-cache"
        again = await client.get("/jobs", headers={"if-none-match": page.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
    await asyncio.to_thread((built / "index.html").write_text, "another")
    async with await browser(built) as client:
        newer = await client.get("/", headers={"if-none-match": page.headers["etag"]})
        assert newer.text == "another"


async def test_compressed_where_it_is_understood(built: Path) -> None:
    """Files come compressed, and plain for who cannot read that."""
    script = await asyncio.to_thread((built / HASHED).read_bytes)
    async with await browser(built) as client:
        async with client.stream("GET", f"/{HASHED}", headers={"accept-encoding": "gzip"}) as answer:
            raw = b"".join([piece async for piece in answer.aiter_raw()])
        assert answer.headers["content-encoding"] == "gzip"
        assert gzip.decompress(raw) == script
        plain = await client.get(f"/{HASHED}", headers={"accept-encoding": "identity"})
        assert "content-encoding" not in plain.headers
        assert plain.content == script


async def test_nothing_comes_from_elsewhere(built: Path) -> None:
    """The policy of every answer: no script, style, font or frame of others, nothing inline, no eval, nothing sent elsewhere."""
    async with await browser(built) as client:
        for path in ("/", f"/{HASHED}", "/favicon.svg"):
            headers = (await client.get(path)).headers
            policy = dict(part.split(" ", 1) for part in headers["content-security-policy"].split("; "))
            assert policy["default-src"] == policy["base-uri"] == policy["frame-ancestors"] == "'none'"
            assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
            assert "unsafe" not in headers["content-security-policy"]


async def test_a_server_without_a_console_says_so(tmp_path: Path) -> None:
    """Without the built files the page at `/` tells how to build them; no other address exists."""
    async with await browser(tmp_path) as client:
        assert "make console" in (await client.get("/")).text
        assert (await client.get("/endpoints")).status_code == 404


def test_addresses_do_not_meet_the_api() -> None:
    """No page's address begins like a route of the API."""
    pages = {folder.name for folder in (Path(__file__).parents[2] / "console" / "src" / "pages").iterdir()}
    assert "endpoints" in pages
    assert not pages & {"api", "v1", "v2", "worker", "healthz", "metrics", "assets"}


@pytest.mark.slow
def test_the_server_serves_its_page(live: LiveServer) -> None:
    """A real server has a page at `/`, which loads its script and style by plain addresses of its own."""
    page = httpx.get(live.url)
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    for path in re.findall(r'(?:src|href)="([^"]+)"', page.text):
        assert path.startswith("/"), path
        assert httpx.get(live.url + path).status_code == 200, path
    assert not re.search(r"<script(?![^>]*src=)|<style|\son\w+=", page.text)
