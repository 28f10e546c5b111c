"""Walks the table of all routes: nobody comes in without a credential, nobody sees another team's things, no secret comes out,
and every role and scope opens what it says.

A route that is added later is walked too: the management API says itself which scope each asks for, and a route that does not
fails here. What is open to everybody is listed by name.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from stoker.team import Role, Scope
from tests.live import KEY, LiveServer
from tests.web.browser import signed_in
from tests.web.conftest import STRANGER_KEY
from tests.web.hands import COMMAND, WORKERS, Hands

pytestmark = pytest.mark.slow

OPEN = {"GET /healthz", "GET /readyz", "POST /api/session", "DELETE /api/session"}
OF_MACHINE = {"POST /api/images/warm", "POST /api/images/remove"}
"""Of the machine's images, of which a server without containers has none."""
POLLS = ("/worker/job-take/", "/worker/job-take-batch/", "/worker/job-stop/")
"""Their refusal is 429: after a 401 a worker would ask again at once, for ever."""
READS_BY_POST = re.compile(r"POST /v[12]/{endpoint}/(status|status-sync|stream)/{job}")
CHANGES_BY_GET = re.compile(r"GET /v[12]/{endpoint}/cancel/{job}")
BODIES: dict[str, Any] = {
    "POST /v1/{endpoint}/run": {"input": 1},
    "POST /v2/{endpoint}/run": {"input": 1},
    "POST /v1/{endpoint}/runsync": {"input": 1},
    "POST /v2/{endpoint}/runsync": {"input": 1},
    "POST /api/endpoints": {"image": f"dir:{WORKERS}", "command": COMMAND},
    "PATCH /api/endpoints/{endpoint}": {"slots": 2},
    "POST /api/images/check": {"image": f"dir:{WORKERS}", "command": COMMAND},
    "POST /api/images/warm": {"image": "example.com/nothing:1"},
    "POST /api/images/remove": {"image": "example.com/nothing:1"},
    "POST /api/endpoints/apply": {"name": "guard-applied", "image": f"dir:{WORKERS}", "command": COMMAND},
    "POST /api/endpoints/{endpoint}/jobs": {"input": 1},
    "POST /api/endpoints/{endpoint}/jobs/cancel": {"text": "nothing that is there"},
    "POST /api/endpoints/{endpoint}/jobs/retry": {"text": "nothing that is there"},
    "POST /api/endpoints/{endpoint}/dead-letters/retry": {},
    "POST /api/keys": {"name": "guard", "scopes": ["read"]},
    "PATCH /api/team": {"name": "renamed"},
    "POST /api/members": {"name": "guard", "role": "reader"},
    "PATCH /api/members/{member}": {"role": "reader"},
    "POST /api/credentials": {"name": "guard", "registry": "127.0.0.1:1", "username": "u", "password": "p"},
    "PATCH /api/credentials/{credential}": {"username": "other"},
    "POST /api/templates": {"name": "guard", "fields": {"slots": 2}},
    "PUT /api/templates/{template}": {"name": "guarded", "fields": {"slots": 3}},
    "PUT /api/budget": {"refuse": 1e6},
    "PUT /api/endpoints/{endpoint}/budget": {"period": "day", "queue": 1e6},
    "PUT /api/endpoints/{endpoint}/rate": {"rate": 900_000},
    "PUT /api/keys/{key_id}/rate": {"rate": 900_000},
    "POST /api/views": {"name": "guard", "state": "failed"},
    "POST /api/volumes": {"name": "guard-made", "size_gb": 1},
    "PATCH /api/volumes/{volume}": {"size_gb": 2},
    "PUT /api/volumes/{volume}/files/{path}": {"any": "file"},
    "POST /worker/job-done/{worker}/{job}": {"output": 1},
    "POST /worker/job-stream/{worker}/{job}": {"output": 1},
}
OPERATORS = {"PUT /api/budget", "DELETE /api/budget", "PUT /api/endpoints/{endpoint}/rate"}
"""For admins of the first team alone."""
S3_SECRET = "s3-secret-of-the-guard"
ENV_SECRET = "env-secret-of-the-guard"
PASSWORD = "password-of-the-guard"
FILE = "file-of-the-guard"
VIEW = "view-of-the-guard"
FILE_SECRET = "content-of-the-guard"


@dataclass(frozen=True, kw_only=True)
class Route:
    """One line of the route table."""

    method: str
    path: str
    described: dict[str, Any]

    def __str__(self) -> str:
        return f"{self.method} {self.path}"

    @property
    def scope(self) -> Scope | None:
        """Which scope it asks for; None for what is open, or for workers."""
        if str(self) in OPEN or self.for_workers:
            return None
        if self.path.startswith("/api/"):
            return Scope(self.described["x-scope"])
        return Scope.RUN if self.changes else Scope.READ

    @property
    def for_workers(self) -> bool:
        """Whether it belongs to the worker protocol."""
        return self.path.startswith("/worker/")

    @property
    def changes(self) -> bool:
        """Whether it changes something."""
        name = str(self)
        return bool(CHANGES_BY_GET.fullmatch(name)) or (self.method != "GET" and not READS_BY_POST.fullmatch(name))


@dataclass(frozen=True, kw_only=True)
class Things:
    """What our team owns: an endpoint with two workers of which one has finished a job."""

    mine: Hands
    other: Hands
    names: dict[str, str]
    """What the parameters of paths stand for."""

    def ask(self, client: httpx.Client, route: Route) -> httpx.Response:
        """Call a route, about our things."""
        return client.request(route.method, route.path.format(**self.names), json=BODIES.get(str(route)))


@pytest.fixture(scope="module")
def things(live: LiveServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Things]:
    """What our team owns."""
    told = tmp_path_factory.mktemp("guard")
    secrets = {"TELL": str(told / "one"), "TOKEN": {"secret": ENV_SECRET}}
    mine, other = Hands(live, "guarded", told / "one", env=secrets), Hands(live, "guarded-too", told / "two")
    secret = {"accessId": "id", "accessSecret": S3_SECRET}
    job = live.run("guarded", "input", s3Config=secret)
    assert mine.take()["s3Config"] == secret
    mine.finish(job, b'{"output": "result"}')
    made = live.api.post("/api/keys", json={"name": "guarded", "scopes": ["run"]}).json()
    names = {"endpoint": "guarded", "job": job, "worker": mine.id, "key_id": made["id"], "number": "1"} | more(live)
    yield Things(mine=mine, other=other, names=names)
    mine.close()
    other.close()


def more(live: LiveServer) -> dict[str, str]:
    """Things that need no worker, by the parameter that means them."""
    login = {"name": "guarded", "registry": "127.0.0.1:1", "username": "u", "password": PASSWORD}
    bodies = {
        "member": ("members", {"name": "guarded", "role": "reader"}),
        "credential": ("credentials", login),
        "template": ("templates", {"name": "guarded", "fields": {"env": {"TOKEN": {"secret": ENV_SECRET}}}}),
    }
    bodies["volume"] = ("volumes", {"name": "guarded", "size_gb": 1})
    ids = {name: live.api.post(f"/api/{path}", json=body).json()["id"] for name, (path, body) in bodies.items()}
    assert live.api.post("/api/views", json={"name": VIEW, "state": "failed"}).status_code == 201
    assert live.api.put(f"/api/volumes/guarded/files/{FILE}", content=FILE_SECRET).status_code == 200
    return ids | {"path": FILE, "view": VIEW}


@pytest.fixture
def routes(live: LiveServer) -> list[Route]:
    """The whole table, as the server describes itself."""
    paths = httpx.get(f"{live.url}/api/openapi.json").json()["paths"]
    table = [
        Route(method=method.upper(), path=path, described=described)
        for path, methods in paths.items()
        for method, described in methods.items()
    ]
    assert len(table) > 50
    return table


def client(live: LiveServer, credential: str | None) -> httpx.Client:
    """A client with a credential, or none."""
    headers = [] if credential is None else [(b"Authorization", (b"Bearer " + credential.encode()).strip())]
    return httpx.Client(base_url=live.url, headers=headers, timeout=60)


WAYS = ("key", "session")


def come_in(live: LiveServer, secret: str, way: str) -> httpx.Client:
    """A client that comes with the key itself, or a browser in which somebody has signed in with it."""
    return signed_in(live.url, secret) if way == "session" else client(live, secret)


def refusal(answer: httpx.Response) -> tuple[int, str]:
    """Status and code of an answer that must be a refusal in our form."""
    body = answer.json()
    assert answer.headers["content-type"] == "application/json"
    assert body["error"]
    return answer.status_code, body["code"]


@pytest.mark.parametrize("credential", [None, "sk_wrong", "", "ü"])
def test_no_credential(live: LiveServer, things: Things, routes: list[Route], credential: str | None) -> None:
    """Every route but the open ones refuses who brings no valid credential."""
    seen = {}
    with client(live, credential) as nobody:
        for route in routes:
            if str(route) not in OPEN:
                seen[str(route)] = refusal(things.ask(nobody, route))
    expected = {"api_key_missing"} if not credential else {"unauthenticated"}
    for name, (status, code) in seen.items():
        poll = any(part in name for part in POLLS)
        assert status == (429 if poll else 401), name
        assert code in ({"worker_token_invalid"} if "/worker/" in name else expected), name


def test_refusal_says_how_to_ask(live: LiveServer) -> None:
    """A 401 names the scheme, a 429 of a poll says how long to wait."""
    assert httpx.get(f"{live.url}/api/me").headers["www-authenticate"] == "Bearer"
    assert httpx.get(f"{live.url}/worker/job-take/x").headers["retry-after"] == "5"


@pytest.mark.parametrize("way", WAYS)
def test_another_team(live: LiveServer, api: httpx.Client, things: Things, routes: list[Route], way: str) -> None:
    """What our team owns does not exist for another: by name it is not found, in lists it does not appear."""
    before = state(api, things)
    stranger = come_in(live, STRANGER_KEY, way)
    for route in routes:
        if str(route) in OPEN or route.for_workers:
            continue
        answer = things.ask(stranger, route)
        if "{" in route.path:
            assert refusal(answer)[0] == 404, str(route)
        elif str(route) in OPERATORS:
            assert refusal(answer) == (403, "operator_only"), str(route)
        elif str(route) in OF_MACHINE:
            assert refusal(answer) == (409, "no_images"), str(route)
        else:
            assert answer.status_code < 300 or refusal(answer)[1] == "name_taken", str(route)  # by the other way
        ids = things.names | {"endpoint": things.mine.endpoint["id"]}  # theirs may have, or have had, the same name
        for name, ours in ids.items():
            asked = "{" + name + "}" in route.path or name == "number"
            assert asked or ours not in answer.text, f"{route} shows {name}"
    assert state(api, things) == before
    renamed = {"name": "strangers"}
    assert stranger.patch("/api/team", json=renamed).json()["name"] == "strangers"
    stranger.close()


def state(api: httpx.Client, things: Things) -> list[Any]:
    """Everything about our things that somebody could change."""
    endpoint = api.get("/api/endpoints/guarded").json()
    (key,) = [one for one in api.get("/api/keys").json()["keys"] if one["id"] == things.names["key_id"]]
    worker = api.get(f"/api/workers/{things.mine.id}").json()
    job = api.get(f"/api/jobs/{things.names['job']}").json()
    lines = [line["number"] for line in api.get("/api/audit").json()["lines"]]
    names = ("members", "credentials", "templates", f"volumes/guarded/files/{FILE}")
    others = [api.get(f"/api/{path}").text for path in names]
    volumes = [(one["name"], one["size_gb"]) for one in api.get("/api/volumes").json()["volumes"]]
    key.pop("used_ms")
    return [endpoint["version"], endpoint["jobs"], key, worker["state"], job, lines, volumes, *others]


def test_budgets_of_teams(api: httpx.Client, stranger: httpx.Client) -> None:
    """The operator sets what any team may cost, by id or name; a team sees its own budget and cannot change it, nor name another."""
    me = stranger.get("/api/me").json()["team"]
    assert refusal(api.put("/api/budget", params={"team": "nobody"}, json={"queue": 1e6})) == (404, "team_not_found")
    for word in (me["id"], me["name"]):
        assert api.put("/api/budget", params={"team": word}, json={"queue": 1e6}).status_code == 200
    for answer in (api.get("/api/budgets", params={"team": me["id"]}), stranger.get("/api/budgets")):
        assert [one["queue"] for one in answer.json()["budgets"] if one["endpoint"] is None] == [1e6]
    ours = api.get("/api/me").json()["team"]["id"]
    for answer in (
        stranger.put("/api/budget", json={"queue": 2e6}),
        stranger.delete("/api/budget"),
        stranger.get("/api/budgets", params={"team": ours}),
        stranger.put("/api/budget", params={"team": ours}, json={"queue": 1}),
    ):
        assert refusal(answer) == (403, "operator_only")
    assert api.delete("/api/budget", params={"team": me["id"]}).json()["queue"] == 1e6
    assert stranger.get("/api/budgets").json()["budgets"] == []


def test_rates_of_teams(api: httpx.Client, stranger: httpx.Client) -> None:
    """The operator says how much may be asked of any team's endpoint; its team sees that and cannot change it. Keys are their team's."""
    me = stranger.get("/api/me").json()
    body = {"name": "rated"} | BODIES["POST /api/endpoints"]
    assert stranger.post("/api/endpoints", json=body).status_code == 201
    path, theirs = "/api/endpoints/rated/rate", {"team": me["team"]["name"]}
    assert api.put(path, params=theirs, json={"rate": 7}).json()["rate"] == 7
    assert stranger.get("/api/endpoints/rated").json()["rate"] == 7
    assert refusal(stranger.put(path, json={"rate": 8})) == (403, "operator_only")
    assert refusal(api.put(path, json={"rate": 8})) == (404, "endpoint_not_found")
    for wrong in (0, 1_000_001):
        assert refusal(api.put(path, params=theirs, json={"rate": wrong})) == (400, "out_of_range")
    assert refusal(api.put(f"/api/keys/{me['key']['id']}/rate", json={"rate": 8})) == (404, "key_not_found")
    (line,) = [one for one in api.get("/api/audit").json()["lines"] if one["name"] == "rated"]
    assert (line["before"], line["after"]) == ({"rate": None}, {"rate": 7})


def test_names_of_two_teams_do_not_meet(api: httpx.Client, stranger: httpx.Client, things: Things) -> None:
    """Both teams may have an endpoint of the same name; each reaches its own."""
    theirs = stranger.post("/api/endpoints", json={"name": "guarded"} | BODIES["POST /api/endpoints"]).json()
    try:
        assert theirs["id"] != things.mine.endpoint["id"]
        assert stranger.get("/v2/guarded/health").json()["jobs"]["completed"] == 0
        assert api.get("/v2/guarded/health").json()["jobs"]["completed"] > 0
        assert stranger.get(f"/v2/guarded/status/{things.names['job']}").status_code == 404
    finally:
        stranger.delete("/api/endpoints/guarded")


def test_job_of_another_endpoint(api: httpx.Client, things: Things) -> None:
    """A job is found below its own endpoint only, though the team owns both."""
    job = things.names["job"]
    assert api.get(f"/v2/guarded/status/{job}").status_code == 200
    for version in ("v1", "v2"):
        for call in ("status", "status-sync", "stream", "cancel", "retry"):
            assert api.post(f"/{version}/guarded-too/{call}/{job}").status_code == 404


@pytest.mark.parametrize("way", WAYS)
def test_read_scope(live: LiveServer, api: httpx.Client, things: Things, routes: list[Route], way: str) -> None:
    """A key that may read gets every answer and changes nothing."""
    reader = come_in(live, api.post("/api/keys", json={"name": "reads", "scopes": ["read"]}).json()["secret"], way)
    for route in routes:
        if route.scope is None:
            continue
        answer = things.ask(reader, route)
        if route.scope is not Scope.READ:
            assert refusal(answer) == (403, "scope_missing"), str(route)
        else:
            assert answer.status_code == 200, str(route)
            assert not route.changes, str(route)
    reader.close()


ADMINS_ONLY = re.compile(
    r"/api/(members|keys|audit|team|webhooks|settings|budget)\b.*|/api/endpoints/{endpoint}/(budget|rate)"
)
RUNS = re.compile(r"/api/(endpoints/{endpoint}/(jobs(/cancel|/retry)?|dead-letters/retry)|jobs/{job}/\w+)")


def test_scopes_that_routes_declare(routes: list[Route]) -> None:
    """Looking asks for `read`, jobs for `run`, configuring for `manage`, whoever comes in for `admin`: no route asks for less."""
    for route in routes:
        if route.path.startswith("/api/") and str(route) not in OPEN:
            expected = Scope.MANAGE if route.changes else Scope.READ
            if route.changes and RUNS.fullmatch(route.path):
                expected = Scope.RUN
            if ADMINS_ONLY.fullmatch(route.path):
                expected = Scope.ADMIN
            assert route.scope is expected, str(route)


NOBODY = {"number": "1"}
"""What parameters stand for that mean nothing else: whoever comes in finds an empty room."""


def doors(routes: list[Route]) -> list[Route]:
    """Routes about one thing: asked for a thing that is not there they change nothing, and tell who may come in."""
    return [route for route in routes if route.scope is not None and "{" in route.path]


def knock(caller: httpx.Client, route: Route) -> int:
    """What a route answers about a thing that is not there."""
    names = {name: NOBODY.get(name, "nobody") for name in re.findall(r"{(\w+)}", route.path)}
    return caller.request(route.method, route.path.format(**names), json=BODIES.get(str(route))).status_code


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("role", Role)
def test_roles(live: LiveServer, api: httpx.Client, routes: list[Route], role: Role, way: str) -> None:
    """A key with every scope opens exactly the doors that its member's role has: 404 is an open door to an empty room."""
    member = api.post("/api/members", json={"name": f"walks as {role}", "role": role}).json()["id"]
    made = api.post("/api/keys", json={"name": "walks", "scopes": ["admin"], "member": member}).json()
    with come_in(live, made["secret"], way) as caller:
        for route in doors(routes):
            assert knock(caller, route) == (404 if route.scope in role.scopes else 403), str(route)
        for path, scope in (("/api/endpoints", Scope.READ), ("/api/keys", Scope.ADMIN), ("/api/audit", Scope.ADMIN)):
            assert caller.get(path).status_code == (200 if scope in role.scopes else 403), path
    assert api.delete(f"/api/members/{member}").status_code == 200


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("scope", Scope)
def test_scopes(live: LiveServer, api: httpx.Client, routes: list[Route], scope: Scope, way: str) -> None:
    """Each scope opens its own doors and those of the lesser ones."""
    order = list(Scope)
    secret = api.post("/api/keys", json={"name": scope, "scopes": [scope]}).json()["secret"]
    with come_in(live, secret, way) as caller:
        for route in doors(routes):
            assert route.scope is not None
            allowed = order.index(route.scope) <= order.index(scope)
            assert knock(caller, route) == (404 if allowed else 403), str(route)


@pytest.mark.parametrize("way", WAYS)
def test_key_of_some_endpoints(
    live: LiveServer, api: httpx.Client, things: Things, routes: list[Route], way: str
) -> None:
    """For a key that names endpoints the others, their workers and their jobs do not exist; the team's things are closed."""
    secret = api.post("/api/keys", json={"name": "limited", "scopes": ["admin"], "endpoints": ["guarded-too"]}).json()[
        "secret"
    ]
    before = state(api, things)
    with come_in(live, secret, way) as limited:
        for route in routes:
            if route.scope is None:
                continue
            answer = things.ask(limited, route)
            if "{" in route.path:
                assert refusal(answer)[0] in (403, 404), str(route)
            assert answer.status_code != 404 or things.mine.id not in answer.text or "{worker}" in route.path
            if answer.status_code == 200 and route.path not in ("/api/me", "/api/limits"):
                for ours in (things.mine.id, things.names["job"], things.mine.endpoint["id"]):
                    assert ours not in answer.text, str(route)
        assert limited.get("/v2/guarded-too/health").status_code == 200
        assert [one["name"] for one in limited.get("/api/endpoints").json()["endpoints"]] == ["guarded-too"]
        assert refusal(limited.get("/api/members")) == (403, "key_limited")
    assert state(api, things) == before


def test_every_change_has_its_line(api: httpx.Client, routes: list[Route]) -> None:
    """Whatever is configured leaves a line of the audit log: every such route is one of those that are tested for it."""
    tested = {
        *("POST /api/endpoints", "PATCH /api/endpoints/{endpoint}", "DELETE /api/endpoints/{endpoint}"),
        *("POST /api/endpoints/apply", "POST /api/endpoints/{endpoint}/pause", "POST /api/endpoints/{endpoint}/resume"),
        "POST /api/endpoints/{endpoint}/retry",
        "POST /api/endpoints/{endpoint}/releases/{number}/roll-back",
        *("POST /api/templates", "PUT /api/templates/{template}", "DELETE /api/templates/{template}"),
        *("POST /api/members", "PATCH /api/members/{member}", "DELETE /api/members/{member}", "PATCH /api/team"),
        *("POST /api/keys", "POST /api/keys/{key_id}/rotate", "DELETE /api/keys/{key_id}"),
        *("POST /api/views", "DELETE /api/views/{view}"),
        *("POST /api/volumes", "PATCH /api/volumes/{volume}", "DELETE /api/volumes/{volume}"),
        *("PUT /api/volumes/{volume}/files/{path}", "DELETE /api/volumes/{volume}/files/{path}"),
        *("POST /api/credentials", "PATCH /api/credentials/{credential}", "DELETE /api/credentials/{credential}"),
        "POST /api/webhooks/secret/rotate",
        *("PUT /api/budget", "DELETE /api/budget"),
        *("PUT /api/endpoints/{endpoint}/rate", "PUT /api/keys/{key_id}/rate"),
        *("PUT /api/endpoints/{endpoint}/budget", "DELETE /api/endpoints/{endpoint}/budget"),
    }
    asks_only = {"POST /api/credentials/{credential}/test", "POST /api/images/check"}
    signing = {"POST /api/session", "DELETE /api/session"}
    has_a_story = re.compile(
        r".*(/jobs(/cancel|/retry)?|/jobs/{job}/\w+|/workers/{worker}/stop|/purge-queue|/dead-letters/retry)"
    )
    changes = {str(route) for route in routes if route.path.startswith("/api/") and route.changes}
    assert {name for name in changes if not has_a_story.fullmatch(name)} == tested | asks_only | signing | OF_MACHINE


def test_scope_is_asked_before_existence(reader: httpx.Client) -> None:
    """Who may not change things does not learn by trying which there are."""
    assert refusal(reader.delete("/api/endpoints/nobody"))[0] == 403
    assert refusal(reader.post("/v2/nobody/run", json={"input": 1}))[0] == 403


def test_every_route_is_described(routes: list[Route]) -> None:
    """Each has a summary, exactly one tag, and more to say than its own name."""
    for route in routes:
        assert len(route.described.get("tags", ())) == 1, str(route)
        assert route.described.get("summary"), str(route)
        if route.path.startswith("/api/"):
            assert route.described.get("description"), str(route)


def test_no_secret_comes_out(live: LiveServer, api: httpx.Client, things: Things, routes: list[Route]) -> None:
    """No answer to any question, the log of the server included, holds a key, a token or a bucket's credentials."""
    secrets = {KEY, STRANGER_KEY, things.mine.token, things.other.token, S3_SECRET, ENV_SECRET, PASSWORD}
    hidden = re.compile("|".join(map(re.escape, secrets)) + "|secret_hash|token_hash|body_hash|v1:[0-9a-f]{12}:")
    for route in routes:
        if not route.changes and not route.for_workers:
            answer = things.ask(api, route)
            assert answer.status_code == 200, str(route)
            assert not hidden.search(answer.text), str(route)
            assert not hidden.search(str(answer.headers)), str(route)
    assert not hidden.search(live.log())
    assert things.mine.env["TOKEN"] == ENV_SECRET  # which only the worker got


def test_no_secret_is_in_the_database(live: LiveServer, things: Things) -> None:
    """Whoever steals the database's files finds nothing that is secret: not even what was there a moment ago."""
    files = [file for file in live.data_dir.glob("stoker.db*") if file.is_file()]
    assert files
    assert (live.data_dir / "secrets.key").stat().st_mode & 0o777 == 0o600
    for secret in (S3_SECRET, ENV_SECRET, PASSWORD, KEY, things.mine.token):
        assert not any(secret.encode() in file.read_bytes() for file in files), secret


def test_token_opens_its_own_worker_only(live: LiveServer, things: Things, routes: list[Route]) -> None:
    """The token of one worker is refused on the calls of another and on every route of customers; so is a key on workers'."""
    strange = [(things.other.token, routes), (KEY, [route for route in routes if route.for_workers])]
    for credential, refused in strange:
        with client(live, credential) as caller:
            for route in refused:
                if str(route) not in OPEN:
                    status, code = refusal(things.ask(caller, route))
                    poll = route.path.startswith(POLLS)
                    assert (status, code) == (
                        429 if poll else 401,
                        "worker_token_invalid" if route.for_workers else "unauthenticated",
                    ), str(route)


def test_worker_cannot_report_on_the_jobs_of_others(live: LiveServer, things: Things) -> None:
    """A result, a part or a ping for a job that another worker holds is acknowledged and changes nothing."""
    job = live.run("guarded", "held")
    things.mine.take()
    assert things.other.part(job, b'{"output": "theirs"}').status_code == 200
    assert things.other.finish(job, b'{"output": "theirs"}').status_code == 200
    assert live.job(job)["state"] == "running"
    things.mine.finish(job, b'{"output": "mine"}')
    assert live.finished(job)["output"] == "mine"
    assert live.api.get(f"/v2/guarded/stream/{job}").json()["stream"] == []


def test_doubled_slashes_open_nothing(live: LiveServer, things: Things) -> None:
    """A path that is written in another way asks for the same key."""
    for path in ("//v2//guarded//health", "/v2/guarded/health/", "/api//endpoints", "//api/keys", "/V2/guarded/health"):
        answer = httpx.get(f"{live.url}{path}", follow_redirects=True)
        assert refusal(answer)[0] in (401, 404), path
