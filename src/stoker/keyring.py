"""Which key seals the secrets of a database: made on the first start, checked on every other, rotated by a command.

Called by the server before it listens, and by `stoker secrets rotate`. What must stay true: a server that has not the key of its
database does not start; a key that may still be needed stays in the file.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path

from stoker.config import Settings
from stoker.errors import Conflict, InvalidInput
from stoker.store import Store
from stoker.store.sealed import SecretsKey
from stoker.vault.aes import AesVault, Keys, make_keys, new_key, write_keys


@dataclass(frozen=True, kw_only=True, slots=True)
class KeySource:
    """Where the keys are: a setting, or a file."""

    setting: str | None
    file: Path

    def read(self) -> str:
        """Their text. Blocks. Raises `OSError`."""
        return self.setting if self.setting is not None else self.file.read_text("ascii")


def key_source(settings: Settings) -> KeySource:
    """Where these settings say that the keys are."""
    chosen = settings.secrets_key.get_secret_value() if settings.secrets_key else None
    return KeySource(setting=chosen, file=settings.secrets_key_file or settings.data_dir / "secrets.key")


async def open_vault(store: Store, source: KeySource, now_ms: int) -> AesVault:
    """The vault of this database. On a fresh one it decides with which key, and makes the file if there is none.

    Raises `Conflict` (`secrets_key_mismatch`, `secrets_key_missing`), `InvalidInput` (`invalid_secrets_key`).
    """
    present = await store.sealed.key()
    keys = await asyncio.to_thread(_read, source, make=present is None)
    vault = AesVault(source.read, keys, seals=keys.names[0])
    if present is None:
        present = await store.sealed.claim(SecretsKey(id=vault.seals, proof=vault.proof(), since_ms=now_ms))
    vault.use(present.id, present.proof)
    return vault


def _read(source: KeySource, *, make: bool) -> Keys:
    """The keys. Blocks."""
    try:
        if make and source.setting is None:
            make_keys(source.file)
        return Keys.parse(source.read())
    except FileNotFoundError:
        raise Conflict(
            f"the key for the secrets in the database is missing: there is no file {source.file}",
            code="secrets_key_missing",
            field="secrets_key_file",
            next_step="bring the file back from a copy, or from another server on this database",
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(
            f"cannot read the key file {source.file}: {type(error).__name__}",
            code="invalid_secrets_key",
            field="secrets_key_file",
        ) from None


@dataclass(frozen=True, kw_only=True, slots=True)
class Rotation:
    """What a rotation did."""

    key: str
    """The name of the key that seals from now on."""
    resealed: int
    """Rows that were sealed anew."""


async def rotate(store: Store, source: KeySource, now_ms: int) -> Rotation:
    """Seal everything with another key: a new one in the file, or that of the setting which does not seal yet.

    Servers may run meanwhile. The key before stays in the file behind the new one, for what they seal with it until they look again,
    and for backups; those before it go. Repeating it after it was cut off finishes the work.
    """
    vault = await open_vault(store, source, now_ms)
    name = await asyncio.to_thread(_prepare, source, vault)
    vault.keys = Keys.parse(await asyncio.to_thread(source.read))
    proof = AesVault(source.read, vault.keys, seals=name).proof()
    await store.sealed.replace(SecretsKey(id=name, proof=proof, since_ms=now_ms))
    vault.use(name, proof)
    return Rotation(key=name, resealed=await store.sealed.reseal(vault.reseal))


def _prepare(source: KeySource, vault: AesVault) -> str:
    """The name of the key that shall seal; it is in the file when this returns. Blocks."""
    if source.setting is None:
        text = new_key() + "\n" + vault.keys.written(*_kept(vault))
        write_keys(source.file, text)
        return Keys.parse(text).names[0]
    others = [name for name in vault.keys.names if name != vault.seals]
    if not others:
        raise Conflict(
            "the setting secrets_key holds only the key that seals already",
            code="secrets_key_alone",
            field="secrets_key",
            next_step="put a second one behind it, with a comma, on every server; then repeat",
        )
    return others[0]


def _kept(vault: AesVault) -> list[str]:
    """The key that seals, first, and one more: a rotation that was cut off may have left rows with that."""
    others = [name for name in vault.keys.names if name != vault.seals]
    return [vault.seals, *others[:1]]


async def follow(store: Store, vault: AesVault) -> None:
    """Look whether another key seals by now, and use it. Raises `Conflict` when it is none of ours."""
    present = await store.sealed.key()
    if present is not None and present.id != vault.seals:
        await vault.refresh()
        vault.use(present.id, present.proof)
