"""Pages as the tests read them: blocks of code, tables, links; and commands as a reader would type them."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from stoker.config import CLIENT_VARIABLES
from tests.live import ROOT

DEFAULT_URL: Final = "http://127.0.0.1:8700"
"""What the pages say; the tests' servers are elsewhere."""
PAGE_S: Final = 110.0
"""How long the commands of a whole page may take."""

_BLOCK = re.compile(r"^```(?P<kind>[^\n]*)\n(?P<text>.*?)^```$", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block: the words behind its fence (`sh`, `text`, …) and what it holds."""

    kind: str
    text: str


def read(page: str) -> str:
    """A page by its path from the root."""
    return (ROOT / page).read_text("utf-8")


def blocks(page: str) -> list[Block]:
    """All fenced blocks of a page, in order."""
    return [Block(match["kind"], match["text"]) for match in _BLOCK.finditer(read(page))]


def all_pages() -> list[str]:
    """Every Markdown file that is ours."""
    found = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *ROOT.glob("examples/**/*.md")]
    return sorted(str(path.relative_to(ROOT)) for path in [*found, *ROOT.glob("benchmarks/**/*.md")])


# ── tables ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def table_after(page: str, mark: str) -> list[list[str]]:
    """The rows of the first table behind the line that begins with `mark`, as cells without backquotes."""
    lines = read(page).splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith(mark))
    first = next(number for number in range(start, len(lines)) if lines[number].startswith("|"))
    rows = []
    for line in lines[first + 2 :]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip().strip("`") for cell in line.strip("|").split(" |")])
    return rows


def column(rows: Sequence[Sequence[str]], number: int = 0) -> list[str]:
    """One column of a table."""
    return [row[number] for row in rows]


# ── commands ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def is_make(block: Block) -> bool:
    """Whether the block only calls `make`."""
    return block.text.startswith("make ")


def make_targets() -> set[str]:
    """What the Makefile can make by name."""
    return set(re.findall(r"^([a-z.]+):", read("Makefile"), re.MULTILINE))


def environment(home: Path, **more: str) -> dict[str, str]:
    """A reader's environment: the development environment on PATH, a home of its own, unbuffered output."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("STOKER_", "RUNPOD_"))}
    path = f"{Path(sys.executable).parent}:{kept.get('PATH', os.defpath)}"
    return {**kept, "PATH": path, "HOME": str(home), "PYTHONUNBUFFERED": "1", **more}


def type_in(text: str, *, cwd: Path, env: Mapping[str, str]) -> str:
    """What a shell prints when `text` is typed into it, errors included."""
    ran = subprocess.run(
        ["bash", "-c", text],
        cwd=cwd,
        env=dict(env),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=PAGE_S,
    )
    return ran.stdout


@contextmanager
def first_terminal(text: str, *, cwd: Path, env: Mapping[str, str]) -> Iterator[str]:
    """Run a block that starts a server, on a free port; yields the server's URL."""
    ours = {**env, "STOKER_PORT": "0", "STOKER_DATA_DIR": str(Path(env["HOME"]) / "stoker-data")}
    assert not CLIENT_VARIABLES & ours.keys()
    process = subprocess.Popen(
        ["bash", "-c", text],
        cwd=cwd,
        env=ours,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        assert line.startswith("Stoker listens on http://127.0.0.1:"), line
        yield line.split()[-1]
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(timeout=PAGE_S)
        process.stdout.close()


def curl(line: str) -> tuple[str, dict[str, str], str]:
    """URL, headers and data of a curl command."""
    words = shlex.split(line)
    headers = dict(words[number + 1].split(": ", 1) for number, word in enumerate(words) if word == "-H")
    data = words[words.index("-d") + 1]
    url = next(word for word in words if word.startswith("http"))
    return url, headers, data


# ── what is printed, without what changes from run to run ─────────────────────────────────────────────────────────────

_CHANGING: Final = (
    (re.compile(r"\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b"), "JOB"),
    (re.compile(r"(?<=\()[0-9a-z]{14}(?=\))|\b(?=[a-z]*[0-9])[0-9a-z]{14}\b"), "ID"),
    (re.compile(r"\b\d+ min \d+ s\b|\b\d+(\.\d+)? m?s ago\b|\+\d+\.\d+ s|(?<=made )\d+ m?s\b"), "TIME"),
    (re.compile(r"[ \t]+"), " "),
)


def steady(text: str) -> list[str]:
    """Lines of what a command printed, with ids, times and the widths of columns made equal."""
    for pattern, word in _CHANGING:
        text = pattern.sub(word, text)
    return [line.strip() for line in text.strip().splitlines()]


def matches(expected: Sequence[str], printed: Sequence[str]) -> bool:
    """Whether the lines are the same; a line `…` stands for any lines."""
    if not expected:
        return not printed
    if expected[0] == "…":
        return any(matches(expected[1:], printed[skipped:]) for skipped in range(len(printed) + 1))
    return bool(printed) and expected[0] == printed[0] and matches(expected[1:], printed[1:])
