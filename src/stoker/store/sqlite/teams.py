"""Teams and keys in SQLite: the table of contents `TeamRows`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from stoker.ids import KeyId, TeamId
from stoker.store.rows import KEY, TEAM, key_values
from stoker.store.rows import key as key_of
from stoker.store.rows import team as team_of
from stoker.store.sqlite.tx import Tx, insert
from stoker.store.sqlite.writer import Lane
from stoker.team import ApiKey, Team

ADD: Final = insert("teams", TEAM)
ADD_KEY: Final = insert("api_keys", KEY)
FIRST: Final = f"SELECT {TEAM} FROM teams ORDER BY teams.seq LIMIT 1"
FIND: Final = f"SELECT {TEAM} FROM teams WHERE teams.id = ?"
FIND_KEY: Final = f"SELECT {KEY} FROM api_keys WHERE api_keys.secret_hash = ?"
KEYS: Final = f"SELECT {KEY} FROM api_keys WHERE api_keys.team = ? ORDER BY api_keys.seq"
REVOKE: Final = "UPDATE api_keys SET revoked_ms = coalesce(revoked_ms, ?) WHERE team = ? AND id = ?"


class SqliteTeams:
    """`TeamRows`."""

    def __init__(self, writer: Lane, reader: Lane) -> None:
        self._writer = writer
        self._reader = reader

    async def add(self, team: Team, key: ApiKey) -> None:
        """Both rows, or none."""
        await self._writer.run(lambda tx: _add(tx, team, key))

    async def first(self) -> Team | None:
        """In the order of arrival."""
        row = await self._reader.run(lambda tx: tx.one(FIRST))
        return None if row is None else team_of(row)

    async def get(self, team: TeamId) -> Team | None:
        """By id."""
        row = await self._reader.run(lambda tx: tx.one(FIND, (team,)))
        return None if row is None else team_of(row)

    async def add_key(self, key: ApiKey) -> None:
        """One row."""
        await self._writer.run(lambda tx: tx.execute(ADD_KEY, key_values(key)).rowcount)

    async def key(self, secret_hash: str) -> ApiKey | None:
        """By the SHA-256 of its secret."""
        row = await self._reader.run(lambda tx: tx.one(FIND_KEY, (secret_hash,)))
        return None if row is None else key_of(row)

    async def keys(self, team: TeamId) -> Sequence[ApiKey]:
        """In the order of arrival."""
        return [key_of(row) for row in await self._reader.run(lambda tx: tx.all(KEYS, (team,)))]

    async def revoke_key(self, team: TeamId, key: KeyId, at_ms: int) -> bool:
        """The first revocation is the one that counts."""
        return await self._writer.run(lambda tx: tx.execute(REVOKE, (at_ms, team, key)).rowcount == 1)


def _add(tx: Tx, team: Team, key: ApiKey) -> None:
    tx.execute(ADD, (team.id, team.name, team.created_ms))
    tx.execute(ADD_KEY, key_values(key))
