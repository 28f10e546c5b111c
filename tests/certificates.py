"""Certificates that a test makes for itself."""

from __future__ import annotations

import datetime
import ipaddress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

DAY: Final = datetime.timedelta(days=1)


@dataclass(frozen=True)
class Pair:
    """The PEM files of a certificate that vouches for itself, valid for `127.0.0.1` and `localhost`, and of its key."""

    certificate: Path
    key: Path

    def renew(self) -> int:
        """Write another certificate and its key into the files, one after the other; its number."""
        number, certificate, key = make()
        self.certificate.write_bytes(certificate)
        self.key.write_bytes(key)
        return number


def pair(folder: Path) -> Pair:
    """A new one."""
    folder.mkdir(parents=True, exist_ok=True)
    made = Pair(folder / "certificate.pem", folder / "key.pem")
    made.renew()
    return made


def make() -> tuple[int, bytes, bytes]:
    """Number, certificate and key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "stoker.test")])
    names = x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    now = datetime.datetime.now(datetime.UTC)
    number = x509.random_serial_number()
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), number, now - DAY, now + DAY)
        .add_extension(names, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    plain = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return number, certificate.public_bytes(Encoding.PEM), plain
