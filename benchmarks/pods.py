"""How a server keeps a thousand pods of a hundred endpoints on a real API server, and what that costs both.

    python -m benchmarks.pods [--endpoints 100] [--workers 10]      needs root and what scripts/kubernetes.sh brings

The node is an object without a machine: the scheduler gives it pods, and nobody runs them. So the server, its client and the API
server are measured, and no container. All share this machine's cores.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import httpx
import psutil

from stoker.errors import Unavailable
from stoker.runtimes.container import WORKER
from stoker.runtimes.kubernetes import Access, Api
from tests.cluster import PROGRAMS, Cluster, missing
from tests.docker import until

KEY: Final = "sk_bench"
SPACE: Final = "bench"
PATIENCE_S: Final = 600.0
QUIET_S: Final = 30.0
"""How long a full house is looked at."""
LABELS: Final = {"stoker.installation": SPACE}
NODE: Final[dict[str, Any]] = {
    "apiVersion": "v1",
    "kind": "Node",
    "metadata": {"name": "nowhere"},
}
ROOM: Final = {"cpu": "10k", "memory": "100Ti", "pods": "100k", "ephemeral-storage": "100Ti"}


class Watch(threading.Thread):
    """Notes when the API server told of each worker's pod: as its watchers hear of it."""

    def __init__(self, config: Path) -> None:
        super().__init__(daemon=True)
        self._config = config
        self.seen_ms: dict[str, float] = {}
        self.listens = threading.Event()

    def run(self) -> None:
        """Until the process ends."""
        asyncio.run(self._follow())

    async def _follow(self) -> None:
        api = Api.open(Access(file=str(self._config)))
        _, version = await api.pods(SPACE, LABELS)
        self.listens.set()
        with suppress(Unavailable):  # the cluster is ended under it; a run that needs more waits for it in vain
            async for kind, pod in api.watch(SPACE, LABELS, version):
                if kind == "ADDED" and pod.metadata is not None and pod.metadata.labels:
                    self.seen_ms[pod.metadata.labels[WORKER]] = time.time() * 1000


class Server:
    """A server of the cluster, in a process of its own."""

    def __init__(self, config: Path, folder: Path) -> None:
        ours = {
            "DATA_DIR": folder,
            "PORT": "0",
            "HOST": "127.0.0.1",
            "WORKER_URL": "http://192.0.2.1:8700",
            "RUNTIME": "kubernetes",
            "KUBERNETES_CONFIG": config,
            "KUBERNETES_NAMESPACE": SPACE,
            "INSTALLATION": SPACE,
            "BOOTSTRAP_KEY": KEY,
            "START_TIMEOUT_S": "86400",
        }
        env = {**os.environ, **{f"STOKER_{name}": str(value) for name, value in ours.items()}}
        words = [str(Path(sys.executable).with_name("stoker")), "serve"]
        log = (folder / "log").open("w")
        self._process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=log, text=True, env=env)
        assert self._process.stdout is not None
        url = self._process.stdout.readline().split()[-1]
        self.api = httpx.Client(base_url=url, headers={"Authorization": f"Bearer {KEY}"}, timeout=60)
        self._usage = psutil.Process(self._process.pid)

    def cpu_s(self) -> float:
        """CPU seconds so far."""
        times = self._usage.cpu_times()
        return times.user + times.system

    def memory_mib(self) -> float:
        """Resident memory."""
        return self._usage.memory_info().rss / 1024**2

    def close(self) -> None:
        """End it at once: its pods go with the cluster."""
        self.api.close()
        self._process.kill()
        self._process.communicate()


def start(folder: Path) -> Cluster:
    """An API server with its database, a scheduler, and a node that is none."""
    cluster = Cluster(folder)
    cluster.start_without_node()
    cluster.kubectl("apply", "-f", "-", stdin=json.dumps(NODE))
    cluster.report(
        "nowhere", {"capacity": ROOM, "allocatable": ROOM, "conditions": [{"type": "Ready", "status": "True"}]}
    )
    cluster.kubectl("taint", "nodes", "nowhere", "node.kubernetes.io/not-ready-")  # which a controller would do
    cluster.kubectl("create", "namespace", SPACE)
    cluster.kubectl("create", "serviceaccount", "default", "-n", SPACE)  # else a controller makes it
    return cluster


def calls(cluster: Cluster) -> int:
    """Requests to the API server so far that are about what workers are made of."""
    told = cluster.kubectl("get", "--raw", "/metrics")
    ours = re.compile(r"^apiserver_request_total\{(.*)\} (\S+)$", re.MULTILINE)
    kinds = ("pods", "secrets", "configmaps", "events", "networkpolicies")
    return sum(
        round(float(count))
        for labels, count in ours.findall(told)
        if any(f'resource="{kind}"' in labels for kind in kinds) and 'subresource="binding"' not in labels
    )


def measure(endpoints: int, workers: int) -> dict[str, float]:
    """The figures, by what they are."""
    with tempfile.TemporaryDirectory(prefix="stoker-pods-") as folder:
        cluster = start(Path(folder, "cluster"))
        server = Server(cluster.config, _made(Path(folder, "server")))
        watch = Watch(cluster.config)
        try:
            watch.start()
            assert watch.listens.wait(60), "nobody watches"
            return _figures(cluster, server, watch, endpoints, workers)
        finally:
            server.close()
            cluster.close()


def _figures(cluster: Cluster, server: Server, watch: Watch, endpoints: int, workers: int) -> dict[str, float]:
    wanted = endpoints * workers
    began, cpu_s, asked = time.perf_counter(), server.cpu_s(), calls(cluster)
    for number in range(endpoints):
        body = {"name": f"e{number}", "image": "nowhere.example/none:1", "min_workers": workers, "max_workers": workers}
        server.api.post("/api/endpoints", json=body).raise_for_status()
    until(lambda: len(watch.seen_ms) >= wanted, f"{wanted} pods", patience_s=PATIENCE_S)
    took_s, starting_cpu_s, starting_calls = time.perf_counter() - began, server.cpu_s() - cpu_s, calls(cluster) - asked
    decided = {
        one["id"]: one["decided_ms"]
        for number in range(endpoints)
        for one in server.api.get(f"/api/endpoints/e{number}/workers").json()["workers"]
    }
    delays = sorted(watch.seen_ms[worker] - at_ms for worker, at_ms in decided.items() if worker in watch.seen_ms)
    cpu_s, asked, since = server.cpu_s(), calls(cluster), time.perf_counter()
    time.sleep(QUIET_S)
    quiet_s = time.perf_counter() - since
    return {
        "pods": float(len(watch.seen_ms)),
        "until all are there, s": took_s,
        "decided to created, p50 ms": statistics.median(delays),
        "decided to created, p99 ms": delays[int(len(delays) * 0.99)],
        "CPU of the server per pod, ms": starting_cpu_s / wanted * 1000,
        "API calls per pod": starting_calls / wanted,
        "API calls per second meanwhile": starting_calls / took_s,
        "then: CPU of the server, % of a core": (server.cpu_s() - cpu_s) / quiet_s * 100,
        "then: API calls per second": (calls(cluster) - asked) / quiet_s,
        "memory of the server, MiB": server.memory_mib(),
    }


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--endpoints", type=int, default=100)
    parser.add_argument("--workers", type=int, default=10)
    given = parser.parse_args()
    if lack := missing():
        print(f"no cluster can be started here: {lack}", file=sys.stderr)
        return 1
    signal.signal(signal.SIGTERM, lambda _number, _frame: sys.exit(143))  # else the cluster would stay
    print(f"{platform.platform()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, {PROGRAMS}")
    for name, value in measure(given.endpoints, given.workers).items():
        print(f"{name:40}{value:12,.1f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
