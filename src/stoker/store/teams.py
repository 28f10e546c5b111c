"""Teams, members and keys in the database."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from stoker.audit import AuditLine
from stoker.errors import Conflict, NotFound
from stoker.ids import KeyId, TeamId
from stoker.store import audit
from stoker.store.tables import Row, Step, Tables, insert, locked
from stoker.team import ApiKey, Member, Role, Scope, Team

TEAM: Final = "id, name, created_ms"
MEMBER: Final = "id, team, name, role, created_ms, removed_ms"
_KEY: Final = [
    "id",
    "team",
    "member",
    "name",
    "scopes",
    "endpoints",
    "secret_hash",
    "created_ms",
    "expires_ms",
    "used_ms",
    "old_hash",
    "old_until_ms",
    "revoked_ms",
    "rate",
]
KEY: Final = ", ".join(f"api_keys.{name}" for name in _KEY) + ", members.role"
_FROM_KEYS: Final = "FROM api_keys JOIN members ON members.id = api_keys.member"

FIRST: Final = f"SELECT {TEAM} FROM teams ORDER BY seq LIMIT 1"
FIND: Final = f"SELECT {TEAM} FROM teams WHERE id = $1"
CALLED: Final = f"SELECT {TEAM} FROM teams WHERE id = $1 OR name = $1"
RENAME: Final = "UPDATE teams SET name = $1 WHERE id = $2"
MEMBERS: Final = f"SELECT {MEMBER} FROM members WHERE team = $1 ORDER BY seq"
NAME_IS_FREE: Final = """
    UPDATE teams SET name = name WHERE id = $1 AND NOT EXISTS (
      SELECT 1 FROM members WHERE team = $1 AND name = $2 AND id <> $3 AND removed_ms IS NULL)"""
ANOTHER_OWNER: Final = """
    UPDATE teams SET name = name WHERE id = $1 AND EXISTS (
      SELECT 1 FROM members WHERE team = $1 AND id <> $2 AND role = 'owner' AND removed_ms IS NULL)"""
UPDATE_MEMBER: Final = """
    UPDATE members SET name = $1, role = $2, removed_ms = $3 WHERE team = $4 AND id = $5 AND removed_ms IS NULL"""
REVOKE_OF: Final = "UPDATE api_keys SET revoked_ms = $1 WHERE team = $2 AND member = $3 AND revoked_ms IS NULL"
FIND_KEY: Final = f"""
    SELECT {KEY} {_FROM_KEYS} WHERE api_keys.secret_hash = $1
    UNION ALL SELECT {KEY} {_FROM_KEYS} WHERE api_keys.old_hash = $1"""
KEYS: Final = f"SELECT {KEY} {_FROM_KEYS} WHERE api_keys.team = $1 ORDER BY api_keys.seq"
MEMBER_STAYS: Final = "UPDATE members SET name = name WHERE team = $1 AND id = $2 AND removed_ms IS NULL"
REVOKE: Final = "UPDATE api_keys SET revoked_ms = coalesce(revoked_ms, $1) WHERE team = $2 AND id = $3"
ANOTHER_ADMIN: Final = """
    UPDATE teams SET name = name WHERE id = $1 AND EXISTS (
      SELECT 1 FROM api_keys JOIN members ON members.id = api_keys.member
      WHERE api_keys.team = $1 AND api_keys.id <> $2 AND api_keys.revoked_ms IS NULL AND api_keys.endpoints = ''
        AND (api_keys.expires_ms IS NULL OR api_keys.expires_ms > $3)
        AND ' ' || api_keys.scopes || ' ' LIKE '% admin %' AND members.role IN ('admin', 'owner'))"""
ROTATE: Final = """
    UPDATE api_keys SET old_hash = secret_hash, old_until_ms = $1, secret_hash = $2
    WHERE team = $3 AND id = $4 AND secret_hash = $5 AND revoked_ms IS NULL"""
SET_RATE: Final = "UPDATE api_keys SET rate = $1 WHERE team = $2 AND id = $3"
USED: Final = "UPDATE api_keys SET used_ms = $1 WHERE id = $2 AND (used_ms IS NULL OR used_ms < $1)"


class TeamRows:
    """Teams, members and keys."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    # ── teams and members ─────────────────────────────────────────────────────────────────────────────────────────────

    async def add(self, team: Team, member: Member, key: ApiKey, *lines: AuditLine) -> None:
        """Store a team with its first member and that one's first key."""
        await self._tables.change(
            Step(insert("teams", TEAM), (team.id, team.name, team.created_ms)),
            Step(insert("members", MEMBER), _member_values(member)),
            Step(insert("api_keys", ", ".join(_KEY)), _key_values(key)),
            *map(audit.step, lines),
        )

    async def first(self) -> Team | None:
        """The oldest team, or None on a fresh database."""
        return next((_team(row) for row in await self._tables.read(FIRST)), None)

    async def get(self, team: TeamId) -> Team | None:
        """One team."""
        return next((_team(row) for row in await self._tables.read(FIND, team)), None)

    async def called(self, word: str) -> Sequence[Team]:
        """Teams with that id or name. Looks across teams: for the operator."""
        return [_team(row) for row in await self._tables.read(CALLED, word)]

    async def rename(self, team: Team, line: AuditLine) -> None:
        """Store the team's name."""
        await self._tables.change(Step(RENAME, (team.name, team.id)), audit.step(line))

    async def members(self, team: TeamId) -> Sequence[Member]:
        """The team's members, oldest first, removed ones included."""
        return [_member(row) for row in await self._tables.read(MEMBERS, team)]

    async def add_member(self, member: Member, line: AuditLine) -> None:
        """Store a member. Raises `Conflict` (`name_taken`)."""
        await self._tables.change(
            locked(member.team),
            _name_is_free(member),
            Step(insert("members", MEMBER), _member_values(member)),
            audit.step(line),
        )

    async def update_member(self, member: Member, line: AuditLine) -> None:
        """Store name, role or removal; who is removed loses all keys.

        Raises `Conflict`: `name_taken`, `last_owner` when nobody would be one; `NotFound` for a removed one.
        """
        steps = [locked(member.team)]
        if member.removed_ms is None:
            steps.append(_name_is_free(member))
        if member.role is not Role.OWNER or member.removed_ms is not None:
            steps.append(Step(ANOTHER_OWNER, (member.team, member.id), _last_owner()))
        values = (member.name, member.role.value, member.removed_ms, member.team, member.id)
        steps.append(Step(UPDATE_MEMBER, values, no_member(member.id)))
        if member.removed_ms is not None:
            steps.append(Step(REVOKE_OF, (member.removed_ms, member.team, member.id)))
        await self._tables.change(*steps, audit.step(line))

    # ── keys ──────────────────────────────────────────────────────────────────────────────────────────────────────────

    async def add_key(self, key: ApiKey, *lines: AuditLine) -> None:
        """Store a key. Raises `NotFound` when its member was removed."""
        await self._tables.change(
            Step(MEMBER_STAYS, (key.team, key.member), no_member(key.member)),
            Step(insert("api_keys", ", ".join(_KEY)), _key_values(key)),
            *map(audit.step, lines),
        )

    async def key(self, secret_hash: str) -> ApiKey | None:
        """The key that this secret is, or was before the last rotation; revoked and expired ones included.

        Looks across teams: it is how a client says who it is.
        """
        return next((_key(row) for row in await self._tables.read(FIND_KEY, secret_hash)), None)

    async def keys(self, team: TeamId) -> Sequence[ApiKey]:
        """The team's keys, oldest first, revoked ones included."""
        return [_key(row) for row in await self._tables.read(KEYS, team)]

    async def revoke_key(self, team: TeamId, key: KeyId, at_ms: int, *lines: AuditLine, admin: bool = False) -> None:
        """Revoke a key; the first time counts. `admin` when another that manages keys has to stay.

        Raises `NotFound`, `Conflict` (`last_admin_key`).
        """
        steps = [locked(team)]
        if admin:
            steps.append(Step(ANOTHER_ADMIN, (team, key, at_ms), _last_admin_key()))
        steps.append(Step(REVOKE, (at_ms, team, key), no_key(key)))
        await self._tables.change(*steps, *map(audit.step, lines))

    async def rotate_key(self, key: ApiKey, *, was: str, line: AuditLine) -> None:
        """Store the key's new secret, and until when the old one works. `was` is the hash that it replaces.

        Raises `Conflict` (`key_changed`) when it was revoked, or rotated by somebody else.
        """
        values = (key.old_until_ms, key.secret_hash, key.team, key.id, was)
        await self._tables.change(Step(ROTATE, values, _key_changed()), audit.step(line))

    async def set_rate(self, key: ApiKey, line: AuditLine) -> None:
        """Store how much the key may ask. Raises `NotFound`."""
        await self._tables.change(Step(SET_RATE, (key.rate, key.team, key.id), no_key(key.id)), audit.step(line))

    async def note_use(self, key: KeyId, at_ms: int) -> None:
        """When the key was last used. Looks across teams: it was found by its secret."""
        await self._tables.change(Step(USED, (at_ms, key)))


def _name_is_free(member: Member) -> Step:
    taken = Conflict(
        f"there is already a member '{member.name}'",
        code="name_taken",
        field="name",
        next_step="choose another name; list them: stoker member ls",
    )
    return Step(NAME_IS_FREE, (member.team, member.name, member.id), taken)


def no_member(member: str) -> NotFound:
    """The refusal for a member that does not exist, or does no more."""
    return NotFound(
        f"there is no member '{member[:100]}'", code="member_not_found", next_step="list them: stoker member ls"
    )


def no_key(key: KeyId) -> NotFound:
    """The refusal for a key that does not exist."""
    return NotFound(f"there is no key '{key[:100]}'", code="key_not_found", next_step="list them: stoker key ls")


def _last_owner() -> Conflict:
    return Conflict(
        "this is the team's last owner",
        code="last_owner",
        next_step="make another member an owner first: stoker member update MEMBER --role owner",
    )


def _last_admin_key() -> Conflict:
    return Conflict(
        "this is the team's last admin key",
        code="last_admin_key",
        next_step="make another first: stoker key create NAME --scope admin",
    )


def _key_changed() -> Conflict:
    return Conflict(
        "the key was revoked or rotated meanwhile", code="key_changed", next_step="look at it: stoker key ls"
    )


# ── rows ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _team(row: Row) -> Team:
    return Team(id=row[0], name=row[1], created_ms=row[2])


def _member(row: Row) -> Member:
    return Member(id=row[0], team=row[1], name=row[2], role=Role(row[3]), created_ms=row[4], removed_ms=row[5])


def _member_values(member: Member) -> tuple[object, ...]:
    return (member.id, member.team, member.name, member.role.value, member.created_ms, member.removed_ms)


def _key(row: Row) -> ApiKey:
    return ApiKey(
        id=row[0],
        team=row[1],
        member=row[2],
        name=row[3],
        scopes=frozenset(Scope(word) for word in row[4].split()),
        endpoints=frozenset(row[5].split()),
        secret_hash=row[6],
        created_ms=row[7],
        expires_ms=row[8],
        used_ms=row[9],
        old_hash=row[10],
        old_until_ms=row[11],
        revoked_ms=row[12],
        rate=row[13],
        role=Role(row[14]),
    )


def _key_values(key: ApiKey) -> tuple[object, ...]:
    return (
        key.id,
        key.team,
        key.member,
        key.name,
        " ".join(sorted(key.scopes)),
        " ".join(sorted(key.endpoints)),
        key.secret_hash,
        key.created_ms,
        key.expires_ms,
        key.used_ms,
        key.old_hash,
        key.old_until_ms,
        key.revoked_ms,
        key.rate,
    )


__all__ = ["TeamRows", "no_key", "no_member"]
