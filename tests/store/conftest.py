"""The databases that must all behave alike. Every test above the folder `sqlite` takes `store`, and knows no database."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from stoker.store import Store
from stoker.store.sqlite import MEMORY, SqliteStore
from tests.store.records import furnish

DATABASES = (
    "sqlite-memory",
    "sqlite-file",
    pytest.param("sqlite-inline", marks=pytest.mark.allow_blocking("it works on the calling thread on purpose")),
)


@pytest.fixture(params=DATABASES)
async def blank(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    """A store on a fresh database."""
    path = tmp_path / "stoker.db" if request.param == "sqlite-file" else MEMORY
    store: Store = await SqliteStore.open(path, inline=request.param == "sqlite-inline")
    yield store
    await store.close()


@pytest.fixture
async def store(blank: Store) -> Store:
    """A store that is furnished: see `records.furnish`."""
    await furnish(blank)
    return blank
