"""Teams and keys."""

from __future__ import annotations

import pytest

from stoker.errors import StokerError
from stoker.ids import KeyId, TeamId
from stoker.store import Store
from stoker.team import Scope
from tests.store.records import NOW, OTHER_TEAM, TEAM, a_key, a_team


async def test_fresh_database_has_no_team(blank: Store) -> None:
    """A fresh database has no team; the first stays the first."""
    assert await blank.teams.first() is None
    await blank.teams.add(a_team(), a_key())
    await blank.teams.add(a_team(OTHER_TEAM), a_key("second", team=OTHER_TEAM))
    assert await blank.teams.first() == a_team()


async def test_team_and_key_are_read_back(store: Store) -> None:
    """A team and its keys are read with every value they were given."""
    assert await store.teams.get(TEAM) == a_team()
    assert await store.teams.get(TeamId("nobody")) is None
    assert await store.teams.key(a_key().secret_hash) == a_key()
    assert await store.teams.key("nothing") is None


async def test_keys_of_a_team(store: Store) -> None:
    """A team's keys are listed oldest first, with every scope, and without those of others."""
    key = a_key("second", scopes=frozenset(Scope))
    await store.teams.add_key(key)
    assert await store.teams.keys(TEAM) == [a_key(), key]
    assert [one.name for one in await store.teams.keys(OTHER_TEAM)] == ["foreign"]


async def test_revoking(store: Store) -> None:
    """A revoked key stays known with the moment of its first revocation; revoking again is no error."""
    key = a_key()
    assert await store.teams.revoke_key(TEAM, key.id, NOW + 1)
    assert await store.teams.revoke_key(TEAM, key.id, NOW + 2)
    found = await store.teams.key(key.secret_hash)
    assert found is not None
    assert found.revoked_ms == NOW + 1
    assert not found.allows(Scope.READ)


async def test_revoking_what_is_not_ours(store: Store) -> None:
    """Another team's key, or none, cannot be revoked."""
    key = a_key()
    assert not await store.teams.revoke_key(OTHER_TEAM, key.id, NOW)
    assert not await store.teams.revoke_key(TEAM, KeyId("nobody"), NOW)
    found = await store.teams.key(key.secret_hash)
    assert found is not None
    assert found.revoked_ms is None


async def test_team_without_its_key(store: Store) -> None:
    """A team whose first key cannot be stored is not stored either."""
    with pytest.raises(StokerError):
        await store.teams.add(a_team(TeamId("team-new")), a_key(team=TeamId("team-new")))
    assert await store.teams.get(TeamId("team-new")) is None
