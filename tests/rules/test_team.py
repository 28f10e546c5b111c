"""Who may do what: scopes include one another, roles bound them, and a key that is over opens nothing."""

from __future__ import annotations

from dataclasses import replace

import pytest

from stoker.errors import Forbidden, InvalidInput, Unauthenticated
from stoker.ids import EndpointId, KeyId, MemberId, TeamId
from stoker.team import ApiKey, Role, Scope, parse_role, parse_scopes

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


def key(*scopes: Scope, role: Role = Role.OWNER) -> ApiKey:
    """A key that is not revoked."""
    return ApiKey(
        id=KeyId("key-1"),
        team=TeamId("team-1"),
        member=MemberId("mem-1"),
        role=role,
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


OF_ROLES = """
           read  run  manage  admin
reader     yes   -    -       -
developer  yes   yes  yes     -
admin      yes   yes  yes     yes
owner      yes   yes  yes     yes
"""
"""What a key with all scopes may do when its member has the role (row)."""

_, *ROLE_ROWS = [line.split() for line in OF_ROLES.strip().splitlines()]
ROLE_CELLS = [(row[0], wanted, word == "yes") for row in ROLE_ROWS for wanted, word in zip(HEAD, row[1:], strict=True)]


@pytest.mark.parametrize(("role", "wanted", "allowed"), ROLE_CELLS)
def test_roles_bound_scopes(role: str, wanted: str, allowed: bool) -> None:
    """A key does what both its scopes and the role of its member allow."""
    one = key(Scope.ADMIN, role=Role(role))
    assert one.allows(Scope(wanted)) is allowed
    if not allowed:
        with pytest.raises(Forbidden, match=f"the role '{role}'"):
            one.require(Scope(wanted))


def test_roles_are_complete_and_ordered() -> None:
    """A new role must be stated in the table; each covers itself and those before it."""
    assert [row[0] for row in ROLE_ROWS] == list(Role)
    for place, role in enumerate(Role):
        assert [role.covers(other) for other in Role] == [number <= place for number in range(len(Role))]


def test_words_for_roles() -> None:
    """Roles are read from their words, and nothing else is."""
    assert parse_role("developer") is Role.DEVELOPER
    with pytest.raises(InvalidInput) as caught:
        parse_role("root")
    assert caught.value.field == "role"


def test_reach() -> None:
    """A key reaches all endpoints, or those that it names; with names it is no key for the whole team."""
    one, other = EndpointId("one"), EndpointId("other")
    everywhere, limited = key(Scope.ADMIN), replace(key(Scope.ADMIN), endpoints=frozenset({one}))
    assert everywhere.reaches(one)
    assert limited.reaches(one)
    assert not limited.reaches(other)
    everywhere.require_whole_team()
    with pytest.raises(Forbidden) as caught:
        limited.require_whole_team()
    assert caught.value.code == "key_limited"


@pytest.mark.parametrize(
    ("change", "secret", "code"),
    [
        ({}, "hash", None),
        ({"expires_ms": 5_001}, "hash", None),
        ({"expires_ms": 5_000}, "hash", "key_expired"),
        ({"revoked_ms": 4_000}, "hash", "unauthenticated"),
        ({"old_hash": "old", "old_until_ms": 5_001}, "old", None),
        ({"old_hash": "old", "old_until_ms": 5_001}, "hash", None),
        ({"old_hash": "old", "old_until_ms": 5_000}, "old", "key_rotated"),
        ({"old_hash": "old", "old_until_ms": 9_000, "expires_ms": 5_000}, "old", "key_expired"),
        ({"old_hash": "old", "old_until_ms": 9_000, "revoked_ms": 1}, "old", "unauthenticated"),
    ],
)
def test_what_opens_a_key(change: dict[str, object], secret: str, code: str | None) -> None:
    """Its secret until it expires or is revoked, and the secret before the rotation until the grace is over."""
    one = replace(key(Scope.READ), **change)  # type: ignore[arg-type] # fields by name
    if code is None:
        one.check_opens(secret, 5_000)
        return
    with pytest.raises(Unauthenticated) as caught:
        one.check_opens(secret, 5_000)
    assert caught.value.code == code
