"""A real server for all tests of a process, and the command line as a test calls it."""

from __future__ import annotations

import io
import itertools
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from stoker.cli import main
from tests.live import KEY, LiveServer

EXAMPLES = Path(__file__).parents[2] / "examples"


@dataclass(frozen=True, kw_only=True)
class Ran:
    """What a command did."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Its answer as JSON."""
        return json.loads(self.out)


class Cli:
    """Runs commands in this process against one server."""

    def __init__(self, url: str, capture: pytest.CaptureFixture[str], patch: pytest.MonkeyPatch) -> None:
        self.url = url
        self._capture = capture
        self._patch = patch
        patch.setenv("STOKER_URL", url)
        patch.setenv("STOKER_API_KEY", KEY)

    def __call__(self, *words: str, stdin: bytes = b"") -> Ran:
        """Run `stoker` with these words."""
        self._patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        self._capture.readouterr()
        status = main(words)
        out, err = self._capture.readouterr()
        return Ran(status=status, out=out, err=err)

    def ok(self, *words: str, stdin: bytes = b"") -> Ran:
        """Run a command that must work."""
        ran = self(*words, stdin=stdin)
        assert ran.status == 0, ran.err
        return ran


@pytest.fixture(scope="session")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """A server shared by the tests of this process; each test makes endpoints of its own."""
    with LiveServer(tmp_path_factory.mktemp("server")) as server:
        yield server


@pytest.fixture
def cli(live: LiveServer, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Cli:
    """The command line, talking to the server with the admin key."""
    return Cli(live.url, capsys, monkeypatch)


_numbers = itertools.count(1)


@pytest.fixture
def name() -> str:
    """An endpoint name that no other test of this server uses."""
    return f"endpoint-{next(_numbers)}"


@pytest.fixture
def idle(cli: Cli, live: LiveServer, name: str, tmp_path: Path) -> Iterator[str]:
    """An endpoint whose worker never asks for a job, so that its jobs stay queued. It goes with the test, and its worker with it: the
    machine has a place for so many only."""
    made = cli.ok(
        "endpoint",
        "create",
        name,
        "--image",
        f"dir:{tmp_path}",
        "--command",
        "sleep 600",
        "--max-workers",
        "1",
        "--json",
    )
    yield name
    live.api.delete(f"/api/endpoints/{made.json['id']}")


@pytest.fixture(scope="session")
def hello(live: LiveServer) -> str:
    """An endpoint that runs examples/hello, with a worker kept warm."""
    live.create("hello", image=EXAMPLES / "hello", command="python -u handler.py", min_workers=1, max_workers=1)
    return "hello"
