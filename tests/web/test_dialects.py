"""Golden samples of both dialects of the job API: what is sent, and exactly what is answered.

One test speaks for `/v1` (Novita's words) and `/v2` (Runpod's). The worker is the test itself: it says what SDKs say, byte by
byte. Sizes are in `test_limits`, keys and teams in `test_guard`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.live import KEY, LiveServer
from tests.web.hands import Hands

pytestmark = pytest.mark.slow

Json = dict[str, Any]

QUEUED = {"v1": "PENDING", "v2": "IN_QUEUE"}
"""The one word in which the dialects differ."""
S3 = {"accessId": "AK", "accessSecret": "geheim", "bucketName": "b", "endpointUrl": "http://s3.example"}


@dataclass(frozen=True, kw_only=True)
class Desk:
    """One endpoint as a client of one dialect sees it, and the hands of its worker."""

    dialect: str
    name: str
    api: httpx.Client
    hands: Hands

    @property
    def queued(self) -> str:
        """The dialect's word for a queued job."""
        return QUEUED[self.dialect]

    def ask(self, method: str, path: str, **words: Any) -> httpx.Response:
        """Send a request; every answer is JSON, whatever it says."""
        answer = self.api.request(method, f"/{self.dialect}/{self.name}{path}", **words)
        assert answer.headers["content-type"] == "application/json"
        return answer

    def get(self, path: str, **query: Any) -> Any:
        """The body of a good answer to a GET."""
        answer = self.ask("GET", path, params=query)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def post(self, path: str, body: Any = None, **query: Any) -> Any:
        """The body of a good answer to a POST."""
        answer = self.ask("POST", path, json=body, params=query)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def run(self, order: Any = 1, **fields: Any) -> str:
        """Submit a job; its id."""
        return str(self.post("/run", {"input": order, **fields})["id"])

    def times(self, job: str) -> Json:
        """The two times of a job, from what the management API says: milliseconds."""
        known = self.api.get(f"/api/jobs/{job}").json()
        times = {"delayTime": known["claimed_ms"] - known["queued_ms"]}
        if known["finished_ms"] is not None:
            times["executionTime"] = known["finished_ms"] - known["claimed_ms"]
        return times

    def ended(self, body: str) -> tuple[str, Json]:
        """A job that its worker ended with this result: its id, and what status says without times and worker."""
        job = self.run()
        assert self.hands.take()["id"] == job
        assert self.hands.finish(job, body.encode()).status_code == 200
        seen = self.get(f"/status/{job}")
        known = {"id": job, "workerId": self.hands.id} | self.times(job)
        assert known.items() <= seen.items()
        return job, {name: value for name, value in seen.items() if name not in known}


@pytest.fixture(params=QUEUED)
def desk(request: pytest.FixtureRequest, api: httpx.Client, hands: Hands, name: str) -> Desk:
    """An endpoint that nobody has used, in each dialect."""
    return Desk(dialect=request.param, name=name, api=api, hands=hands)


@pytest.fixture(scope="module")
def shared(live: LiveServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hands]:
    """A worker for tests that leave its endpoint's queue empty."""
    worker = Hands(live, "dialects", tmp_path_factory.mktemp("dialects") / "told")
    yield worker
    worker.close()


@pytest.fixture(params=QUEUED)
def used(request: pytest.FixtureRequest, live: LiveServer, shared: Hands) -> Desk:
    """An endpoint that others used before, in each dialect. What waits there is gone, its worker idle."""
    live.api.post("/v2/dialects/purge-queue")
    return Desk(dialect=request.param, name="dialects", api=live.api, hands=shared)


# ── submitting, and the states ────────────────────────────────────────────────────────────────────────────────────────


def test_life(used: Desk) -> None:
    """A job that waits, runs, reports progress and completes: exactly these fields in each state, times in milliseconds."""
    answer = used.post("/run", {"input": {"prompt": "ж"}})
    job = answer["id"]
    assert answer == {"id": job, "status": used.queued}
    assert used.get(f"/status/{job}") == {"id": job, "status": used.queued}

    assert used.hands.take() == {"id": job, "input": {"prompt": "ж"}}
    running = {"id": job, "status": "IN_PROGRESS", "workerId": used.hands.id} | used.times(job)
    assert set(running) == {"id", "status", "workerId", "delayTime"}
    assert used.get(f"/status/{job}") == running

    used.hands.finish(job, b'{"status": "IN_PROGRESS", "output": {"pct": 40}}')
    assert used.get(f"/status/{job}") == running | {"output": {"pct": 40}}

    used.hands.finish(job, '{"output": {"text": "漢"}}'.encode())
    done = {"status": "COMPLETED", "output": {"text": "漢"}} | used.times(job)
    assert "executionTime" in done
    assert used.get(f"/status/{job}") == running | done


def _polled(used: Desk, job: str) -> tuple[str, object]:
    polls = [used.get(f"/status/{job}") for _ in range(3)]
    assert polls[0] == polls[1] == polls[2]
    return polls[0]["status"], polls[0].get("output")


def test_polls_show_every_change(used: Desk) -> None:
    """Whoever polls sees each change in the poll after it, and the same as before while there is none."""
    job = used.run()
    seen = [_polled(used, job)]
    used.hands.take()
    seen.append(_polled(used, job))
    for body in ('{"status": "IN_PROGRESS", "output": 1}', '{"status": "IN_PROGRESS", "output": 2}', '{"output": 3}'):
        used.hands.finish(job, body.encode())
        seen.append(_polled(used, job))
    running = "IN_PROGRESS"
    assert seen == [(used.queued, None), (running, None), (running, 1), (running, 2), ("COMPLETED", 3)]


@pytest.mark.parametrize(
    ("result", "seen"),
    [
        ('{"output": null}', {"status": "COMPLETED", "output": None}),
        ("{}", {"status": "COMPLETED"}),
        ('{"output": {"output": [1]}}', {"status": "COMPLETED", "output": {"output": [1]}}),
        ('{"output": [NaN, Infinity, 1]}', {"status": "COMPLETED", "output": [None, None, 1]}),
        ('{"output": 1, "error": null}', {"status": "COMPLETED", "output": 1}),
        ('{"status": "COMPLETED", "output": 1}', {"status": "COMPLETED", "output": 1}),
        ('{"error": "boom"}', {"status": "FAILED", "error": "boom"}),
        ('{"output": {"x": 1}, "error": "soft"}', {"status": "FAILED", "error": "soft", "output": {"x": 1}}),
        ('{"error": {"code": 5}}', {"status": "FAILED", "error": '{"code": 5}'}),
    ],
)
def test_results(used: Desk, result: str, seen: Json) -> None:
    """What a worker posts, and what the client gets: an output as it is, an error always as text."""
    assert used.ended(result)[1] == seen


def test_unreadable_result(used: Desk) -> None:
    """A result that is no JSON is acknowledged, because its worker will not send another, and fails the job."""
    seen = used.ended('{"output": ')[1]
    assert seen["status"] == "FAILED"
    assert seen["error"].startswith("the worker posted a result that cannot be read: ")


def test_runsync(used: Desk) -> None:
    """`/runsync` answers with the status: as it stands when the wait is over, or the end as soon as it comes."""
    early = used.post("/runsync", {"input": 1}, wait=1000)
    assert early == {"id": early["id"], "status": used.queued}
    assert early["id"].startswith("sync-")
    assert used.hands.take()["id"] == early["id"]
    assert used.get(f"/status/{early['id']}")["delayTime"] == used.times(early["id"])["delayTime"] >= 1000
    used.hands.finish(early["id"], b'{"output": "first"}')

    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(used.post, "/runsync", {"input": 2})
        job = used.hands.take()["id"]
        used.hands.finish(job, b'{"output": "second"}')
        end = waiting.result()
    expected = {"id": job, "status": "COMPLETED", "output": "second", "workerId": used.hands.id}
    assert end == expected | used.times(job)


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_status_sync(used: Desk, method: str) -> None:
    """`/status-sync` waits for the end, at most as long as it is told."""
    job = used.run()
    assert used.ask(method, f"/status-sync/{job}", params={"wait": 1000}).json() == {"id": job, "status": used.queued}
    used.hands.take()
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(used.ask, method, f"/status-sync/{job}", params={"wait": 300_000})
        used.hands.finish(job, b'{"output": 1}')
        assert waiting.result().json() == used.get(f"/status/{job}")


@pytest.mark.parametrize("path", ["/status", "/status-sync", "/stream", "/cancel"])
def test_get_and_post_alike(used: Desk, path: str) -> None:
    """Clients disagree on the method: both work, with and without a body."""
    job, _ = used.ended('{"output": 1}')
    answers = [
        used.ask("GET", f"{path}/{job}"),
        used.ask("POST", f"{path}/{job}"),
        used.ask("POST", f"{path}/{job}", json={}),
    ]
    assert [answer.status_code for answer in answers] == [200, 200, 200]
    assert answers[0].json() == answers[1].json() == answers[2].json()


def test_query_ttl_has_no_effect(used: Desk) -> None:
    """`?ttl=` of a status is accepted."""
    job, _ = used.ended('{"output": 1}')
    assert used.get(f"/status/{job}", ttl=10_000) == used.get(f"/status/{job}")


def test_timed_out(live: LiveServer, hands: Hands, name: str) -> None:
    """Too long on a worker, or too long on the way: TIMED_OUT, with the reason as the error. A retry can follow."""
    desks = [Desk(dialect=dialect, name=name, api=live.api, hands=hands) for dialect in QUEUED]
    running = desks[0].run(1, policy={"executionTimeout": 5_000})
    assert hands.take()["id"] == running
    waiting = desks[0].run(2, policy={"ttl": 10_000, "lowPriority": True})
    live.finished(running)
    live.finished(waiting)
    for desk in desks:
        limit = {"error": "execution_limit: it ran longer than its execution timeout of 5 s", "workerId": hands.id}
        assert desk.get(f"/status/{running}") == {"id": running, "status": "TIMED_OUT"} | limit | desk.times(running)
        assert desk.times(running)["executionTime"] >= 5_000
        ttl = {"error": "ttl_passed: its time to live passed"}
        assert desk.get(f"/status/{waiting}") == {"id": waiting, "status": "TIMED_OUT"} | ttl
    assert desks[0].post(f"/retry/{waiting}") == {"id": waiting, "status": "PENDING"}
    assert desks[1].post(f"/cancel/{waiting}") == {"id": waiting, "status": "CANCELLED"}


# ── ending and repeating ──────────────────────────────────────────────────────────────────────────────────────────────


def test_cancel_queued(used: Desk) -> None:
    """A queued job is over at once: exactly id and status."""
    job = used.run()
    assert used.post(f"/cancel/{job}") == {"id": job, "status": "CANCELLED"}
    assert used.get(f"/status/{job}") == {"id": job, "status": "CANCELLED"}


def test_cancel_running(desk: Desk) -> None:
    """A running job is over at once for its client; its worker is told to stop, and what it still posts is acknowledged."""
    job = desk.run()
    desk.hands.take()
    assert desk.post(f"/cancel/{job}") == {"id": job, "status": "CANCELLED"}
    stops = httpx.get(desk.hands.url("GET_JOB").replace("/job-take/", "/job-stop/"), timeout=60)
    assert stops.json() == {"jobsToStop": [job]}
    assert desk.hands.finish(job, b'{"output": "late"}').status_code == 200
    cancelled = {"id": job, "status": "CANCELLED", "workerId": desk.hands.id}
    assert desk.get(f"/status/{job}") == cancelled | {"delayTime": desk.times(job)["delayTime"]}


@pytest.mark.parametrize(("result", "status"), [('{"output": 1}', "COMPLETED"), ('{"error": "x"}', "FAILED")])
def test_cancel_of_what_is_over(used: Desk, result: str, status: str) -> None:
    """Cancelling a job that is over changes nothing and says how it ended."""
    job, _ = used.ended(result)
    before = used.get(f"/status/{job}")
    assert used.post(f"/cancel/{job}") == {"id": job, "status": status}
    assert used.get(f"/status/{job}") == before


def test_python_sends_no_body(used: Desk) -> None:
    """The Python client cancels and purges with a JSON content type and no body at all."""
    job = used.run()
    headers = {"Content-Type": "application/json", "Content-Length": "0"}
    assert used.ask("POST", f"/cancel/{job}", headers=headers).json() == {"id": job, "status": "CANCELLED"}
    assert used.ask("POST", "/purge-queue", headers=headers).json() == {"removed": 0, "status": "completed"}


def test_purge(used: Desk) -> None:
    """Purging cancels what waits and leaves alone what runs."""
    running, *waiting = [used.run() for _ in range(3)]
    assert used.hands.take()["id"] == running
    assert used.post("/purge-queue", {}) == {"removed": 2, "status": "completed"}
    assert [used.get(f"/status/{job}") for job in waiting] == [{"id": job, "status": "CANCELLED"} for job in waiting]
    assert used.get(f"/status/{running}")["status"] == "IN_PROGRESS"
    used.hands.finish(running, b"{}")


def test_retry(used: Desk) -> None:
    """A failed job runs again under its id, with its input; of the first run nothing is left to see."""
    job = used.run({"a": 1}, s3Config=S3)
    used.hands.take()
    used.hands.part(job, b'{"output": "old"}')
    used.hands.finish(job, b'{"output": "half", "error": "x"}')
    assert used.post(f"/retry/{job}") == {"id": job, "status": used.queued}
    assert used.get(f"/status/{job}") == {"id": job, "status": used.queued}
    assert used.hands.take() == {"id": job, "input": {"a": 1}, "s3Config": S3}
    used.hands.finish(job, b"{}")
    assert used.get(f"/status/{job}") == {"id": job, "status": "COMPLETED", "workerId": used.hands.id} | used.times(job)
    assert used.get(f"/stream/{job}") == {"status": "COMPLETED", "stream": []}


def test_retry_of_what_did_not_fail(used: Desk) -> None:
    """Only failed and timed-out jobs run again."""
    completed, _ = used.ended("{}")
    queued, cancelled = used.run(), used.run()
    used.post(f"/cancel/{cancelled}")
    for job, state in ((completed, "completed"), (queued, "queued"), (cancelled, "cancelled")):
        answer = used.ask("POST", f"/retry/{job}")
        assert (answer.status_code, answer.json()["code"]) == (400, "not_retryable")
        assert f"the job is {state}" in answer.json()["error"]
    used.post(f"/cancel/{queued}")


def test_idempotency_key(used: Desk, tmp_path: Path) -> None:
    """The same key with the same body is the same job, in both dialects; with another body it is refused."""
    key = {"Idempotency-Key": f"{used.dialect}-{tmp_path}"}
    first = used.ask("POST", "/run", json={"input": 1}, headers=key).json()
    assert used.ask("POST", "/run", json={"input": 1}, headers=key).json() == first
    other = "v1" if used.dialect == "v2" else "v2"
    assert used.api.post(f"/{other}/{used.name}/run", json={"input": 1}, headers=key).json()["id"] == first["id"]
    refused = used.ask("POST", "/run", json={"input": 2}, headers=key)
    assert (refused.status_code, refused.json()["code"]) == (409, "idempotency_mismatch")
    assert used.post("/purge-queue")["removed"] == 1


# ── what reaches the worker ───────────────────────────────────────────────────────────────────────────────────────────


def test_what_the_worker_gets(used: Desk) -> None:
    """The worker gets id and input, even an empty one, and the S3 configuration; nothing else that was sent along."""
    policy = {"executionTimeout": 60_000, "ttl": 3_600_000, "lowPriority": False}
    for order in ({"a": [1, None]}, {}, None, "text", 0):
        job = used.run(order, policy=policy, webhook="https://example.com/hook", unknown={"x": 1}, webhookV2="x")
        assert used.hands.take() == {"id": job, "input": order}
        used.hands.finish(job, b"{}")


def test_s3_config_is_never_shown(used: Desk) -> None:
    """Credentials go to the worker and nowhere else."""
    job = used.run({"a": 1}, s3Config=S3)
    assert used.hands.take()["s3Config"] == S3
    used.hands.finish(job, b'{"error": "x"}')
    places = [f"/{used.dialect}/{used.name}/status/{job}?detail=true", f"/api/jobs/{job}", f"/api/jobs/{job}/why"]
    assert not [place for place in places if "geheim" in used.api.get(place).text]


def test_reports_are_always_acknowledged(used: Desk) -> None:
    """Repeated, late and unknown results are answered 200 and change nothing: a worker would lose what is refused."""
    job, seen = used.ended('{"output": "first"}')
    for result in (b'{"output": "second"}', b'{"error": "x"}', b'{"status": "IN_PROGRESS", "output": "late"}'):
        assert used.hands.finish(job, result).status_code == 200
    assert used.hands.part(job, b'{"output": "late"}').status_code == 200
    assert used.hands.finish("nobody-knows-it", b"{}").status_code == 200
    assert used.hands.part("nobody-knows-it", b'{"output": 1}').status_code == 200
    assert seen.items() <= used.get(f"/status/{job}").items()
    assert used.get(f"/stream/{job}") == {"status": "COMPLETED", "stream": []}


# ── streams ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_stream(used: Desk) -> None:
    """Each poll brings the parts that no poll brought before; the final one brings all that remain, then only `[]`."""
    job = used.run()
    assert used.get(f"/stream/{job}", wait=1000) == {"status": used.queued, "stream": []}
    used.hands.take()
    for part in (b'{"output": "one"}', b'{"output": {"two": 2}}'):
        used.hands.part(job, part)
    parts = [{"output": "one"}, {"output": {"two": 2}}]
    assert used.get(f"/stream/{job}") == {"status": "IN_PROGRESS", "stream": parts}
    assert used.get(f"/stream/{job}") == {"status": "IN_PROGRESS", "stream": []}
    used.hands.part(job, b'{"output": null}')
    used.hands.part(job, b'{"output": NaN}')
    used.hands.finish(job, b'{"output": []}')
    assert used.get(f"/stream/{job}") == {"status": "COMPLETED", "stream": [{"output": None}, {"output": None}]}
    assert used.get(f"/stream/{job}") == {"status": "COMPLETED", "stream": []}
    assert used.get(f"/status/{job}")["output"] == []


def test_stream_waits_for_a_part(used: Desk) -> None:
    """An empty poll is held until a part comes, so that clients which poll without a pause do not hammer."""
    job = used.run()
    used.hands.take()
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(used.get, f"/stream/{job}", wait=300_000)
        used.hands.part(job, b'{"output": 1}')
        assert waiting.result() == {"status": "IN_PROGRESS", "stream": [{"output": 1}]}
    used.hands.finish(job, b"{}")


def test_stream_of_a_failure(used: Desk) -> None:
    """Parts before an error are delivered with the final status."""
    job = used.run()
    used.hands.take()
    used.hands.part(job, b'{"output": 1}')
    used.hands.finish(job, b'{"error": "dry"}')
    assert used.get(f"/stream/{job}") == {"status": "FAILED", "stream": [{"output": 1}]}
    assert used.get(f"/stream/{job}") == {"status": "FAILED", "stream": []}


def test_large_stream_comes_in_pieces(used: Desk) -> None:
    """While a job runs one poll brings at most 4 MiB, in order; a final poll withholds nothing."""
    job = used.run()
    used.hands.take()
    parts = [f'"{index}{"x" * 1_000_000}"' for index in range(12)]
    for part in parts[:6]:
        used.hands.part(job, b'{"output": %b}' % part.encode())
    first = used.get(f"/stream/{job}")["stream"]
    for part in parts[6:]:
        used.hands.part(job, b'{"output": %b}' % part.encode())
    used.hands.finish(job, b"{}")
    rest = used.get(f"/stream/{job}")
    assert (len(first), rest["status"], len(rest["stream"])) == (4, "COMPLETED", 8)
    assert [part["output"] for part in first + rest["stream"]] == [json.loads(part) for part in parts]


def test_cancelled_stream(used: Desk) -> None:
    """The stream of a cancelled job ends once with 200 and its parts, then with 404: one client knows no other end."""
    job = used.run()
    used.post(f"/cancel/{job}")
    assert used.get(f"/stream/{job}") == {"status": "CANCELLED", "stream": []}
    ended = used.ask("GET", f"/stream/{job}")
    assert (ended.status_code, ended.json()["code"]) == (404, "stream_ended")
    assert used.get(f"/status/{job}")["status"] == "CANCELLED"


# ── counters and details ──────────────────────────────────────────────────────────────────────────────────────────────


def test_counters(desk: Desk) -> None:
    """`/health` has all of Runpod's eleven counters; `/stats` is Novita's alone."""
    desk.ended("{}")
    desk.ended('{"error": "x"}')
    workers = {"idle": 1, "initializing": 0, "ready": 1, "running": 0, "throttled": 0, "unhealthy": 0}
    jobs = {"completed": 1, "failed": 1, "inProgress": 0, "inQueue": 0, "retried": 0}
    assert desk.get("/health") == {"jobs": jobs, "workers": workers}

    for low in (False, False, True):
        desk.run(policy={"lowPriority": low})
    desk.hands.take()
    jobs |= {"inProgress": 1, "inQueue": 2}
    workers |= {"idle": 0, "ready": 0, "running": 1}
    assert desk.get("/health") == {"jobs": jobs, "workers": workers}

    if desk.dialect == "v1":
        counters = {"busy_workers": 1, "in_progress": 1, "pending": 2, "total_workers": 1}
        assert desk.get("/stats") == {"endpoint": desk.name} | counters
    else:
        assert desk.ask("GET", "/stats").status_code == 404


def test_detail(used: Desk) -> None:
    """With `?detail=true` a status also tells why, the place in the queue and what happened so far."""
    first, second = used.run(), used.run()
    assert used.hands.take()["id"] == first
    detail = used.get(f"/status/{second}", detail="true")["detail"]
    assert set(detail) == {"reason", "text", "position", "attempt", "timeline"}
    assert (detail["position"], detail["attempt"]) == (0, 0)
    assert [line["kind"] for line in detail["timeline"]] == ["submitted"]

    used.hands.finish(first, b'{"error": "boom"}')
    detail = used.get(f"/status/{first}", detail="1")["detail"]
    assert (detail["reason"], detail["text"]) == ("handler_error", "failed: the handler reported an error: boom")
    assert (detail["position"], detail["attempt"]) == (None, 1)
    assert [line["kind"] for line in detail["timeline"]] == ["submitted", "claimed", "finished"]
    assert {line["worker"] for line in detail["timeline"][1:]} == {used.hands.id}
    assert "detail" not in used.get(f"/status/{first}", detail="false")
    used.post(f"/cancel/{second}")


# ── quirks of clients, and errors ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("header", [f"Bearer {KEY}", KEY, f"bearer {KEY}", f"Bearer  {KEY}"])
def test_key_with_and_without_bearer(live: LiveServer, used: Desk, header: str) -> None:
    """Runpod's own examples send the bare key."""
    answer = httpx.get(f"{live.url}/{used.dialect}/{used.name}/health", headers={"Authorization": header})
    assert answer.status_code == 200


def test_polls_of_a_revoked_key(live: LiveServer, used: Desk) -> None:
    """A key that was believed in the last poll opens nothing in the next when it was revoked between them."""
    made = live.api.post("/api/keys", json={"name": "polls", "scopes": ["read"]}).json()
    url, headers = (
        f"{live.url}/{used.dialect}/{used.name}/status/{used.run()}",
        {"Authorization": f"Bearer {made['secret']}"},
    )
    assert [httpx.get(url, headers=headers).status_code for _ in range(3)] == [200] * 3
    live.api.delete(f"/api/keys/{made['id']}")
    assert httpx.get(url, headers=headers).status_code == 401


def test_slashes(live: LiveServer, used: Desk) -> None:
    """Clients glue paths to a base URL that ends with a slash."""
    job = used.run()
    headers = {"Authorization": f"Bearer {KEY}"}
    answer = httpx.post(f"{live.url}//{used.dialect}//{used.name}//cancel/{job}", headers=headers)
    assert (answer.status_code, answer.json()) == (200, {"id": job, "status": "CANCELLED"})


def test_endpoint_by_name_id_and_app(live: LiveServer, hands: Hands, tmp_path: Path, name: str) -> None:
    """A URL names an endpoint by its name or its id; with an app name also by id, hyphen and app name."""
    made = live.create(f"{name}-app", image=tmp_path, command="sleep 600", app_name="async", max_workers=1)
    words = [f"{name}-app", made["id"], f"{made['id']}-async"]
    assert [live.api.get(f"/v1/{word}/stats").json()["endpoint"] for word in words] == words
    assert live.api.get(f"/v2/{hands.endpoint['id']}/health").status_code == 200


def _policy(**policy: Any) -> Json:
    return {"input": 1, "policy": policy}


@pytest.mark.parametrize(
    ("method", "path", "words", "status", "code", "field"),
    [
        ("POST", "/run", {"content": b""}, 400, "invalid_json", "body"),
        ("POST", "/run", {"content": b'{"input": 1'}, 400, "invalid_json", "body"),
        ("POST", "/run", {"content": b'{"input": NaN}'}, 400, "invalid_json", "body"),
        ("POST", "/run", {"content": b'{"input": "\xff"}'}, 400, "invalid_json", "body"),
        ("POST", "/run", {"json": []}, 400, "invalid_input", "body"),
        ("POST", "/run", {"json": {"prompt": "x"}}, 400, "invalid_input", "input"),
        ("POST", "/runsync", {"json": {}}, 400, "invalid_input", "input"),
        ("POST", "/run", {"json": {"input": 1, "policy": 1}}, 400, "invalid_input", "policy"),
        ("POST", "/run", {"json": _policy(ttl="1")}, 400, "invalid_input", "policy.ttl"),
        ("POST", "/run", {"json": _policy(ttl=9_999)}, 400, "out_of_range", "policy.ttl"),
        ("POST", "/run", {"json": _policy(ttl=604_800_001)}, 400, "out_of_range", "policy.ttl"),
        ("POST", "/run", {"json": _policy(executionTimeout=4_999)}, 400, "out_of_range", "policy.executionTimeout"),
        ("POST", "/run", {"json": {"input": 1, "webhook": "ftp://x"}}, 400, "invalid_input", "webhook"),
        ("POST", "/run", {"json": {"input": 1, "s3Config": []}}, 400, "invalid_input", "s3Config"),
        ("POST", "/runsync?wait=999", {"json": {"input": 1}}, 400, "out_of_range", "wait"),
        ("POST", "/runsync?wait=300001", {"json": {"input": 1}}, 400, "out_of_range", "wait"),
        ("GET", "/status-sync/x?wait=soon", {}, 400, "out_of_range", "wait"),
        ("GET", "/status/nobody", {}, 404, "job_not_found", None),
        ("GET", "/stream/nobody", {}, 404, "job_not_found", None),
        ("POST", "/cancel/nobody", {}, 404, "job_not_found", None),
        ("POST", "/retry/nobody", {}, 404, "job_not_found", None),
        ("GET", "/run", {}, 405, "method_not_allowed", None),
        ("GET", "/nowhere", {}, 404, "no_such_route", None),
    ],
)
def test_refusals(used: Desk, method: str, path: str, words: Json, status: int, code: str, field: str | None) -> None:
    """Every refusal is JSON with the same four keys: what is wrong, a stable code, the field, and what to do next."""
    answer = used.ask(method, path, **words)
    body = answer.json()
    assert (answer.status_code, body["code"], body["field"]) == (status, code, field)
    assert set(body) == {"error", "code", "field", "next_step"}
    assert body["error"]
    assert used.get("/health")["jobs"]["inQueue"] == 0


def test_unknown_endpoint(live: LiveServer) -> None:
    """An endpoint that is not there is refused before the body is looked at."""
    for dialect in QUEUED:
        answer = live.api.post(f"/{dialect}/nobody/run", content=b"not json")
        assert (answer.status_code, answer.json()["code"]) == (404, "endpoint_not_found")
        assert answer.json()["next_step"] == "list yours with: stoker endpoint ls"
