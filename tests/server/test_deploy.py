"""The server as a container: `deploy/Dockerfile` and `deploy/compose.yaml`, built and started by a real engine."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import httpx
import msgspec.yaml
import pytest

from tests.docker import BASE, SUITE_PYTHON, Engine, free_port
from tests.live import KEY, until
from tests.server.conftest import WORKERS

ROOT = Path(__file__).parent.parent.parent
DEPLOY = ROOT / "deploy"


def do(*words: str, env: Mapping[str, str] | None = None) -> str:
    """Run a command with these variables besides ours; what it printed."""
    done = subprocess.run(words, capture_output=True, text=True, cwd=ROOT, env={**os.environ, **(env or {})})
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout


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
    options = ("--network", "host", "--build-arg", f"BASE={BASE}", "--build-arg", "PIP_OPTIONS=--no-index")
    docker_engine.run("build", "-q", "-t", "stoker-test-server", *options, str(context))
    return "stoker-test-server"


@pytest.fixture(scope="session")
def postgres_image(docker_engine: Engine) -> str:
    """Debian's PostgreSQL, as the published image runs it."""
    options = ("--network", "host", "--build-arg", f"BASE={BASE}")
    docker_engine.run("build", "-q", "-t", "stoker-test-postgres", *options, str(Path(__file__).parent / "deploy"))
    return "stoker-test-postgres"


@pytest.fixture
def volumes_dir(tmp_path: Path) -> Path:
    """Where the machine has the files of volumes."""
    return tmp_path / "volumes"


@pytest.fixture
def composed(
    docker_engine: Engine, server_image: str, postgres_image: str, volumes_dir: Path
) -> Iterator[httpx.Client]:
    """What `deploy/compose.yaml` starts, on free ports."""
    if shutil.which("docker-compose") is None:
        pytest.skip("not installed: docker-compose (Debian: docker-compose)")
    port = free_port()
    ours = {
        "DOCKER_HOST": docker_engine.host,
        "DOCKER_SOCKET": docker_engine.host.removeprefix("unix://"),
        "STOKER_IMAGE": server_image,
        "STOKER_PORT": str(port),
        "STOKER_BOOTSTRAP_KEY": KEY,
        "STOKER_VOLUMES_DIR": str(volumes_dir),
        "POSTGRES_IMAGE": postgres_image,
        "POSTGRES_PASSWORD": "pass-word",
        "POSTGRES_PORT": str(free_port()),
    }
    compose = ("docker-compose", "-p", f"stoker-test-{port}", "-f", str(DEPLOY / "compose.yaml"))
    do(*compose, "up", "-d", env=ours)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", headers={"Authorization": f"Bearer {KEY}"}) as client:
            yield client
    finally:
        print(do(*compose, "logs", "--no-color", env=ours))
        do(*compose, "down", "-v", "-t", "60", env=ours)


@pytest.mark.docker
@pytest.mark.slow
@pytest.mark.timeout(600)  # wheels are gathered and two images are built
def test_compose_is_a_whole_platform(composed: httpx.Client, docker_engine: Engine, volumes_dir: Path) -> None:
    """The server's image and the compose file, built and started: PostgreSQL keeps what there is, workers are containers beside the
    server, made through the mounted socket, and reach it; metadata addresses are closed to them; what is uploaded to a volume is there
    for them, and what they write into it can be downloaded."""
    image = docker_engine.build(
        "stoker-test-handler", f"FROM {BASE}\nWORKDIR /worker\nCOPY handler.py .\n", [WORKERS / "handler.py"]
    )

    def ready() -> bool:
        try:
            return composed.get("/readyz").status_code == 200
        except httpx.TransportError:
            return False

    until(ready, what="the server in its container", patience_s=120)
    assert composed.post("/api/volumes", json={"name": "files", "size_gb": 1}).status_code == 201
    assert composed.put("/api/volumes/files/files/to", content=b"sent").status_code == 200
    command = "sh -c 'cat /files/to /files/to > /runpod-volume/fro && exec python3 -u handler.py'"
    body = {"name": "a", "image": image, "command": command, "volumes": ["files:/files"]}
    assert composed.post("/api/endpoints", json=body).status_code == 201
    answer = composed.post("/v2/a/runsync", json={"input": {"echo": "inside"}}, timeout=90).json()
    assert answer["output"] == "inside"
    assert composed.get("/api/volumes/files/files/fro").content == b"sentsent"
    (written,) = volumes_dir.rglob("fro")
    assert written.read_bytes() == b"sentsent"
    (worker,) = composed.get("/api/endpoints/a/workers").json()["workers"]
    names = docker_engine.run("ps", "--format", "{{.Names}}").split()
    assert f"stoker-{worker['id']}" in names
    database = next(name for name in names if "database" in name)
    counted = "SELECT count(*) FROM endpoints"
    assert docker_engine.run("exec", database, "psql", "-U", "stoker", "-Atc", counted, "stoker") == "1"
    server = next(name for name in names if "server" in name)
    assert "metadata_open" not in docker_engine.run("logs", server)


def test_compose_shares_what_the_server_needs() -> None:
    """The engine's socket is mounted into the server and into nothing else; the database is reached from this machine only."""
    services = msgspec.yaml.decode((DEPLOY / "compose.yaml").read_bytes())["services"]
    mounts = {name: [one.rpartition(":")[2] for one in service["volumes"]] for name, service in services.items()}
    assert "/var/run/docker.sock" in mounts["server"]
    assert "/var/run/docker.sock" not in mounts["database"]
    places = [one for one in services["server"]["volumes"] if "STOKER_VOLUMES_DIR" in one]
    where = services["server"]["environment"]["STOKER_VOLUMES_DIR"]
    assert places == [f"{where}:{where}"]
    assert services["server"]["network_mode"] == "host"
    assert all(port.startswith("127.0.0.1:") for port in services["database"]["ports"])
