"""Whether a registry lets a login in, asked as the registry protocol says: a small registry of our own, and a real one."""

from __future__ import annotations

import asyncio
import base64
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


def test_login_hides_its_password() -> None:
    """An opened credential does not tell its password by the way."""
    assert PASSWORD not in repr(login("x"))
