"""The program as a whole: version, help, the reference page, pipes, terminals, and `stoker serve`."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from stoker import __version__
from stoker.cli import main, reference
from tests.cli.conftest import Cli
from tests.live import KEY, LiveServer

STOKER = Path(sys.executable).with_name("stoker")
PAGE = Path(__file__).parents[2] / "docs" / "reference" / "cli.md"


def environment(**more: str) -> dict[str, str]:
    """This process's environment without Stoker's variables, with output buffered as users have it, and `more`."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("STOKER_")}
    kept.pop("PYTHONUNBUFFERED", None)
    return kept | more


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    """`--version` names the program and its version."""
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"stoker {__version__}\n"


def test_reference_page_is_fresh() -> None:
    """docs/reference/cli.md is what the commands say: `python -m stoker.cli.reference > docs/reference/cli.md`."""
    assert PAGE.read_text("utf-8") == reference.text()


def test_no_words_show_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    """`stoker` alone is misuse and shows the commands."""
    assert main([]) == 2
    assert "Commands:" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["nonsense"], ["endpoint", "ls", "--nonsense"], ["job", "show"]])
def test_misuse_is_status_2(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """An unknown command or option, and a missing argument, are one line of error and the way to the help."""
    assert main(words) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    assert "--help" in err


# ── pipes and terminals ───────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.slow
def test_closed_pipe_is_quiet(live: LiveServer, cli: Cli, idle: str) -> None:
    """Whoever stops reading gets no complaint, and the status is that of a closed pipe."""
    reader, writer = os.pipe()
    os.close(reader)
    ran = subprocess.run(
        [STOKER, "endpoint", "ls"],
        stdout=writer,
        stderr=subprocess.PIPE,
        env=environment(STOKER_URL=live.url, STOKER_API_KEY=KEY),
        text=True,
    )
    os.close(writer)
    assert (ran.returncode, ran.stderr) == (141, "")


class Terminal:
    """A command whose standard input and error are a terminal."""

    def __init__(self, screen: int, process: subprocess.Popen[str]) -> None:
        self.process = process
        self._screen = screen
        self.shown = ""

    def read_until(self, text: str) -> None:
        """Wait until the terminal has shown `text`; fails when the command ends before."""
        while text not in self.shown:
            try:
                self.shown += os.read(self._screen, 4096).decode()
            except OSError:  # the other end is closed
                raise AssertionError(f"{text!r} was never shown: {self.shown!r}") from None

    def type(self, text: str) -> None:
        """Type on its keyboard."""
        os.write(self._screen, text.encode())

    def end(self) -> tuple[int, str]:
        """Its status and standard output, and the rest of what it shows."""
        assert self.process.stdout is not None
        out = self.process.stdout.read()
        status = self.process.wait()
        while True:
            try:
                chunk = os.read(self._screen, 4096)
            except OSError:
                return status, out
            if not chunk:
                return status, out
            self.shown += chunk.decode()


@contextmanager
def terminal(live: LiveServer, *words: str) -> Iterator[Terminal]:
    """Run `stoker` on a terminal. There Ctrl-C is heard, though whoever runs the tests may have been started deaf to it."""
    screen, line = pty.openpty()
    env = environment(STOKER_URL=live.url, STOKER_API_KEY=KEY, TERM="xterm", COLUMNS="200")
    command = ["env", "--default-signal=INT", str(STOKER), *words]
    process = subprocess.Popen(command, stdin=line, stdout=subprocess.PIPE, stderr=line, env=env, text=True)
    os.close(line)
    try:
        with process:
            try:
                yield Terminal(screen, process)
            finally:
                process.kill()
    finally:
        os.close(screen)


@pytest.mark.slow
def test_terminal_shows_progress_and_the_pipe_only_the_output(live: LiveServer, hello: str) -> None:
    """While it waits, the terminal shows state, reason and progress; standard output gets the output alone."""
    with terminal(live, "job", "run", hello, "-d", '{"prompt": "x", "seconds": 3}', "--wait") as shown:
        shown.read_until("running: worker ")
        shown.read_until('progress {"step"')
        status, out = shown.end()
    assert status == 0
    assert out.startswith("{")
    assert '"greeting": "Hello, x!"' in out


@pytest.mark.slow
def test_ctrl_c_leaves_the_job(live: LiveServer, cli: Cli, idle: str) -> None:
    """Ctrl-C ends the wait with status 130 and says how to go on; the job is still queued."""
    with terminal(live, "job", "run", idle, "-d", "{}", "--wait") as waiting:
        waiting.read_until("queued: ")
        waiting.process.send_signal(signal.SIGINT)
        status, out = waiting.end()
    assert (status, out) == (130, "")
    assert "the job goes on" in waiting.shown
    assert "Traceback" not in waiting.shown
    job = waiting.shown.split("stoker job wait ")[1].split(",")[0]
    assert cli.ok("job", "show", job, "--json").json["state"] == "queued"


@pytest.mark.slow
def test_terminal_is_asked(live: LiveServer, cli: Cli, idle: str) -> None:
    """On a terminal `delete` asks; no changes nothing, yes deletes."""
    for word in ("n", "y"):
        with terminal(live, "endpoint", "delete", idle) as asked:
            asked.read_until("[y/N]")
            asked.type(f"{word}\n")
            status, out = asked.end()
        assert status == 0
        assert out.startswith("deleted") is (word == "y")
        assert cli("endpoint", "show", idle).status == (4 if word == "y" else 0)


# ── serve ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.slow
def test_serve_until_told_to_stop(tmp_path: Path) -> None:
    """`serve` prints the first admin key and the address, and SIGTERM ends it with status 0."""
    (tmp_path / "stoker.toml").write_text('log_level = "error"\n')
    words = ["serve", "--port", "0", "--data-dir", str(tmp_path / "data"), "--runtime", "none"]
    env = environment(STOKER_CONFIG=str(tmp_path / "stoker.toml"))
    with subprocess.Popen([STOKER, *words], stdout=subprocess.PIPE, env=env, text=True) as server:
        assert server.stdout is not None
        secret = server.stdout.readline().split()[-1]
        url = server.stdout.readline().split()[-1]
        command = [str(STOKER), "--url", url, "--api-key", secret, "endpoint", "ls"]
        listed = subprocess.run(command, env=environment(), capture_output=True, text=True)
        server.terminate()
    assert (listed.returncode, listed.stdout) == (0, "")
    assert server.returncode == 0


def test_unknown_setting_is_status_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A setting that does not exist stops `serve` before it starts, by its name."""
    monkeypatch.setenv("STOKER_PORTT", "1")
    assert main(["serve", "--data-dir", str(tmp_path)]) == 2
    assert "  field: portt" in capsys.readouterr().err


def test_missing_configuration_is_status_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A configuration file that cannot be read stops `serve` before it starts."""
    assert main(["serve", "--config", str(tmp_path / "none.toml")]) == 2
    assert "cannot read the configuration" in capsys.readouterr().err
