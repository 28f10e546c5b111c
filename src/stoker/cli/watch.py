"""Follow a job until it ends: the long poll behind `--wait` and what a terminal shows meanwhile."""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager, nullcontext
from typing import Final

from rich.console import RenderableType
from rich.live import Live
from rich.spinner import Spinner
from rich.text import Text

from stoker.cli import output, terminal
from stoker.cli.exits import JobNotCompleted, StillGoing
from stoker.client import Client
from stoker.client.shapes import JobJson
from stoker.clock import SystemClock
from stoker.job import JobState

HOLD_S: Final = 3
"""How long one long poll is held. It ends early when state or progress changes; the reason of a wait changes without."""

PROGRESS_CHARACTERS: Final = 60
"""How much of a progress value is shown beside the state."""


# ── wait ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


def wait(client: Client, present: JobJson, *, timeout_s: int | None) -> JobJson:
    """The job once it has ended. Raises `StillGoing` when `timeout_s` passes before."""
    clock = SystemClock()
    end_ms = None if timeout_s is None else clock.now_ms() + timeout_s * 1000
    face = _Face(present, clock)
    try:
        with face.shown():
            while not ended(face.job):
                left_ms = HOLD_S * 1000 if end_ms is None else end_ms - clock.now_ms()
                if left_ms <= 0:
                    raise _still_going(face.job)
                face.job = client.job(present["id"], wait_s=min(HOLD_S, max(1, left_ms // 1000)))
    except KeyboardInterrupt:
        output.remark(
            f"the job goes on\n  next: stoker job wait {present['id']}, or: stoker job cancel {present['id']}"
        )
        raise
    return face.job


def ended(job: JobJson) -> bool:
    """Whether the job is over."""
    return JobState(job["state"]).final


def require_completed(job: JobJson) -> None:
    """Raise `JobNotCompleted` with the job's own error unless it completed."""
    if job["state"] == JobState.COMPLETED:
        return
    follow_up = "logs" if job["worker"] else "show"
    raise JobNotCompleted(f"job {job['id']} {sentence(job)}", next_step=f"stoker job {follow_up} {job['id']}")


def _still_going(job: JobJson) -> StillGoing:
    return StillGoing(
        f"stopped waiting; job {job['id']} goes on: {sentence(job)}", next_step=f"stoker job wait {job['id']}"
    )


class _Face:
    """What a terminal shows of a job while somebody waits; the display's own thread reads `job`."""

    def __init__(self, job: JobJson, clock: SystemClock) -> None:
        self.job = job
        self._clock = clock
        self._spinner = Spinner("dots")

    def shown(self) -> AbstractContextManager[object]:
        """Shows it on standard error while the block runs, if that is a terminal."""
        if not sys.stderr.isatty():
            return nullcontext()
        screen = terminal.console(sys.stderr)
        return Live(get_renderable=self._render, console=screen, transient=True, refresh_per_second=8)

    def _render(self) -> RenderableType:
        elapsed_ms = max(0, self._clock.now_ms() - self.job["created_ms"])
        self._spinner.update(text=Text(f"{output.span(elapsed_ms)}  {sentence(self.job)}", overflow="ellipsis"))
        return self._spinner


# ── in words ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def sentence(job: JobJson) -> str:
    """The job in one line: state, reason in words, progress."""
    state, text = output.words(job["state"]), reason(job)
    told = text if text.startswith((job["state"], state)) else f"{state}: {text}"
    progress = job.get("output") if job["state"] == JobState.RUNNING else None
    if progress is not None:
        told += f"; progress {cut(output.json_text(progress), PROGRESS_CHARACTERS)}"
    return output.one_line(told)


def reason(job: JobJson) -> str:
    """Why the job is in its state, in words."""
    why = job.get("why")
    return why["text"] if why else output.words(job["reason"])


def cut(text: str, most: int) -> str:
    """`text`, at most `most` characters of it."""
    return text if len(text) <= most else f"{text[: most - 1]}…"
