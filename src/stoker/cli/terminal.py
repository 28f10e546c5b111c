"""What is drawn with rich: tables, and the console that they and progress are shown on."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from typing import Final, TextIO

from rich.console import Console
from rich.table import Table
from rich.text import Text

_WIDE: Final = 10_000
"""Columns of what is no terminal: nothing is cut or folded."""

_COLOURS: Final = {
    "completed": "green",
    "ready": "green",
    "running": "cyan",
    "starting": "cyan",
    "queued": "yellow",
    "draining": "yellow",
    "stopping": "yellow",
    "failed": "red",
    "timed_out": "red",
    "gone": "dim",
    "cancelled": "dim",
}


def console(stream: TextIO | None = None) -> Console:
    """A rich console on standard output, or on `stream`; plain unless that is a terminal, whatever the environment says."""
    stream = stream or sys.stdout
    terminal = stream.isatty()
    return Console(
        file=stream,
        force_terminal=terminal,
        color_system="auto" if terminal else None,
        width=None if terminal else _WIDE,
        highlight=False,
        markup=False,
        emoji=False,
    )


def grid(rows: Sequence[Sequence[str]], heads: Sequence[str] | None) -> Table:
    """Rows under their heads; without heads the first column stands out itself. It is never cut."""
    found = Table(box=None, pad_edge=False, show_header=heads is not None, header_style="bold")
    for number, head in enumerate(heads or [""] * max(map(len, rows), default=0)):
        style = "bold" if heads is None and number == 0 else ""
        found.add_column(head, style=style, no_wrap=number == 0, overflow="fold")
    for row in rows:
        found.add_row(*(Text(text, style=_COLOURS.get(text, "")) for text in row))
    return found


def lines(drawn: Table) -> Iterator[str]:
    """Each line, without the blanks that pad the last column: they would end up in what is piped on."""
    target = console()
    with target.capture() as captured:
        target.print(drawn)
    return (line.rstrip() for line in captured.get().splitlines())
