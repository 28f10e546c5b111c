"""The generated parts of the documentation are what the code says now."""

from __future__ import annotations

import pytest

from scripts import docs, machines
from stoker.job import JobReason
from stoker.worker import WorkerReason

BROUGHT_ALONG = {
    WorkerReason.SCALED_UP,
    WorkerReason.FAILS_EVERY_JOB,
    WorkerReason.SCALED_DOWN,
    WorkerReason.NEW_RELEASE,
    WorkerReason.ENDPOINT_DELETED,
    WorkerReason.ENDPOINT_PAUSED,
    WorkerReason.BUDGET_SPENT,
    WorkerReason.SERVER_STOPPING,
    WorkerReason.PREEMPTED,
    WorkerReason.GAVE_WAY,
    WorkerReason.TRIED_ELSEWHERE,
    WorkerReason.REFRESH_ASKED,
    WorkerReason.JOB_NOT_STOPPED,
    WorkerReason.START_TIMEOUT,
}
"""Reasons that a record or an event brings along; the machine treats them like those that the samples bring."""


@pytest.mark.parametrize("page", docs.PAGES)
def test_pages_are_fresh(page: str) -> None:
    """A generated part that the code has overtaken fails here: run `python -m scripts.docs`."""
    assert (docs.ROOT / page).read_text("utf-8") == docs.render(page)


def test_the_check_agrees() -> None:
    """`python -m scripts.docs --check` finds nothing stale."""
    assert docs.stale() == []


@pytest.mark.parametrize("machine", [machines.JOB, machines.WORKER], ids=["job", "worker"])
def test_every_legal_event_is_tried(machine: machines.Machine) -> None:
    """The pages show what every event does in every state that knows it."""
    tried = {(outcome.before, outcome.event) for outcome in machines.outcomes(machine)}
    assert tried == {(state, event.__name__) for state, row in machine.table.items() for event in row}


def test_every_reason_is_shown() -> None:
    """The samples reach every branch: no reason of a job or a worker is missing from the pages."""
    shown = {outcome.reason for outcome in machines.outcomes(machines.JOB)}
    assert shown == {*JobReason, ""} - {JobReason.SUBMITTED}
    shown = {outcome.reason for outcome in machines.outcomes(machines.WORKER)}
    assert shown | BROUGHT_ALONG == {*WorkerReason, ""}
