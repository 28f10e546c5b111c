"""Teams, members and keys."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from stoker.audit import Action, Actor, AuditLine, Kind
from stoker.errors import Conflict, NotFound, StokerError
from stoker.ids import EndpointId, KeyId, MemberId, TeamId
from stoker.store import Store
from stoker.team import Role, Scope
from tests.store.records import NOW, OTHER_TEAM, TEAM, a_key, a_member, a_team

LINE = AuditLine(
    at_ms=NOW,
    by=Actor(team=TEAM, member=MemberId("mem-first"), key=KeyId("key-first")),
    action=Action.CHANGED,
    kind=Kind.MEMBER,
    thing="mem-second",
    name="second",
    before={"role": "reader"},
    after={"role": "owner", "env": {"NAME": "naïve ✓"}},
)


async def written(store: Store) -> int:
    """How many lines the audit log of the first team has."""
    return len(await store.audit.lines(TEAM))


async def test_fresh_database_has_no_team(blank: Store) -> None:
    """A fresh database has no team; the first stays the first."""
    assert await blank.teams.first() is None
    await blank.teams.add(a_team(), a_member(), a_key())
    second = a_member("second", team=OTHER_TEAM)
    await blank.teams.add(a_team(OTHER_TEAM), second, a_key("second", team=OTHER_TEAM, member=second.id))
    assert await blank.teams.first() == a_team()


async def test_team_and_key_are_read_back(store: Store) -> None:
    """A team, its members and its keys are read with every value they were given."""
    assert await store.teams.get(TEAM) == a_team()
    assert await store.teams.get(TeamId("nobody")) is None
    assert await store.teams.members(TEAM) == [a_member()]
    assert await store.teams.key(a_key().secret_hash) == a_key()
    assert await store.teams.key("nothing") is None


async def test_team_without_its_key(store: Store) -> None:
    """A team whose first key cannot be stored is not stored either."""
    team = TeamId("team-new")
    with pytest.raises(StokerError):
        await store.teams.add(a_team(team), a_member("new", team=team), a_key(team=team))
    assert await store.teams.get(team) is None


async def test_renaming_a_team(store: Store) -> None:
    """A team has its new name, and its line is written with it."""
    await store.teams.rename(replace(a_team(), name="new"), LINE)
    assert await store.teams.get(TEAM) == replace(a_team(), name="new")
    assert await written(store) == 1


# ── members ───────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_members_change(store: Store) -> None:
    """A member is added, changed and removed, with a line each; who is removed keeps the name for those who ask later."""
    member = a_member("second", role=Role.READER)
    await store.teams.add_member(member, LINE)
    other = replace(member, name="third", role=Role.DEVELOPER)
    await store.teams.update_member(other, LINE)
    assert await store.teams.members(TEAM) == [a_member(), other]
    gone = replace(other, removed_ms=NOW + 5)
    await store.teams.update_member(gone, LINE)
    assert await store.teams.members(TEAM) == [a_member(), gone]
    with pytest.raises(NotFound):
        await store.teams.update_member(replace(gone, removed_ms=None), LINE)
    assert await written(store) == 3


async def test_names_of_members_are_unique(store: Store) -> None:
    """Two members of a team have two names; that of a removed one is free, and other teams do not matter."""
    with pytest.raises(Conflict) as caught:
        await store.teams.add_member(a_member("again", name="first"), LINE)
    assert caught.value.code == "name_taken"
    await store.teams.add_member(a_member("same", name="foreign"), LINE)
    await store.teams.update_member(replace(a_member("same", name="foreign"), removed_ms=NOW), LINE)
    await store.teams.add_member(a_member("heir", name="foreign"), LINE)
    assert await written(store) == 3


@pytest.mark.parametrize("change", [{"role": Role.ADMIN}, {"removed_ms": NOW}])
async def test_last_owner_stays(store: Store, change: dict[str, object]) -> None:
    """A team always has an owner, and what was refused leaves no line; with another owner it is possible."""
    after = replace(a_member(), **change)  # type: ignore[arg-type] # fields by name
    await store.teams.add_member(a_member("admin", role=Role.ADMIN), LINE)
    with pytest.raises(Conflict) as caught:
        await store.teams.update_member(after, LINE)
    assert caught.value.code == "last_owner"
    assert await written(store) == 1
    await store.teams.add_member(a_member("second"), LINE)
    await store.teams.update_member(after, LINE)


async def test_two_owners_who_leave_at_once(store: Store) -> None:
    """Of the last two owners only one can go, however close together they ask."""
    second = a_member("second")
    await store.teams.add_member(second, LINE)
    gone = [replace(one, removed_ms=NOW) for one in (a_member(), second)]
    outcomes = await asyncio.gather(*(store.teams.update_member(one, LINE) for one in gone), return_exceptions=True)
    assert [type(one) for one in outcomes if one is not None] == [Conflict]


async def test_keys_go_with_their_member(store: Store) -> None:
    """Who is removed loses all keys, and can be given no new one; keys of others stay."""
    member = a_member("second")
    await store.teams.add_member(member, LINE)
    await store.teams.add_key(a_key("theirs", member=member.id))
    await store.teams.update_member(replace(member, removed_ms=NOW + 7), LINE)
    mine, theirs = await store.teams.keys(TEAM)
    assert (mine.revoked_ms, theirs.revoked_ms) == (None, NOW + 7)
    with pytest.raises(NotFound):
        await store.teams.add_key(a_key("late", member=member.id))


async def test_key_has_the_role_of_its_member(store: Store) -> None:
    """What a key may do follows its member's role as it is now."""
    member = a_member("second", role=Role.ADMIN)
    await store.teams.add_member(member, LINE)
    key = a_key("theirs", member=member.id, role=Role.ADMIN)
    await store.teams.add_key(key)
    assert await store.teams.key(key.secret_hash) == key
    await store.teams.update_member(replace(member, role=Role.READER), LINE)
    assert await store.teams.key(key.secret_hash) == replace(key, role=Role.READER)


# ── keys ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_keys_of_a_team(store: Store) -> None:
    """A team's keys are listed oldest first, with everything about them, and without those of others."""
    key = a_key(
        "second",
        scopes=frozenset(Scope),
        endpoints=frozenset({EndpointId("one"), EndpointId("two")}),
        expires_ms=NOW + 1,
        used_ms=NOW + 2,
        old_hash="old",
        old_until_ms=NOW + 3,
    )
    await store.teams.add_key(key)
    assert await store.teams.keys(TEAM) == [a_key(), key]
    assert [one.name for one in await store.teams.keys(OTHER_TEAM)] == ["foreign"]


async def test_revoking(store: Store) -> None:
    """A revoked key stays known with the moment of its first revocation; revoking again is no error."""
    key = a_key()
    await store.teams.revoke_key(TEAM, key.id, NOW + 1)
    await store.teams.revoke_key(TEAM, key.id, NOW + 2)
    found = await store.teams.key(key.secret_hash)
    assert found is not None
    assert found.revoked_ms == NOW + 1
    assert not found.allows(Scope.READ)


@pytest.mark.parametrize(("team", "key"), [(OTHER_TEAM, a_key().id), (TEAM, KeyId("nobody"))])
async def test_revoking_what_is_not_ours(store: Store, team: TeamId, key: KeyId) -> None:
    """Another team's key, or none, cannot be revoked."""
    with pytest.raises(NotFound):
        await store.teams.revoke_key(team, key, NOW)
    found = await store.teams.key(a_key().secret_hash)
    assert found is not None
    assert found.revoked_ms is None


@pytest.mark.parametrize(
    ("other", "possible"),
    [
        ({}, True),
        ({"scopes": frozenset({Scope.MANAGE})}, False),
        ({"revoked_ms": NOW}, False),
        ({"expires_ms": NOW}, False),
        ({"expires_ms": NOW + 1}, True),
        ({"endpoints": frozenset({EndpointId("one")})}, False),
        ({"member": MemberId("mem-developer")}, False),
    ],
)
async def test_last_admin_key_stays(store: Store, other: dict[str, object], possible: bool) -> None:
    """A key that manages keys is revoked only while another one does, now and for the whole team."""
    await store.teams.add_member(a_member("developer", role=Role.DEVELOPER), LINE)
    await store.teams.add_key(a_key("admin", scopes=frozenset({Scope.ADMIN})))
    values: dict[str, object] = {"scopes": frozenset({Scope.ADMIN})}
    await store.teams.add_key(a_key("other", **values | other))
    if possible:
        await store.teams.revoke_key(TEAM, KeyId("key-admin"), NOW, admin=True)
        return
    with pytest.raises(Conflict) as caught:
        await store.teams.revoke_key(TEAM, KeyId("key-admin"), NOW, admin=True)
    assert caught.value.code == "last_admin_key"


async def test_rotation(store: Store) -> None:
    """After a rotation the key is found by both secrets; of two rotations at once one is refused."""
    before = a_key()
    first = replace(before, secret_hash="new", old_hash=before.secret_hash, old_until_ms=NOW + 9)
    await store.teams.rotate_key(first, was=before.secret_hash, line=LINE)
    assert await store.teams.key("new") == first
    assert await store.teams.key(before.secret_hash) == first
    with pytest.raises(Conflict) as caught:
        await store.teams.rotate_key(replace(first, secret_hash="newer"), was=before.secret_hash, line=LINE)
    assert caught.value.code == "key_changed"
    second = replace(first, secret_hash="newest", old_hash="new")
    await store.teams.rotate_key(second, was="new", line=LINE)
    assert await store.teams.key(before.secret_hash) is None
    assert await written(store) == 2


async def test_last_use_only_grows(store: Store) -> None:
    """The last use is the latest of those that servers tell."""
    key = a_key()
    for at_ms in (NOW + 5, NOW + 3):
        await store.teams.note_use(key.id, at_ms)
    assert await store.teams.key(key.secret_hash) == replace(key, used_ms=NOW + 5)


# ── audit ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_old_lines_are_forgotten(store: Store) -> None:
    """The oldest lines of all teams go first, so many at a time, and nothing that is younger goes."""
    for number in range(6):
        await store.teams.add_member(a_member(str(number)), replace(LINE, at_ms=NOW + number))
    assert await store.audit.forget(NOW + 4, 3) == 3
    assert await store.audit.forget(NOW + 4, 100) == 1
    assert [one.line.at_ms for one in await store.audit.lines(TEAM)] == [NOW + 5, NOW + 4]
    assert await store.audit.forget(NOW + 4, 100) == 0


async def test_audit_lines_are_read_back(store: Store) -> None:
    """Lines come newest first with everything they were given, page by page, by thing, and to their own team only."""
    for number in range(3):
        line = replace(LINE, at_ms=NOW + number, thing=f"mem-{number}")
        await store.teams.add_member(a_member(str(number)), line)
    lines = await store.audit.lines(TEAM)
    assert [one.line.at_ms for one in lines] == [NOW + 2, NOW + 1, NOW]
    assert lines[-1].line == replace(LINE, thing="mem-0")
    assert [one.line.at_ms for one in await store.audit.lines(TEAM, before=lines[0].number, limit=1)] == [NOW + 1]
    assert [one.line.at_ms for one in await store.audit.lines(TEAM, thing="mem-1")] == [NOW + 1]
    assert await store.audit.lines(OTHER_TEAM) == []
