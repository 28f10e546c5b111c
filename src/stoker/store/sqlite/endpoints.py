"""Endpoints and releases in SQLite: the table of contents `EndpointRows`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from stoker.endpoint import Endpoint, Release
from stoker.errors import Conflict, NotFound
from stoker.ids import EndpointId, ReleaseId, TeamId
from stoker.store.rows import ENDPOINT, RELEASE, endpoint_values, release_values
from stoker.store.rows import endpoint as endpoint_of
from stoker.store.rows import release as release_of
from stoker.store.sqlite.tables import carry_out
from stoker.store.sqlite.transaction import Unsettling
from stoker.store.sqlite.tx import Tx, insert
from stoker.store.sqlite.writer import Lane
from stoker.store.tables import Step

ADD: Final = insert("endpoints", ENDPOINT)
ADD_RELEASE: Final = insert("releases", RELEASE)
FIND: Final = f"SELECT {ENDPOINT} FROM endpoints WHERE endpoints.id = ?"
OF_TEAM: Final = f"""
    SELECT {ENDPOINT} FROM endpoints WHERE endpoints.team = ? AND endpoints.deleted_ms IS NULL ORDER BY endpoints.name"""
ACTIVE: Final = f"""
    SELECT {ENDPOINT} FROM endpoints
    WHERE endpoints.deleted_ms IS NULL
      OR EXISTS (SELECT 1 FROM workers WHERE workers.endpoint = endpoints.id AND workers.gone_ms IS NULL)
    ORDER BY endpoints.seq"""
_OWNED: Final = 2
"""Columns at the beginning that never change: id and team. Setting them would check who refers to them."""
_MOVING: Final = ENDPOINT.replace("endpoints.", "").split(", ")[_OWNED:]
SAVE: Final = f"""
    UPDATE endpoints SET ({", ".join(_MOVING)}) = (?{", ?" * (len(_MOVING) - 1)})
    WHERE id = ? AND team = ? AND version = ?"""
FIND_RELEASE: Final = f"SELECT {RELEASE} FROM releases WHERE releases.id = ?"
FORGIVE: Final = "UPDATE releases SET forgiven_ms = ? WHERE id = ?"
PIN: Final = "UPDATE releases SET digest = ? WHERE id = ? AND digest = ''"
RELEASES: Final = f"SELECT {RELEASE} FROM releases WHERE releases.endpoint = ? ORDER BY releases.number DESC"


class SqliteEndpoints:
    """`EndpointRows`."""

    def __init__(self, writer: Lane, reader: Lane, quick: Lane) -> None:
        self._writer = writer
        self._reader = reader
        self._quick = quick

    async def add(self, endpoint: Endpoint, release: Release, *also: Step) -> None:
        """Both rows, or none."""
        await self._writer.run(lambda tx: _add(tx, endpoint, release, also))

    async def update(self, endpoint: Endpoint, release: Release | None, *also: Step) -> None:
        """Guarded by the version it was made from."""
        await self._writer.run(Unsettling(lambda tx: _update(tx, endpoint, release, also)))

    async def of_team(self, team: TeamId) -> Sequence[Endpoint]:
        """By name."""
        return await self._reader.run(lambda tx: _of_team(tx, team))

    async def get(self, endpoint: EndpointId) -> Endpoint | None:
        """By id."""
        row = await self._quick.run(lambda tx: tx.one(FIND, (endpoint,)))
        return None if row is None else endpoint_of(row)

    async def active(self) -> Sequence[Endpoint]:
        """Oldest first."""
        return [endpoint_of(row) for row in await self._reader.run(lambda tx: tx.all(ACTIVE))]

    async def release(self, release: ReleaseId) -> Release | None:
        """By id."""
        row = await self._quick.run(lambda tx: tx.one(FIND_RELEASE, (release,)))
        return None if row is None else release_of(row)

    async def forgive(self, release: ReleaseId, at_ms: int, *also: Step) -> None:
        """A moment in its row."""
        await self._writer.run(lambda tx: _forgive(tx, release, at_ms, also))

    async def pin(self, release: ReleaseId, digest: str) -> str:
        """The first one counts."""
        return await self._writer.run(lambda tx: _pin(tx, release, digest))

    async def releases(self, endpoint: EndpointId) -> Sequence[Release]:
        """By number, the newest first."""
        return [release_of(row) for row in await self._reader.run(lambda tx: tx.all(RELEASES, (endpoint,)))]


def _add(tx: Tx, endpoint: Endpoint, release: Release, also: Sequence[Step] = ()) -> None:
    _check_name(tx, endpoint)
    tx.execute(ADD, endpoint_values(endpoint))
    tx.execute(ADD_RELEASE, release_values(release))
    carry_out(tx, also)


def _update(tx: Tx, endpoint: Endpoint, release: Release | None, also: Sequence[Step]) -> None:
    row = tx.one(FIND, (endpoint.id,))
    if row is None or endpoint_of(row).team != endpoint.team:
        raise NotFound(f"there is no endpoint '{endpoint.id}'", code="endpoint_not_found")
    if endpoint_of(row).version != endpoint.version - 1:
        raise Conflict(
            "somebody else changed the endpoint meanwhile",
            code="version_changed",
            next_step="read the endpoint again and repeat the change",
        )
    if endpoint.deleted_ms is None:
        _check_name(tx, endpoint)
    tx.execute(SAVE, (*endpoint_values(endpoint)[_OWNED:], endpoint.id, endpoint.team, endpoint.version - 1))
    if release is not None:
        tx.execute(ADD_RELEASE, release_values(release))
    carry_out(tx, also)


def _forgive(tx: Tx, release: ReleaseId, at_ms: int, also: Sequence[Step]) -> None:
    tx.execute(FORGIVE, (at_ms, release))
    carry_out(tx, also)


def _pin(tx: Tx, release: ReleaseId, digest: str) -> str:
    tx.execute(PIN, (digest, release))
    row = tx.one(FIND_RELEASE, (release,))
    return digest if row is None else release_of(row).digest


def _of_team(tx: Tx, team: TeamId) -> list[Endpoint]:
    return [endpoint_of(row) for row in tx.all(OF_TEAM, (team,))]


def _check_name(tx: Tx, endpoint: Endpoint) -> None:
    """A word of a URL must mean one endpoint: neither may answer to the other's name."""
    for other in _of_team(tx, endpoint.team):
        if other.id != endpoint.id and (other.answers_to(endpoint.name) or endpoint.answers_to(other.name)):
            raise Conflict(
                f"the endpoint '{other.name}' already answers to that name",
                code="name_taken",
                field="name",
                next_step="choose another name, or delete that endpoint",
            )
