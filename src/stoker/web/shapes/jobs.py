"""Answers about jobs."""

from __future__ import annotations

from typing import Any, NotRequired, TypedDict

from stoker.job import JobState
from stoker.web.shapes.common import Because, Named, StoryLine


class JobShown(TypedDict):
    """A job, without its bodies."""

    id: str
    endpoint: Named
    state: JobState
    reason: str
    low_priority: bool
    attempt: int
    attempts_most: int
    losses: int
    worker: str | None
    key: str | None
    created_ms: int
    queued_ms: int
    claimed_ms: int | None
    finished_ms: int | None
    expires_ms: int
    delay_ms: int | None
    execution_ms: int | None


class JobInFull(JobShown):
    """A job with everything about it."""

    output: NotRequired[Any]
    error: NotRequired[str]
    position: int | None
    cost: float | None
    why: Because
    story: list[StoryLine]


class JobList(TypedDict):
    """A page of jobs, newest first; it goes on before `next`."""

    jobs: list[JobShown]
    next: str | None


class Refusal(TypedDict):
    """A job that was not changed, and why."""

    id: str
    error: str


class ManyChanged(TypedDict):
    """What was done with a page of jobs; it goes on before `next`."""

    jobs: list[str]
    failed: list[Refusal]
    next: str | None


class JobWhy(Because):
    """Why a job is as it is."""

    state: JobState
