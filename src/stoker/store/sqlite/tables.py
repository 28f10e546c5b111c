"""`Tables` in SQLite: the shared statements, with `?1` for `$1`."""

from __future__ import annotations

from collections.abc import Sequence

from stoker.store.sqlite.transaction import Unsettling
from stoker.store.sqlite.tx import Row, Tx
from stoker.store.sqlite.writer import Lane
from stoker.store.tables import Step


class SqliteTables:
    """`Tables`."""

    def __init__(self, writer: Lane, reader: Lane) -> None:
        self._writer = writer
        self._reader = reader

    async def read(self, sql: str, *values: object) -> list[Row]:
        """Beside the writer."""
        return await self._reader.run(lambda tx: tx.all(_ours(sql), values))

    async def change(self, *steps: Step) -> None:
        """With whatever else the writer has to do."""
        if any(step.of_jobs for step in steps):
            await self._writer.run(Unsettling(lambda tx: carry_out(tx, steps)))
        else:
            await self._writer.run(lambda tx: carry_out(tx, steps))


def carry_out(tx: Tx, steps: Sequence[Step]) -> None:
    """One after the other. Raises a step's refusal."""
    for step in steps:
        if tx.execute(_ours(step.sql), step.values).rowcount == 0 and step.refusal is not None:
            raise step.refusal


def _ours(sql: str) -> str:
    return sql.replace("$", "?")
