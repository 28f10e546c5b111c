"""Endpoints and releases in PostgreSQL: the table of contents `EndpointRows`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from stoker.endpoint import Endpoint, Release
from stoker.errors import Conflict, NotFound
from stoker.ids import EndpointId, ReleaseId, TeamId
from stoker.store.postgres.connection import Connection
from stoker.store.postgres.lane import Pool
from stoker.store.postgres.packing import insert, places
from stoker.store.postgres.tables import carry_out
from stoker.store.rows import ENDPOINT, RELEASE, endpoint_values, release_values
from stoker.store.rows import endpoint as endpoint_of
from stoker.store.rows import release as release_of
from stoker.store.tables import Step

ADD: Final = insert("endpoints", ENDPOINT)
ADD_RELEASE: Final = insert("releases", RELEASE)
FIND: Final = f"SELECT {ENDPOINT} FROM endpoints WHERE endpoints.id = $1"
LOCK: Final = f"{FIND} FOR NO KEY UPDATE"
LOCK_TEAM: Final = "SELECT 1 FROM teams WHERE id = $1 FOR NO KEY UPDATE"
"""Names are compared within a team: one change after the other."""
OF_TEAM: Final = f"""
    SELECT {ENDPOINT} FROM endpoints WHERE endpoints.team = $1 AND endpoints.deleted_ms IS NULL
    ORDER BY endpoints.name COLLATE "C" """
ACTIVE: Final = f"""
    SELECT {ENDPOINT} FROM endpoints
    WHERE endpoints.deleted_ms IS NULL
      OR EXISTS (SELECT 1 FROM workers WHERE workers.endpoint = endpoints.id AND workers.gone_ms IS NULL)
    ORDER BY endpoints.seq"""
_OWNED: Final = 2
"""Columns at the beginning that never change: id and team."""
_MOVING: Final = ENDPOINT.replace("endpoints.", "").split(", ")[_OWNED:]
SAVE: Final = f"""
    UPDATE endpoints SET ({", ".join(_MOVING)}) = ROW ({places(len(_MOVING))}) WHERE id = ${len(_MOVING) + 1}"""
FIND_RELEASE: Final = f"SELECT {RELEASE} FROM releases WHERE releases.id = $1"
FORGIVE: Final = "UPDATE releases SET forgiven_ms = $1 WHERE id = $2"
PIN: Final = "UPDATE releases SET digest = $1 WHERE id = $2 AND digest = ''"
RELEASES: Final = f"SELECT {RELEASE} FROM releases WHERE releases.endpoint = $1 ORDER BY releases.number DESC"


class PostgresEndpoints:
    """`EndpointRows`."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def add(self, endpoint: Endpoint, release: Release, *also: Step) -> None:
        """Both rows, or none."""
        await self._pool.write(lambda tx: _add(tx, endpoint, release, also))

    async def update(self, endpoint: Endpoint, release: Release | None, *also: Step) -> None:
        """Guarded by the version it was made from."""
        await self._pool.write(lambda tx: _update(tx, endpoint, release, also))

    async def of_team(self, team: TeamId) -> Sequence[Endpoint]:
        """By name."""
        return await self._pool.read(lambda tx: _of_team(tx, team))

    async def get(self, endpoint: EndpointId) -> Endpoint | None:
        """By id."""
        row = await self._pool.read(lambda tx: tx.fetchrow(FIND, endpoint))
        return None if row is None else endpoint_of(row)

    async def active(self) -> Sequence[Endpoint]:
        """Oldest first."""
        return [endpoint_of(row) for row in await self._pool.read(lambda tx: tx.fetch(ACTIVE))]

    async def release(self, release: ReleaseId) -> Release | None:
        """By id."""
        row = await self._pool.read(lambda tx: tx.fetchrow(FIND_RELEASE, release))
        return None if row is None else release_of(row)

    async def forgive(self, release: ReleaseId, at_ms: int, *also: Step) -> None:
        """A moment in its row."""
        await self._pool.write(lambda tx: _forgive(tx, release, at_ms, also))

    async def pin(self, release: ReleaseId, digest: str) -> str:
        """The first one counts."""
        return await self._pool.write(lambda tx: _pin(tx, release, digest))

    async def releases(self, endpoint: EndpointId) -> Sequence[Release]:
        """By number, the newest first."""
        return [release_of(row) for row in await self._pool.read(lambda tx: tx.fetch(RELEASES, endpoint))]


async def _forgive(tx: Connection, release: ReleaseId, at_ms: int, also: Sequence[Step]) -> None:
    await tx.execute(FORGIVE, at_ms, release)
    await carry_out(tx, also)


async def _pin(tx: Connection, release: ReleaseId, digest: str) -> str:
    await tx.execute(PIN, digest, release)
    row = await tx.fetchrow(FIND_RELEASE, release)
    return digest if row is None else release_of(row).digest


async def _add(tx: Connection, endpoint: Endpoint, release: Release, also: Sequence[Step] = ()) -> None:
    await tx.execute(LOCK_TEAM, endpoint.team)
    await _check_name(tx, endpoint)
    await tx.execute(ADD, *endpoint_values(endpoint))
    await tx.execute(ADD_RELEASE, *release_values(release))
    await carry_out(tx, also)


async def _update(tx: Connection, endpoint: Endpoint, release: Release | None, also: Sequence[Step]) -> None:
    await tx.execute(LOCK_TEAM, endpoint.team)
    row = await tx.fetchrow(LOCK, endpoint.id)
    if row is None or endpoint_of(row).team != endpoint.team:
        raise NotFound(f"there is no endpoint '{endpoint.id}'", code="endpoint_not_found")
    if endpoint_of(row).version != endpoint.version - 1:
        raise Conflict(
            "somebody else changed the endpoint meanwhile",
            code="version_changed",
            next_step="read the endpoint again and repeat the change",
        )
    if endpoint.deleted_ms is None:
        await _check_name(tx, endpoint)
    await tx.execute(SAVE, *endpoint_values(endpoint)[_OWNED:], endpoint.id)
    if release is not None:
        await tx.execute(ADD_RELEASE, *release_values(release))
    await carry_out(tx, also)


async def _of_team(tx: Connection, team: TeamId) -> list[Endpoint]:
    return [endpoint_of(row) for row in await tx.fetch(OF_TEAM, team)]


async def _check_name(tx: Connection, endpoint: Endpoint) -> None:
    """A word of a URL must mean one endpoint: neither may answer to the other's name."""
    for other in await _of_team(tx, endpoint.team):
        if other.id != endpoint.id and (other.answers_to(endpoint.name) or endpoint.answers_to(other.name)):
            raise Conflict(
                f"the endpoint '{other.name}' already answers to that name",
                code="name_taken",
                field="name",
                next_step="choose another name, or delete that endpoint",
            )
