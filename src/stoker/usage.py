"""Usage: what a team's workers and volumes were used for and cost, by hour or by day.

Read from the ledger of usage, which `loops/meter.py` writes. Costs are at the price that a worker's place had when the worker was
decided. They are summed in whole numbers and rounded once, when they are shown.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import groupby
from typing import Final

from stoker.clock import Clock
from stoker.errors import InvalidInput
from stoker.ids import EndpointId, TeamId
from stoker.metering import DAY_MS, HOUR_MS, Use
from stoker.specification import MICROS
from stoker.store import Store
from stoker.store.usage import Part, Sum

ROWS_MOST: Final = 20_000
"""Of one answer."""


class Period(StrEnum):
    """What is summed up."""

    HOUR = "hour"
    DAY = "day"

    @property
    def ms(self) -> int:
        """How long it is. Days are those of UTC."""
        return HOUR_MS if self is Period.HOUR else DAY_MS

    @property
    def shown_ms(self) -> int:
        """How far back an answer goes unless somebody says otherwise."""
        return DAY_MS if self is Period.HOUR else 30 * DAY_MS


@dataclass(frozen=True, kw_only=True, slots=True)
class UsageRow:
    """Usage of one period, of those who share what the parts name."""

    at_ms: int
    """The period's beginning."""
    parts: tuple[str, ...]
    running_ms: int
    idle_ms: int
    storage_ms: int
    """Milliseconds, each of a GiB."""
    cost: float
    """In the operator's currency, to a millionth."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Usage:
    """An answer: rows, oldest first, and the sum of all."""

    from_ms: int
    to_ms: int
    rows: Sequence[UsageRow]
    total: UsageRow


class Usages:
    """Operations that tell of usage."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def of_team(
        self,
        team: TeamId,
        *,
        by: Period,
        parts: Sequence[Part] = (),
        endpoint: EndpointId | None = None,
        from_ms: int | None = None,
        to_ms: int | None = None,
    ) -> Usage:
        """Usage of a team, or of one endpoint of it, in periods that lie between the moments at least in part.

        Raises `InvalidInput` when that is no time, or too many rows.
        """
        last_ms = self._clock.now_ms() if to_ms is None else to_ms
        first_ms = last_ms - by.shown_ms if from_ms is None else from_ms
        if first_ms > last_ms:
            raise InvalidInput("the time ends before it begins", field="to_ms")
        begin_ms, end_ms = first_ms - first_ms % by.ms, last_ms - last_ms % -by.ms
        sums = await self._store.usage.sums(
            team, from_ms=begin_ms, to_ms=end_ms, period_ms=by.ms, parts=parts, endpoint=endpoint or ""
        )
        rows = [
            _row(at_ms, parts_, list(some))
            for (at_ms, parts_), some in groupby(sums, lambda one: (one.at_ms, one.parts))
        ]
        if len(rows) > ROWS_MOST:
            raise InvalidInput(
                f"that would be {len(rows)} rows; {ROWS_MOST} are the most",
                code="too_many_rows",
                field="from_ms",
                next_step="ask for a shorter time, for days instead of hours, or for fewer parts",
            )
        return Usage(from_ms=begin_ms, to_ms=end_ms, rows=rows, total=_row(begin_ms, (), sums))


def _row(at_ms: int, parts: tuple[str, ...], sums: Sequence[Sum]) -> UsageRow:
    ms = {use: sum(one.ms for one in sums if one.use == use) for use in Use}
    return UsageRow(
        at_ms=at_ms,
        parts=parts,
        running_ms=ms[Use.RUNNING],
        idle_ms=ms[Use.IDLE],
        storage_ms=ms[Use.STORAGE],
        cost=cost_of(sums),
    )


def cost_of(sums: Sequence[Sum]) -> float:
    """What they cost together."""
    return round(sum(one.ms * one.price_micros for one in sums) / HOUR_MS) / MICROS


__all__ = ["Period", "Usage", "UsageRow", "Usages", "cost_of"]
