"""The shim: a small program that stands between the server and one worker of the process runtime.

    server ── order on stdin, answer on stdout, both closed at once ──> shim ── its own session ──> the worker's tree

It is started by path, with the standard library only, and outlives the server. It owns what a server that may be killed at
any moment cannot own: the pipe into which the worker writes, the reaping of its whole tree, and the record of how it ended.

    state.json   who the shim and the main process are; written before the worker exists
    stop.json    written by the server before SIGTERM: how long the worker may take to end
    exit.json    how it ended; written last, when nothing of the tree is left
    output.log   `<ms since 1970> text` per line; the older half is output.log.1

Invariants. The worker never waits for its output to be written. No process of the tree is alive when `exit.json` appears.
The environment, which holds secrets, is never written down. The server imports this file for the names and records only.
"""

from __future__ import annotations

import ctypes
import functools
import json
import os
import select
import signal
import sys
import time
from contextlib import suppress
from typing import Final, NamedTuple, NoReturn, cast

LINUX: Final = sys.platform == "linux"

STATE_FILE: Final = "state.json"
STOP_FILE: Final = "stop.json"
EXIT_FILE: Final = "exit.json"
LOG_FILE: Final = "output.log"
OLDER_LOG_FILE: Final = "output.log.1"
WORK_DIR: Final = "work"

LINE_BYTES_MAX: Final = 16 * 1024
"""Longer lines are cut into pieces: a progress bar that never ends its line must not fill the memory."""
LOG_BYTES_PER_S: Final = 256 * 1024
"""What one worker may write for long: 22 GB a day, which a disk survives. Above it lines are dropped and counted."""
LOG_BURST_BYTES: Final = 1024 * 1024
"""What it may write at once before that: the noise of loading a large model fits."""
LAST_BYTES: Final = 4 * 1024
"""How much of the newest text is kept while lines are dropped: the last lines explain an end."""
READ_BYTES: Final = 256 * 1024
PIPE_BYTES: Final = 1024 * 1024
"""Asked of the kernel, so that a worker that floods seldom waits for us; the largest that needs no privilege."""
DEFAULT_GRACE_S: Final = 10.0
"""For a SIGTERM that does not come from the server, such as that of a machine going down."""
KILL_AGAIN_MS: Final = (20, 1_000)
"""First and longest pause between two rounds of SIGKILL."""
LAST_LINE_MAX: Final = 300

# ── processes ─────────────────────────────────────────────────────────────────────────────────────────────────────────


class Process(NamedTuple):
    """One process as the system shows it."""

    parent: int
    session: int
    """0 where the system does not tell."""
    zombie: bool
    birth: str
    """When it was born, in the system's words. With the pid it names one process for ever: pids are used again."""


def find_process(pid: int) -> Process | None:
    """The process with this id, or None."""
    if not LINUX:
        return _ps().get(pid)
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()  # the name before it may contain anything
    except (FileNotFoundError, ProcessLookupError):
        return None
    birth = f"{fields[19].decode()}@{_boot_id()}"
    return Process(parent=int(fields[1]), session=int(fields[3]), zombie=fields[0] in (b"Z", b"X"), birth=birth)


def all_processes() -> dict[int, Process]:
    """Every process that can be seen, by id."""
    if not LINUX:
        return _ps()
    found = {int(name): find_process(int(name)) for name in os.listdir("/proc") if name.isdigit()}
    return {pid: process for pid, process in found.items() if process is not None}


def descendants(ancestor: int) -> list[int]:
    """Ids of the children of `ancestor`, their children, and so on."""
    children: dict[int, list[int]] = {}
    for pid, process in all_processes().items():
        children.setdefault(process.parent, []).append(pid)
    found = list(children.get(ancestor, ()))
    for pid in found:  # grows while it is walked
        found.extend(children.get(pid, ()))
    return found


@functools.cache
def _boot_id() -> str:
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        return file.read().strip()


def _ps() -> dict[int, Process]:
    """What /proc says, asked of `ps`, which every other Unix has."""
    import subprocess  # late: it would double the time in which a shim starts

    shown = subprocess.run(["ps", "-axo", "pid=,ppid=,stat=,lstart="], capture_output=True, check=True, text=True)
    rows = (line.split(None, 3) for line in shown.stdout.splitlines())
    return {
        int(pid): Process(parent=int(parent), session=0, zombie=state.startswith("Z"), birth=birth)
        for pid, parent, state, birth in rows
    }


# ── records ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def write_record(path: str, record: dict[str, object]) -> None:
    """Write a record so that a reader sees all of it or none."""
    with open(f"{path}.new", "w", encoding="utf-8") as file:
        json.dump(record, file)
    os.replace(f"{path}.new", path)


def read_record(path: str) -> dict[str, object] | None:
    """A record, or None when there is none."""
    try:
        with open(path, encoding="utf-8") as file:
            return cast("dict[str, object]", json.load(file))
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None


def exit_text(code: int, *, stopped: str, last_line: str) -> str:
    """How a worker ended, in words. `code` as a shell shows it; `stopped` says why we killed it, if we did."""
    text = f"exit code {code}" if code else "exited normally (exit code 0)"
    if code > 128:
        with suppress(ValueError):  # no signal has that number
            text = f"killed by {signal.Signals(code - 128).name} (exit code {code})"
    if stopped and code:
        text = f"{text} {stopped}"
    elif code == 128 + signal.SIGKILL:
        text = f"{text}, out of memory is a common cause"
    return f"{text}; last output: {last_line}" if code and last_line else text


# ── output ────────────────────────────────────────────────────────────────────────────────────────────────────────────


class Output:
    """What the worker writes, as lines with their times, bounded in size and in rate. Writes into the working directory."""

    def __init__(self, *, bytes_max: int) -> None:
        self._half = bytes_max // 2
        self._log = self._open()
        self._size = 0
        self._partial = b""
        self._last = b""
        self._dropped = 0
        self._flooding = False
        self._allowance = float(LOG_BURST_BYTES)
        self._refilled = time.monotonic()

    def feed(self, chunk: bytes) -> None:
        """Take what was read. Lines count once they are complete, or too long."""
        head, newline, self._partial = (self._partial + chunk).rpartition(b"\n")
        if len(self._partial) > LINE_BYTES_MAX:
            head, newline, self._partial = head + newline + self._partial, b"\n", b""
        if not newline:
            return
        if self._floods():
            self._dropped += head.count(b"\n") + 1
        else:
            self._write([*self._note(), *head.split(b"\n")])
        self._last = (self._last + b"\n" + head)[-LAST_BYTES:]

    def close(self) -> None:
        """Write what is left: the line without an end, and the newest of the lines that were dropped."""
        last = self._last.split(b"\n")[1:] if self._dropped else []  # the first may lack its beginning
        self._dropped = max(0, self._dropped - len(last))
        partial = [self._partial] if self._partial else []
        self._write([*self._note(), *last, *partial])
        self._last += b"\n" + self._partial

    @property
    def last_line(self) -> str:
        """The newest line that is not blank, cut to a length for people."""
        lines = [line for line in self._last.split(b"\n") if line.strip()]
        return lines[-1].decode("utf-8", "replace").strip()[:LAST_LINE_MAX] if lines else ""

    def _floods(self) -> bool:
        """Whether to drop. Once begun, it goes on until a second's worth may be written, so that notes are few."""
        now = time.monotonic()
        self._allowance = min(LOG_BURST_BYTES, self._allowance + (now - self._refilled) * LOG_BYTES_PER_S)
        self._refilled = now
        self._flooding = self._allowance < (LOG_BYTES_PER_S if self._flooding else 0)
        return self._flooding

    def _note(self) -> list[bytes]:
        dropped, self._dropped = self._dropped, 0
        if not dropped:
            return []
        return [b"[stoker] %d lines dropped: over %d KiB of output per second" % (dropped, LOG_BYTES_PER_S // 1024)]

    def _write(self, lines: list[bytes]) -> None:
        stamp = b"%d " % (time.time_ns() // 1_000_000)
        batch = bytearray()
        for line in lines:
            text = line.removesuffix(b"\r")
            for start in range(0, max(len(text), 1), LINE_BYTES_MAX):
                entry = stamp + text[start : start + LINE_BYTES_MAX] + b"\n"
                if self._size + len(batch) + len(entry) > self._half:
                    self._append(batch)
                    self._rotate()
                    batch.clear()
                batch += entry
        self._append(batch)

    def _append(self, batch: bytearray) -> None:
        self._allowance -= len(batch)
        try:
            self._size += os.write(self._log, batch)
        except OSError:  # a full disk costs the log, not the worker
            self._dropped += batch.count(b"\n")

    def _rotate(self) -> None:
        os.replace(LOG_FILE, OLDER_LOG_FILE)
        os.close(self._log)
        self._log, self._size = self._open(), 0

    @staticmethod
    def _open() -> int:
        return os.open(LOG_FILE, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)


# ── the shim ──────────────────────────────────────────────────────────────────────────────────────────────────────────


class Shim:
    """Watches one worker from its first instruction until nothing of it is left. One thread, one `poll`."""

    def __init__(self, order: dict[str, object]) -> None:
        self._order = order
        self._output = Output(bytes_max=cast("int", order["log_bytes_max"]))
        self._pipe, self._pipe_end = os.pipe()
        self._wake, wake_end = os.pipe()
        for end in (self._pipe, self._wake, wake_end):
            os.set_blocking(end, False)
        self._poll = select.poll()
        self._poll.register(self._pipe, select.POLLIN)
        self._poll.register(self._wake, select.POLLIN)
        self._writers = True
        self._main = 0
        self._code: int | None = None
        self._told = False
        self._grace_s: float | None = None
        self._kill_at: float | None = None
        self._killed = False
        self._kill_pause_ms = KILL_AGAIN_MS[0]
        signal.set_wakeup_fd(wake_end, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda _signal, _frame: None)
        signal.signal(signal.SIGTERM, lambda _signal, _frame: setattr(self, "_told", True))

    def start(self) -> None:
        """Start the worker's main process in a session of its own. Raises `OSError` when it cannot be executed."""
        _enlarge(self._pipe)
        os.chdir(WORK_DIR)  # posix_spawn, which is quicker than a fork, starts where its caller is
        try:
            self._main = os.posix_spawn(
                cast("str", self._order["program"]),
                cast("list[str]", self._order["command"]),
                cast("dict[str, str]", self._order["env"]),
                file_actions=[
                    (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                    (os.POSIX_SPAWN_DUP2, self._pipe_end, 1),
                    (os.POSIX_SPAWN_DUP2, self._pipe_end, 2),
                ],
                setsid=True,
                setsigmask=(),
                setsigdef=(signal.SIGPIPE, signal.SIGXFSZ, signal.SIGHUP, signal.SIGINT),
            )
        finally:
            os.chdir("..")
        os.close(self._pipe_end)

    def state(self) -> dict[str, object]:
        """Who we are, and the main process once it exists."""
        return {name: _mark(pid) for name, pid in (("shim", os.getpid()), ("main", self._main)) if pid}

    def watch(self) -> dict[str, object]:
        """Wait until no process of the tree is left. Returns the record of how the worker ended."""
        while self._reap():
            self._obey()
            if self._code is not None or (self._kill_at is not None and time.monotonic() >= self._kill_at):
                self._kill()
            self._wait()
        while self._read():
            pass
        self._output.close()
        assert self._code is not None, "the main process was our child and has been reaped"
        text = exit_text(self._code, stopped=self._stopped(), last_line=self._output.last_line)
        return {"code": self._code, "text": text}

    def _wait(self) -> None:
        """Until output, a signal or the end of the grace; while killing, no longer than the pause between two rounds."""
        timeout_ms: float | None = None
        if self._killed:
            timeout_ms = self._kill_pause_ms
            self._kill_pause_ms = min(2 * self._kill_pause_ms, KILL_AGAIN_MS[1])
        elif self._kill_at is not None:
            timeout_ms = max(0.0, self._kill_at - time.monotonic()) * 1000
        for end, _event in self._poll.poll(timeout_ms):
            if end == self._pipe:
                self._read()
            else:
                os.read(self._wake, 512)

    def _read(self) -> bool:
        """Take what the worker has written. False when there is nothing now."""
        try:
            chunk = os.read(self._pipe, READ_BYTES) if self._writers else b""
        except BlockingIOError:
            return False
        if chunk:
            self._output.feed(chunk)
        elif self._writers:  # everybody has closed it
            self._writers = False
            self._poll.unregister(self._pipe)
        return bool(chunk)

    def _obey(self) -> None:
        """Pass a SIGTERM on, to the main process only: it knows what the others are to do (protocol §14.1)."""
        if not self._told:
            return
        self._told = False
        grace_s = float(cast("float", (read_record(STOP_FILE) or {}).get("grace_s", DEFAULT_GRACE_S)))
        kill_at = time.monotonic() + grace_s
        if self._kill_at is None or kill_at < self._kill_at:
            self._kill_at, self._grace_s = kill_at, grace_s
        if grace_s > 0 and self._code is None:
            os.kill(self._main, signal.SIGTERM)

    def _reap(self) -> bool:
        """Collect the dead. False when there is nobody left, which includes all that were orphaned to us."""
        try:
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if pid == self._main:
                    ended = os.waitstatus_to_exitcode(status)
                    self._code = ended if ended >= 0 else 128 - ended
                if pid == 0:
                    return True
        except ChildProcessError:
            return False

    def _kill(self) -> None:
        """Kill everything below us. Repeated until all is reaped: orphans may have been born meanwhile.

        There is no end to this but theirs. A process that even SIGKILL does not end still holds its GPU, and as long as it
        does, this worker must not be called gone.
        """
        self._killed = True
        for pid in descendants(os.getpid()):
            with suppress(OSError):  # gone already, or no longer ours to kill
                os.kill(pid, signal.SIGKILL)

    def _stopped(self) -> str:
        if self._grace_s is None:
            return ""
        if self._code != 128 + signal.SIGKILL:
            return "when it was told to stop"
        return (
            f"when its grace of {self._grace_s:g} s had passed" if self._grace_s else "because it was stopped at once"
        )


def _mark(pid: int) -> list[object]:
    """What names a process for ever: its id and its birth."""
    process = find_process(pid)
    return [pid, process.birth if process else ""]


def _enlarge(pipe: int) -> None:
    if LINUX:
        import fcntl

        with suppress(OSError):  # over the user's share of pipe memory; the usual size works too
            fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, PIPE_BYTES)


def _adopt_orphans() -> None:
    """Become the parent of every descendant whose own parent ends, so that none can slip away. Linux only."""
    if LINUX:
        set_child_subreaper = 36
        ctypes.CDLL(None).prctl(set_child_subreaper, 1, 0, 0, 0)


def _answer(record: dict[str, object]) -> None:
    """Tell the server how the start went, and let go of it: from here on its death must not be felt."""
    with suppress(BrokenPipeError):  # it has died already
        os.write(1, json.dumps(record).encode())
    nowhere = os.open(os.devnull, os.O_RDWR)
    os.dup2(nowhere, 0)
    os.dup2(nowhere, 1)
    os.close(nowhere)


def main() -> NoReturn:
    """Run one worker. The first argument is its directory; the order comes on stdin."""
    os.setsid()
    os.closerange(3, 65_536)
    os.chdir(sys.argv[1])
    shim = Shim(json.load(sys.stdin))
    _adopt_orphans()
    write_record(STATE_FILE, shim.state())
    try:
        shim.start()
    except (OSError, ValueError) as error:  # the system refuses it | a zero byte in a variable
        _answer({"error": str(error)})
        sys.exit(1)
    write_record(STATE_FILE, shim.state())
    _answer({})
    write_record(EXIT_FILE, shim.watch())
    sys.exit(0)


if __name__ == "__main__":
    main()
