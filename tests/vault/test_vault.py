"""The vault: what is sealed opens again, for who has the key and in its own context only."""

from __future__ import annotations

import base64
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stoker.errors import Conflict, InvalidInput, Unavailable
from stoker.vault import NO_VAULT
from stoker.vault.aes import AesVault, Keys, make_keys, new_key, write_keys

ONE, OTHER = (base64.urlsafe_b64encode(bytes([number]) * 32).decode() for number in (1, 2))


def vault(*keys: str) -> AesVault:
    """With these keys, the first of which seals."""
    text = ",".join(keys or (ONE,))
    found = Keys.parse(text)
    return AesVault(lambda: text, found, seals=found.names[0])


@given(secret=st.text(), context=st.text(alphabet=st.characters(codec="utf-8"), max_size=20))
async def test_what_is_sealed_opens(secret: str, context: str) -> None:
    """Any text comes back as it was; what is stored is plain ASCII and never the same twice."""
    one = vault()
    sealed = one.seal(secret, context)
    assert await one.open(sealed, context) == secret
    assert sealed.isascii()
    assert " " not in sealed
    assert sealed != one.seal(secret, context)


async def test_opens_in_its_context_only() -> None:
    """What was sealed for one team is of no use to another."""
    with pytest.raises(Unavailable) as caught:
        await vault().open(vault().seal("secret", "team-one"), "team-two")
    assert caught.value.code == "secret_damaged"


@pytest.mark.parametrize("place", [0, 5, 20, -1])
async def test_what_was_tampered_with_does_not_open(place: int) -> None:
    """A changed character anywhere is noticed; the message says nothing of the secret."""
    sealed = vault().seal("the secret", "x")
    changed = list(sealed)
    changed[place] = "A" if changed[place] != "A" else "B"
    with pytest.raises(Unavailable) as caught:
        await vault().open("".join(changed), "x")
    assert "secret" not in caught.value.message.replace("a secret", "")


async def test_needs_the_key() -> None:
    """Without its key nothing opens; a second key opens what it sealed."""
    sealed = vault(ONE).seal("secret", "x")
    with pytest.raises(Unavailable) as caught:
        await vault(OTHER).open(sealed, "x")
    assert caught.value.code == "secrets_key_unknown"
    assert await vault(OTHER, ONE).open(sealed, "x") == "secret"


async def test_key_that_came_later_is_found() -> None:
    """A vault that meets a key which it does not know reads its file again: another server may have rotated."""
    texts = [ONE, f"{OTHER},{ONE}"]
    found = Keys.parse(texts[0])
    behind = AesVault(lambda: texts[-1], found, seals=found.names[0])
    assert await behind.open(vault(OTHER).seal("secret", "x"), "x") == "secret"


async def test_sealing_anew() -> None:
    """The same secret under the key that seals; what that one sealed stays as it is."""
    sealed = vault(ONE).seal("secret", "x")
    both = vault(OTHER, ONE)
    again = both.reseal(sealed, "x")
    assert again != sealed
    assert both.reseal(again, "x") == again
    assert await vault(OTHER).open(again, "x") == "secret"


def test_proof_tells_the_right_key() -> None:
    """A database's proof is accepted with its key and refused with another, and with a forged one."""
    one = vault(ONE)
    vault(OTHER, ONE).use(one.seals, one.proof())
    for proof in (vault(OTHER).proof(), one.proof()[:-4], "v1:x:y", ""):
        with pytest.raises(Conflict) as caught:
            vault(ONE).use(one.seals, proof)
        assert caught.value.code == "secrets_key_mismatch"


@pytest.mark.parametrize("text", ["", "  ", "short", base64.b64encode(bytes(31)).decode(), ONE + "!", f"{ONE},x"])
def test_what_is_no_key(text: str) -> None:
    """A key is 32 bytes in base64; the refusal quotes nothing of what was given."""
    with pytest.raises(InvalidInput) as caught:
        Keys.parse(text)
    assert caught.value.code == "invalid_secrets_key"
    assert ONE not in str(caught.value)


def test_keys_are_read_in_any_form() -> None:
    """Both alphabets of base64, separated by blanks, lines or commas."""
    raw = [bytes([255]) * 32, bytes([251]) * 32]
    standard, url = base64.b64encode(raw[0]).decode(), base64.urlsafe_b64encode(raw[1]).decode()
    assert Keys.parse(f"{standard}\n{url}\n").names == Keys.parse(f" {standard}, {url}").names
    assert len(set(Keys.parse(f"{standard} {url}").names)) == 2


def test_file_is_for_its_owner(tmp_path: Path) -> None:
    """A key file is made once, with mode 600, however many try at once; replacing it keeps the mode."""
    assert new_key() != new_key()
    file = tmp_path / "new" / "secrets.key"
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _number: make_keys(file), range(8)))
    first = file.read_text()
    make_keys(file)
    assert file.read_text() == first
    assert len(Keys.parse(first).names) == 1
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    write_keys(file, f"{OTHER}\n{first}")
    assert len(Keys.parse(file.read_text()).names) == 2
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [one.name for one in file.parent.iterdir()] == ["secrets.key"]


async def test_without_a_vault_nothing_is_sealed() -> None:
    """A program without a key refuses, instead of storing a secret as it is."""
    with pytest.raises(Unavailable):
        NO_VAULT.seal("secret", "x")
    with pytest.raises(Unavailable):
        await NO_VAULT.open("v1:x:y", "x")
