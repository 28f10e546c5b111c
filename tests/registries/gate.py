"""What stands before registries: a token service, as hubs have one, and a hub that lets nobody pull any more today."""

from __future__ import annotations

import base64
import datetime
import json
import secrets
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.x509.oid import NameOID

ISSUER: Final = "tests"
SERVICE: Final = "registry of the tests"


class TokenService:
    """Gives tokens to one user, signed with a key whose certificate the registry knows."""

    def __init__(self, folder: Path, user: str, password: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._login = (user, password)
        self._key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self._certificate = self._sign_certificate()
        self._bundle = folder / "token.pem"
        self._bundle.write_bytes(self._certificate.public_bytes(serialization.Encoding.PEM))
        self.asked: list[str] = []
        """The scopes that were asked for."""
        self.url = ""

    @property
    def settings(self) -> str:
        """Settings of a registry that believes its tokens."""
        words = {
            "realm": f"{self.url}/token",
            "service": SERVICE,
            "issuer": ISSUER,
            "rootcertbundle": str(self._bundle),
        }
        return "auth:\n  token:\n" + "".join(f"    {name}: {value}\n" for name, value in words.items())

    def _sign_certificate(self) -> x509.Certificate:
        name, now = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, ISSUER)]), datetime.datetime.now(datetime.UTC)
        builder = x509.CertificateBuilder(name, name, self._key.public_key(), x509.random_serial_number())
        day = datetime.timedelta(days=1)
        return builder.not_valid_before(now - day).not_valid_after(now + day).sign(self._key, hashes.SHA256())

    def answer(self, path: str, header: str) -> tuple[int, Mapping[str, Any]]:
        """A token for the right login, a refusal for another."""
        asked = parse_qs(urlsplit(path).query)
        user, _, password = base64.b64decode(header.removeprefix("Basic ")).decode().partition(":")
        if (user, password) != self._login:
            return 401, {"errors": [{"code": "UNAUTHORIZED", "message": "incorrect username or password"}]}
        self.asked += asked.get("scope", [])
        return 200, {"token": self._token(asked.get("scope", []))}

    def _token(self, scopes: list[str]) -> str:
        """A token as registries want it: the certificate in the head, what is allowed in the claims."""
        now_s = int(datetime.datetime.now(datetime.UTC).timestamp())
        claims: dict[str, Any] = {"iss": ISSUER, "sub": self._login[0], "aud": SERVICE, "exp": now_s + 300}
        claims |= {
            "nbf": now_s - 10,
            "iat": now_s,
            "jti": secrets.token_hex(8),
            "access": [_access(one) for one in scopes],
        }
        der = base64.b64encode(self._certificate.public_bytes(serialization.Encoding.DER)).decode()
        head = {"typ": "JWT", "alg": "RS256", "x5c": [der]}
        signed = f"{_encoded(json.dumps(head).encode())}.{_encoded(json.dumps(claims).encode())}"
        return f"{signed}.{_encoded(self._key.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256()))}"


def _access(scope: str) -> dict[str, Any]:
    kind, name, actions = scope.split(":")
    return {"type": kind, "name": name, "actions": actions.split(",")}


def _encoded(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


@contextmanager
def served(answer: Any) -> Iterator[str]:
    """Answer requests to a port of this machine by path and Authorization header; its URL."""

    class Asked(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, body = answer(self.path, self.headers.get("Authorization", ""))
            content = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_HEAD = do_GET

        def log_message(self, *_words: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Asked)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


def no_more_today(path: str, _header: str) -> tuple[int, Mapping[str, Any]]:
    """Answers as Docker Hub does to those who have pulled too much."""
    if path == "/v2/":
        return 200, {}
    message = "You have reached your pull rate limit. You may increase the limit by authenticating and upgrading."
    return 429, {"errors": [{"code": "TOOMANYREQUESTS", "message": message}]}
