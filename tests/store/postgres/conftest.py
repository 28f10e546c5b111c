"""Stores on one database of their own: directly, and through a wire that can be cut."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from stoker.chaos.cluster import Cluster
from stoker.store.postgres import PostgresStore, Terms
from tests.store.postgres.proxy import Proxy
from tests.store.records import furnish


@pytest.fixture
async def direct(postgres_url: str) -> AsyncIterator[PostgresStore]:
    """A furnished store."""
    store = await PostgresStore.open(Terms(url=postgres_url))
    await furnish(store)
    yield store
    await store.close()


@pytest.fixture
async def other(postgres_url: str, direct: PostgresStore) -> AsyncIterator[PostgresStore]:
    """Another server's store on the same database."""
    store = await PostgresStore.open(Terms(url=postgres_url))
    yield store
    await store.close()


@pytest.fixture
async def proxy(postgres: Cluster) -> AsyncIterator[Proxy]:
    """The wire."""
    async with Proxy.to(postgres.port) as proxy:
        yield proxy


@pytest.fixture
async def wired(
    postgres: Cluster, postgres_url: str, direct: PostgresStore, proxy: Proxy
) -> AsyncIterator[PostgresStore]:
    """A store on the same database at the end of the wire."""
    name = postgres_url.rpartition("/")[2]
    store = await PostgresStore.open(Terms(url=postgres.url(name, port=proxy.port), connect_s=2.0))
    yield store
    proxy.spare()
    await store.close()
