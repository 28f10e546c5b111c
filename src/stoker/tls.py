"""The server's certificate, when it speaks TLS itself: read at the start, and again whenever its files are others.

Called by `server.py`. A renewed certificate is taken without a restart: connections that are open go on with the old one, the next
handshake gets the new one. A pair of files that does not fit together, as in the middle of a renewal, is left alone until it does.
"""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path
from typing import Final, Self

import structlog

from stoker.errors import InvalidInput

log = structlog.get_logger()

LOOK_EVERY_S: Final = 10.0
"""How often the files are looked at."""

Seen = tuple[tuple[int, int, int], ...]
"""Inode, size and time of change of each file."""


class Certificate:
    """A certificate with its key. `context` is for the listener and stays the same; what it hands out is the newest."""

    def __init__(self, certificate: Path, key: Path) -> None:
        """Blocks. Raises `InvalidInput` when the files are no certificate and its key."""
        self._files = (certificate, key)
        self._seen = self._look()
        self._newest = self._read()
        self._again = asyncio.Event()
        self.context = self._read()
        self.context.sni_callback = self._hand_out

    @classmethod
    async def load(cls, certificate: Path, key: Path) -> Self:
        """From these files. Raises as the constructor."""
        return await asyncio.to_thread(cls, certificate, key)

    def _hand_out(self, tls: ssl.SSLObject, _name: str | None, _context: ssl.SSLContext) -> None:
        """Called in each handshake, once the client has said hello."""
        tls.context = self._newest

    def look_now(self) -> None:
        """Do not wait with the next look."""
        self._again.set()

    async def follow(self) -> None:
        """Wait, and take the files if they are others. To be called for ever."""
        try:
            async with asyncio.timeout(LOOK_EVERY_S):
                await self._again.wait()
        except TimeoutError:
            pass
        self._again.clear()
        await asyncio.to_thread(self._take)

    def _take(self) -> None:
        seen = self._look()
        if seen == self._seen:
            return
        self._seen = seen
        try:
            self._newest = self._read()
        except InvalidInput as error:
            log.warning("certificate_not_taken", error=error.message)
        else:
            log.info("certificate_taken", file=str(self._files[0]))

    def _look(self) -> Seen:
        try:
            told = [file.stat() for file in self._files]
        except OSError:
            return ()  # `_read` says what is wrong
        return tuple((one.st_ino, one.st_size, one.st_mtime_ns) for one in told)

    def _read(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols(["http/1.1"])
        certificate, key = self._files
        try:
            context.load_cert_chain(certificate, key, password=_nobody_asks)
        except (OSError, ValueError) as error:
            raise InvalidInput(
                f"{certificate} and {key} are no certificate and its key: {error}",
                code="invalid_certificate",
                field="tls_certificate",
                next_step="name two PEM files: the certificate with those that vouch for it, and its key without a passphrase",
            ) from None
        return context


def _nobody_asks() -> str:
    """The passphrase of a key, which OpenSSL would ask the terminal for."""
    raise ValueError("the key has a passphrase")


__all__ = ["Certificate"]
