"""Answers about workers."""

from __future__ import annotations

from typing import TypedDict

from stoker.web.shapes.common import Named, StoryLine
from stoker.worker import WorkerState


class ExitShown(TypedDict):
    """How a worker ended."""

    code: int | None
    text: str


class WorkerShown(TypedDict):
    """A worker."""

    id: str
    endpoint: Named
    release: str
    state: WorkerState
    reason: str
    detail: str
    held: int
    gpus: list[str]
    specification: str
    price_per_hour: float
    sdk: str
    decided_ms: int
    launched_ms: int | None
    ready_ms: int | None
    idle_ms: int | None
    gone_ms: int | None
    seen_ms: int | None
    unhealthy_ms: int | None
    exit: ExitShown | None


class WorkerInFull(WorkerShown):
    """A worker and its story."""

    story: list[StoryLine]


class WorkerList(TypedDict):
    """Workers, those that are gone last."""

    workers: list[WorkerShown]
