"""Receivers of webhooks over HTTP: one request each, to an address that was checked, with no belief in what answers.

The name is resolved once, and the connection goes to an address that was looked at (never to what the name means a moment later),
with the name for Host and TLS. Redirects are not followed, cookies not kept, proxies of the environment not used. Of the answer only
the head is read, and of that no more than a bound; everything together has one time limit.
"""

from __future__ import annotations

import asyncio
import importlib
import socket
import ssl
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from stoker.webhook import Answer, Network, Target, refusal

if TYPE_CHECKING:
    import httpx

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""Addresses of a host, best first. Raises `OSError`."""

CONNECT_SHARE: Final = 0.45
"""Of the whole time, for a connection and for TLS each: a handshake that is cut off from outside would leave its socket open."""
_RETRY_AFTER_DIGITS: Final = 6


async def resolve(host: str, port: int) -> Sequence[str]:
    """As the machine does it."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


class HttpReceivers:
    """`notices.Receivers`."""

    def __init__(self, *, timeout_s: float, allowed: Sequence[Network] = (), resolve: Resolve = resolve) -> None:
        """`allowed` are networks that may be told although they are not public."""
        self._timeout_s = timeout_s
        self._allowed = allowed
        self._resolve = resolve
        self._tls: ssl.SSLContext | None = None

    async def tell(self, target: Target, headers: Mapping[str, str], body: bytes) -> Answer:
        """POST the body. Whatever goes wrong is in the answer."""
        try:
            async with asyncio.timeout(self._timeout_s):
                return await self._tell(target, headers, body)
        except TimeoutError:
            return Answer(error=f"it did not answer within {self._timeout_s:g} s")

    async def _tell(self, target: Target, headers: Mapping[str, str], body: bytes) -> Answer:
        try:
            addresses = await self._resolve(target.host, target.port)
        except (OSError, UnicodeError):
            return Answer(error="its name cannot be resolved")
        refused = [refusal(address, self._allowed) for address in addresses]
        if not addresses:
            return Answer(error="its name has no address")
        if all(refused):
            return Answer(error=f"its address is {refused[0]}: webhooks go to public addresses only")
        return await self._post(target, addresses[refused.index("")], headers, body)

    async def _post(self, target: Target, address: str, headers: Mapping[str, str], body: bytes) -> Answer:
        await asyncio.to_thread(importlib.import_module, "httpx")  # it reads from the disk
        import httpx  # 5 MiB of memory that a server without webhooks can do without

        if self._tls is None:
            self._tls = await asyncio.to_thread(httpx.create_ssl_context)  # it reads certificates from the disk
        request = httpx.Request(
            "POST",
            f"{target.scheme}://{f'[{address}]' if ':' in address else address}:{target.port}{target.path}",
            headers={"host": _host_header(target), "connection": "close", **headers},
            content=body,
            extensions={"sni_hostname": target.host, "timeout": {"connect": self._timeout_s * CONNECT_SHARE}},
        )
        try:
            async with httpx.AsyncHTTPTransport(verify=self._tls, trust_env=False) as transport:
                response = await transport.handle_async_request(request)
                answer = _read(response)
                await response.aclose()  # whatever its body is
                return answer
        except httpx.TimeoutException:
            raise TimeoutError from None
        except httpx.HTTPError as error:
            return Answer(error=_in_words(error))


def _host_header(target: Target) -> str:
    usual = {"http": 80, "https": 443}[target.scheme]
    return target.receiver.removesuffix(f":{usual}") if target.port == usual else target.receiver


def _read(response: httpx.Response) -> Answer:
    status = response.status_code
    if 200 <= status < 300:
        return Answer(status=status)
    error = f"it answered {status}" + ("; redirects are not followed" if 300 <= status < 400 else "")
    asked = response.headers.get("retry-after", "")
    seconds = int(asked) if asked.isascii() and asked.isdigit() and len(asked) <= _RETRY_AFTER_DIGITS else 0
    return Answer(status=status, error=error, retry_after_ms=seconds * 1000)


def _in_words(error: httpx.HTTPError) -> str:
    """Without what it sent: it may have sent anything."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"its certificate is not valid: {cause.verify_message}"
        if isinstance(cause, ssl.SSLError):
            return "it speaks no TLS that we understand"
        if isinstance(cause, ConnectionRefusedError):
            return "it refused the connection"
        cause = cause.__cause__ or cause.__context__
    words = {
        "ConnectError": "it cannot be reached",
        "RemoteProtocolError": "it closed the connection without an answer, or what it answered is not HTTP",
        "ReadError": "it broke the connection off",
        "WriteError": "it broke the connection off before it had everything",
    }
    return words.get(type(error).__name__, f"the request failed ({type(error).__name__})")


__all__ = ["HttpReceivers", "Resolve", "resolve"]
