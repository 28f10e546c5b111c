"""The stages on which the runtime suite is played."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.cluster import PATHS, Cluster, layer_of
from tests.docker import Engine, base_tar
from tests.runtimes.stages import ACTOR, DockerStage, FakeStage, KubernetesStage, ProcessStage, Stage


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


@pytest.fixture(scope="session")
def actor_pod_image(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The image of the acts, on the node."""
    layer = layer_of(tmp_path_factory.mktemp("actor"), {"worker/actor.py": (ACTOR / "actor.py").read_bytes()})
    return cluster.load_image("stoker.test/actor:1", [base_tar(), layer], ["python3"], env=PATHS, folder="/worker")


@pytest.fixture
async def kubernetes(cluster: Cluster, actor_pod_image: str) -> AsyncIterator[KubernetesStage]:
    """The stage of the Kubernetes runtime alone."""
    stage = await KubernetesStage(cluster, actor_pod_image).open()
    yield stage
    await stage.close()


@pytest.fixture(
    params=[
        "fake",
        "process",
        pytest.param("docker", marks=[pytest.mark.docker, pytest.mark.slow]),
        pytest.param("kubernetes", marks=[pytest.mark.kubernetes, pytest.mark.slow]),
    ]
)
async def stage(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Stage]:
    """Each runtime in turn."""
    one: Stage
    match request.param:
        case "fake":
            one = FakeStage()
        case "process":
            one = ProcessStage(tmp_path / "data" / "workers")
        case "kubernetes":
            cluster: Cluster = request.getfixturevalue("cluster")
            one = await KubernetesStage(cluster, request.getfixturevalue("actor_pod_image")).open()
        case _:
            engine: Engine = request.getfixturevalue("docker_engine")
            image: str = request.getfixturevalue("actor_image")
            one = DockerStage(engine, image, tmp_path / "data" / "containers")
    yield one
    await one.close()
