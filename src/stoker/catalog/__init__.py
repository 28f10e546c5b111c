"""What customers configure: endpoints and their releases, templates, registry credentials; teams, members and keys.

Called by the management API, and by every request that brings a key. A file per noun; `Catalog` holds them together. Each change
is written with its line of the audit log.
"""

from __future__ import annotations

from functools import partial
from typing import Final

from stoker import ids
from stoker.catalog.credentials import Credentials, Registries, login, release_login
from stoker.catalog.endpoints import Defaults, Deployed, Endpoints
from stoker.catalog.entrances import Entrance, Entrances, Way
from stoker.catalog.lookups import Lookups
from stoker.catalog.remembered import TRUST_MS
from stoker.catalog.sessions import Sessions
from stoker.catalog.teams import NewKey, Teams
from stoker.catalog.templates import Templates
from stoker.catalog.views import Views
from stoker.clock import Clock
from stoker.errors import Unavailable
from stoker.machine import Machine
from stoker.registry import Login
from stoker.runtimes import Runtime
from stoker.signals import Signals
from stoker.store import Store
from stoker.team import ApiKey
from stoker.vault import NO_VAULT, Vault
from stoker.warming import Warming

SESSION_LIFE_MS: Final = 12 * 3_600_000
"""A working day, for servers that do not say."""


class NoRegistries:
    """For programs that reach no registry."""

    async def check(self, login: Login) -> None:
        """Refuse."""
        raise Unavailable("this program asks no registries")

    async def find(self, image: str, login: Login | None) -> str:
        """Refuse."""
        raise Unavailable("this program asks no registries")


class Catalog(Endpoints):
    """Operations on everything that customers configure."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        signals: Signals,
        runtime: Runtime,
        defaults: Defaults,
        *,
        vault: Vault = NO_VAULT,
        registries: Registries | None = None,
        warming: Warming | None = None,
        session_life_ms: int = SESSION_LIFE_MS,
        machine: Machine | None = None,
    ) -> None:
        warming = warming or Warming(store, clock, signals, runtime, find_login=partial(login, store, vault))
        machine = machine or Machine(store, clock, runtime)
        super().__init__(store, clock, signals, runtime, defaults, vault, warming, machine)
        self.teams = Teams(store, clock)
        self.sessions = Sessions(store, clock, self.teams, life_ms=session_life_ms)
        registries = registries or NoRegistries()
        self.credentials = Credentials(store, clock, vault, registries)
        self.lookups = Lookups(runtime, self.credentials, registries)
        self.templates = Templates(store, clock, vault)
        self.views = Views(store, clock)
        self.entrances = Entrances(self.teams, self, clock)

    async def authenticate(self, secret: str) -> ApiKey:
        """The key that this secret opens. Raises `Unauthenticated`."""
        return await self.teams.authenticate(secret)

    def last(self, secret: str, token: str) -> ApiKey | None:
        """The key that the secret, or else the session of the token, opened when that was looked at last. It opens nothing."""
        return self.teams.last(ids.secret_hash(secret)) if secret else self.sessions.last(token) if token else None


__all__ = ["TRUST_MS", "Catalog", "Defaults", "Deployed", "Entrance", "NewKey", "Way", "login", "release_login"]
