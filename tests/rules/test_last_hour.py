"""What the newest ended jobs say of the last hour of an endpoint."""

from __future__ import annotations

from stoker.ids import EndpointId, JobId, TeamId
from stoker.job import Job, JobReason, JobState
from stoker.last_hour import SPAN_MS, STEPS, LastHour, last_hour

NOW = 1_700_000_000_000
FAILED = (("old", 9), ("new", 1))


def ended(
    name: str,
    ago_ms: int,
    *,
    wait_ms: int = 0,
    run_ms: int = 0,
    state: JobState = JobState.COMPLETED,
    reason: JobReason = JobReason.HANDLER_RETURNED,
) -> Job:
    """A job that ended so long ago."""
    at_ms = NOW - ago_ms
    return Job(
        id=JobId(name),
        team=TeamId("team"),
        endpoint=EndpointId("endpoint"),
        created_ms=at_ms - run_ms - wait_ms,
        queued_ms=at_ms - run_ms - wait_ms,
        claimed_ms=at_ms - run_ms,
        finished_ms=at_ms,
        expires_ms=NOW * 2,
        execution_limit_ms=1,
        retention_ms=1,
        retry_limit=0,
        state=state,
        reason=reason,
    )


def hour_of(*jobs: Job) -> LastHour:
    return last_hour(jobs, now_ms=NOW, complete=True, oldest_queued_ms=None)


def test_what_ended_before_does_not_count() -> None:
    """An hour is an hour: what ended before it says nothing."""
    hour = hour_of(ended("in", SPAN_MS - 1), ended("out", SPAN_MS))
    assert (hour.looked_at, hour.completed) == (1, 1)
    assert hour_of(ended("out", SPAN_MS)).wait_ms is None


def test_percentiles_are_times_that_were_measured() -> None:
    """Half of the jobs waited no longer than p50, and 95 of 100 no longer than p95."""
    jobs = [ended(str(number), 0, wait_ms=number * 10, run_ms=number) for number in range(1, 101)]
    hour = hour_of(*reversed(jobs))
    assert (hour.wait_ms, hour.run_ms) == ((500, 950), (50, 95))
    assert hour_of(jobs[6]).run_ms == (7, 7)


def test_every_end_is_in_one_part_of_the_hour() -> None:
    """The newest ends are in the last part; a clock that is ahead loses none."""
    hour = hour_of(ended("a", 0), ended("b", -5_000), ended("c", SPAN_MS - 1, state=JobState.FAILED))
    assert len(hour.ends) == STEPS
    assert (hour.ends[0], hour.ends[-1]) == ((0, 1), (2, 0))
    assert sum(good + bad for good, bad in hour.ends) == hour.looked_at


def test_causes_are_counted_with_the_newest_job_of_each() -> None:
    """The most frequent cause comes first, and leads to the job that it ended last."""
    old, new = (ended(name, ago_ms, state=JobState.FAILED, reason=JobReason.HANDLER_ERROR) for name, ago_ms in FAILED)
    late = ended("late", 5, state=JobState.TIMED_OUT, reason=JobReason.EXECUTION_LIMIT)
    hour = hour_of(old, new, late, ended("good", 0))
    assert [(one.reason, one.count, one.newest) for one in hour.causes] == [
        ("handler_error", 2, "new"),
        ("execution_limit", 1, "late"),
    ]
    assert hour.completed == 1
