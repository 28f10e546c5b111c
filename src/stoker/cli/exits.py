"""How a command ends: the exit statuses, which are stable, and how an error is told.

Errors go to standard error, so that standard output holds the answer and nothing else: in words by default, as the
API's error JSON with `--json`.
"""

from __future__ import annotations

import json
import sys
from enum import IntEnum
from typing import Final

from stoker.cli.output import one_line
from stoker.errors import Forbidden, NotFound, Refused, StokerError, Unauthenticated


class ExitStatus(IntEnum):
    """What a script may branch on."""

    meaning: str

    def __new__(cls, value: int, meaning: str) -> ExitStatus:
        """A status with its meaning in words, for the reference."""
        status = int.__new__(cls, value)
        status._value_ = value
        status.meaning = meaning
        return status

    OK = 0, "it worked"
    JOB_NOT_COMPLETED = 1, "the job that was waited for failed, was cancelled or timed out"
    USAGE = 2, "the command line, a file it names or a setting is wrong; nothing was sent"
    REFUSED = 3, "the server refused it (another 4xx)"
    NOT_FOUND = 4, "it does not exist, or belongs to another team"
    NOT_AUTHORISED = 5, "the API key is missing, not valid, or lacks a scope"
    UNAVAILABLE = 6, "the server cannot be reached, did not answer, or failed (5xx)"
    STILL_GOING = 7, "the wait timed out; the job goes on"
    INTERRUPTED = 130, "interrupted with Ctrl-C"
    PIPE_CLOSED = 141, "whoever read the output stopped reading"


class JobNotCompleted(StokerError):
    """The job ended without completing."""

    default_code = "job_not_completed"


class StillGoing(StokerError):
    """The wait is over and the job is not."""

    default_code = "wait_timed_out"


_STATUSES: Final[tuple[tuple[type[StokerError], ExitStatus], ...]] = (
    (JobNotCompleted, ExitStatus.JOB_NOT_COMPLETED),
    (StillGoing, ExitStatus.STILL_GOING),
    (NotFound, ExitStatus.NOT_FOUND),
    (Unauthenticated, ExitStatus.NOT_AUTHORISED),
    (Forbidden, ExitStatus.NOT_AUTHORISED),
    (Refused, ExitStatus.REFUSED),
)
"""The first class that fits; whatever else goes wrong is the server's or the way to it."""


def status_of(error: StokerError) -> ExitStatus:
    """The exit status that stands for this error."""
    return next((status for kind, status in _STATUSES if isinstance(error, kind)), ExitStatus.UNAVAILABLE)


def report(error: StokerError, *, as_json: bool) -> None:
    """Tell the error on standard error."""
    if as_json:
        said = {"error": error.message, "code": error.code, "field": error.field, "next_step": error.next_step}
        print(json.dumps(said), file=sys.stderr)
        return
    print(f"error: {one_line(error.message)}", file=sys.stderr)
    if error.field:
        print(f"  field: {one_line(error.field)}", file=sys.stderr)
    if error.next_step:
        print(f"  next: {one_line(error.next_step)}", file=sys.stderr)


__all__ = ["ExitStatus", "JobNotCompleted", "StillGoing", "report", "status_of"]
