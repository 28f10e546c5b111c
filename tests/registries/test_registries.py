"""Whether a registry lets a login in and has an image, asked as the registry protocol says: a small registry of our own, and a real one."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import shutil
import socket
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from stoker.errors import InvalidInput, Unavailable
from stoker.registries import HttpRegistries
from stoker.registry import Login
from tests.live import until

USER, PASSWORD = "me", "pass word ü"
REAL = "docker-registry"


def login(registry: str, *, username: str = USER, password: str = PASSWORD) -> Login:
    """A credential that was opened."""
    return Login(registry=registry, username=username, password=password)


async def outcome(registry: str, **more: str) -> str:
    """`in`, or the code of the refusal."""
    try:
        await HttpRegistries().check(login(registry, **more))
    except (InvalidInput, Unavailable) as error:
        return "the password was told" if PASSWORD in str(error) else error.code
    return "in"


Answer = Callable[[str, str], tuple[int, dict[str, str], bytes]]
"""Gets the path and the Authorization header."""


@asynccontextmanager
async def registry(answer: Answer) -> AsyncIterator[str]:
    """A registry on this machine that answers so; its name."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        path = head.split(" ")[1]
        headers = dict(line.split(": ", 1) for line in head.split("\r\n")[1:] if ": " in line)
        status, more, body = answer(path, headers.get("Authorization", ""))
        lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(body)}", "Connection: close"]
        writer.write("\r\n".join([*lines, *(f"{name}: {value}" for name, value in more.items()), "", ""]).encode())
        writer.write(body)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        await server.wait_closed()


BASIC = "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()


def basic(_path: str, authorization: str) -> tuple[int, dict[str, str], bytes]:
    """Lets our login in."""
    if authorization == BASIC:
        return 200, {}, b"{}"
    return 401, {"WWW-Authenticate": 'Basic realm="here"'}, b""


async def test_basic() -> None:
    """A registry that asks for Basic gets name and password, whatever letters they have."""
    async with registry(basic) as name:
        assert await outcome(name) == "in"
        assert await outcome(name, password="wrong") == "credential_refused"
        assert await outcome(name, username="nobody") == "credential_refused"


@pytest.mark.parametrize("word", ["token", "access_token"])
async def test_token(word: str) -> None:
    """A registry that asks for a token sends to its service, which gets the login, and the registry gets the token."""
    seen: list[str] = []

    def answer(path: str, authorization: str) -> tuple[int, dict[str, str], bytes]:
        if path.startswith("/token"):
            seen.append(path)
            return (200, {}, b'{"%s": "abc"}' % word.encode()) if authorization == BASIC else (401, {}, b"")
        if authorization == "Bearer abc":
            return 200, {}, b"{}"
        return 401, {"WWW-Authenticate": f'Bearer realm="http://{name}/token",service="here"'}, b""

    async with registry(answer) as name:
        assert await outcome(name) == "in"
        assert seen == ["/token?account=me&service=here"]
        assert await outcome(name, password="wrong") == "credential_refused"


async def test_open_registry() -> None:
    """A registry that asks nobody lets everybody in."""
    async with registry(lambda _path, _authorization: (200, {}, b"{}")) as name:
        assert await outcome(name) == "in"


@pytest.mark.parametrize(
    ("status", "headers", "token"),
    [
        (500, {}, b""),
        (404, {}, b""),
        (302, {"Location": "http://127.0.0.1:1/"}, b""),
        (401, {}, b""),
        (401, {"WWW-Authenticate": "Negotiate"}, b""),
        (401, {"WWW-Authenticate": "Bearer nonsense"}, b""),
        (401, {"WWW-Authenticate": 'Bearer realm="http://example.invalid/token"'}, b""),
        (401, {"WWW-Authenticate": 'Bearer realm="file:///etc/passwd"'}, b""),
        (401, {"WWW-Authenticate": 'Bearer realm="HERE"'}, b"not json"),
        (401, {"WWW-Authenticate": 'Bearer realm="HERE"'}, b"[]"),
        (401, {"WWW-Authenticate": 'Bearer realm="HERE"'}, b'{"token": 5}'),
        (401, {"WWW-Authenticate": 'Bearer realm="HERE"'}, b'{"token": "a\\nb"}'),
        (401, {"WWW-Authenticate": 'Bearer realm="HERE"'}, b"x" * 300_000),
    ],
)
async def test_odd_registries(status: int, headers: dict[str, str], token: bytes) -> None:
    """Whatever a registry says, the password goes nowhere it should not, and the answer is that it cannot be asked."""
    seen: list[str] = []

    def answer(path: str, authorization: str) -> tuple[int, dict[str, str], bytes]:
        seen.append(authorization)
        if path.startswith("/token"):
            return 200, {}, token
        here = {word: value.replace("HERE", f"http://{name}/token") for word, value in headers.items()}
        return status, here, b""

    async with registry(answer) as name:
        assert await outcome(name) == "registry_unreachable"
    assert seen[0] == ""


async def test_nobody_there() -> None:
    """A registry that does not answer is unreachable, not wrong."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        assert await outcome(f"127.0.0.1:{free.getsockname()[1]}") == "registry_unreachable"


# ── images ────────────────────────────────────────────────────────────────────────────────────────────────────────────

DIGEST = "sha256:" + "ab" * 32
MANIFEST = "application/vnd.oci.image.manifest.v1+json"


async def found(image: str, by: Login | None = None) -> str:
    """The digest, or the code of the refusal."""
    try:
        return await HttpRegistries().find(image, by)
    except (InvalidInput, Unavailable) as error:
        return "the password was told" if PASSWORD in str(error) else error.code


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        (200, DIGEST),
        (401, "image_denied"),
        (403, "image_denied"),
        (404, "image_not_found"),
        (429, "image_rate_limited"),
        (302, "registry_unreachable"),
        (500, "registry_unreachable"),
    ],
)
async def test_image(status: int, outcome: str) -> None:
    """Whether a registry has an image is asked by its tag or digest, and every answer has its code."""
    asked: list[str] = []

    def answer(path: str, _authorization: str) -> tuple[int, dict[str, str], bytes]:
        asked.append(path)
        challenge = {"WWW-Authenticate": 'Basic realm="here"'} if status == 401 else {}
        return status, {"Docker-Content-Digest": DIGEST, **challenge}, b""

    async with registry(answer) as name:
        assert await found(f"{name}/team/words:1") == outcome
        assert await found(f"{name}/team/words") == outcome
        assert await found(f"{name}/team/words:1@{DIGEST}") == outcome
    manifests = "/v2/team/words/manifests"
    assert asked == [f"{manifests}/1", f"{manifests}/latest", f"{manifests}/{DIGEST}"]


async def test_image_by_token() -> None:
    """A token service is asked for the image's own scope: with the login, or by everybody, whom it may refuse."""
    seen: list[tuple[str, str]] = []
    everybody = True

    def answer(path: str, authorization: str) -> tuple[int, dict[str, str], bytes]:
        if path.startswith("/token"):
            seen.append((path.partition("scope=")[2], authorization))
            return (200, {}, b'{"token": "abc"}') if everybody or authorization == BASIC else (401, {}, b"")
        if authorization == "Bearer abc":
            return 200, {"Docker-Content-Digest": "no digest"}, b""
        return 401, {"WWW-Authenticate": f'Bearer realm="http://{name}/token",service="here"'}, b""

    async with registry(answer) as name:
        assert await found(f"{name}/words:1") == ""
        everybody = False
        assert await found(f"{name}/words:1") == "image_denied"
        assert await found(f"{name}/words:1", login(name)) == ""
        assert await found(f"{name}/words:1", login(name, password="wrong")) == "credential_refused"
    assert seen[:3] == [
        (scope, auth) for scope, auth in zip(["repository%3Awords%3Apull"] * 3, ["", "", BASIC], strict=True)
    ]


async def test_image_elsewhere() -> None:
    """A password is not told to a registry that it is not for; the hub has several names."""
    asked: list[str] = []

    def answer(path: str, _authorization: str) -> tuple[int, dict[str, str], bytes]:
        asked.append(path)
        return 200, {}, b""

    async with registry(answer) as name:
        assert await found(f"{name}/words:1", login("ghcr.io")) == "credential_elsewhere"
        assert await found("python:3.12", login(name)) == "credential_elsewhere"
    assert asked == []


# ── a real one ────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def real(tmp_path: Path) -> Iterator[str]:
    """The distribution project's registry, with one user; its name."""
    if shutil.which(REAL) is None or shutil.which("htpasswd") is None:
        pytest.skip(f"needs {REAL} and htpasswd")
    users = tmp_path / "users"
    subprocess.run(["htpasswd", "-Bbc", users, USER, PASSWORD], check=True, capture_output=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        name = f"127.0.0.1:{free.getsockname()[1]}"
    (tmp_path / "config.yml").write_text(
        f"version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {tmp_path}/data}}}}\n"
        f"http: {{addr: '{name}'}}\nauth: {{htpasswd: {{realm: here, path: {users}}}}}\n"
    )
    process = subprocess.Popen([REAL, "serve", tmp_path / "config.yml"], stdout=-3, stderr=-3)
    try:
        until(lambda: _answers(name), what="the registry")
        yield name
    finally:
        process.terminate()
        process.wait()


def _answers(name: str) -> bool:
    try:
        return httpx.get(f"http://{name}/v2/").status_code == 401
    except httpx.TransportError:
        return False


@pytest.mark.slow
async def test_real_registry(real: str) -> None:
    """The registry that most people run lets the right login in and refuses another."""
    assert await outcome(real) == "in"
    assert await outcome(real, password="wrong") == "credential_refused"


def push(real: str, image: str) -> str:
    """Put an image without layers into the registry; its digest."""
    with httpx.Client(base_url=f"http://{real}/v2/{image}", auth=(USER, PASSWORD.encode())) as pusher:
        config = b"{}"
        digest = f"sha256:{hashlib.sha256(config).hexdigest()}"
        begun = pusher.post("/blobs/uploads/").headers["location"]
        assert pusher.put(f"{begun}&digest={digest}", content=config).status_code == 201
        described = {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": digest, "size": len(config)}
        manifest = {"schemaVersion": 2, "mediaType": MANIFEST, "config": described, "layers": []}
        pushed = pusher.put("/manifests/1", json=manifest, headers={"Content-Type": MANIFEST})
        assert pushed.status_code == 201
    return pushed.headers["docker-content-digest"]


@pytest.mark.slow
async def test_image_in_a_real_registry(real: str) -> None:
    """The registry that most people run says which images it has, to those whom it lets in."""
    image, digest = f"{real}/team/words", push(real, "team/words")
    assert await found(f"{image}:1", login(real)) == digest
    assert await found(f"{image}:2", login(real)) == "image_not_found"
    assert await found(f"{image}:1") == "image_denied"
    assert await found(f"{image}:1", login(real, password="wrong")) == "image_denied"


def test_login_hides_its_password() -> None:
    """An opened credential does not tell its password by the way."""
    assert PASSWORD not in repr(login("x"))
