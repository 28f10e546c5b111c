"""Explanations: each reason has its sentence and its next step, and a forecast only says what the history says."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace as changed

from stoker.endpoint import Endpoint
from stoker.errors import InvalidInput, StokerError, Unavailable
from stoker.ids import EndpointId, JobId, ReleaseId, TeamId, WorkerId
from stoker.job import Job, JobReason, JobState
from stoker.scaling import Reason
from stoker.store import Counts, Decision, Held, StoryLine
from stoker.warmup import WarmUp
from stoker.why.endpoints import NEXT_STEPS, explain_endpoint, next_step
from stoker.why.forecast import SAMPLES_LEAST, Forecast, History, forecast
from stoker.why.jobs import explain_job
from stoker.why.workers import explain_worker
from stoker.worker import Exit, Worker, WorkerReason, WorkerState

CLI = Path(__file__).parents[2] / "docs" / "reference" / "cli.md"
RUNS = tuple(range(1_000, 11_000, 1_000))
ENDPOINT = Endpoint(
    id=EndpointId("ep"), team=TeamId("t"), name="flux", release=ReleaseId("r"), max_workers=2, created_ms=0
)


def decided(reason: Reason, text: str = "because") -> Decision:
    """A decision about the endpoint."""
    return Decision(endpoint=ENDPOINT.id, at_ms=0, reason=reason, text=text, wanted=1)


def a_job(state: JobState = JobState.QUEUED, reason: JobReason = JobReason.SUBMITTED) -> Job:
    """A job of the endpoint."""
    return Job(
        id=JobId("j"),
        team=TeamId("t"),
        endpoint=ENDPOINT.id,
        state=state,
        reason=reason,
        created_ms=0,
        queued_ms=0,
        expires_ms=1,
        execution_limit_ms=1,
        retention_ms=1,
        retry_limit=1,
    )


def a_worker(state: WorkerState, reason: WorkerReason, **times: int) -> Worker:
    """A worker of the endpoint, decided at 0."""
    worker = Worker(
        id=WorkerId("w"),
        team=TeamId("t"),
        endpoint=ENDPOINT.id,
        release=ReleaseId("r"),
        state=state,
        reason=reason,
        detail="the detail",
        token_hash="",
        gpus=(),
        decided_ms=0,
    )
    return changed(worker, **times)


# ── forecast ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_free_slot_is_now() -> None:
    """With a slot free for it a job starts at once, whatever the history says."""
    assert forecast(History(), before=0, lanes=1, free=1, ready=True) == Forecast(p50_s=0, p90_s=0, samples=0)


def test_turns() -> None:
    """On one slot a job with three before it and one running waits for four runs: in the middle of 5 s, at most of 9 s."""
    told = forecast(History(runs_ms=RUNS), before=3, lanes=1, free=0, ready=True)
    assert told == Forecast(p50_s=20, p90_s=36, samples=10)


def test_a_cold_start_comes_first() -> None:
    """Without a ready worker the start of one is added."""
    told = forecast(History(runs_ms=RUNS, starts_ms=(2_000,) * SAMPLES_LEAST), before=0, lanes=1, free=1, ready=False)
    assert told == Forecast(p50_s=2, p90_s=2, samples=10)


@pytest.mark.parametrize(
    ("history", "ready"),
    [
        (History(runs_ms=(1_000,) * (SAMPLES_LEAST - 1)), True),
        (History(runs_ms=RUNS), False),
        (History(runs_ms=RUNS, starts_ms=(1,) * (SAMPLES_LEAST - 1)), False),
    ],
    ids=["few runs", "no starts", "few starts"],
)
def test_unknown(history: History, ready: bool) -> None:
    """With too little history nothing is foretold."""
    assert forecast(history, before=2, lanes=1, free=0, ready=ready) is None


@given(
    st.lists(st.integers(0, 10**7), min_size=SAMPLES_LEAST, max_size=50),
    st.integers(0, 1000),
    st.integers(1, 50),
)
def test_more_before_is_never_sooner(runs_ms: list[int], before: int, lanes: int) -> None:
    """Another job in front never brings the start nearer, another lane never puts it off, and p90 is never below p50."""
    history = History(runs_ms=runs_ms)
    told = forecast(history, before=before, lanes=lanes, free=0, ready=True)
    behind = forecast(history, before=before + 1, lanes=lanes, free=0, ready=True)
    wider = forecast(history, before=before, lanes=lanes + 1, free=0, ready=True)
    assert told is not None
    assert behind is not None
    assert wider is not None
    assert told.p50_s <= told.p90_s
    assert behind.p50_s >= told.p50_s >= wider.p50_s
    assert behind.p90_s >= told.p90_s >= wider.p90_s


# ── endpoints and jobs ────────────────────────────────────────────────────────────────────────────────────────────────


def test_every_reason_has_its_next_step() -> None:
    """Whatever the autoscaler may decide, somebody has thought about what to do."""
    assert set(NEXT_STEPS) == set(Reason)


def test_next_steps_name_commands_that_exist() -> None:
    """A command that is named is one that the reference knows."""
    known = set(re.findall(r"`(stoker [a-z-]+(?: [a-z-]+)?)`", CLI.read_text())) | set(
        re.findall(r"^#+ (stoker [a-z -]+)", CLI.read_text(), re.MULTILINE)
    )
    named = {found for text in NEXT_STEPS.values() for found in re.findall(r"stoker (?:doctor|[a-z]+ [a-z]+)", text)}
    assert named
    assert named <= known, named - known


def test_the_endpoint_is_named() -> None:
    """The next step can be copied: it has the endpoint's name in it."""
    assert next_step(Reason.PAUSED, "flux") == "stoker endpoint resume flux"


@pytest.mark.parametrize("reason", list(Reason))
def test_endpoint(reason: Reason) -> None:
    """An endpoint says what was decided last, its load and its bounds."""
    why = explain_endpoint(ENDPOINT, Counts(queued=3, running=1), decided(reason))
    assert why.reason == reason
    assert "because; 3 waiting, 1 running; 1 of at most 2 workers wanted" in why.text


A_WARM_UP = WarmUp(team=TeamId("t"), image="ghcr.io/us/flux:1", due_ms=0, asked_ms=0, updated_ms=0)


@pytest.mark.parametrize("decision", [None, decided(Reason.NOTHING_TO_DO), decided(Reason.NO_WORKER_YET)])
def test_only_a_warm_up_goes_on(decision: Decision | None) -> None:
    """While nothing happens but that the image comes, an endpoint says how far it is."""
    coming = A_WARM_UP.far("pulling ghcr.io/us/flux:1: 1.2 of 3.4 GiB, 80 MiB/s", 1)
    why = explain_endpoint(ENDPOINT, Counts(), decision, warm_up=coming)
    assert why.reason == Reason.IMAGE_PULLING
    assert why.text.startswith(
        "its image is being fetched: pulling ghcr.io/us/flux:1: 1.2 of 3.4 GiB, 80 MiB/s; 0 waiting"
    )
    assert "ghcr.io/us/flux:1" in explain_endpoint(ENDPOINT, Counts(), decision, warm_up=A_WARM_UP).text


def test_a_warm_up_beside_what_is_decided() -> None:
    """What was decided comes first; a pull that a worker waits for is told once, one that is over not at all."""
    coming = A_WARM_UP.far("half", 1)
    busy = explain_endpoint(ENDPOINT, Counts(), decided(Reason.WORKERS_BUSY), warm_up=coming)
    assert (busy.reason, busy.text.endswith("; its image is being fetched: half")) == (Reason.WORKERS_BUSY, True)
    assert "half" not in explain_endpoint(ENDPOINT, Counts(), decided(Reason.IMAGE_PULLING), warm_up=coming).text
    here = explain_endpoint(ENDPOINT, Counts(), decided(Reason.NOTHING_TO_DO), warm_up=A_WARM_UP.fetched("", 1))
    assert (here.reason, "image" in here.text) == (Reason.NOTHING_TO_DO, False)


@pytest.mark.parametrize(
    ("error", "then"), [(Unavailable("no"), "it is tried again"), (InvalidInput("no"), "a worker will")]
)
def test_a_warm_up_that_failed(error: StokerError, then: str) -> None:
    """What went wrong is told, and what comes next."""
    why = explain_endpoint(ENDPOINT, Counts(), None, warm_up=A_WARM_UP.failed(error, 1))
    assert "its image could not be fetched ahead (no)" in why.text
    assert then in why.text
    assert why.next_step == "see it: stoker image ls"


def test_paused_endpoint() -> None:
    """A pause is said before a decision that is older than it."""
    why = explain_endpoint(replace(ENDPOINT, paused_ms=1), Counts(queued=3), decided(Reason.WORKERS_BUSY))
    assert (why.reason, why.next_step) == (Reason.PAUSED, "stoker endpoint resume flux")


@pytest.mark.parametrize("reason", [one for one in Reason if one is not Reason.NOTHING_TO_DO])
def test_waiting_job(reason: Reason) -> None:
    """A waiting job says the decision about its endpoint, how many are before it, and what to do."""
    why = explain_job(a_job(), error=None, decision=decided(reason), ahead=2, endpoint="flux")
    assert (why.reason, why.text) == (reason, "because; 2 jobs are before it")
    assert why.next_step == next_step(reason, "flux")


def test_ended_job() -> None:
    """A job that was lost too often says how to see why and how to run it again."""
    why = explain_job(a_job(JobState.FAILED, JobReason.RETRIES_EXHAUSTED), error=None, decision=None, ahead=None)
    assert "stoker job retry j" in why.next_step


# ── workers ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def line(kind: str, at_ms: int) -> StoryLine:
    """A line of a worker's story."""
    return StoryLine(at_ms=at_ms, kind=kind, reason="", state="")


@pytest.mark.parametrize(
    ("worker", "text"),
    [
        (
            a_worker(WorkerState.STARTING, WorkerReason.LAUNCHED, launched_ms=2_000),
            "starting for 9.0 s: launched after 2.0 s; waits for its first take",
        ),
        (a_worker(WorkerState.DECIDED, WorkerReason.IMAGE_PULLING), "starting for 9.0 s: the detail"),
        (a_worker(WorkerState.READY, WorkerReason.FIRST_TAKE, idle_ms=8_000), "ready and idle for 1.0 s"),
        (a_worker(WorkerState.STOPPING, WorkerReason.SILENT, stopped_ms=4_000), "told to stop for 5.0 s: the detail"),
        (a_worker(WorkerState.GONE, WorkerReason.EXITED), "gone: the detail"),
    ],
    ids=lambda value: value.state if isinstance(value, Worker) else "",
)
def test_worker(worker: Worker, text: str) -> None:
    """A worker says its state, for how long, and in which stage of its start it is."""
    story = [line("decided", 0), line("launched", 2_000)] if worker.launched_ms else [line("decided", 0)]
    assert explain_worker(Held(worker=worker, running=0, stopping=0), story, 9_000).text == text


def test_busy_worker() -> None:
    """What a worker holds is told apart: running, told to stop, ahead."""
    worker = a_worker(WorkerState.READY, WorkerReason.FIRST_TAKE)
    why = explain_worker(Held(worker=worker, running=1, stopping=2, ahead=3), [], 0)
    assert why.text == "ready, 1 job, 2 told to stop, 3 ahead"


def test_death() -> None:
    """An end says the exit and where to look."""
    worker = a_worker(WorkerState.GONE, WorkerReason.CRASHED_WHILE_STARTING)
    killed = changed(worker, exit=Exit(code=137, text="killed by SIGKILL"))
    why = explain_worker(Held(worker=killed, running=0, stopping=0), [], 0)
    assert why.text == "gone: the detail (killed by SIGKILL)"
    assert why.next_step == "see what it printed: stoker worker logs w"
