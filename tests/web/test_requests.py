"""What requests leave in the log: one line each, by which a request, its job and its worker are found."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.live import KEY, LiveServer, until
from tests.web.conftest import STRANGER_KEY
from tests.web.hands import Hands


def lines(live: LiveServer, **fields: object) -> list[dict[str, Any]]:
    """Lines of the log that say this."""
    said = [json.loads(line) for line in live.log().splitlines(keepends=True) if line.endswith("\n")]
    return [line for line in said if fields.items() <= line.items()]


def written(live: LiveServer, **fields: object) -> list[dict[str, Any]]:
    """The same, when there are any: a request has its line a moment after its answer."""
    return until(lambda: lines(live, **fields), what=f"a line with {fields}")


def test_one_request_is_found(live: LiveServer, api: httpx.Client, hands: Hands) -> None:
    """From what a client calls its request one finds the job, from the job its worker and its result, and who asked."""
    submitted = api.post(f"/v2/{hands.endpoint['id']}/run", json={"input": 1}, headers={"X-Request-Id": "order-66"})
    job = submitted.json()["id"]
    assert submitted.headers["x-request-id"] == "order-66"
    hands.take()
    hands.finish(job, b'{"output": 2}')
    [asked] = written(live, request="order-66")
    assert asked | {"ms": 0, "bytes": 0, "timestamp": ""} == {
        "event": "request",
        "level": "info",
        "timestamp": "",
        "request": "order-66",
        "method": "POST",
        "route": "/v2/{endpoint}/run",
        "endpoint": hands.endpoint["id"],
        "status": 200,
        "ms": 0,
        "bytes": 0,
        "jobs": [job],
        "key": "key-default",
        "team": "team-default",
    }
    assert asked["ms"] > 0
    assert asked["bytes"] == len(submitted.content)
    [taken] = [line for line in written(live, event="request", worker=hands.id) if line.get("jobs") == [job]]
    assert taken["route"].startswith("/worker/job-take")
    [done] = written(live, event="request", job=job, worker=hands.id)
    assert (done["route"], done["status"]) == ("/worker/job-done/{worker}/{job}", 200)
    assert written(live, event="worker_decided", worker=hands.id)


def test_who_asked(live: LiveServer, api: httpx.Client, stranger: httpx.Client) -> None:
    """A line names the key and the team, also of a request that changes keys; no key is named that does not exist."""
    made = api.post("/api/keys", json={"name": "seen", "scopes": ["read"]}, headers={"X-Request-Id": "who-1"})
    stranger.get("/api/me", headers={"X-Request-Id": "who-2"})
    httpx.get(f"{live.url}/api/me", headers={"Authorization": "Bearer sk_none", "X-Request-Id": "who-3"})
    said = [written(live, request=f"who-{number}", event="request") for number in (1, 2, 3)]
    assert [(line["status"], line.get("key"), line.get("team")) for [line] in said] == [
        (201, "key-default", "team-default"),
        (200, "key-strangers", "team-strangers"),
        (401, None, None),
    ]
    assert made.json()["secret"] not in live.log()


@pytest.mark.parametrize("path", ["/v2/{}/status/%0Aforged?token=hush", "/api/endpoints/{}%20%0Aforged?key=hush"])
def test_what_is_never_logged(live: LiveServer, api: httpx.Client, name: str, path: str) -> None:
    """No secret, no query and nothing that somebody wrote into a path where an id belongs."""
    api.get(path.format(name), headers={"X-Request-Id": f"quiet-{name}"})
    assert written(live, request=f"quiet-{name}", event="request")
    log = live.log()
    assert not [word for word in ("hush", "forged", KEY, STRANGER_KEY) if word in log]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("wanted", "routes"), [("none", set()), ("management", {"/api/me", "/api/endpoints/{endpoint}/jobs"})]
)
def test_what_is_logged(tmp_path: Path, wanted: str, routes: set[str]) -> None:
    """Unless everything is wanted, requests of the management API alone are logged, those that submit jobs too, or none."""
    with LiveServer(tmp_path, log_format="json", access_log=wanted, runtime="none") as server:
        for path in ("/api/me", "/healthz", "/v2/none/status/none", "/console/"):
            assert server.api.get(path).headers["x-request-id"]
        for path in ("/api/endpoints/none/jobs", "/v2/none/run"):
            assert server.api.post(path, json={"input": 1}).headers["x-request-id"]
    assert {line["route"] for line in lines(server, event="request")} == routes


@pytest.mark.slow
def test_steps_of_a_job_name_its_requests(tmp_path: Path) -> None:
    """Where the log tells each step of a job, the requests that submitted, cancelled and retried it are there by their names, with the job's id, and
    those that only look are not."""
    with LiveServer(tmp_path, log_format="json", log_jobs="all", access_log="none") as server:
        endpoint = server.create("a", image=tmp_path, command="true")["id"]
        server.api.post("/api/endpoints/a/pause")

        def ask(request: str, path: str, **body: object) -> dict[str, Any]:
            return dict(server.api.post(path, json=body, headers={"X-Request-Id": request}).json())

        job = ask("one", f"/v2/{endpoint}/run", input=1)["id"]
        ask("two", f"/v2/{endpoint}/status/{job}")
        ask("three", f"/v2/{endpoint}/cancel/{job}")
        [second] = [ask("four", "/api/endpoints/a/jobs", input=1)["id"]]
        ask("five", f"/api/jobs/{second}/cancel")
        moved = [
            (line["what"], line["job"]) for line in written(server, event="job_moved", what="cancelled", job=second)
        ]
        assert moved == [("cancelled", second)]
        [submitted] = written(server, request="one")
        assert (submitted["event"], submitted["jobs"]) == ("request", [job])
        assert [line["job"] for name in ("three", "five") for line in written(server, request=name)] == [job, second]
        assert written(server, request="four")[0]["jobs"] == [second]
        assert not lines(server, request="two")
