"""Which key seals a database's secrets: made once, checked on every start, rotated while servers run."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from stoker import keyring
from stoker.config import Settings
from stoker.errors import Conflict, InvalidInput, StokerError
from stoker.keyring import KeySource, key_source, open_vault, rotate
from stoker.store import Store
from stoker.store.sqlite import MEMORY, SqliteStore
from stoker.vault.aes import new_key
from tests.store.records import NOW, TEAM, furnish
from tests.store.test_configured import LINE, a_credential


@pytest.fixture
async def store() -> AsyncIterator[Store]:
    """A database that no server has used yet."""
    store = await SqliteStore.open(MEMORY)
    await furnish(store)
    yield store
    await store.close()


@pytest.fixture
def source(tmp_path: Path) -> KeySource:
    """A file that is not there yet."""
    return KeySource(setting=None, file=tmp_path / "secrets.key")


def given(*keys: str) -> KeySource:
    """Keys in a setting."""
    return KeySource(setting=",".join(keys), file=Path("/nowhere"))


async def refused(store: Store, source: KeySource) -> str:
    """With which code a start is refused."""
    with pytest.raises(StokerError) as caught:
        await open_vault(store, source, NOW)
    assert caught.value.next_step or isinstance(caught.value, InvalidInput)
    return caught.value.code


def test_where_keys_are(tmp_path: Path) -> None:
    """In the setting, else in the file that a setting names, else in the data directory."""
    values: dict[str, Any] = {"data_dir": tmp_path}
    assert key_source(Settings(**values)) == KeySource(setting=None, file=tmp_path / "secrets.key")
    assert key_source(Settings(**values, secrets_key_file=Path("/k"))) == KeySource(setting=None, file=Path("/k"))
    assert key_source(Settings(**values, secrets_key=SecretStr(new_key()))).setting is not None


async def test_first_start_makes_the_key(store: Store, source: KeySource) -> None:
    """The first start makes a file and names its key in the database; later ones use it."""
    first = await open_vault(store, source, NOW)
    again = await open_vault(store, source, NOW + 1)
    assert await again.open(first.seal("secret", "x"), "x") == "secret"
    present = await store.sealed.key()
    assert present is not None
    assert (present.id, present.since_ms) == (first.seals, NOW)


async def test_wrong_key_is_refused(store: Store, source: KeySource) -> None:
    """A server that has another key than its database, or none, does not start, and makes no file."""
    await open_vault(store, given(new_key()), NOW)
    assert await refused(store, source) == "secrets_key_missing"
    assert not source.file.exists()
    assert await refused(store, given(new_key())) == "secrets_key_mismatch"
    assert await refused(store, given("short")) == "invalid_secrets_key"
    source.file.write_bytes(b"\xff")
    assert await refused(store, source) == "invalid_secrets_key"


async def sealed_password(store: Store, source: KeySource) -> str:
    """A password in the database, as it was sealed."""
    vault = await open_vault(store, source, NOW)
    password = vault.seal("secret", TEAM)
    await store.credentials.add(a_credential(password=password), LINE)
    return password


async def stored(store: Store) -> str:
    """That password as it is sealed now."""
    (credential,) = await store.credentials.of_team(TEAM)
    return credential.password


async def test_rotation_of_a_file(store: Store, source: KeySource) -> None:
    """Everything is sealed with a new key; servers that run go on, learn of it, and the old key alone is of no more use."""
    before = await sealed_password(store, source)
    running = await open_vault(store, source, NOW)
    old_file = source.file.read_text()
    rotation = await rotate(store, source, NOW + 1)
    assert rotation.resealed == 1
    assert await stored(store) != before
    assert await running.open(await stored(store), TEAM) == "secret"
    sealed_late = running.seal("late", TEAM)
    await keyring.follow(store, running)
    assert running.seals == rotation.key
    assert await running.open(sealed_late, TEAM) == "late"
    source.file.write_text(old_file)
    assert await refused(store, source) == "secrets_key_mismatch"


async def test_rotations_follow_each_other(store: Store, source: KeySource) -> None:
    """After several rotations secrets still open, and the file does not grow for ever."""
    await sealed_password(store, source)
    for number in range(5):
        await rotate(store, source, NOW + number)
    vault = await open_vault(store, source, NOW)
    assert await vault.open(await stored(store), TEAM) == "secret"
    assert len(vault.keys.names) <= 3


async def test_rotation_that_was_cut_off_is_repeated(store: Store, source: KeySource) -> None:
    """A rotation that ended after the new key was written, or before everything was sealed, loses nothing."""
    before = await sealed_password(store, source)
    vault = await open_vault(store, source, NOW)
    await asyncio.to_thread(keyring._prepare, source, vault)  # and then the power failed
    assert await (await open_vault(store, source, NOW)).open(before, TEAM) == "secret"
    await rotate(store, source, NOW + 1)
    assert await (await open_vault(store, source, NOW)).open(await stored(store), TEAM) == "secret"


async def test_rotation_of_a_setting(store: Store) -> None:
    """With keys in a setting the other one seals from then on; with one key there is nothing to rotate to."""
    one, two = new_key(), new_key()
    before = await sealed_password(store, given(one))
    with pytest.raises(Conflict) as caught:
        await rotate(store, given(one), NOW)
    assert caught.value.code == "secrets_key_alone"
    await rotate(store, given(one, two), NOW)
    assert await stored(store) != before
    vault = await open_vault(store, given(two), NOW)
    assert await vault.open(await stored(store), TEAM) == "secret"
    assert await refused(store, given(one)) == "secrets_key_mismatch"
