"""Live events: what happens to a team's endpoints, workers and jobs, as a stream and page by page."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import socket
from collections.abc import AsyncGenerator, Iterator
from typing import Any

import httpx
import pytest
import uvicorn
from starlette.types import Receive, Scope, Send

from stoker.web.connection import connections_to
from stoker.web.events import EventStream
from stoker.web.hot import HotRoutes
from tests.live import LiveServer
from tests.web.hands import COMMAND, WORKERS, Hands

PATIENCE_S = 30.0
STREAM = {"Accept": "text/event-stream"}


class Stream:
    """An open stream. `next` is the next event, comments left out."""

    def __init__(self, client: httpx.Client, *, since: str | None = None, **query: Any) -> None:
        headers = STREAM if since is None else STREAM | {"Last-Event-ID": since}
        self._context = client.stream("GET", "/api/events", params=query, headers=headers)
        self.response = self._context.__enter__()
        assert self.response.status_code == 200, self.response.read()
        self._lines = self.response.iter_lines()
        self.opened = self.frame()
        assert self.opened["event"] == "open"

    def frame(self) -> dict[str, Any]:
        """The fields of the next frame with data, which is read as JSON."""
        fields: dict[str, Any] = {}
        for line in self._lines:
            if not line and "data" in fields:
                return fields
            name, _, value = line.partition(": ")
            if name:
                fields[name] = json.loads(value) if name == "data" else value
        raise EOFError

    def next(self) -> dict[str, Any]:
        """The next event; its frame must say the same of it."""
        frame = self.frame()
        assert (frame["id"], frame["event"]) == (frame["data"]["id"], frame["data"]["about"])
        return dict(frame["data"])

    def until(self, kind: str, **fields: Any) -> list[dict[str, Any]]:
        """Events up to the first of that kind, with these fields."""
        events = [self.next()]
        while events[-1]["kind"] != kind or not fields.items() <= events[-1].items():
            events.append(self.next())
        return events

    def close(self) -> None:
        """Hang up."""
        self._context.__exit__(None, None, None)


@contextlib.contextmanager
def stream(client: httpx.Client, **query: Any) -> Iterator[Stream]:
    """An open stream."""
    opened = Stream(client, **query)
    try:
        yield opened
    finally:
        opened.close()


def all_kept(client: httpx.Client, **query: Any) -> tuple[list[dict[str, Any]], str]:
    """All events that are kept, page by page, and where the next page begins; a page may hold none and say that there is more."""
    page: dict[str, Any] = {"next": "0", "more": True}
    events: list[dict[str, Any]] = []
    while page["more"]:
        page = client.get("/api/events", params=query | {"after": page["next"]}).json()
        events += page["events"]
    return events, page["next"]


@pytest.fixture
def name_of_endpoint(live: LiveServer, name: str) -> str:
    """A new endpoint that starts no workers."""
    live.create(name, image=WORKERS, command=COMMAND, max_workers=1)
    live.api.post(f"/api/endpoints/{name}/pause")
    return name


@pytest.mark.slow
def test_a_job_from_submission_to_end(live: LiveServer, hands: Hands, name: str) -> None:
    """A stream tells of a job as it goes, with everything that a row shows."""
    with stream(live.api, endpoint=name, about="job") as events:
        assert events.opened["data"]["resumed"] is False
        job = live.run(name, 1)
        submitted = events.next()
        assert submitted["endpoint"] == {"id": hands.endpoint["id"], "name": name}
        assert (submitted["job"], submitted["kind"], submitted["state"]) == (job, "submitted", "queued")
        hands.take()
        claimed = events.next()
        assert (claimed["worker"], claimed["kind"], claimed["state"], claimed["attempt"]) == (
            hands.id,
            "claimed",
            "running",
            1,
        )
        hands.finish(job, b'{"output": 1}')
        finished = events.until("finished")[-1]
        assert (finished["state"], finished["reason"]) == ("completed", "handler_returned")
        assert live.job(job)["finished_ms"] == finished["at_ms"]


@pytest.mark.slow
def test_coming_back(live: LiveServer, name_of_endpoint: str) -> None:
    """Who comes back with the last id it saw goes on after it, by header as by parameter; the header is the newer one."""
    with stream(live.api, endpoint=name_of_endpoint, about="job") as events:
        opened = events.opened["id"]
        first, second = live.run(name_of_endpoint, 1), live.run(name_of_endpoint, 2)
        seen = [events.next(), events.next()]
    assert [event["job"] for event in seen] == [first, second]
    third = live.run(name_of_endpoint, 3)
    for query in ({"since": seen[0]["id"], "after": opened}, {"after": seen[0]["id"]}):
        with stream(live.api, endpoint=name_of_endpoint, about="job", **query) as events:
            assert events.opened["data"] == {"id": seen[0]["id"], "resumed": True}
            assert [events.next()["job"], events.next()["job"]] == [second, third]
    with stream(live.api, endpoint=name_of_endpoint, about="job", after="0") as events:
        assert [events.next()["job"] for _ in range(3)] == [first, second, third]


@pytest.mark.slow
def test_an_id_from_elsewhere(live: LiveServer) -> None:
    """An id that this server never gave out is not an error to a stream: it says that it begins anew."""
    with stream(live.api, since="999999999999-1") as events:
        assert events.opened["data"]["resumed"] is False


@pytest.mark.slow
def test_endpoints_tell(live: LiveServer, name_of_endpoint: str) -> None:
    """An endpoint tells what is changed of it, its releases, its pauses, what is decided about it, and its end."""
    api, path = live.api, f"/api/endpoints/{name_of_endpoint}"
    with stream(api, endpoint=name_of_endpoint, about="endpoint", after="0") as events:
        events.until("decision", reason="paused")  # decisions come in their own time: this one ends the beginning
        api.patch(path, json={"idle_timeout_s": 7, "slots": 2})
        changed = events.next()
        assert (changed["kind"], changed["state"]) == ("changed", "paused")
        assert set(changed["text"].split(", ")) == {"idle_timeout_s", "slots"}
        api.patch(path, json={"command": "true"})
        assert events.until("released")[-1]["text"] == "release 2: command"
        api.post(f"{path}/resume")
        assert [event["state"] for event in events.until("resumed")] == ["active"]
        assert events.until("decision", reason="nothing_to_do")[-1]["wanted"] == 0
        api.delete(path)
        assert events.until("deleted")[-1]["state"] == "deleted"


@pytest.mark.slow
def test_workers_tell(live: LiveServer, hands: Hands, name: str) -> None:
    """A worker tells the states of its life with its reasons; asked for by its id, with the jobs it had."""
    job = live.run(name, 1)
    hands.take()
    told, after = all_kept(live.api, worker=hands.id)
    assert [(event["about"], event["kind"], event["job"]) for event in told][-2:] == [
        ("worker", "ready", None),
        ("job", "claimed", job),
    ]
    with stream(live.api, worker=hands.id, about="worker", after=after) as events:
        live.api.post(f"/api/workers/{hands.id}/stop", json={"now": True})
        gone = events.until("gone")[-1]
        assert (gone["state"], gone["worker"]) == ("gone", hands.id)


@pytest.mark.slow
def test_pages(live: LiveServer, name_of_endpoint: str) -> None:
    """Without a stream, a page says where the next begins; it waits for the first event as long as it is asked to."""
    api, query = live.api, {"endpoint": name_of_endpoint, "about": "job"}
    here = api.get("/api/events", params=query).json()
    assert (here["events"], here["more"]) == ([], False)
    jobs = [live.run(name_of_endpoint, number) for number in range(2)]
    page = api.get("/api/events", params=query | {"after": here["next"], "wait_s": 5}).json()
    seen = [event["job"] for event in page["events"]]
    while len(seen) < len(jobs):
        page = api.get("/api/events", params=query | {"after": page["next"], "wait_s": 5}).json()
        seen += [event["job"] for event in page["events"]]
    assert seen == jobs
    assert api.get("/api/events", params=query | {"after": page["next"]}).json()["events"] == []


@pytest.mark.slow
def test_a_range_of_time(live: LiveServer, name_of_endpoint: str) -> None:
    """What happened from one moment on, and before another, page by page; a stream begins at such a moment too."""
    first, second, third = [live.run(name_of_endpoint, number) for number in range(3)]
    at = {one: live.job(one)["created_ms"] for one in (first, second, third)}
    query: dict[str, str | int] = {"endpoint": name_of_endpoint, "about": "job"}

    def jobs(**when: str | int) -> set[str]:
        page: dict[str, Any] = live.api.get("/api/events", params=query | when).json()
        found = {event["job"] for event in page["events"]}
        while page["more"]:
            page = live.api.get("/api/events", params=query | when | {"after": page["next"]}).json()
            found |= {event["job"] for event in page["events"]}
        return found

    assert jobs(since_ms=0) == {first, second, third}
    assert jobs(since_ms=at[second]) == {one for one in at if at[one] >= at[second]}
    assert jobs(since_ms=0, until_ms=at[second]) == {one for one in at if at[one] < at[second]}
    assert jobs(since_ms=at[third] + 1) == set()
    with stream(live.api, **query, since_ms=at[first]) as events:
        assert [events.next()["job"] for _ in range(3)] == [first, second, third]


@pytest.mark.slow
def test_kinds(live: LiveServer, name_of_endpoint: str) -> None:
    """Only the kinds that are asked for; only the job that is."""
    first, second = live.run(name_of_endpoint, 1), live.run(name_of_endpoint, 2)
    live.api.post(f"/api/jobs/{second}/cancel")
    events, _ = all_kept(live.api, job=second)
    assert [event["kind"] for event in events] == ["submitted", "cancelled"]
    events, _ = all_kept(live.api, endpoint=name_of_endpoint, kind=["cancelled", "claimed"])
    assert [(event["kind"], event["job"]) for event in events] == [("cancelled", second)]
    assert first not in json.dumps(events)


@pytest.mark.slow
def test_of_another_team(live: LiveServer, stranger: httpx.Client, name_of_endpoint: str) -> None:
    """Another team hears nothing of ours, whatever it asks for; our endpoints do not exist for it."""
    job = live.run(name_of_endpoint, 1)
    assert job not in json.dumps(all_kept(stranger))
    assert all_kept(stranger, job=job)[0] == []
    assert stranger.get("/api/events", params={"endpoint": name_of_endpoint}).status_code == 404


@pytest.mark.slow
def test_a_key_of_some_endpoints(live: LiveServer, api: httpx.Client, name_of_endpoint: str) -> None:
    """A key that reaches some endpoints hears of these; a revoked one hears nothing more, and its stream ends."""
    live.create(f"{name_of_endpoint}-too", image=WORKERS, command=COMMAND, max_workers=1)
    body = {"name": "some", "scopes": ["read"], "endpoints": [f"{name_of_endpoint}-too"]}
    made = api.post("/api/keys", json=body).json()
    headers = {"Authorization": f"Bearer {made['secret']}"}
    with httpx.Client(base_url=live.url, headers=headers, timeout=PATIENCE_S) as client:
        assert client.get("/api/events", params={"endpoint": name_of_endpoint}).status_code == 404
        with stream(client, about="job") as events:
            hidden, shown = live.run(name_of_endpoint, 1), live.run(f"{name_of_endpoint}-too", 1)
            assert events.next()["job"] == shown
            pages, _ = all_kept(client)
            assert {event["endpoint"]["name"] for event in pages} == {f"{name_of_endpoint}-too"}
            assert hidden not in json.dumps(pages)
            api.delete(f"/api/keys/{made['id']}")
            live.run(f"{name_of_endpoint}-too", 2)
            with pytest.raises(EOFError):
                events.next()


@pytest.mark.slow
@pytest.mark.parametrize("query", [{"after": "yesterday"}, {"after": "1"}, {"about": "webhook"}, {"wait_s": "61"}])
def test_bad_questions(api: httpx.Client, query: dict[str, str]) -> None:
    """What cannot be meant is refused with the field's name."""
    answer = api.get("/api/events", params=query)
    assert answer.status_code == 400
    assert answer.json()["field"].startswith(next(iter(query)))


@pytest.mark.slow
def test_streams_end_with_the_server(tmp_path: Any) -> None:
    """A server that stops ends its streams in order, and does not wait for those who read them."""
    with LiveServer(tmp_path / "server") as server, stream(server.api) as events:
        assert server.process is not None
        server.process.terminate()
        with pytest.raises(EOFError):
            events.frame()
        assert server.wait() == 0
        assert "server_stopped" in server.log()


# ── one stream alone ──────────────────────────────────────────────────────────────────────────────────────────────────


class Alone:
    """An application that answers everything with one endless stream."""

    def __init__(self) -> None:
        self.ended = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await EventStream(self._frames(), stall_s=0.1)(scope, receive, send)

    async def _frames(self) -> AsyncGenerator[bytes]:
        try:
            while True:
                yield b"x" * 65_536
                await asyncio.sleep(0)
        finally:
            self.ended.set()


class _Quiet(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def test_who_does_not_read_is_cut(caplog: pytest.LogCaptureFixture) -> None:
    """A client that leaves its events unread is cut off, and what made them ends with it; nothing is thrown."""
    alone, listener = Alone(), socket.create_server(("127.0.0.1", 0))
    hot = HotRoutes(
        [],
        on_error=lambda _call, _error: pytest.fail("there are no raw routes"),
        refuse=lambda _error: pytest.fail("nothing is refused"),
    )
    server = _Quiet(uvicorn.Config(alone, http=connections_to(hot), ws="none", lifespan="off", log_config=None))
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        async with asyncio.timeout(PATIENCE_S):
            reader, writer = await asyncio.open_connection(*listener.getsockname())
            writer.write(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
            with caplog.at_level(logging.ERROR):
                await alone.ended.wait()
                got = await reader.read()  # its end comes: the connection is closed
            assert got.startswith(b"HTTP/1.1 200")
            assert not got.endswith(b"0\r\n\r\n"), "an answer that is cut must not look complete"
            writer.close()
    finally:
        server.should_exit = True
        await serving
    assert caplog.records == []
