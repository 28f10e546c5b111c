"""A server of its own for each test, and a worker that is quick to start: the protocol without an SDK."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.live import LiveServer
from tests.server.pods import WORKERS, handler_pod_image, housed, pod_settings

__all__ = ["WORKERS", "handler_pod_image", "housed", "pod_settings"]


@pytest.fixture
def live(tmp_path: Path) -> Iterator[LiveServer]:
    """A server with short times."""
    with LiveServer(tmp_path / "data") as server:
        yield server


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def on_each_database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[LiveServer]:
    """A server with short times, on each database."""
    more = {"database": request.getfixturevalue("postgres_url")} if request.param == "postgres" else {}
    with LiveServer(tmp_path / "data", **more) as server:
        yield server
