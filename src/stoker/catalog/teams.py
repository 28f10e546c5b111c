"""Operations on teams, members and keys: who comes in, and who lets whom in.

Nobody gives more than they have: a role above one's own, or a scope or an endpoint that one's own key lacks. Rules that compare a
team's things (the last owner, the last key that manages keys) are enforced inside the store's transaction.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Final

from stoker import ids
from stoker.audit import SERVER, Action, Actor, AuditLine, Facts, Kind, difference
from stoker.catalog.remembered import Remembered
from stoker.clock import Clock
from stoker.endpoint import check_range
from stoker.errors import Forbidden, InvalidInput, NotFound, Unauthenticated, Unavailable
from stoker.ids import EndpointId, KeyId, MemberId, TeamId
from stoker.store import Store
from stoker.store.audit import Written
from stoker.store.teams import no_key, no_member
from stoker.team import GRACE_MOST_MS, KEY_LIFE_MOST_MS, ApiKey, Member, Role, Scope, Team, check_name

USED_EVERY_MS: Final = 60_000
"""The last use of a key is written down at most so often: not once per request."""


@dataclass(frozen=True, kw_only=True, slots=True)
class NewKey:
    """A key that somebody asks for."""

    name: str
    scopes: frozenset[Scope]
    member: str | None = None
    """Whose it is, by id or name; None for who asks."""
    endpoints: frozenset[EndpointId] = frozenset()
    life_ms: int | None = None
    """From now until it expires; None for a key that does not."""


class Teams:
    """Operations on teams, members and keys."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._keys: Remembered[str, ApiKey] = Remembered(clock, self._read_key)

    # ── who comes in ──────────────────────────────────────────────────────────────────────────────────────────────────

    async def authenticate(self, secret: str) -> ApiKey:
        """The key that this secret opens. Raises `Unauthenticated`."""
        return await self.authenticate_hash(ids.secret_hash(secret))

    async def authenticate_hash(self, secret_hash: str) -> ApiKey:
        """The key whose secret has that hash. Raises `Unauthenticated`."""
        key = await self._keys.get(secret_hash)
        if key is None:
            raise Unauthenticated("the API key is not valid", next_step="send a valid key: Authorization: Bearer sk_…")
        key.check_opens(secret_hash, self._clock.now_ms())
        return key

    def last(self, secret_hash: str) -> ApiKey | None:
        """The key as it was read last, for what only tells about it."""
        return self._keys.last(secret_hash)

    def watch(self, tell: Callable[[], None]) -> None:
        """Call `tell` whenever a key, or what it may do, changed here."""
        self._keys.watch(tell)

    def trusted_until_ms(self, key: ApiKey, secret: str) -> int:
        """How long it is believed that this secret opens the key; 0 when it was not read lately."""
        secret_hash = ids.secret_hash(secret)
        ends = [self._keys.until_ms(secret_hash)]
        if key.expires_ms is not None:
            ends.append(key.expires_ms)
        if secret_hash != key.secret_hash:
            ends.append(key.old_until_ms or 0)
        return min(ends)

    async def _read_key(self, secret_hash: str) -> ApiKey | None:
        """The stored key. That it is used is written down, once in a while; nobody is refused because it could not be."""
        key = await self._store.teams.key(secret_hash)
        now_ms = self._clock.now_ms()
        if key is not None and key.revoked_ms is None and now_ms - (key.used_ms or 0) >= USED_EVERY_MS:
            with suppress(Unavailable):
                await self._store.teams.note_use(key.id, now_ms)
        return key

    async def bootstrap(self, secret: str | None) -> str | None:
        """On a fresh database: make the first team with its owner and a key. The secret if one was made now, else None."""
        if await self._store.teams.first() is not None:
            return None
        return (await self.create("default", "owner", secret))[1]

    async def create(self, name: str, owner: str, secret: str | None = None) -> tuple[Team, str]:
        """A new team with an owner, and the secret of that one's key."""
        check_name(name)
        check_name(owner)
        now_ms = self._clock.now_ms()
        team = Team(id=ids.new_team_id(), name=name, created_ms=now_ms)
        member = Member(id=ids.new_member_id(), team=team.id, name=owner, role=Role.OWNER, created_ms=now_ms)
        chosen = secret or ids.new_api_key()
        key = _key(member, NewKey(name="admin", scopes=frozenset({Scope.ADMIN})), chosen, now_ms)
        by = Actor(team=team.id)
        lines = (
            _line(now_ms, by, Action.CREATED, team, None, {"name": name}),
            _line(now_ms, by, Action.CREATED, member, None, member_facts(member)),
            _line(now_ms, by, Action.CREATED, key, None, key_facts(key)),
        )
        await self._store.teams.add(team, member, key, *lines)
        return team, chosen

    # ── team and members ──────────────────────────────────────────────────────────────────────────────────────────────

    async def get(self, team: TeamId) -> Team:
        """The team of an authenticated key."""
        found = await self._store.teams.get(team)
        assert found is not None, "a key always names a stored team"
        return found

    async def is_operator(self, team: TeamId) -> bool:
        """Whether it is the first team, whose owner got the key of the first start: that of who operates the server."""
        first = await self._store.teams.first()
        return first is not None and first.id == team

    async def find(self, by: ApiKey, word: str) -> Team:
        """A team by id or name: any of them for the operator, for others their own. Raises `Forbidden` (`operator_only`), `NotFound`, and
        `InvalidInput` for a name that several have."""
        mine = await self.get(by.team)
        if word in (mine.id, mine.name):
            return mine
        await self.require_operator(by)
        found = await self._store.teams.called(word)
        if len(found) > 1:
            raise InvalidInput(
                f"several teams are called '{word[:100]}'", field="team", next_step="give the id: stoker team show"
            )
        if not found:
            raise NotFound(f"there is no team '{word[:100]}'", code="team_not_found", field="team")
        return found[0]

    async def require_operator(self, by: ApiKey) -> None:
        """Raise `Forbidden` (`operator_only`) unless the key is one of the operator's team."""
        if not await self.is_operator(by.team):
            raise Forbidden(
                "only the operator may do that: an admin of the first team of this server",
                code="operator_only",
                next_step="ask whoever operates the server",
            )

    async def rename(self, by: ApiKey, name: str) -> Team:
        """Give the team another name. Raises `Forbidden` for who is no owner."""
        check_name(name)
        _must_cover(by, Role.OWNER)
        before = await self.get(by.team)
        after = replace(before, name=name)
        if after != before:
            line = self._changed(by, after, {"name": before.name}, {"name": after.name})
            await self._store.teams.rename(after, line)
        return after

    async def members(self, team: TeamId) -> Sequence[Member]:
        """The team's members, oldest first, removed ones included."""
        return await self._store.teams.members(team)

    async def names(self, team: TeamId) -> dict[MemberId | None, str]:
        """Names of the team's members, for whoever shows what they did."""
        found: dict[MemberId | None, str] = {one.id: one.name for one in await self.members(team)}
        return found | {None: SERVER}

    async def add_member(self, by: ApiKey, name: str, role: Role) -> Member:
        """A new member, who needs a key to do anything. Raises `Conflict`, `Forbidden` for a role above one's own."""
        check_name(name)
        _must_cover(by, role)
        now_ms = self._clock.now_ms()
        member = Member(id=ids.new_member_id(), team=by.team, name=name, role=role, created_ms=now_ms)
        line = _line(now_ms, Actor.of(by), Action.CREATED, member, None, member_facts(member))
        await self._store.teams.add_member(member, line)
        return member

    async def update_member(self, by: ApiKey, member: str, *, name: str | None, role: Role | None) -> Member:
        """Another name or role; keys of the member do what the new role allows. Raises as `add_member`, `NotFound`."""
        before = await self.find_member(by.team, member)
        _must_cover(by, before.role)
        after = replace(before, name=before.name if name is None else name, role=before.role if role is None else role)
        check_name(after.name)
        _must_cover(by, after.role)
        if after != before:
            line = self._changed(by, after, *difference(member_facts(before), member_facts(after)))
            await self._store.teams.update_member(after, line)
            self._keys.forget()
        return after

    async def remove_member(self, by: ApiKey, member: str) -> Member:
        """A member leaves, and all keys that were theirs open nothing. Raises `Conflict` for the last owner."""
        before = await self.find_member(by.team, member)
        _must_cover(by, before.role)
        now_ms = self._clock.now_ms()
        after = replace(before, removed_ms=now_ms)
        line = _line(now_ms, Actor.of(by), Action.DELETED, before, member_facts(before), None)
        await self._store.teams.update_member(after, line)
        self._keys.forget()
        return after

    async def find_member(self, team: TeamId, word: str) -> Member:
        """The team's member of that id or name, if it was not removed. Raises `NotFound`."""
        for one in await self.members(team):
            if word in (one.id, one.name) and one.removed_ms is None:
                return one
        raise no_member(word)

    # ── keys ──────────────────────────────────────────────────────────────────────────────────────────────────────────

    async def create_key(self, by: ApiKey, wish: NewKey) -> tuple[ApiKey, str]:
        """A new key and its secret, which is shown only now. Raises `Forbidden` for more than one's own key may do."""
        check_name(wish.name)
        member = await self.find_member(by.team, wish.member or by.member)
        _must_cover(by, member.role)
        for scope in sorted(wish.scopes):
            by.require(scope)
        await self._check_endpoints(by, wish.endpoints)
        _check_life(wish.life_ms)
        secret, now_ms = ids.new_api_key(), self._clock.now_ms()
        key = _key(member, wish, secret, now_ms)
        await self._store.teams.add_key(key, _line(now_ms, Actor.of(by), Action.CREATED, key, None, key_facts(key)))
        return key, secret

    async def _check_endpoints(self, by: ApiKey, wanted: frozenset[EndpointId]) -> None:
        mine = {one.id for one in await self._store.endpoints.of_team(by.team) if by.reaches(one.id)}
        for endpoint in sorted(wanted - mine):
            raise InvalidInput(
                f"there is no endpoint '{endpoint[:100]}'",
                field="endpoints",
                next_step="list yours with: stoker endpoint ls",
            )

    async def keys(self, team: TeamId) -> Sequence[ApiKey]:
        """The team's keys, revoked ones included."""
        return await self._store.teams.keys(team)

    async def revoke_key(self, by: ApiKey, key: KeyId) -> ApiKey:
        """Revoke a key. Raises `NotFound`, and `Conflict` for the last key that can manage keys."""
        before = await self._key(by, key)
        if before.revoked_ms is not None:
            return before
        now_ms = self._clock.now_ms()
        admin = before.allows(Scope.ADMIN) and not before.endpoints
        line = _line(now_ms, Actor.of(by), Action.REVOKED, before, key_facts(before), None)
        await self._store.teams.revoke_key(by.team, key, now_ms, line, admin=admin)
        self._keys.forget()
        return replace(before, revoked_ms=now_ms)

    async def rotate_key(self, by: ApiKey, key: KeyId, *, grace_ms: int) -> tuple[ApiKey, str]:
        """Give a key a new secret, which is shown only now; the old one works for `grace_ms` more.

        Raises `NotFound`, `Conflict` for a revoked key.
        """
        if not 0 <= grace_ms <= GRACE_MOST_MS:
            raise InvalidInput(
                f"grace is {grace_ms // 1000} s; it must be from 0 to {GRACE_MOST_MS // 1000} seconds",
                code="out_of_range",
                field="grace_s",
            )
        before = await self._key(by, key)
        secret, now_ms = ids.new_api_key(), self._clock.now_ms()
        after = replace(
            before,
            secret_hash=ids.secret_hash(secret),
            old_hash=before.secret_hash,
            old_until_ms=now_ms + grace_ms,
        )
        line = _line(now_ms, Actor.of(by), Action.ROTATED, after, None, {"old_until_ms": after.old_until_ms})
        await self._store.teams.rotate_key(after, was=before.secret_hash, line=line)
        self._keys.forget()
        return after, secret

    async def set_rate(self, by: ApiKey, key: KeyId, rate: int | None) -> ApiKey:
        """Let a key ask so much of each endpoint at most; None for what the endpoint allows. Raises `NotFound`, `InvalidInput`."""
        if rate is not None:
            check_range("rate", rate)
        before = await self._key(by, key)
        after = replace(before, rate=rate)
        if after != before:
            line = self._changed(by, after, {"rate": before.rate}, {"rate": rate})
            await self._store.teams.set_rate(after, line)
            self._keys.forget()
        return after

    async def _key(self, by: ApiKey, key: KeyId) -> ApiKey:
        for one in await self.keys(by.team):
            if one.id == key:
                _must_cover(by, one.role)
                return one
        raise no_key(key)

    # ── audit ─────────────────────────────────────────────────────────────────────────────────────────────────────────

    async def audit(self, team: TeamId, *, before: int | None, thing: str, limit: int) -> Sequence[Written]:
        """Lines of the audit log, newest first."""
        return await self._store.audit.lines(team, before=before, thing=thing, limit=limit)

    def _changed(self, by: ApiKey, thing: Team | Member | ApiKey, before: Facts, after: Facts) -> AuditLine:
        return _line(self._clock.now_ms(), Actor.of(by), Action.CHANGED, thing, before, after)


def member_facts(member: Member) -> dict[str, Any]:
    """A member as the audit log keeps it."""
    return {"name": member.name, "role": member.role.value}


def key_facts(key: ApiKey) -> dict[str, Any]:
    """A key as the audit log keeps it: neither secret nor hash."""
    return {
        "name": key.name,
        "member": key.member,
        "scopes": sorted(key.scopes),
        "endpoints": sorted(key.endpoints),
        "expires_ms": key.expires_ms,
    }


def _line(
    at_ms: int, by: Actor, action: Action, thing: Team | Member | ApiKey, before: Facts | None, after: Facts | None
) -> AuditLine:
    kind = {Team: Kind.TEAM, Member: Kind.MEMBER, ApiKey: Kind.KEY}[type(thing)]
    return AuditLine(
        at_ms=at_ms, by=by, action=action, kind=kind, thing=thing.id, name=thing.name, before=before, after=after
    )


def _must_cover(by: ApiKey, role: Role) -> None:
    """Raise `Forbidden` unless who asks has that role or more: nobody gives or takes what is above them."""
    if not by.role.covers(role):
        raise Forbidden(
            f"this concerns a member with the role '{role}'; the API key belongs to one with the role '{by.role}'",
            code="role_too_low",
            next_step=f"use a key of a member with the role '{role}'",
        )


def _check_life(life_ms: int | None) -> None:
    if life_ms is not None and not 1_000 <= life_ms <= KEY_LIFE_MOST_MS:
        raise InvalidInput(
            f"expires_in_s is {life_ms // 1000}; it must be from 1 to {KEY_LIFE_MOST_MS // 1000} seconds",
            code="out_of_range",
            field="expires_in_s",
            next_step="leave it out for a key that does not expire",
        )


def _key(member: Member, wish: NewKey, secret: str, now_ms: int) -> ApiKey:
    return ApiKey(
        id=ids.new_key_id(),
        team=member.team,
        member=member.id,
        role=member.role,
        name=wish.name,
        scopes=wish.scopes,
        endpoints=wish.endpoints,
        secret_hash=ids.secret_hash(secret),
        created_ms=now_ms,
        expires_ms=None if wish.life_ms is None else now_ms + wish.life_ms,
    )


__all__ = ["USED_EVERY_MS", "NewKey", "Teams", "key_facts", "member_facts"]
