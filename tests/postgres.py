"""PostgreSQL for tests: a cluster of their own, with a fresh database for each of them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from stoker.chaos.cluster import Cluster, binaries
from stoker.store.postgres import PostgresStore, Terms


def found() -> Path:
    """The binaries. Skips the test without them; see `tests/conftest.py` for what CI makes of that."""
    place = binaries()
    if place is None:
        pytest.skip("there is no PostgreSQL on this machine: neither on PATH nor under /usr/lib/postgresql")
    return place


@contextmanager
def cluster(*, durable: bool = False, small_log: bool = False) -> Iterator[Cluster]:
    """A cluster that runs; `durable` flushes to the disk as in production, `small_log` writes its log in files of 1 MiB."""
    made = Cluster(found(), durable=durable, small_log=small_log)
    try:
        made.start()
        yield made
    finally:
        made.close()


async def _migrated(url: str) -> None:
    store = await PostgresStore.open(Terms(url=url))
    await store.close()


@pytest.fixture(scope="session")
def postgres() -> Iterator[Cluster]:
    """A cluster for all tests of this process, with a database `fresh` that has the schema and nothing else."""
    with cluster() as made:
        made.run("CREATE DATABASE fresh")
        asyncio.run(_migrated(made.url("fresh")))
        yield made


@pytest.fixture
def postgres_url(postgres: Cluster) -> Iterator[str]:
    """A database of its own, with the schema and nothing else."""
    with postgres.database("fresh") as name:
        yield postgres.url(name)
