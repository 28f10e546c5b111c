"""Volumes in the database, and which releases mount them.

A release that mounts a volume has a row in `mounts`, written with it: so a volume that is needed cannot go, and one that is gone
cannot be needed. Needed is what the present release of a living endpoint mounts, and what a worker mounts that is not gone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from stoker.audit import AuditLine
from stoker.errors import Conflict, NotFound
from stoker.ids import ReleaseId, TeamId, VolumeId
from stoker.store import audit
from stoker.store.tables import Row, Step, Tables, insert, locked
from stoker.volume import Volume

COLUMNS: Final = "id, team, name, size_gb, mount_path, used_bytes, measured_ms, created_ms, updated_ms"
OF_TEAM: Final = f"SELECT {COLUMNS} FROM volumes WHERE team = $1 ORDER BY name"
ALL: Final = f"SELECT {COLUMNS} FROM volumes ORDER BY id"
NAME_IS_FREE: Final = """
    UPDATE teams SET name = name WHERE id = $1 AND NOT EXISTS (SELECT 1 FROM volumes WHERE team = $1 AND name = $2)"""
UPDATE: Final = """
    UPDATE volumes SET size_gb = $1, mount_path = $2, updated_ms = $3 WHERE team = $4 AND id = $5 AND size_gb <= $1"""
_USED: Final = """
    SELECT {what} FROM mounts
    JOIN releases ON releases.id = mounts.release JOIN endpoints ON endpoints.id = releases.endpoint
    WHERE endpoints.team = {team} AND mounts.volume = {volume}
      AND (endpoints.release = releases.id AND endpoints.deleted_ms IS NULL
        OR EXISTS (SELECT 1 FROM workers WHERE workers.release = releases.id AND workers.gone_ms IS NULL))"""
USERS: Final = _USED.format(what="DISTINCT endpoints.name", team="$1", volume="$2") + " ORDER BY endpoints.name"
NOT_USED: Final = f"""
    UPDATE volumes SET name = name
    WHERE team = $1 AND name = $2 AND NOT EXISTS ({_USED.format(what="1", team="$1", volume="$2")})"""
STAYS: Final = "UPDATE volumes SET name = name WHERE team = $1 AND name = $2"
MOUNT: Final = "INSERT INTO mounts (release, volume) VALUES ($1, $2)"
DELETE: Final = "DELETE FROM volumes WHERE team = $1 AND name = $2"
MEASURED: Final = "UPDATE volumes SET used_bytes = $1, measured_ms = $2 WHERE id = $3"
GREW: Final = (
    "UPDATE volumes SET used_bytes = CASE WHEN used_bytes + $1 > 0 THEN used_bytes + $1 ELSE 0 END WHERE id = $2"
)


class VolumeRows:
    """Volumes."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    async def of_team(self, team: TeamId) -> Sequence[Volume]:
        """By name."""
        return [_volume(row) for row in await self._tables.read(OF_TEAM, team)]

    async def all(self) -> Sequence[Volume]:
        """Those of all teams. Looks across teams: for loops."""
        return [_volume(row) for row in await self._tables.read(ALL)]

    async def users(self, volume: Volume) -> Sequence[str]:
        """Names of the endpoints that need it, those included whose last workers are still there."""
        return [row[0] for row in await self._tables.read(USERS, volume.team, volume.name)]

    async def add(self, volume: Volume, line: AuditLine) -> None:
        """Store one. Raises `Conflict` (`name_taken`)."""
        taken = Conflict(f"there is already a volume '{volume.name}'", code="name_taken", field="name")
        await self._tables.change(
            locked(volume.team),
            Step(NAME_IS_FREE, (volume.team, volume.name), taken),
            Step(insert("volumes", COLUMNS), _values(volume)),
            audit.step(line),
        )

    async def update(self, volume: Volume, line: AuditLine) -> None:
        """Store size and mount path. Raises `Conflict` (`version_changed`) when it is larger by now, or gone."""
        changed = Conflict(
            f"somebody else changed the volume '{volume.name}' meanwhile",
            code="version_changed",
            next_step="look at it again and repeat the change",
        )
        values = (volume.size_gb, volume.mount_path, volume.updated_ms, volume.team, volume.id)
        await self._tables.change(Step(UPDATE, values, changed), audit.step(line))

    async def delete(self, volume: Volume, line: AuditLine) -> None:
        """Forget it. Raises `Conflict` (`volume_in_use`), `NotFound`."""
        who = (volume.team, volume.name)
        await self._tables.change(
            locked(volume.team),
            stays(*who),
            Step(NOT_USED, who, in_use(volume, await self.users(volume))),
            Step(DELETE, who),
            audit.step(line),
        )

    async def measured(self, volume: VolumeId, used_bytes: int, at_ms: int) -> None:
        """Write down how much is in it. One that is gone is left alone."""
        await self._tables.change(Step(MEASURED, (used_bytes, at_ms, volume)))

    async def grew(self, volume: VolumeId, grown_bytes: int, line: AuditLine) -> None:
        """A client made it larger or smaller by that much."""
        await self._tables.change(Step(GREW, (grown_bytes, volume)), audit.step(line))


def stays(team: TeamId, name: str) -> Step:
    """A step for those who come to need it: it is there, and remains so until they have."""
    return Step(STAYS, (team, name), no_volume(name))


def mounted(release: ReleaseId, name: str) -> Step:
    """A step that says that the release mounts it."""
    return Step(MOUNT, (release, name))


def no_volume(name: str) -> NotFound:
    """The refusal for one that does not exist."""
    return NotFound(
        f"there is no volume '{name[:100]}'",
        code="volume_not_found",
        field="volume",
        next_step="list them: stoker volume ls; make one: stoker volume create NAME --size GIB",
    )


def in_use(volume: Volume, users: Sequence[str]) -> Conflict:
    """The refusal to delete one that is needed."""
    return Conflict(
        f"the volume '{volume.name}' is in use by {', '.join(users) or 'an endpoint'}",
        code="volume_in_use",
        next_step="take it out of these endpoints' volumes, or delete them; then wait until their workers are gone",
    )


def _volume(row: Row) -> Volume:
    return Volume(
        id=row[0],
        team=row[1],
        name=row[2],
        size_gb=row[3],
        mount_path=row[4],
        used_bytes=row[5],
        measured_ms=row[6],
        created_ms=row[7],
        updated_ms=row[8],
    )


def _values(volume: Volume) -> tuple[object, ...]:
    return (
        volume.id,
        volume.team,
        volume.name,
        volume.size_gb,
        volume.mount_path,
        volume.used_bytes,
        volume.measured_ms,
        volume.created_ms,
        volume.updated_ms,
    )


__all__ = ["VolumeRows", "in_use", "mounted", "no_volume", "stays"]
