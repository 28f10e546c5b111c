"""`Tables` in PostgreSQL."""

from __future__ import annotations

from collections.abc import Sequence

from stoker.store.postgres.connection import Connection
from stoker.store.postgres.lane import Pool
from stoker.store.tables import Row, Step


class PostgresTables:
    """`Tables`."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def read(self, sql: str, *values: object) -> list[Row]:
        """On a connection of the pool."""
        return await self._pool.read(lambda tx: tx.fetch(sql, *values))

    async def change(self, *steps: Step) -> None:
        """In a transaction of its own."""
        await self._pool.write(lambda tx: carry_out(tx, steps))


async def carry_out(tx: Connection, steps: Sequence[Step]) -> None:
    """One after the other. Raises a step's refusal."""
    for step in steps:
        tag = await tx.execute(step.sql, *step.values)
        if tag.endswith(" 0") and step.refusal is not None:
            raise step.refusal
