"""Which runtime serves, and how containers reach the server."""

from pathlib import Path

import pytest

from stoker.clock import SystemClock
from stoker.config import load
from stoker.errors import Unavailable
from stoker.hosting import Hosting, choose
from stoker.runtimes.absent import AbsentRuntime
from stoker.runtimes.docker import DockerRuntime
from stoker.runtimes.process import ProcessRuntime
from tests.docker import Engine


async def chosen(data_dir: Path, **settings: str) -> Hosting:
    """What the settings ask for."""
    given = {"data_dir": str(data_dir), "docker_host": f"unix://{data_dir}/no-engine"} | settings
    hosting = await choose(
        load(environ={f"STOKER_{name.upper()}": value for name, value in given.items()}), SystemClock(), lambda: None
    )
    await hosting.close()
    return hosting


@pytest.mark.parametrize(
    ("runtime", "host", "kind"),
    [
        ("auto", "127.0.0.1", ProcessRuntime),
        ("auto", "0.0.0.0", AbsentRuntime),
        ("process", "0.0.0.0", ProcessRuntime),
        ("none", "127.0.0.1", AbsentRuntime),
    ],
)
async def test_who_may_start_processes(tmp_path: Path, runtime: str, host: str, kind: type) -> None:
    """Whoever can reach the server can run commands as its user: beyond this machine only if it is asked for by name."""
    assert isinstance((await chosen(tmp_path, runtime=runtime, host=host)).runtime, kind)


async def test_docker_by_name_needs_an_engine(tmp_path: Path) -> None:
    """Asked for by name, Docker is not replaced by something else: the start fails, and says where the engine was sought."""
    with pytest.raises(Unavailable, match="no-engine does not answer") as refused:
        await chosen(tmp_path, runtime="docker")
    assert refused.value.code == "engine_unavailable"


@pytest.mark.docker
@pytest.mark.slow
async def test_docker_when_an_engine_answers(docker_engine: Engine, tmp_path: Path) -> None:
    """An engine that answers is chosen unasked; on loopback the server opens a door where containers can reach it."""
    hosting = await chosen(tmp_path, docker_host=docker_engine.host)
    assert isinstance(hosting.runtime, DockerRuntime)
    assert hosting.host == "host.docker.internal"
    assert hosting.door.count(".") == 3
    beyond = await chosen(tmp_path, docker_host=docker_engine.host, host="0.0.0.0")
    assert (beyond.host, beyond.door) == ("host.docker.internal", "")
    told = await chosen(tmp_path, docker_host=docker_engine.host, worker_url="http://10.0.0.1:8700")
    assert (told.host, told.door) == ("", "")


async def test_the_installation_has_one_name(tmp_path: Path) -> None:
    """The label by which containers are found again is made once and survives a restart."""
    for _ in range(2):
        with pytest.raises(Unavailable):
            await chosen(tmp_path, runtime="docker")
    assert len((tmp_path / "installation").read_text()) == 8
