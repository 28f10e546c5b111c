"""Who may do what: scopes include one another, and a revoked key allows nothing."""

from __future__ import annotations

from dataclasses import replace

import pytest

from stoker.errors import Forbidden, InvalidInput
from stoker.ids import KeyId, TeamId
from stoker.team import ApiKey, Scope, parse_scopes

INCLUDES = """
        read  run  manage  admin
read    yes   -    -       -
run     yes   yes  -       -
manage  yes   yes  yes     -
admin   yes   yes  yes     yes
"""
"""Which scope (row) allows what (column)."""

HEAD, *ROWS = [line.split() for line in INCLUDES.strip().splitlines()]
CELLS = [(row[0], wanted, word == "yes") for row in ROWS for wanted, word in zip(HEAD, row[1:], strict=True)]


def key(*scopes: Scope) -> ApiKey:
    """A key that is not revoked."""
    return ApiKey(
        id=KeyId("key-1"),
        team=TeamId("team-1"),
        name="laptop",
        scopes=frozenset(scopes),
        secret_hash="hash",
        created_ms=1_000,
    )


@pytest.mark.parametrize(("held", "wanted", "allowed"), CELLS)
def test_scopes(held: str, wanted: str, allowed: bool) -> None:
    """Each scope allows what the table above states, and says what is missing otherwise."""
    one = key(Scope(held))
    assert one.allows(Scope(wanted)) is allowed
    if allowed:
        one.require(Scope(wanted))
    else:
        with pytest.raises(Forbidden, match=f"lacks the scope '{wanted}'") as caught:
            one.require(Scope(wanted))
        assert caught.value.code == "scope_missing"
        assert f"--scope {wanted}" in (caught.value.next_step or "")


def test_table_is_complete() -> None:
    """A new scope must be stated in the table."""
    assert [row[0] for row in ROWS] == HEAD == list(Scope)


def test_scopes_add_up() -> None:
    """A key with two scopes allows what either allows; one without scopes allows nothing."""
    assert key(Scope.READ, Scope.MANAGE).allows(Scope.RUN)
    assert not any(key().allows(scope) for scope in Scope)


@pytest.mark.parametrize("scope", Scope)
def test_a_revoked_key_allows_nothing(scope: Scope) -> None:
    """Revoking ends every scope, admin included."""
    assert not replace(key(Scope.ADMIN), revoked_ms=2_000).allows(scope)


def test_words_for_scopes() -> None:
    """Scopes are read from their words; saying one twice is saying it."""
    assert parse_scopes(["run", "manage", "run"]) == {Scope.RUN, Scope.MANAGE}


@pytest.mark.parametrize("words", [[], ["root"], ["read", "READ"], [""]])
def test_other_words_are_refused(words: list[str]) -> None:
    """A key without a scope, or with one that does not exist, is not made."""
    with pytest.raises(InvalidInput) as caught:
        parse_scopes(words)
    assert caught.value.field == "scopes"
