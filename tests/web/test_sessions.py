"""Signing in to the console: what the cookie opens, until when, and whose requests it counts in."""

from __future__ import annotations

from collections.abc import Iterator
from http.cookies import SimpleCookie

import httpx
import pytest

from stoker.catalog.sessions import Sessions
from stoker.catalog.teams import Teams
from stoker.clock import ManualClock
from stoker.errors import Unauthenticated
from stoker.ids import secret_hash
from stoker.store.sqlite import MEMORY, SqliteStore
from tests.live import KEY, LiveServer
from tests.web.browser import signed_in

slow = pytest.mark.slow


@pytest.fixture
def person(live: LiveServer) -> Iterator[httpx.Client]:
    """Our team's admin, in a browser."""
    with signed_in(live.url, KEY) as browser:
        yield browser


def code(answer: httpx.Response) -> tuple[int, str]:
    """Status and code of a refusal."""
    return answer.status_code, answer.json()["code"]


@slow
def test_scripts_and_other_sites_cannot_read_the_cookie(person: httpx.Client, live: LiveServer) -> None:
    """The cookie is for HTTP alone, for this site alone, ends by itself, and is not the key."""
    answer = person.post("/api/session", json={"key": KEY})
    (cookie,) = SimpleCookie(answer.headers["set-cookie"]).values()
    assert cookie["httponly"]
    assert cookie["samesite"] == "Strict"
    assert cookie["path"] == "/"
    assert int(cookie["max-age"]) == 12 * 3_600
    assert not cookie["secure"]  # this server has no other address than http://
    assert KEY not in answer.text + str(answer.headers)
    proxied = person.post("/api/session", json={"key": KEY}, headers={"x-forwarded-proto": "https"})
    assert "; Secure" in proxied.headers["set-cookie"]


@slow
def test_a_session_is_worth_its_key(person: httpx.Client, api: httpx.Client) -> None:
    """Who signed in is who the key says, and may do the same."""
    assert person.get("/api/me").json() == api.get("/api/me").json()
    assert person.get("/api/me").json()["may"] == ["read", "run", "manage", "admin"]
    assert person.get("/api/me").json()["operator"] is True


@slow
def test_wrong_key(live: LiveServer) -> None:
    """A key that opens nothing makes no session."""
    with httpx.Client(base_url=live.url, headers={"x-stoker-console": "1"}) as browser:
        answer = browser.post("/api/session", json={"key": "sk_wrong"})
        assert code(answer) == (401, "unauthenticated")
        assert "set-cookie" not in answer.headers
        assert code(browser.get("/api/me")) == (401, "api_key_missing")


@slow
def test_signing_out(person: httpx.Client, live: LiveServer) -> None:
    """After signing out the cookie is gone, and a copy of it opens nothing."""
    kept = dict(person.cookies)
    gone = person.delete("/api/session")
    assert gone.status_code == 200
    assert "Max-Age=0" in gone.headers["set-cookie"]
    with httpx.Client(base_url=live.url, cookies=kept) as thief:
        assert code(thief.get("/api/me")) == (401, "session_ended")
    assert person.delete("/api/session").status_code == 200


@slow
def test_revoked_with_its_key(api: httpx.Client, live: LiveServer) -> None:
    """A session ends at once when its key is revoked, and when its secret is replaced without grace."""
    made = [api.post("/api/keys", json={"name": name, "scopes": ["read"]}).json() for name in ("revoked", "rotated")]
    revoked, rotated = (signed_in(live.url, one["secret"]) for one in made)
    with revoked, rotated:
        assert revoked.get("/api/me").status_code == 200
        api.delete(f"/api/keys/{made[0]['id']}")
        assert code(revoked.get("/api/me")) == (401, "unauthenticated")
        assert rotated.get("/api/me").status_code == 200
        api.post(f"/api/keys/{made[1]['id']}/rotate", json={"grace_s": 0})
        assert code(rotated.get("/api/me"))[0] == 401


OTHER_SITES = (
    {"sec-fetch-site": "cross-site"},
    {"sec-fetch-site": "same-site"},  # another port of the same machine
    {"origin": "https://example.com"},
    {"origin": "null"},
    {"origin": "http://127.0.0.1:1"},
)


@slow
@pytest.mark.parametrize("headers", OTHER_SITES, ids=str)
def test_other_sites_are_refused(person: httpx.Client, headers: dict[str, str]) -> None:
    """The cookie counts in no request that another site has caused, to look or to change, to sign in or out."""
    for method, path in (("GET", "/api/me"), ("GET", "/v2/nobody/health"), ("POST", "/api/endpoints")):
        assert code(person.request(method, path, headers=headers)) == (403, "cross_site")
    assert code(person.post("/api/session", json={"key": KEY}, headers=headers)) == (403, "cross_site")
    assert code(person.delete("/api/session", headers=headers)) == (403, "cross_site")
    assert person.get("/api/me").status_code == 200


@slow
def test_changes_need_what_no_form_can_send(person: httpx.Client, live: LiveServer, name: str) -> None:
    """Without the console's header the cookie changes nothing, on routes that change by GET neither; our own page may look."""
    with httpx.Client(base_url=live.url, cookies=dict(person.cookies)) as form:
        assert code(form.post("/api/endpoints", json={"name": name, "image": "dir:/x"})) == (403, "cross_site")
        assert code(form.get("/v2/nobody/cancel/nothing")) == (403, "cross_site")
        assert code(form.post("/api/session", json={"key": KEY})) == (403, "cross_site")
        assert form.get("/api/endpoints").status_code == 200
    ours = {"origin": live.url, "sec-fetch-site": "same-origin"}
    assert code(person.get("/v2/nobody/cancel/nothing", headers=ours))[0] == 404


@slow
def test_a_key_goes_before_the_cookie(person: httpx.Client, reader: httpx.Client) -> None:
    """Who sends both is who the key says."""
    headers = dict(reader.headers)
    assert person.get("/api/me", headers={"authorization": headers["authorization"]}).json()["may"] == ["read"]


@slow
@pytest.mark.parametrize(
    "cookie", ["stoker_session=", "stoker_session", "stoker_session=ü", "stoker_session=x; ;;=", "=stoker_session"]
)
def test_odd_cookies(live: LiveServer, cookie: str) -> None:
    """What is no session opens nothing."""
    answer = httpx.get(f"{live.url}/api/me", headers=[(b"cookie", cookie.encode())])
    assert answer.status_code == 401


async def test_sessions_end() -> None:
    """A session opens what its key opens until its time has passed; no longer than the key."""
    store = await SqliteStore.open(MEMORY)
    clock = ManualClock()
    teams = Teams(store, clock)
    await teams.bootstrap("sk_chosen")
    sessions = Sessions(store, clock, teams, life_ms=60_000)
    key, session, token = await sessions.sign_in("sk_chosen")
    assert session.token_hash == secret_hash(token)
    clock.advance_s(59.999)
    assert (await sessions.authenticate(token)).id == key.id
    clock.advance_s(0.001)
    with pytest.raises(Unauthenticated):
        await sessions.authenticate(token)
    await store.close()
