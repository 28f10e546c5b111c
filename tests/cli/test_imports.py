"""What a process loads: the command line before it knows what is asked, and a server that only waits."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
from pathlib import Path
from typing import get_args

import click
import pytest

from stoker.cli import program
from stoker.cli.serve import RUNTIMES
from stoker.config import Settings

NOT_FOR_HELP = {"fastapi", "httpx", "msgspec", "pydantic", "rich", "structlog", "uvicorn"}
"""They take four fifths of the time in which `stoker --help` would start with them."""
NOT_FOR_WAITING = {
    *("aiodocker", "asyncpg", "lightkube"),  # other databases and runtimes
    *("psutil", "pynvml"),  # workers that were left behind, GPUs
    *("httpx", "rich", "stoker.client", "stoker.chaos"),  # the command line
    *(
        "email_validator",
        "greenlet",
        "pydantic_extra_types",
        "python_multipart",
        "watchfiles",
    ),  # what libraries load along
}
"""Some 60 MiB of memory, on top of the 75 of a server on SQLite whose workers are processes."""


def loaded_after(code: str) -> set[str]:
    """The modules of a fresh process that has run `code`."""
    look = f"import sys\n{code}\nprint(*sys.modules)"
    return set(subprocess.run([sys.executable, "-c", look], capture_output=True, check=True, text=True).stdout.split())


def test_help_waits_for_no_library_that_only_a_command_needs() -> None:
    """HTTP, tables, settings and the server are imported by the commands that use them, and commands when they are asked for."""
    loaded = loaded_after("from stoker.cli import main\nmain(['--help'])")
    assert loaded & NOT_FOR_HELP == set()
    assert loaded & {f"stoker.cli.{module}" for module in ("endpoint", "job", "serve", "worker")} == set()


def test_the_help_says_of_a_command_how_its_own_begins() -> None:
    """The words are in one place more, so as not to load every command for its help."""
    context = click.Context(program)
    formatter = click.HelpFormatter(width=200)
    program.format_commands(context, formatter)
    told = dict(line.split(maxsplit=1) for line in formatter.getvalue().splitlines()[1:])
    assert list(told) == sorted(told)
    for name, says in told.items():
        command = program.get_command(context, name)
        assert command is not None
        assert command.name == name
        assert " ".join(inspect.cleandoc(command.help or "").split()).startswith(says.rstrip("."))


def test_runtimes_to_choose_from_are_those_of_the_setting() -> None:
    """The command names them itself, so as not to load the settings for its help."""
    assert get_args(Settings.model_fields["runtime"].annotation) == RUNTIMES


@pytest.mark.slow
def test_a_waiting_server_has_loaded_only_what_it_needs(tmp_path: Path) -> None:
    """On SQLite, with processes as workers, it holds no library of another database, runtime or program in memory."""
    words = ["serve", "--port", "0", "--runtime", "process", "--data-dir", str(tmp_path)]
    serve = (
        "import atexit, sys\n"
        "atexit.register(lambda: print(*sys.modules))\n"
        "from stoker.cli import main\n"
        f"sys.exit(main({words}))"
    )
    kept = {name: value for name, value in os.environ.items() if not name.startswith("STOKER_")}
    with subprocess.Popen([sys.executable, "-c", serve], env=kept, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        while not server.stdout.readline().startswith("Stoker listens on "):
            assert server.poll() is None
        server.terminate()
        loaded = set(server.stdout.read().split())
    assert server.returncode == 0
    assert "stoker.server" in loaded
    assert loaded & NOT_FOR_WAITING == set()


@pytest.mark.slow
def test_what_a_server_spares_is_there_afterwards() -> None:
    """Libraries that ask for it while the server is imported do without; whoever asks later gets it."""
    sparing = "from stoker import memory\nwith memory.sparing():\n    import structlog"
    assert "rich" not in loaded_after(sparing)
    assert "rich.table" in loaded_after(f"{sparing}\nimport rich.table")
