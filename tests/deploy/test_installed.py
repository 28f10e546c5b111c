"""The chart, installed by Helm into a real cluster: servers that find their database and start pods, and are replaced under load."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from typing import Any, Final

import httpx
import msgspec.yaml
import pytest

from scripts.manifests import CHART, HELM, MANIFESTS, ROOT, helm, rendered
from tests.cluster import PATHS, Cluster, layer_of
from tests.deploy.images import POSTGRES, SERVER, load_postgres, load_server
from tests.docker import base_tar
from tests.live import until
from tests.server.conftest import WORKERS
from tests.server.test_rolling import CLIENTS, Client, done

pytestmark = [
    pytest.mark.slow,
    pytest.mark.kubernetes,
    pytest.mark.timeout(400),
    pytest.mark.skipif(not HELM.exists(), reason="there is no Helm: make .helm"),
]

SMALL: Final = {"requests": {"cpu": "10m", "memory": "64Mi"}}
SETTINGS: Final = {
    "kubernetes_always_pull": False,
    "hold_s": 5,
    "ping_interval_ms": 1000,
    "stop_grace_s": 2,
    "shutdown_grace_s": 2,
    "observe_every_s": 0.2,
    "rate_factor": 0,
}


class Installed:
    """A release of the chart in a namespace of its own, with its own database."""

    def __init__(self, cluster: Cluster, namespace: str, image: str) -> None:
        self.cluster = cluster
        self.image = image
        self._where = {"name": "stoker", "namespace": namespace, "kubeconfig": cluster.config}
        self.namespace = namespace
        self.url = ""
        self.key = ""

    def values(self, **more: Any) -> dict[str, Any]:
        """What this installation is told."""
        repository, _, tag = SERVER.rpartition(":")
        return {
            "image": {"repository": repository, "tag": tag, "pullPolicy": "Never"},
            "database": {"bundled": {"enabled": True, "image": POSTGRES, "size": "", "resources": SMALL}},
            "installation": self.namespace,
            "resources": SMALL,
            "settings": SETTINGS,
            **more,
        }

    def install(self) -> None:
        """Install it, and wait until all servers are ready."""
        helm("install", chart=CHART, values=self.values(), **self._where)
        self.cluster.name_services()
        self.wait()
        self.url = f"http://{self.cluster.address_of('stoker', self.namespace)}:8700"
        held = self.cluster.kubectl(
            "get",
            "secret",
            "stoker",
            "-n",
            self.namespace,
            "-o",
            'go-template={{index .data "bootstrap-key" | base64decode}}',
        )
        self.key = held

    def upgrade(self, **more: Any) -> None:
        """Change its values, and wait until all servers run with them."""
        helm("upgrade", chart=CHART, values=self.values(**more), **self._where)
        self.wait()

    def uninstall(self) -> None:
        """Remove it."""
        with suppress(Exception):  # it may not have come that far
            helm("uninstall", **self._where)

    def wait(self) -> None:
        """Until the servers are those that are wanted, and no other."""
        words = ("rollout", "status", "deployment/stoker", "-n", self.namespace, "--timeout=180s")
        self.cluster.kubectl(*words)

    def servers(self) -> list[str]:
        """The names of the servers' pods."""
        words = ("get", "pods", "-n", self.namespace, "-l", "app.kubernetes.io/component=server", "-o", "name")
        return self.cluster.kubectl(*words).split()


@pytest.fixture(scope="module")
def images(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The images of the server and its database on the node; the name of a worker's."""
    load_server(cluster, tmp_path_factory.mktemp("server"))
    load_postgres(cluster, tmp_path_factory.mktemp("postgres"))
    files = {f"worker/{name}": (WORKERS / name).read_bytes() for name in ("handler.py", "light.py")}
    layer = layer_of(tmp_path_factory.mktemp("handler"), files)
    return cluster.load_image("stoker.test/handler:1", [base_tar(), layer], ["python3"], env=PATHS, folder="/worker")


@pytest.fixture
def installed(cluster: Cluster, images: str) -> Iterator[Installed]:
    """The chart with its defaults, but for a database beside it and short times."""
    namespace = f"chart-{secrets.token_hex(4)}"
    cluster.kubectl("create", "namespace", namespace)
    one = Installed(cluster, namespace, images)
    try:
        one.install()
        yield one
    finally:
        print(cluster.kubectl("get", "pods", "-n", namespace, "-o", "wide", check=False))
        print(cluster.kubectl("get", "events", "-n", namespace, check=False))
        for pod in one.servers():
            print(cluster.kubectl("logs", "-n", namespace, pod, "--tail=40", check=False))
        one.uninstall()
        cluster.kubectl("delete", "pods", "--all", "-n", namespace, "--grace-period=0", "--force", "--wait=false")
        cluster.kubectl("delete", "namespace", namespace, "--wait=false")


def test_servers_are_replaced_under_load(installed: Installed) -> None:
    """Installed with its defaults and the account that it makes, the chart runs jobs in pods; an upgrade replaces every server while clients go on:
    each job completes once, and workers stay."""
    with httpx.Client(base_url=installed.url, headers={"Authorization": f"Bearer {installed.key}"}, timeout=60) as api:
        body = {
            "name": "load",
            "image": installed.image,
            "command": "python3 -u light.py",
            "min_workers": 2,
            "max_workers": 2,
        }
        assert api.post("/api/endpoints", json={**body, "retries": 10}).status_code == 201

        def ready() -> set[str]:
            listed = api.get("/api/endpoints/load/workers").json()["workers"]
            return {one["id"] for one in listed if one["state"] == "ready"}

        until(lambda: len(ready()) == 2, what="workers", patience_s=120)
        before, servers = ready(), installed.servers()
        clients = [Client([installed.url], number, key=installed.key) for number in range(CLIENTS)]
        with ExitStack() as stack:
            for client in clients:
                stack.enter_context(client)
            until(partial(done, clients, 20), what="jobs", patience_s=120)
            installed.upgrade(podAnnotations={"told": "again"})
            until(
                lambda: not set(servers) & set(installed.servers()),
                what="the end of the servers before",
                patience_s=120,
            )
            until(partial(done, clients, sum(len(one.outputs) for one in clients) + 20), what="jobs", patience_s=120)
        assert ready() == before
    for client in clients:
        assert client.error is None, client.error
        assert all(output == text for text, output in client.outputs.values())


def test_monitor_and_ingress_are_understood(cluster: Cluster) -> None:
    """An API server takes the ingress and the monitor that the chart makes, and its kinds know all that is said in them."""
    namespace = f"watched-{secrets.token_hex(4)}"
    cluster.kubectl("create", "namespace", namespace)
    cluster.kubectl("apply", "-f", str(Path(__file__).with_name("monitors.yaml")))
    cluster.kubectl("wait", "--for=condition=Established", "crd/servicemonitors.monitoring.coreos.com")
    values = {
        "secret": {"name": "keys"},
        "metrics": {"serviceMonitor": {"enabled": True, "interval": "15s", "labels": {"release": "prometheus"}}},
        "ingress": {
            "enabled": True,
            "host": "gpu.example.com",
            "className": "nginx",
            "tlsSecret": "gpu-tls",
            "annotations": {"nginx.ingress.kubernetes.io/proxy-body-size": "20m"},
        },
    }
    texts = rendered(values, name="stoker", namespace=namespace)
    made = [msgspec.yaml.decode(text) for text in texts if "kind: Ingress" in text or "kind: ServiceMonitor" in text]
    assert len(made) == 2
    for one in made:
        cluster.kubectl("create", "-f", "-", stdin=json.dumps(one))
        kept = cluster.get(one["kind"], "stoker", "-n", namespace)
        assert kept["spec"] == one["spec"], "what a kind does not know is dropped"
    cluster.kubectl("delete", "namespace", namespace, "--wait=false")


@pytest.mark.parametrize("name", MANIFESTS)
def test_manifests_are_understood(cluster: Cluster, name: str) -> None:
    """An API server takes every object of a plain manifest."""
    namespace = f"plain-{secrets.token_hex(4)}"
    cluster.kubectl("create", "namespace", namespace)
    text = Path(ROOT / "deploy" / "kubernetes" / f"{name}.yaml").read_text("utf-8")
    text = text.replace("namespace: stoker", f"namespace: {namespace}").replace(
        "policy/v1\n", "policy/v1beta1\n"
    )  # as 1.20 calls it
    told = cluster.kubectl("apply", "--dry-run=server", "-f", "-", stdin=text)
    assert "deployment.apps/stoker created" in told
    cluster.kubectl("delete", "namespace", namespace, "--wait=false")
