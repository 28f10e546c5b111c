"""What containers add to the contract: safety, limits, words for deaths, images from real registries."""

import asyncio
import functools
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stoker.clock import SystemClock
from stoker.errors import InvalidInput, NotFound, StokerError, Unavailable
from stoker.runtimes import Login, Volume
from stoker.runtimes.docker import DockerRuntime
from stoker.runtimes.docker.container import container_config
from stoker.runtimes.docker.engine import Engine as EngineClient
from stoker.runtimes.docker.firewall import Firewall
from stoker.volume import MountTerms
from tests.docker import Engine, Registry, basic_auth
from tests.registries.gate import TokenService, no_more_today, served
from tests.runtimes.stages import DockerStage, ended, eventually, first_line, keeps_the_newest_output, lines, seen

pytestmark = [pytest.mark.slow, pytest.mark.docker]


def shown(stage: DockerStage, worker: str) -> dict[str, Any]:
    """What the engine knows of the worker's container."""
    (found,) = json.loads(stage.engine.run("inspect", f"stoker-{worker}"))
    return dict(found)


def inside(stage: DockerStage, worker: str, code: str) -> str:
    """What a line of Python prints in the worker's container."""
    return stage.engine.run("exec", f"stoker-{worker}", "python3", "-S", "-c", code)


# ── life ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_workers_survive_a_restart_of_the_server(docker: DockerStage) -> None:
    """A new server finds the containers of the one before, is nudged when they end, and still knows those that had ended."""
    going, gone = docker.spec("obey 5"), docker.spec("exit 3")
    for spec in (going, gone):
        await docker.runtime.launch(spec)
    await first_line(docker.runtime, going.worker)
    await ended(docker.runtime, gone.worker)
    await docker.restart()
    assert await seen(docker.runtime, going.worker) is None
    docker.nudged.clear()
    await docker.runtime.stop(going.worker, grace_s=30)
    async with asyncio.timeout(30):
        await docker.nudged.wait()
    assert (await ended(docker.runtime, going.worker)).code == 5
    assert (await ended(docker.runtime, gone.worker)).code == 3


async def test_ended_workers_leave_no_container(docker: DockerStage) -> None:
    """Its output and its end are kept; its file system is not."""
    spec = docker.spec("print kept")
    await docker.runtime.launch(spec)
    await ended(docker.runtime, spec.worker)

    async def names() -> str:
        return docker.engine.run("ps", "-aq", "--filter", f"name=stoker-{spec.worker}")

    await eventually(names, until=lambda left: not left)
    assert await lines(docker.runtime, spec.worker) == ["kept"]
    assert (docker.root / spec.worker / "exit.json").stat().st_mode & 0o077 == 0


async def test_kept_output_is_bounded(docker: DockerStage) -> None:
    """Of all ended workers together, the output of those that ended first goes; their ends stay."""
    await keeps_the_newest_output(docker)


async def test_a_container_that_never_started_is_removed(docker: DockerStage) -> None:
    """What a server left behind that was killed between creation and start never was a worker."""
    label = f"stoker.installation={docker.terms.installation}"
    words = ("create", "--name", "stoker-halfway", "--label", label, "--label", "stoker.worker=halfway")
    docker.engine.run(*words, docker.image, "true")
    assert await docker.runtime.observe() == []
    assert docker.engine.run("ps", "-aq", "--filter", "name=stoker-halfway") == ""


async def test_out_of_memory_is_named(docker_engine: Engine, actor_image: str, tmp_path: Path) -> None:
    """A worker over its memory limit is said to be out of memory, and which of its processes the kernel chose."""
    stage = DockerStage(docker_engine, actor_image, tmp_path / "containers", memory_bytes=64 * 1024**2)
    spec = stage.spec("exit 0")
    eater = type(spec)(worker=spec.worker, image=spec.image, command="python3 -S -c 'print(len(bytearray(1 << 30)))'")
    await stage.runtime.launch(eater)
    end = await ended(stage.runtime, spec.worker)
    await stage.close()
    assert end.code == 137
    assert "out of memory" in end.text
    assert "python3" in end.text


async def test_a_missing_program_is_named(docker: DockerStage) -> None:
    """A command that the image does not have can never start, and the words name it."""
    spec = docker.spec("exit 0")
    wrong = type(spec)(worker=spec.worker, image=spec.image, entrypoint="no-such-program")
    await docker.runtime.launch(wrong)
    end = await ended(docker.runtime, spec.worker)
    assert end.code == 127
    assert "no-such-program" in end.text


async def test_a_full_disk_is_the_end(docker_engine: Engine, actor_image: str, tmp_path: Path) -> None:
    """Where the engine cannot keep a worker to its disk limit, it is stopped when it has written more, and its end says so."""
    stage = DockerStage(docker_engine, actor_image, tmp_path / "containers")
    spec = stage.spec("exit 0")
    writes = 'python3 -S -c \'open("/big", "wb").write(bytes(9 << 20)); print("up", flush=True); import time; time.sleep(999)\''
    await stage.runtime.launch(type(spec)(worker=spec.worker, image=spec.image, command=writes, disk_bytes=8 * 1024**2))
    await first_line(stage.runtime, spec.worker)
    stage.docker._look_at_disks_at = 0.0  # it is time
    end = await ended(stage.runtime, spec.worker)
    await stage.close()
    assert end.code == 137
    assert "0.0 GiB are allowed" in end.text


# ── safety ────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_workers_get_no_more_than_they_need(docker: DockerStage) -> None:
    """No new privileges, few capabilities, an init, bounded processes and logs, no restart, no GPU that nobody promised."""
    spec = docker.spec("ignore")
    await docker.runtime.launch(spec)
    host = shown(docker, spec.worker)["HostConfig"]
    assert host["SecurityOpt"] == ["no-new-privileges"]
    assert host["CapDrop"] == ["ALL"]
    assert "NET_RAW" not in host["CapAdd"]
    assert host["Init"] is True
    assert host["PidsLimit"] == docker.terms.pids_max
    assert host["LogConfig"] == {"Type": "json-file", "Config": {"max-size": "2097152", "max-file": "2"}}
    assert host["RestartPolicy"]["Name"] == "no"
    assert host["Binds"] is None
    assert inside(docker, spec.worker, "import os; print(os.environ['NVIDIA_VISIBLE_DEVICES'])") == "void"
    assert inside(docker, spec.worker, "print(open('/proc/self/status').read())").count("NoNewPrivs:\t1") == 1


async def test_gpus_are_asked_for_by_device(docker: DockerStage) -> None:
    """The engine is told exactly which devices a worker gets, and the container's variable names the same; an engine that cannot
    give them says what is missing, and keeps nothing."""
    spec = docker.spec("ignore", gpus=("GPU-5c1d", "GPU-77aa"))
    client = EngineClient(docker.engine.host)
    config = container_config(spec, docker.terms, network="bridge", enforce_disk=False)
    await client.create(f"stoker-{spec.worker}", config)
    found = shown(docker, spec.worker)
    await client.remove(f"stoker-{spec.worker}")
    (request,) = found["HostConfig"]["DeviceRequests"]
    assert (request["DeviceIDs"], request["Capabilities"]) == (["GPU-5c1d", "GPU-77aa"], [["gpu"]])
    assert request["Count"] == 0
    assert "NVIDIA_VISIBLE_DEVICES=GPU-5c1d,GPU-77aa" in found["Config"]["Env"]
    await client.close()
    with pytest.raises(Unavailable) as refused:  # this machine has no GPU
        await docker.runtime.launch(spec)
    assert refused.value.code == "no_gpu_toolkit"
    assert await seen(docker.runtime, spec.worker) == "missing"


REACH = "import socket; s=socket.socket(); s.settimeout(2); print(s.connect_ex(('{host}', {port})))"


async def test_endpoints_do_not_see_each_other(docker: DockerStage) -> None:
    """A worker reaches another of its endpoint, and none of another endpoint."""
    listener = 'python3 -S -c \'import socket;s=socket.create_server(("",7000));print("up",flush=True);[s.accept() for _ in s.__class__.__mro__ for _ in range(99)]\''
    one, other, stranger = (docker.spec("ignore", endpoint=name) for name in ("a", "a", "b"))
    server = type(one)(worker=one.worker, endpoint="a", image=one.image, command=listener)
    for spec in (server, other, stranger):
        await docker.runtime.launch(spec)
        await first_line(docker.runtime, spec.worker)
    (network,) = shown(docker, one.worker)["NetworkSettings"]["Networks"].values()
    reach = REACH.format(host=network["IPAddress"], port=7000)
    assert inside(docker, other.worker, reach) == "0"
    assert inside(docker, stranger.worker, reach) != "0"


LISTENER = """
import socket, threading
def serve(host, port):
    with socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET) as listener:
        while True: listener.accept()
for place in (("169.254.77.2", 80), ("169.254.77.2", 53), ("100.100.100.200", 80), ("fd00:ec2::254", 80)):
    threading.Thread(target=serve, args=place).start()
print("up", flush=True)
"""


@pytest.fixture
def cloud() -> Iterator[None]:
    """A host beyond this machine that answers at metadata addresses."""
    ip = functools.partial(subprocess.run, check=True)
    for words in (
        "netns add stk-cloud",
        "link add stk-cloud0 type veth peer name eth0 netns stk-cloud",
        "address add 169.254.77.1/30 dev stk-cloud0",
        "link set stk-cloud0 up",
        "route add 100.100.100.200/32 dev stk-cloud0",
        "-n stk-cloud address add 169.254.77.2/30 dev eth0",
        "-n stk-cloud address add 100.100.100.200/32 dev eth0",
        "-n stk-cloud address add fd00:ec2::254/64 dev eth0 nodad",
        "-n stk-cloud link set eth0 up",
        "address add fd00:ec2::1/64 dev stk-cloud0 nodad",
    ):
        ip(["ip", *words.split()])
    served = ["ip", "netns", "exec", "stk-cloud", sys.executable, "-S", "-c", LISTENER]
    with subprocess.Popen(served, stdout=subprocess.PIPE) as listener:
        assert listener.stdout is not None
        assert listener.stdout.readline() == b"up\n"
        yield
        listener.kill()
    ip(["ip", "netns", "delete", "stk-cloud"])


def empty_firewall() -> None:
    """As a reload of the machine's firewall does."""
    subprocess.run(["iptables", "-w", "-F", "DOCKER-USER"], check=True)


async def test_metadata_cannot_be_reached(docker: DockerStage, cloud: None) -> None:
    """What a cloud tells a machine at its metadata addresses is kept from workers, also after somebody emptied the firewall; the
    cloud's resolver at the same address is not."""
    reach = {
        "metadata": REACH.format(host="169.254.77.2", port=80),
        "another cloud's": REACH.format(host="100.100.100.200", port=80),
        "IPv6": REACH.format(host="fd00:ec2::254", port=80).replace(
            "socket.socket()", "socket.socket(socket.AF_INET6)"
        ),
        "resolver": REACH.format(host="169.254.77.2", port=53),
    }
    everybody = ("run", "--rm", docker.image, "python3", "-S", "-c", reach["metadata"])
    assert docker.engine.run(*everybody) == "0", "they can be reached from containers that are not ours"
    spec = docker.spec("ignore")
    await docker.runtime.launch(spec)
    for _ in range(2):
        found = {name: inside(docker, spec.worker, code) == "0" for name, code in reach.items()}
        assert found == {"metadata": False, "another cloud's": False, "IPv6": False, "resolver": True}
        empty_firewall()
        await docker.docker.collect_images(used=(), unused_before_ms=0, bytes_max=1 << 60)


async def test_a_worker_that_could_read_metadata_does_not_start() -> None:
    """Where the firewall cannot be closed and has to be, nothing starts, and the words say what to do; else only the log says so."""
    client = EngineClient("tcp://127.0.0.1:9")
    for required in (True, False):
        firewall = Firewall(client, required=required)
        if required:
            with pytest.raises(Unavailable, match="another machine") as refused:
                await firewall.close_metadata()
            assert refused.value.code == "metadata_open"
            assert "iptables -I DOCKER-USER" in str(refused.value.next_step)
        else:
            await firewall.close_metadata()


async def test_volumes_outlive_workers(docker_engine: Engine, actor_image: str, tmp_path: Path) -> None:
    """A volume of a team is also where Runpod's workers look; a directory of the machine must be allowed, links included."""
    allowed, cache = tmp_path / "models", tmp_path / "cache"
    for folder in (allowed, cache):
        folder.mkdir()
    (allowed / "weights").write_text("1")
    (allowed / "out").symlink_to("/etc")
    stage = DockerStage(docker_engine, actor_image, tmp_path / "containers", mounts=MountTerms(roots=(str(allowed),)))
    volumes = (
        Volume(source=str(cache), target="/cache", name="cache"),
        Volume(source=str(allowed), target="/models", read_only=True),
    )
    spec = stage.spec("ignore", team="team-a", volumes=volumes)
    await stage.runtime.launch(spec)
    assert inside(stage, spec.worker, "open('/cache/x','w'); import os; print(os.listdir('/runpod-volume'))") == "['x']"
    assert [path.name for path in cache.iterdir()] == ["x"]
    assert "weights" in inside(stage, spec.worker, "import os; print(os.listdir('/models'))")
    for source in ("/etc", f"{allowed}/../..", f"{allowed}/out", str(cache)):
        with pytest.raises(InvalidInput, match="may not mount"):
            await stage.runtime.launch(stage.spec("ignore", volumes=(Volume(source=source, target="/x"),)))
    await stage.close()


async def test_a_port_is_published_to_this_machine_only(docker: DockerStage) -> None:
    """The HTTP port is reachable through loopback, and nowhere else."""
    spec = docker.spec("ignore", http_port=8000)
    await docker.runtime.launch(spec)
    (binding,) = shown(docker, spec.worker)["NetworkSettings"]["Ports"]["8000/tcp"]
    assert binding["HostIp"] == "127.0.0.1"


# ── images ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def runtime(docker: DockerStage) -> DockerRuntime:
    """The runtime under its own name."""
    return docker.docker


def push(engine: Engine, registry: Registry, name: str, *, secret: str = "") -> str:
    """An image of a few bytes in the registry, and not in the engine; its name."""
    image = f"{registry.host}/{name}"
    engine.build(image, f'FROM scratch\nLABEL of="{name}"\nCOPY Dockerfile /{secret or "x"}\n')
    engine.run("push", "-q", image)
    engine.run("rmi", image)
    return image


async def test_an_image_is_pulled_and_pinned(docker: DockerStage, runtime: DockerRuntime, registry: Registry) -> None:
    """A pull answers with the digest, which goes on to mean these bytes when the tag means others; the image is then ours to list
    and to remove."""
    image = push(docker.engine, registry, "worker:1")
    digests = await asyncio.gather(*(runtime.pull(image, login=None) for _ in range(3)))
    assert len(set(digests)) == 1
    assert digests[0].startswith(f"{registry.host}/worker@sha256:")
    (listed,) = await runtime.images()
    assert (listed.name, listed.progress) == (image, "")
    docker.engine.build("built-here:1", "FROM scratch\nCOPY Dockerfile /x\n")
    assert [await runtime.is_built_here(one) for one in (image, "built-here:1", "never:1")] == [False, True, False]
    push(docker.engine, registry, "worker:1", secret="other")
    assert await runtime.pull(image, login=None) != digests[0]
    assert await runtime.pull(digests[0], login=None) == digests[0]
    await runtime.remove_image(image)
    with pytest.raises(NotFound):
        await runtime.remove_image(f"{registry.host}/never:1")


async def test_private_images_need_a_login(docker: DockerStage, runtime: DockerRuntime, tmp_path: Path) -> None:
    """A private image comes with the right login, and with none or a wrong one it is denied, even while it lies here."""
    registry = Registry(tmp_path / "private", basic_auth(tmp_path / "private", "ann", "secret"))
    registry.start()
    try:
        docker.engine.run("login", "-u", "ann", "-p", "secret", registry.host)
        image = push(docker.engine, registry, "private:1")
        docker.engine.run("logout", registry.host)
        right, wrong = (Login(registry=registry.host, username="ann", password=word) for word in ("secret", "guess"))
        assert (await runtime.pull(image, login=right)).startswith(f"{registry.host}/private@")
        for login in (None, wrong):
            with pytest.raises(InvalidInput) as refused:
                await runtime.pull(image, login=login)
            assert refused.value.code == "image_denied"
        assert "secret" not in repr(right)
    finally:
        registry.close()


async def test_a_registry_with_tokens(docker: DockerStage, runtime: DockerRuntime, tmp_path: Path) -> None:
    """A registry that sends to a token service, as the large hubs do, gives an image to the right login and to no other."""
    service = TokenService(tmp_path / "tokens", "ann", "secret")
    with served(service.answer) as service.url:
        registry = Registry(tmp_path / "private", service.settings)
        registry.start()
        try:
            docker.engine.run("login", "-u", "ann", "-p", "secret", registry.host)
            image = push(docker.engine, registry, "private:1")
            docker.engine.run("logout", registry.host)
            right, wrong = (
                Login(registry=registry.host, username="ann", password=word) for word in ("secret", "guess")
            )
            assert (await runtime.pull(image, login=right)).startswith(f"{registry.host}/private@")
            assert service.asked[-1] == "repository:private:pull"
            for login in (None, wrong):
                with pytest.raises(InvalidInput) as refused:
                    await runtime.pull(image, login=login)
                assert refused.value.code == "image_denied", refused.value.message
        finally:
            registry.close()


async def test_a_registry_that_has_enough(runtime: DockerRuntime) -> None:
    """Whoever has pulled too much is told so, and that it may work later."""
    with served(no_more_today) as url, pytest.raises(Unavailable) as refused:
        await runtime.pull(f"{url.removeprefix('http://')}/worker:1", login=None)
    assert refused.value.code == "image_rate_limited", refused.value.message


async def test_an_image_for_other_machines(docker: DockerStage, runtime: DockerRuntime, registry: Registry) -> None:
    """An image that was built for another architecture is refused with both, whether its registry knows one image or a list."""
    theirs = "arm64" if docker.engine.run("version", "-f", "{{.Server.Arch}}") == "amd64" else "amd64"
    one = push(docker.engine, registry, "foreign:1")
    registry.mark_for("foreign", "1", theirs)
    for image in (one, f"{registry.host}/foreign:list"):
        with pytest.raises(InvalidInput) as refused:
            await runtime.pull(image, login=None)
        assert refused.value.code == "wrong_architecture", refused.value.message


async def test_an_image_that_does_not_fit(
    docker: DockerStage, small_engine: Engine, registry: Registry, tmp_path: Path
) -> None:
    """An engine whose disk is full says so, and not that the image is wrong."""
    image, noise = f"{registry.host}/large:1", tmp_path / "noise"
    noise.write_bytes(os.urandom(90_000_000))
    docker.engine.build(image, "FROM scratch\nCOPY noise /\n", [noise])
    docker.engine.run("push", "-q", image)
    client = EngineClient(small_engine.host)
    runtime = DockerRuntime(client, tmp_path / "small", SystemClock(), nudge=None, terms=docker.terms)
    with pytest.raises(Unavailable) as refused:
        await runtime.pull(image, login=None)
    await runtime.close()
    assert refused.value.code == "disk_full", refused.value.message


async def test_what_cannot_be_pulled_is_explained(runtime: DockerRuntime, registry: Registry) -> None:
    """Not there, not reachable, no name at all: each has its code, and says whether trying again may help."""
    expected: list[tuple[str, type[StokerError], str]] = [
        (f"{registry.host}/never:1", InvalidInput, "image_not_found"),
        ("127.0.0.1:9/never:1", Unavailable, "registry_unreachable"),
        ("No Such Name", InvalidInput, "invalid_input"),
    ]
    for image, kind, code in expected:
        with pytest.raises(kind) as refused:
            await runtime.pull(image, login=None)
        assert refused.value.code == code, refused.value.message


async def test_unused_images_are_collected(docker: DockerStage, runtime: DockerRuntime, registry: Registry) -> None:
    """Old images go unless an endpoint uses them; so do the longest unused when there is no room; what others brought stays."""
    used, old = (push(docker.engine, registry, f"{name}:1", secret=name) for name in ("used", "old"))
    for image in (used, old):
        await runtime.pull(image, login=None)
    assert await runtime.collect_images(used=[used], unused_before_ms=1 << 60, bytes_max=1 << 60) == [old]
    assert await runtime.collect_images(used=[], unused_before_ms=0, bytes_max=0) == [used]
    assert docker.engine.run("images", "-q", docker.image) != ""
