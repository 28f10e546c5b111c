"""Named leases in PostgreSQL: who may do what only one server does at a time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from stoker.store.postgres.lane import Pool

HOLD: Final = """
    INSERT INTO named_leases (name, holder, until_ms) VALUES ($1, $2, $3) ON CONFLICT (name) DO UPDATE
    SET holder = excluded.holder, until_ms = excluded.until_ms
    WHERE named_leases.holder = excluded.holder OR named_leases.until_ms <= $4"""
RELEASE: Final = "DELETE FROM named_leases WHERE name = $1 AND holder = $2"
HOLDERS: Final = """
    SELECT name, holder FROM named_leases WHERE starts_with(name, $1) AND until_ms > $2 ORDER BY name COLLATE "C" """


class PostgresLeases:
    """`NamedLeases`."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def hold(self, name: str, holder: str, *, at_ms: int, until_ms: int) -> bool:
        """One statement: of two that come together, the second finds the first's row."""
        return await self._pool.write(lambda tx: tx.execute(HOLD, name, holder, until_ms, at_ms)) == "INSERT 0 1"

    async def release(self, name: str, holder: str) -> None:
        """The row goes if it is the holder's."""
        await self._pool.write(lambda tx: tx.execute(RELEASE, name, holder))

    async def holders(self, prefix: str, at_ms: int) -> Mapping[str, str]:
        """By name."""
        return dict(map(tuple, await self._pool.read(lambda tx: tx.fetch(HOLDERS, prefix, at_ms))))
