"""Webhooks of a real server: what a receiver on this machine is told, and what the API says about it."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.live import ROOT, LiveServer, until
from tests.web.hands import COMMAND, WORKERS, Hands

pytestmark = pytest.mark.slow


class Told:
    """A receiver in a thread, and what it was told: headers by names in small letters, and body."""

    def __init__(self) -> None:
        self.requests: list[tuple[dict[str, str], bytes]] = []
        self.status = 200
        told = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                told.requests.append(({name.lower(): value for name, value in self.headers.items()}, body))
                self.send_response(told.status)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/hook"
        self._thread = threading.Thread(target=self.server.serve_forever)
        self._thread.start()

    def bodies(self, count: int) -> list[dict[str, Any]]:
        """Once there are so many."""
        until(lambda: len(self.requests) >= count, what=f"{count} notices")
        return [json.loads(body) for _, body in self.requests]

    def of(self, job: str) -> dict[str, Any]:
        """The first that is about the job, once it is there."""

        def look() -> dict[str, Any] | None:
            return next((body for body in self.bodies(0) if body["id"] == job), None)

        return until(look, what=f"a notice of {job}")

    def close(self) -> None:
        """Listen no more."""
        self.server.shutdown()
        self._thread.join()
        self.server.server_close()


@pytest.fixture
def told() -> Iterator[Told]:
    """A receiver."""
    receiver = Told()
    yield receiver
    receiver.close()


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_the_body_is_the_status(live: LiveServer, hands: Hands, told: Told, version: str) -> None:
    """A receiver is told what `/status` shows in the dialect of the submission; Runpod's besides what was submitted."""
    name = hands.endpoint["name"]
    ends = {b'{"output": {"a": [1.50, "\xc3\xbc"]}}': "COMPLETED", b'{"error": "no"}': "FAILED"}
    for report, state in ends.items():
        job = live.api.post(f"/{version}/{name}/run", json={"input": {"n": 1}, "webhook": told.url}).json()["id"]
        hands.take()
        hands.finish(job, report)
        status = live.api.get(f"/{version}/{name}/status/{job}").json()
        body = told.of(job)
        assert body.pop("input", None) == ({"n": 1} if version == "v2" else None)
        assert body == status
        assert status["status"] == state


def test_the_endpoints_webhook(live: LiveServer, api: httpx.Client, name: str, told: Told, tmp_path: Path) -> None:
    """Jobs that name no webhook are told to that of their endpoint; a cancelled one too."""
    live.create(name, image=WORKERS, command=COMMAND, max_workers=1, webhook=told.url)
    api.post(f"/api/endpoints/{name}/pause")
    job = live.run(name, 1)
    api.post(f"/v2/{name}/cancel/{job}")
    assert told.bodies(1) == [{"id": job, "status": "CANCELLED", "input": 1}]


def ended(live: LiveServer, name: str, url: str) -> str:
    """A job of a paused endpoint that was cancelled, and is to be told there."""
    live.create(name, image=WORKERS, command=COMMAND, max_workers=1)
    live.api.post(f"/api/endpoints/{name}/pause")
    job = live.run(name, 1, webhook=url)
    live.api.post(f"/v2/{name}/cancel/{job}")
    return job


def notice(live: LiveServer, job: str, state: str) -> dict[str, Any]:
    """The only notice of a job, once it is in that state and was tried."""

    def look() -> dict[str, Any] | None:
        (found,) = live.api.get(f"/api/jobs/{job}/notices").json()["notices"]
        return dict(found) if found["state"] == state and found["tries"] else None

    return until(look, what=f"a notice that is {state}")


def test_the_log(live: LiveServer, api: httpx.Client, name: str, told: Told) -> None:
    """The log of a job says what was tried, with what answer; the query of the URL, which may be a secret, is masked."""
    told.status = 503
    job = ended(live, name, f"{told.url}?token=hush")
    found = notice(live, job, "pending")
    (tried,) = found["tries"]
    assert (tried["status"], tried["error"]) == (503, "it answered 503")
    assert (found["url"], found["dialect"], found["job_state"]) == (f"{told.url}?…", "v2", "cancelled")
    assert found["next_try_ms"] > tried["at_ms"]
    told.status = 200
    again = api.post(f"/api/jobs/{job}/redeliver").json()
    assert again["id"] == found["id"]
    found = notice(live, job, "delivered")
    assert [one["status"] for one in found["tries"]] == [503, 200]
    assert found["delivered_ms"] >= found["tries"][1]["at_ms"]
    lines = api.get("/api/audit", params={"thing": found["id"]})
    assert [line["action"] for line in lines.json()["lines"]] == ["redelivered"]
    assert "hush" not in lines.text
    assert "hush" not in live.log()


def test_notices_of_the_team(
    live: LiveServer, api: httpx.Client, stranger: httpx.Client, name: str, told: Told
) -> None:
    """All notices of the team are listed page by page, by endpoint and state, as far as the key reaches; no other team's."""
    told.status = 410
    job = ended(live, name, f"{told.url}?token=hush")
    notice(live, job, "given_up")
    told.status = 200
    other = ended(live, f"{name}-other", told.url)
    notice(live, other, "delivered")
    newest = api.get("/api/notices", params={"limit": 1}).json()
    assert [one["job"] for one in newest["notices"]] == [other]
    given_up = api.get("/api/notices", params={"endpoint": name, "state": "given_up", "before": newest["next"]}).json()
    (found,) = given_up["notices"]
    assert (found["job"], found["endpoint"]["name"], found["last_try"]["status"]) == (job, name, 410)
    assert "hush" not in str(found)
    assert api.get("/api/notices", params={"endpoint": name, "state": "pending"}).json() == {
        "notices": [],
        "next": None,
    }

    secret = api.post("/api/keys", json={"name": name, "scopes": ["read"], "endpoints": [name]}).json()["secret"]
    narrow = api.get("/api/notices", headers={"Authorization": f"Bearer {secret}"}).json()
    assert [one["job"] for one in narrow["notices"]] == [job]
    assert stranger.get("/api/notices").json() == {"notices": [], "next": None}
    assert stranger.get("/api/notices", params={"endpoint": name}).status_code == 404
    assert api.get("/api/notices", params={"state": "lost"}).status_code == 400


def test_nothing_to_deliver(live: LiveServer, api: httpx.Client, stranger: httpx.Client, name: str, told: Told) -> None:
    """A job without a webhook has an empty log and nothing to deliver again; another's job does not exist."""
    live.create(name, image=WORKERS, command=COMMAND, max_workers=1)
    api.post(f"/api/endpoints/{name}/pause")
    job = live.run(name, 1)
    assert api.get(f"/api/jobs/{job}/notices").json() == {"notices": []}
    refused = api.post(f"/api/jobs/{job}/redeliver")
    assert (refused.status_code, refused.json()["code"]) == (400, "no_notices")
    assert stranger.get(f"/api/jobs/{job}/notices").status_code == 404
    theirs = ended(live, f"{name}-told", told.url)
    assert stranger.post(f"/api/jobs/{theirs}/redeliver").status_code == 404
    refused = api.post(f"/api/jobs/{theirs}/redeliver", json={"notice": "another"})
    assert (refused.status_code, refused.json()["code"]) == (404, "notice_not_found")


def test_the_secret(live: LiveServer, api: httpx.Client, name: str, told: Told) -> None:
    """A rotation shows the secret once, and the ten lines of the documentation verify what it signed."""
    made = api.post("/api/webhooks/secret/rotate", json={"overlap_s": 0}).json()
    shown = api.get("/api/webhooks/secret").json()
    assert shown == {name: value for name, value in made.items() if name != "secret"}
    assert shown["signs"]
    ended(live, name, told.url)
    told.bodies(1)
    headers, body = told.requests[0]
    verify = documented_verifier()
    verify(made["secret"], headers, body)
    for wrong_secret, wrong_headers, wrong_body in (
        ("whsec_AAAA", headers, body),
        (made["secret"], headers, body + b" "),
        (made["secret"], headers | {"webhook-id": "other"}, body),
        (made["secret"], headers | {"webhook-timestamp": "1"}, body),
    ):
        with pytest.raises(ValueError, match=r"not from Stoker|too old"):
            verify(wrong_secret, wrong_headers, wrong_body)
    line = api.get("/api/audit", params={"thing": "secret"})
    assert line.json()["lines"][0]["action"] == "rotated"
    assert made["secret"] not in line.text + live.log()


def documented_verifier() -> Any:
    """The function that the documentation gives to receivers: ten lines."""
    text = (ROOT / "docs" / "how-to" / "webhooks.md").read_text()
    (source,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    names: dict[str, Any] = {}
    exec(source, names)
    body = source.partition("def verify")[2]
    assert body.count("\n") <= 10
    return names["verify"]


def test_told_although_the_server_was_killed(tmp_path: Path, told: Told) -> None:
    """A server that is killed while a notice could not be delivered delivers it after its next start, under the same id."""
    with LiveServer(tmp_path, webhook_networks="127.0.0.0/8") as live:
        told.status = 500
        job = ended(live, "told", told.url)
        found = notice(live, job, "pending")
        live.kill()
        told.status = 200
        live.start()
        notice(live, job, "delivered")
    assert {headers["webhook-id"] for headers, _ in told.requests} == {found["id"]}


def test_not_to_this_machine(tmp_path: Path, told: Told) -> None:
    """Without the setting a server tells nothing to its own machine, and says why."""
    with LiveServer(tmp_path) as live:
        job = ended(live, "told", told.url)
        (tried,) = notice(live, job, "pending")["tries"]
    assert tried["error"] == "its address is loopback: webhooks go to public addresses only"
    assert told.requests == []
