"""A real Docker engine and a real registry, thrown away after the tests, and an image made without any other image.

The image is a Debian root made by `debootstrap`, with Python and the real Runpod SDK. It is made once and kept as a tar file in the
user's cache; every engine imports it. All processes of one test run share an engine: two of them on one machine would fight over
its firewall.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

import httpx
import pytest

PATIENCE_S: Final = 60.0
ROOT: Final = Path(__file__).parent.parent
PINS: Final = ROOT / "tests" / "sdks" / "runpod-1.12.0.txt"
SUITE: Final = "bookworm"
SUITE_PYTHON: Final = "3.11"
PACKAGES: Final = "python3,python3-venv,ca-certificates"
NEEDED: Final = ("ip", "dockerd", "docker", "docker-registry", "debootstrap")
BASE: Final = "stoker-test-base"
"""The name of the image in every engine."""
ALONE_GATEWAY: Final = "10.214.0.1"
_UNNEEDED: Final = ("var/cache/apt", "var/lib/apt/lists", "usr/share/doc", "usr/share/man", "usr/share/locale")


def _mirror() -> Sequence[str]:
    """Where this machine gets its own packages; where that cannot be told, debootstrap knows."""
    asked = ("apt-get", "indextargets", "--format", "$(SITE)", "Created-By: Packages", f"Codename: {SUITE}")
    told = subprocess.run(asked, capture_output=True, text=True, check=False)
    return told.stdout.split()[:1]


def missing() -> str:
    """What this machine lacks for an engine of its own; empty when there is all."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "only root can start a Docker engine"
    absent = [program for program in NEEDED if shutil.which(program) is None]
    return (
        f"not installed: {', '.join(absent)} (Debian: docker.io docker-registry debootstrap iproute2)" if absent else ""
    )


def until(look: Callable[[], object], what: str, *, patience_s: float = PATIENCE_S) -> None:
    """Wait until `look` answers with something true."""
    deadline = time.monotonic() + patience_s
    while not look():
        assert time.monotonic() < deadline, f"waited {patience_s:g} s for {what}"
        time.sleep(0.02)


class Engine:
    """An engine in `folder`. `alone` is one beside others: with a bridge of its own and without a hand in the firewall.
    `options` are more words for it."""

    def __init__(self, folder: Path, *, alone: bool = False, options: Sequence[str] = ()) -> None:
        self.folder = folder
        self._options = options
        self.host = f"unix://{folder}/socket"
        self._alone = alone
        self._bridge = "stoker-alone"

    def start(self) -> None:
        """Start it, and wait until it answers."""
        words = ["dockerd", "--data-root", f"{self.folder}/data", "--exec-root", f"{self.folder}/exec"]
        words += ["--pidfile", f"{self.folder}/pid", "-H", self.host, "--live-restore", "--exec-opt"]
        words += ["native.cgroupdriver=cgroupfs", "--insecure-registry", "127.0.0.0/8"]
        if self._alone:
            self._make_bridge()
            words += ["--bridge", self._bridge, "--iptables=false", "--host-gateway-ip", ALONE_GATEWAY]
            words += ["--default-address-pool", "base=10.213.0.0/16,size=24"]
        self._launch([*words, *self._options])
        until(self._answers, f"the engine; see {self.folder}/log")

    def _launch(self, words: Sequence[str]) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        # A child of nobody here: the process that starts it may end before the others that use it.
        subprocess.run(
            ["sh", "-c", 'log=$1; shift; "$@" </dev/null >>"$log" 2>&1 &', "sh", f"{self.folder}/log", *words]
        )

    def _make_bridge(self) -> None:
        """Without one it would take the other engine's, and with none remove it."""
        if not Path("/sys/class/net", self._bridge).exists():
            _do("ip", "link", "add", self._bridge, "type", "bridge")
            _do("ip", "address", "add", f"{ALONE_GATEWAY}/24", "dev", self._bridge)
            _do("ip", "link", "set", self._bridge, "up")

    def _answers(self) -> bool:
        return subprocess.run(["docker", "-H", self.host, "version"], capture_output=True).returncode == 0

    def run(self, *words: str, stdin: bytes | None = None) -> str:
        """A command of the `docker` client; what it printed."""
        environ = {**os.environ, "DOCKER_BUILDKIT": "0"}  # the builder that every engine has
        done = subprocess.run(["docker", "-H", self.host, *words], capture_output=True, input=stdin, env=environ)
        assert done.returncode == 0, f"docker {' '.join(words)}: {done.stderr.decode()}"
        return (done.stdout + (done.stderr if words[0] == "logs" else b"")).decode().strip()

    def build(self, name: str, recipe: str, files: Sequence[Path] = ()) -> str:
        """An image of the recipe, with files beside it; its name."""
        with tempfile.TemporaryDirectory() as context:
            Path(context, "Dockerfile").write_text(recipe)
            for file in files:
                shutil.copy(file, context)
            self.run("build", "-q", "-t", name, context)
        return name

    @property
    def pid(self) -> int:
        """Its process."""
        return int((self.folder / "pid").read_text())

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        """End it, and not its containers."""
        pid = self.pid
        os.kill(pid, how)
        until(lambda: not exists(pid), "the engine to end")
        if (
            how is signal.SIGKILL
        ):  # its containerd dies with it, and where nobody buries the dead its number seems to live
            (self.folder / "pid").unlink()
            (self.folder / "exec/containerd/containerd.pid").unlink()

    def _emptied(self) -> bool:
        """Remove what is left. What is being removed already is refused, and gone a moment later."""
        left = self.run("ps", "-aq").split()
        if left:
            subprocess.run(["docker", "-H", self.host, "rm", "-f", *left], capture_output=True)
        return not left

    def close(self) -> None:
        """End it with all containers, and remove its files."""
        if not self._answers():
            self.start()
        until(self._emptied, "all containers to be gone")
        if networks := self.run("network", "ls", "-q", "--filter", "type=custom").split():
            self.run("network", "rm", *networks)
        self.stop()
        if self._alone:
            _do("ip", "link", "delete", self._bridge)
        remove(self.folder)


def exists(pid: int) -> bool:
    """Whether the process runs."""
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


# ── the image ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def base_tar() -> Path:
    """The root of the base image."""
    return root_tar(BASE, PACKAGES, PINS)


def root_tar(name: str, packages: str, pins: Path | None = None) -> Path:
    """A Debian root with these packages, and with those of Python that are pinned in `pins`. Made when there is none yet, in a minute."""
    pinned = pins.read_bytes() if pins is not None else b""
    key = hashlib.sha256(pinned + repr((SUITE, SUITE_PYTHON, packages, _UNNEEDED)).encode()).hexdigest()[:16]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "stoker-tests"
    tar = cache / f"{name}-{key}.tar"
    cache.mkdir(parents=True, exist_ok=True)
    with _locked(cache / "lock"):
        if not tar.exists():
            for old in cache.glob(f"{name}-*.tar"):
                old.unlink()
            _make_root(tar, packages, pins)
    return tar


def _make_root(tar: Path, packages: str, pins: Path | None) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch, "root")
        _do("debootstrap", "--variant=minbase", f"--include={packages}", SUITE, str(root), *_mirror())
        if pins is not None:
            target = ["--target", str(root / "opt/sdk"), "--python-version", SUITE_PYTHON, "--only-binary", ":all:"]
            _do(str(Path(sys.executable).parent / "uv"), "pip", "install", "-q", *target, "-r", str(pins))
        for folder in _UNNEEDED:
            shutil.rmtree(root / folder, ignore_errors=True)
        _do("tar", "-C", str(root), "-cf", f"{tar}.new", ".")
        os.replace(f"{tar}.new", tar)


def remove(folder: Path) -> None:
    """Remove an engine's folder: tens of thousands of files, which Python would take a minute for.

    An engine mounts its data on itself, and lets go of it only when nobody killed it.
    """
    mounts = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
    for place in sorted((one for one in mounts if one.startswith(f"{folder}/")), reverse=True):
        _do("umount", "--lazy", place)
    _do("rm", "-rf", str(folder))


def _do(*words: str) -> None:
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0, f"{' '.join(words)}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"


def load_base(engine: Engine) -> None:
    """Bring the base image into the engine."""
    engine.run("import", "--change", "ENV PYTHONPATH=/opt/sdk", str(base_tar()), BASE)


# ── the registry ──────────────────────────────────────────────────────────────────────────────────────────────────────


class Registry:
    """A registry on loopback. `users` is a file made by `htpasswd -B`; without one everybody may come in."""

    def __init__(self, folder: Path, auth: str = "") -> None:
        self._folder = folder
        self._auth = auth
        self.port = free_port()
        self.host = f"127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until it listens."""
        self._folder.mkdir(parents=True, exist_ok=True)
        settings = self._folder / "config.yml"
        settings.write_text(
            f"version: 0.1\nstorage:\n  filesystem:\n    rootdirectory: {self._folder}/images\n  delete:\n    enabled: true\n"
            f"http:\n  addr: {self.host}\n{self._auth}"
        )
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(["docker-registry", "serve", str(settings)], stdout=log, stderr=log)
        until(self._listens, f"the registry; see {self._folder}/log")

    def mark_for(self, repository: str, tag: str, architecture: str) -> None:
        """Make the image one for another architecture, and put it into a list of images for several as `list`, all alone."""
        kinds, path = "application/vnd.docker.distribution.manifest", f"http://{self.host}/v2/{repository}"
        one = httpx.get(f"{path}/manifests/{tag}", headers={"Accept": f"{kinds}.v2+json"}).json()
        config = httpx.get(f"{path}/blobs/{one['config']['digest']}").json() | {"architecture": architecture}
        content = json.dumps(config).encode()
        one["config"] |= {"digest": _digest(content), "size": len(content)}
        place = httpx.post(f"{path}/blobs/uploads/").headers["location"]
        httpx.put(
            place, params=dict(parse_qsl(urlsplit(place).query), digest=_digest(content)), content=content
        ).raise_for_status()
        manifest = json.dumps(one).encode()
        entry: dict[str, Any] = {"mediaType": f"{kinds}.v2+json", "size": len(manifest), "digest": _digest(manifest)}
        entry["platform"] = {"architecture": architecture, "os": "linux"}
        several = {"schemaVersion": 2, "mediaType": f"{kinds}.list.v2+json", "manifests": [entry]}
        for name, kind, body in ((tag, "v2", manifest), ("list", "list.v2", json.dumps(several).encode())):
            headers = {"Content-Type": f"{kinds}.{kind}+json"}
            httpx.put(f"{path}/manifests/{name}", content=body, headers=headers).raise_for_status()

    def _listens(self) -> bool:
        with socket.socket() as one:
            return one.connect_ex(("127.0.0.1", self.port)) == 0

    def close(self) -> None:
        """End it."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def basic_auth(folder: Path, user: str, password: str) -> str:
    """Settings of a registry that knows one user."""
    import bcrypt

    folder.mkdir(parents=True, exist_ok=True)
    users = folder / "users"
    users.write_text(f"{user}:{bcrypt.hashpw(password.encode(), bcrypt.gensalt(rounds=4)).decode()}\n")
    return f"auth:\n  htpasswd:\n    realm: tests\n    path: {users}\n"


def free_port() -> int:
    """A port of loopback that nobody has."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


# ── fixtures ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@contextmanager
def _locked(file: Path) -> Iterator[None]:
    with file.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextmanager
def shared(users: Path, start: Callable[[], None], close: Callable[[], None]) -> Iterator[None]:
    """What all processes of this test run use: the first one starts it, the last one ends it. `users` counts them."""
    users.parent.mkdir(parents=True, exist_ok=True)
    lock = users.with_suffix(".lock")
    with _locked(lock):
        if not users.exists():
            start()
        users.write_text((users.read_text() if users.exists() else "") + "x")
    try:
        yield
    finally:
        with _locked(lock):
            left = len(users.read_text()) - 1
            users.write_text("x" * left)
            if not left:
                users.unlink()
                close()


def check_machine() -> None:
    """Skip the test where no engine can be started."""
    if lack := missing():
        pytest.skip(f"no Docker engine can be started on this machine: {lack}")


@pytest.fixture(scope="session")
def docker_engine() -> Iterator[Engine]:
    """An engine with the base image."""
    check_machine()
    run = os.environ.get("PYTEST_XDIST_TESTRUNUID", str(os.getpid()))[:8]
    folder = Path(tempfile.gettempdir(), f"stoker-docker-{run}")
    engine = Engine(folder / "engine")

    def start() -> None:
        engine.start()
        load_base(engine)

    with shared(folder / "users", start, engine.close):
        yield engine


@contextmanager
def memory_disk(mib: int) -> Iterator[Path]:
    """A disk that is gone at once, with all that is on it: an engine has tens of thousands of files."""
    disk = Path(tempfile.mkdtemp(prefix="stoker-engine-"))
    _do("mount", "-t", "tmpfs", "-o", f"size={mib}m", "tmpfs", str(disk))
    try:
        yield disk
    finally:
        _do("umount", "--lazy", str(disk))
        disk.rmdir()


@pytest.fixture
def lonely_engine() -> Iterator[Engine]:
    """An engine for a test that ends it in the middle."""
    check_machine()
    with memory_disk(1024) as disk:
        engine = Engine(disk / "engine", alone=True)
        engine.start()
        try:
            load_base(engine)
            yield engine
        finally:
            engine.close()


@pytest.fixture
def small_engine() -> Iterator[Engine]:
    """An engine without images, on a disk of 64 MiB."""
    check_machine()
    with memory_disk(64) as disk:
        engine = Engine(disk / "engine", alone=True)
        try:
            engine.start()
            yield engine
        finally:
            engine.close()


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    """A registry that lets everybody in."""
    check_machine()
    one = Registry(tmp_path / "registry")
    one.start()
    yield one
    one.close()


if __name__ == "__main__":  # ahead of the tests, whose patience is for tests and not for making a Debian
    print(f"no container tests: {lack}" if (lack := missing()) else f"the base of container tests: {base_tar()}")
