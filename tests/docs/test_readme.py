"""What the README and the tutorial tell a reader to type does what they say."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.docs import pages
from tests.docs.pages import Block
from tests.live import PATIENCE_S, ROOT

BORDER = "=== the next block ==="


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "docs/tutorial.md"])
def test_make_targets_exist(page: str) -> None:
    """Every `make` that a page names is a target of the Makefile."""
    blocks = "".join(block.text for block in pages.blocks(page) if pages.is_make(block))
    named = {target for text in (blocks, *re.findall(r"`(make [^`]+)`", pages.read(page))) for target in _made(text)}
    assert named
    assert named <= pages.make_targets()


def _made(text: str) -> list[str]:
    return re.findall(r"^make ([a-z.]+)", text, re.MULTILINE)


def _sh(page: str) -> list[Block]:
    """The blocks to be typed, those for `make` left out: a test does not make what it runs in."""
    return [block for block in pages.blocks(page) if block.kind.startswith("sh") and not pages.is_make(block)]


@pytest.mark.slow
def test_readme(tmp_path: Path) -> None:
    """The README's first endpoint works: server, endpoint, job, worker list, the Runpod client, curl."""
    server, client = (block.text for block in _sh("README.md"))
    env = pages.environment(tmp_path)
    with pages.first_terminal(server, cwd=ROOT, env=env) as url:
        printed = pages.type_in(client, cwd=ROOT, env=env | {"STOKER_URL": url})
        assert re.search(r"^created hello \([0-9a-z]{14}\)$", printed, re.MULTILINE), printed
        assert '"greeting": "Hello, world!"' in printed
        assert re.search(r"^[0-9a-z]{14} +hello +ready", printed, re.MULTILINE), printed
        _check_client(url, env)
        _check_curl(url)


def _check_client(url: str, env: dict[str, str]) -> None:
    (snippet,) = (block.text for block in pages.blocks("README.md") if block.kind == "python")
    assert pages.DEFAULT_URL in snippet
    ran = subprocess.run(
        [sys.executable, "-c", snippet.replace(pages.DEFAULT_URL, url)],
        env=env,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    assert ran.returncode == 0, ran.stderr
    assert ast.literal_eval(ran.stdout)["greeting"] == "Hello, world!"


def _check_curl(url: str) -> None:
    (line,) = re.findall(r"`(curl [^`]+)`", pages.read("README.md"))
    address, headers, data = pages.curl(line)
    form = {"Content-Type": "application/x-www-form-urlencoded"}  # what curl says of -d
    answer = httpx.post(address.replace(pages.DEFAULT_URL, url), headers=headers | form, content=data)
    assert (answer.status_code, answer.json()["status"]) == (200, "IN_QUEUE")


@pytest.mark.slow
def test_tutorial(tmp_path: Path) -> None:
    """Every command of the tutorial prints what the tutorial shows, apart from ids and times."""
    typed = _typed(pages.blocks("docs/tutorial.md"))
    ((server, _),) = [one for one in typed if one[0].kind == "sh server"]
    typed = [one for one in typed if one[0] is not server]
    env = pages.environment(tmp_path)
    (tmp_path / "words").mkdir()
    with pages.first_terminal(server.text, cwd=tmp_path / "words", env=env) as url:
        script = f"echo '{BORDER}'\n".join(block.text for block, _ in typed).replace(pages.DEFAULT_URL, url)
        printed = pages.type_in(script, cwd=ROOT, env=env | {"STOKER_URL": url}).replace(url, pages.DEFAULT_URL)
    parts = printed.split(f"{BORDER}\n")
    assert len(parts) == len(typed), printed
    for (block, shown), part in zip(typed, parts, strict=True):
        expected = pages.steady(shown)
        assert pages.matches(expected, pages.steady(part)), f"{block.text}\nprinted\n{part}\nand not\n{shown}"


def _typed(blocks: list[Block]) -> list[tuple[Block, str]]:
    """Each block to be typed, with the output that is shown behind it, empty where none is."""
    typed = []
    for number, block in enumerate(blocks):
        if block.kind.startswith("sh") and not pages.is_make(block):
            after = blocks[number + 1] if number + 1 < len(blocks) else None
            typed.append((block, after.text if after is not None and after.kind == "text" else ""))
    return typed
