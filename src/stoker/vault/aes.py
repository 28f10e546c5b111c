"""The vault: AES-256-GCM, with keys from a file or a setting, never from the database.

What is sealed reads `v1:KEY:DATA`: the name of the key, and nonce and ciphertext in base64. The name is a part of a hash of the
key, so that it tells which key is needed and nothing about it. One key seals: the one that the database names. Others open, so that
keys can be rotated while servers run. A server that meets a key which it does not know looks at the file again before it gives up.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import os
import secrets
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, Self

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from stoker.errors import Conflict, InvalidInput, Unavailable

KEY_BYTES: Final = 32
NONCE_BYTES: Final = 12
"""Random for each secret: 2 to the power 32 of them can be sealed with one key before one may come twice."""
PROOF: Final = "the key of this database"
PROOF_CONTEXT: Final = "proof"

Source = Callable[[], str]
"""Reads the text with the keys; blocks. Raises `OSError`."""


def new_key() -> str:
    """A key as it is written: 32 random bytes in base64."""
    return base64.urlsafe_b64encode(os.urandom(KEY_BYTES)).decode()


class Keys:
    """Keys by name, in the order in which they are written."""

    def __init__(self, keys: Mapping[str, bytes]) -> None:
        self._keys = keys
        self._ciphers = {name: AESGCM(key) for name, key in keys.items()}

    @classmethod
    def parse(cls, text: str) -> Self:
        """From words between blanks, line breaks or commas. Raises `InvalidInput`, which quotes nothing."""
        keys = {}
        for word in text.replace(",", " ").split():
            try:
                key = base64.b64decode(word.replace("-", "+").replace("_", "/"), validate=True)
            except (binascii.Error, ValueError):
                raise _no_good() from None
            if len(key) != KEY_BYTES:
                raise _no_good()
            keys[hashlib.sha256(b"stoker secrets key " + key).hexdigest()[:12]] = key
        if not keys:
            raise _no_good()
        return cls(keys)

    @property
    def names(self) -> list[str]:
        """Of all keys."""
        return list(self._keys)

    def written(self, *names: str) -> str:
        """The keys of these names, as they are read."""
        return "".join(base64.urlsafe_b64encode(self._keys[name]).decode() + "\n" for name in names)

    def seal(self, name: str, plain: str, context: str) -> str:
        """With the key of that name."""
        nonce = os.urandom(NONCE_BYTES)
        data = nonce + self._ciphers[name].encrypt(nonce, plain.encode("utf-8", "surrogatepass"), context.encode())
        return f"v1:{name}:{base64.urlsafe_b64encode(data).decode()}"

    def open(self, sealed: str, context: str) -> str:
        """With the key that it names. Raises `KeyError` for an unknown key, `Unavailable` when it is damaged."""
        _form, name, data = _parts(sealed)
        cipher = self._ciphers[name]
        try:
            raw = base64.b64decode(data, altchars=b"-_", validate=True)
            plain = cipher.decrypt(raw[:NONCE_BYTES], raw[NONCE_BYTES:], context.encode())
        except (InvalidTag, binascii.Error, ValueError):
            raise Unavailable("a secret in the database is damaged", code="secret_damaged") from None
        return plain.decode("utf-8", "surrogatepass")


def _parts(sealed: str) -> tuple[str, str, str]:
    form, _, rest = sealed.partition(":")
    name, _, data = rest.partition(":")
    if form != "v1":
        raise Unavailable("a secret in the database is of a newer Stoker", code="secret_damaged")
    return form, name, data


class AesVault:
    """`Vault`."""

    def __init__(self, source: Source, keys: Keys, seals: str) -> None:
        self._source = source
        self.keys = keys
        self._seals = seals

    @property
    def seals(self) -> str:
        """The name of the key that seals."""
        return self._seals

    def proof(self) -> str:
        """Something to be stored, which only who has the key can open."""
        return self.seal(PROOF, PROOF_CONTEXT)

    def use(self, name: str, proof: str) -> None:
        """Seal with the key of that name from now on. Raises `Conflict` when it is none of ours."""
        try:
            fits = self.keys.open(proof, PROOF_CONTEXT) == PROOF
        except (KeyError, Unavailable):
            fits = False
        if not fits:
            raise Conflict(
                f"the secrets in the database are sealed with the key {name}, which this server does not have",
                code="secrets_key_mismatch",
                field="secrets_key",
                next_step="give it the key file of the server that made the database, or of another one on it "
                "(settings secrets_key_file and secrets_key)",
            )
        self._seals = name

    def seal(self, plain: str, context: str) -> str:
        """With the key that the database names."""
        return self.keys.seal(self._seals, plain, context)

    async def open(self, sealed: str, context: str) -> str:
        """With the key that sealed it, which may be in the file only since a moment."""
        try:
            return self.keys.open(sealed, context)
        except KeyError:
            await self.refresh()
        try:
            return self.keys.open(sealed, context)
        except KeyError:
            raise Unavailable(
                "a secret is sealed with a key that this server does not have", code="secrets_key_unknown"
            ) from None

    async def refresh(self) -> None:
        """Read the keys again. Those that cannot be read stay as they were."""
        try:
            self.keys = Keys.parse(await asyncio.to_thread(self._source))
        except (OSError, InvalidInput):
            return

    def reseal(self, sealed: str, context: str) -> str:
        """The same secret under the key that seals now; what that key has sealed stays. Raises `Unavailable`."""
        if _parts(sealed)[1] == self._seals:
            return sealed
        try:
            return self.seal(self.keys.open(sealed, context), context)
        except KeyError:
            raise Unavailable(
                "a secret is sealed with a key that is not in the file", code="secrets_key_unknown"
            ) from None


def write_keys(file: Path, text: str) -> None:
    """Replace the file, for its owner's eyes only; whoever reads meanwhile sees the old or the new. Blocks."""
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    fresh = file.with_name(f".{file.name}.{secrets.token_hex(4)}")
    handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        os.write(handle, text.encode())
        os.fsync(handle)
    finally:
        os.close(handle)
    os.replace(fresh, file)


def make_keys(file: Path) -> None:
    """A file with a new key, unless there is one: of several that try, one makes it. Blocks."""
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    fresh = file.with_name(f".{file.name}.{secrets.token_hex(4)}")
    write_keys(fresh, new_key() + "\n")
    try:
        os.link(fresh, file)
    except FileExistsError:
        pass
    finally:
        fresh.unlink()


def _no_good() -> InvalidInput:
    return InvalidInput(
        "a key for secrets must be 32 bytes in base64",
        code="invalid_secrets_key",
        field="secrets_key",
        next_step="make one: head -c 32 /dev/urandom | base64",
    )


__all__ = ["AesVault", "Keys", "make_keys", "new_key", "write_keys"]
