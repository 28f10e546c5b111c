"""Every wait and end is induced on a real server, and what is said about it is checked: job, endpoint and worker."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.live import KEY, LiveServer, until
from tests.server.conftest import WORKERS
from tests.server.test_secrets import COMMAND

pytestmark = pytest.mark.slow

CRASHES = f"{sys.executable} -c 'raise SystemExit(\"no weights\")'"
NEVER_TAKES = "sleep 1000000"


def why(live: LiveServer, path: str) -> dict[str, Any]:
    """What is said about a thing."""
    answer = live.api.get(f"/api/{path}/why")
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def said(live: LiveServer, job: str, reason: str) -> dict[str, Any]:
    """What is said about the job once it waits for this reason."""

    def look() -> dict[str, Any] | None:
        now = why(live, f"jobs/{job}")
        return now if now["reason"] == reason else None

    told = until(look, what=f"job {job} to wait for {reason}")
    assert said_by_command(live, job)["next_step"] == told["next_step"]
    return told


def said_by_command(live: LiveServer, job: str) -> dict[str, Any]:
    """The same as `stoker job why` prints it."""
    program = Path(sys.executable).with_name("stoker")
    done = subprocess.run(
        [program, "job", "why", job, "--json"],
        env=os.environ | {"STOKER_URL": live.url, "STOKER_API_KEY": KEY},
        capture_output=True,
        check=True,
    )
    return dict(json.loads(done.stdout))


def test_paused(live: LiveServer) -> None:
    """A job of a paused endpoint says so, and how to resume; the endpoint says the same."""
    live.create("a", image=WORKERS, command=COMMAND)
    live.api.post("/api/endpoints/a/pause")
    told = said(live, live.run("a", {"echo": 1}), "paused")
    assert told["next_step"] == "stoker endpoint resume a"
    assert told["expected_start"] is None
    assert why(live, "endpoints/a")["text"].startswith("the endpoint is paused: its queue is kept; 1 waiting")


def test_worker_starting(live: LiveServer) -> None:
    """A job whose worker starts says so; the worker says which stages are over and for how long it has been starting."""
    live.create("a", image=WORKERS, command=NEVER_TAKES)
    told = said(live, live.run("a", {"echo": 1}), "worker_starting")
    assert told["text"] == "1 worker starting"
    assert told["expected_start"] is None, "nothing is known of this endpoint's starts"
    worker = until(lambda: [one for one in live.workers("a") if one["launched_ms"]], what="a launch")[0]
    told = why(live, f"workers/{worker['id']}")
    assert told["text"].startswith("starting for ")
    assert told["text"].endswith("waits for its first take")


def test_crash_loop(live: LiveServer) -> None:
    """A program that ends at its start is told on the waiting job, with its last line and what to do; the worker tells its end."""
    live.create("a", image=WORKERS, command=CRASHES)
    told = said(live, live.run("a", {"echo": 1}), "crash_loop")
    assert "starts in a row failed" in told["text"]
    assert "no weights" in told["text"]
    assert "stoker endpoint retry a" in told["next_step"]
    gone = live.workers("a", gone=1)[-1]
    assert why(live, f"workers/{gone['id']}")["next_step"] == f"see what it printed: stoker worker logs {gone['id']}"


def test_at_max_workers_and_behind_others(live: LiveServer, tmp_path: Path) -> None:
    """Behind others at the most workers a job says both, and when it will start once enough jobs have run."""
    live.create("a", image=WORKERS, command=COMMAND, max_workers=1, deliver_ahead=0)
    for number in range(5):
        live.finished(live.run("a", {"echo": number}))
    holding = live.run("a", {"hold": str(tmp_path / "go")})
    until(lambda: live.job(holding)["state"] == "running", what="the first job to run")
    live.run("a", {"echo": "before"})
    last = live.run("a", {"echo": "last"})
    told = said(live, last, "at_max_workers")
    assert told["text"] == "1 worker busy, and the endpoint may have at most 1; 1 job is before it"
    assert told["next_step"] == "allow more: stoker endpoint update a --max-workers N"
    assert told["expected_start"]["samples"] == 5
    assert 0 <= told["expected_start"]["p50_s"] <= told["expected_start"]["p90_s"]
    worker = live.workers("a")[0]
    assert why(live, f"workers/{worker['id']}")["text"] == "ready, 1 job"
    (tmp_path / "go").touch()
    assert live.finished(last)["state"] == "completed"


def test_no_capacity(tmp_path: Path) -> None:
    """A job for which no place is free says which is full, and how full; its endpoint says the same, and nobody foretells a start."""
    one = json.dumps([{"id": "cpu", "slots": 1}])
    with LiveServer(tmp_path / "data", specifications=one) as live:
        live.create("first", image=WORKERS, command=COMMAND, max_workers=1)
        holding = live.run("first", {"hold": str(tmp_path / "go")})
        until(lambda: live.job(holding)["state"] == "running", what="the only place to be taken")
        live.create("second", image=WORKERS, command=COMMAND)
        told = said(live, live.run("second", {"echo": 1}), "no_capacity")
        assert "cpu" in told["text"]
        assert "--weight" in told["next_step"]
        assert told["expected_start"] is None
        assert why(live, "endpoints/second")["reason"] == "no_capacity"
        (tmp_path / "go").touch()
        live.finished(holding)


def test_health_check_failing(live: LiveServer) -> None:
    """A job whose worker does not pass its health check says what the check got; the endpoint and the worker say the same."""
    check = {"path": "/health", "period_s": 1, "timeout_s": 1}
    live.create("a", image=WORKERS, command=NEVER_TAKES, http_port=8000, health=check)
    told = said(live, live.run("a", {"echo": 1}), "health_failing")
    assert "health check: GET /health: " in told["text"]
    assert "stoker worker logs" in told["next_step"]
    assert why(live, "endpoints/a")["reason"] == "health_failing"
    worker = live.workers("a")[0]["id"]
    assert why(live, f"workers/{worker}")["reason"] == "health_failing"
    assert "GET /health: " in why(live, f"workers/{worker}")["text"]


def test_low_priority(live: LiveServer) -> None:
    """A job of low priority that starts no worker says so."""
    live.create("a", image=WORKERS, command=COMMAND)
    job = live.run("a", {"echo": 1}, policy={"lowPriority": True})
    told = said(live, job, "low_priority")
    assert "start no worker" in told["text"]
    assert "--min-workers 1" in told["next_step"]


def test_time_to_live(live: LiveServer) -> None:
    """A job that waited too long says that its time passed, and how to run it again."""
    live.create("a", image=WORKERS, command=COMMAND)
    live.api.post("/api/endpoints/a/pause")
    job = live.run("a", {"echo": 1}, policy={"ttl": 10_000})
    assert live.finished(job)["state"] == "timed_out"
    told = why(live, f"jobs/{job}")
    assert (told["reason"], told["text"]) == ("ttl_passed", "timed_out: its time to live passed")
    assert f"stoker job retry {job}" in told["next_step"]


def test_budget(tmp_path: Path) -> None:
    """When a budget is used up the job that runs finishes, the worker goes, and jobs wait for that reason; beyond the next amount new
    jobs are refused. With a larger budget everything goes on."""
    priced = json.dumps([{"id": "cpu", "slots": 4, "price_per_hour": 3_600}])
    with LiveServer(tmp_path / "data", specifications=priced) as live:
        live.create("a", image=WORKERS, command=COMMAND, max_workers=1, deliver_ahead=0)
        holding = live.run("a", {"hold": str(tmp_path / "go")})
        until(lambda: live.job(holding)["state"] == "running", what="the first job to run")
        waiting = live.run("a", {"echo": 1})
        assert live.api.put("/api/endpoints/a/budget", json={"warn": 0.001, "queue": 1_000_000}).status_code == 200
        until(lambda: "the endpoint's budget" in why(live, "endpoints/a")["text"], what="a warning")
        assert live.api.put("/api/endpoints/a/budget", json={"queue": 0.001}).status_code == 200
        told = said(live, waiting, "budget")
        assert told["text"].startswith("the endpoint's budget for the month: ")
        assert told["next_step"] == "wait until then, or raise it: stoker budget set --help"
        assert live.job(holding)["state"] == "running"
        (tmp_path / "go").touch()
        assert live.finished(holding)["state"] == "completed"
        until(lambda: not live.workers("a"), what="its worker to go")
        assert live.job(waiting)["state"] == "queued"
        assert live.workers("a", gone=1)[0]["reason"] == "budget_spent"
        assert live.api.put("/api/budget", json={"refuse": 0.001, "period": "day"}).status_code == 200

        def refusal() -> httpx.Response | None:
            found = live.api.post("/v2/a/run", json={"input": 1})
            return None if found.status_code == 200 else found

        refused = until(refusal, what="a refusal")
        assert (refused.status_code, refused.json()["code"]) == (402, "budget_exhausted")
        for path in ("/api/budget", "/api/endpoints/a/budget"):
            assert live.api.delete(path).status_code == 200
        lines = [one for one in live.api.get("/api/audit").json()["lines"] if one["kind"] == "budget"]
        assert [one["action"] for one in lines] == ["deleted", "deleted", "created", "changed", "created"]
        assert live.finished(waiting)["state"] == "completed"


def test_a_cap_that_is_reached_takes_jobs_ahead_back(tmp_path: Path) -> None:
    """When a cap is reached only the job that runs finishes: those that its worker has ahead wait again, for the budget."""
    priced = json.dumps([{"id": "cpu", "slots": 4, "price_per_hour": 3_600}])
    with LiveServer(tmp_path / "data", specifications=priced) as live:
        live.create("a", image=WORKERS, command=COMMAND, max_workers=1, deliver_ahead=20, env={"SDK": "1.12.0"})
        live.api.post("/api/endpoints/a/pause")
        runs, *ahead = [live.run("a", {"hold": str(tmp_path / "go")}) for _ in range(5)]
        live.api.post("/api/endpoints/a/resume")
        until(lambda: live.job(ahead[-1])["reason"] == "delivered_ahead", what="jobs delivered ahead")
        assert live.api.put("/api/endpoints/a/budget", json={"queue": 0.001}).status_code == 200
        for job in ahead:
            assert said(live, job, "budget")
            assert live.job(job)["reason"] == "taken_back"
        (tmp_path / "go").touch()
        assert live.finished(runs)["state"] == "completed"
        until(lambda: not live.workers("a"), what="its worker to go")
        assert {live.job(job)["state"] for job in ahead} == {"queued"}
        assert {live.job(job)["attempt"] for job in ahead} == {0}


def test_rate_limited(tmp_path: Path) -> None:
    """Who asks too often is told so: how much is allowed, and how long to wait."""
    with LiveServer(tmp_path / "data", rate_factor=0.01) as live:
        live.create("a", image=WORKERS, command=COMMAND)
        answers = [live.api.post("/v2/a/run", json={"input": 1}) for _ in range(12)]
        refused = next(one for one in answers if one.status_code != 200)
        assert (refused.status_code, refused.json()["code"]) == (429, "rate_limited")
        assert int(refused.headers["retry-after"]) >= 1
        assert "at most 10 requests in 10 s" in refused.json()["error"]


def test_what_others_own(live: LiveServer) -> None:
    """What does not exist is not explained."""
    for path in ("jobs/j", "workers/w", "endpoints/e"):
        assert live.api.get(f"/api/{path}/why").status_code == 404
    with httpx.Client(base_url=live.url) as stranger:
        assert stranger.get("/api/endpoints/e/why").status_code == 401
