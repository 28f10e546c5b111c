"""Teams and keys in PostgreSQL: the table of contents `TeamRows`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from stoker.ids import KeyId, TeamId
from stoker.store.postgres.arrays import insert
from stoker.store.postgres.connection import Connection
from stoker.store.postgres.lane import Pool
from stoker.store.rows import KEY, TEAM, key_values
from stoker.store.rows import key as key_of
from stoker.store.rows import team as team_of
from stoker.team import ApiKey, Team

ADD: Final = insert("teams", TEAM)
ADD_KEY: Final = insert("api_keys", KEY)
FIRST: Final = f"SELECT {TEAM} FROM teams ORDER BY teams.seq LIMIT 1"
FIND: Final = f"SELECT {TEAM} FROM teams WHERE teams.id = $1"
FIND_KEY: Final = f"SELECT {KEY} FROM api_keys WHERE api_keys.secret_hash = $1"
KEYS: Final = f"SELECT {KEY} FROM api_keys WHERE api_keys.team = $1 ORDER BY api_keys.seq"
REVOKE: Final = "UPDATE api_keys SET revoked_ms = coalesce(revoked_ms, $1) WHERE team = $2 AND id = $3"


class PostgresTeams:
    """`TeamRows`."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def add(self, team: Team, key: ApiKey) -> None:
        """Both rows, or none."""

        async def both(tx: Connection) -> None:
            await tx.execute(ADD, team.id, team.name, team.created_ms)
            await tx.execute(ADD_KEY, *key_values(key))

        await self._pool.write(both)

    async def first(self) -> Team | None:
        """In the order of arrival."""
        row = await self._pool.read(lambda tx: tx.fetchrow(FIRST))
        return None if row is None else team_of(row)

    async def get(self, team: TeamId) -> Team | None:
        """By id."""
        row = await self._pool.read(lambda tx: tx.fetchrow(FIND, team))
        return None if row is None else team_of(row)

    async def add_key(self, key: ApiKey) -> None:
        """One row."""
        await self._pool.write(lambda tx: tx.execute(ADD_KEY, *key_values(key)))

    async def key(self, secret_hash: str) -> ApiKey | None:
        """By the SHA-256 of its secret."""
        row = await self._pool.read(lambda tx: tx.fetchrow(FIND_KEY, secret_hash))
        return None if row is None else key_of(row)

    async def keys(self, team: TeamId) -> Sequence[ApiKey]:
        """In the order of arrival."""
        return [key_of(row) for row in await self._pool.read(lambda tx: tx.fetch(KEYS, team))]

    async def revoke_key(self, team: TeamId, key: KeyId, at_ms: int) -> bool:
        """The first revocation is the one that counts."""
        return await self._pool.write(lambda tx: tx.execute(REVOKE, at_ms, team, key)) == "UPDATE 1"
