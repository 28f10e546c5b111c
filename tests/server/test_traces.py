"""Traces of jobs as a real collector gets them: over OTLP/HTTP, decoded by OpenTelemetry's own definition."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from stoker.collectors import collector, ratio_of
from stoker.errors import InvalidInput
from tests.live import LiveServer, until
from tests.web.hands import COMMAND, WORKERS

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


@dataclass
class Heard:
    """Requests that came, and how they are answered."""

    status: int = 200
    paths: list[str] = field(default_factory=list)
    spans: list[Any] = field(default_factory=list)
    resources: list[dict[str, str]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    refused: int = 0
    url: str = ""

    def of(self, trace: str) -> dict[str, Any]:
        """Spans of a trace by name."""
        return {span.name: span for span in self.spans if span.trace_id.hex() == trace}


@contextmanager
def listening(heard: Heard) -> Iterator[None]:
    """A collector, and a receiver of webhooks that answers 204."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            status = 204
            if self.path != "/hook":
                status = heard.status
                heard.refused += status != 200
                heard.paths.append(self.path)
                heard.headers.append({name.lower(): value for name, value in self.headers.items()})
                for one in ExportTraceServiceRequest.FromString(body).resource_spans if status == 200 else ():
                    heard.resources.append({pair.key: pair.value.string_value for pair in one.resource.attributes})
                    heard.spans += [span for scope in one.scope_spans for span in scope.spans]
            self.send_response(status)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    heard.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> Iterator[Heard]:
    """The collector that servers of the test are told of."""
    heard = Heard()
    with listening(heard):
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", heard.url)
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-tenant=lab")
        monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment=test")
        yield heard


@pytest.mark.slow
def test_a_collector_hears_of_a_job(heard: Heard, tmp_path: Path) -> None:
    """One trace of a job: received, waited for its worker's start, delivered, run, its webhook tried; below the client's own span."""
    with LiveServer(tmp_path / "data", webhook_networks="127.0.0.0/8") as live:
        told = tmp_path / "told"
        live.create("traced", image=WORKERS, command=COMMAND, max_workers=1, env={"TELL": str(told)})
        body = {"input": 1, "webhook": f"{heard.url}/hook"}
        traceparent = {"traceparent": f"00-{TRACE}-{SPAN}-01"}
        job = live.api.post("/v2/traced/run", json=body, headers=traceparent).json()["id"]
        until(told.exists, what="the worker")
        calls = json.loads(told.read_text())
        until(lambda: httpx.get(calls["RUNPOD_WEBHOOK_GET_JOB"], timeout=60).status_code == 200, what="the job")
        httpx.post(calls["RUNPOD_WEBHOOK_POST_OUTPUT"].replace("$ID", job), content=b'{"output": 2}')
        until(lambda: "webhook" in heard.of(TRACE), what="the last span")
    spans = heard.of(TRACE)
    assert {"job", "queued", "worker start", "launch", "load", "running", "webhook"} <= set(spans)
    root = spans["job"]
    assert root.parent_span_id.hex() == SPAN
    said = {pair.key: pair.value.string_value for pair in root.attributes}
    assert (said["stoker.job"], said["stoker.state"]) == (job, "completed")
    assert spans["queued"].parent_span_id == spans["running"].parent_span_id == root.span_id
    assert spans["worker start"].parent_span_id == spans["queued"].span_id
    assert spans["webhook"].parent_span_id == root.span_id
    assert all(span.start_time_unix_nano <= span.end_time_unix_nano for span in spans.values())
    assert spans["queued"].end_time_unix_nano == spans["running"].start_time_unix_nano
    assert heard.resources[0]["service.name"] == "stoker"
    assert heard.resources[0]["deployment.environment"] == "test"
    assert set(heard.paths) == {"/v1/traces"}
    assert {one["x-tenant"] for one in heard.headers} == {"lab"}


@pytest.mark.slow
def test_a_collector_that_refuses(heard: Heard, tmp_path: Path) -> None:
    """A collector that is out of order costs jobs nothing, and is told what it missed when it is back."""
    heard.status = 400
    with LiveServer(tmp_path / "data") as live:
        live.create("idle", image=WORKERS, command=COMMAND, max_workers=1)
        live.api.post("/api/endpoints/idle/pause")
        job = live.api.post("/v2/idle/run", json={"input": 1}).json()["id"]
        assert live.api.post(f"/v2/idle/cancel/{job}").json()["status"] == "CANCELLED"
        until(lambda: heard.refused, what="a refusal")
        until(lambda: "the collector of traces did not take" in live.log(), what="the refusal in the log")
        heard.status = 200
        until(lambda: heard.of(job.replace("-", "")), what="the trace")


NAMED = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"}


@pytest.mark.parametrize(
    "environ",
    [
        {},
        NAMED | {"OTEL_SDK_DISABLED": "true"},
        NAMED | {"OTEL_TRACES_EXPORTER": "none"},
        NAMED | {"OTEL_TRACES_SAMPLER": "always_off"},
    ],
)
def test_nobody_is_told(environ: dict[str, str]) -> None:
    """Without a collector, or when the variables say so, there are no traces."""
    assert collector(environ) is None


@pytest.mark.parametrize(
    ("sampler", "argument", "ratio"),
    [
        ("", "", 1.0),
        ("parentbased_always_on", "", 1.0),
        ("traceidratio", "0.25", 0.25),
        ("parentbased_traceidratio", "", 1.0),
    ],
)
def test_the_share_of_jobs(sampler: str, argument: str, ratio: float) -> None:
    """The standard variables say which share of jobs is traced."""
    assert ratio_of({"OTEL_TRACES_SAMPLER": sampler, "OTEL_TRACES_SAMPLER_ARG": argument}) == ratio


@pytest.mark.parametrize(
    ("sampler", "argument"), [("jaeger_remote", ""), ("traceidratio", "2"), ("traceidratio", "half")]
)
def test_a_sampler_that_is_none(sampler: str, argument: str) -> None:
    """A sampler that Stoker does not know is refused, not taken for another."""
    with pytest.raises(InvalidInput, match="OTEL_TRACES_SAMPLER"):
        ratio_of({"OTEL_TRACES_SAMPLER": sampler, "OTEL_TRACES_SAMPLER_ARG": argument})


@pytest.mark.slow
def test_nothing_is_imported() -> None:
    """A server without a collector has nothing in its memory that talks to one."""
    said = "import sys, stoker.server; print([name for name in sys.modules if name.startswith(('opentelemetry.sdk', 'google.protobuf'))])"
    assert subprocess.run([sys.executable, "-c", said], capture_output=True, text=True, check=True).stdout == "[]\n"
