"""What is printed: JSON as the API gave it, or tables and sentences for people.

Standard output carries the answer; remarks go to standard error. Neither has colour codes unless it is a terminal.
Text that workers and customers wrote is shown without control characters, so that a log line or a name cannot drive the
terminal; in tables it is never read as markup.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from stoker.clock import SystemClock

if TYPE_CHECKING:
    from stoker.client.shapes import LogLineJson, StoryLineJson, WhyJson

Answer = TypeVar("Answer")
Command = TypeVar("Command", bound=Callable[..., Any])

_JSON: Final = "stoker.json"
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_CONTROL_BUT_TAB = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f]")


# ── --json ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def json_option(command: Command) -> Command:
    """Give the command `--json`."""
    return click.option(
        "--json",
        is_flag=True,
        is_eager=True,  # so that errors in the options after it are told as JSON too
        expose_value=False,
        callback=lambda context, _option, given: context.meta.update({_JSON: given}),
        help="Print the API's JSON; errors as JSON too.",
    )(command)


def wants_json(context: click.Context | None) -> bool:
    """Whether the command was given `--json`."""
    return context is not None and bool(context.meta.get(_JSON))


def answer(value: Answer, show: Callable[[Answer], None]) -> None:
    """Print an answer of the API: as JSON if that was asked for, else as `show` prints it."""
    if wants_json(click.get_current_context()):
        say_json(value)
    else:
        show(value)


def say_json(value: object) -> None:
    """Print a value as indented JSON."""
    say(json_text(value, indent=2))


def json_text(value: object, *, indent: int | None = None) -> str:
    """A value as JSON; beyond ASCII only where the terminal's encoding can hold everything."""
    encoding = (sys.stdout.encoding or "ascii").lower().replace("-", "")
    return json.dumps(value, indent=indent, ensure_ascii=encoding != "utf8")


# ── lines ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def say(text: str) -> None:
    """Print to standard output."""
    print(text)


def remark(text: str) -> None:
    """Print to standard error: what is not part of the answer."""
    print(text, file=sys.stderr)


def asks() -> bool:
    """Whether somebody is at a terminal to read a plan and to answer: with `--json` a program is."""
    return sys.stdin.isatty() and sys.stdout.isatty() and not wants_json(click.get_current_context())


def agreed(yes: bool, question: str) -> bool:
    """Whether the user says yes, on the command line or now. Raises `UsageError` where nobody can be asked."""
    if yes:
        return True
    if not sys.stdin.isatty():
        raise click.UsageError(f"{question} Nobody is there to answer: add --yes")
    if click.confirm(question, err=True):
        return True
    remark("nothing was changed")
    return False


def log_line(line: LogLineJson) -> None:
    """Print one line of a worker's output, at once: somebody may be following."""
    if wants_json(click.get_current_context()):
        text = json_text(line)
    elif sys.stdout.isatty():
        text = _CONTROL_BUT_TAB.sub("\N{REPLACEMENT CHARACTER}", line["text"])
    else:
        text = line["text"]
    print(text, flush=True)


def one_line(text: str) -> str:
    """`text` on one line, without control characters."""
    return _CONTROL.sub(" ", text)


# ── tables ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def table(heads: Sequence[str], rows: Iterable[Sequence[object]], *, nothing: str) -> None:
    """Print rows under their heads, or the remark `nothing`. The first column is never cut."""
    cells = [[_cell(value) for value in row] for row in rows]
    if cells:
        _print(cells, heads)
    else:
        remark(nothing)


def facts(pairs: Mapping[str, object]) -> None:
    """Print names and values below each other."""
    _print([[name, _cell(value)] for name, value in pairs.items()])


def timeline(story: Sequence[StoryLineJson]) -> None:
    """Print a story: when, counted from its first line; what happened; in words."""
    start_ms = story[0]["at_ms"] if story else 0
    rows = ((f"+{(line['at_ms'] - start_ms) / 1000:.3f} s", line["state"], _told(line)) for line in story)
    table(("AFTER", "STATE", "WHAT HAPPENED"), rows, nothing="nothing is recorded")


def explanation(why: WhyJson) -> None:
    """Print why something is as it is, when it will start, and what to do about it."""
    say(one_line(why["text"]))
    expected = why["expected_start"]
    if expected is not None:
        half, most = span(int(expected["p50_s"] * 1000)), span(int(expected["p90_s"] * 1000))
        say(f"expected to start in about {half}, nine times in ten within {most} (from {expected['samples']} jobs)")
    if why["next_step"]:
        remark(f"  next: {one_line(why['next_step'])}")


def _told(line: StoryLineJson) -> str:
    kind, reason = words(line["kind"]), words(line["reason"])
    return line["text"] or (kind if kind == reason else f"{kind}: {reason}")


def _cell(value: object) -> str:
    return "-" if value is None or value == "" else one_line(str(value))


def _print(rows: Sequence[Sequence[str]], heads: Sequence[str] | None = None) -> None:
    from stoker.cli import terminal  # here: a command that prints no table should not wait for its import

    for line in terminal.lines(terminal.grid(rows, heads)):
        print(line)


# ── words and times ───────────────────────────────────────────────────────────────────────────────────────────────────


def words(code: str) -> str:
    """A code as words: `worker_lost` is "worker lost"."""
    return code.replace("_", " ")


def amount(value: float | None) -> str:
    """An amount in the operator's currency."""
    return "-" if value is None else f"{value:.4f}"


def span(ms: int | None) -> str:
    """A duration for people: 850 ms, 12.3 s, 4 min 05 s, 2 h 10 min, 3 d 4 h."""
    if ms is None:
        return "-"
    if ms < 1_000:
        return f"{ms} ms"
    if ms < 60_000:
        return f"{ms // 100 / 10:.1f} s"  # cut, not rounded: 59.99 s is not yet a minute
    seconds = ms // 1000
    if seconds < 3_600:
        return f"{seconds // 60} min {seconds % 60:02} s"
    if seconds < 86_400:
        return f"{seconds // 3_600} h {seconds % 3_600 // 60:02} min"
    return f"{seconds // 86_400} d {seconds % 86_400 // 3_600} h"


def ago(at_ms: int | None) -> str:
    """How long ago that was, by this machine's clock."""
    return "-" if at_ms is None else f"{span(max(0, SystemClock().now_ms() - at_ms))} ago"


_UNITS_MS: Final = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}


def read_moment(_context: click.Context, _option: click.Parameter, given: str | None) -> int | None:
    """A moment in milliseconds, from how long ago it was or as it is written; None for none."""
    if given is None:
        return None
    if given[:-1].isdecimal() and given[-1] in _UNITS_MS:
        return SystemClock().now_ms() - int(given[:-1]) * _UNITS_MS[given[-1]]
    try:
        return int(datetime.fromisoformat(given).replace(tzinfo=UTC).timestamp() * 1000)
    except ValueError:
        raise click.BadParameter(f"'{given}' is neither like 10m nor like 2026-05-01T12:00:00") from None


def _read_since(context: click.Context, option: click.Parameter, given: str | None) -> int:
    """The same; 0 for none."""
    return read_moment(context, option, given) or 0


def since_option(command: Command) -> Command:
    """Give the command `--since`, as `since_ms`."""
    return click.option(
        "--since",
        "since_ms",
        metavar="TIME",
        callback=_read_since,
        help="Only what is newer: 30s, 10m, 2h or 1d ago, or a moment such as 2026-05-01T12:00:00 (UTC).",
    )(command)


def moment(at_ms: int) -> str:
    """A moment in UTC."""
    return f"{datetime.fromtimestamp(at_ms / 1000, UTC):%Y-%m-%d %H:%M:%S} UTC"
