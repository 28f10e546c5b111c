"""Runpod's dialect of the job API: `/v2/{endpoint}`. A queued job is IN_QUEUE. Facts: protocol, job API."""

from __future__ import annotations

from typing import Final

from stoker.job import JobState
from stoker.web.jobs import Dialect

RUNPOD: Final = Dialect(
    name="v2",
    vendor="Runpod",
    tells_input=True,
    states={
        JobState.QUEUED: "IN_QUEUE",
        JobState.AHEAD: "IN_QUEUE",
        JobState.RUNNING: "IN_PROGRESS",
        JobState.COMPLETED: "COMPLETED",
        JobState.FAILED: "FAILED",
        JobState.CANCELLED: "CANCELLED",
        JobState.TIMED_OUT: "TIMED_OUT",
    },
)
