"""The process runtime beyond the contract: whole trees, restarts of the server, secrets, images, floods."""

import asyncio
import json
import os
import shlex
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
import uvloop

from stoker.errors import Defect, InvalidInput, Unavailable
from stoker.ids import WorkerId
from stoker.runtimes import LogLine, Volume, WorkerSpec
from stoker.runtimes.process import ProcessRuntime
from stoker.runtimes.process_shim import find_process
from tests.runtimes.stages import (
    ACTOR,
    DEADLINE_S,
    ProcessStage,
    ended,
    eventually,
    first_line,
    keeps_the_newest_output,
    lines,
    seen,
)

SERVER = """
import asyncio, json, sys
from pathlib import Path
from stoker.runtimes import WorkerSpec
from stoker.runtimes.process import ProcessRuntime

async def main():
    runtime = ProcessRuntime(Path(sys.argv[1]), nudge=None, log_bytes_max=65536)
    for worker, image, command in json.load(sys.stdin):
        await runtime.launch(WorkerSpec(worker=worker, image=image, command=command))
    print("launched", flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


def shim_of(process: ProcessStage, worker: WorkerId) -> int:
    """The process id of the worker's shim."""
    return int(json.loads((process.root / worker / "state.json").read_text())["shim"][0])


def sleeper() -> "subprocess.Popen[bytes]":
    """A process of somebody else."""
    return subprocess.Popen(["sleep", "1000"])


async def alive(*pids: int) -> list[int]:
    """Those of the processes that are more than a zombie."""
    found = {pid: await asyncio.to_thread(find_process, pid) for pid in pids}
    return [pid for pid, process in found.items() if process is not None and not process.zombie]


async def gone(*pids: int) -> None:
    """Wait until none of the processes is alive."""
    await eventually(lambda: alive(*pids), until=lambda left: not left)


async def family(process: ProcessStage, spec: WorkerSpec) -> list[int]:
    """Launch a `family`; its members: the main process, a child, one in its own session, and an orphan."""
    await process.runtime.launch(spec)
    return [int(word) for word in (await first_line(process.runtime, spec.worker)).split()]


# ── the whole tree ────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_kill_takes_the_whole_tree(process: ProcessStage) -> None:
    """Stopping leaves nobody: not children, not those that left the session, not orphans, whatever they ignore."""
    spec = process.spec("family")
    pids = await family(process, spec)
    await process.runtime.stop(spec.worker, grace_s=0)
    await ended(process.runtime, spec.worker)
    assert not await alive(*pids)


async def test_death_of_the_main_process_ends_the_tree(process: ProcessStage) -> None:
    """When the main process is killed, as the OOM killer does, what it left behind goes too (protocol §10)."""
    spec = process.spec("family")
    pids = await family(process, spec)
    os.kill(pids[0], signal.SIGKILL)
    end = await ended(process.runtime, spec.worker)
    assert end.code == 137
    assert "out of memory is a common cause" in end.text
    assert not await alive(*pids)


async def test_exit_of_the_main_process_ends_the_tree(process: ProcessStage) -> None:
    """A worker that exits normally takes along what it started."""
    spec = process.spec("abandon")
    await process.runtime.launch(spec)
    assert (await ended(process.runtime, spec.worker)).code == 0
    assert not await alive(int(await first_line(process.runtime, spec.worker)))


async def test_sigterm_goes_to_the_main_process_only(process: ProcessStage) -> None:
    """The main process decides what SIGTERM means; one that never heard of it dies of it."""
    spec = process.spec("die")
    await process.runtime.launch(spec)
    await first_line(process.runtime, spec.worker)
    await process.runtime.stop(spec.worker, grace_s=DEADLINE_S)
    end = await ended(process.runtime, spec.worker)
    assert end.code == 143
    assert end.text == "killed by SIGTERM (exit code 143) when it was told to stop; last output: up"


async def test_worker_that_kills_its_group(process: ProcessStage) -> None:
    """A worker has a process group of its own: what it does to its group does not hit its shim."""
    spec = WorkerSpec(worker=WorkerId("w"), image=f"dir:{ACTOR}", command="sh -c 'kill -KILL 0'")
    await process.runtime.launch(spec)
    assert (await ended(process.runtime, spec.worker)).code == 137


async def test_no_zombies_are_left(process: ProcessStage) -> None:
    """Shims that this process started are reaped."""
    spec = process.spec("exit 0")
    await process.runtime.launch(spec)
    shim = shim_of(process, spec.worker)

    async def exists() -> bool:
        return psutil.pid_exists(shim)

    await eventually(exists, until=lambda there: not there)


# ── restarts ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@contextmanager
def server_until_killed(process: ProcessStage, *specs: WorkerSpec) -> Iterator[None]:
    """A server of its own process that has launched the workers; at the end it is killed with all of its group."""
    server = subprocess.Popen(
        [sys.executable, "-c", SERVER, process.root],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    assert server.stdin is not None
    assert server.stdout is not None
    with server:
        server.stdin.write(json.dumps([(spec.worker, spec.image, spec.command) for spec in specs]).encode())
        server.stdin.close()
        try:
            assert server.stdout.readline() == b"launched\n"
            yield
        finally:
            os.killpg(server.pid, signal.SIGKILL)


@pytest.mark.slow
async def test_workers_survive_a_killed_server(process: ProcessStage) -> None:
    """After kill -9 of the server its workers go on; the next server sees, stops and reads them as its own."""
    spec = process.spec("obey 7")
    with server_until_killed(process, spec):
        await first_line(process.runtime, spec.worker)
    assert await seen(process.runtime, spec.worker) is None
    await process.runtime.stop(spec.worker, grace_s=DEADLINE_S)
    async with asyncio.timeout(DEADLINE_S):
        await process.nudged.wait()
    end = await seen(process.runtime, spec.worker)
    assert end == await ended(process.runtime, spec.worker)
    assert (await ended(process.runtime, spec.worker)).code == 7
    assert await lines(process.runtime, spec.worker) == ["up", "told"]


@pytest.mark.slow
async def test_exit_without_a_server_is_seen_by_the_next(process: ProcessStage) -> None:
    """A worker that ends while no server runs is shown as ended, with its code, afterwards."""
    spec = process.spec("family")
    with server_until_killed(process, spec):
        pids = [int(word) for word in (await first_line(process.runtime, spec.worker)).split()]
    os.kill(pids[0], signal.SIGSEGV)
    await gone(*pids, shim_of(process, spec.worker))
    await process.restart()
    assert (await ended(process.runtime, spec.worker)).code == 139


async def test_restart_finds_running_and_ended_workers(process: ProcessStage) -> None:
    """What a runtime knows is in its files: a new one knows the same."""
    ended_one, running = process.spec("exit 5"), process.spec("ignore")
    await process.runtime.launch(ended_one)
    await process.runtime.launch(running)
    await ended(process.runtime, ended_one.worker)
    before = await process.runtime.observe()
    await process.restart()
    assert await process.runtime.observe() == before
    await process.runtime.launch(running)
    assert await process.runtime.observe() == before


async def test_killed_shim(process: ProcessStage) -> None:
    """If the shim itself is killed, the rest of the worker is killed and its end is shown without a code."""
    spec = process.spec("obey 0")
    await process.runtime.launch(spec)
    await first_line(process.runtime, spec.worker)
    main = int(json.loads((process.root / spec.worker / "state.json").read_text())["main"][0])
    os.kill(shim_of(process, spec.worker), signal.SIGKILL)
    async with asyncio.timeout(DEADLINE_S):
        await process.nudged.wait()
    end = await ended(process.runtime, spec.worker)
    assert end.code is None
    assert "nobody saw it end" in end.text
    assert not await alive(main)
    await process.restart()
    assert await seen(process.runtime, spec.worker) == end


async def test_killed_shim_and_main_process(process: ProcessStage) -> None:
    """What outlives both the shim and the main process is found by the marker in its environment."""
    spec = process.spec("die")
    outlives = f"{shlex.quote(sys.executable)} -S actor.py ignore"
    spec = WorkerSpec(worker=spec.worker, image=spec.image, command=f"sh -c 'setsid {outlives} & echo $!; wait'")
    await process.runtime.launch(spec)
    await eventually(lambda: lines(process.runtime, spec.worker), until=lambda shown: len(shown) == 2)
    main = psutil.Process(int(json.loads((process.root / spec.worker / "state.json").read_text())["main"][0]))
    rest = [child.pid for child in main.children(recursive=True)]
    assert rest
    os.kill(shim_of(process, spec.worker), signal.SIGKILL)
    main.kill()
    assert (await ended(process.runtime, spec.worker)).code is None
    await gone(*rest)


async def test_who_runs_is_not_read_again(process: ProcessStage) -> None:
    """A worker that was seen to run after its end could be heard of is not looked at again until it ends, by the server that launched
    it and by the next one; then it is, at once."""
    spec = process.spec("obey 5")
    await process.runtime.launch(spec)
    await first_line(process.runtime, spec.worker)
    await process.restart()
    for _ in range(2):
        assert await seen(process.runtime, spec.worker) is None
    state = process.root / spec.worker / "state.json"
    state.rename(state.with_suffix(".hidden"))
    state.write_text(json.dumps({"shim": [os.getpid(), "another birth"], "main": [os.getpid(), "another birth"]}))
    assert await seen(process.runtime, spec.worker) is None
    state.with_suffix(".hidden").rename(state)
    process.nudged.clear()
    await process.runtime.stop(spec.worker, grace_s=30)
    async with asyncio.timeout(DEADLINE_S):
        await process.nudged.wait()
    assert (await ended(process.runtime, spec.worker)).code == 5


async def test_reused_process_id_is_not_mistaken(process: ProcessStage) -> None:
    """A stranger with the process id of a former shim is neither taken for the worker nor touched."""
    with sleeper() as stranger:
        home = process.root / "former"
        home.mkdir(parents=True)
        mark = [stranger.pid, "another birth"]
        (home / "state.json").write_text(json.dumps({"shim": mark, "main": mark}))
        await process.runtime.stop(WorkerId("former"), grace_s=0)
        assert (await ended(process.runtime, WorkerId("former"))).code is None
        assert stranger.poll() is None
        stranger.kill()


def test_birth_names_a_process() -> None:
    """With its birth a process id names one process for ever: that of one that begins later is another."""
    own = find_process(os.getpid())
    with sleeper() as later:
        other = find_process(later.pid)
        later.kill()
    assert own is not None
    assert other is not None
    assert own.birth != other.birth
    assert own == find_process(os.getpid())


async def test_copy_cut_short_is_started_afresh(process: ProcessStage) -> None:
    """What a server left that was killed while copying is no worker, and does not stand in the way of one."""
    spec = process.spec("leave")
    work = process.root / spec.worker / "work"
    work.mkdir(parents=True)
    (work / "half").touch()
    assert await seen(process.runtime, spec.worker) == "missing"
    await process.runtime.launch(spec)
    assert "half" not in await first_line(process.runtime, spec.worker)
    await ended(process.runtime, spec.worker)


async def test_launch_goes_on_when_its_caller_leaves(process: ProcessStage) -> None:
    """A caller that stops waiting does not leave half a worker; who asks again gets the same one."""
    spec = process.spec("ignore")
    caller = asyncio.create_task(process.runtime.launch(spec))
    await asyncio.sleep(0)
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert await seen(process.runtime, spec.worker) is None
    await process.runtime.launch(spec)
    assert await first_line(process.runtime, spec.worker) == "up"


# ── the nudge ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.slow
async def test_nudge_without_pidfd(process: ProcessStage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the kernel has no pidfd, workers are looked at regularly, and stopped by their id and birth."""
    monkeypatch.delattr(os, "pidfd_open")
    spec = process.spec("obey 2")
    await process.runtime.launch(spec)
    await first_line(process.runtime, spec.worker)
    await process.runtime.stop(spec.worker, grace_s=DEADLINE_S)
    async with asyncio.timeout(DEADLINE_S):
        await process.nudged.wait()
    assert (await ended(process.runtime, spec.worker)).code == 2


def test_nudge_under_uvloop(tmp_path: Path) -> None:
    """The server's own event loop is told of ends too."""

    async def story() -> int | None:
        stage = ProcessStage(tmp_path / "workers")
        spec = stage.spec("exit 9")
        await stage.runtime.launch(spec)
        async with asyncio.timeout(DEADLINE_S):
            await stage.nudged.wait()
        end = await ended(stage.runtime, spec.worker)
        await stage.close()
        return end.code

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(story()) == 9


# ── files, environment, secrets ───────────────────────────────────────────────────────────────────────────────────────


async def test_every_start_gets_a_fresh_directory(process: ProcessStage) -> None:
    """A worker finds the directory as it was written, whatever earlier workers left (protocol §14.4)."""
    for _ in range(2):
        spec = process.spec("leave")
        await process.runtime.launch(spec)
        await ended(process.runtime, spec.worker)
        assert await lines(process.runtime, spec.worker) == ["actor.py"]
    assert [path.name for path in ACTOR.iterdir() if path.name != "__pycache__"] == ["actor.py"]


async def test_what_is_copied(process: ProcessStage, tmp_path: Path) -> None:
    """Links stay links; version control, caches, environments and the server's own data are left out."""
    for name in (".git", ".venv", "__pycache__", "models"):
        (tmp_path / name).mkdir()
    (tmp_path / "link").symlink_to("/nowhere")
    (tmp_path / "data").mkdir(exist_ok=True)  # the server's, with the workers' directories in it
    (tmp_path / "data" / "database").write_text("secret")
    spec = WorkerSpec(worker=WorkerId("w"), image=f"dir:{tmp_path}", command="ls -A")
    await process.runtime.launch(spec)
    assert (await ended(process.runtime, spec.worker)).code == 0
    assert await lines(process.runtime, spec.worker) == ["link", "models"]


async def test_environment_of_the_server_does_not_leak(process: ProcessStage, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker sees four variables of the server, ours that mark and tame it, and its own."""
    for name in ("STOKER_BOOTSTRAP_KEY", "RUNPOD_API_KEY", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "secret")
    monkeypatch.setenv("LANG", "C.UTF-8")
    monkeypatch.setenv("TMPDIR", "/tmp")
    spec = process.spec("all-environment", env={"MINE": "1"})
    await process.runtime.launch(spec)
    await ended(process.runtime, spec.worker)
    assert set(await lines(process.runtime, spec.worker)) - {"HOME", "LC_CTYPE"} == {
        "CUDA_VISIBLE_DEVICES",
        "LANG",
        "MINE",
        "PATH",
        "PYTHONUNBUFFERED",
        "TMPDIR",
        "_STOKER_WORKER",
    }


@pytest.mark.parametrize(("gpus", "shown"), [((), ""), (("GPU-a", "GPU-b"), "GPU-a,GPU-b")])
async def test_worker_sees_its_gpus_only(process: ProcessStage, gpus: tuple[str, ...], shown: str) -> None:
    """Reserved devices are visible, all others are not, whatever the user's environment says."""
    spec = process.spec("environment CUDA_VISIBLE_DEVICES", env={"CUDA_VISIBLE_DEVICES": "all"}, gpus=gpus)
    await process.runtime.launch(spec)
    await ended(process.runtime, spec.worker)
    assert await lines(process.runtime, spec.worker) == [f"CUDA_VISIBLE_DEVICES={shown}"]


async def test_each_worker_has_its_port(process: ProcessStage) -> None:
    """Workers that want a port are told one of their own, which is where they are reached, also by the next server."""
    specs = [replace(process.spec("environment PORT PORT_HEALTH"), http_port=8000) for _ in range(2)]
    addresses = []
    for spec in specs:
        await process.runtime.launch(spec)
        await ended(process.runtime, spec.worker)
        told = await lines(process.runtime, spec.worker)
        await process.restart()
        address = await process.process.address(spec.worker)
        host, port = address.split(":")
        assert (host, told) == ("127.0.0.1", [f"PORT={port}", f"PORT_HEALTH={port}"])
        addresses.append(address)
    assert len(set(addresses)) == 2
    without = process.spec("environment PORT")
    await process.runtime.launch(without)
    assert await process.process.address(without.worker) == ""
    assert await first_line(process.runtime, without.worker) == "PORT=(not set)"


async def test_volumes_are_told(process: ProcessStage, tmp_path: Path) -> None:
    """A process hears where the files of its volumes are; a directory of the machine is nothing to it."""
    volumes = (
        Volume(source=str(tmp_path), target="/models", name="my-models"),
        Volume(source="/etc", target="/x"),
    )
    env = {"STOKER_VOLUME_MY_MODELS": "/models"}
    spec = replace(process.spec("environment STOKER_VOLUME_MY_MODELS", env=env), volumes=volumes)
    await process.runtime.launch(spec)
    assert await first_line(process.runtime, spec.worker) == f"STOKER_VOLUME_MY_MODELS={tmp_path}"


async def test_user_environment_wins(process: ProcessStage) -> None:
    """What the spec says replaces what the server would have handed down."""
    spec = process.spec("environment HOME", env={"HOME": "/somewhere"})
    await process.runtime.launch(spec)
    await ended(process.runtime, spec.worker)
    assert await lines(process.runtime, spec.worker) == ["HOME=/somewhere"]


async def test_secrets_are_written_nowhere(process: ProcessStage) -> None:
    """Values of the environment are in no file and on no command line, and nobody else can enter the directories."""
    spec = process.spec("ignore", env={"TOKEN": "hunter2-is-secret"})
    await process.runtime.launch(spec)
    await first_line(process.runtime, spec.worker)
    home = process.root / spec.worker
    assert [path for path in home.rglob("*") if path.is_file() and b"hunter2" in path.read_bytes()] == []
    shim = psutil.Process(shim_of(process, spec.worker))
    for one in (shim, *shim.children(recursive=True)):
        assert "hunter2" not in " ".join(one.cmdline())
    assert "hunter2" not in str(shim.environ())
    assert stat.S_IMODE(home.stat().st_mode) == stat.S_IMODE(process.root.stat().st_mode) == 0o700


async def test_forget_removes_what_a_worker_locked(process: ProcessStage, tmp_path: Path) -> None:
    """Nothing of a forgotten worker stays on the disk, whatever it did to permissions."""
    command = "sh -c 'mkdir locked && touch locked/file && chmod 0 locked'"
    spec = WorkerSpec(worker=WorkerId("w"), image=f"dir:{ACTOR}", command=command)
    await process.runtime.launch(spec)
    await ended(process.runtime, spec.worker)
    await process.process.forget(spec.worker)
    assert list(process.root.iterdir()) == []


# ── output ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.slow
async def test_flood_neither_fills_the_disk_nor_blocks(process: ProcessStage) -> None:
    """A worker that floods its output runs to its end; what is kept is bounded, and ends with its last words."""
    spec = process.spec("flood 2000000")
    await process.runtime.launch(spec)
    end = await ended(process.runtime, spec.worker)
    assert end.text == "exit code 3; last output: the last words"
    shown = await lines(process.runtime, spec.worker, tail=5)
    assert shown[-1] == "the last words"
    assert any("lines dropped" in line for line in await lines(process.runtime, spec.worker, tail=10**6))
    assert sum(file.stat().st_size for file in (process.root / spec.worker).glob("output.log*")) <= 1024 * 1024


async def test_followed_log_goes_on_over_rotations(tmp_path: Path) -> None:
    """Following a log that turns over shows lines in order, none of them twice."""
    stage = ProcessStage(tmp_path / "workers", log_bytes_max=256 * 1024)
    spec = stage.spec("flood 20000")
    await stage.runtime.launch(spec)
    shown: list[LogLine] = [line async for line in stage.runtime.logs(spec.worker, tail=10**6, follow=True)]
    numbers = [int(line.text.split()[1]) for line in shown if line.text.startswith("line ")]
    assert numbers == sorted(set(numbers))
    assert shown[-1].text == "the last words"
    await stage.close()


async def test_kept_output_is_bounded(process: ProcessStage) -> None:
    """Of all ended workers together, the output of those that ended first goes; their ends stay."""
    await keeps_the_newest_output(process)


async def test_worker_may_close_its_output(process: ProcessStage) -> None:
    """A worker without output is a worker."""
    spec = process.spec("quiet")
    await process.runtime.launch(spec)
    await first_line(process.runtime, spec.worker)
    await process.runtime.stop(spec.worker, grace_s=DEADLINE_S)
    assert (await ended(process.runtime, spec.worker)).code == 4


async def test_odd_bytes_are_shown(process: ProcessStage) -> None:
    """Output that is no UTF-8 is shown as well as it goes."""
    spec = WorkerSpec(worker=WorkerId("w"), image=f"dir:{ACTOR}", command=r"printf 'a\377b\n\nc'")
    await process.runtime.launch(spec)
    await ended(process.runtime, spec.worker)
    assert await lines(process.runtime, spec.worker) == ["a�b", "", "c"]


# ── refusals ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A directory with a script that is not executable, one that is, and one that no system understands."""
    folder = tmp_path / "project"
    (folder / ".venv" / "bin").mkdir(parents=True)
    (folder / "handler.py").write_text("pass")
    for name, text in ((".venv/bin/python", ""), ("run.sh", "#!/bin/sh\nexit 6\n"), ("broken", "\x7fELF no program")):
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    return folder


@pytest.mark.parametrize(
    ("image", "command", "field", "words"),
    [
        ("runpod/base:1.0", "python", "image", "processes, not containers"),
        ("dir:project", "python", "image", "not an absolute path"),
        ("dir:{}/absent", "python", "image", "there is no directory"),
        ("dir:{}/handler.py", "python", "image", "there is no directory"),
        ("dir:{}", "", "command", "no command of its own"),
        ("dir:{}", "python 'handler.py", "command", "cannot be split"),
        ("dir:{}", "no-such-program -v", "command", "there is no program 'no-such-program'"),
        ("dir:{}", "./absent.py", "command", "there is no program './absent.py'"),
        ("dir:{}", "/absent/python", "command", "there is no program '/absent/python'"),
        ("dir:{}", "./handler.py", "command", "is not executable"),
        ("dir:{}", "handler.py", "command", "is not executable"),
        ("dir:{}", ".venv/bin/python handler.py", "command", "is not copied"),
    ],
)
async def test_images_that_cannot_work(
    process: ProcessStage, project: Path, image: str, command: str, field: str, words: str
) -> None:
    """A wrong image or command is refused, before and at the launch, with the field, the reason and the next step."""
    image = image.format(project)
    with pytest.raises(InvalidInput, match=words) as checked:
        await process.process.check_image(image, command)
    assert checked.value.field == field
    assert checked.value.next_step
    with pytest.raises(InvalidInput, match=words):
        await process.runtime.launch(WorkerSpec(worker=WorkerId("w"), image=image, command=command))
    assert await process.runtime.observe() == []


@pytest.mark.parametrize("command", ["./run.sh", "run.sh", "sh run.sh"])
async def test_programs_of_the_directory(process: ProcessStage, project: Path, command: str) -> None:
    """A program is found on the PATH, or in the directory."""
    await process.process.check_image(f"dir:{project}", command)
    await process.runtime.launch(WorkerSpec(worker=WorkerId("w"), image=f"dir:{project}", command=command))
    assert (await ended(process.runtime, WorkerId("w"))).code == 6


async def test_path_of_the_spec_is_searched(process: ProcessStage, project: Path) -> None:
    """A worker's own PATH decides where its program is found."""
    spec = WorkerSpec(worker=WorkerId("w"), image=f"dir:{ACTOR}", command="run.sh", env={"PATH": f"{project}:/bin"})
    await process.runtime.launch(spec)
    assert (await ended(process.runtime, spec.worker)).code == 6


@pytest.mark.parametrize(("command", "env"), [("./broken", {}), ("./run.sh", {"ODD": "zero\0byte"})])
async def test_program_that_cannot_be_executed(
    process: ProcessStage, project: Path, command: str, env: dict[str, str]
) -> None:
    """What the system refuses to execute is refused by the launch, and nothing of it stays."""
    with pytest.raises(InvalidInput, match="cannot be executed") as refused:
        await process.runtime.launch(WorkerSpec(worker=WorkerId("w"), image=f"dir:{project}", command=command, env=env))
    assert refused.value.field == "command"
    assert list(process.root.iterdir()) == []


async def test_directory_that_cannot_be_copied(process: ProcessStage, project: Path) -> None:
    """A copy that fails is worth another try later, says which file it was, and leaves nothing."""
    os.mkfifo(project / "pipe")
    with pytest.raises(Unavailable, match="pipe cannot be copied"):
        await process.runtime.launch(WorkerSpec(worker=WorkerId("w"), image=f"dir:{project}", command="./run.sh"))
    assert list(process.root.iterdir()) == []


async def test_root_that_cannot_be_read(tmp_path: Path) -> None:
    """When nobody can tell which workers there are, `observe` says so instead of showing none."""
    (tmp_path / "file").touch()
    runtime = ProcessRuntime(tmp_path / "file", nudge=None, log_bytes_max=65_536)
    with pytest.raises(Unavailable):
        await runtime.observe()


async def test_worker_id_cannot_leave_the_root(process: ProcessStage) -> None:
    """A worker id is a file name and nothing else."""
    with pytest.raises(Defect):
        await process.runtime.stop(WorkerId("../somewhere"), grace_s=0)


def test_log_limit_that_is_too_small(tmp_path: Path) -> None:
    """A log too small for its own lines is refused."""
    with pytest.raises(InvalidInput):
        ProcessRuntime(tmp_path, nudge=None, log_bytes_max=1024)
