"""How things are shown as JSON, wherever more than one group of routes shows them."""

from __future__ import annotations

from typing import Any

import msgspec

from stoker import __version__
from stoker.capsules import VERSION, Capsule, release_json
from stoker.job import Job
from stoker.store import StoryLine
from stoker.why import Why


def job_json(job: Job, endpoint_name: str) -> dict[str, Any]:
    """A job without its bodies, as lists show it."""
    return {
        "id": job.id,
        "endpoint": {"id": job.endpoint, "name": endpoint_name},
        "state": job.state.shown,
        "reason": job.reason,
        "low_priority": job.low_priority,
        "attempt": job.attempt,
        "attempts_most": job.attempts_most,
        "losses": job.losses,
        "worker": job.worker,
        "key": job.key,
        "created_ms": job.created_ms,
        "queued_ms": job.queued_ms,
        "claimed_ms": job.claimed_ms,
        "finished_ms": job.finished_ms,
        "expires_ms": job.expires_ms,
        "delay_ms": job.delay_ms,
        "execution_ms": job.execution_ms,
    }


def capsule_json(capsule: Capsule, endpoint_name: str) -> dict[str, Any]:
    """A capsule as the file holds it. Bodies are spliced in as they are stored."""
    result = capsule.result
    return {
        "capsule": VERSION,
        "stoker": __version__,
        "job": job_json(result.job, endpoint_name),
        "input": None if capsule.input is None else msgspec.Raw(capsule.input),
        "output": None if result.output is None else msgspec.Raw(result.output),
        "error": result.error,
        "release": None if capsule.release is None else release_json(capsule.release),
        "story": [story_line(line) for line in capsule.story],
        "log": [{"at_ms": line.at_ms, "text": line.text, "worker": worker} for worker, line in capsule.log],
    }


def why_json(why: Why) -> dict[str, object]:
    """An explanation as it is shown."""
    expected = why.expected
    foretold = (
        None
        if expected is None
        else {
            "p50_s": expected.p50_s,
            "p90_s": expected.p90_s,
            "samples": expected.samples,
        }
    )
    return {"reason": why.reason, "text": why.text, "next_step": why.next_step or None, "expected_start": foretold}


def story_line(line: StoryLine) -> dict[str, object]:
    """A line of the ledger as it is shown."""
    return {
        "at_ms": line.at_ms,
        "kind": line.kind,
        "state": line.state,
        "reason": line.reason,
        "attempt": line.attempt,
        "worker": line.worker,
        "text": line.text,
    }


__all__ = ["capsule_json", "job_json", "story_line", "why_json"]
