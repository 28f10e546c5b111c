"""Keys and endpoints are remembered for a second: what this server changes counts at once, what another does soon after."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import Any

import pytest

from stoker.audit import Actor
from stoker.catalog import TRUST_MS, Catalog, Defaults, NewKey
from stoker.clock import ManualClock
from stoker.endpoint import Endpoint
from stoker.errors import NotFound, StokerError, Unauthenticated
from stoker.runtimes.fake import FakeRuntime, FakeWorker
from stoker.signals import Signals
from stoker.store import Store
from stoker.store.postgres import PostgresStore, Terms
from stoker.store.sqlite import MEMORY, SqliteStore
from stoker.team import ApiKey, Role, Scope
from stoker.web.auth import entrance
from stoker.web.call import Answer, Call
from stoker.web.exchange import Exchange
from stoker.web.hot import Wish

ADMIN = "sk_test_admin"


class Held:
    """A part of a store whose call `name` reads at once and answers when the gate opens: a slow disk, or a slow network."""

    def __init__(self, part: Any, name: str) -> None:
        self._part = part
        self._name = name
        self.open = asyncio.Event()
        self.open.set()
        self.asked = 0
        self.read = asyncio.Event()

    def __getattr__(self, name: str) -> Any:
        return self._answer if name == self._name else getattr(self._part, name)

    async def _answer(self, *args: Any) -> Any:
        self.asked += 1
        found = await getattr(self._part, self._name)(*args)
        self.read.set()
        await self.open.wait()
        return found

    def hold(self) -> None:
        """Keep the answers of reads from now on."""
        self.open.clear()
        self.read.clear()


class SlowStore:
    """A store whose reads of keys and endpoints can be held."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.teams = Held(store.teams, "key")
        self.endpoints = Held(store.endpoints, "of_team")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


async def _no_worker(_worker: FakeWorker) -> int:
    raise AssertionError("nobody launches workers here")


class World:
    """Two servers on one database; `ours` has the slow store."""

    def __init__(self, store: Store) -> None:
        self.clock = ManualClock()
        self.slow = SlowStore(store)
        self.ours = self._catalog(self.slow)
        self.other = self._catalog(store)

    def _catalog(self, store: Any) -> Catalog:
        return Catalog(store, self.clock, Signals(), FakeRuntime(_no_worker), Defaults(retention_s=60))


@pytest.fixture
async def world() -> AsyncIterator[World]:
    """With a first team."""
    store = await SqliteStore.open(MEMORY)
    world = World(store)
    await world.ours.teams.bootstrap(ADMIN)
    yield world
    await store.close()


async def new_key(world: World) -> tuple[ApiKey, str]:
    """One more key of the team."""
    admin = await world.ours.authenticate(ADMIN)
    return await world.ours.teams.create_key(admin, NewKey(name="more", scopes=frozenset({Scope.RUN})))


async def new_endpoint(world: World) -> Endpoint:
    """An endpoint of the team."""
    admin = await world.ours.authenticate(ADMIN)
    return (await world.ours.create(Actor.of(admin), {"name": "one", "image": "an/image"})).endpoint


async def refused(call: Callable[[], Awaitable[object]]) -> type[StokerError] | None:
    """What the call is refused with."""
    try:
        await call()
    except StokerError as error:
        return type(error)
    return None


async def test_key_is_read_once_a_second(world: World) -> None:
    """Requests with one key cost one read, until it is no longer trusted."""
    _key, secret = await new_key(world)
    before = world.slow.teams.asked
    for _ in range(5):
        await world.ours.authenticate(secret)
    assert world.slow.teams.asked == before + 1
    world.clock.advance_s(TRUST_MS / 1000)
    await world.ours.authenticate(secret)
    assert world.slow.teams.asked == before + 2


async def test_requests_at_once_share_one_look(world: World) -> None:
    """When the second is over all requests that are under way ask once; one that comes a second later does not believe that look."""
    key, secret = await new_key(world)
    before = world.slow.teams.asked
    world.slow.teams.hold()
    early = [asyncio.create_task(world.ours.authenticate(secret)) for _ in range(8)]
    await world.slow.teams.read.wait()
    world.clock.advance_s(TRUST_MS / 1000)
    late = asyncio.create_task(world.ours.authenticate(secret))
    world.slow.teams.open.set()
    assert {found.id for found in await asyncio.gather(*early, late)} == {key.id}
    assert world.slow.teams.asked == before + 2


async def test_revoked_key_opens_nothing_here(world: World) -> None:
    """Once the revocation is answered the key is refused, though it was used a moment before."""
    key, secret = await new_key(world)
    await world.ours.authenticate(secret)
    await world.ours.teams.revoke_key(await world.ours.authenticate(ADMIN), key.id)
    assert await refused(lambda: world.ours.authenticate(secret)) is Unauthenticated


async def test_read_that_was_under_way_brings_no_key_back(world: World) -> None:
    """A request that read the key before it was revoked may pass; it does not make others pass after it."""
    key, secret = await new_key(world)
    world.slow.teams.hold()
    early = asyncio.create_task(world.ours.authenticate(secret))
    await world.slow.teams.read.wait()
    await world.ours.teams.revoke_key(await world.ours.authenticate(ADMIN), key.id)
    world.slow.teams.open.set()
    assert (await early).id == key.id
    assert await refused(lambda: world.ours.authenticate(secret)) is Unauthenticated


async def test_key_revoked_elsewhere_is_refused_within_the_time(world: World) -> None:
    """What another server revokes is trusted here for a second at most."""
    key, secret = await new_key(world)
    await world.ours.authenticate(secret)
    await world.other.teams.revoke_key(await world.other.authenticate(ADMIN), key.id)
    world.clock.advance_s((TRUST_MS - 1) / 1000)
    assert await refused(lambda: world.ours.authenticate(secret)) is None
    world.clock.advance_s(1 / 1000)
    assert await refused(lambda: world.ours.authenticate(secret)) is Unauthenticated


async def test_time_of_trust_begins_with_the_question(world: World) -> None:
    """A slow read is not trusted longer for it."""
    key, secret = await new_key(world)
    world.slow.teams.hold()
    slow = asyncio.create_task(world.ours.authenticate(secret))
    await world.slow.teams.read.wait()
    await world.other.teams.revoke_key(await world.other.authenticate(ADMIN), key.id)
    world.clock.advance_s(TRUST_MS / 1000)
    world.slow.teams.open.set()
    await slow
    assert await refused(lambda: world.ours.authenticate(secret)) is Unauthenticated


async def test_unknown_keys_are_not_remembered(world: World) -> None:
    """A key works from the moment it is made, whoever tried it before, and guesses fill no memory."""
    admin = await world.ours.authenticate(ADMIN)
    key, secret = await world.other.teams.create_key(admin, NewKey(name="more", scopes=frozenset({Scope.RUN})))
    assert await refused(lambda: world.ours.authenticate(secret + "x")) is Unauthenticated
    assert (await world.ours.authenticate(secret)).id == key.id


async def test_deleted_endpoint_is_gone_here(world: World) -> None:
    """Once the deletion is answered the endpoint takes no more jobs, reads that were under way included."""
    endpoint = await new_endpoint(world)
    world.slow.endpoints.hold()
    early = asyncio.create_task(world.ours.find(endpoint.team, "one"))
    await world.slow.endpoints.read.wait()
    await world.ours.delete(Actor(team=endpoint.team), await world.ours.deployed(endpoint))
    world.slow.endpoints.open.set()
    assert (await early).id == endpoint.id
    assert await refused(lambda: world.ours.find(endpoint.team, "one")) is NotFound


async def test_change_of_another_server_is_seen_within_the_time(world: World) -> None:
    """An endpoint that another server changed is as it was for a second at most."""
    endpoint = await new_endpoint(world)
    assert (await world.ours.find(endpoint.team, "one")).slots == 1
    await world.other.update(Actor(team=endpoint.team), await world.other.deployed(endpoint), {"slots": 7})
    world.clock.advance_s(TRUST_MS / 1000)
    assert (await world.ours.find(endpoint.team, "one")).slots == 7


async def test_name_that_moves_is_found_at_once(world: World) -> None:
    """A name given to another endpoint leads there with the next request."""
    first = await new_endpoint(world)
    await world.ours.find(first.team, "one")
    await world.ours.update(Actor(team=first.team), await world.ours.deployed(first), {"name": "two"})
    second = await new_endpoint(world)
    assert (await world.ours.find(first.team, "one")).id == second.id
    assert (await world.ours.find(first.team, "two")).id == first.id


# ── keys that change while they are used ──────────────────────────────────────────────────────────────────────────────


async def test_many_requests_at_the_moment_of_revocation(world: World) -> None:
    """Of requests that come before, during and after a revocation none that began after its answer passes."""
    key, secret = await new_key(world)
    admin = await world.ours.authenticate(ADMIN)
    answered = asyncio.Event()
    late: list[bool] = []

    async def ask() -> None:
        for _ in range(50):
            began_after = answered.is_set()
            passed = await refused(lambda: world.ours.authenticate(secret)) is None
            late.append(began_after and passed)
            await asyncio.sleep(0)

    async def revoke() -> None:
        await asyncio.sleep(0)
        await world.ours.teams.revoke_key(admin, key.id)
        answered.set()

    await asyncio.gather(*(ask() for _ in range(8)), revoke())
    assert not any(late)
    assert await refused(lambda: world.ours.authenticate(secret)) is Unauthenticated


async def test_role_that_is_taken_counts_at_once(world: World) -> None:
    """What a member may do no more, no key of theirs does here, though it was used a moment before."""
    admin = await world.ours.authenticate(ADMIN)
    member = await world.ours.teams.add_member(admin, "more", Role.ADMIN)
    wish = NewKey(name="more", scopes=frozenset({Scope.ADMIN}), member=member.id)
    _key, secret = await world.ours.teams.create_key(admin, wish)
    assert (await world.ours.authenticate(secret)).allows(Scope.ADMIN)
    await world.ours.teams.update_member(admin, member.id, name=None, role=Role.READER)
    assert not (await world.ours.authenticate(secret)).allows(Scope.RUN)
    await world.ours.teams.remove_member(admin, member.id)
    assert await refused(lambda: world.ours.authenticate(secret)) is Unauthenticated


async def test_remembered_key_expires_on_time(world: World) -> None:
    """That a key is remembered does not let it live longer, nor the secret before a rotation."""
    admin = await world.ours.authenticate(ADMIN)
    wish = NewKey(name="short", scopes=frozenset({Scope.READ}), life_ms=2_000)
    key, secret = await world.ours.teams.create_key(admin, wish)
    world.clock.advance_s(1.5)
    await world.ours.authenticate(secret)
    world.clock.advance_s(0.5)
    assert await refused(lambda: world.ours.authenticate(secret)) is Unauthenticated
    key, secret = await new_key(world)
    _after, new = await world.ours.teams.rotate_key(admin, key.id, grace_ms=300)
    assert (await world.ours.authenticate(secret)).id == (await world.ours.authenticate(new)).id == key.id
    world.clock.advance_s(0.3)
    assert await refused(lambda: world.ours.authenticate(secret)) is Unauthenticated
    assert await refused(lambda: world.ours.authenticate(new)) is None


async def test_last_use_is_written_once_in_a_while(world: World) -> None:
    """A key's last use is written at most once a minute, whoever it is used at, and nobody waits for it to be possible."""
    key, secret = await new_key(world)
    noted: list[int] = []
    for _ in range(150):
        for server in (world.ours, world.other):
            await server.authenticate(secret)
        (stored,) = [one for one in await world.ours.teams.keys(key.team) if one.id == key.id]
        noted.append(stored.used_ms or 0)
        world.clock.advance_s(1)
    assert len(set(noted)) == 3
    assert world.clock.now_ms() - noted[-1] <= 61_000


# ── the whole way, from a key to an endpoint ──────────────────────────────────────────────────────────────────────────


async def _no_handler(_call: Call) -> Answer:
    raise AssertionError("nobody is asked here")


def asked(secret: str, word: str) -> Call:
    """A request with a key for an endpoint."""
    wish = Wish("POST", f"/v2/{word}/run", {}, {"endpoint": word}, _no_handler)
    return Exchange(wish, {"authorization": f"Bearer {secret}"}, b"")


async def revoke(server: Catalog, _endpoint: Endpoint, key: ApiKey) -> None:
    """Nobody comes in with the key."""
    await server.teams.revoke_key(await server.authenticate(ADMIN), key.id)


async def delete(server: Catalog, endpoint: Endpoint, _key: ApiKey) -> None:
    """There is no endpoint."""
    await server.delete(Actor(team=endpoint.team), await server.deployed(endpoint))


async def rename(server: Catalog, endpoint: Endpoint, _key: ApiKey) -> None:
    """It answers to another name."""
    await server.update(Actor(team=endpoint.team), await server.deployed(endpoint), {"name": "two"})


@pytest.mark.parametrize("change", [revoke, delete, rename])
async def test_way_that_was_gone_before(
    world: World, change: Callable[[Catalog, Endpoint, ApiKey], Awaitable[None]]
) -> None:
    """A request like one of a moment ago is refused as soon as a change here was answered, and within the time of trust after one
    at another server."""
    endpoint = await new_endpoint(world)
    key, secret = await new_key(world)

    async def go(server: Catalog) -> Endpoint:
        return (await entrance(server, asked(secret, "one"), Scope.RUN)).endpoint

    for server in (world.ours, world.other):
        assert [(await go(server)).id for _ in range(3)] == [endpoint.id] * 3
    reads = world.slow.teams.asked
    await go(world.ours)
    assert world.slow.teams.asked == reads
    await change(world.ours, endpoint, key)
    assert await refused(lambda: go(world.ours)) in (Unauthenticated, NotFound)
    world.clock.advance_s(TRUST_MS / 1000)
    assert await refused(lambda: go(world.other)) in (Unauthenticated, NotFound)


async def test_way_that_leads_nowhere_is_not_believed(world: World) -> None:
    """A scope that the key lacks, another key and another name are looked at for themselves; nothing passes because another did."""
    await new_endpoint(world)
    _key, secret = await new_key(world)
    await entrance(world.ours, asked(secret, "one"), Scope.RUN)
    for key, word, scope in (
        (secret, "one", Scope.ADMIN),
        (secret + "x", "one", Scope.RUN),
        (secret, "two", Scope.RUN),
    ):
        for _ in range(2):
            assert await refused(partial(entrance, world.ours, asked(key, word), scope)) is not None


async def test_way_of_a_key_that_expires(world: World) -> None:
    """A way is believed no longer than its key lives, nor longer than the secret before a rotation, nor twice as long as a key."""
    await new_endpoint(world)
    admin = await world.ours.authenticate(ADMIN)
    wish = NewKey(name="short", scopes=frozenset({Scope.RUN}), life_ms=1_500)
    _key, secret = await world.ours.teams.create_key(admin, wish)
    world.clock.advance_s(1)
    await entrance(world.ours, asked(secret, "one"), Scope.RUN)
    world.clock.advance_s(0.5)
    assert await refused(lambda: entrance(world.ours, asked(secret, "one"), Scope.RUN)) is Unauthenticated
    key, secret = await new_key(world)
    await world.ours.teams.rotate_key(admin, key.id, grace_ms=300)
    await entrance(world.ours, asked(secret, "one"), Scope.RUN)
    world.clock.advance_s(0.3)
    assert await refused(lambda: entrance(world.ours, asked(secret, "one"), Scope.RUN)) is Unauthenticated
    key, secret = await world.ours.teams.create_key(admin, NewKey(name="late", scopes=frozenset({Scope.RUN})))
    await world.ours.authenticate(secret)
    world.clock.advance_s(0.9)
    await entrance(world.ours, asked(secret, "one"), Scope.RUN)
    await world.other.teams.revoke_key(await world.other.authenticate(ADMIN), key.id)
    world.clock.advance_s(0.1)
    assert await refused(lambda: entrance(world.ours, asked(secret, "one"), Scope.RUN)) is Unauthenticated


@pytest.mark.postgres
async def test_servers_on_one_database_agree(postgres_url: str) -> None:
    """On PostgreSQL a key that one server revokes, rotates or gives another role is as it should be at every other one within the
    time of trust, and at the one that changed it at once."""
    stores = [await PostgresStore.open(Terms(url=postgres_url)) for _ in range(3)]
    world = World(stores[0])
    here, *others = [world._catalog(store) for store in stores]
    await here.teams.bootstrap(ADMIN)
    admin = await here.authenticate(ADMIN)
    made = [
        await here.teams.create_key(admin, NewKey(name=f"{number}", scopes=frozenset({Scope.READ})))
        for number in range(20)
    ]
    for server in (here, *others):
        await asyncio.gather(*(server.authenticate(secret) for _key, secret in made))
    await asyncio.gather(*(here.teams.revoke_key(admin, key.id) for key, _secret in made))
    assert {await refused(partial(here.authenticate, secret)) for _key, secret in made} == {Unauthenticated}
    world.clock.advance_s(TRUST_MS / 1000)
    for server in others:
        seen = await asyncio.gather(*(refused(partial(server.authenticate, secret)) for _key, secret in made))
        assert set(seen) == {Unauthenticated}
    for store in stores:
        await store.close()
