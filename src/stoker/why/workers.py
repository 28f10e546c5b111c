"""Why a worker is as it is: the stage of its start, what it does, or how it ended. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, assert_never

from stoker.store import Held, StoryLine
from stoker.why import Why
from stoker.worker import Worker, WorkerReason, WorkerState

NEXT_STEPS: Final[Mapping[WorkerReason, str]] = {
    WorkerReason.IMAGE_PULLING: "fetch images before they are needed: stoker image warm IMAGE",
    WorkerReason.FAILS_EVERY_JOB: "see what it printed: stoker worker logs ID",
    WorkerReason.JOB_NOT_STOPPED: "its handler went on after it was told to stop: let it look for cancelled jobs",
    WorkerReason.HEALTH_FAILING: "see what it printed (stoker worker logs ID); is http_port the port that it listens on?",
    WorkerReason.UNHEALTHY: "see what it printed: stoker worker logs ID",
    WorkerReason.SILENT: "see what it printed last: stoker worker logs ID",
    WorkerReason.START_TIMEOUT: "see how far it came (stoker worker logs ID); allow more with the setting start_timeout_s",
    WorkerReason.LAUNCH_FAILED: "mend what the text names, then: stoker endpoint retry",
    WorkerReason.CRASHED_WHILE_STARTING: "see what it printed: stoker worker logs ID",
    WorkerReason.EXITED: "see what it printed last: stoker worker logs ID",
    WorkerReason.VANISHED: "somebody else removed it, or the machine was restarted",
}
"""What to do about a reason; the others are wanted."""


def explain_worker(held: Held, story: Sequence[StoryLine], now_ms: int) -> Why:
    """Why it is in its state, in one sentence with its numbers."""
    worker = held.worker
    return Why(reason=worker.reason, text=_sentence(held, story, now_ms), next_step=_next_step(worker))


def _sentence(held: Held, story: Sequence[StoryLine], now_ms: int) -> str:
    worker = held.worker
    match worker.state:
        case WorkerState.DECIDED | WorkerState.STARTING:
            return _start(worker, story, now_ms)
        case WorkerState.READY if worker.unhealthy_ms is not None:
            return f"ready, gets no jobs{_since(worker.unhealthy_ms, now_ms)}: {worker.detail}"
        case WorkerState.READY if held.held == 0:
            return f"ready and idle{_since(worker.idle_ms, now_ms)}"
        case WorkerState.READY:
            return f"ready, {_jobs(held)}"
        case WorkerState.DRAINING:
            return f"finishing {_jobs(held)}, takes no more: {worker.detail}"
        case WorkerState.STOPPING:
            return f"told to stop{_since(worker.stopped_ms, now_ms)}: {worker.detail}"
        case WorkerState.GONE:
            return f"gone: {_end(worker)}"
        case _:
            assert_never(worker.state)


def _start(worker: Worker, story: Sequence[StoryLine], now_ms: int) -> str:
    """The stages that are over, with their seconds, and the one that goes on."""
    seconds = (now_ms - worker.decided_ms) / 1000
    if worker.reason in (WorkerReason.IMAGE_PULLING, WorkerReason.HEALTH_FAILING):
        return f"starting for {seconds:.1f} s: {worker.detail}"
    stages = ", ".join(f"{line.kind} after {(line.at_ms - worker.decided_ms) / 1000:.1f} s" for line in story[1:])
    waits = "waits for its first take" if worker.launched_ms is not None else "is being launched"
    return f"starting for {seconds:.1f} s: {f'{stages}; ' if stages else ''}{waits}"


def _end(worker: Worker) -> str:
    ended = "" if worker.exit is None or worker.exit.text in worker.detail else f" ({worker.exit.text})"
    return f"{worker.detail or worker.reason}{ended}"


def _jobs(held: Held) -> str:
    parts = [f"{held.running} {'job' if held.running == 1 else 'jobs'}"]
    if held.stopping:
        parts.append(f"{held.stopping} told to stop")
    if held.ahead:
        parts.append(f"{held.ahead} ahead")
    return ", ".join(parts)


def _since(at_ms: int | None, now_ms: int) -> str:
    return "" if at_ms is None else f" for {(now_ms - at_ms) / 1000:.1f} s"


def _next_step(worker: Worker) -> str:
    wanted = worker.state in (WorkerState.READY,)
    return "" if wanted else NEXT_STEPS.get(worker.reason, "").replace("ID", worker.id)


__all__ = ["NEXT_STEPS", "explain_worker"]
