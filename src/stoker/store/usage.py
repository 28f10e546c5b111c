"""The ledger of usage in the database: milliseconds by hour and by whatever they are paid for.

Entries of workers are written where meters are read (`meters`, `save` of an adapter), those of volumes here. An entry has an account
and an amount; what is booked on one account in one hour is one row. It is read by team, in periods, and forgotten by age.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from enum import StrEnum
from typing import Any, Final

import msgspec

from stoker.errors import Conflict
from stoker.ids import TeamId
from stoker.metering import NOBODY, Account, Use, hours_of
from stoker.store.tables import Step, Tables

ACCOUNT: Final = ", ".join(Account._fields)
BOOK: Final = f"""
    INSERT INTO usage ({ACCOUNT}, ms) VALUES ({", ".join(f"${n}" for n in range(1, len(Account._fields) + 2))})
    ON CONFLICT ({ACCOUNT}) DO UPDATE SET ms = usage.ms + excluded.ms"""
VOLUMES: Final = "SELECT id, team, name, size_gb, coalesce(metered_ms, created_ms) FROM volumes ORDER BY id"
METERED: Final = "UPDATE volumes SET metered_ms = $1 WHERE id = $2 AND coalesce(metered_ms, created_ms) = $3"
FORGET: Final = "DELETE FROM usage WHERE hour_ms < $1"
COUNT_BEFORE: Final = "SELECT count(*) FROM usage WHERE hour_ms < $1"
NEXT: Final = "SELECT hour_ms FROM usage ORDER BY hour_ms DESC LIMIT 1 OFFSET $1"


class Part(StrEnum):
    """By what usage can be told apart."""

    ENDPOINT = "endpoint"
    RELEASE = "release"
    SPECIFICATION = "specification"
    USE = "use"
    KEY = "key"
    VOLUME = "volume"


class Sum(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Usage of one period at one price, of those who share what the parts name."""

    at_ms: int
    """The period's beginning."""
    parts: tuple[str, ...]
    """In the order that was asked for."""
    use: str
    price_micros: int
    ms: int


class UsageRows:
    """The ledger of usage."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    async def sums(
        self, team: TeamId, *, from_ms: int, to_ms: int, period_ms: int, parts: Sequence[Part] = (), endpoint: str = ""
    ) -> Sequence[Sum]:
        """Usage in `[from_ms, to_ms)`, by periods of `period_ms` that begin with the epoch, oldest first; of one endpoint if it
        is named. All three are whole hours."""
        columns = "".join(f", {part.value}" for part in parts)
        values: list[Any] = [team, from_ms, to_ms, period_ms, *([endpoint] if endpoint else [])]
        only = "AND endpoint = $5" if endpoint else ""
        rows = await self._tables.read(
            f"""SELECT hour_ms - hour_ms % $4 AS at_ms, use, price_micros, sum(ms){columns} FROM usage
            WHERE team = $1 AND hour_ms >= $2 AND hour_ms < $3 {only}
            GROUP BY at_ms, use, price_micros{columns} ORDER BY at_ms{columns}, use, price_micros""",
            *values,
        )
        return [
            Sum(at_ms=row[0], use=row[1], price_micros=row[2], ms=int(row[3]), parts=tuple(row[4:])) for row in rows
        ]

    async def meter_volumes(self, at_ms: int, price_micros: int) -> None:
        """Write down how much storage was kept until that moment, at the price of a GiB and hour. A volume's row says until when
        that is done; of a volume that somebody else does at the same time nothing is written here."""
        for volume, team, name, size_gb, since_ms in await self._tables.read(VOLUMES):
            taken = Conflict("the volume's meter was read by somebody else", code="version_changed")
            booked = [
                book(_stored(TeamId(team), hour_ms, price_micros, name), ms * size_gb)
                for hour_ms, ms in hours_of(since_ms, at_ms)
            ]
            if booked:
                with suppress(Conflict):
                    await self._tables.change(Step(METERED, (at_ms, volume, since_ms), taken), *booked)

    async def forget(self, before_ms: int) -> int:
        """Forget entries of hours that began before that moment; how many. Looks across teams: for loops."""
        count = int((await self._tables.read(COUNT_BEFORE, before_ms))[0][0])
        if count:
            await self._tables.change(Step(FORGET, (before_ms,)))
        return count

    async def hour_beyond(self, entries: int) -> int | None:
        """The hour of the newest entry but so many; None when there are no more. Looks across teams: for loops."""
        rows = await self._tables.read(NEXT, entries)
        return int(rows[0][0]) if rows else None


def _stored(team: TeamId, hour_ms: int, price_micros: int, volume: str) -> Account:
    return Account(
        team=team,
        hour_ms=hour_ms,
        endpoint="",
        release="",
        specification="",
        price_micros=price_micros,
        use=Use.STORAGE.value,
        key=NOBODY,
        volume=volume,
    )


def book(account: Account, ms: int) -> Step:
    """What adds to an account."""
    return Step(BOOK, (*account, ms))


__all__ = ["ACCOUNT", "Part", "Sum", "UsageRows", "book"]
