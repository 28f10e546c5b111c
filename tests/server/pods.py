"""What tests of servers share whose workers are pods: an image with the real SDK, a namespace, a server."""

from __future__ import annotations

import secrets
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster import GATEWAY, PATHS, Cluster, layer_of
from tests.docker import base_tar
from tests.live import LiveServer

WORKERS = Path(__file__).parent / "workers"


@pytest.fixture(scope="session")
def handler_pod_image(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> str:
    """An image with the real SDK, on the node."""
    files = {f"worker/{name}": (WORKERS / name).read_bytes() for name in ("handler.py", "light.py")}
    layer = layer_of(tmp_path_factory.mktemp("handler"), files)
    return cluster.load_image("stoker.test/handler:1", [base_tar(), layer], ["python3"], env=PATHS, folder="/worker")


@pytest.fixture
def pod_settings(cluster: Cluster) -> Iterator[dict[str, object]]:
    """What servers with a namespace of their own are told."""
    name = f"served-{secrets.token_hex(4)}"
    cluster.add_namespace(name)
    yield {
        "runtime": "kubernetes",
        "host": "0.0.0.0",
        "kubernetes_config": cluster.config,
        "kubernetes_namespace": name,
        "kubernetes_always_pull": "false",
        "installation": name,
        "metrics_open": "true",
    }
    cluster.kubectl("delete", "pods", "--all", "-n", name, "--grace-period=0", "--force", "--wait=false")
    cluster.kubectl("delete", "namespace", name, "--wait=false")


def at_port(settings: dict[str, object]) -> dict[str, object]:
    """The settings of one server: pods have to know its port."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    return {**settings, "port": port, "worker_url": f"http://{GATEWAY}:{port}"}


@pytest.fixture
def housed(pod_settings: dict[str, object], tmp_path: Path) -> Iterator[LiveServer]:
    """A server that runs pods."""
    with LiveServer(tmp_path / "data", **at_port(pod_settings)) as server:
        yield server
