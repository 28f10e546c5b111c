"""`stoker worker` against a real server with workers that need no SDK."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import Cli
from tests.live import KEY, LiveServer, until

STOKER = Path(sys.executable).with_name("stoker")


def started(cli: Cli, name: str) -> str:
    """The id of the endpoint's first worker once its process runs, or has run."""

    def look() -> str | None:
        workers = cli.ok("worker", "ls", name, "--json").json["workers"]
        return next((worker["id"] for worker in workers if worker["launched_ms"]), None)

    return str(until(look, what="a worker"))


@pytest.fixture
def busy(cli: Cli, idle: str) -> str:
    """A worker that lives until it is stopped."""
    cli.ok("endpoint", "update", idle, "--min-workers", "1")
    return started(cli, idle)


@pytest.mark.slow
def test_list(cli: Cli, idle: str, busy: str) -> None:
    """`ls` shows living workers, of all endpoints or of one."""
    everywhere = cli.ok("worker", "ls").out
    assert busy in everywhere
    here = cli.ok("worker", "ls", idle).out
    assert here.splitlines()[0].split()[:3] == ["ID", "ENDPOINT", "STATE"]
    assert here.splitlines()[1].split()[:3] == [busy, idle, "starting"]


@pytest.mark.slow
def test_stop(cli: Cli, idle: str, busy: str) -> None:
    """`stop --now` stops a worker; it stays in its endpoint's list after it is gone, with the reason."""
    cli.ok("endpoint", "update", idle, "--min-workers", "0")
    assert cli.ok("worker", "stop", busy, "--now").out.startswith(f"worker {busy} is ")

    def gone() -> bool:
        return bool(cli.ok("worker", "show", busy, "--json").json["state"] == "gone")

    until(gone, what="the end of the worker")
    assert busy in cli.ok("worker", "ls", idle).out
    assert busy not in cli.ok("worker", "ls").out
    shown = cli.ok("worker", "show", busy).out
    assert "AFTER" in shown
    assert "gone" in shown


@pytest.mark.slow
def test_log_lines_end_with_a_newline_and_nothing_else(cli: Cli, name: str, tmp_path: Path) -> None:
    """A log line may hold any separator that Unicode knows; what drives terminals is kept where nobody looks at it."""
    odd = "one\u2028still\x85one\x1b[31m [bold]"
    (tmp_path / "say.py").write_text(f"print({odd!r}); print('two'); import time; time.sleep(600)", "utf-8")
    cli.ok(
        *("endpoint", "create", name, "--image", f"dir:{tmp_path}", "--env", "PYTHONIOENCODING=utf-8"),
        *("--command", "python -u say.py", "--min-workers", "1", "--max-workers", "1"),
    )
    worker = started(cli, name)
    until(lambda: "two" in cli.ok("worker", "logs", worker).out, what="the worker's output")
    assert cli.ok("worker", "logs", worker).out == f"{odd}\ntwo\n"
    assert cli.ok("worker", "logs", worker, "--tail", "1").out == "two\n"
    lines = [json.loads(line) for line in cli.ok("worker", "logs", worker, "--json").out.split("\n")[:-1]]
    assert [line["text"] for line in lines] == [odd, "two"]


@pytest.mark.slow
def test_followed_log_comes_line_by_line(cli: Cli, live: LiveServer, name: str, tmp_path: Path) -> None:
    """`logs -f` prints a line while the worker still runs, and ends when the worker ends."""
    go = tmp_path / "go"
    (tmp_path / "say.py").write_text(
        f"import os, time\nprint('first')\nwhile not os.path.exists({str(go)!r}): time.sleep(0.02)\nprint('last')",
        "utf-8",
    )
    cli.ok(
        *("endpoint", "create", name, "--image", f"dir:{tmp_path}", "--command", "python -u say.py"),
        *("--min-workers", "1", "--max-workers", "1"),
    )
    worker = started(cli, name)
    with subprocess.Popen(
        [STOKER, "--url", live.url, "--api-key", KEY, "worker", "logs", worker, "-f"], stdout=subprocess.PIPE, text=True
    ) as following:
        assert following.stdout is not None
        assert following.stdout.readline() == "first\n"
        go.touch()
        assert following.stdout.read() == "last\n"
    assert following.returncode == 0


@pytest.mark.parametrize("words", [("show",), ("logs",), ("stop",)])
def test_unknown_worker_is_status_4(cli: Cli, words: tuple[str, ...]) -> None:
    """Every command about a worker says when there is none, with status 4."""
    assert cli("worker", *words, "nobody").status == 4
