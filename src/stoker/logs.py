"""How a process of ours logs: an event word and what belongs to it, to stderr."""

from __future__ import annotations

import sys
from contextlib import suppress
from io import TextIOBase
from typing import Any, TextIO, cast

import structlog

from stoker.config import Settings


class Lossy(TextIOBase):
    """A stream that loses what cannot be written: a full disk below the log is no reason to fail a request."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write, or lose it."""
        with suppress(OSError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Flush what can be."""
        with suppress(OSError):
            self._stream.flush()


def configure_logging(settings: Settings) -> None:
    """How this process logs.

    Logs go to stderr, and are lost where that cannot be written: an event word and what belongs to it. Neither bodies nor URLs with tokens are logged."""
    levels = {"debug": 10, "info": 20, "warning": 30, "error": 40}
    renderer: Any = (
        structlog.processors.JSONRenderer()
        if settings.log_format == "json"
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(levels[settings.log_level]),
        logger_factory=structlog.PrintLoggerFactory(cast(TextIO, Lossy(sys.stderr))),
    )


__all__ = ["configure_logging"]
