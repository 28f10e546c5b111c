"""Behind the proxies of the guide: their configurations are taken from the page, with other ports and certificates."""

from __future__ import annotations

import re
import socket
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from tests.certificates import Pair, pair
from tests.docs import pages
from tests.live import KEY, LiveServer, until

pytestmark = pytest.mark.slow

PAGE = "docs/how-to/tls.md"
NGINX = "daemon off;\npid {folder}/pid;\nerror_log stderr;\nevents {{}}\nhttp {{\n{temporary}access_log off;\n{server}\n}}\n"
TEMPORARY = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")


def free_port() -> int:
    """One that nobody listens on."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        return int(listener.getsockname()[1])


def block(language: str) -> str:
    """The only block of the page in that language."""
    (text,) = re.findall(rf"^```{language}\n(.*?)^```", pages.read(PAGE), re.DOTALL | re.MULTILINE)
    return str(text)


def nginx(folder: Path, port: int, server: LiveServer, files: Pair) -> list[str]:
    """The command that runs nginx as the page says."""
    text = block("nginx").replace("listen 443 ssl", f"listen 127.0.0.1:{port} ssl")
    text = text.replace("/etc/ssl/gpu.example.com.pem", str(files.certificate))
    text = text.replace("/etc/ssl/gpu.example.com.key", str(files.key))
    text = text.replace("http://127.0.0.1:8700", server.url)
    temporary = "".join(f"{name}_temp_path {folder}/{name};\n" for name in TEMPORARY)
    (folder / "nginx.conf").write_text(NGINX.format(folder=folder, temporary=temporary, server=text))
    return ["nginx", "-c", str(folder / "nginx.conf"), "-e", "stderr"]


def caddy(folder: Path, port: int, server: LiveServer, files: Pair) -> list[str]:
    """The command that runs Caddy as the page says."""
    site = f"https://127.0.0.1:{port} {{\n    tls {files.certificate} {files.key}"
    text = block("caddy").replace("gpu.example.com {", site)
    text = text.replace("127.0.0.1:8700", server.url.removeprefix("http://"))
    (folder / "Caddyfile").write_text(
        "{\n    admin off\n    auto_https disable_redirects\n    grace_period 1s\n}\n" + text
    )
    return ["caddy", "run", "--config", str(folder / "Caddyfile"), "--adapter", "caddyfile"]


@pytest.fixture(params=[nginx, caddy], ids=["nginx", "caddy"])
def proxied(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[httpx.Client]:
    """A client that speaks TLS to a proxy before a server with an endpoint `here`, which is paused."""
    files, port = pair(tmp_path / "tls"), free_port()
    with LiveServer(tmp_path / "data", hold_s=1) as server:
        server.create("here", image=Path(__file__).parent, command="true", max_workers=1)
        server.api.post("/api/endpoints/here/pause")
        command = request.param(tmp_path, port, server, files)
        with (tmp_path / "proxy.log").open("w") as log:
            proxy = subprocess.Popen(
                command, stdout=log, stderr=log, env={"HOME": str(tmp_path), "PATH": "/usr/sbin:/usr/bin:/bin"}
            )
        trust = ssl.create_default_context(cafile=files.certificate)
        url, headers = f"https://127.0.0.1:{port}", {"Authorization": f"Bearer {KEY}"}
        with httpx.Client(base_url=url, headers=headers, verify=trust, timeout=60, trust_env=False) as client:
            try:
                until(lambda: _answers(client), what=f"the proxy: {(tmp_path / 'proxy.log').read_text()}")
                yield client
            finally:
                proxy.terminate()
                proxy.wait(30)


def _answers(client: httpx.Client) -> bool:
    try:
        return client.get("/healthz").status_code == 200
    except httpx.TransportError:
        return False


def test_through_a_proxy(proxied: httpx.Client) -> None:
    """Large bodies, held requests, events as they happen, and the console's sign-in come through as the page promises."""
    assert proxied.get("/healthz").headers["strict-transport-security"] == "max-age=31536000"

    limit = 4 * 1024 * 1024
    job = proxied.post("/v2/here/run", content=b'{"input": "' + b"x" * (limit - 13) + b'"}').json()["id"]
    refused = proxied.post("/v2/here/run", content=b'{"input": "' + b"x" * limit + b'"}')
    assert (refused.status_code, refused.json()["code"]) == (413, "payload_too_large")
    assert proxied.get(f"/v2/here/status-sync/{job}?wait=2000").json()["status"] == "IN_QUEUE"

    headers = {"accept": "text/event-stream"}
    with proxied.stream("GET", "/api/events?about=job", headers=headers) as events:
        lines = events.iter_lines()
        assert "event: open" in {next(lines) for _ in range(3)}
        proxied.post(f"/v2/here/cancel/{job}")
        assert any(job in line for line in lines if line.startswith("data"))

    browser = {"x-stoker-console": "1", "sec-fetch-site": "same-origin", "origin": str(proxied.base_url).rstrip("/")}
    signed = proxied.post("/api/session", json={"key": KEY}, headers=browser)
    assert signed.status_code == 200, signed.text
    assert "Secure" in signed.headers["set-cookie"]
