"""Why a job is as it is: one sentence from its record and the latest decision about its endpoint. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Final

from stoker.job import Job, JobReason, JobState
from stoker.scaling import Reason
from stoker.store import Decision, StoryLine
from stoker.why import Forecast, Why
from stoker.why.endpoints import next_step

_ENDS: Final = {
    JobReason.HANDLER_RETURNED: "the handler returned",
    JobReason.HANDLER_ERROR: "the handler reported an error",
    JobReason.OUTPUT_TOO_LARGE: "the output is larger than this server accepts; upload it to a bucket and return its URL",
    JobReason.RETRIES_EXHAUSTED: "the platform lost it once more than its endpoint allows retries",
    JobReason.CANCELLED_BY_CLIENT: "a client cancelled it",
    JobReason.PURGED: "a client emptied the queue",
    JobReason.TTL_PASSED: "its time to live passed",
    JobReason.EXECUTION_LIMIT: "it ran longer than its execution timeout",
}

LOSSES: Final[dict[str, str]] = {
    JobReason.WORKER_LOST: "the worker that ran it died",
    JobReason.WORKER_SILENT: "the worker that ran it fell silent, or its pings no longer named the job",
    JobReason.WORKER_STOPPED: "the worker that ran it was stopped",
    JobReason.DELIVERY_UNCONFIRMED: "the worker it was given to never confirmed it",
    JobReason.DELIVERY_FAILED: "the worker it was given to had hung up",
    JobReason.RESULT_MISSING: (
        "the worker asked for new work without posting a result "
        "(is the output valid JSON? SDKs before 1.7 also drop a job whose input is null)"
    ),
}


NEXT_STEPS: Final[Mapping[JobReason, str]] = {
    JobReason.HANDLER_ERROR: "see what it printed: stoker job logs ID",
    JobReason.OUTPUT_TOO_LARGE: "let the handler upload it to a bucket and return its URL",
    JobReason.RETRIES_EXHAUSTED: "see what its workers printed (stoker job logs ID), then: stoker job retry ID",
    JobReason.TTL_PASSED: "allow it to wait longer (--ttl), or allow more workers; then: stoker job retry ID",
    JobReason.EXECUTION_LIMIT: "allow it to run longer (--execution-timeout); then: stoker job retry ID",
}
"""What to do about a job that ended like this."""


def explain_job(
    job: Job,
    *,
    error: str | None,
    decision: Decision | None,
    ahead: int | None,
    endpoint: str = "",
    expected: Forecast | None = None,
) -> Why:
    """Why the job waits, runs, or ended as it did. `endpoint` is the name, `expected` when it will start."""
    if job.state is JobState.QUEUED:
        return _explain_wait(job, decision, ahead, endpoint, expected)
    if job.state is JobState.AHEAD:
        return Why(reason=job.reason, text=f"worker {job.worker} has it already and runs it after the jobs before it")
    if job.state is JobState.RUNNING:
        return Why(reason=job.reason, text=f"worker {job.worker} runs it, attempt {job.attempt}")
    text = _ENDS.get(job.reason, job.reason)
    if error and job.reason is JobReason.HANDLER_ERROR:
        text += f": {first_line(error)}"
    elif error:
        text = error.removeprefix(f"{job.reason}: ")
    hint = NEXT_STEPS.get(job.reason, "").replace("ID", job.id)
    return Why(reason=job.reason, text=f"{job.state}: {text}", next_step=hint)


def _explain_wait(
    job: Job, decision: Decision | None, ahead: int | None, endpoint: str, expected: Forecast | None
) -> Why:
    before = f"; {LOSSES[job.reason]}, so it waits for attempt {job.attempt + 1}" if job.reason in LOSSES else ""
    line = "" if not ahead else f"; {ahead} {'job is' if ahead == 1 else 'jobs are'} before it"
    if decision is None or decision.reason == Reason.NOTHING_TO_DO:
        text = f"no worker has been started for it yet{line}{before}"
        return Why(reason=Reason.NO_WORKER_YET, text=text, expected=expected)
    text = f"{decision.text}{line}{before}"
    return Why(reason=decision.reason, text=text, next_step=next_step(decision.reason, endpoint), expected=expected)


def explain_end(job: Job, story: Sequence[StoryLine]) -> str:
    """The error of a job that the platform ended: why, and how each of its attempts was lost."""
    ended = _ENDS.get(job.reason, job.reason)
    if job.reason is JobReason.EXECUTION_LIMIT:
        ended += f" of {job.execution_limit_ms / 1000:g} s"
    if job.reason is JobReason.RETRIES_EXHAUSTED:
        ended += f" ({job.retry_limit})"
    lost = [
        f"attempt {line.attempt} on worker {line.worker}: {LOSSES.get(line.text, line.text)}"
        for line in story
        if line.text and line.kind != "taken_back"
    ]
    return "; ".join([f"{job.reason}: {ended}", *lost])


def first_line(error: str) -> str:
    """The telling part of a worker's error: the message of the SDK's JSON report, or the first line of plain text."""
    try:
        report = json.loads(error)
    except (ValueError, RecursionError):
        report = None
    if isinstance(report, dict) and isinstance(report.get("error_message"), str):
        kind = str(report.get("error_type", "")).removeprefix("<class '").removesuffix("'>")
        return f"{kind}: {report['error_message']}".strip(": ")[:300]
    return error.strip().split("\n", 1)[0][:300]
