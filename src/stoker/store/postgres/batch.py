"""Everything that waits as one transaction: its rows loaded, its operations decided one by one, its changes saved.

Called by the lane in `lane.py`. An operation that raises a `StokerError` fails alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Final

from stoker.errors import StokerError
from stoker.store.image import Image, Needs, Operation
from stoker.store.postgres.connection import Connection, Link, passing, translated
from stoker.store.postgres.known import Known
from stoker.store.postgres.lane import Outcome
from stoker.store.postgres.load import load, new_seqs
from stoker.store.postgres.save import changes_of, moved
from stoker.store.postgres.transaction import at_once, look, transact

SHARDS: Final = 16
"""Rows per endpoint over which servers spread its counters."""
SEQS_S: Final = 0.1
"""How long numbers for new jobs are good: with them a job goes before those that other servers accepted since they were drawn. The
answers of a large transaction and the decisions of the next may take half as long."""
SEQS_AHEAD: Final = 2
"""How many come along with a transaction for each that it used: the next may bring more jobs, and asking for more is a round trip."""


class Writing:
    """Carries out operations for a server that counts in `shard`."""

    def __init__(self, shard: int, known: Known) -> None:
        self._shard = shard
        self._known = known
        self._seqs: list[int] = []
        self._seqs_until_s = 0.0
        self._usual = 0
        """How many jobs the last transaction brought that brought any."""

    async def __call__(self, link: Link, operations: Sequence[Operation[Any]]) -> list[Outcome]:
        """Carry them out in one transaction and commit it; never raises.

        When the machine fails, or the commit does, everybody gets the reason. When a statement is refused the work is done
        again one by one, to find out whose it was.
        """
        try:
            return await self._carry_out(link, operations)
        except Exception as error:
            self._known.forget()
            if isinstance(error, StokerError) or passing(error) or len(operations) == 1:
                return [Outcome(error=translated(error, link.database)) for _ in operations]
        return [outcome for one in operations for outcome in await self(link, [one])]

    async def _carry_out(self, link: Link, operations: Sequence[Operation[Any]]) -> list[Outcome]:
        needs = Needs()
        for operation in operations:
            operation.need(needs)
        return await self._at_once(link, needs, operations) or await self._in_turn(link, needs, operations)

    async def _at_once(self, link: Link, needs: Needs, operations: Sequence[Operation[Any]]) -> list[Outcome] | None:
        """In a single statement, on rows that are known; None when some are not, or are others by now."""
        image = Image(iter(()))
        lent = self._known.lend(image, needs)
        if lent is None:
            return None
        if needs.new_jobs:
            image.new_seqs = iter(await self._numbers(link, needs.new_jobs))
        outcomes = _decided(image, operations)
        changes = changes_of(image, self._shard)
        self._usual = needs.new_jobs or self._usual
        try:
            version, seqs = await at_once(link, lambda tx: changes.write_guarded(tx, lent, SEQS_AHEAD * self._usual))
        except Exception as error:
            if not moved(error):
                raise
            self._known.was_wrong()
            return None
        self._known.was_right()
        self._known.keep(image, version)
        self._seqs, self._seqs_until_s = seqs, asyncio.get_running_loop().time() + SEQS_S
        return outcomes

    async def _numbers(self, link: Link, count: int) -> list[int]:
        """For so many new jobs: what the last transaction brought along if it was just now, else fresh ones."""
        seqs, self._seqs = self._seqs, []  # whatever becomes of the transaction, they are not used again
        if len(seqs) >= count and asyncio.get_running_loop().time() < self._seqs_until_s:
            return seqs
        return await look(link, lambda tx: new_seqs(tx, count))

    async def _in_turn(self, link: Link, needs: Needs, operations: Sequence[Operation[Any]]) -> list[Outcome]:
        """On rows that are read, and locked until the commit."""
        self._seqs = []  # they come before those that are drawn now

        async def locked(tx: Connection) -> tuple[Image, list[Outcome], int | None]:
            image = await load(tx, needs)
            outcomes = _decided(image, operations)
            return image, outcomes, await changes_of(image, self._shard).write(tx)

        image, outcomes, version = await transact(link, locked)
        self._known.keep(image, version)
        return outcomes


def _decided(image: Image, operations: Sequence[Operation[Any]]) -> list[Outcome]:
    outcomes = []
    for operation in operations:
        try:
            outcomes.append(Outcome(operation.decide(image)))
        except StokerError as error:
            outcomes.append(Outcome(error=error))
    return outcomes
