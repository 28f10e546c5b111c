"""A server that speaks TLS itself: to clients; its workers come by a plain door of their own."""

from __future__ import annotations

import os
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from cryptography import x509

from tests.certificates import Pair, pair
from tests.live import KEY, LiveServer, until
from tests.server.conftest import WORKERS

pytestmark = pytest.mark.slow

LARGE = "x" * 3_000_000


def free_port() -> int:
    """One that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@pytest.fixture
def files(tmp_path: Path) -> Pair:
    """The server's certificate and key."""
    return pair(tmp_path / "tls")


@pytest.fixture
def secure(tmp_path: Path, files: Pair) -> Iterator[LiveServer]:
    """A server with them."""
    door = f"127.0.0.1:{free_port()}"
    with LiveServer(
        tmp_path / "data", tls_certificate=files.certificate, tls_key=files.key, worker_listen=door
    ) as server:
        server.api.close()
        server.api = trusting(server, files)
        yield server


def trusting(server: LiveServer, files: Pair) -> httpx.Client:
    """A client with a connection of its own that trusts the certificate in the files."""
    trust = ssl.create_default_context(cafile=files.certificate)
    stays = httpx.Limits(keepalive_expiry=None)
    headers = {"Authorization": f"Bearer {KEY}"}
    return httpx.Client(base_url=server.url, headers=headers, verify=trust, timeout=60, limits=stays)


def presented(server: LiveServer) -> int:
    """The number of the certificate that a new connection gets."""
    port = int(server.url.rsplit(":", 1)[1])
    return x509.load_pem_x509_certificate(ssl.get_server_certificate(("127.0.0.1", port)).encode()).serial_number


def test_clients_over_tls_workers_by_their_door(secure: LiveServer) -> None:
    """Clients speak HTTPS, whatever way their request takes and however large it is; a worker comes over plain HTTP and does the job."""
    assert secure.url.startswith("https://")
    secure.create("echo", image=WORKERS, command=f"{sys.executable} -u light.py", max_workers=1)
    done = secure.finished(secure.run("echo", {"echo": LARGE}))
    assert done["state"] == "completed"
    assert LARGE in str(done["output"])
    for path in ("/healthz", "/v2/echo/health"):
        assert secure.api.get(path).headers["strict-transport-security"] == "max-age=31536000"
    assert (
        secure.api.post("/api/session", json={"key": KEY}, headers={"x-stoker-console": "1"})
        .headers["set-cookie"]
        .endswith("; Secure")
    )


def test_the_door_is_for_workers_alone(secure: LiveServer) -> None:
    """Behind the door there are the calls of workers and nothing else; it promises browsers no TLS."""
    door = f"http://{secure.settings['worker_listen']}"
    with httpx.Client(base_url=door, headers={"Authorization": f"Bearer {KEY}"}) as client:
        for path in ("/api/endpoints", "/v2/echo/health", "/metrics", "/"):
            assert client.get(path).status_code == 404, path
        refused = client.get("/worker/ping/nobody?t=x")
        assert (refused.status_code, refused.json()["code"]) == (401, "worker_token_invalid")
        assert "strict-transport-security" not in refused.headers


def test_plain_http_is_not_answered(secure: LiveServer) -> None:
    """Whoever speaks plain HTTP to the port of TLS gets no answer, and disturbs nobody."""
    with pytest.raises(httpx.TransportError):
        httpx.get(secure.url.replace("https", "http"))
    assert secure.api.get("/healthz").status_code == 200


def test_a_renewed_certificate_is_taken(secure: LiveServer, files: Pair) -> None:
    """After a renewal new connections get the new certificate, without a restart; those that are open go on."""
    assert secure.api.get("/healthz").status_code == 200
    before = presented(secure)
    renewed = files.renew()
    until(lambda: presented(secure) == renewed, what="the new certificate")
    assert renewed != before
    assert secure.api.get("/healthz").status_code == 200  # by the connection from before
    with trusting(secure, files) as client:
        assert client.get("/api/endpoints").status_code == 200


def test_what_does_not_fit_is_not_taken(secure: LiveServer, files: Pair, tmp_path: Path) -> None:
    """Half a renewal changes nothing but a line of the log; the other half is taken, at once when SIGHUP asks."""
    assert secure.process is not None
    before = presented(secure)
    other = pair(tmp_path / "other")
    files.certificate.write_bytes(other.certificate.read_bytes())
    os.kill(secure.process.pid, signal.SIGHUP)
    until(lambda: "certificate_not_taken" in secure.log(), what="the refusal in the log")
    assert presented(secure) == before
    files.key.write_bytes(other.key.read_bytes())
    os.kill(secure.process.pid, signal.SIGHUP)
    until(lambda: "certificate_taken" in secure.log(), what="the new certificate")
    assert presented(secure) != before


def test_the_command_line_over_tls(secure: LiveServer, files: Pair) -> None:
    """`stoker` trusts what the machine trusts, and the file that SSL_CERT_FILE names."""
    command = [str(Path(sys.executable).with_name("stoker")), "endpoint", "ls", "--json"]
    env = {**os.environ, "STOKER_URL": secure.url, "STOKER_API_KEY": KEY}
    trusted = subprocess.run(
        command, env={**env, "SSL_CERT_FILE": str(files.certificate)}, capture_output=True, text=True
    )
    assert (trusted.returncode, trusted.stderr) == (0, "")
    stranger = subprocess.run(command, env=env, capture_output=True, text=True)
    assert stranger.returncode == 6
    assert "certificate" in stranger.stderr


@pytest.mark.parametrize("key", ["other", "none"])
def test_no_start_with_what_does_not_fit(tmp_path: Path, files: Pair, key: str) -> None:
    """A server does not start with files that are no certificate and its key, and says so."""
    wrong = pair(tmp_path / "other").key if key == "other" else tmp_path / "none.pem"
    env = {
        "STOKER_DATA_DIR": str(tmp_path / "data"), "STOKER_PORT": "0", "STOKER_RUNTIME": "none",
        "STOKER_TLS_CERTIFICATE": str(files.certificate), "STOKER_TLS_KEY": str(wrong),
    }  # fmt: skip
    command = [str(Path(sys.executable).with_name("stoker")), "serve"]
    ended = subprocess.run(command, env={**os.environ, **env}, capture_output=True, text=True)
    assert ended.returncode == 3
    assert "are no certificate and its key" in ended.stderr
