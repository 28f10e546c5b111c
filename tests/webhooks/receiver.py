"""A real receiver of webhooks on this machine, which does whatever a test wants of it."""

from __future__ import annotations

import asyncio
import datetime
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

HERE = "127.0.0.1"


@dataclass(frozen=True)
class Request:
    """What came."""

    line: str
    headers: dict[str, str]
    """By names in small letters."""
    body: bytes


Behave = Callable[[Request, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Receiver:
    """What it does, and what it was told so far."""

    behave: Behave
    port: int = 0
    told: list[Request] = field(default_factory=list)

    @property
    def url(self) -> str:
        """Of its webhook, by a name that only a test's resolver knows."""
        return f"http://hooks.example:{self.port}/hook"

    async def resolve(self, host: str, port: int) -> list[str]:
        """Every name is this machine."""
        return [HERE]


def answers(status: int, *lines: str, body: bytes = b"") -> Behave:
    """Answer with a status, more header lines and a body."""

    async def behave(_request: Request, writer: asyncio.StreamWriter) -> None:
        head = [f"HTTP/1.1 {status} X", f"Content-Length: {len(body)}", *lines, "", ""]
        writer.write("\r\n".join(head).encode() + body)

    return behave


async def closes(_request: Request, _writer: asyncio.StreamWriter) -> None:
    """Say nothing."""


async def hangs(_request: Request, _writer: asyncio.StreamWriter) -> None:
    """Keep the connection and say nothing."""
    await asyncio.get_running_loop().create_future()


def raw(data: bytes) -> Behave:
    """Answer with these bytes."""

    async def behave(_request: Request, writer: asyncio.StreamWriter) -> None:
        writer.write(data)

    return behave


async def endless_headers(_request: Request, writer: asyncio.StreamWriter) -> None:
    """Answer with a head that never ends."""
    writer.write(b"HTTP/1.1 200 OK\r\n")
    while True:
        writer.write(b"X-More: " + b"a" * 1_000 + b"\r\n")
        await writer.drain()


async def endless_body(_request: Request, writer: asyncio.StreamWriter) -> None:
    """Answer with 200 and a body that never ends."""
    writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    while True:
        writer.write(b"10000\r\n" + b"a" * 0x10000 + b"\r\n")
        await writer.drain()


@asynccontextmanager
async def receiving(behave: Behave, *, tls: ssl.SSLContext | None = None, port: int = 0) -> AsyncIterator[Receiver]:
    """A receiver that behaves so."""
    receiver = Receiver(behave)
    open_tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        open_tasks.add(task)
        try:
            request = await _read(reader)
            receiver.told.append(request)
            await receiver.behave(request, writer)
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            open_tasks.discard(task)
            writer.transport.abort() if writer.transport.get_write_buffer_size() else writer.close()

    server = await asyncio.start_server(serve, HERE, port, ssl=tls)
    receiver.port = server.sockets[0].getsockname()[1]
    try:
        yield receiver
    finally:
        server.close()
        for task in list(open_tasks):
            task.cancel()
        await asyncio.gather(*open_tasks, return_exceptions=True)
        with suppress(OSError):
            await server.wait_closed()


async def _read(reader: asyncio.StreamReader) -> Request:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    line, *rest = head.rstrip().split("\r\n")
    headers = {name.lower(): value for name, value in (one.split(": ", 1) for one in rest)}
    return Request(line, headers, await reader.readexactly(int(headers.get("content-length", 0))))


def certificate(folder: Path, name: str) -> tuple[Path, ssl.SSLContext]:
    """A certificate for a name, signed by itself: the file that whoever trusts it needs, and how to serve with it."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    file, secret = folder / f"{name}.pem", folder / f"{name}.key"
    file.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    secret.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file, secret)
    return file, context
