"""How a process of ours logs: an event word and what belongs to it, to stderr."""

from __future__ import annotations

import sys
from typing import Any

import structlog

from stoker.config import Settings


def configure_logging(settings: Settings) -> None:
    """How this process logs.

    Logs go to stderr: an event word and what belongs to it. Neither bodies nor URLs with tokens are logged."""
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
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )


__all__ = ["configure_logging"]
