"""Engines that are not simply behind this machine's socket: one behind TCP and TLS, and one without root."""

from __future__ import annotations

import datetime
import ipaddress
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.docker import Engine, check_machine, free_port, load_base, memory_disk, remove, until

ROOTLESS: Final = Path("/usr/share/docker.io/contrib/dockerd-rootless.sh")
ROOTLESS_NEEDED: Final = ("rootlesskit", "slirp4netns", "newuidmap", "setpriv", "unshare")
SETTING: Final = """
echo $$ > "$1/pid"
mknod "$1/tun" c 10 200
chmod 666 "$1/tun"
mount --bind "$1/tun" /dev/net/tun
mount --bind "$1/subids" /etc/subuid
mount --bind "$1/subids" /etc/subgid
exec setpriv --reuid nobody --regid nogroup --clear-groups \\
  env HOME="$1/home" XDG_RUNTIME_DIR="$1/run" PATH="$PATH:/usr/sbin:/sbin" sh "$2" --data-root "$1/data" \\
  --exec-opt native.cgroupdriver=cgroupfs
"""
"""What `nobody` needs to run an engine, in a mount namespace of its own: this machine stays as it is."""


# ── behind TCP and TLS ────────────────────────────────────────────────────────────────────────────────────────────────


class Certificates:
    """An authority, and a server's and a client's certificate of it, as Docker's clients look for them in `folder`."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "tests")])
        authority = self._certificate(self._name, self._key, ca=True)
        (folder / "ca.pem").write_bytes(authority.public_bytes(serialization.Encoding.PEM))
        self._issue("cert.pem", "key.pem", "client")
        self._issue("server-cert.pem", "server-key.pem", "server")

    def _issue(self, certificate: str, key: str, name: str) -> None:
        own = ec.generate_private_key(ec.SECP256R1())
        made = self._certificate(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]), own, ca=False)
        (self.folder / certificate).write_bytes(made.public_bytes(serialization.Encoding.PEM))
        (self.folder / key).write_bytes(
            own.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )

    def _certificate(self, name: x509.Name, key: ec.EllipticCurvePrivateKey, *, ca: bool) -> x509.Certificate:
        now = datetime.datetime.now(datetime.UTC)
        names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
        builder = x509.CertificateBuilder(self._name, name, key.public_key(), x509.random_serial_number())
        builder = builder.not_valid_before(now - datetime.timedelta(days=1)).not_valid_after(
            now + datetime.timedelta(days=1)
        )
        builder = builder.add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        return builder.add_extension(names, critical=False).sign(self._key, hashes.SHA256())


class TcpEngine(Engine):
    """An engine that also listens on a port of loopback, to those who show a certificate."""

    def __init__(self, folder: Path) -> None:
        self.certificates = Certificates(folder / "certificates")
        self.tcp = f"tcp://127.0.0.1:{free_port()}"
        found = self.certificates.folder
        options = ["-H", self.tcp, "--tlsverify", "--tlscacert", f"{found}/ca.pem"]
        options += ["--tlscert", f"{found}/server-cert.pem", "--tlskey", f"{found}/server-key.pem"]
        super().__init__(folder, alone=True, options=options)


@pytest.fixture
def tcp_engine() -> Iterator[TcpEngine]:
    """An engine behind TCP and TLS, with the base image."""
    check_machine()
    with memory_disk(1024) as disk:
        engine = TcpEngine(disk / "engine")
        engine.start()
        try:
            load_base(engine)
            yield engine
        finally:
            engine.close()


# ── without root ──────────────────────────────────────────────────────────────────────────────────────────────────────


class RootlessEngine(Engine):
    """An engine of the user `nobody`, in user, mount and network namespaces of its own."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.host = f"unix://{folder}/run/docker.sock"

    def start(self) -> None:
        """Start it, and wait until it answers."""
        self.folder.chmod(0o755)
        (self.folder / "subids").write_text("nobody:300000:65536\n")
        for name in ("home", "run", "data"):
            (self.folder / name).mkdir(mode=0o700)
            shutil.chown(self.folder / name, "nobody", "nogroup")
        self._launch(["unshare", "--mount", "sh", "-c", SETTING, "sh", str(self.folder), str(ROOTLESS)])
        until(self._answers, f"the engine; see {self.folder}/log")

    def close(self) -> None:
        """End it with all containers, and remove its files."""
        until(self._emptied, "all containers to be gone")
        self.stop()
        remove(self.folder)


@pytest.fixture
def rootless_engine() -> Iterator[RootlessEngine]:
    """A rootless engine with the base image."""
    check_machine()
    absent = [program for program in ROOTLESS_NEEDED if shutil.which(program) is None]
    if absent or not ROOTLESS.exists():
        pytest.skip(f"no rootless engine can be started: {absent or ROOTLESS} (Debian: rootlesskit slirp4netns uidmap)")
    engine = RootlessEngine(Path(tempfile.mkdtemp(prefix="stoker-rootless-")))
    engine.start()
    try:
        load_base(engine)
        yield engine
    finally:
        engine.close()
