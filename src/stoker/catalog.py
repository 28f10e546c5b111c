"""What customers configure: endpoints and their releases, keys, the first team.

Called by the management API. Ranges are checked by `endpoint.check`; what only the machine can tell (is the image there, are
there GPUs at all) is asked from the runtime before anything is stored, so that an endpoint that can never work is refused with
the reason.

Every request of a customer names a key and an endpoint, so both are remembered for `TRUST_MS`. What this server changes it
forgets at once: a key revoked here opens nothing here once the revocation is answered. What another server on the same
database changes is seen within that time.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Generic, TypeVar

from stoker import ids
from stoker.clock import Clock
from stoker.endpoint import Endpoint, Release, check, same_work
from stoker.errors import Conflict, InvalidInput, NotFound, Unauthenticated
from stoker.ids import EndpointId, KeyId, TeamId
from stoker.images import Images
from stoker.runtimes import ChecksImages, Runtime
from stoker.signals import Signals
from stoker.store import Store
from stoker.team import ApiKey, Scope, Team

KEY_NAME_MOST = 100
TRUST_MS: Final = 1_000
"""How long a key or an endpoint is believed to be as it was read."""
REMEMBERED_MOST: Final = 10_000
"""Keys or names of endpoints that are remembered at once."""

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

_OF_RELEASE = frozenset({"image", "command", "env", "gpus_per_worker", "entrypoint", "volumes", "http_port", "disk_gb"})
_OF_ENDPOINT = frozenset(
    {
        "name",
        "app_name",
        "min_workers",
        "max_workers",
        "idle_timeout_s",
        "slots",
        "policy",
        "execution_timeout_ms",
        "ttl_ms",
        "retries",
        "retention_s",
        "deliver_ahead",
    }
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Deployed:
    """An endpoint with the release that its new workers run."""

    endpoint: Endpoint
    release: Release


@dataclass(frozen=True, kw_only=True, slots=True)
class Defaults:
    """What an endpoint gets when its creator does not say."""

    retention_s: int


class Catalog:
    """Operations on endpoints, teams and keys."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        signals: Signals,
        runtime: Runtime,
        defaults: Defaults,
        images: Images | None = None,
    ) -> None:
        self._store = store
        self._clock = clock
        self._signals = signals
        self._runtime = runtime
        self._defaults = defaults
        self._images = images or Images(store, clock, runtime)
        self._keys: _Remembered[str, ApiKey] = _Remembered(clock, store.teams.key)
        self._endpoints: _Remembered[tuple[TeamId, str], Endpoint] = _Remembered(clock, self._look_up)

    # ── endpoints ─────────────────────────────────────────────────────────────────────────────────────────────────────

    async def create(self, team: TeamId, fields: Mapping[str, Any]) -> Deployed:
        """Store an endpoint with its first release. `fields` are those of `Endpoint` and `Release` that were given.

        Raises `InvalidInput` for a value out of range or an image that cannot work, `Conflict` for a taken name.
        """
        now_ms = self._clock.now_ms()
        endpoint_id, release_id = ids.new_endpoint_id(), ids.new_release_id()
        ours = {name: fields[name] for name in _OF_ENDPOINT & fields.keys()}
        ours.setdefault("name", ids.new_endpoint_name())
        ours.setdefault("retention_s", self._defaults.retention_s)
        ours.setdefault("max_workers", max(3, ours.get("min_workers", 0)))
        endpoint = Endpoint(id=endpoint_id, team=team, release=release_id, created_ms=now_ms, **ours)
        theirs = {name: fields[name] for name in _OF_RELEASE & fields.keys()}
        release = Release(id=release_id, endpoint=endpoint_id, number=1, created_ms=now_ms, **theirs)
        check(endpoint, release)
        await self._check_machine(release)
        await self._store.endpoints.add(endpoint, release)
        self._endpoints.forget()  # its name may have been the id of another
        self._images.warm_release(release)
        self._signals.scale(endpoint.id)
        return Deployed(endpoint=endpoint, release=release)

    async def update(self, deployed: Deployed, fields: Mapping[str, Any]) -> Deployed:
        """Change the given fields. A change of what workers execute makes a new release.

        Raises as `create`, and `Conflict` (`version_changed`) when somebody else changed the endpoint meanwhile.
        """
        now_ms = self._clock.now_ms()
        ours = {name: fields[name] for name in _OF_ENDPOINT & fields.keys()}
        theirs = {name: fields[name] for name in _OF_RELEASE & fields.keys()}
        before = deployed.endpoint
        if ours.get("app_name", before.app_name) != before.app_name:
            raise InvalidInput("app_name is part of the URL and cannot be changed", field="app_name")
        release = replace(
            deployed.release,
            id=ids.new_release_id(),
            number=deployed.release.number + 1,
            digest="",
            created_ms=now_ms,
            **theirs,
        )
        new = not same_work(deployed.release, release)
        present = release if new else deployed.release
        after = replace(before, **ours, release=present.id, version=before.version + 1)
        check(after, present)
        if new:
            await self._check_machine(release)
        await self._store.endpoints.update(after, release if new else None)
        self._endpoints.forget()
        if new:
            self._images.warm_release(release)
        self._signals.scale(after.id)
        return Deployed(endpoint=after, release=present)

    async def retry(self, deployed: Deployed) -> Deployed:
        """Launch again after a crash loop: what failed until now does not count any more."""
        await self._store.endpoints.forgive(deployed.release.id, self._clock.now_ms())
        self._signals.scale(deployed.endpoint.id)
        return deployed

    async def delete(self, deployed: Deployed) -> Deployed:
        """Delete the endpoint: its queue is purged, its workers finish and go, its name is free at once."""
        now_ms = self._clock.now_ms()
        gone = replace(deployed.endpoint, deleted_ms=now_ms, version=deployed.endpoint.version + 1)
        await self._store.endpoints.update(gone, None)
        self._endpoints.forget()
        await self._store.jobs.purge_queue(gone.id, now_ms)
        self._signals.scale(gone.id)
        return Deployed(endpoint=gone, release=deployed.release)

    async def _check_machine(self, release: Release) -> None:
        if isinstance(self._runtime, ChecksImages):
            await self._runtime.check_image(release.image, release.command)
        if release.gpus_per_worker:
            capacity = await self._runtime.capacity()
            if len(capacity.gpus) < release.gpus_per_worker:
                raise InvalidInput(
                    f"a worker needs {release.gpus_per_worker} GPUs; this machine has {len(capacity.gpus)}"
                    + (f" ({capacity.text})" if capacity.text else ""),
                    code="no_such_capacity",
                    field="gpus_per_worker",
                    next_step="lower gpus_per_worker, or run Stoker on a machine with that many GPUs",
                )

    async def find(self, team: TeamId, word: str) -> Endpoint:
        """The team's endpoint that answers to `word`: its name, its id, or `{id}-{appName}`. Raises `NotFound`."""
        endpoint = await self._endpoints.get((team, word))
        if endpoint is None:
            raise NotFound(
                f"there is no endpoint '{word[:100]}'",
                code="endpoint_not_found",
                field="endpoint",
                next_step="list yours with: stoker endpoint ls",
            )
        return endpoint

    async def _look_up(self, who: tuple[TeamId, str]) -> Endpoint | None:
        team, word = who
        mine = await self._store.endpoints.of_team(team)
        return next((endpoint for endpoint in mine if endpoint.answers_to(word)), None)

    async def name_of(self, endpoint: EndpointId) -> str:
        """The name of an endpoint, deleted ones included."""
        found = await self._store.endpoints.get(endpoint)
        return "" if found is None else found.name

    async def deployed(self, endpoint: Endpoint) -> Deployed:
        """The endpoint with its present release."""
        release = await self._store.endpoints.release(endpoint.release)
        assert release is not None, "an endpoint always names a stored release"
        return Deployed(endpoint=endpoint, release=release)

    async def endpoints(self, team: TeamId) -> Sequence[Endpoint]:
        """The team's endpoints, by name."""
        return await self._store.endpoints.of_team(team)

    async def releases(self, endpoint: Endpoint) -> Sequence[Release]:
        """All releases of the endpoint, newest first."""
        return await self._store.endpoints.releases(endpoint.id)

    # ── teams and keys ────────────────────────────────────────────────────────────────────────────────────────────────

    async def bootstrap(self, secret: str | None) -> str | None:
        """On a fresh database: make the first team and its admin key. The secret if one was made now, else None."""
        if await self._store.teams.first() is not None:
            return None
        now_ms = self._clock.now_ms()
        team = Team(id=ids.new_team_id(), name="default", created_ms=now_ms)
        chosen = secret or ids.new_api_key()
        await self._store.teams.add(team, _key(team.id, "admin", frozenset({Scope.ADMIN}), chosen, now_ms))
        return chosen

    async def authenticate(self, secret: str) -> ApiKey:
        """The key that this secret opens. Raises `Unauthenticated`."""
        key = await self._keys.get(ids.secret_hash(secret))
        if key is None or key.revoked_ms is not None:
            raise Unauthenticated(
                "the API key is not valid" if key is None else "the API key was revoked",
                next_step="send a valid key: Authorization: Bearer sk_…",
            )
        return key

    async def team(self, team: TeamId) -> Team:
        """The team of an authenticated key."""
        found = await self._store.teams.get(team)
        assert found is not None, "a key always names a stored team"
        return found

    async def create_key(self, team: TeamId, name: str, scopes: frozenset[Scope]) -> tuple[ApiKey, str]:
        """A new key and its secret, which is shown only now."""
        if not 1 <= len(name) <= KEY_NAME_MOST or not name.isprintable():
            raise InvalidInput(f"a key's name has 1 to {KEY_NAME_MOST} printable characters", field="name")
        secret = ids.new_api_key()
        key = _key(team, name, scopes, secret, self._clock.now_ms())
        await self._store.teams.add_key(key)
        return key, secret

    async def keys(self, team: TeamId) -> Sequence[ApiKey]:
        """The team's keys, revoked ones included."""
        return await self._store.teams.keys(team)

    async def revoke_key(self, team: TeamId, key: KeyId) -> ApiKey:
        """Revoke a key. Raises `NotFound`, and `Conflict` for the last key that can manage keys."""
        mine = {one.id: one for one in await self._store.teams.keys(team)}
        if key not in mine:
            raise NotFound(f"there is no key '{key[:100]}'", code="key_not_found", next_step="list them: stoker key ls")
        others = [one for one in mine.values() if one.id != key and one.allows(Scope.ADMIN)]
        if mine[key].allows(Scope.ADMIN) and not others:
            raise Conflict(
                "this is the team's last admin key",
                code="last_admin_key",
                next_step="make another first: stoker key create NAME --scope admin",
            )
        now_ms = self._clock.now_ms()
        await self._store.teams.revoke_key(team, key, now_ms)
        self._keys.forget()
        return replace(mine[key], revoked_ms=mine[key].revoked_ms or now_ms)


class _Remembered(Generic[K, V]):
    """What `read` found, for `TRUST_MS` from the moment it was asked. That nothing was found is not remembered."""

    def __init__(self, clock: Clock, read: Callable[[K], Awaitable[V | None]]) -> None:
        self._clock = clock
        self._read = read
        self._found: dict[K, tuple[int, V]] = {}
        self._forgotten = 0

    async def get(self, name: K) -> V | None:
        """As remembered, or as it is now."""
        now_ms = self._clock.now_ms()
        until_ms, found = self._found.get(name, (0, None))
        if now_ms < until_ms:
            return found
        forgotten = self._forgotten
        found = await self._read(name)
        if found is not None and forgotten == self._forgotten:
            if len(self._found) >= REMEMBERED_MOST:
                self._found.clear()
            self._found[name] = (now_ms + TRUST_MS, found)
        return found

    def forget(self) -> None:
        """Something changed. What is being read right now is not remembered either: it may be from before."""
        self._found.clear()
        self._forgotten += 1


def _key(team: TeamId, name: str, scopes: frozenset[Scope], secret: str, now_ms: int) -> ApiKey:
    return ApiKey(
        id=ids.new_key_id(),
        team=team,
        name=name,
        scopes=scopes,
        secret_hash=ids.secret_hash(secret),
        created_ms=now_ms,
    )


__all__ = ["Catalog", "Defaults", "Deployed"]
