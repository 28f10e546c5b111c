"""Every page, looked at in both themes, and as somebody who may only look."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator

import pytest
from playwright.sync_api import BrowserContext, expect

from tests.console.addresses import ADDRESSES, FOR_ADMINS, leads_to, patterns
from tests.console.conftest import Window, looked_at, workers_of
from tests.live import LiveServer

pytestmark = [pytest.mark.slow, pytest.mark.browser, pytest.mark.timeout(400)]  # a browser, a server, real workers

COMMAND = f"{sys.executable} -u handler.py"
WRITES = re.compile(
    r"^(Add|Begin|Cancel|Change|Create|Delete|Deploy|Drain|Edit|Fetch|Forget|Grow|Keep|Make|Pause|Purge|Rate|Redeliver|Remove|Resume"
    r"|Retry|Revoke|Roll|Rotate|Run(?! p\d)|Save|Set|Stop|Test|Upload)\b"
)
"""What a button that changes something begins with."""


@pytest.fixture(scope="module")
def seen(live: LiveServer) -> Iterator[dict[str, str]]:
    """Something for every page to show; what its addresses are filled with."""
    api = live.api
    volume = {"name": "seen", "size_gb": 1}
    for path, body in (
        ("/api/volumes", volume),
        ("/api/credentials", {"name": "seen", "registry": "127.0.0.1:9", "username": "me", "password": "x"}),
        ("/api/members", {"name": "seen", "role": "reader"}),
        ("/api/views", {"name": "seen", "state": "failed"}),
    ):
        assert api.post(path, json=body).status_code == 201
    live.create("seen", image=workers_of("hello"), command=COMMAND, min_workers=1, volumes=["seen"])
    assert api.post("/api/templates", json={"name": "seen", "endpoint": "seen"}).status_code == 201
    assert api.put("/api/endpoints/seen/budget", json={"period": "day", "refuse": 1_000}).status_code == 200
    job = live.run("seen", {"prompt": "x", "seconds": 0}, webhook="http://192.0.2.1:9/told")
    live.finished(job)
    (worker,) = live.workers("seen")
    yield {"endpoint": "seen", "volume": "seen", "job": job, "worker": str(worker["id"])}
    for path in ("endpoints/seen", "templates/seen", "views/seen", "credentials/seen", "members/seen", "volumes/seen"):
        api.delete(f"/api/{path}")


def test_every_address_is_looked_at() -> None:
    """No page of the router is left out here, and none is here that the router does not know."""
    known = patterns()
    assert len(known) > 20
    left_out = [one for one in known if not any(leads_to(one, address) for address in ADDRESSES.values())]
    unknown = [one for one in ADDRESSES.values() if not any(leads_to(pattern, one) for pattern in known)]
    assert (left_out, unknown) == ([], [])


def shown(window: Window, address: str) -> None:
    """Open an address, and wait until something stands there."""
    window.go(address)
    expect(window.page.get_by_role("button", name="Live", exact=True)).to_be_visible()
    window.page.locator("main :is(table, dl, textarea, form, .card, .empty)").filter(visible=True).first.wait_for()
    window.page.wait_for_function("!document.querySelector('main').textContent.includes('Loading…')")


def test_every_page(window: Window, seen: dict[str, str]) -> None:
    """Every page, with something on it, has no barrier in either theme, and no part of it lies beside a window of 1280 pixels."""
    for name, address in ADDRESSES.items():
        shown(window, address.format(**seen))
        looked_at(window, name)
        window.page.set_viewport_size({"width": 1280, "height": 860})
        assert window.page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0, name
        window.page.set_viewport_size({"width": 1360, "height": 860})


def test_a_reader_sees_nothing_that_would_be_refused(
    context: BrowserContext, live: LiveServer, seen: dict[str, str]
) -> None:
    """With a key that may only look, no page has a button or a link that changes anything, and none asks for what is refused; what is
    for admins is not in the navigation."""
    secret = live.api.post("/api/keys", json={"name": "only-looks", "scopes": ["read"]}).json()["secret"]
    window = Window(context, live.url)
    window.sign_in(secret)
    refused: list[str] = []
    window.page.on("response", lambda answer: refused.append(answer.url) if answer.status == 403 else None)
    for title in ("Keys and members", "Audit log", "Settings"):
        expect(window.page.get_by_role("navigation", name="Pages").get_by_role("link", name=title)).to_have_count(0)
    main = window.page.locator("main")
    for address in sorted(ADDRESSES.values(), key=lambda one: one.startswith(FOR_ADMINS)):
        shown(window, address.format(**seen))
        assert main.locator("[aria-haspopup=dialog]").count() == 0, f"{address} has an action"
        found = main.get_by_role("button", name=WRITES).or_(main.get_by_role("link", name=WRITES))
        assert found.all_inner_texts() == [], address
        assert window.barriers() == [], address
        assert address.startswith(FOR_ADMINS) or refused == [], address
    assert window.wrong == []
