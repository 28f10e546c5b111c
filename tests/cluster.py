"""A real Kubernetes cluster of one node, thrown away after the tests: etcd, API server, controller manager, scheduler, kubelet, containerd,
service proxy, and a name server that is told which services there are.

`scripts/kubernetes.sh` brings the programs. All processes of one test run share a cluster; its parts can be stopped and started
again, each by its name.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import pytest

from tests.docker import base_tar, exists, shared, until

PROGRAMS: Final = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "stoker-kubernetes" / "bin"
NEEDED: Final = (
    "etcd",
    "containerd",
    "ctr",
    "runc",
    "ip",
    "iptables",
    "conntrack",
    "dnsmasq",
    "openssl",
    "debootstrap",
)
BUSYBOX: Final = Path("/bin/busybox")
PLUGINS: Final = Path("/usr/lib/cni")
NODE: Final = "node-1"
ADMIN: Final = "token-of-the-administrator"
PAUSE: Final = "stoker.test/pause:1"
BASE: Final = "stoker.test/base:1"
"""Debian with Python and the real Runpod SDK."""
PATHS: Final = ("PYTHONPATH=/opt/sdk", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
"""The environment of images made from it."""
SERVICES: Final = "10.216.0.0/16"
PODS: Final = "10.217.0.0/16"
GATEWAY: Final = "10.217.0.1"
"""The address of this machine as pods see it."""
DOMAIN: Final = "cluster.local"
PARTS: Final = ("etcd", "api", "controllers", "scheduler", "proxy", "names", "containerd", "kubelet")


def missing() -> str:
    """What this machine lacks for a cluster; empty when there is all."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "only root can start a cluster"
    absent = [program for program in NEEDED if shutil.which(program) is None]
    absent += [str(path) for path in (BUSYBOX, PLUGINS / "bridge", PROGRAMS / "kube-proxy") if not path.exists()]
    return f"not there: {', '.join(absent)} (scripts/kubernetes.sh brings them)" if absent else ""


def kubeconfig(server: str, token: str) -> str:
    """A kubeconfig for a user with a token."""
    named = {"name": "test"}
    return json.dumps(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [named | {"cluster": {"server": server, "insecure-skip-tls-verify": True}}],
            "users": [named | {"user": {"token": token}}],
            "contexts": [named | {"context": {"cluster": "test", "user": "test"}}],
            "current-context": "test",
        }
    )


class Cluster:
    """A cluster in `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config = folder / "kubeconfig"

    # ── life ──────────────────────────────────────────────────────────────────────────────────────────────────────────

    def start(self) -> None:
        """Start all parts, and wait until its node takes pods."""
        self._start_parts("etcd", "containerd", "api")
        for part in ("controllers", "scheduler", "proxy", "names"):
            self.run_part(part)
        self.load_image(PAUSE, [_pause_layer()], ["/bin/busybox", "sh", "-c", _PAUSE])
        self.run_part("kubelet")
        self.until_ready()
        until(lambda: self.kubectl("get", "serviceaccount", "default", check=False), "the first service account")

    def start_without_node(self) -> None:
        """Start what keeps objects and gives pods to nodes; nobody runs them, and nobody misses a node that falls silent."""
        self._start_parts("etcd", "api")
        self.run_part("scheduler")

    def _start_parts(self, *parts: str) -> None:
        """Start the API server and what it stands on. The others give up when they find none."""
        self.folder.mkdir(parents=True, exist_ok=True)
        ports = dict(zip(("etcd", "peer", "api", "controllers", "scheduler", "kubelet"), _free_ports(6), strict=True))
        (self.folder / "ports.json").write_text(json.dumps(ports))
        self.config.write_text(kubeconfig(self.server, ADMIN))
        self._write_settings()
        for part in parts:
            self.run_part(part)
        until(self._answers, f"the API server; see {self.folder}/api.log")

    def run_part(self, part: str) -> None:
        """Start one of its parts: not as a child of ours, as we may end before the others that use it."""
        words = ["sh", "-c", 'log=$1 pid=$2; shift 2; "$@" </dev/null >>"$log" 2>&1 & echo $! >"$pid"', "sh"]
        environ = {**os.environ, "ETCD_UNSUPPORTED_ARCH": "arm64"} if os.uname().machine == "aarch64" else None
        subprocess.run(
            [*words, f"{self.folder}/{part}.log", f"{self.folder}/{part}.pid", *self._command(part)],
            check=True,
            env=environ,
            start_new_session=True,
        )

    def until_ready(self) -> None:
        """Wait until its node takes pods."""
        until(self._is_ready, f"the node; see {self.folder}/kubelet.log")

    def stop_part(self, part: str, how: signal.Signals = signal.SIGKILL) -> None:
        """End one of its parts, and not what it looks after."""
        if not (self.folder / f"{part}.pid").exists():
            return
        pid = int((self.folder / f"{part}.pid").read_text())
        if exists(pid):
            os.kill(pid, how)
        until(lambda: not exists(pid), f"{part} to end")

    def restart_api(self) -> None:
        """The API server goes away and comes back."""
        self.stop_part("api")
        self.run_part("api")
        until(self._answers, "the API server")

    def close(self) -> None:
        """End it with all containers, and remove its files."""
        self.stop_part("kubelet")
        for shim in subprocess.run(["pgrep", "-f", str(self._socket)], capture_output=True, text=True).stdout.split():
            if "containerd-shim" in (Path("/proc") / shim / "cmdline").read_bytes().decode(errors="replace"):
                self._end_shim(int(shim))
        for part in reversed(PARTS[:-1]):
            self.stop_part(part)
        if (self.folder / "proxy.pid").exists():
            subprocess.run(["ip", "link", "delete", self._bridge], capture_output=True)
            subprocess.run([PROGRAMS / "kube-proxy", "--cleanup"], capture_output=True)
        _unmount_below(self.folder)
        _do("rm", "-rf", str(self.folder))  # tens of thousands of files, which Python would take a minute for

    def _end_shim(self, pid: int) -> None:
        """A shim and the containers that it holds."""
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            os.kill(int(child), signal.SIGKILL)
        os.kill(pid, signal.SIGKILL)

    def kill_pod(self, name: str) -> None:
        """End its processes as a power cut would, behind everybody's back."""
        for container in self._containers(name):
            subprocess.run([*self._ctr_words(), "tasks", "kill", "-a", "-s", "SIGKILL", container], capture_output=True)

    def end_worker(self, name: str, word: str = "SIGTERM") -> None:
        """Have the worker of a pod told to end by a signal, while nobody hears of it but its node; wait until it has."""
        (container,) = self._containers(name, "worker")
        self._ctr("tasks", "kill", "-s", word, container)
        until(lambda: container not in self._running(), f"the end of {name}")

    def _containers(self, pod: str, name: str = "") -> list[str]:
        """Those of a pod, or the one with that name."""
        found = []
        for container in self._ctr("containers", "list", "-q").split():
            about = json.loads(self._ctr("containers", "info", container))["Labels"]
            its_own = not name or about.get("io.kubernetes.container.name") == name
            if about.get("io.kubernetes.pod.name") == pod and its_own:
                found.append(container)
        return found

    def _running(self) -> list[str]:
        """Containers with a process."""
        rows = [line.split() for line in self._ctr("tasks", "list").splitlines()[1:]]
        return [row[0] for row in rows if row[2] == "RUNNING"]

    def _ctr_words(self) -> list[str]:
        return ["ctr", "-a", str(self._socket), "-n", "k8s.io"]

    def _ctr(self, *words: str) -> str:
        return subprocess.run([*self._ctr_words(), *words], capture_output=True, text=True, check=True).stdout

    # ── asking ────────────────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def server(self) -> str:
        """The URL of the API server."""
        return f"https://127.0.0.1:{self._ports['api']}"

    def kubectl(self, *words: str, stdin: str | None = None, check: bool = True) -> str:
        """A command of `kubectl`; what it printed."""
        program = str(PROGRAMS / "kubectl")
        done = subprocess.run(
            [program, "--kubeconfig", str(self.config), *words], capture_output=True, text=True, input=stdin
        )
        assert done.returncode == 0 or not check, f"kubectl {' '.join(words)}: {done.stderr}"
        return done.stdout.strip() if done.returncode == 0 else ""

    def get(self, *words: str) -> dict[str, Any]:
        """What `kubectl get` knows."""
        return dict(json.loads(self.kubectl("get", "-o", "json", *words)))

    def add_namespace(self, name: str) -> None:
        """A namespace that takes pods."""
        self.kubectl("create", "namespace", name)
        until(lambda: self.kubectl("get", "serviceaccount", "default", "-n", name, check=False), f"account of {name}")

    def set_room(self, resource: str, amount: str) -> None:
        """Let the node offer a resource that no device stands behind."""
        self.report(NODE, {"capacity": {resource: amount}})
        until(lambda: self.get("node", NODE)["status"]["allocatable"].get(resource) == amount, f"room for {resource}")

    def report(self, node: str, status: Mapping[str, Any]) -> None:
        """Say how a node is, as the node itself would."""
        url = f"{self.server}/api/v1/nodes/{node}/status"
        words = ["curl", "-sfk", "-X", "PATCH", "-H", f"Authorization: Bearer {ADMIN}"]
        words += ["-H", "Content-Type: application/merge-patch+json", "-d", json.dumps({"status": status}), url]
        subprocess.run(words, check=True, capture_output=True)

    def token_of(self, account: str, namespace: str) -> str:
        """A token of a service account."""
        secret = self.get("serviceaccount", account, "-n", namespace)["secrets"][0]["name"]
        held = self.get("secret", secret, "-n", namespace)["data"]["token"]
        return base64.b64decode(held).decode()

    def name_services(self) -> None:
        """Let pods find all services that there are now by their names."""
        services = self.get("services", "--all-namespaces")["items"]
        found = [(one["spec"]["clusterIP"], one["metadata"]["name"], one["metadata"]["namespace"]) for one in services]
        lines = [f"{address} {name}.{space}.svc.{DOMAIN}\n" for address, name, space in found if address != "None"]
        (self.folder / "names" / "services").write_text("".join(lines))

    def address_of(self, service: str, namespace: str) -> str:
        """Where a service is reached, from pods and from this machine."""
        return str(self.get("service", service, "-n", namespace)["spec"]["clusterIP"])

    def load_image(
        self, name: str, layers: Sequence[Path], command: Sequence[str], *, env: Sequence[str] = (), folder: str = "/"
    ) -> str:
        """Bring an image of these layers (tar files) onto the node; its name."""
        config = {"Cmd": list(command), "Env": list(env), "WorkingDir": folder}
        with tempfile.TemporaryDirectory(dir=self.folder) as scratch:
            tar = Path(scratch, "image.tar")
            _write_image(tar, name, layers, config)
            _do(*self._ctr_words(), "images", "import", str(tar))
        return name

    def name_image(self, name: str, target: str) -> None:
        """Give an image of the node another name."""
        self._ctr("images", "tag", "--force", name, target)

    def push_image(self, name: str, target: str, user: str = "") -> None:
        """Bring an image of the node into a registry."""
        self._ctr("images", "tag", name, target)
        self._ctr("images", "push", "--plain-http", *(["--user", user] if user else []), target)
        self._ctr("images", "rm", "--sync", target)

    def has_image(self, name: str) -> bool:
        """Whether the node has it."""
        return name in self._ctr("images", "list", "-q").split()

    def _answers(self) -> bool:
        return bool(self.kubectl("get", "--raw", "/readyz", check=False) == "ok")

    def _is_ready(self) -> bool:
        found = self.kubectl(
            "get", "node", NODE, "-o", "jsonpath={.status.conditions[?(@.type=='Ready')].status}", check=False
        )
        return found == "True"

    # ── settings ──────────────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def _ports(self) -> dict[str, int]:
        return dict(json.loads((self.folder / "ports.json").read_text()))

    @property
    def _socket(self) -> Path:
        return self.folder / "containerd.sock"

    @property
    def _bridge(self) -> str:
        return "stoker-pods"

    def _write_settings(self) -> None:
        folder = self.folder
        _do("openssl", "genrsa", "-out", f"{folder}/accounts.key", "2048")
        _do("openssl", "rsa", "-in", f"{folder}/accounts.key", "-pubout", "-out", f"{folder}/accounts.pub")
        (folder / "tokens.csv").write_text(f'{ADMIN},admin,admin,"system:masters"\n')
        (folder / "containerd.toml").write_text(_CONTAINERD.format(folder=folder, pause=PAUSE, plugins=PLUGINS))
        (folder / "cni").mkdir(exist_ok=True)
        (folder / "cni" / "10-bridge.conflist").write_text(json.dumps(_network(self._bridge)))
        (folder / "kubelet.json").write_text(json.dumps({**_KUBELET, "port": self._ports["kubelet"]}))
        (folder / "names").mkdir(exist_ok=True)

    def _command(self, part: str) -> list[str]:
        return [str(word) for word in getattr(self, f"_{part}_command")()]

    def _etcd_command(self) -> list[object]:
        url, peer = f"http://127.0.0.1:{self._ports['etcd']}", f"http://127.0.0.1:{self._ports['peer']}"
        words: list[object] = ["etcd", "--data-dir", self.folder / "etcd", "--listen-client-urls", url]
        words += ["--advertise-client-urls", url, "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer]
        return [*words, "--initial-cluster", f"default={peer}"]

    def _containerd_command(self) -> list[object]:
        return ["containerd", "--config", self.folder / "containerd.toml"]

    def _api_command(self) -> list[object]:
        accounts = self.folder / "accounts"
        words: list[object] = [PROGRAMS / "kube-apiserver", "--etcd-servers", f"http://127.0.0.1:{self._ports['etcd']}"]
        words += ["--secure-port", self._ports["api"], "--cert-dir", self.folder / "certificates"]
        words += ["--advertise-address", _address(), "--service-cluster-ip-range", SERVICES]
        words += ["--authorization-mode", "RBAC", "--token-auth-file", self.folder / "tokens.csv"]
        words += ["--service-account-issuer", "https://kubernetes.default.svc", "--api-audiences", "api"]
        words += [
            "--service-account-signing-key-file",
            f"{accounts}.key",
            "--service-account-key-file",
            f"{accounts}.pub",
        ]
        return [*words, "--kubelet-preferred-address-types", "InternalIP", "--allow-privileged=true"]

    def _controllers_command(self) -> list[object]:
        words: list[object] = [
            PROGRAMS / "kube-controller-manager",
            "--kubeconfig",
            self.config,
            "--leader-elect=false",
        ]
        words += ["--secure-port", self._ports["controllers"], "--port=0", "--use-service-account-credentials=false"]
        words += ["--service-account-private-key-file", self.folder / "accounts.key"]
        words += ["--root-ca-file", self.folder / "certificates" / "apiserver.crt"]  # what pods trust
        words += ["--node-monitor-period=1s", "--node-monitor-grace-period=8s", "--pod-eviction-timeout=5s"]
        return [*words, "--cert-dir", self.folder / "controllers"]

    def _scheduler_command(self) -> list[object]:
        words: list[object] = [PROGRAMS / "kube-scheduler", "--kubeconfig", self.config, "--leader-elect=false"]
        return [*words, "--secure-port", self._ports["scheduler"], "--port=0", "--cert-dir", self.folder / "scheduler"]

    def _proxy_command(self) -> list[object]:
        words: list[object] = [PROGRAMS / "kube-proxy", "--kubeconfig", self.config, "--hostname-override", NODE]
        words += ["--proxy-mode", "iptables", "--cluster-cidr", PODS]
        words += ["--masquerade-all"]  # an answer from one pod to another would not come by here
        words += ["--healthz-bind-address=", "--metrics-bind-address="]
        limits = ("max-per-core", "tcp-timeout-established", "tcp-timeout-close-wait")
        return [*words, *(f"--conntrack-{limit}=0" for limit in limits)]  # the machine's own settings stay

    def _names_command(self) -> list[object]:
        words: list[object] = ["dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--pid-file", "--user=root"]
        words += ["--bind-dynamic", f"--listen-address={GATEWAY}", "--no-resolv", "--no-hosts", f"--local=/{DOMAIN}/"]
        return [*words, f"--hostsdir={self.folder}/names"]

    def _kubelet_command(self) -> list[object]:
        words: list[object] = [
            PROGRAMS / "kubelet",
            "--kubeconfig",
            self.config,
            "--config",
            self.folder / "kubelet.json",
        ]
        words += [
            "--root-dir",
            self.folder / "kubelet",
            "--hostname-override",
            NODE,
            "--cert-dir",
            self.folder / "kubelet",
        ]
        words += ["--container-runtime=remote", f"--container-runtime-endpoint=unix://{self._socket}"]
        return [*words, "--pod-infra-container-image", PAUSE, "--node-ip", _address()]


_KUBELET: Final[Mapping[str, Any]] = {
    "kind": "KubeletConfiguration",
    "apiVersion": "kubelet.config.k8s.io/v1beta1",
    "authentication": {"anonymous": {"enabled": True}, "webhook": {"enabled": False}},
    "authorization": {"mode": "AlwaysAllow"},
    "cgroupDriver": "cgroupfs",
    "enforceNodeAllocatable": [],
    "evictionHard": {"nodefs.available": "0%", "imagefs.available": "0%", "nodefs.inodesFree": "0%"},
    "imageGCHighThresholdPercent": 100,
    "failSwapOn": False,
    "oomScoreAdj": 0,
    "healthzPort": 0,
    "nodeStatusUpdateFrequency": "1s",
    "nodeLeaseDurationSeconds": 4,
    "registerNode": True,
    "maxPods": 250,
    "clusterDNS": [GATEWAY],
    "clusterDomain": DOMAIN,
}

_CONTAINERD: Final = """version = 2
root = "{folder}/images"
state = "{folder}/containers"
[grpc]
  address = "{folder}/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{pause}"
  # Where this runs, nobody may lower the score by which the kernel chooses whom it kills.
  restrict_oom_score_adj = true
  disable_apparmor = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{plugins}"
    conf_dir = "{folder}/cni"
  [plugins."io.containerd.grpc.v1.cri".registry]
    config_path = "{folder}/registries"
"""

_PAUSE: Final = "trap exit TERM; while :; do sleep 1000 & wait; done"
"""Does nothing, and buries orphans."""


def _network(bridge: str) -> dict[str, Any]:
    ways = {"type": "host-local", "ranges": [[{"subnet": PODS, "gateway": GATEWAY}]]}
    plugin = {"type": "bridge", "bridge": bridge, "isDefaultGateway": True, "ipMasq": True, "ipam": ways}
    return {
        "cniVersion": "0.4.0",
        "name": "pods",
        "plugins": [plugin, {"type": "portmap", "capabilities": {"portMappings": True}}],
    }


def _address() -> str:
    """The address of this machine that leads outside; no packet is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.connect(("192.0.2.1", 9))
        return str(one.getsockname()[0])


def _free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def _do(*words: str) -> None:
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0, f"{' '.join(words)}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"


def _unmount_below(folder: Path) -> None:
    places = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
    for place in sorted((one for one in places if one.startswith(f"{folder}/")), reverse=True):
        subprocess.run(["umount", "-l", place], capture_output=True)


# ── images ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def layer_of(folder: Path, files: Mapping[str, bytes]) -> Path:
    """A layer of an image, with these files by path, which may all be executed."""
    layer = folder / f"layer-{hashlib.sha256(repr(sorted(files)).encode()).hexdigest()[:12]}.tar"
    with tarfile.open(layer, "w") as tar:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), 0o755
            tar.addfile(entry, io.BytesIO(content))
    return layer


def _pause_layer() -> Path:
    return layer_of(Path(tempfile.mkdtemp(prefix="stoker-pause-")), {"bin/busybox": BUSYBOX.read_bytes()})


def _write_image(tar: Path, name: str, layers: Sequence[Path], config: Mapping[str, Any]) -> None:
    """An image as `docker save` writes it."""
    digests = [_sha256(layer) for layer in layers]
    machine = {"x86_64": "amd64", "aarch64": "arm64"}[os.uname().machine]
    about = {"architecture": machine, "os": "linux", "config": config}
    about["rootfs"] = {"type": "layers", "diff_ids": [f"sha256:{digest}" for digest in digests]}
    described = json.dumps(about).encode()
    names = [f"{digest}.tar" for digest in digests]
    manifest = json.dumps([{"Config": "config.json", "RepoTags": [name], "Layers": names}]).encode()
    with tarfile.open(tar, "w") as out:
        for layer, inside in zip(layers, names, strict=True):
            out.add(layer, inside)
        for inside, content in (("config.json", described), ("manifest.json", manifest)):
            entry = tarfile.TarInfo(inside)
            entry.size = len(content)
            out.addfile(entry, io.BytesIO(content))


def _sha256(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def load_base(cluster: Cluster) -> None:
    """Bring the base image onto the node."""
    cluster.load_image(BASE, [base_tar()], ["python3"], env=PATHS)


# ── fixtures ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """A cluster with the base image."""
    if lack := missing():
        pytest.skip(f"no Kubernetes cluster can be started on this machine: {lack}")
    run = os.environ.get("PYTEST_XDIST_TESTRUNUID", str(os.getpid()))[:8]
    one = Cluster(Path(tempfile.gettempdir(), f"stoker-cluster-{run}"))

    def start() -> None:
        try:
            one.start()
            load_base(one)
        except BaseException:
            one.close()
            raise

    with shared(one.folder.with_suffix(".users"), start, one.close):
        yield one
