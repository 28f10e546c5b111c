"""The stages on which the runtime suite is played."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.runtimes.stages import FakeStage, ProcessStage, Stage


@pytest.fixture
async def process(tmp_path: Path) -> AsyncIterator[ProcessStage]:
    """The stage of the process runtime alone."""
    stage = ProcessStage(tmp_path / "data" / "workers")
    yield stage
    await stage.close()


@pytest.fixture(params=["fake", "process"])
async def stage(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Stage]:
    """Each runtime in turn."""
    one: Stage = FakeStage() if request.param == "fake" else ProcessStage(tmp_path / "data" / "workers")
    yield one
    await one.close()
