"""Kinds of values that settings have, and what is wrong with others."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, SecretStr


def _absolute(path: Path | None) -> Path | None:
    return None if path is None else path.absolute()


def _postgres(url: SecretStr | None) -> SecretStr | None:
    """A URL of the one kind that we speak. The message does not quote it: it holds a password."""
    if url and not url.get_secret_value().startswith(("postgresql://", "postgres://")):
        raise ValueError("it is neither empty nor a URL that begins with postgresql://")
    return url


def _address(text: str) -> str:
    if text:
        host, _, port = text.rpartition(":")
        if not host or not port.isascii() or not port.isdigit() or not 0 < int(port) < 65_536:
            raise ValueError("it is no address and port, as in 127.0.0.1:8701")
    return text


def _networks(text: str) -> str:
    for one in filter(None, text.replace(",", " ").split()):
        ipaddress.ip_network(one)  # its message names what is wrong
    return text


AbsolutePath = Annotated[Path, AfterValidator(Path.absolute)]
"""A path that means the same wherever the server goes."""
OptionalPath = Annotated[Path | None, AfterValidator(_absolute)]
"""The same, or nothing."""
DatabaseUrl = Annotated[SecretStr | None, AfterValidator(_postgres)]
"""`postgresql://USER:PASSWORD@HOST:PORT/NAME`, or nothing."""
Address = Annotated[str, AfterValidator(_address)]
"""`ADDRESS:PORT`, or empty."""
Networks = Annotated[str, AfterValidator(_networks)]
"""IP networks with commas or spaces between them."""
