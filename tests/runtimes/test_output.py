"""What the shim keeps of a worker's output: lines with times, bounded in size and in rate."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stoker.runtimes.process_shim import LINE_BYTES_MAX, LOG_BURST_BYTES, Output, exit_text

NOTE = re.compile(r"\[stoker\] (\d+) lines dropped: over 256 KiB of output per second")


@pytest.fixture(autouse=True)
def inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Output writes into the working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def written(folder: Path) -> list[str]:
    """The texts of all lines kept, oldest first."""
    files = [folder / "output.log.1", folder / "output.log"]
    kept = [line for file in files if file.exists() for line in file.read_text().split("\n")[:-1]]
    assert all(re.match(r"\d{13} ", line) for line in kept), "every line has its time"
    return [line[14:] for line in kept]


@given(st.lists(st.text(alphabet="ab\n", max_size=12)))
def test_lines_do_not_depend_on_the_pieces_they_came_in(inside: Path, pieces: list[str]) -> None:
    """However the bytes arrive, the lines are those of the whole text."""
    for file in inside.iterdir():
        file.unlink()
    output = Output(bytes_max=65_536)
    for piece in pieces:
        output.feed(piece.encode())
    output.close()
    whole = "".join(pieces)
    assert written(inside) == whole.removesuffix("\n").split("\n") if whole else written(inside) == []


def test_long_lines_are_cut(inside: Path) -> None:
    """A line over the limit becomes several, and one that never ends does not fill the memory."""
    output = Output(bytes_max=1024 * 1024)
    output.feed(b"x" * (LINE_BYTES_MAX * 2 + 5))
    output.feed(b"y\n")
    output.close()
    assert [len(line) for line in written(inside)] == [LINE_BYTES_MAX, LINE_BYTES_MAX, 5, 1]


def test_size_is_bounded(inside: Path) -> None:
    """The two files together never exceed the limit, and the newest lines are the ones that stay."""
    output = Output(bytes_max=65_536)
    for number in range(10_000):
        output.feed(b"line %d\n" % number)
        assert sum(file.stat().st_size for file in inside.iterdir()) <= 65_536
    output.close()
    kept = written(inside)
    assert kept == [f"line {number}" for number in range(10_000 - len(kept), 10_000)]
    assert len(kept) > 1_000


def test_flood_is_dropped_and_counted(inside: Path) -> None:
    """Over the sustained rate lines are dropped, a note says how many, and the last ones before the end are kept."""
    count = 400_000
    output = Output(bytes_max=64 * 1024 * 1024)
    text = b"".join(b"line %d\n" % number for number in range(count))
    for start in range(0, len(text), 65_536):
        output.feed(text[start : start + 65_536])
    output.close()
    kept = written(inside)
    notes = [int(found[1]) for line in kept if (found := NOTE.fullmatch(line))]
    assert notes
    assert sum(notes) + len(kept) - len(notes) == count, "every line is kept or counted"
    assert kept[-1] == f"line {count - 1}"
    assert sum(file.stat().st_size for file in inside.iterdir()) < 3 * LOG_BURST_BYTES
    assert output.last_line == f"line {count - 1}"


def test_line_without_end_is_the_last_line(inside: Path) -> None:
    """What a worker wrote without ending the line is kept, and is what it said last."""
    output = Output(bytes_max=65_536)
    output.feed(b"loading\n\n   \nSegmentation fa")
    output.close()
    assert written(inside)[-1] == "Segmentation fa"
    assert output.last_line == "Segmentation fa"


def test_blank_lines_are_no_last_words(inside: Path) -> None:
    """The last line that says something is the last line."""
    output = Output(bytes_max=65_536)
    output.feed(b"no model\r\n\n   \n")
    output.close()
    assert output.last_line == "no model"


@pytest.mark.parametrize(
    ("code", "stopped", "last_line", "text"),
    [
        (0, "", "bye", "exited normally (exit code 0)"),
        (0, "when it was told to stop", "bye", "exited normally (exit code 0)"),
        (3, "", "", "exit code 3"),
        (1, "", "no model", "exit code 1; last output: no model"),
        (137, "", "", "killed by SIGKILL (exit code 137), out of memory is a common cause"),
        (137, "because it was stopped at once", "", "killed by SIGKILL (exit code 137) because it was stopped at once"),
        (139, "", "", "killed by SIGSEGV (exit code 139)"),
        (255, "", "", "exit code 255"),
    ],
)
def test_ends_in_words(code: int, stopped: str, last_line: str, text: str) -> None:
    """An exit reads as a sentence that a customer understands."""
    assert exit_text(code, stopped=stopped, last_line=last_line) == text
