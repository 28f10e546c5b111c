"""The stages on which the runtime suite is played."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.docker import Engine
from tests.runtimes.stages import ACTOR, DockerStage, FakeStage, ProcessStage, Stage


@pytest.fixture
async def process(tmp_path: Path) -> AsyncIterator[ProcessStage]:
    """The stage of the process runtime alone."""
    stage = ProcessStage(tmp_path / "data" / "workers")
    yield stage
    await stage.close()


@pytest.fixture(scope="session")
def actor_image(docker_engine: Engine) -> str:
    """The image of the acts."""
    recipe = "FROM stoker-test-base\nWORKDIR /worker\nCOPY actor.py .\n"
    return docker_engine.build("stoker-test-actor", recipe, [ACTOR / "actor.py"])


@pytest.fixture
async def docker(docker_engine: Engine, actor_image: str, tmp_path: Path) -> AsyncIterator[DockerStage]:
    """The stage of the Docker runtime alone."""
    stage = DockerStage(docker_engine, actor_image, tmp_path / "data" / "containers")
    yield stage
    await stage.close()


@pytest.fixture(params=["fake", "process", pytest.param("docker", marks=[pytest.mark.docker, pytest.mark.slow])])
async def stage(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Stage]:
    """Each runtime in turn."""
    one: Stage
    match request.param:
        case "fake":
            one = FakeStage()
        case "process":
            one = ProcessStage(tmp_path / "data" / "workers")
        case _:
            engine: Engine = request.getfixturevalue("docker_engine")
            image: str = request.getfixturevalue("actor_image")
            one = DockerStage(engine, image, tmp_path / "data" / "containers")
    yield one
    await one.close()
