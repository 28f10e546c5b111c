"""Words, times and cells, without a server."""

from __future__ import annotations

from typing import cast

import pytest

from stoker.cli import output, watch
from stoker.client.shapes import JobJson


@pytest.mark.parametrize(
    ("ms", "text"),
    [
        (None, "-"),
        (0, "0 ms"),
        (999, "999 ms"),
        (1_000, "1.0 s"),
        (59_940, "59.9 s"),
        (59_999, "59.9 s"),
        (60_000, "1 min 00 s"),
        (3_599_999, "59 min 59 s"),
        (3_600_000, "1 h 00 min"),
        (86_400_000, "1 d 0 h"),
    ],
)
def test_spans(ms: int | None, text: str) -> None:
    """A span has the unit that fits and never reads as the next unit's beginning."""
    assert output.span(ms) == text


def test_cells_are_neither_markup_nor_commands(capsys: pytest.CaptureFixture[str]) -> None:
    """What others wrote is shown as text: square brackets stay, control characters go, nothing is shortened."""
    long = "x" * 300
    output.table(("A", "B"), [("[red]", f"a\x1b[2J\nb {long}"), (None, "")], nothing="none")
    assert capsys.readouterr().out.splitlines() == ["A      B", f"[red]  a [2J b {long}", "-      -"]


def test_empty_table_leaves_standard_output_empty(capsys: pytest.CaptureFixture[str]) -> None:
    """Where there is nothing to list, a pipe gets nothing and a person gets a remark."""
    output.table(("A",), [], nothing="no things")
    assert capsys.readouterr() == ("", "no things\n")


def job(**fields: object) -> JobJson:
    """A running job, with the given fields instead."""
    base: dict[str, object] = {"id": "j", "state": "running", "reason": "claimed", "worker": "w"}
    return cast(JobJson, base | fields)  # the other fields are not read here


def test_sentence_has_state_reason_and_progress() -> None:
    """The line that a terminal shows while it waits has the state once, the reason in words, and the progress cut short."""
    assert watch.sentence(job()) == "running: claimed"
    assert watch.sentence(job(why={"reason": "r", "text": "worker w runs it"})) == "running: worker w runs it"
    ended = job(state="timed_out", why={"reason": "ttl_passed", "text": "timed_out: its time to live passed"})
    assert watch.sentence(ended) == "timed_out: its time to live passed"
    assert watch.sentence(job(output={"step": 1})) == 'running: claimed; progress {"step": 1}'
    assert watch.sentence(job(output="x" * 100)).endswith("x…")
