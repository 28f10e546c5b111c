"""Health checks, end to end: the worker's HTTP server is the test's own, on the port that the worker was told."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.live import LiveServer, until
from tests.web.hands import Hands

pytestmark = pytest.mark.slow

CHECK = {"path": "/health?deep=1", "period_s": 1, "timeout_s": 5, "failures": 100}


class Clinic:
    """What a worker answers when it is asked how it is."""

    def __init__(self, hands: Hands) -> None:
        clinic = self
        self.status = 200
        self.asked: list[str] = []

        class Answers(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                clinic.asked.append(self.path)
                self.send_response(clinic.status)
                self.send_header("Location", "http://127.0.0.1:1/elsewhere")
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", int(hands.env["PORT"])), Answers)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        """Listen no more."""
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def sick(live: LiveServer, name: str, tmp_path: Path) -> Iterator[Hands]:
    """A worker whose HTTP server does not listen yet."""
    hands = Hands(live, name, tmp_path / "told", http_port=8000, health=CHECK)
    yield hands
    live.api.delete(f"/api/endpoints/{name}")
    hands.close()


def worker(live: LiveServer, hands: Hands) -> dict[str, Any]:
    """The worker as it stands, with its story."""
    return dict(live.api.get(f"/api/workers/{hands.id}").json())


def waits_for_health(live: LiveServer, job: str, *words: str) -> None:
    """Wait until the job says that it waits for a worker to be healthy, in these words."""

    def look() -> bool:
        why = live.job(job)["why"]
        return why["reason"] == "health_failing" and all(word in why["text"] for word in words)

    until(look, what=f"the job to wait because of {words}")


def test_jobs_wait_until_the_check_is_passed(live: LiveServer, name: str, sick: Hands) -> None:
    """A worker gets no job before it answers well; the job that waits says what the worker answered."""
    job = live.run(name, "x")
    waits_for_health(live, job, "/health?deep=1", "nobody listens")
    assert worker(live, sick)["state"] == "starting"
    clinic = Clinic(sick)
    assert sick.take()["id"] == job
    assert set(clinic.asked) == {"/health?deep=1"}
    sick.finish(job, b'{"output": 1}')
    clinic.close()


def test_ailing_worker_gets_no_jobs_and_recovers(live: LiveServer, name: str, sick: Hands) -> None:
    """From a bad answer on a worker gets no jobs, which its clients can see; when it answers well again it goes on. The story tells
    both."""
    clinic = Clinic(sick)
    first = live.run(name, "x")
    assert sick.take()["id"] == first
    sick.finish(first, b'{"output": 1}')
    clinic.status = 503
    until(lambda: worker(live, sick)["unhealthy_ms"], what="the worker to be unhealthy")
    job = live.run(name, "x")
    waits_for_health(live, job, "HTTP 503")
    health = live.api.get(f"/v2/{name}/health").json()["workers"]
    assert (health["unhealthy"], health["ready"], health["idle"]) == (1, 0, 0)
    assert worker(live, sick)["reason"] == "health_failing"
    clinic.status = 302  # as good as any; nobody goes where it leads
    assert sick.take()["id"] == job
    sick.finish(job, b'{"output": 2}')
    told = [(line["kind"], line["text"]) for line in worker(live, sick)["story"]]
    kinds = [kind for kind, _ in told]
    assert kinds[kinds.index("ready") :] == ["ready", "unhealthy", "healthy"]
    assert "HTTP 503" in dict(told)["unhealthy"]
    clinic.close()


def test_worker_that_stays_ill_is_replaced(live: LiveServer, name: str, tmp_path: Path) -> None:
    """After enough bad answers a worker is let go when it has finished what it holds, and another takes its place."""
    hands = Hands(live, name, tmp_path / "told", http_port=8000, health=CHECK | {"failures": 2})
    clinic = Clinic(hands)
    job = live.run(name, "x")
    assert hands.take()["id"] == job
    clinic.status = 500
    until(lambda: worker(live, hands)["state"] == "draining", what="the worker to be let go")
    assert worker(live, hands)["reason"] == "unhealthy"
    assert "HTTP 500, 2 times in a row" in worker(live, hands)["detail"]
    hands.finish(job, b'{"output": 1}')
    assert live.finished(job)["state"] == "completed"
    until(lambda: [one for one in live.workers(name) if one["id"] != hands.id], what="another in its place")
    clinic.close()
    hands.close()
    live.api.delete(f"/api/endpoints/{name}")


@pytest.mark.parametrize(
    ("fields", "code", "field"),
    [
        ({"health": {"path": "/x"}}, "invalid_input", "http_port"),
        ({"health": {"period_s": 3}, "http_port": 80}, "invalid_input", "health.path"),
        ({"health": {"path": "x"}, "http_port": 80}, "invalid_input", "health.path"),
        ({"health": {"path": "/x", "period_s": 0}, "http_port": 80}, "out_of_range", "health.period_s"),
        ({"health": {"path": "/x", "failures": 101}, "http_port": 80}, "out_of_range", "health.failures"),
        ({"health": {"path": "/x", "colour": 1}, "http_port": 80}, "invalid_input", "health.colour"),
    ],
)
def test_checks_that_are_refused(
    live: LiveServer, name: str, tmp_path: Path, fields: dict[str, Any], code: str, field: str
) -> None:
    """What cannot be asked is refused with the field."""
    body = {"name": name, "image": f"dir:{tmp_path}", "command": "sleep 600", **fields}
    answer = live.api.post("/api/endpoints", json=body)
    assert (answer.status_code, answer.json()["code"], answer.json()["field"]) == (400, code, field)


def test_check_is_changed_in_parts(live: LiveServer, name: str, tmp_path: Path) -> None:
    """A part that is given changes, the others stay; an empty path ends the check. Each makes a release."""
    body = {
        "image": f"dir:{tmp_path}",
        "command": "sleep 600",
        "http_port": 80,
        "health": {"path": "/x", "failures": 5},
    }
    made = live.api.post("/api/endpoints", json=body | {"name": name}).json()
    whole = {"path": "/x", "initial_delay_s": 0, "period_s": 10, "timeout_s": 3, "successes": 1, "failures": 5}
    assert made["health"] == whole
    changed = live.api.patch(f"/api/endpoints/{name}", json={"health": {"period_s": 7}}).json()
    assert (changed["health"], changed["release"]["number"]) == (whole | {"period_s": 7}, 2)
    exported = live.api.get(f"/api/endpoints/{name}/export").json()
    assert live.api.post("/api/endpoints/apply", json=exported).json()["action"] == "nothing"
    ended = live.api.patch(f"/api/endpoints/{name}", json={"health": {"path": ""}}).json()
    assert (ended["health"], ended["release"]["number"]) == (None, 3)
    live.api.delete(f"/api/endpoints/{name}")
