"""What Prometheus reads from a real server, and what the dashboard asks of it."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families

from stoker.throttle import REFUSALS
from tests.live import KEY, ROOT, LiveServer, until

pytestmark = pytest.mark.slow

WORKERS = Path(__file__).parent / "workers"
METRICS_KEY = "mk_test"
DASHBOARD = ROOT / "deploy" / "grafana" / "stoker.json"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """A server whose metrics a key opens, and on which a job has ended."""
    with LiveServer(tmp_path_factory.mktemp("metrics") / "server", metrics_key=METRICS_KEY) as live:
        live.create("seen", image=WORKERS, command=f"{sys.executable} -u light.py", min_workers=1, max_workers=1)
        live.finished(live.run("seen", {"echo": 1}))
        yield live


def scrape(live: LiveServer) -> dict[str, Metric]:
    """Every metric by its name, read as Prometheus's own client reads them."""
    answer = httpx.get(f"{live.url}/metrics", headers={"Authorization": f"Bearer {METRICS_KEY}"})
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    return {metric.name: metric for metric in text_string_to_metric_families(answer.text)}


def value(metrics: dict[str, Metric], named: str, /, **labels: str) -> float:
    """The only sample with these labels."""
    (found,) = values(metrics, named, **labels)
    return found


def values(metrics: dict[str, Metric], named: str, /, **labels: str) -> list[float]:
    """All samples with these labels."""
    return [
        float(sample.value)
        for metric in metrics.values()
        for sample in metric.samples
        if sample.name == named and labels.items() <= sample.labels.items()
    ]


def test_a_job_is_counted(server: LiveServer) -> None:
    """What happened is counted once: the end of the job, how long it waited and ran, and the start of its worker by stage."""
    endpoint = server.api.get("/api/endpoints/seen").json()["id"]

    def settled() -> dict[str, Metric] | None:
        now = scrape(server)
        return now if value(now, "stoker_jobs_ended_total", endpoint=endpoint, state="completed") == 1 else None

    now = until(settled, what="the job to be counted")
    assert value(now, "stoker_endpoint_info", name="seen") == 1
    assert value(now, "stoker_jobs_finished_total", endpoint=endpoint, reason="handler_returned") == 1
    assert value(now, "stoker_job_run_seconds_count", endpoint=endpoint) == 1
    assert value(now, "stoker_job_wait_seconds_bucket", endpoint=endpoint, le="+Inf") == 1
    stages = {
        stage: value(now, "stoker_worker_start_seconds_sum", stage=stage) for stage in ("launch", "load", "total")
    }
    assert stages["launch"] + stages["load"] == pytest.approx(stages["total"], abs=0.002)
    assert value(now, "stoker_workers", endpoint=endpoint, state="ready") == 1
    assert value(now, "stoker_on_duty") == 1


def test_a_job_that_waits(server: LiveServer) -> None:
    """A queue shows how many wait, and how long the first of them has."""
    server.create("waiting", image=WORKERS, command="true", max_workers=1)
    server.api.post("/api/endpoints/waiting/pause")
    server.run("waiting", 1)
    endpoint = server.api.get("/api/endpoints/waiting").json()["id"]

    def waits() -> bool:
        """What the database says is told for two seconds: at first the endpoint may be missing."""
        return values(scrape(server), "stoker_queue_oldest_wait_seconds", endpoint=endpoint) > [0.0]

    until(waits, what="the wait to be seen")
    assert value(scrape(server), "stoker_jobs", endpoint=endpoint, state="queued") == 1


def test_a_worker_that_does_not_start(server: LiveServer) -> None:
    """Workers that went are counted by the reason; one that ends by itself at once failed its start."""
    server.create("broken", image=WORKERS, command="false", max_workers=1)
    server.run("broken", 1)
    endpoint = server.api.get("/api/endpoints/broken").json()["id"]

    def counted() -> bool:
        found = values(scrape(server), "stoker_workers_ended_total", endpoint=endpoint)
        return sum(found) > 0

    until(counted, what="the worker to be counted")
    (gone, *_) = server.workers("broken", gone=1)
    assert value(scrape(server), "stoker_workers_ended_total", endpoint=endpoint, reason=gone["reason"]) >= 1


def test_counts_outlive_the_server(tmp_path: Path) -> None:
    """What the database counts goes on after a restart; what the server counts begins anew, as Prometheus expects."""
    with LiveServer(tmp_path / "server", metrics_key=METRICS_KEY) as live:
        live.create("seen", image=WORKERS, command=f"{sys.executable} -u light.py", max_workers=1)
        live.finished(live.run("seen", {"echo": 1}))
        live.stop()
        live.start()
        now = scrape(live)
        assert value(now, "stoker_jobs_ended_total", state="completed") == 1
        assert not now["stoker_jobs_finished"].samples


def test_refusals_and_webhooks(tmp_path: Path) -> None:
    """Who was refused for asking too much is counted by code, and tries to tell receivers by how they went."""
    with LiveServer(tmp_path / "server", metrics_key=METRICS_KEY, queued_max=1) as live:
        live.create("full", image=WORKERS, command="true", max_workers=1)
        live.api.post("/api/endpoints/full/pause")
        job = live.run("full", 1, webhook="http://127.0.0.1:9/hook")  # no public address: every try fails
        assert live.api.post("/v2/full/run", json={"input": 2}).json()["code"] == "queue_full"
        refused = {code: value(scrape(live), "stoker_requests_refused_total", code=code) for code in REFUSALS}
        assert refused == {"rate_limited": 0, "queue_full": 1, "too_many_uploads": 0}
        live.api.post(f"/api/jobs/{job}/cancel")
        until(lambda: value(scrape(live), "stoker_webhook_tries_total", result="failed"), what="the try")
        assert value(scrape(live), "stoker_webhook_tries_total", result="delivered") == 0
        assert value(scrape(live), "stoker_webhooks_given_up_total") == 0


def test_usage_and_budgets(tmp_path: Path) -> None:
    """What workers were used for today, what that costs, and how far budgets are used up is what the ledger of usage says."""
    places = '[{"id": "cpu", "slots": 4, "price_per_hour": 3600}]'
    with LiveServer(tmp_path / "server", metrics_key=METRICS_KEY, specifications=places) as live:
        live.create("paid", image=WORKERS, command=f"{sys.executable} -u light.py", max_workers=1, min_workers=1)
        endpoint = live.api.get("/api/endpoints/paid").json()["id"]
        assert live.api.put("/api/endpoints/paid/budget", json={"period": "day", "queue": 1e6}).status_code == 200
        live.finished(live.run("paid", {"echo": 1}))
        live.api.post("/api/endpoints/paid/pause")
        until(lambda: not live.workers("paid"), what="the worker to go")

        def settled() -> dict[str, Metric] | None:
            now = scrape(live)
            row = live.api.get("/api/usage", params={"endpoint": "paid"}).json()["total"]
            costs = values(now, "stoker_cost_today", endpoint=endpoint)
            return (
                now if costs and costs == values(now, "stoker_budget_spent") == [pytest.approx(row["cost"])] else None
            )

        now = until(settled, what="the metrics to say what the ledger says")
        used = sum(values(now, "stoker_usage_today_seconds", endpoint=endpoint))
        assert used == pytest.approx(value(now, "stoker_cost_today", endpoint=endpoint), abs=0.01)
        assert used > 0
        assert value(now, "stoker_budget_amount", endpoint=endpoint, level="queue", period="day") == 1e6


def test_what_is_forgotten(tmp_path: Path) -> None:
    """What was kept long enough is gone, and both the log and the metrics say how much of what."""
    with LiveServer(tmp_path / "server", metrics_key=METRICS_KEY, gone_workers_kept_s=0, log_format="json") as live:
        live.create("brief", image=WORKERS, command=f"{sys.executable} -u light.py", max_workers=1)
        live.finished(live.run("brief", {"echo": 1}))
        live.api.post("/api/endpoints/brief/pause")
        until(lambda: values(scrape(live), "stoker_forgotten_total", what="workers"), what="the worker to be forgotten")
        assert live.workers("brief", gone=10) == []
        said = [json.loads(line) for line in live.log().splitlines()]
        assert sum(line.get("workers", 0) for line in said if line["event"] == "forgotten") == 1
        assert value(scrape(live), "stoker_forgotten_total", what="workers") == 1


def test_names_and_units(server: LiveServer) -> None:
    """Names begin with our own, units are seconds and bytes, and every metric says what it is."""
    for metric in scrape(server).values():
        assert metric.name.startswith("stoker_")
        assert metric.documentation.endswith(".")
        assert not re.search(r"_(ms|milliseconds|minutes|kb|mb|gb|count)$", metric.name), metric.name
        assert metric.type in ("counter", "gauge", "histogram"), metric.name


def test_the_dashboard(server: LiveServer) -> None:
    """Every metric and label that the dashboard asks for is there, and it leaves out no metric."""
    samples = [sample for metric in scrape(server).values() for sample in metric.samples]
    there = {sample.name: set(sample.labels) | {"instance"} for sample in samples}
    ends = {"counter": ["_total"], "gauge": [""], "histogram": ["_bucket", "_sum", "_count"]}
    declared = {
        f"{metric.name}{end}" for metric in scrape(server).values() for end in ends[metric.type]
    }  # some have not happened yet
    asked = set()
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        assert panel["targets"], panel["title"]
        for target in panel["targets"]:
            names = set(re.findall(r"\bstoker_\w+", target["expr"]))
            assert names, target["expr"]
            asked |= names
            for name in names:
                assert name in there or name in declared, f"{panel['title']} asks for {name}"
            if names <= there.keys():
                labels = set().union(*(there[name] for name in names))
                for group in re.findall(r"(?:by|on|group_left) \(([^)]*)\)", target["expr"]):
                    assert set(group.split(", ")) <= labels, f"{panel['title']} groups by {group}"
    shown = {re.sub(r"_(bucket|sum|count)$", "", name) for name in asked}
    families = {
        f"{metric.name}_total" if metric.type == "counter" else metric.name for metric in scrape(server).values()
    }
    assert families <= shown


@pytest.mark.parametrize("credential", [None, "mk_wrong", KEY])
def test_who_may_read_them(server: LiveServer, credential: str | None) -> None:
    """They are about all teams: no key of a team opens them, but the key of the settings alone."""
    headers = {} if credential is None else {"Authorization": f"Bearer {credential}"}
    answer = httpx.get(f"{server.url}/metrics", headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")
    assert METRICS_KEY not in server.log()


def test_closed_and_open(tmp_path: Path) -> None:
    """Without a setting nobody reads them; the setting `metrics_open` lets everybody."""
    with LiveServer(tmp_path / "closed") as live:
        answer = live.api.get("/metrics")
        assert (answer.status_code, answer.json()["code"]) == (403, "metrics_closed")
    with LiveServer(tmp_path / "open", metrics_open="true") as live:
        assert "stoker_build_info" in httpx.get(f"{live.url}/metrics").text
