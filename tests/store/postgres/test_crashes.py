"""A database that ends connections, restarts or crashes under load: what was accepted is done once, and nothing hangs."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator

import asyncpg
import pytest

from stoker.chaos.cluster import Cluster
from stoker.errors import Unavailable
from stoker.store.postgres import PostgresStore, Terms
from tests.postgres import cluster
from tests.store.postgres.load import Load
from tests.store.records import furnish

pytestmark = pytest.mark.postgres

OTHERS = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"


async def test_two_servers_share_the_queue(direct: PostgresStore, other: PostgresStore) -> None:
    """No attempt is handed out twice, and all that either server counts adds up."""
    load = Load([direct, other])
    async with load.going():
        await load.more(200)
    await load.check()
    assert load.refused == 0


async def test_connections_are_ended(direct: PostgresStore, other: PostgresStore, postgres_url: str) -> None:
    """An administrator who ends every connection, again and again, costs nobody a job."""
    load = Load([direct, other])
    killer = await asyncpg.connect(postgres_url)
    async with load.going():
        for _ in range(10):
            await load.more(10)
            await killer.execute(OTHERS)
    await killer.close()
    await load.check()


@pytest.fixture
def durable() -> Iterator[Cluster]:
    """A cluster that flushes to the disk, for a test alone."""
    with cluster(durable=True) as made:
        yield made


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
async def test_the_database_ends_under_load(durable: Cluster, how: signal.Signals) -> None:
    """A restart, and a crash of the whole database: what was accepted is there afterwards, and is done."""
    terms = Terms(url=durable.url())
    stores = [await PostgresStore.open(terms), await PostgresStore.open(terms)]
    await furnish(stores[0])
    load = Load(stores)
    async with load.going():
        for _ in range(3):
            await load.more(30)
            await asyncio.to_thread(durable.stop, how)
            await asyncio.to_thread(durable.start)
    await load.check()
    assert load.refused > 0
    for store in stores:
        await store.close()


@pytest.mark.slow
async def test_while_it_is_away(durable: Cluster) -> None:
    """Every call says at once that the database is away, in words without its password; it works again when it is back."""
    store = await PostgresStore.open(Terms(url=durable.url()))
    await furnish(store)
    await asyncio.to_thread(durable.stop)
    async with asyncio.timeout(10):
        for call in (store.teams.first, store.workers.alive):
            with pytest.raises(Unavailable) as caught:
                await call()
            assert caught.value.code == "database_unavailable"
            assert "word" not in f"{caught.value}{caught.value.next_step}"
    await asyncio.to_thread(durable.start)
    async with asyncio.timeout(30):
        while True:
            try:
                assert await store.teams.first() is not None
                break
            except Unavailable:
                await asyncio.sleep(0.02)
    await store.close()


@pytest.mark.slow
async def test_no_database_at_the_start(durable: Cluster) -> None:
    """A store cannot be opened without its database, and says so."""
    await asyncio.to_thread(durable.stop)
    with pytest.raises(Unavailable, match="cannot be reached"):
        await PostgresStore.open(Terms(url=durable.url()))
