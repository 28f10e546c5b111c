"""Registry credentials in the database. A password is sealed before it comes here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from stoker.audit import AuditLine
from stoker.errors import Conflict, NotFound
from stoker.ids import CredentialId, TeamId
from stoker.registry import Credential
from stoker.store import audit
from stoker.store.tables import Row, Step, Tables, insert, locked

COLUMNS: Final = "id, team, name, registry, username, password, created_ms, updated_ms"
OF_TEAM: Final = f"SELECT {COLUMNS} FROM credentials WHERE team = $1 ORDER BY name"
FIND: Final = f"SELECT {COLUMNS} FROM credentials WHERE team = $1 AND id = $2"
NAME_IS_FREE: Final = """
    UPDATE teams SET name = name WHERE id = $1 AND NOT EXISTS (
      SELECT 1 FROM credentials WHERE team = $1 AND name = $2 AND id <> $3)"""
UPDATE: Final = """
    UPDATE credentials SET name = $1, registry = $2, username = $3, password = $4, updated_ms = $5
    WHERE team = $6 AND id = $7"""
USERS: Final = """
    SELECT endpoints.name FROM releases JOIN endpoints ON endpoints.id = releases.endpoint AND endpoints.release = releases.id
    WHERE releases.credential = $1 AND endpoints.deleted_ms IS NULL ORDER BY endpoints.name"""
NOT_USED: Final = """
    UPDATE credentials SET name = name WHERE team = $1 AND id = $2 AND NOT EXISTS (
      SELECT 1 FROM releases JOIN endpoints ON endpoints.id = releases.endpoint AND endpoints.release = releases.id
      WHERE releases.credential = $2 AND endpoints.deleted_ms IS NULL)"""
STAYS: Final = "UPDATE credentials SET name = name WHERE team = $1 AND id = $2"
DELETE: Final = "DELETE FROM credentials WHERE team = $1 AND id = $2"


class CredentialRows:
    """Registry credentials."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    async def of_team(self, team: TeamId) -> Sequence[Credential]:
        """By name."""
        return [_credential(row) for row in await self._tables.read(OF_TEAM, team)]

    async def get(self, team: TeamId, credential: CredentialId) -> Credential | None:
        """One of the team's."""
        return next((_credential(row) for row in await self._tables.read(FIND, team, credential)), None)

    async def users(self, credential: CredentialId) -> Sequence[str]:
        """Names of the endpoints whose present release needs it."""
        return [row[0] for row in await self._tables.read(USERS, credential)]

    async def add(self, credential: Credential, line: AuditLine) -> None:
        """Store one. Raises `Conflict` (`name_taken`)."""
        insertion = Step(insert("credentials", COLUMNS), _values(credential))
        await self._tables.change(locked(credential.team), _name_is_free(credential), insertion, audit.step(line))

    async def update(self, credential: Credential, line: AuditLine) -> None:
        """Store everything about it. Raises `Conflict` (`name_taken`), `NotFound`."""
        values = (
            credential.name,
            credential.registry,
            credential.username,
            credential.password,
            credential.updated_ms,
            credential.team,
            credential.id,
        )
        update = Step(UPDATE, values, no_credential(credential.id))
        await self._tables.change(locked(credential.team), _name_is_free(credential), update, audit.step(line))

    async def delete(self, credential: Credential, line: AuditLine) -> None:
        """Forget it. Raises `Conflict` (`credential_in_use`), `NotFound`."""
        in_use = Conflict(
            f"an endpoint uses the credential '{credential.name}'",
            code="credential_in_use",
            next_step=f"see which: stoker credential show {credential.id}",
        )
        who = (credential.team, credential.id)
        await self._tables.change(
            locked(credential.team),
            stays(*who),
            Step(NOT_USED, who, in_use),
            Step(DELETE, who),
            audit.step(line),
        )


def stays(team: TeamId, credential: CredentialId) -> Step:
    """A step for those who come to need it: it is there, and remains so until they have."""
    return Step(STAYS, (team, credential), no_credential(credential))


def no_credential(credential: CredentialId) -> NotFound:
    """The refusal for one that does not exist."""
    return NotFound(
        f"there is no registry credential '{credential[:100]}'",
        code="credential_not_found",
        field="credential",
        next_step="list them: stoker credential ls",
    )


def _name_is_free(credential: Credential) -> Step:
    taken = Conflict(f"there is already a registry credential '{credential.name}'", code="name_taken", field="name")
    return Step(NAME_IS_FREE, (credential.team, credential.name, credential.id), taken)


def _credential(row: Row) -> Credential:
    return Credential(
        id=row[0],
        team=row[1],
        name=row[2],
        registry=row[3],
        username=row[4],
        password=row[5],
        created_ms=row[6],
        updated_ms=row[7],
    )


def _values(credential: Credential) -> tuple[object, ...]:
    return (
        credential.id,
        credential.team,
        credential.name,
        credential.registry,
        credential.username,
        credential.password,
        credential.created_ms,
        credential.updated_ms,
    )


__all__ = ["CredentialRows", "no_credential", "stays"]
