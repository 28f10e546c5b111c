"""Operations on registry credentials: who may pull images from where.

Passwords are sealed before they are stored and opened by `login`, for the pull. An endpoint names a credential by its id; one that an
endpoint's present release names cannot be deleted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Protocol

from stoker import ids
from stoker.audit import Action, Actor, AuditLine, Kind, difference
from stoker.clock import Clock
from stoker.endpoint import Release
from stoker.ids import CredentialId, TeamId
from stoker.registry import Credential, Login, check
from stoker.store import Store
from stoker.store.credentials import no_credential
from stoker.vault import Vault

MASKED: Final = {"secret": True}


class Registries(Protocol):
    """Registries of images, wherever they are."""

    async def check(self, login: Login) -> None:
        """Whether the registry lets the login in. Raises `InvalidInput` when it does not, `Unavailable` when nobody can tell."""
        ...

    async def find(self, image: str, login: Login | None) -> str:
        """The digest of an image that its registry has and the login, or everybody, may pull. Raises `InvalidInput`, `Unavailable`."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class CredentialWish:
    """What is asked for; None keeps what there is."""

    name: str | None = None
    registry: str | None = None
    username: str | None = None
    password: str | None = None

    def __repr__(self) -> str:
        return f"CredentialWish(name={self.name!r}, registry={self.registry!r})"


class Credentials:
    """Operations on registry credentials."""

    def __init__(self, store: Store, clock: Clock, vault: Vault, registries: Registries) -> None:
        self._store = store
        self._clock = clock
        self._vault = vault
        self._registries = registries

    async def of_team(self, team: TeamId) -> Sequence[Credential]:
        """By name."""
        return await self._store.credentials.of_team(team)

    async def find(self, team: TeamId, word: str) -> Credential:
        """The team's credential of that id or name. Raises `NotFound`."""
        for one in await self.of_team(team):
            if word in (one.id, one.name):
                return one
        raise no_credential(CredentialId(word))

    async def users(self, credential: Credential) -> Sequence[str]:
        """Names of the endpoints whose present release needs it."""
        return await self._store.credentials.users(credential.id)

    async def create(self, by: Actor, wish: CredentialWish) -> Credential:
        """Store one. Raises `InvalidInput`, `Conflict`."""
        now_ms = self._clock.now_ms()
        credential = Credential(
            id=ids.new_credential_id(),
            team=by.team,
            name=wish.name or "",
            registry=wish.registry or "",
            username=wish.username or "",
            password="",
            created_ms=now_ms,
            updated_ms=now_ms,
        )
        check(credential, wish.password or "")
        credential = replace(credential, password=self._vault.seal(wish.password or "", by.team))
        await self._store.credentials.add(credential, _line(by, Action.CREATED, credential, None, facts(credential)))
        return credential

    async def update(self, by: Actor, before: Credential, wish: CredentialWish) -> Credential:
        """Store what is given. Workers that are launched from now on use it. Raises as `create`, and `NotFound`."""
        after = replace(
            before,
            name=before.name if wish.name is None else wish.name,
            registry=before.registry if wish.registry is None else wish.registry,
            username=before.username if wish.username is None else wish.username,
        )
        check(after, wish.password)
        old, new = difference(facts(before), facts(after))
        if wish.password is not None:
            after = replace(after, password=self._vault.seal(wish.password, by.team))
            old, new = {**old, "password": MASKED}, {**new, "password": MASKED}
        if after == before:
            return before
        after = replace(after, updated_ms=self._clock.now_ms())
        await self._store.credentials.update(after, _line(by, Action.CHANGED, after, old, new))
        return after

    async def delete(self, by: Actor, credential: Credential) -> None:
        """Forget it. Raises `Conflict` (`credential_in_use`)."""
        line = _line(by, Action.DELETED, credential, facts(credential), None, at_ms=self._clock.now_ms())
        await self._store.credentials.delete(credential, line)

    async def login(self, team: TeamId, credential: CredentialId) -> Login:
        """The credential, opened: for a pull of the team's image. Raises `NotFound`, `Unavailable`."""
        return await login(self._store, self._vault, team, credential)

    async def test(self, credential: Credential) -> None:
        """Ask the registry whether it lets the credential in. Raises as `Registries.check`."""
        await self._registries.check(await self.login(credential.team, credential.id))


async def login(store: Store, vault: Vault, team: TeamId, credential: CredentialId) -> Login:
    """The team's credential, opened: whoever pulls an image for the team asks for it then, and keeps it no longer.

    Raises `NotFound`, `Unavailable`.
    """
    found = await store.credentials.get(team, credential)
    if found is None:
        raise no_credential(credential)
    password = await vault.open(found.password, team)
    return Login(registry=found.registry, username=found.username, password=password)


async def release_login(store: Store, vault: Vault, release: Release) -> Login | None:
    """With what the release's image is pulled; None for images that everybody may pull. Raises as `login`."""
    if release.credential is None:
        return None
    endpoint = await store.endpoints.get(release.endpoint)
    return None if endpoint is None else await login(store, vault, endpoint.team, release.credential)


def facts(credential: Credential) -> dict[str, Any]:
    """A credential as it is shown: without its password."""
    return {"name": credential.name, "registry": credential.registry, "username": credential.username}


def _line(
    by: Actor,
    action: Action,
    credential: Credential,
    before: dict[str, Any] | Any,
    after: dict[str, Any] | Any,
    *,
    at_ms: int | None = None,
) -> AuditLine:
    return AuditLine(
        at_ms=credential.updated_ms if at_ms is None else at_ms,
        by=by,
        action=action,
        kind=Kind.CREDENTIAL,
        thing=credential.id,
        name=credential.name,
        before=before,
        after=after,
    )


__all__ = ["CredentialWish", "Credentials", "Registries", "facts", "login", "release_login"]
