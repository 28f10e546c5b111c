"""Everything that waits as one transaction: its rows loaded, its operations decided one by one, its changes saved.

Called by the lane in `lane.py`. An operation that raises a `StokerError` fails alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from stoker.errors import StokerError
from stoker.store.image import Needs, Operation
from stoker.store.postgres.connection import Connection, Link, passing, translated
from stoker.store.postgres.lane import Outcome, Write
from stoker.store.postgres.load import load
from stoker.store.postgres.save import save
from stoker.store.postgres.transaction import transact

SHARDS: int = 16
"""Rows per endpoint over which servers spread its counters."""


def writing(shard: int) -> Write:
    """What carries out operations for a server that counts in `shard`."""

    async def write(link: Link, operations: Sequence[Operation[Any]]) -> list[Outcome]:
        """Carry them out in one transaction and commit it; never raises.

        When the machine fails, or the commit does, everybody gets the reason. When a statement is refused the work is done
        again one by one, to find out whose it was.
        """
        try:
            return await transact(link, lambda tx: _carry_out(tx, operations, shard))
        except Exception as error:
            if isinstance(error, StokerError) or passing(error) or len(operations) == 1:
                return [Outcome(error=translated(error, link.database)) for _ in operations]
        return [outcome for one in operations for outcome in await write(link, [one])]

    return write


async def _carry_out(tx: Connection, operations: Sequence[Operation[Any]], shard: int) -> list[Outcome]:
    needs = Needs()
    for operation in operations:
        operation.need(needs)
    image = await load(tx, needs)
    outcomes = []
    for operation in operations:
        try:
            outcomes.append(Outcome(operation.decide(image)))
        except StokerError as error:
            outcomes.append(Outcome(error=error))
    await save(tx, image, shard)
    return outcomes
