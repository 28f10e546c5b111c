"""Engines elsewhere: behind TCP and TLS, and without root. A real server runs jobs on each."""

import socket
from pathlib import Path

import pytest

from stoker.clock import SystemClock
from stoker.config import load
from stoker.errors import Unavailable
from stoker.hosting import choose
from tests.docker import BASE, Engine, free_port
from tests.elsewhere import RootlessEngine, TcpEngine
from tests.live import LiveServer
from tests.server.conftest import WORKERS

pytestmark = [
    pytest.mark.slow,
    pytest.mark.docker,
    pytest.mark.timeout(300),
]  # an engine of its own gets its images first

RECIPE = f"FROM {BASE}\nWORKDIR /worker\nCOPY handler.py .\n"


def work(live: LiveServer, engine: Engine) -> None:
    """A job runs in a container of the engine, and its log can be read."""
    image = engine.build("stoker-test-handler", RECIPE, [WORKERS / "handler.py"])
    body = {"name": "a", "image": image, "command": "python3 -u handler.py"}
    assert live.api.post("/api/endpoints", json=body).status_code == 201
    job = live.run("a", {"echo": "done there"})
    done = live.finished(job)
    assert done["output"] == "done there"
    assert f"job {job} begins" in live.api.get(f"/api/workers/{done['worker']}/logs").text
    assert f"stoker-{done['worker']}" in engine.run("ps", "--format", "{{.Names}}")


def test_an_engine_behind_tls(tcp_engine: TcpEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the usual variables of Docker's clients, an engine that is reached by TCP and asks for a certificate works as one behind
    a socket does."""
    live = LiveServer(tmp_path / "data", runtime="docker")
    with monkeypatch.context() as variables:
        variables.setenv("DOCKER_HOST", tcp_engine.tcp)
        variables.setenv("DOCKER_TLS_VERIFY", "1")
        variables.setenv("DOCKER_CERT_PATH", str(tcp_engine.certificates.folder))
        live.start()
    try:
        work(live, tcp_engine)
    finally:
        live.close()


async def test_an_engine_that_nobody_may_reach(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Addresses of another kind, and certificates that are not there, are refused with what to do."""
    for host, verify, words in (
        ("ssh://machine", "", "ssh -L"),
        ("tcp://127.0.0.1:9", "1", "ca.pem"),
        ("tcp://127.0.0.1:9", "", "start it"),
    ):
        monkeypatch.setenv("DOCKER_TLS_VERIFY", verify)
        monkeypatch.setenv("DOCKER_CERT_PATH", str(tmp_path))
        environ = {"STOKER_DOCKER_HOST": host, "STOKER_RUNTIME": "docker", "STOKER_DATA_DIR": str(tmp_path)}
        with pytest.raises(Unavailable) as refused:
            await choose(load(environ=environ), SystemClock(), lambda: None)
        assert refused.value.code == "engine_unavailable"
        assert words in str(refused.value.next_step)


def own_address() -> str:
    """An address of this machine that is not loopback."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.connect(("192.0.2.1", 9))  # sends nothing
        return str(one.getsockname()[0])


def test_a_rootless_engine(rootless_engine: RootlessEngine, tmp_path: Path) -> None:
    """Workers of an engine without root reach a server that says where it is; one that does not say so does not start."""
    silent = LiveServer(tmp_path / "silent", runtime="docker", docker_host=rootless_engine.host)
    with pytest.raises(AssertionError, match="did not start"):
        silent.start()
    assert silent.wait() != 0
    assert "containers cannot reach this server" in silent.log()
    port = free_port()
    settings = {"docker_host": rootless_engine.host, "host": "0.0.0.0", "port": port}
    with LiveServer(
        tmp_path / "data", runtime="docker", worker_url=f"http://{own_address()}:{port}", **settings
    ) as live:
        work(live, rootless_engine)
        assert "metadata_open" in live.log()
