"""Which key seals what is secret in this database, and every place where something sealed is kept: to seal it anew.

Called on the start of a server, which must have that key, and by the rotation of keys. The database never opens anything.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from stoker.store.tables import Row, Step, Tables

PRESENT: Final = "SELECT id, proof, since_ms FROM secrets_key"
CLAIM: Final = "INSERT INTO secrets_key (one, id, proof, since_ms) VALUES (1, $1, $2, $3) ON CONFLICT (one) DO NOTHING"
REPLACE: Final = "UPDATE secrets_key SET id = $1, proof = $2, since_ms = $3"

Reseal = Callable[[str, str], str]
"""The same secret, sealed with another key: gets what is stored and the context it was sealed in."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SecretsKey:
    """The key that seals."""

    id: str
    proof: str
    """Something that it sealed: who can open it has the right key."""
    since_ms: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """A column where something sealed may be."""

    find: str
    """Selects number, context (see `vault`) and value, of up to `$2` rows after the one with number `$1`."""
    update: str
    """Replaces value `$3` by `$1` in the row with number `$2`."""
    json: bool = False
    """Whether it is an object with sealed values somewhere inside, not a sealed value itself."""


PLACES: Final = (
    Place(
        find="""SELECT releases.seq, endpoints.team, releases.env FROM releases
                JOIN endpoints ON endpoints.id = releases.endpoint
                WHERE releases.seq > $1 ORDER BY releases.seq LIMIT $2""",
        update="UPDATE releases SET env = $1 WHERE seq = $2 AND env = $3",
        json=True,
    ),
    Place(
        find="SELECT seq, team, fields FROM templates WHERE seq > $1 ORDER BY seq LIMIT $2",
        update="UPDATE templates SET fields = $1 WHERE seq = $2 AND fields = $3",
        json=True,
    ),
    Place(
        find="SELECT seq, team, password FROM credentials WHERE seq > $1 ORDER BY seq LIMIT $2",
        update="UPDATE credentials SET password = $1 WHERE seq = $2 AND password = $3",
    ),
    Place(
        find="SELECT seq, team, secret FROM webhook_secrets WHERE seq > $1 ORDER BY seq LIMIT $2",
        update="UPDATE webhook_secrets SET secret = $1 WHERE seq = $2 AND secret = $3",
    ),
    Place(
        find="SELECT seq, team, old FROM webhook_secrets WHERE seq > $1 AND old IS NOT NULL ORDER BY seq LIMIT $2",
        update="UPDATE webhook_secrets SET old = $1 WHERE seq = $2 AND old = $3",
    ),
)
"""In tables that all databases have alike; an adapter adds that of jobs."""
STEP: Final = 200
"""Rows of one transaction."""


class SealedRows:
    """The key's record, and what is sealed."""

    def __init__(self, tables: Tables, jobs: Place) -> None:
        self._tables = tables
        self._places = (*PLACES, jobs)

    async def key(self) -> SecretsKey | None:
        """The key that seals; None on a fresh database."""
        rows = await self._tables.read(PRESENT)
        return next((SecretsKey(id=row[0], proof=row[1], since_ms=row[2]) for row in rows), None)

    async def claim(self, key: SecretsKey) -> SecretsKey:
        """On a fresh database this one seals from now on; the one that does, which another server may have brought."""
        await self._tables.change(Step(CLAIM, (key.id, key.proof, key.since_ms)))
        present = await self.key()
        assert present is not None, "it was just claimed"
        return present

    async def replace(self, key: SecretsKey) -> None:
        """From now on this one seals."""
        await self._tables.change(Step(REPLACE, (key.id, key.proof, key.since_ms)))

    async def reseal(self, reseal: Reseal) -> int:
        """Let everything sealed go through `reseal`, a few rows at a time; how many rows changed.

        What somebody else changes meanwhile is left alone: it was sealed with the present key.
        """
        return sum([await self._reseal(place, reseal) for place in self._places])

    async def _reseal(self, place: Place, reseal: Reseal) -> int:
        changed, after = 0, 0
        while rows := await self._tables.read(place.find, after, STEP):
            steps = _steps(place, rows, reseal)
            if steps:
                await self._tables.change(*steps)
            changed += len(steps)
            after = rows[-1][0]
        return changed


def _steps(place: Place, rows: Sequence[Row], reseal: Reseal) -> list[Step]:
    steps = []
    for number, context, value in rows:
        text = value.decode() if isinstance(value, bytes) else value
        new = _inside(text, context, reseal) if place.json else reseal(text, context)
        if new != text:
            values = (new.encode() if isinstance(value, bytes) else new, number, value)
            steps.append(Step(place.update, values, of_jobs=place not in PLACES))
    return steps


def _inside(text: str, context: str, reseal: Reseal) -> str:
    if '"sealed"' not in text:
        return text
    return json.dumps(_walk(json.loads(text), context, reseal))


def _walk(value: Any, context: str, reseal: Reseal) -> Any:
    if isinstance(value, dict):
        if value.keys() == {"sealed"}:
            return {"sealed": reseal(value["sealed"], context)}
        return {name: _walk(inner, context, reseal) for name, inner in value.items()}
    return value


__all__ = ["Place", "Reseal", "SealedRows", "SecretsKey"]
