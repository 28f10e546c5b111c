"""The server as a container: `deploy/Dockerfile`, built and run by a real engine; `deploy/compose.yaml`, read."""

import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import msgspec.yaml
import pytest

from tests.docker import BASE, SUITE_PYTHON, Engine
from tests.live import KEY, until
from tests.server.conftest import WORKERS

ROOT = Path(__file__).parent.parent.parent
DEPLOY = ROOT / "deploy"


def do(*words: str) -> None:
    """Run a command."""
    done = subprocess.run(words, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]


def gather_wheels(folder: Path) -> None:
    """Our wheel and those that it needs, for the Python of the base image."""
    programs = Path(sys.executable).parent
    do(str(programs / "uv"), "build", "-q", "--wheel", "--out-dir", str(folder))
    (ours,) = folder.glob("stoker-*.whl")
    words = [
        "download",
        "-q",
        "--only-binary",
        ":all:",
        "--python-version",
        SUITE_PYTHON,
        "--constraint",
        "constraints.txt",
    ]
    do(str(programs / "pip"), *words, "--dest", str(folder), str(ours))


@pytest.fixture(scope="session")
def server_image(docker_engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The image, on the base of the tests: no public image can be pulled where they run."""
    context = tmp_path_factory.mktemp("deploy")
    shutil.copy(DEPLOY / "Dockerfile", context)
    (context / "wheels").mkdir()
    gather_wheels(context / "wheels")
    options = ("--build-arg", f"BASE={BASE}", "--build-arg", "PIP_OPTIONS=--no-index")
    docker_engine.run("build", "-q", "-t", "stoker-test-server", *options, str(context))
    return "stoker-test-server"


@pytest.fixture
def api(docker_engine: Engine, server_image: str) -> Iterator[httpx.Client]:
    """A server in a container, as compose runs it, without PostgreSQL."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    words = ["run", "-d", "--network", "host", "--name", "stoker-test-server", "-e", f"STOKER_PORT={port}"]
    words += ["-e", f"STOKER_BOOTSTRAP_KEY={KEY}", "-v", f"{docker_engine.folder}/socket:/var/run/docker.sock"]
    docker_engine.run(*words, server_image)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", headers={"Authorization": f"Bearer {KEY}"}) as client:
            yield client
    finally:
        print(docker_engine.run("logs", "stoker-test-server"))
        docker_engine.run("stop", "-t", "60", "stoker-test-server")
        docker_engine.run("rm", "-v", "stoker-test-server")


@pytest.mark.docker
@pytest.mark.slow
@pytest.mark.timeout(400)  # wheels are gathered and an image is built
def test_the_server_runs_in_a_container(api: httpx.Client, docker_engine: Engine) -> None:
    """The image serves, starts workers beside itself through the engine's socket, and they reach it."""
    image = docker_engine.build(
        "stoker-test-handler", f"FROM {BASE}\nWORKDIR /worker\nCOPY handler.py .\n", [WORKERS / "handler.py"]
    )

    def ready() -> bool:
        try:
            return api.get("/readyz").status_code == 200
        except httpx.TransportError:
            return False

    until(ready, what="the server in its container")
    body = {"name": "a", "image": image, "command": "python3 -u handler.py"}
    assert api.post("/api/endpoints", json=body).status_code == 201
    answer = api.post("/v2/a/runsync", json={"input": {"echo": "inside"}}, timeout=90).json()
    assert answer["output"] == "inside"


def test_compose_shares_what_the_server_needs() -> None:
    """The engine's socket is mounted into the server and into nothing else; the database is reached from this machine only."""
    services = msgspec.yaml.decode((DEPLOY / "compose.yaml").read_bytes())["services"]
    mounts = {name: [one.rpartition(":")[2] for one in service["volumes"]] for name, service in services.items()}
    assert "/var/run/docker.sock" in mounts["server"]
    assert "/var/run/docker.sock" not in mounts["database"]
    assert services["server"]["network_mode"] == "host"
    assert all(port.startswith("127.0.0.1:") for port in services["database"]["ports"])
