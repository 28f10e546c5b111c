"""The management API of what is configured: members, keys, audit log, secrets, credentials, releases, documents, templates."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from stoker.audit import Actor
from stoker.catalog import Catalog, Defaults
from stoker.clock import ManualClock
from stoker.config import SHOWN_TO_TEAMS, Settings
from stoker.errors import InvalidInput
from stoker.queue import Queue, Submission
from stoker.runtimes import Capacity, Device
from stoker.runtimes.fake import FakeRuntime, FakeWorker
from stoker.signals import Signals
from stoker.store.sqlite import MEMORY, SqliteStore
from tests.live import LiveServer, until
from tests.store.records import TEAM, an_endpoint, furnish
from tests.web.hands import COMMAND, WORKERS, Hands
from tests.web.test_manage import refused

pytestmark = pytest.mark.slow

IMAGE = f"dir:{WORKERS}"
Json = dict[str, Any]


@contextmanager
def caller(live: LiveServer, secret: str) -> Iterator[httpx.Client]:
    """A client with that key."""
    with httpx.Client(base_url=live.url, headers={"Authorization": f"Bearer {secret}"}, timeout=60) as client:
        yield client


def made(answer: httpx.Response, status: int = 201) -> Json:
    """The body of an answer that must be this."""
    assert answer.status_code == status, answer.text
    return dict(answer.json())


def last_line(api: httpx.Client, thing: str = "") -> Json:
    """The latest line of the audit log, about a thing if one is named."""
    return dict(api.get("/api/audit", params={"limit": 1, "thing": thing}).json()["lines"][0])


@pytest.fixture
def endpoint(live: LiveServer, name: str) -> str:
    """An endpoint that starts no worker."""
    live.create(name, image=WORKERS, command=COMMAND)
    return name


# ── members and keys ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_keys_follow_their_member(live: LiveServer, api: httpx.Client, name: str) -> None:
    """A key does what its member's role allows at that moment, and nothing once the member is removed."""
    member = made(api.post("/api/members", json={"name": name, "role": "developer"}))["id"]
    secret = made(api.post("/api/keys", json={"name": "k", "scopes": ["admin"], "member": member}))["secret"]
    with caller(live, secret) as theirs:
        assert made(theirs.get("/api/me"), 200)["member"] == {"id": member, "name": name, "role": "developer"}
        assert theirs.delete("/api/endpoints/nobody").status_code == 404
        api.patch(f"/api/members/{member}", json={"role": "reader"})
        assert "role 'reader'" in refused(theirs.delete("/api/endpoints/nobody"), 403, "scope_missing")
        assert made(api.delete(f"/api/members/{member}"), 200)["removed_ms"] > 0
        refused(theirs.get("/api/me"), 401, "unauthenticated")
    refused(api.patch(f"/api/members/{member}", json={"role": "owner"}), 404, "member_not_found")
    refused(api.post("/api/keys", json={"name": "k", "member": member}), 404, "member_not_found")


def test_nobody_gives_more_than_they_have(live: LiveServer, api: httpx.Client, name: str) -> None:
    """An admin makes no owner, changes none, makes no key for one; nobody gives a scope that their key lacks."""
    member = made(api.post("/api/members", json={"name": name, "role": "admin"}))["id"]
    secret = made(api.post("/api/keys", json={"name": "k", "scopes": ["admin"], "member": member}))["secret"]
    owner = made(api.get("/api/me"), 200)
    with caller(live, secret) as admin:
        for answer in (
            admin.post("/api/members", json={"name": f"{name} 2", "role": "owner"}),
            admin.patch(f"/api/members/{member}", json={"role": "owner"}),
            admin.patch(f"/api/members/{owner['member']['id']}", json={"role": "reader"}),
            admin.delete(f"/api/members/{owner['member']['id']}"),
            admin.post("/api/keys", json={"name": "k", "member": owner["member"]["id"]}),
            admin.delete(f"/api/keys/{owner['key']['id']}"),
            admin.post(f"/api/keys/{owner['key']['id']}/rotate"),
            admin.patch("/api/team", json={"name": "mine"}),
        ):
            refused(answer, 403, "role_too_low")
    refused(api.post("/api/members", json={"name": name, "role": "reader"}), 409, "name_taken", "name")


def test_last_owner(stranger: httpx.Client) -> None:
    """A team's last owner cannot go, nor become anything else."""
    mine = made(stranger.get("/api/me"), 200)["member"]["id"]
    refused(stranger.delete(f"/api/members/{mine}"), 409, "last_owner")
    refused(stranger.patch(f"/api/members/{mine}", json={"role": "admin"}), 409, "last_owner")


def test_rotated_key(live: LiveServer, api: httpx.Client) -> None:
    """After a rotation the new secret works and the old one for the time of grace; without grace it is over at once."""
    key = made(api.post("/api/keys", json={"name": "r", "scopes": ["read"]}))
    first = made(api.post(f"/api/keys/{key['id']}/rotate", json={"grace_s": 60}), 200)
    assert first["old_until_ms"] - first["created_ms"] >= 60_000
    for secret in (key["secret"], first["secret"]):
        with caller(live, secret) as old:
            assert old.get("/api/me").status_code == 200
    second = made(api.post(f"/api/keys/{key['id']}/rotate", json={"grace_s": 0}), 200)
    for secret, code in ((key["secret"], "unauthenticated"), (first["secret"], "key_rotated")):
        with caller(live, secret) as old:
            refused(old.get("/api/me"), 401, code)
    with caller(live, second["secret"]) as new:
        assert new.get("/api/me").status_code == 200
    refused(api.post(f"/api/keys/{key['id']}/rotate", json={"grace_s": -1}), 400, "out_of_range", "grace_s")
    api.delete(f"/api/keys/{key['id']}")
    refused(api.post(f"/api/keys/{key['id']}/rotate"), 409, "key_changed")


def test_key_that_expires(live: LiveServer, api: httpx.Client) -> None:
    """A key opens nothing after its time, without anybody doing anything."""
    key = made(api.post("/api/keys", json={"name": "e", "scopes": ["read"], "expires_in_s": 1}))
    assert key["expires_ms"] - key["created_ms"] == 1_000
    with caller(live, key["secret"]) as short:
        until(lambda: short.get("/api/me").json().get("code") == "key_expired", what="the key to expire")
    refused(api.post("/api/keys", json={"name": "e", "expires_in_s": 0}), 400, "out_of_range", "expires_in_s")


def test_key_of_endpoints_that_are_not_there(api: httpx.Client) -> None:
    """A key is for endpoints that exist."""
    refused(api.post("/api/keys", json={"name": "e", "endpoints": ["nobody"]}), 404, "endpoint_not_found", "endpoint")


# ── audit ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_audit_of_an_endpoint(api: httpx.Client, endpoint: str) -> None:
    """Each change of an endpoint has its line: who, what was done, and how it was before and after."""
    me = made(api.get("/api/me"), 200)
    thing = made(api.get(f"/api/endpoints/{endpoint}"), 200)["id"]
    first = last_line(api, thing)
    assert (first["action"], first["before"], first["after"]["command"]) == ("created", None, COMMAND)
    changes: list[tuple[httpx.Response, str, Json | None, Json | None]] = [
        (api.patch(f"/api/endpoints/{endpoint}", json={"slots": 4}), "changed", {"slots": 1}, {"slots": 4}),
        (
            api.patch(f"/api/endpoints/{endpoint}", json={"env": {"A": "1", "B": {"secret": "hush"}}}),
            "changed",
            {"env": {"A": None, "B": None}},
            {"env": {"A": "1", "B": {"secret": True}}},
        ),
        (api.post(f"/api/endpoints/{endpoint}/retry"), "retried", None, None),
    ]
    lines = api.get("/api/audit", params={"thing": thing}).json()["lines"]
    for (answer, action, before, after), line in zip(changes, reversed(lines[:-1]), strict=True):
        assert answer.status_code == 200
        assert (line["action"], line["before"], line["after"]) == (action, before, after)
        assert (line["kind"], line["thing"], line["name"]) == ("endpoint", thing, endpoint)
        assert (line["member"]["id"], line["key"]) == (me["member"]["id"], me["key"]["id"])
    api.patch(f"/api/endpoints/{endpoint}", json={"slots": 4})  # which changes nothing
    assert last_line(api, thing)["number"] == lines[0]["number"]
    refused(api.patch(f"/api/endpoints/{endpoint}", json={"slots": 0}), 400, "out_of_range", "slots")
    assert last_line(api, thing)["number"] == lines[0]["number"]
    api.delete(f"/api/endpoints/{endpoint}")
    gone = last_line(api, thing)
    assert (gone["action"], gone["after"], gone["before"]["slots"]) == ("deleted", None, 4)


def test_audit_is_read_page_by_page(api: httpx.Client, endpoint: str) -> None:
    """`before` goes on where the last page ended."""
    for slots in range(2, 6):
        api.patch(f"/api/endpoints/{endpoint}", json={"slots": slots})
    whole = api.get("/api/audit", params={"limit": 4}).json()["lines"]
    first = api.get("/api/audit", params={"limit": 2}).json()["lines"]
    rest = api.get("/api/audit", params={"limit": 2, "before": first[-1]["number"]}).json()["lines"]
    assert first + rest == whole
    refused = api.get("/api/audit", params={"before": 2**63})
    assert (refused.status_code, refused.json()["field"]) == (400, "before")


# ── secrets ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_secret_variables(live: LiveServer, api: httpx.Client, endpoint: str) -> None:
    """A secret is never shown; the same value again changes nothing, another makes a release, `true` keeps what there is."""
    path = f"/api/endpoints/{endpoint}"

    def put(value: str | bool) -> Json:
        return made(api.patch(path, json={"env": {"PLAIN": "x", "TOKEN": {"secret": value}}}), 200)

    first = put("hush-1")
    assert first["env"] == {"PLAIN": "x", "TOKEN": {"secret": True}}
    for again in ("hush-1", True):
        assert put(again)["version"] == first["version"]
    assert put("hush-2")["release"]["number"] == first["release"]["number"] + 1
    refused(api.patch(path, json={"env": {"OTHER": {"secret": True}}}), 400, "secret_missing", "env.OTHER")
    for wrong in ({"secret": False}, {"secret": None}, {"sealed": "v1:x"}, {}, 7, ["x"]):
        refused(api.patch(path, json={"env": {"TOKEN": wrong}}), 400, "invalid_input", "env.TOKEN")
    long = "hush-" + "x" * 40_000
    for told in (
        api.patch(path, json={"env": {"TOKEN": {"secret": long}}}).text,
        live.log(),
        api.get("/api/audit").text,
    ):
        assert "hush" not in told


def test_worker_gets_what_is_secret(live: LiveServer, name: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    """A worker is launched with the value itself."""
    told = tmp_path_factory.mktemp("told") / "env"
    hands = Hands(live, name, told, env={"TELL": str(told), "TOKEN": {"secret": "hush, naïve ✓"}})
    assert hands.env["TOKEN"] == "hush, naïve ✓"
    hands.close()


# ── registry credentials ──────────────────────────────────────────────────────────────────────────────────────────────


def test_credentials(api: httpx.Client, endpoint: str, name: str) -> None:
    """A credential is stored without being shown, used by name, kept while it is used, and asked about."""
    body = {"name": name, "registry": "127.0.0.1:1", "username": "me", "password": "hush"}
    credential = made(api.post("/api/credentials", json=body))
    assert (credential["password"], credential["endpoints"]) == ({"secret": True}, [])
    refused(api.post("/api/credentials", json=body), 409, "name_taken", "name")
    used = made(api.patch(f"/api/endpoints/{endpoint}", json={"credential": name}), 200)
    assert used["credential"] == credential["id"]
    assert made(api.get(f"/api/credentials/{name}"), 200)["endpoints"] == [endpoint]
    refused(api.delete(f"/api/credentials/{name}"), 409, "credential_in_use")
    refused(api.post(f"/api/credentials/{name}/test"), 503, "registry_unreachable")
    changed = made(api.patch(f"/api/credentials/{name}", json={"username": "you", "password": "hush 2"}), 200)
    assert changed["username"] == "you"
    line = last_line(api, credential["id"])
    assert line["after"] == {"username": "you", "password": {"secret": True}}
    made(api.patch(f"/api/endpoints/{endpoint}", json={"credential": ""}), 200)
    made(api.delete(f"/api/credentials/{name}"), 200)
    refused(api.get(f"/api/credentials/{name}"), 404, "credential_not_found", "credential")
    refused(
        api.patch(f"/api/endpoints/{endpoint}", json={"credential": name}), 404, "credential_not_found", "credential"
    )


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"registry": "https://ghcr.io"}, "registry"),
        ({"registry": "ghcr.io/me"}, "registry"),
        ({"registry": ""}, "registry"),
        ({"registry": "me@ghcr.io"}, "registry"),
        ({"username": ""}, "username"),
        ({"username": "a:b"}, "username"),
        ({"password": ""}, "password"),
        ({"password": "hush\n"}, "password"),
        ({"password": "hush" * 5_000}, "password"),
        ({"name": ""}, "name"),
        ({"token": "x"}, "token"),
    ],
)
def test_wrong_credentials(api: httpx.Client, change: Json, field: str) -> None:
    """What cannot be a credential is refused by the name of the field, and no password is quoted."""
    body = {"name": "wrong", "registry": "ghcr.io", "username": "me", "password": "hush"} | change
    answer = api.post("/api/credentials", json=body)
    refused(answer, 400, "invalid_input", field)
    assert "hush" not in answer.text


# ── releases, pausing ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_releases(api: httpx.Client, endpoint: str) -> None:
    """The history tells who made what; differences between any two; rolling back makes a new one that does the same."""
    path = f"/api/endpoints/{endpoint}"
    api.patch(path, json={"env": {"A": "1", "S": {"secret": "hush"}}})
    api.patch(path, json={"env": {"A": "2"}, "slots": 3})
    releases = api.get(f"{path}/releases").json()["releases"]
    assert [one["number"] for one in releases] == [3, 2, 1]
    assert {one["made_by"]["name"] for one in releases} == {"owner"}
    secret = {"secret": True}
    assert api.get(f"{path}/releases/3/difference").json() == {
        "since": 2,
        "number": 3,
        "before": {"env": {"A": "1", "S": secret}},
        "after": {"env": {"A": "2", "S": None}},
    }
    assert api.get(f"{path}/releases/3/difference", params={"since": 1}).json()["after"] == {"env": {"A": "2"}}
    back = made(api.post(f"{path}/releases/2/roll-back"), 200)
    assert (back["release"]["number"], back["env"], back["slots"]) == (4, {"A": "1", "S": secret}, 3)
    line = last_line(api, back["id"])
    assert (line["action"], line["after"]["to_release"]) == ("rolled_back", 2)
    refused(api.post(f"{path}/releases/2/roll-back"), 409, "nothing_to_roll_back", "number")
    refused(api.post(f"{path}/releases/9/roll-back"), 404, "release_not_found", "number")


def test_pause_keeps_the_queue(live: LiveServer, api: httpx.Client, hands: Hands) -> None:
    """A paused endpoint's worker finishes and goes, jobs still come in and wait; resumed, they are run."""
    name = hands.endpoint["name"]
    running = live.run(name, 1)
    assert hands.take()["id"] == running
    paused = made(api.post(f"/api/endpoints/{name}/pause"), 200)
    assert paused["paused_ms"] > 0
    assert made(api.post(f"/api/endpoints/{name}/pause"), 200)["version"] == paused["version"]
    waiting = live.run(name, 2)
    until(lambda: live.workers(name)[0]["reason"] == "endpoint_paused", what="the worker to be drained")
    hands.finish(running, b'{"output": 1}')
    until(lambda: not live.workers(name), what="the worker to go")
    assert live.finished(running)["state"] == "completed"
    why = until(lambda: (found := live.job(waiting)["why"])["reason"] == "paused" and found, what="the reason")
    assert "paused" in why["text"]
    assert made(api.post(f"/api/endpoints/{name}/resume"), 200)["paused_ms"] is None
    until(lambda: live.workers(name), what="a worker to be started")
    assert live.job(waiting)["state"] == "queued"


# ── documents and templates ───────────────────────────────────────────────────────────────────────────────────────────


def test_export_and_apply(api: httpx.Client, endpoint: str) -> None:
    """What was exported can be applied: it changes nothing here, and under another name it makes another one."""
    path = f"/api/endpoints/{endpoint}"
    api.patch(path, json={"env": {"A": "1", "S": {"secret": "hush"}}, "webhook": "https://example.com/x"})
    document = made(api.get(f"{path}/export"), 200)
    assert document["env"] == {"A": "1", "S": {"secret": True}}
    same = made(api.post("/api/endpoints/apply", json=document), 200)
    assert (same["action"], same["before"], same["after"], same["new_release"]) == ("nothing", {}, {}, False)
    refused(api.post("/api/endpoints/apply", json=document | {"name": f"{endpoint}-2"}), 400, "secret_missing", "env.S")
    other = document | {"name": f"{endpoint}-2", "env": {"S": {"secret": "other"}}}
    dry = made(api.post("/api/endpoints/apply", json=other, params={"dry_run": True}), 200)
    assert (dry["action"], dry["new_release"], dry["fit"]["gpus_needed"]) == ("create", True, 0)
    assert api.get(f"/api/endpoints/{endpoint}-2").status_code == 404
    assert made(api.post("/api/endpoints/apply", json=other), 200)["action"] == "create"
    assert made(api.post("/api/endpoints/apply", json=other), 200)["action"] == "nothing"
    change = {"name": endpoint, "slots": 5, "env": {"A": "2", "S": {"secret": True}}}
    dry = made(api.post("/api/endpoints/apply", json=change, params={"dry_run": True}), 200)
    done = made(api.post("/api/endpoints/apply", json=change), 200)
    assert dry == done
    assert (done["action"], done["new_release"]) == ("update", True)
    assert (done["before"], done["after"]) == ({"slots": 1, "env": {"A": "1"}}, {"slots": 5, "env": {"A": "2"}})
    assert made(api.get(path), 200)["slots"] == 5


def test_dry_run_refuses_what_would_be_refused(api: httpx.Client, endpoint: str) -> None:
    """A dry run stores nothing and finds what creating would find."""
    body = {"image": IMAGE, "command": COMMAND}
    dry: Any = {"dry_run": True}
    refused(api.post("/api/endpoints", json=body | {"name": endpoint}, params=dry), 409, "name_taken", "name")
    refused(api.post("/api/endpoints", json=body | {"slots": 0}, params=dry), 400, "out_of_range", "slots")
    before = len(api.get("/api/endpoints").json()["endpoints"])
    assert made(api.post("/api/endpoints", json=body, params=dry))["action"] == "create"
    assert len(api.get("/api/endpoints").json()["endpoints"]) == before


def test_dry_run_of_a_change(api: httpx.Client, endpoint: str) -> None:
    """A dry run of a change tells the difference, the name's too, refuses what the change would refuse, and changes nothing."""
    path, dry = f"/api/endpoints/{endpoint}", {"dry_run": True}
    was = made(api.get(f"{path}/export"), 200)
    plan = made(api.patch(path, json={"name": f"{endpoint}-2", "weight": 3}, params=dry), 200)
    assert (plan["action"], plan["new_release"]) == ("update", False)
    assert (plan["before"], plan["after"]) == (
        {"name": endpoint, "weight": 1},
        {"name": f"{endpoint}-2", "weight": 3},
    )
    assert made(api.patch(path, json={"weight": 1}, params=dry), 200)["action"] == "nothing"
    refused(api.patch(path, json={"slots": 0}, params=dry), 400, "out_of_range", "slots")
    assert made(api.get(f"{path}/export"), 200) == was


def test_templates(api: httpx.Client, name: str) -> None:
    """An endpoint made from a template has its fields, secrets included, unless it is given others."""
    fields = {"image": IMAGE, "command": COMMAND, "slots": 4, "env": {"A": "1", "S": {"secret": "hush"}}}
    template = made(api.post("/api/templates", json={"name": name, "fields": fields}))
    assert template["fields"]["env"] == {"A": "1", "S": {"secret": True}}
    wish = {"template": name, "name": name, "slots": 5, "env": {"B": "2"}}
    one = made(api.post("/api/endpoints", json=wish))
    assert (one["image"], one["slots"]) == (IMAGE, 5)
    assert one["env"] == {"A": "1", "S": {"secret": True}, "B": "2"}
    again = made(api.post("/api/templates", json={"name": f"{name}-2", "endpoint": name}))
    assert again["fields"] == {field: one[field] for field in again["fields"]}
    assert "name" not in again["fields"]
    kept = made(api.put(f"/api/templates/{name}", json={"name": name, "fields": {"env": {"S": {"secret": True}}}}), 200)
    assert kept["fields"] == {"env": {"S": {"secret": True}}}
    assert made(api.get(f"/api/endpoints/{name}"), 200)["slots"] == 5
    made(api.delete(f"/api/templates/{template['id']}"), 200)
    refused(api.get(f"/api/templates/{name}"), 404, "template_not_found", "template")
    for body, field in (
        ({"name": "x"}, "fields"),
        ({"name": "x", "fields": {"slots": 0}}, "slots"),
        ({"name": "x", "fields": {"name": "y"}}, "fields.name"),
        ({"name": "", "fields": {}}, "name"),
        ({"name": "x", "fields": {"env": {"S": {"secret": True}}}}, "env.S"),
    ):
        answer = api.post("/api/templates", json=body)
        assert (answer.status_code, answer.json()["field"]) == (400, field), answer.text


def test_entrypoint(live: LiveServer, name: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    """The words of the entrypoint come before those of the command."""
    hands = Hands(live, name, tmp_path_factory.mktemp("told") / "env", entrypoint="env BEFORE=1")
    assert hands.env["BEFORE"] == "1"
    hands.close()


@pytest.mark.parametrize(("cuda", "possible"), [("", True), ("12.4", True), (">=12.6", True), (">=12.8", False)])
async def test_cuda_of_the_machine(cuda: str, possible: bool) -> None:
    """An endpoint that needs another CUDA than the machine's driver offers is refused, with what there is."""
    store = await SqliteStore.open(MEMORY)
    await furnish(store)
    catalog = Catalog(store, ManualClock(), Signals(), Machine(), Defaults(retention_s=60))
    wish = {"name": "one", "image": "any", "gpus_per_worker": 1, "cuda": cuda}
    if possible:
        assert (await catalog.create(Actor(team=TEAM), wish)).release.cuda == cuda
    else:
        with pytest.raises(InvalidInput, match=r"offers CUDA 12\.6") as caught:
            await catalog.create(Actor(team=TEAM), wish)
        assert (caught.value.code, caught.value.field) == ("no_such_capacity", "cuda")
    await store.close()


class Machine(FakeRuntime):
    """A machine with a GPU and a driver for CUDA 12.6."""

    def __init__(self) -> None:
        super().__init__(_no_program)

    async def capacity(self) -> Capacity:
        """One GPU."""
        return Capacity(devices=(Device(id="GPU-1", name="any"),), cuda="12.6")


async def _no_program(_worker: FakeWorker) -> int:
    raise AssertionError("nobody launches workers here")


def test_fields_of_the_form(api: httpx.Client, name: str) -> None:
    """What Novita's form asks for is kept and shown; what cannot be is refused with the field, the value and the range."""
    wish = {
        "type": "async",
        "entrypoint": "env",
        "cuda": ">=12.4",
        "http_port": 8_000,
        "webhook": "https://example.com/hook",
    }
    one = made(api.post("/api/endpoints", json={"name": name, "image": IMAGE, "command": COMMAND} | wish))
    assert {field: one[field] for field in wish} == wish
    path = f"/api/endpoints/{name}"
    refused(api.patch(path, json={"type": "sync"}), 400, "type_not_supported", "type")
    for port in (2_222, 2_223, 2_224, 65_536, -1):
        assert str(port) in refused(api.patch(path, json={"http_port": port}), 400, "out_of_range", "http_port")
    assert made(api.patch(path, json={"http_port": 2_225}), 200)["http_port"] == 2_225
    for cuda in ("12", ">12.4", "twelve", "12.4;12.5"):
        refused(api.patch(path, json={"cuda": cuda}), 400, "invalid_input", "cuda")
    assert made(api.patch(path, json={"cuda": "12.4, 12.6"}), 200)["cuda"] == "12.4, 12.6"
    refused(api.patch(path, json={"webhook": "example.com"}), 400, "invalid_input", "webhook")


async def test_webhook_of_an_endpoint(tmp_path: Path) -> None:
    """Jobs that name no webhook get their endpoint's, those that name one keep it."""
    store = await SqliteStore.open(tmp_path / "stoker.db")
    await furnish(store)
    queue = Queue(store, ManualClock(), Signals())
    for theirs, own in (("", None), ("https://theirs", None), ("https://theirs", "https://own")):
        await queue.submit(an_endpoint(webhook=theirs), Submission(input=b"1", webhook=own))
    with sqlite3.connect(tmp_path / "stoker.db") as connection:
        rows = connection.execute("SELECT webhook FROM jobs ORDER BY seq").fetchall()
    connection.close()
    assert rows == [(None,), ("https://theirs",), ("https://own",)]
    await store.close()


def test_settings_of_the_operator(api: httpx.Client, stranger: httpx.Client) -> None:
    """The first team, which is the operator's, sees every setting; another one what is about it, and nothing about the machine or the network."""
    ours, theirs = (
        {one["name"]: one for one in who.get("/api/settings").json()["settings"]} for who in (api, stranger)
    )
    assert set(ours) == set(Settings.model_fields)
    assert set(theirs) == SHOWN_TO_TEAMS < set(ours)
    assert not [name for name in theirs if re.search("dir|host|database|kubernetes|docker|network|listen|key$", name)]
    assert theirs["rate_factor"] == ours["rate_factor"]
