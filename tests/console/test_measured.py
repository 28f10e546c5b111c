"""What is measured: the table of endpoints, the last hour on Home, heat maps with releases, attempts and webhook tries of a job."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import BrowserContext, expect

from tests.console.conftest import Window, looked_at, workers_of
from tests.live import LiveServer, until

pytestmark = [pytest.mark.slow, pytest.mark.browser, pytest.mark.timeout(400)]  # a browser, a server, real workers

COMMAND = f"{sys.executable} -u handler.py"
STOKER = Path(sys.executable).with_name("stoker")


def test_every_number_leads_to_its_jobs(window: Window, live: LiveServer) -> None:
    """Failures of the last hour stand on Home by cause, on the endpoint's metrics beside releases, and lead to the jobs."""
    page = window.page
    live.create("measured", image=workers_of("hello"), command=COMMAND, min_workers=1, max_workers=1)
    good = [live.run("measured", {"prompt": "x", "seconds": 0}) for _ in range(2)]
    bad = [live.run("measured", {"seconds": 0}) for _ in range(4)]
    for job in (*good, *bad):
        live.finished(job)

    window.go("/endpoints")
    row = page.get_by_role("row", name=re.compile("measured"))
    expect(row).to_contain_text("33.3%", timeout=30_000)  # it is read again every 10 s
    expect(row.get_by_role("img", name="2 jobs ended well and 4 badly within the last hour")).to_be_visible()
    looked_at(window, "endpoints-measured")

    window.go("/")
    needs = page.get_by_role("region", name="What needs a human")
    expect(needs).to_contain_text("4 of 6 jobs failed within the hour, most by handler error", timeout=30_000)
    failures = page.get_by_role("region", name="Failures of the last hour")
    expect(failures).to_contain_text("handler error")
    looked_at(window, "home-failures")
    failures.get_by_role("link", name="handler error").first.click()
    expect(page.get_by_role("table", name="Jobs of measured").locator("tbody tr")).to_have_count(4)
    assert re.search(r"/endpoints/measured/jobs\?state=failed&reason=handler_error&since=\d+$", page.url)

    window.go("/endpoints/measured/metrics?range=15m")
    expect(page.get_by_role("table", name="Jobs by how long they ran")).to_be_visible()
    expect(page.get_by_role("region", name="Errors")).to_contain_text("failed: handler error")
    expect(page.get_by_role("region", name="Errors")).to_contain_text("release 1")
    expect(page.get_by_role("table", name="Stages of cold starts")).to_contain_text("Together")
    looked_at(window, "metrics")
    page.get_by_role("region", name="Errors").get_by_role("link", name="failed: handler error").click()
    expect(page.get_by_role("table", name="Jobs of measured").locator("tbody tr")).to_have_count(4)
    assert re.search(r"since=\d+&until=\d+&state=failed&reason=handler_error$", page.url)


def test_usage(window: Window, live: LiveServer) -> None:
    """What was used is shown for each endpoint, over time and in all, and as a table for spreadsheets."""
    page = window.page
    live.create("costly", image=workers_of("hello"), command=COMMAND)
    live.finished(live.run("costly", {"prompt": "x", "seconds": 0}))
    until(lambda: "costly" in live.api.get("/api/usage?part=endpoint").text, what="usage to be written down")
    window.go("/usage")
    expect(page.get_by_role("table", name="Usage")).to_contain_text("costly")
    looked_at(window, "usage")
    with page.expect_download() as coming:
        page.get_by_role("link", name="Export").click()
    assert "costly" in Path(coming.value.path()).read_text("utf-8")
    page.get_by_label("Told apart by").select_option("use")
    expect(page.get_by_role("table", name="Usage")).to_contain_text("running")


def test_budgets(window: Window, live: LiveServer) -> None:
    """A budget is set for the team and for an endpoint, what is no amount is told at its field; it is changed, seen on Home, removed."""
    page = window.page
    live.create("thrifty", image=workers_of("hello"), command=COMMAND)
    window.go("/budgets")
    expect(page.get_by_text("No budgets yet")).to_be_visible()
    page.get_by_role("button", name="Set a budget").click()
    dialog = page.get_by_role("dialog", name="Set a budget")
    dialog.get_by_label("Jobs wait at").fill("much")
    dialog.get_by_role("button", name="Set a budget").click()
    expect(dialog.get_by_role("alert").first).to_be_visible()
    dialog.get_by_label("Jobs wait at").fill("100")
    expect(dialog).to_contain_text("stoker budget set --period month --queue 100")
    dialog.get_by_role("button", name="Set a budget").click()
    table = page.get_by_role("table", name="Budgets")
    expect(table).to_contain_text("the team")

    page.get_by_role("button", name="Set a budget").click()
    dialog.get_by_label("Of", exact=True).select_option("thrifty")
    dialog.get_by_label("For", exact=True).select_option("day")
    dialog.get_by_label("It warns at").fill("5")
    dialog.get_by_role("button", name="Set a budget").click()
    expect(table).to_contain_text("thrifty")
    page.get_by_role("button", name="Change the budget of thrifty").click()
    change = page.get_by_role("dialog", name="Change the budget of thrifty")
    expect(change.get_by_label("It warns at")).to_have_value("5")
    change.get_by_label("New jobs are refused at").fill("7")
    change.get_by_role("button", name="Change the budget of thrifty").click()
    expect(page.get_by_role("row", name=re.compile("thrifty"))).to_contain_text("7")
    looked_at(window, "budgets")
    of_endpoint = live.api.get("/api/budgets").json()["budgets"][1]
    assert (of_endpoint["period"], of_endpoint["warn"], of_endpoint["refuse"]) == ("day", 5, 7)

    window.go("/")
    expect(page.get_by_role("region", name="What needs a human")).to_contain_text("of 100 this month")
    looked_at(window, "home-budget")
    window.go("/budgets")
    for name in ("thrifty", "the team"):
        page.get_by_role("button", name=f"Remove the budget of {name}").click()
        page.get_by_role("dialog").get_by_role("button", name=f"Remove the budget of {name}").click()
    expect(page.get_by_text("No budgets yet")).to_be_visible()


def test_attempts_and_webhook_tries_of_a_job(window: Window, live: LiveServer) -> None:
    """A job that was lost shows its attempts side by side, and the tries of its webhook on the axis of its life."""
    page = window.page
    live.create("twice", image=workers_of("hello"), command=COMMAND, retries=2)
    job = live.run("twice", {"prompt": "x", "seconds": 3}, webhook="http://192.0.2.1:9/told")
    window.go(f"/jobs/{job}")
    expect(page.locator("main").get_by_text("running", exact=True).first).to_be_visible(timeout=90_000)
    (worker,) = live.workers("twice")
    live.api.post(f"/api/workers/{worker['id']}/stop", json={"now": True})
    live.finished(job)
    attempts = page.get_by_role("region", name="Attempts")
    expect(attempts.get_by_role("article")).to_have_count(2)
    expect(attempts.get_by_role("article", name="Attempt 1")).to_contain_text(worker["id"])
    stages = page.get_by_role("list", name="Stages of the job")
    expect(stages).to_contain_text(
        "Webhook, try 1", timeout=60_000
    )  # nobody answers there: a try takes as long as it may
    told = page.get_by_role("region", name="Webhook")
    expect(told).to_contain_text("192.0.2.1:9/told")
    expect(page.get_by_role("region", name="Why")).to_contain_text(
        "attempt 2 of at most 4"
    )  # being stopped is no retry
    looked_at(window, "job-twice")
    told.get_by_role("button", name="Redeliver").click()
    page.get_by_role("dialog", name="Redeliver").get_by_role("button", name="Redeliver").click()
    expect(page.locator(".notices")).to_contain_text("It is told again")


def test_the_operator_sets_the_budget_of_another_team(window: Window, live: LiveServer) -> None:
    """The operator looks at another team's budget by its name, sets it and takes it away; its own stays as it is, and the address holds
    whose is shown."""
    page = window.page
    made = ["team", "create", "tenants", "--owner", "ann", "--data-dir", str(live.data_dir)]
    secret = subprocess.run([STOKER, *made], check=True, capture_output=True, text=True).stdout.strip()
    window.go("/budgets")
    page.get_by_label("Team", exact=True).fill("tenants")
    page.get_by_role("button", name="Look").click()
    expect(page).to_have_url(re.compile(r"/budgets\?team=tenants$"))
    page.get_by_role("button", name="Set a budget").click()
    dialog = page.get_by_role("dialog", name="Set a budget")
    dialog.get_by_label("New jobs are refused at").fill("25")
    expect(dialog).to_contain_text("stoker budget set --team tenants --period month --refuse 25")
    dialog.get_by_role("button", name="Set a budget").click()
    expect(page.get_by_role("row", name=re.compile("tenants"))).to_contain_text("25")
    looked_at(window, "budget-of-another-team")
    theirs = httpx.get(f"{live.url}/api/budgets", headers={"Authorization": f"Bearer {secret}"}).json()["budgets"]
    assert [(one["endpoint"], one["refuse"]) for one in theirs] == [(None, 25)]
    assert live.api.get("/api/budgets").json()["budgets"] == []
    page.get_by_role("button", name="Remove the budget of tenants").click()
    page.get_by_role("dialog").get_by_role("button", name="Remove the budget of tenants").click()
    expect(page.get_by_text("No budgets yet")).to_be_visible()
    window.go("/budgets?team=nobody")
    expect(page.get_by_text("This does not exist")).to_be_visible()


@pytest.mark.usefixtures("gpu_driver")
def test_gpus_of_the_machine(context: BrowserContext, tmp_path: Path) -> None:
    """Home shows each GPU with its memory, its power and who holds it, and leads to the worker."""
    with LiveServer(tmp_path / "data") as live:
        live.create("llm", image=workers_of("hello"), command=COMMAND, gpus_per_worker=1, min_workers=1)
        (worker,) = until(lambda: [one for one in live.workers("llm") if one["state"] == "ready"], what="a worker")
        window = Window(context, live.url)
        window.sign_in()
        tiles = window.page.get_by_role("region", name="GPUs of this machine")
        held = tiles.get_by_role("link")
        expect(held).to_contain_text("RTX 4090 24GB · llm")
        expect(held).to_contain_text("1 GiB of 24 GiB · 61 W")
        expect(tiles.get_by_text("free", exact=True)).to_be_visible()
        looked_at(window, "home-gpus")
        held.click()
        expect(window.page.get_by_role("heading", level=1)).to_contain_text(worker["id"])
        assert window.wrong == []
