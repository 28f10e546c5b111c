"""What a team configures beside endpoints: storage, credentials, templates, webhooks, keys, members; and who did it."""

from __future__ import annotations

import filecmp
import re
import sys
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Locator, expect

from tests.console.conftest import Window, looked_at, workers_of
from tests.live import KEY, LiveServer

pytestmark = [pytest.mark.slow, pytest.mark.browser, pytest.mark.timeout(400)]  # a browser, a server, real workers

COMMAND = f"{sys.executable} -u handler.py"


def ask_for(window: Window, label: str) -> Locator:
    """Press an action's button; the dialog that asks what it needs."""
    window.page.get_by_role("button", name=label, exact=True).click()
    dialog = window.page.get_by_role("dialog", name=label)
    expect(dialog).to_contain_text("stoker ")
    expect(dialog).to_contain_text("curl ")
    return dialog


def do(dialog: Locator, label: str) -> None:
    """Say yes."""
    dialog.get_by_role("button", name=label, exact=True).click()


def test_form_of_an_endpoint(window: Window, live: LiveServer) -> None:
    """One form makes and changes: without a name the server makes one; weight, health check and name are changed in one go, after
    their difference was shown; what is refused is told at its field."""
    page = window.page
    window.go("/endpoints/new")
    page.get_by_label("Image", exact=True).fill(f"dir:{workers_of('hello')}")
    page.get_by_label("Command", exact=True).fill(COMMAND)
    page.get_by_role("button", name="Check it").click()
    review = page.get_by_role("complementary", name="Review")
    expect(review).to_contain_text("no GPU")
    expect(review).to_contain_text("The image was found: workers can be started from it")
    page.get_by_role("button", name="Deploy").click()
    expect(page.get_by_role("heading", level=1)).to_have_text(re.compile("^[0-9a-f]{16}$"))
    made = page.get_by_role("heading", level=1).inner_text()

    window.go(f"/endpoints/{made}/edit")
    page.get_by_label("Health check", exact=True).fill("/health")
    page.get_by_role("button", name="Show the difference").click()
    expect(review.get_by_role("alert")).to_contain_text("http_port")
    page.get_by_label("HTTP port", exact=True).fill("8080")
    page.get_by_label("Bad answers to be replaced").fill("5")
    page.get_by_label("Weight", exact=True).fill("3")
    page.get_by_label("Name", exact=True).fill("renamed")
    page.get_by_role("button", name="Show the difference").click()
    expect(review).to_contain_text("renamed")
    expect(review).to_contain_text("weight")
    looked_at(window, "edit-health")
    page.get_by_role("button", name="Make the release").click()
    expect(page.get_by_role("list", name="Releases")).to_contain_text("Release 2")
    now = live.api.get("/api/endpoints/renamed").json()
    assert (now["weight"], now["http_port"], now["health"]["failures"]) == (3, 8080, 5)
    assert live.api.get(f"/api/endpoints/{made}").status_code == 404
    live.api.delete("/api/endpoints/renamed")


def test_storage(window: Window, live: LiveServer, tmp_path: Path) -> None:
    """A volume is made, filled, browsed, read, grown; it is not deleted while an endpoint uses it."""
    page = window.page
    window.go("/storage")
    dialog = ask_for(window, "Create a volume")
    dialog.get_by_label("Name").fill("No Name")
    do(dialog, "Create a volume")
    expect(dialog.get_by_role("alert").first).to_contain_text("No Name")
    dialog.get_by_label("Name").fill("models")
    do(dialog, "Create a volume")
    expect(page.get_by_role("heading", level=1)).to_have_text("models")
    looked_at(window, "volume-empty")

    live.api.put("/api/volumes/models/files/llm/tiny.txt", content=b"0" * 2_000)
    page.goto(f"{live.url}/storage/models?path=llm")
    own = tmp_path / "weights & notes.bin"
    own.write_bytes(b"weights!" * 12 * 2**20)  # larger than what a browser or a server would like to hold
    page.get_by_label("Files to upload").set_input_files(own)
    expect(page.get_by_role("list", name="Uploads")).to_contain_text("is there")
    rows = page.get_by_role("table", name="Files of models")
    expect(rows).to_contain_text("tiny.txt")
    expect(rows).to_contain_text("weights & notes.bin")
    looked_at(window, "volume")
    with page.expect_download() as coming:
        page.get_by_role("link", name="Download weights & notes.bin").click()
    assert filecmp.cmp(coming.value.path(), own, shallow=False)

    do(ask_for(window, "Remove tiny.txt"), "Remove tiny.txt")
    expect(rows).not_to_contain_text("tiny.txt")
    dialog = ask_for(window, "Grow")
    dialog.get_by_label("Size, GiB").fill("20")
    do(dialog, "Grow")
    expect(page.get_by_role("region", name="Facts")).to_contain_text("of 20 GiB")

    live.create("with-storage", image=workers_of("hello"), command=COMMAND, volumes=["models"])
    do(ask_for(window, "Delete"), "Delete")
    expect(page.get_by_text("with-storage").first).to_be_visible()
    assert live.api.get("/api/volumes/models").status_code == 200
    window.go("/storage")
    looked_at(window, "storage")


def test_credentials(window: Window, live: LiveServer) -> None:
    """A credential is stored, tried against its registry, changed and forgotten; its password is never shown again."""
    page = window.page
    window.go("/credentials")
    dialog = ask_for(window, "Add a credential")
    for label, value in (("Name", "box"), ("Registry", "127.0.0.1:9"), ("User name", "me"), ("Password", "hush-hush")):
        dialog.get_by_label(re.compile(rf"^{label}\b")).first.fill(value)
    expect(dialog).not_to_contain_text("hush-hush")
    do(dialog, "Add a credential")
    row = page.get_by_role("row", name=re.compile("box"))
    expect(row).to_contain_text("127.0.0.1:9")
    looked_at(window, "credentials")
    do(ask_for(window, "Test box"), "Test box")
    expect(page.locator(".notices")).to_contain_text("127.0.0.1:9")
    dialog = ask_for(window, "Change box")
    dialog.get_by_label("User name").fill("you")
    do(dialog, "Change box")
    expect(row).to_contain_text("you")
    do(ask_for(window, "Delete box"), "Delete box")
    expect(page.get_by_text("No registry credentials yet")).to_be_visible()


def test_keys(window: Window, live: LiveServer) -> None:
    """A key is shown once when it is made and when it is rotated, does what was chosen, expires, and can be revoked."""
    page = window.page
    live.create("for-keys", image=workers_of("hello"), command=COMMAND)
    window.go("/keys")
    dialog = ask_for(window, "Create a key")
    dialog.get_by_label("Name").fill("website")
    dialog.get_by_label("It expires").select_option(label="in 30 days")
    dialog.get_by_label("Only for these endpoints").select_option("for-keys")
    assert window.barriers() == []
    do(dialog, "Create a key")
    shown = page.get_by_role("dialog", name="The key website")
    secret = shown.locator("code").inner_text()
    looked_at(window, "key-once")
    assert allowed(live, secret, "/v2/for-keys/health") == 200
    assert allowed(live, secret, "/api/keys") == 403
    shown.get_by_role("button", name="I have it").click()
    expect(page.get_by_text(secret)).to_have_count(0)
    row = page.get_by_role("row", name=re.compile("website"))
    expect(row).to_contain_text("1 endpoint")

    dialog = ask_for(window, "Set the rate of website")
    dialog.get_by_label("Jobs in ten seconds").fill("much")
    do(dialog, "Set the rate of website")
    expect(dialog.get_by_role("alert").first).to_contain_text("rate")
    dialog.get_by_label("Jobs in ten seconds").fill("20")
    expect(dialog).to_contain_text(re.compile(r"stoker rate key key-\w+ 20"))
    do(dialog, "Set the rate of website")
    expect(row).to_contain_text("20 in 10 s")
    dialog = ask_for(window, "Set the rate of website")
    expect(dialog.get_by_label("Jobs in ten seconds")).to_have_value("20")
    dialog.get_by_label("Jobs in ten seconds").fill("")
    do(dialog, "Set the rate of website")
    expect(row).to_contain_text("as its endpoints")

    dialog = ask_for(window, "Rotate website")
    dialog.get_by_label("The old secret").select_option(label="stops at once")
    do(dialog, "Rotate website")
    renewed = page.get_by_role("dialog", name="The new secret of website").locator("code").inner_text()
    page.get_by_role("button", name="I have it").click()
    assert allowed(live, renewed, "/v2/for-keys/health") == 200
    looked_at(window, "keys")
    do(ask_for(window, "Revoke website"), "Revoke website")
    expect(page.get_by_role("row", name=re.compile("website"))).to_have_count(0)
    assert allowed(live, renewed, "/v2/for-keys/health") == 401
    page.get_by_label("Also revoked keys").check()
    expect(page.get_by_role("row", name=re.compile("website"))).to_contain_text("revoked")


def allowed(live: LiveServer, secret: str, path: str) -> int:
    """The status with which a key is answered."""
    return httpx.get(live.url + path, headers={"Authorization": f"Bearer {secret}"}).status_code


def test_members_and_audit(window: Window, live: LiveServer) -> None:
    """A member is added, gets another role, and is removed; each leaves a line in the audit log, with the difference."""
    page = window.page
    window.go("/keys/members")
    dialog = ask_for(window, "Add a member")
    dialog.get_by_label("Name").fill("Ada")
    dialog.get_by_label("Role").select_option("reader")
    do(dialog, "Add a member")
    row = page.get_by_role("row", name=re.compile("Ada"))
    expect(row).to_contain_text("reader")
    dialog = ask_for(window, "Change Ada")
    dialog.get_by_label("Role").select_option("developer")
    do(dialog, "Change Ada")
    expect(row).to_contain_text("developer")
    looked_at(window, "members")
    do(ask_for(window, "Remove Ada"), "Remove Ada")
    expect(row).to_have_count(0)

    window.go("/audit?q=Ada")
    lines = page.locator("li", has_text="Ada")
    expect(lines).to_have_count(3)
    changed = lines.filter(has_text="changed")
    changed.locator("summary").click()
    expect(changed.locator("del")).to_contain_text("reader")
    expect(changed.locator("ins")).to_contain_text("developer")
    looked_at(window, "audit")
    changed.get_by_role("link", name="Everything about this member").click()
    expect(page).to_have_url(re.compile("thing="))
    expect(page.locator("main li")).to_have_count(3)


def test_templates(window: Window, live: LiveServer) -> None:
    """An endpoint is kept as a template, which fills the form of the next one."""
    page = window.page
    live.create("pattern", image=workers_of("hello"), command=COMMAND, max_workers=2)
    window.go("/templates")
    dialog = ask_for(window, "Keep an endpoint as a template")
    dialog.get_by_label("Name").fill("like-hello")
    dialog.get_by_label("Endpoint").select_option("pattern")
    do(dialog, "Keep an endpoint as a template")
    shown = page.get_by_role("region", name="Template like-hello")
    expect(shown).to_contain_text("handler.py")
    looked_at(window, "templates")
    shown.get_by_role("link", name="Create an endpoint from it").click()
    expect(page.get_by_label("Template")).to_have_value("like-hello")
    window.go("/templates?template=like-hello")
    do(ask_for(window, "Delete like-hello"), "Delete like-hello")
    expect(page.get_by_text("No templates yet")).to_be_visible()


def test_webhooks(window: Window, live: LiveServer) -> None:
    """The secret that signs is shown once; what receivers were told, or could not be told, is found by endpoint and state, and told
    again from there; what was given up is on Home."""
    page = window.page
    live.create("tells", image=workers_of("hello"), command=COMMAND)
    job = live.run("tells", {"prompt": "x", "seconds": 0}, webhook="http://192.0.2.1:9/told")
    live.finished(job)
    window.go("/webhooks")
    do(ask_for(window, "Begin to sign"), "Begin to sign")
    shown = page.get_by_role("dialog", name="The secret that signs webhooks")
    expect(shown.locator("code")).to_contain_text("whsec_")
    shown.get_by_role("button", name="I have it").click()
    expect(page.get_by_role("region", name="Signatures")).to_contain_text("Every webhook is signed")

    window.go("/endpoints/tells/settings")
    page.get_by_role("link", name="What webhooks of its jobs were told").click()
    told = page.get_by_role("region", name="Deliveries")
    row = told.get_by_role("row").filter(has_text="192.0.2.1:9/told")
    expect(row).to_contain_text("pending")
    page.get_by_role("combobox", name="State").select_option("given_up")
    expect(told).to_contain_text("No notice is like this")
    expect(page).to_have_url(re.compile("endpoint=tells&state=given_up"))
    page.get_by_role("combobox", name="State").select_option("pending")
    expect(row).to_be_visible()
    looked_at(window, "webhooks")
    row.get_by_role("button", name="Redeliver").click()
    (notice,) = live.api.get("/api/notices", params={"endpoint": "tells"}).json()["notices"]
    do(page.get_by_role("dialog"), f"Redeliver {notice['id']}")
    expect(page.locator(".notices")).to_contain_text("It is told again")


def test_settings_and_about(window: Window, live: LiveServer) -> None:
    """What the server was told is shown with where it came from, secrets masked; what it is made of, with every licence."""
    page = window.page
    window.go("/settings?from=environment")
    row = page.get_by_role("row", name=re.compile("bootstrap_key"))
    expect(row).to_contain_text("set, and shown nowhere")
    expect(row).to_contain_text("STOKER_BOOTSTRAP_KEY")
    assert KEY not in page.content()
    page.goto(f"{live.url}/settings")
    expect(page.get_by_role("row", name=re.compile("session_s"))).to_contain_text("default")
    looked_at(window, "server-settings")
    window.go("/about")
    expect(page.get_by_role("region", name="Health")).to_contain_text("a server runs the loops")
    page.get_by_role("button", name="Read it: the licence of svelte").click()
    expect(page.get_by_role("dialog")).to_contain_text("Permission is hereby granted")
    page.keyboard.press("Escape")
    expect(page.get_by_role("row", name=re.compile("fastapi"))).to_contain_text("MIT")
    looked_at(window, "about")


def test_images(window: Window, live: LiveServer) -> None:
    """Images are listed with what became of them; where workers are processes it is said that there is nothing to fetch."""
    page = window.page
    window.go("/images")
    dialog = ask_for(window, "Fetch an image ahead")
    dialog.get_by_label("Image").fill("example.com/nothing:1")
    do(dialog, "Fetch an image ahead")
    expect(dialog.get_by_role("alert")).to_be_visible()
    assert window.barriers() == []
    page.keyboard.press("Escape")
    looked_at(window, "images")
