"""Looking for images before anything is made of them: on a real store, with a registry and an engine that pretend."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from stoker.audit import Actor
from stoker.catalog import Catalog, Defaults, NoRegistries
from stoker.catalog.credentials import CredentialWish
from stoker.clock import ManualClock
from stoker.errors import InvalidInput, Unavailable
from stoker.runtimes import Login, Runtime
from stoker.runtimes.fake import FakeRuntime
from stoker.signals import Signals
from stoker.store.sqlite import MEMORY, SqliteStore
from tests.test_warming import Cellar, no_program
from tests.vault.test_vault import vault

IMAGE = "ghcr.io/us/worker:1"


class Workshop(Cellar):
    """An engine on whose machine one image was built."""

    async def is_built_here(self, image: str) -> bool:
        """Whether it is that one."""
        return image == "mine:1"


class Hub(NoRegistries):
    """A registry that has everything."""

    def __init__(self) -> None:
        self.logins: list[Login | None] = []

    async def find(self, image: str, login: Login | None) -> str:
        """Its digest."""
        self.logins.append(login)
        return f"sha256:{image}"


@pytest.fixture
async def store() -> AsyncIterator[SqliteStore]:
    """An empty one."""
    store = await SqliteStore.open(MEMORY)
    yield store
    await store.close()


def catalog(store: SqliteStore, runtime: Runtime, registries: NoRegistries) -> Catalog:
    """What looks."""
    clock, signals = ManualClock(), Signals()
    return Catalog(store, clock, signals, runtime, Defaults(retention_s=60), vault=vault(), registries=registries)


async def test_the_registry_is_asked(store: SqliteStore) -> None:
    """Where images are fetched their registry is asked, with the credential that was chosen, opened."""
    hub = Hub()
    found = catalog(store, Workshop(), hub)
    team, _secret = await found.teams.create("one", "owner")
    wish = CredentialWish(name="ours", registry="ghcr.io", username="me", password="hush")
    credential = await found.credentials.create(Actor(team=team.id), wish)
    open_to_all = await found.lookups.find(IMAGE, "", None)
    assert (open_to_all.text, open_to_all.digest) == ("ghcr.io has it", f"sha256:{IMAGE}")
    await found.lookups.find(IMAGE, "", credential)
    assert hub.logins == [None, Login(registry="ghcr.io", username="me", password="hush")]


async def test_what_no_registry_knows(store: SqliteStore) -> None:
    """What was built where workers start, and what is no image that is fetched, is asked of no registry."""
    built = await catalog(store, Workshop(), NoRegistries()).lookups.find("mine:1", "", None)
    assert "built on the server's machine" in built.text
    pretended = await catalog(store, FakeRuntime(no_program), NoRegistries()).lookups.find("any", "run", None)
    assert pretended.text == "workers can be started from it"
    with pytest.raises(Unavailable):
        await catalog(store, Workshop(), NoRegistries()).lookups.find(IMAGE, "", None)
    with pytest.raises(InvalidInput):
        await catalog(store, Workshop(), Hub()).lookups.find("", "", None)
