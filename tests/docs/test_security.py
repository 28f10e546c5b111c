"""The threat model names tests that exist; and what looks after the packages says what it does not know."""

from __future__ import annotations

import ast
import re
from typing import Final

import pytest

from scripts.audit import judge
from tests.docs import pages
from tests.live import ROOT

MODEL: Final = "docs/security.md"
TABLES: Final = ("| Threat |", "| Invariant |")


def names_of_tests() -> set[str]:
    """The names of all tests."""
    trees = (ast.parse(path.read_text("utf-8")) for path in (ROOT / "tests").rglob("test_*.py"))
    functions = (node for tree in trees for node in ast.walk(tree))
    return {
        node.name
        for node in functions
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_")
    }


def guarded(page: str) -> list[str]:
    """The rows of the page's tables of what is guarded."""
    rows, inside = [], False
    for line in pages.read(page).splitlines():
        inside = line.startswith("|") and (inside or line.startswith(TABLES))
        if inside and not line.startswith((*TABLES, "|-", "| -")):
            rows.append(line)
    return rows


@pytest.mark.parametrize(("page", "least"), [(MODEL, 40), ("ARCHITECTURE.md", 60)])
def test_what_guards_exists(page: str, least: int) -> None:
    """Each threat, and each invariant, names what guards it, and each test that it names exists."""
    rows, known = guarded(page), names_of_tests()
    assert len(rows) >= least
    for row in rows:
        last = row.strip("|").split("|")[-1]
        named = re.findall(r"`(test_\w+)`", last)
        assert named or page != MODEL, row
        assert set(named) <= known, f"{set(named) - known} in {row}"


def test_what_nobody_answered_for_is_not_sound() -> None:
    """A package that no source knows is not taken for one without weaknesses; what one source knows counts."""
    silent = {"dependencies": [{"name": "a", "skip_reason": "not found"}, {"name": "b", "skip_reason": "not found"}]}
    weak = {"id": "X-1", "fix_versions": ["2"]}
    other = {
        "dependencies": [{"name": "a", "version": "1", "vulns": [weak]}, {"name": "b", "skip_reason": "not found"}]
    }
    assert (judge([]).answered, judge([silent]).answered) == (frozenset(), frozenset())
    assert judge([silent]).unanswered == {"a", "b"}
    verdict = judge([silent, other])
    assert verdict.answered == {"a"}
    assert verdict.unanswered == {"b"}
    assert verdict.weak == {"a 1: X-1; mended by 2"}


def test_exclusions_have_reasons() -> None:
    """Whatever bandit is told not to look for has a reason beside it."""
    section = pages.read("pyproject.toml").split("[tool.bandit]")[1].split("\n]")[0]
    excluded = [line for line in section.splitlines() if '"B' in line]
    assert excluded
    assert all(re.search(r'"B\d+", # \w+', line) for line in excluded)


def test_pins_are_exact() -> None:
    """Every package is pinned to one version."""
    pins = [line for line in pages.read("constraints.txt").splitlines() if not line.startswith("#")]
    assert pins
    assert all(re.match(r"[a-z0-9.-]+==[^ ]+( ; .*)?$", pin) for pin in pins)
