"""The databases that must all behave alike. Every test above the folders `sqlite` and `postgres` takes `store`, and knows no
database."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from stoker.store import Store
from stoker.store.postgres import PostgresStore, Terms
from stoker.store.sqlite import MEMORY, SqliteStore
from tests.store.records import furnish

DATABASES = (
    "sqlite-memory",
    "sqlite-file",
    pytest.param("sqlite-inline", marks=pytest.mark.allow_blocking("it works on the calling thread on purpose")),
    pytest.param("postgres", marks=pytest.mark.postgres),
)


Opening = Callable[[], Awaitable[Store]]


@pytest.fixture(params=DATABASES)
def opening(request: pytest.FixtureRequest, tmp_path: Path) -> Opening:
    """How to open a store on a fresh database."""
    if request.param == "postgres":
        terms = Terms(url=request.getfixturevalue("postgres_url"))
        return lambda: PostgresStore.open(terms)
    path = tmp_path / "stoker.db" if request.param == "sqlite-file" else MEMORY
    return lambda: SqliteStore.open(path, inline=request.param == "sqlite-inline")


@pytest.fixture
async def blank(opening: Opening) -> AsyncIterator[Store]:
    """A store on a fresh database."""
    store = await opening()
    yield store
    await store.close()


@pytest.fixture
async def store(blank: Store) -> Store:
    """A store that is furnished: see `records.furnish`."""
    await furnish(blank)
    return blank
