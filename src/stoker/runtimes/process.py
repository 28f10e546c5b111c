"""Workers as child processes: the runtime of laptops, tests and machines without containers.

An image is `dir:/absolute/path`; every worker gets a copy of that directory and runs the command in it. Each worker has a
shim (`process_shim`) that outlives this server, so that a server may be killed and started again without losing a worker:

    root/<worker id>/     state.json  stop.json  exit.json  port.json  output.log  work/

Everything is read back from these records; the memory of this object only saves time: of a worker that runs nothing is read as long as the
kernel holds its shim for us. There is no isolation: workers run as the server's user and see what it sees. Blocking work is done in threads.
Calls follow the contract of the port.
"""

from __future__ import annotations

import asyncio
import functools
import json
import os
import re
import select
import shlex
import shutil
import signal
import socket
import sys
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from stoker.errors import Conflict, Defect, InvalidInput, Unavailable
from stoker.ids import WorkerId
from stoker.runtimes import Capacity, LogLine, Nudge, Observation, Step, WorkerSpec, gpus, process_shim
from stoker.runtimes.kept_logs import trim_logs
from stoker.runtimes.process_log import LogReader
from stoker.volume import variable
from stoker.worker import Exit

IMAGE_PREFIX: Final = "dir:"
NOT_COPIED: Final = (".git", "__pycache__", ".venv")
"""Large, or bound to the place where they lie, and no part of a program."""
KEPT_VARIABLES: Final = ("PATH", "HOME", "LANG", "TMPDIR")
"""What a worker sees of the server's environment. Nothing else: it holds the server's secrets and settings."""
PORT_FILE: Final = "port.json"
"""Where the worker was told to listen."""
MARKER: Final = "_STOKER_WORKER"
"""Variable that names the worker's directory to whoever looks for what an ended worker left behind."""
LOG_BYTES_MIN: Final = 64 * 1024
"""Two halves that hold a line of the greatest length each."""
SHIM_START_S: Final = 30.0
"""A shim answers in some 30 ms; a machine that needs a thousand times as long cannot be used now."""
FOLLOW_EVERY_S: Final = 0.2
"""How often a followed log is looked at: quicker than people read."""
WATCH_EVERY_S: Final = 0.25
"""How often a worker is looked at where the kernel cannot tell us of its end (no pidfd)."""

_SAFE_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
_SHIM: Final = str(Path(process_shim.__file__).resolve())


class ProcessRuntime:
    """Runs workers as process trees below `root`. `log_bytes_max` bounds the output that is kept of each worker.

    Call `close` before the event loop ends; it leaves the workers running.
    """

    def __init__(self, root: Path, *, nudge: Nudge | None, log_bytes_max: int) -> None:
        if log_bytes_max < LOG_BYTES_MIN:
            raise InvalidInput(f"a worker's log needs at least {LOG_BYTES_MIN} bytes", field="log_bytes_max")
        self._root = root.absolute()
        self._nudge = nudge or (lambda: None)
        self._log_bytes_max = log_bytes_max
        self._launching: dict[WorkerId, asyncio.Task[_Shim | None]] = {}
        self._watched: dict[WorkerId, int | asyncio.Task[None]] = {}
        self._held: frozenset[WorkerId] = frozenset()
        """Those who were alive after their pidfd was opened, so that it is their shim's and tells of their end: no look is needed."""
        self._ended_before: dict[WorkerId, Exit] = {}

    # ── the five calls ────────────────────────────────────────────────────────────────────────────────────────────────

    async def launch(self, spec: WorkerSpec) -> Sequence[Step]:
        """Copy the directory and start the command in the copy. The start goes on if the caller stops waiting for it."""
        task = self._launching.get(spec.worker)
        if task is None:
            home = self._home(spec.worker)
            task = asyncio.create_task(asyncio.to_thread(self._start, home, spec))
            self._launching[spec.worker] = task
            task.add_done_callback(functools.partial(self._launched, spec.worker))
        await asyncio.shield(task)
        return ()

    async def stop(self, worker: WorkerId, *, grace_s: float) -> None:
        """Have the shim pass SIGTERM on and kill the tree after the grace."""
        if worker not in self._launching:
            await asyncio.to_thread(_stop, self._home(worker), grace_s)

    async def observe(self) -> Sequence[Observation]:
        """What the records below `root` say. Finishes what a killed shim left unfinished."""
        held = self._held
        try:
            seen = await asyncio.to_thread(self._survey, held)
        except OSError as error:
            raise Unavailable(f"cannot read {self._root}: {error.strerror}") from error
        self._ended_before = {worker: found for worker, found in seen.items() if isinstance(found, Exit)}
        for worker, found in seen.items():
            if isinstance(found, Exit):
                self._unwatch(worker)
            elif isinstance(self._watched.get(worker), int):
                self._held |= {worker}
            else:
                self._watch(worker, found)
        begun = {worker: None for worker in (*held, *self._launching, *self._watched) if worker not in seen}
        ends = {worker: self._ended_before.get(worker) for worker in seen} | begun
        return [Observation(worker=worker, exit=ends[worker]) for worker in sorted(ends)]

    async def logs(self, worker: WorkerId, *, tail: int, follow: bool) -> AsyncIterator[LogLine]:
        """What the shim has written down, and with `follow` what it goes on to write."""
        home = self._home(worker)
        reader = LogReader(home.path)
        try:
            for line in await asyncio.to_thread(reader.tail, tail):
                yield line
            over = not follow
            while not over:
                # Asked before reading: what is over writes no more, so this reading is the last one needed.
                over = worker not in self._launching and await asyncio.to_thread(home.over)
                lines = await asyncio.to_thread(reader.more)
                for line in lines:
                    yield line
                if not lines and not over:
                    await asyncio.sleep(FOLLOW_EVERY_S)
        finally:
            reader.close()

    async def capacity(self) -> Capacity:
        """The GPUs of this machine."""
        return await asyncio.to_thread(gpus.read_capacity)

    # ── abilities ─────────────────────────────────────────────────────────────────────────────────────────────────────

    async def check_image(self, image: str, command: str) -> None:
        """Whether the directory exists and the program of the command can be found."""
        await asyncio.to_thread(lambda: _find_program(_find_directory(image), command, _base_environment()))

    async def address(self, worker: WorkerId) -> str:
        """The port that was chosen for it at its launch."""
        port = await asyncio.to_thread(self._home(worker).port)
        return f"127.0.0.1:{port}" if port else ""

    async def forget(self, worker: WorkerId) -> None:
        """Remove the worker's directory. Raises `Conflict` while the worker runs."""
        home = self._home(worker)
        if worker in self._launching or not await asyncio.to_thread(home.over):
            raise Conflict(f"worker {worker} still runs", next_step="stop it first")
        self._unwatch(worker)
        self._ended_before.pop(worker, None)
        await asyncio.to_thread(home.remove)

    async def trim_logs(self, bytes_max: int) -> int:
        """Let go of the output of those that ended first."""
        logs = (process_shim.LOG_FILE, process_shim.OLDER_LOG_FILE)
        return await asyncio.to_thread(trim_logs, self._root, bytes_max, end=process_shim.EXIT_FILE, logs=logs)

    def close(self) -> None:
        """Stop watching. Workers go on; another `ProcessRuntime` on the same root finds them."""
        for worker in list(self._watched):
            self._unwatch(worker)

    # ── launching ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def _home(self, worker: WorkerId) -> _Home:
        if not _SAFE_ID.fullmatch(worker):
            raise Defect(f"worker id {worker!r} cannot name a directory")
        return _Home(path=self._root / worker)

    def _start(self, home: _Home, spec: WorkerSpec) -> _Shim | None:
        """Bring the worker into being. Returns its shim, or None when it had been started before. Blocks."""
        if home.shim() is not None:
            return None
        directory = _find_directory(spec.image)
        command, program = _find_program(
            directory, f"{spec.entrypoint} {spec.command}", _base_environment() | dict(spec.env)
        )
        port = _free_port() if spec.http_port else 0
        order = {
            "command": command,
            "program": str(home.work / program),  # an absolute program stays as it is
            "env": _environment(spec, home, port),
            "log_bytes_max": self._log_bytes_max,
        }
        try:
            home.remove()  # what a server that was killed while copying left behind
            self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
            home.path.mkdir(mode=0o700)
            self._copy(directory, home.work)
            if port:
                process_shim.write_record(str(home.path / PORT_FILE), {"port": port})
            return _start_shim(home, json.dumps(order).encode())
        except OSError as error:
            home.remove()
            raise Unavailable(f"worker {spec.worker} could not be started: {_words(error)}") from error
        except InvalidInput:
            home.remove()
            raise

    def _copy(self, directory: Path, work: Path) -> None:
        ours = {str(self._root), str(self._root.parent)}  # the server's own data may lie inside a project
        known = shutil.ignore_patterns(*NOT_COPIED)

        def ignore(folder: str, names: list[str]) -> set[str]:
            return {*known(folder, names), *(name for name in names if os.path.join(folder, name) in ours)}

        shutil.copytree(directory, work, symlinks=True, ignore=ignore)

    def _launched(self, worker: WorkerId, task: asyncio.Task[_Shim | None]) -> None:
        del self._launching[worker]
        if not task.cancelled() and task.exception() is None and (shim := task.result()) is not None:
            self._watch(worker, shim)

    # ── watching ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def _survey(self, held: Collection[WorkerId]) -> dict[WorkerId, _Shim | Exit]:
        """What is recorded of each worker but of those that are held; ends that were read before are not read again. Blocks."""
        seen: dict[WorkerId, _Shim | Exit] = {}
        for name in os.listdir(self._root) if self._root.exists() else ():
            worker = WorkerId(name)
            if worker not in held and worker not in self._launching and _SAFE_ID.fullmatch(worker):
                found = self._ended_before.get(worker) or self._home(worker).look()
                if found is not None:
                    seen[worker] = found
        return seen

    def _watch(self, worker: WorkerId, shim: _Shim) -> None:
        """See to it that the nudge comes as soon as the shim ends."""
        if worker in self._watched:
            return
        try:
            pidfd = os.pidfd_open(shim.pid)
        except ProcessLookupError:
            asyncio.get_running_loop().call_soon(self._nudge)
        except (AttributeError, OSError):
            self._watched[worker] = asyncio.create_task(self._poll(worker, shim))
        else:
            self._watched[worker] = pidfd
            asyncio.get_running_loop().add_reader(pidfd, self._ended, worker, shim)

    async def _poll(self, worker: WorkerId, shim: _Shim) -> None:
        while await asyncio.to_thread(shim.alive):  # noqa: ASYNC110 (another process cannot set an Event)
            await asyncio.sleep(WATCH_EVERY_S)
        self._ended(worker, shim)

    def _ended(self, worker: WorkerId, shim: _Shim) -> None:
        self._unwatch(worker)
        with suppress(ChildProcessError):  # not ours when an earlier server started it
            os.waitpid(shim.pid, os.WNOHANG)
        self._nudge()

    def _unwatch(self, worker: WorkerId) -> None:
        self._held -= {worker}
        watch = self._watched.pop(worker, None)
        if isinstance(watch, int):
            asyncio.get_running_loop().remove_reader(watch)
            os.close(watch)
        elif watch is not None and watch is not asyncio.current_task():
            watch.cancel()


# ── one worker's directory ────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class _Shim:
    """A shim, named for ever by its process id and birth."""

    pid: int
    birth: str

    def alive(self) -> bool:
        process = process_shim.find_process(self.pid)
        return process is not None and process.birth == self.birth and not process.zombie

    def send(self, number: signal.Signals) -> bool:
        """Send it a signal. False when it is gone; whoever has its process id by now never gets one."""
        try:
            pidfd = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return False
        except (AttributeError, OSError):
            return self._send_by_pid(number)
        try:
            alive = self.alive()
            if alive:
                signal.pidfd_send_signal(pidfd, number)
            return alive
        except ProcessLookupError:
            return False
        finally:
            os.close(pidfd)

    def _send_by_pid(self, number: signal.Signals) -> bool:
        alive = self.alive()
        if alive:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)
        return alive


@dataclass(frozen=True, slots=True)
class _Home:
    """The directory of one worker and what is recorded in it. Everything here blocks."""

    path: Path

    @property
    def work(self) -> Path:
        return self.path / process_shim.WORK_DIR

    def shim(self) -> _Shim | None:
        """Who looks after the worker, or did. None when no worker was started here."""
        return self._marked("shim")

    def look(self) -> _Shim | Exit | None:
        """How it ended, or the shim that runs it, or None when no worker was started here."""
        shim = self.shim()
        if shim is None:
            return None
        alive = shim.alive()
        ended = self._exit()  # read after: a shim that is gone has written it, if it ever does
        if ended is not None:
            return ended
        return shim if alive or not self._sweep() else self._exit_unseen()

    def over(self) -> bool:
        """Whether nothing runs here. Does not wait for what a killed shim left behind."""
        shim = self.shim()
        return shim is None or not shim.alive() or self._exit() is not None

    def write_grace(self, grace_s: float) -> None:
        """Tell the shim how long the worker may take to end; the shortest ever told holds, if it has not read it yet."""
        match self._record(process_shim.STOP_FILE):
            case {"grace_s": int() | float() as told}:
                grace_s = min(grace_s, told)
            case _:
                pass
        process_shim.write_record(str(self.path / process_shim.STOP_FILE), {"grace_s": grace_s})

    def port(self) -> int:
        """The port that was chosen for it; 0 when it needs none, or is gone."""
        match self._record(PORT_FILE):
            case {"port": int(port)}:
                return port
            case _:
                return 0

    def remove(self) -> None:
        """Remove the directory; the records last, so that a removal cut short is seen and repeated."""
        for path in (self.work, self.path):
            if path.exists():
                _remove_tree(path)

    def _record(self, name: str) -> dict[str, object] | None:
        return process_shim.read_record(str(self.path / name))

    def _marked(self, name: str) -> _Shim | None:
        match (self._record(process_shim.STATE_FILE) or {}).get(name):
            case [int(pid), str(birth)]:
                return _Shim(pid, birth)
            case _:
                return None

    def _exit(self) -> Exit | None:
        match self._record(process_shim.EXIT_FILE):
            case {"code": int() | None as code, "text": str(text)}:
                return Exit(code=code, text=text)
            case _:
                return None

    def _exit_unseen(self) -> Exit:
        text = "nobody saw it end: its supervisor was killed, or the machine was restarted"
        with suppress(OSError):  # found out again at the next look
            process_shim.write_record(str(self.path / process_shim.EXIT_FILE), {"code": None, "text": text})
        return Exit(code=None, text=text)

    def _sweep(self) -> bool:
        """Kill what a killed shim left behind. Whether nothing is left now."""
        from stoker.runtimes import process_remains  # 2 MiB of memory that a server whose shims live can do without

        return process_remains.sweep(self._family, (MARKER, str(self.path)))

    def _family(self) -> set[int]:
        """The main process, its session and descendants."""
        main = self._marked("main")
        if main is None or not main.alive():
            return set()
        session = {pid for pid, process in process_shim.all_processes().items() if process.session == main.pid}
        return {main.pid, *session, *process_shim.descendants(main.pid)}


def _stop(home: _Home, grace_s: float) -> None:
    found = home.look()
    if isinstance(found, _Shim):
        with suppress(OSError):  # forgotten meanwhile, or the disk is full: then the shim's own grace holds
            home.write_grace(grace_s)
        found.send(signal.SIGTERM)


def _remove_tree(path: Path) -> None:
    """Remove a directory whatever a worker did to its permissions."""
    try:
        shutil.rmtree(path)
    except PermissionError:
        for folder, _folders, _files in os.walk(path):
            os.chmod(folder, 0o700)
        shutil.rmtree(path)


# ── starting a shim ───────────────────────────────────────────────────────────────────────────────────────────────────


def _start_shim(home: _Home, order: bytes) -> _Shim:
    """Start a shim and wait until its worker exists. Raises `InvalidInput` when the program cannot be executed."""
    order_end, order_start = os.pipe()
    answer_end, answer_start = os.pipe()
    with os.fdopen(order_start, "wb") as order_file, os.fdopen(answer_end, "rb") as answer_file:
        try:
            pid = _spawn_shim(home, stdin=order_end, stdout=answer_start)
        finally:
            os.close(order_end)
            os.close(answer_start)
        with suppress(BrokenPipeError):  # it has died; the empty answer says so
            order_file.write(order)
            order_file.close()
        answered, _, _ = select.select([answer_file], [], [], SHIM_START_S)
        answer = answer_file.read() if answered else b""
    shim = home.shim()
    if shim is None or not answer or "error" in json.loads(answer):
        _give_up(pid)
    if shim is None or not answer:
        raise OSError(f"its supervisor did not come up, see {home.path.name}/shim.log")
    if "error" in json.loads(answer):
        raise InvalidInput(
            f"the command cannot be executed: {json.loads(answer)['error']}",
            field="command",
            next_step="check that the program is executable and made for this machine",
        )
    return shim


def _spawn_shim(home: _Home, *, stdin: int, stdout: int) -> int:
    log = str(home.path / "shim.log")
    return os.posix_spawn(
        sys.executable,
        [sys.executable, "-I", "-S", "-E", _SHIM, str(home.path)],
        {name: value for name, value in os.environ.items() if not name.startswith(("STOKER_", "RUNPOD_"))},
        file_actions=[
            (os.POSIX_SPAWN_DUP2, stdin, 0),
            (os.POSIX_SPAWN_DUP2, stdout, 1),
            (os.POSIX_SPAWN_OPEN, 2, log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600),
        ],
        setsigmask=(),
    )


def _give_up(pid: int) -> None:
    """End a shim that has no worker, and reap it."""
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    with suppress(ChildProcessError):
        os.waitpid(pid, 0)


def _words(error: OSError) -> str:
    if isinstance(error, shutil.Error):  # a list of (from, to, why); the first one tells enough
        source, _target, why = error.args[0][0]
        return f"{source} cannot be copied: {why}"
    return f"{error.filename}: {error.strerror}" if error.filename else str(error)


# ── image, command, environment ───────────────────────────────────────────────────────────────────────────────────────


def _find_directory(image: str) -> Path:
    if not image.startswith(IMAGE_PREFIX):
        raise InvalidInput(
            f"'{image}' is no directory, and this server runs workers as processes, not containers",
            field="image",
            next_step="give the directory of the worker's program: dir:/absolute/path",
        )
    directory = Path(image.removeprefix(IMAGE_PREFIX))
    if not directory.is_absolute():
        raise InvalidInput(
            f"'{directory}' is not an absolute path", field="image", next_step=f"write {IMAGE_PREFIX}/absolute/path"
        )
    if not directory.is_dir():
        raise InvalidInput(
            f"there is no directory {directory} on the server's machine",
            field="image",
            next_step="create it there, or correct the path",
        )
    return directory


def _find_program(directory: Path, command: str, env: Mapping[str, str]) -> tuple[list[str], Path]:
    """The words of the command, and its program: absolute, or relative to the directory."""
    words = _split(command)
    name = words[0]
    on_path = None if "/" in name else shutil.which(name, path=env["PATH"])
    if on_path is not None:
        return words, Path(on_path).absolute()
    program = Path(name)
    if not program.is_absolute() and set(program.parts) & set(NOT_COPIED):
        raise InvalidInput(
            f"'{name}' is not copied to workers; left out are {', '.join(NOT_COPIED)}",
            field="command",
            next_step=f"give its full path: {directory / program}",
        )
    if not (directory / program).is_file():
        raise InvalidInput(
            f"there is no program '{name}', neither on the server's PATH nor in {directory}",
            field="command",
            next_step="correct the command, or give the program's full path",
        )
    if not os.access(directory / program, os.X_OK):
        raise InvalidInput(
            f"'{name}' is not executable",
            field="command",
            next_step=f"name the program that runs it, such as: python {name}",
        )
    return words, program


def _split(command: str) -> list[str]:
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise InvalidInput(
            f"the command cannot be split into words: {error}", field="command", next_step="check its quotes"
        ) from None
    if not words:
        raise InvalidInput(
            "a directory has no command of its own",
            field="command",
            next_step="say what to run in it, such as: python handler.py",
        )
    return words


def _base_environment() -> dict[str, str]:
    """What a worker has without being told. Output is unbuffered: what a killed worker printed is worth most."""
    kept = {name: os.environ[name] for name in KEPT_VARIABLES if name in os.environ}
    return {"PATH": os.defpath, "PYTHONUNBUFFERED": "1"} | kept


def _free_port() -> int:
    """A port of this machine's loopback that nobody listens on now. Workers share the machine's ports, so each gets its own: a
    program that takes it before the worker does makes the worker fail at its start."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _environment(spec: WorkerSpec, home: _Home, port: int) -> dict[str, str]:
    """The whole environment. What is the worker's own comes last: none may take what was promised to another."""
    devices = {"CUDA_VISIBLE_DEVICES": ",".join(spec.gpus)}
    volumes = {variable(one.name): one.source for one in spec.volumes if one.name}
    ports = {"PORT": str(port), "PORT_HEALTH": str(port)} if port else {}
    return _base_environment() | dict(spec.env) | volumes | ports | devices | {MARKER: str(home.path)}
