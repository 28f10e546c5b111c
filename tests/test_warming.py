"""Images that are fetched ahead: on a real store, by a runtime that pretends to have a registry."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Sequence

import pytest

from stoker.audit import Action, Actor
from stoker.catalog import Catalog, Defaults
from stoker.catalog.credentials import CredentialWish
from stoker.clock import ManualClock
from stoker.errors import Conflict, InvalidInput, NotFound, StokerError, Unavailable
from stoker.images import Images, ImageTerms
from stoker.runtimes import Image, Login, Runtime
from stoker.runtimes.fake import FakeRuntime, FakeWorker
from stoker.signals import Signals
from stoker.store.sqlite import MEMORY, SqliteStore
from stoker.warming import AT_ONCE, Warming
from stoker.warmup import FIRST_PAUSE_MS
from tests.vault.test_vault import vault

IMAGE = "ghcr.io/us/worker:1"
DIGEST = "ghcr.io/us/worker@sha256:ghcr.io/us/worker:1"


async def no_program(_worker: FakeWorker) -> int:
    """Fails."""
    raise AssertionError("nobody launches workers here")


class Cellar(FakeRuntime):
    """Keeps images. A pull ends when the test says so, or at once."""

    def __init__(self) -> None:
        super().__init__(no_program)
        self.logins: list[Login | None] = []
        self.coming: dict[str, asyncio.Future[None]] = {}
        self.here: dict[str, Image] = {}
        self.slow = False
        self.refusal: StokerError | None = None

    async def pull(self, image: str, *, login: Login | None) -> str:
        """Have it, when the test lets it come."""
        self.logins.append(login)
        if self.refusal is not None:
            raise self.refusal
        if self.slow:
            self.coming[image] = asyncio.get_running_loop().create_future()
            await self.coming[image]
            del self.coming[image]
        self.here[image] = Image(name=image, bytes=7, pulled_ms=1, used_ms=1)
        repository, _, _tag = image.rpartition(":")
        return f"{repository}@sha256:{image}"

    def pulling(self, image: str) -> str:
        """Always in the middle."""
        return f"half of {image}" if image in self.coming else ""

    async def images(self) -> Sequence[Image]:
        """What came."""
        return list(self.here.values())

    async def remove_image(self, image: str) -> None:
        """Remove it."""
        if self.here.pop(image, None) is None:
            raise NotFound(image)

    async def collect_images(self, *, used: Collection[str], unused_before_ms: int, bytes_max: int) -> Sequence[str]:
        """All that nobody uses."""
        gone = [image for image in self.here if image not in used]
        for image in gone:
            del self.here[image]
        return gone


class House:
    """A store with two teams, what works on it, and the turns of the loop."""

    def __init__(self, store: SqliteStore, runtime: Runtime) -> None:
        self.store = store
        self.clock = ManualClock()
        self.runtime = runtime
        self.catalog = Catalog(store, self.clock, Signals(), runtime, Defaults(retention_s=60), vault=vault())
        self.warming = Warming(store, self.clock, Signals(), runtime, find_login=self.catalog.credentials.login)

    async def team(self, name: str) -> Actor:
        """A team, as its owner."""
        made, _secret = await self.catalog.teams.create(name, "owner")
        return Actor(team=made.id)

    async def states(self, by: Actor) -> dict[str, str]:
        """The team's images and where they stand."""
        return {one.name: one.state for one in await self.warming.list(by.team)}

    async def until(self, look: Callable[[], object]) -> None:
        """Let the loop look until something is so."""
        async with asyncio.timeout(10):
            while not look():
                await self.warming.look()
                await asyncio.sleep(0)

    async def settled(self) -> None:
        """Let the loop look, and what it begins end."""
        await self.warming.look()
        tasks = [task for task in asyncio.all_tasks() if task.get_name().startswith("warm ")]
        await asyncio.wait_for(asyncio.gather(*tasks), 10)


@pytest.fixture
def cellar() -> Cellar:
    """The runtime."""
    return Cellar()


@pytest.fixture
async def house(cellar: Cellar) -> AsyncIterator[House]:
    """The operations over it."""
    store = await SqliteStore.open(MEMORY)
    one = House(store, cellar)
    yield one
    await one.warming.close()
    await store.close()


async def test_an_image_is_fetched_ahead(house: House, cellar: Cellar) -> None:
    """A warm-up shows how far it is, then what it fetched; asking for it is in the audit log."""
    us, cellar.slow = await house.team("us"), True
    await house.warming.warm(us, IMAGE, None)
    await house.until(lambda: cellar.coming)
    await house.warming.look()
    (coming,) = await house.warming.list(us.team)
    assert (coming.state, coming.progress) == ("fetching", f"half of {IMAGE}")
    cellar.coming[IMAGE].set_result(None)
    await house.settled()
    (here,) = await house.warming.list(us.team)
    assert here.state == "here"
    assert here.kept == cellar.here[IMAGE]
    assert here.warm_up is not None
    assert here.warm_up.digest == DIGEST
    (line,) = [one.line for one in await house.store.audit.lines(us.team) if one.line.action is Action.WARMED]
    assert line.name == IMAGE


async def test_a_credential_opens_the_registry(house: House, cellar: Cellar) -> None:
    """An image of a private registry is fetched with the team's credential."""
    us = await house.team("us")
    wish = CredentialWish(name="ours", registry="ghcr.io", username="me", password="pass-word")
    await house.warming.warm(us, IMAGE, await house.catalog.credentials.create(us, wish))
    await house.settled()
    assert cellar.logins == [Login(registry="ghcr.io", username="me", password="pass-word")]


async def test_endpoints_are_warmed(house: House, cellar: Cellar) -> None:
    """A new endpoint and a new release have their image fetched, and run the bytes that came; one that wants no warm-up waits for a worker."""
    us = await house.team("us")
    made = await house.catalog.create(us, {"name": "warm", "image": IMAGE})
    await house.catalog.create(us, {"name": "cold", "image": "ghcr.io/us/cold:1"}, warm=False)
    await house.settled()
    assert await house.states(us) == {IMAGE: "here", "ghcr.io/us/cold:1": "not_fetched"}
    pinned = await house.catalog.deployed(await house.catalog.find(us.team, "warm"))
    assert pinned.release.digest == DIGEST
    await house.catalog.update(us, made, {"image": "ghcr.io/us/worker:2"}, warm=False)
    await house.settled()
    assert "ghcr.io/us/worker:2" not in cellar.here
    now = await house.catalog.deployed(await house.catalog.find(us.team, "warm"))
    await house.catalog.update(us, now, {"image": "ghcr.io/us/worker:3"})
    await house.settled()
    assert "ghcr.io/us/worker:3" in cellar.here


async def test_a_dry_run_warms_nothing(house: House) -> None:
    """What is only planned fetches nothing."""
    us = await house.team("us")
    await house.catalog.create(us, {"image": IMAGE}, dry_run=True)
    assert await house.store.warm_ups.unfinished() == []


async def test_what_another_team_warmed_does_not_exist(house: House, cellar: Cellar) -> None:
    """A team sees its own images, cannot remove another's, and takes nothing from one that has the same."""
    us, them = await house.team("us"), await house.team("them")
    await house.warming.warm(them, IMAGE, None)
    await house.settled()
    assert await house.states(us) == {}
    with pytest.raises(NotFound) as refusal:
        await house.warming.remove(us, IMAGE)
    assert refusal.value.code == "image_not_kept"
    await house.warming.warm(us, IMAGE, None)
    await house.settled()
    await house.warming.remove(us, IMAGE)
    assert await house.states(us) == {}
    assert await house.states(them) == {IMAGE: "here"}
    assert IMAGE in cellar.here
    await house.warming.remove(them, IMAGE)
    assert IMAGE not in cellar.here


async def test_endpoints_keep_their_images(house: House, cellar: Cellar) -> None:
    """An image that an endpoint of the team runs is not removed, one that another team's runs stays without a word about it."""
    us, them = await house.team("us"), await house.team("them")
    await house.catalog.create(them, {"name": "a", "image": IMAGE}, warm=False)
    await house.warming.warm(us, IMAGE, None)
    await house.settled()
    await house.warming.remove(us, IMAGE)
    assert IMAGE in cellar.here
    await house.catalog.create(us, {"name": "a", "image": IMAGE})
    with pytest.raises(Conflict, match="endpoint 'a' uses") as refusal:
        await house.warming.remove(us, IMAGE)
    assert refusal.value.code == "image_in_use"


async def test_removed_on_its_way_nothing_stays(house: House, cellar: Cellar) -> None:
    """An image that is removed while it comes is gone once it has come."""
    us, cellar.slow = await house.team("us"), True
    await house.warming.warm(us, IMAGE, None)
    await house.until(lambda: cellar.coming)
    await house.warming.remove(us, IMAGE)
    cellar.coming[IMAGE].set_result(None)
    await house.settled()
    assert cellar.here == {}
    assert await house.states(us) == {}


async def test_what_may_come_later_is_tried_again(house: House, cellar: Cellar) -> None:
    """A registry that is busy is asked again after a pause, and the reason is shown meanwhile; a refusal that stays is the end."""
    us, cellar.refusal = await house.team("us"), Unavailable("too many", code="image_rate_limited")
    await house.warming.warm(us, IMAGE, None)
    await house.settled()
    await house.settled()
    assert len(cellar.logins) == 1
    (waiting,) = await house.warming.list(us.team)
    assert waiting.state == "fetching"
    assert waiting.warm_up is not None
    assert waiting.warm_up.code == "image_rate_limited"
    cellar.refusal = InvalidInput("not for you", code="image_denied")
    house.clock.advance_s(FIRST_PAUSE_MS / 1000)
    await house.settled()
    house.clock.advance_s(3_600)
    await house.settled()
    assert len(cellar.logins) == 2
    assert await house.states(us) == {IMAGE: "failed"}


async def test_another_server_goes_on(house: House, cellar: Cellar) -> None:
    """What a server began and did not end is fetched by the next."""
    us, cellar.slow = await house.team("us"), True
    await house.warming.warm(us, IMAGE, None)
    await house.until(lambda: cellar.coming)
    await house.warming.close()
    cellar.slow = False
    house.warming = House(house.store, cellar).warming
    await house.settled()
    assert await house.states(us) == {IMAGE: "here"}


async def test_a_few_at_once(house: House, cellar: Cellar) -> None:
    """Of many images so many are fetched at once, the first asked for first; the others wait for them."""
    us, cellar.slow = await house.team("us"), True
    images = [f"ghcr.io/us/{n:02}:1" for n in range(AT_ONCE + 2)]
    for image in images:
        await house.warming.warm(us, image, None)
    await house.until(lambda: len(cellar.coming) == AT_ONCE)
    await house.warming.look()
    assert sorted(cellar.coming) == images[:AT_ONCE]
    cellar.coming[images[0]].set_result(None)
    await house.until(lambda: images[AT_ONCE] in cellar.coming)
    assert len(cellar.coming) == AT_ONCE


async def test_collected_images_are_no_longer_warm(house: House, cellar: Cellar) -> None:
    """An image that is collected is in nobody's list; that of an endpoint is never collected."""
    us = await house.team("us")
    await house.catalog.create(us, {"name": "a", "image": IMAGE})
    await house.warming.warm(us, "ghcr.io/us/old:1", None)
    await house.settled()
    await Images(house.store, house.clock, cellar, ImageTerms(unused_kept_s=0)).collect()
    assert await house.states(us) == {IMAGE: "here"}


async def test_without_images_there_is_nothing_to_warm() -> None:
    """Where workers are no containers a warm-up is refused with the reason, before anything is stored; an endpoint that does not ask for
    one is made."""
    store = await SqliteStore.open(MEMORY)
    house = House(store, FakeRuntime(no_program))
    us = await house.team("us")
    with pytest.raises(Conflict, match="nothing to warm") as refusal:
        await house.warming.warm(us, IMAGE, None)
    assert refusal.value.code == "no_images"
    with pytest.raises(Conflict, match="nothing to warm"):
        await house.catalog.create(us, {"name": "a", "image": "any"}, warm=True)
    assert await house.catalog.endpoints(us.team) == []
    await house.catalog.create(us, {"name": "a", "image": "any"})
    assert await house.warming.list(us.team) == ()
    await store.close()


class Stars(FakeRuntime):
    """Fetches images to wherever workers start, and cannot say what lies there."""

    def __init__(self) -> None:
        super().__init__(no_program)
        self.pulled: list[str] = []

    async def pull(self, image: str, *, login: Login | None) -> str:
        """Have it everywhere."""
        self.pulled.append(image)
        return ""

    def pulling(self, image: str) -> str:
        """At once."""
        return ""

    async def remove_image(self, image: str) -> None:
        """It is on its way no more."""
        raise NotFound(image)


async def test_many_machines_are_warmed_for_who_asks() -> None:
    """Where images would go onto many machines an endpoint is warmed only if somebody says so; who does may also take it back."""
    store = await SqliteStore.open(MEMORY)
    stars = Stars()
    house = House(store, stars)
    us = await house.team("us")
    await house.catalog.create(us, {"name": "a", "image": "ghcr.io/us/a:1"})
    await house.catalog.create(us, {"name": "b", "image": "ghcr.io/us/b:1"}, warm=True)
    await house.warming.warm(us, IMAGE, None)
    await house.settled()
    assert sorted(stars.pulled) == ["ghcr.io/us/b:1", IMAGE]
    assert await house.states(us) == {"ghcr.io/us/a:1": "not_fetched", "ghcr.io/us/b:1": "here", IMAGE: "here"}
    await house.warming.remove(us, IMAGE)
    assert IMAGE not in await house.states(us)
    await store.close()
