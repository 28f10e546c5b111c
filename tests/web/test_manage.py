"""The management API as its users meet it: endpoints and releases, jobs, workers and keys."""

from __future__ import annotations

import json
import re
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from stoker.audit import Actor
from stoker.catalog import Catalog, Defaults
from stoker.clock import ManualClock
from stoker.endpoint import LIMITS
from stoker.errors import Conflict
from stoker.ids import TeamId
from stoker.runtimes.fake import FakeRuntime, FakeWorker
from stoker.signals import Signals
from stoker.store.sqlite import MEMORY, SqliteStore
from tests.live import LiveServer, until
from tests.web.hands import COMMAND, WORKERS, Hands

pytestmark = pytest.mark.slow

IMAGE = f"dir:{WORKERS}"
Json = dict[str, Any]


@pytest.fixture
def idle(live: LiveServer, name: str) -> str:
    """An endpoint with nothing to do; its jobs stay queued, since its workers never ask for one."""
    live.create(name, image=WORKERS, command="sleep 600", max_workers=1)
    return name


def refused(answer: httpx.Response, status: int, code: str, field: str | None = None) -> str:
    """The text of a refusal, which must be this one."""
    assert answer.status_code == status, answer.text
    body = answer.json()
    assert (body["code"], body["field"]) == (code, field)
    return str(body["error"])


# ── endpoints ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_defaults(api: httpx.Client) -> None:
    """An image and a command are enough: the name is drawn, the rest has documented defaults."""
    answer = api.post("/api/endpoints", json={"image": IMAGE, "command": COMMAND})
    assert answer.status_code == 201
    made = answer.json()
    assert re.fullmatch("[0-9a-f]{16}", made["name"])
    expected = {
        "image": IMAGE,
        "command": COMMAND,
        "app_name": "",
        "env": {},
        "gpus_per_worker": 0,
        "min_workers": 0,
        "max_workers": 3,
        "idle_timeout_s": 60,
        "slots": 1,
        "policy": {"type": "queue_requests", "value": 1},
        "execution_timeout_ms": 600_000,
        "ttl_ms": 86_400_000,
        "retries": 1,
        "retention_s": 21_600,
        "version": 1,
    }
    assert {field: made[field] for field in expected} == expected
    assert made["release"]["number"] == 1
    assert made["workers"] == {"starting": 0, "idle": 0, "busy": 0, "draining": 0, "total": 0}
    assert set(made["jobs"].values()) == {0}


def test_all_fields(live: LiveServer, api: httpx.Client, name: str) -> None:
    """Every field that is given is stored and shown, and the endpoint answers to its name, its id and `{id}-{app}`."""
    fields: Json = {
        "name": name,
        "app_name": "drawing",
        "image": IMAGE,
        "command": COMMAND,
        "env": {"COLOUR": "blau ü", "EMPTY": ""},
        "gpus_per_worker": 0,
        "min_workers": 0,
        "max_workers": 7,
        "idle_timeout_s": 9,
        "slots": 5,
        "policy": {"type": "queue_delay", "value": 30},
        "execution_timeout_ms": 5_000,
        "ttl_ms": 10_000,
        "retries": 10,
        "retention_s": 60,
    }
    made = api.post("/api/endpoints", json=fields).json()
    assert {field: made[field] for field in fields} == fields
    assert made["urls"] == {"v1": f"{live.url}/v1/{name}", "v2": f"{live.url}/v2/{name}"}
    for word in (name, made["id"], f"{made['id']}-drawing"):
        assert api.get(f"/api/endpoints/{word}").json()["id"] == made["id"]
        assert api.get(f"/v2/{word}/health").status_code == 200


def test_min_workers_raises_the_default_of_max_workers(api: httpx.Client, name: str) -> None:
    """Who asks for more than the default maximum gets it without saying so twice."""
    made = api.post(
        "/api/endpoints", json={"name": name, "image": IMAGE, "command": "sleep 600", "min_workers": 4}
    ).json()
    assert made["max_workers"] == 4
    api.delete(f"/api/endpoints/{name}")


def with_field(field: str, value: int) -> dict[str, Any]:
    """A change that sets one field, and what that one cannot be without."""
    top, _, inner = field.partition(".")
    if top == "health":
        return {"http_port": 8000, "health": {"path": "/health", inner: value}}
    return {top: {inner: value} if inner else value}


SET_WITH_THE_REST = LIMITS.keys() - {"rate"}
"""A rate is set by a call of its own: it is the operator's."""


@pytest.mark.parametrize("field", sorted(SET_WITH_THE_REST))
def test_ranges(api: httpx.Client, idle: str, field: str) -> None:
    """One below and one above each range is refused, at creation and at change, with field, value and range."""
    limit = LIMITS[field]
    for value in (limit.least - 1, limit.most + 1):
        change = with_field(field, value)
        for answer in (
            api.post("/api/endpoints", json={"image": IMAGE, "command": COMMAND} | change),
            api.patch(f"/api/endpoints/{idle}", json=change),
        ):
            text = refused(answer, 400, "out_of_range", field)
            assert f"{field} is {value}" in text
            assert f"{limit.least} to {limit.most} {limit.unit}" in text
    assert api.get(f"/api/endpoints/{idle}").json()["version"] == 1


def test_range_of_a_rate(api: httpx.Client, idle: str) -> None:
    """An endpoint's rate has its range in the call that sets it."""
    for value in (0, 1_000_001):
        text = refused(api.put(f"/api/endpoints/{idle}/rate", json={"rate": value}), 400, "out_of_range", "rate")
        assert f"rate is {value}" in text
        assert "1 to 1000000 requests in 10 s" in text


@pytest.mark.parametrize("field", sorted(SET_WITH_THE_REST - {"gpus_per_worker", "min_workers"}))
def test_ends_of_ranges_are_inside(api: httpx.Client, idle: str, field: str) -> None:
    """The least and the greatest value are accepted and shown as they were given; no job ahead is shown by its word."""
    top, _, inner = field.partition(".")
    for value in (LIMITS[field].most, LIMITS[field].least):
        shown = api.patch(f"/api/endpoints/{idle}", json=with_field(field, value)).json()
        assert (shown[top][inner] if inner else shown[top]) == (
            "off" if (field, value) == ("deliver_ahead", 0) else value
        )


@pytest.mark.parametrize("word", ["auto", "off", 7])
def test_words_for_delivering_ahead(api: httpx.Client, idle: str, word: str | int) -> None:
    """The setting is a word or a number, and is shown as it was given."""
    assert api.patch(f"/api/endpoints/{idle}", json={"deliver_ahead": word}).json()["deliver_ahead"] == word


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"colour": "blue"}, "colour"),
        ({"policy": {"kind": "x"}}, "policy.kind"),
        ({"policy": {"type": "guess"}}, "policy.type"),
        ({"max_workers": "3"}, "max_workers"),
        ({"max_workers": 3.5}, "max_workers"),
        ({"slots": True}, "slots"),
        ({"env": {"A": 1}}, "env.A"),
        ({"env": ["A=1"]}, "env"),
        ({"min_workers": 3, "max_workers": 2}, "min_workers"),
        ({"name": ""}, "name"),
        ({"name": "a/b"}, "name"),
        ({"name": "x" * 221}, "name"),
        ({"app_name": "Ä"}, "app_name"),
        ({"image": ""}, "image"),
        ({"image": "dir:/nowhere"}, "image"),
        ({"command": "no-such-program-here"}, "command"),
        ({"env": {"1A": "x"}}, "env.1A"),
        ({"env": {"RUNPOD_POD_ID": "x"}}, "env.RUNPOD_POD_ID"),
        ({"env": {"A": "\0"}}, "env.A"),
    ],
)
def test_wrong_values(api: httpx.Client, change: Json, field: str) -> None:
    """What is unknown, of another type or impossible is refused by the name of the field."""
    answer = api.post("/api/endpoints", json={"image": IMAGE, "command": COMMAND} | change)
    assert answer.status_code == 400, answer.text
    assert answer.json()["field"] == field
    assert answer.json()["code"]


def test_image_is_required(api: httpx.Client) -> None:
    """There is no endpoint without an image."""
    assert "image" in refused(api.post("/api/endpoints", json={}), 400, "invalid_input", "image")


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b'{"image": "\xff"}', b"[" * 100_000, b"1" * 5_000])
def test_body_that_is_no_json_object(api: httpx.Client, body: bytes) -> None:
    """A body that cannot be read is refused as such, not as some field."""
    answer = api.post("/api/endpoints", content=body)
    assert answer.status_code == 400
    assert answer.json()["code"] in ("invalid_json", "invalid_input")
    assert answer.json()["field"] == "body"


def test_name_is_taken(api: httpx.Client, idle: str) -> None:
    """Two endpoints never answer to one word, be it by creation or by renaming; upper case is another name."""
    refused(
        api.post("/api/endpoints", json={"name": idle, "image": IMAGE, "command": COMMAND}), 409, "name_taken", "name"
    )
    other = api.post("/api/endpoints", json={"name": idle.upper(), "image": IMAGE, "command": COMMAND})
    assert other.status_code == 201
    refused(api.patch(f"/api/endpoints/{idle.upper()}", json={"name": idle}), 409, "name_taken", "name")
    refused(api.patch(f"/api/endpoints/{idle}", json={"name": other.json()["id"]}), 409, "name_taken", "name")


def test_name_is_taken_in_a_race(api: httpx.Client, name: str) -> None:
    """Of many that want one name at the same time one gets it."""
    body = {"name": name, "image": IMAGE, "command": COMMAND}
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: api.post("/api/endpoints", json=body).status_code, range(8)))
    assert sorted(answers) == [201, *[409] * 7]


def test_change_keeps_the_rest(api: httpx.Client, idle: str) -> None:
    """A change touches the given fields only; null and half a policy leave the rest as it is."""
    before = api.patch(
        f"/api/endpoints/{idle}", json={"idle_timeout_s": 9, "policy": {"type": "queue_delay", "value": 7}}
    ).json()
    after = api.patch(
        f"/api/endpoints/{idle}", json={"slots": 4, "policy": {"value": 8}, "retries": None, "name": f"{idle}-new"}
    ).json()
    changed = {field for field in before if before[field] != after[field]}
    assert changed - {"decision"} == {"slots", "policy", "name", "version", "urls"}
    assert after["policy"] == {"type": "queue_delay", "value": 8}
    assert api.get(f"/api/endpoints/{idle}").status_code == 404
    assert api.get(f"/api/endpoints/{idle}-new").json()["slots"] == 4


def test_app_name_cannot_be_changed(api: httpx.Client, idle: str) -> None:
    """It is part of a URL that clients know."""
    refused(api.patch(f"/api/endpoints/{idle}", json={"app_name": "other"}), 400, "invalid_input", "app_name")


@pytest.mark.parametrize("change", [{"env": {"A": "1"}}, {"command": "sleep 601"}, {"image": "dir:{tmp}"}])
def test_another_work_is_another_release(api: httpx.Client, idle: str, tmp_path: Path, change: Json) -> None:
    """What workers execute makes a release; saying the same again makes none."""
    wish = {field: value.format(tmp=tmp_path) if field == "image" else value for field, value in change.items()}
    for _again in range(2):
        assert api.patch(f"/api/endpoints/{idle}", json=wish).json()["release"]["number"] == 2
    releases = api.get(f"/api/endpoints/{idle}/releases").json()["releases"]
    assert [one["number"] for one in releases] == [2, 1]
    (field,) = wish
    assert releases[0][field] == wish[field]
    assert releases[1]["command"] == "sleep 600"


@pytest.mark.parametrize(
    "change",
    [
        {"min_workers": 0, "max_workers": 2, "idle_timeout_s": 5, "slots": 2, "policy": {"value": 2}},
        {"execution_timeout_ms": 6_000, "ttl_ms": 60_000, "retries": 0, "retention_s": 61},
        {"name": "another-name-than-before"},
    ],
)
def test_settings_make_no_release(api: httpx.Client, idle: str, change: Json) -> None:
    """What only says how many workers and how long jobs live replaces no worker."""
    before = api.get(f"/api/endpoints/{idle}").json()
    after = api.patch(f"/api/endpoints/{idle}", json=change).json()
    assert after["release"] == before["release"]
    assert after["version"] == 2
    api.delete(f"/api/endpoints/{after['id']}")


def test_settings_can_change_without_the_image(api: httpx.Client, name: str, tmp_path: Path) -> None:
    """An endpoint whose image is gone can still be scaled down; only a new release asks for its image."""
    image = tmp_path / "image"
    shutil.copytree(WORKERS, image)
    api.post("/api/endpoints", json={"name": name, "image": f"dir:{image}", "command": COMMAND})
    shutil.rmtree(image)
    assert api.patch(f"/api/endpoints/{name}", json={"max_workers": 1}).status_code == 200
    refused(api.patch(f"/api/endpoints/{name}", json={"env": {"A": "1"}}), 400, "invalid_input", "image")


def test_changes_at_once(api: httpx.Client, idle: str) -> None:
    """Every change that is answered 200 counts; the others are refused with `version_changed`."""
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda slots: api.patch(f"/api/endpoints/{idle}", json={"slots": slots}), range(2, 26)))
    kept = [answer.json() for answer in answers if answer.status_code == 200]
    for answer in answers:
        if answer.status_code != 200:
            refused(answer, 409, "version_changed")
    now = api.get(f"/api/endpoints/{idle}").json()
    assert sorted(one["version"] for one in kept) == list(range(2, len(kept) + 2))
    assert now["slots"] == max(kept, key=lambda one: int(one["version"]))["slots"]


async def test_change_of_a_change_is_refused() -> None:
    """A change made from what somebody else has changed meanwhile is refused: nothing is overwritten unseen."""

    async def program(worker: FakeWorker) -> int:
        await worker.terminated.wait()
        return 0

    store = await SqliteStore.open(MEMORY)
    catalog = Catalog(store, ManualClock(), Signals(), FakeRuntime(program), Defaults(retention_s=60))
    await catalog.teams.bootstrap("sk_x")
    first = await store.teams.first()
    assert first is not None
    by = Actor(team=first.id)
    seen = await catalog.create(by, {"image": "fake"})
    await catalog.update(by, seen, {"slots": 2})
    with pytest.raises(Conflict, match="somebody else") as refusal:
        await catalog.update(by, seen, {"retries": 2})
    assert refusal.value.code == "version_changed"
    with pytest.raises(Conflict):
        await catalog.delete(by, seen)
    assert (await catalog.find(TeamId(first.id), seen.endpoint.id)).slots == 2
    await store.close()


def test_delete(live: LiveServer, api: httpx.Client, hands: Hands, name: str, tmp_path: Path) -> None:
    """Deleting cancels what is queued, lets the running job finish, sends the workers away and frees the name at once."""
    running, queued = live.run(name, 1), live.run(name, 2)
    assert hands.take()["id"] == running
    gone = api.delete(f"/api/endpoints/{name}")
    assert gone.status_code == 200
    again = api.post("/api/endpoints", json={"name": name, "image": IMAGE, "command": "sleep 600"})
    assert again.status_code == 201
    assert (live.job(queued)["state"], live.job(queued)["reason"]) == ("cancelled", "purged")
    assert hands.finish(running, b'{"output": "done"}').status_code == 200
    assert live.finished(running)["output"] == "done"
    until(lambda: api.get(f"/api/workers/{hands.id}").json()["state"] == "gone", what="the worker to go")
    assert live.job(running)["endpoint"] == {"id": hands.endpoint["id"], "name": name}
    assert api.get(f"/api/endpoints/{hands.endpoint['id']}").status_code == 404
    assert api.delete(f"/api/endpoints/{hands.endpoint['id']}").status_code == 404


def test_job_that_falls_back_to_a_deleted_endpoint(
    live: LiveServer, api: httpx.Client, hands: Hands, name: str
) -> None:
    """Nobody will ever run it: it is cancelled, not kept waiting until its time to live is over."""
    job = live.run(name, 1)
    assert hands.take()["id"] == job
    api.delete(f"/api/endpoints/{name}")
    api.post(f"/api/workers/{hands.id}/stop", json={"now": True})
    assert live.finished(job)["state"] == "cancelled"


def test_job_of_a_deleted_endpoint_cannot_be_retried(
    live: LiveServer, api: httpx.Client, hands: Hands, name: str
) -> None:
    """There is nobody to run it again."""
    job = live.run(name, 1)
    hands.take()
    hands.finish(job, b'{"error": "no"}')
    api.delete(f"/api/endpoints/{name}")
    refused(api.post(f"/api/jobs/{job}/retry"), 409, "endpoint_deleted")
    assert live.job(job)["state"] == "failed"


def test_list(api: httpx.Client, idle: str) -> None:
    """All endpoints of the team, by name, each as it shows itself."""
    listed = api.get("/api/endpoints").json()["endpoints"]
    names = [one["name"] for one in listed]
    assert names == sorted(names)
    (mine,) = [one for one in listed if one["name"] == idle]
    assert mine.keys() == api.get(f"/api/endpoints/{idle}").json().keys()


def test_unknown_endpoint(api: httpx.Client) -> None:
    """Every route below an endpoint that does not exist answers 404 with the way on."""
    for method, path in (
        ("GET", ""),
        ("PATCH", ""),
        ("DELETE", ""),
        ("GET", "/releases"),
        ("GET", "/workers"),
        ("GET", "/jobs"),
        ("POST", "/jobs"),
        ("POST", "/purge-queue"),
    ):
        answer = api.request(method, f"/api/endpoints/nobody{path}", json={} if method in ("PATCH", "POST") else None)
        assert "'nobody'" in refused(answer, 404, "endpoint_not_found", "endpoint")
        assert answer.json()["next_step"] == "list yours with: stoker endpoint ls"


# ── jobs ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_pages_of_jobs(live: LiveServer, api: httpx.Client, idle: str) -> None:
    """Newest first; `before` continues where the page ended; a state filters; nothing is shown twice."""
    made = [live.run(idle, number) for number in range(7)]
    api.post(f"/api/jobs/{made[2]}/cancel")

    def page(**query: Any) -> list[str]:
        answer = api.get(f"/api/endpoints/{idle}/jobs", params=query)
        assert answer.status_code == 200, answer.text
        return [job["id"] for job in answer.json()["jobs"]]

    newest = made[::-1]
    assert page() == newest
    first = page(limit=3)
    second = page(limit=3, before=first[-1])
    third = page(limit=3, before=second[-1])
    assert [*first, *second, *third] == newest
    assert page(state="cancelled") == [made[2]]
    assert page(state="queued", limit=2, before=made[3]) == [made[1], made[0]]
    assert page(before="nobody") in ([], newest)


def test_query_out_of_range(api: httpx.Client, idle: str) -> None:
    """A query that makes no sense is refused by name."""
    for path, field in (
        (f"/api/endpoints/{idle}/jobs?limit=0", "limit"),
        (f"/api/endpoints/{idle}/jobs?limit=1001", "limit"),
        (f"/api/endpoints/{idle}/jobs?state=lost", "state"),
        (f"/api/endpoints/{idle}/workers?gone=-1", "gone"),
        ("/api/workers?gone=nan", "gone"),
        ("/api/jobs/x?wait_s=nan", "wait_s"),
        ("/api/jobs/x?wait_s=61", "wait_s"),
        ("/api/workers/x/logs?tail=-1", "tail"),
        ("/api/workers/x/logs?follow=perhaps", "follow"),
    ):
        refused(api.get(path), 400, "invalid_input", field)


def test_submitted_job(api: httpx.Client, idle: str) -> None:
    """The answer is the job in full, with its policy; an idempotency key finds the same job again."""
    body = {"input": {"a": 1}, "policy": {"ttl": 20_000, "lowPriority": True}}
    headers = {"Idempotency-Key": "one"}
    first, again = (api.post(f"/api/endpoints/{idle}/jobs", json=body, headers=headers).json() for _ in range(2))
    assert first["id"] == again["id"]
    assert (first["state"], first["low_priority"], first["position"]) == ("queued", True, 0)
    assert first["expires_ms"] - first["created_ms"] == 20_000
    assert first["why"]["text"]
    assert [line["kind"] for line in first["story"]] == ["submitted"]
    other = api.post(f"/api/endpoints/{idle}/jobs", json={"input": 2}, headers=headers)
    refused(other, 409, "idempotency_mismatch")
    refused(api.post(f"/api/endpoints/{idle}/jobs", json={}), 400, "invalid_input", "input")


def test_life_of_a_job(live: LiveServer, api: httpx.Client, hands: Hands, name: str) -> None:
    """A job shows each stage and why; `wait_s` answers as soon as something changes."""
    job = live.run(name, {"a": 1})
    queued = live.job(job)
    assert (queued["state"], queued["position"]) == ("queued", 0)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(api.get, f"/api/jobs/{job}", params={"wait_s": 60})
        hands.take()
        assert waiting.result().json()["state"] == "running"
        why = api.get(f"/api/jobs/{job}/why").json()
        assert (why["state"], hands.id in why["text"]) == ("running", True)
        waiting = pool.submit(api.get, f"/api/jobs/{job}", params={"wait_s": 60})
        hands.finish(job, b'{"error": "broken"}')
        done = waiting.result().json()
    assert (done["state"], done["reason"], done["error"], done["attempt"]) == ("failed", "handler_error", "broken", 1)
    assert done["story"][0]["kind"] == "submitted"
    assert "broken" in api.get(f"/api/jobs/{job}/why").json()["text"]
    assert api.get(f"/api/jobs/{job}/logs").text == ""


def test_cancel(live: LiveServer, api: httpx.Client, idle: str) -> None:
    """Cancelling ends a job; cancelling again shows it as it is."""
    job = live.run(idle, 1)
    for _again in range(2):
        shown = api.post(f"/api/jobs/{job}/cancel").json()
        assert (shown["id"], shown["state"], shown["position"]) == (job, "cancelled", None)
    refused(api.post(f"/api/jobs/{job}/retry"), 400, "not_retryable")


def test_retry(live: LiveServer, api: httpx.Client, hands: Hands, name: str) -> None:
    """A failed job runs again under its id, and its story tells both lives."""
    job = live.run(name, 1)
    hands.take()
    refused(api.post(f"/api/jobs/{job}/retry"), 400, "not_retryable")
    hands.finish(job, b'{"error": "first"}')
    assert api.post(f"/api/jobs/{job}/retry").json()["state"] == "queued"
    assert hands.take()["id"] == job
    hands.finish(job, b'{"output": "second"}')
    done = live.finished(job)
    assert (done["state"], done["output"], "error" in done) == ("completed", "second", False)


def test_unknown_job(api: httpx.Client) -> None:
    """Every route of a job that does not exist answers 404."""
    for method, path in (("GET", ""), ("GET", "/why"), ("GET", "/logs"), ("POST", "/cancel"), ("POST", "/retry")):
        refused(api.request(method, f"/api/jobs/nobody{path}"), 404, "job_not_found")


def test_purge_queue(live: LiveServer, api: httpx.Client, idle: str) -> None:
    """Every queued job is cancelled, and counted."""
    jobs = [live.run(idle, number) for number in range(3)]
    assert api.post(f"/api/endpoints/{idle}/purge-queue").json() == {"removed": 3}
    assert {live.job(job)["reason"] for job in jobs} == {"purged"}
    assert api.get(f"/api/endpoints/{idle}").json()["jobs"]["queued"] == 0


# ── workers ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_worker(live: LiveServer, api: httpx.Client, hands: Hands, name: str) -> None:
    """A worker is listed with its endpoint, shown with its story, and counts what it holds."""
    job = live.run(name, 1)
    hands.take()
    shown = api.get(f"/api/workers/{hands.id}").json()
    assert (shown["state"], shown["held"], shown["endpoint"]["name"]) == ("ready", 1, name)
    assert {"launched", "first_take"} <= {line["reason"] for line in shown["story"]}
    (listed,) = live.workers(name)
    assert listed["id"] == hands.id
    assert listed in api.get("/api/workers").json()["workers"]
    assert api.get(f"/api/endpoints/{name}").json()["workers"]["busy"] == 1
    hands.finish(job, b"{}")
    assert api.get(f"/api/workers/{hands.id}").json()["held"] == 0


def test_stop_waits_for_jobs(live: LiveServer, api: httpx.Client, hands: Hands, name: str) -> None:
    """A worker that is stopped finishes first; asking twice is no error; a successor comes for the minimum."""
    job = live.run(name, 1)
    hands.take()
    for _again in range(2):
        assert api.post(f"/api/workers/{hands.id}/stop").json()["state"] == "draining"
    hands.finish(job, b'{"output": 1}')
    assert live.finished(job)["state"] == "completed"
    until(lambda: api.get(f"/api/workers/{hands.id}").json()["state"] == "gone", what="the worker to go")
    gone = api.post(f"/api/workers/{hands.id}/stop").json()
    assert (gone["state"], gone["reason"]) == ("gone", "stopped_by_user")
    assert hands.id in [worker["id"] for worker in live.workers(name, gone=5)]
    assert hands.id not in [worker["id"] for worker in live.workers(name)]


def test_stop_now_gives_jobs_back(live: LiveServer, api: httpx.Client, hands: Hands, name: str) -> None:
    """A worker that is stopped at once gives its jobs back to the queue."""
    job = live.run(name, 1)
    hands.take()
    assert api.post(f"/api/workers/{hands.id}/stop", json={"now": True}).json()["state"] in ("stopping", "gone")
    assert (live.job(job)["state"], live.job(job)["reason"]) == ("queued", "worker_stopped")


def test_logs(api: httpx.Client, hands: Hands) -> None:
    """Each line is an object with its moment; `tail` counts from the end; following ends with the worker."""
    lines = [json.loads(line) for line in api.get(f"/api/workers/{hands.id}/logs").text.splitlines()]
    assert [line["text"] for line in lines] == ["up"]
    assert lines[0]["at_ms"] > 0
    assert api.get(f"/api/workers/{hands.id}/logs", params={"tail": 0}).text == ""
    with api.stream("GET", f"/api/workers/{hands.id}/logs", params={"follow": True}) as answer:
        assert answer.headers["content-type"].startswith("application/x-ndjson")
        followed = answer.iter_lines()
        assert json.loads(next(followed))["text"] == "up"
        api.post(f"/api/workers/{hands.id}/stop", json={"now": True})
        assert list(followed) == []


def test_unknown_worker(api: httpx.Client) -> None:
    """Every route of a worker that does not exist answers 404."""
    for method, path in (("GET", ""), ("GET", "/logs"), ("POST", "/stop")):
        refused(api.request(method, f"/api/workers/nobody{path}"), 404, "worker_not_found")


# ── keys ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_keys(live: LiveServer, api: httpx.Client) -> None:
    """A key is shown once, works until it is revoked, stays listed, and may be revoked twice."""
    made = api.post("/api/keys", json={"name": "ci", "scopes": ["run", "read"]}).json()
    headers = {"Authorization": f"Bearer {made['secret']}"}
    me = httpx.get(f"{live.url}/api/me", headers=headers).json()
    assert (me["team"]["id"], me["key"]["id"], me["key"]["scopes"]) == ("team-default", made["id"], ["read", "run"])
    assert httpx.get(f"{live.url}/api/me", headers={"Authorization": made["secret"]}).status_code == 200
    revoked = [api.delete(f"/api/keys/{made['id']}").json()["revoked_ms"] for _again in range(2)]
    assert revoked[0] == revoked[1] > 0
    refused(httpx.get(f"{live.url}/api/me", headers=headers), 401, "unauthenticated")
    (listed,) = [key for key in api.get("/api/keys").json()["keys"] if key["id"] == made["id"]]
    assert listed == {name: value for name, value in made.items() if name != "secret"} | {
        "revoked_ms": revoked[0],
        "used_ms": listed["used_ms"],
    }
    assert listed["used_ms"] > 0


def test_scopes_of_a_new_key(api: httpx.Client) -> None:
    """A key that says nothing may run jobs; unknown scopes, no scope and odd names are refused."""
    assert api.post("/api/keys", json={"name": "plain"}).json()["scopes"] == ["run"]
    for body, field in (
        ({"name": "x", "scopes": ["root"]}, "scopes"),
        ({"name": "x", "scopes": []}, "scopes"),
        ({"name": ""}, "name"),
        ({"name": "a\nb"}, "name"),
        ({"name": "x" * 101}, "name"),
        ({}, "name"),
        ({"name": "x", "team": "other"}, "team"),
    ):
        refused(api.post("/api/keys", json=body), 400, "invalid_input", field)


def test_last_admin_key(stranger: httpx.Client) -> None:
    """The last key that can manage keys cannot be revoked; with another one it can."""
    mine = stranger.get("/api/me").json()["key"]["id"]
    refused(stranger.delete(f"/api/keys/{mine}"), 409, "last_admin_key")
    other = stranger.post("/api/keys", json={"name": "second", "scopes": ["admin"]}).json()["id"]
    assert stranger.delete(f"/api/keys/{other}").status_code == 200
    refused(stranger.delete(f"/api/keys/{mine}"), 409, "last_admin_key")
    refused(stranger.delete("/api/keys/nobody"), 404, "key_not_found")
