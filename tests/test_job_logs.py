"""Which lines of a worker's output are a job's."""

from stoker.fleet.job_logs import Turn, turns_of
from stoker.ids import WorkerId
from stoker.store import StoryLine

ONE, TWO = WorkerId("one"), WorkerId("two")


def a_line(at_ms: int, state: str, worker: WorkerId | None, attempt: int | None) -> StoryLine:
    return StoryLine(at_ms=at_ms, kind="any", reason="any", state=state, worker=worker, attempt=attempt)


def test_a_turn_is_while_a_worker_runs_the_job() -> None:
    """A turn begins when the job runs on a worker, not when it is delivered ahead, and ends with the next thing that happens to it."""
    story = [
        a_line(10, "queued", None, None),
        a_line(20, "ahead", ONE, None),
        a_line(30, "running", ONE, 1),
        a_line(40, "running", ONE, 1),
        a_line(50, "queued", ONE, 1),
        a_line(60, "running", ONE, 2),
        a_line(70, "running", TWO, 3),
        a_line(80, "completed", TWO, 3),
    ]
    turns = [
        Turn(worker=ONE, begun_ms=30, ended_ms=50),
        Turn(worker=ONE, begun_ms=60, ended_ms=70),
        Turn(worker=TWO, begun_ms=70, ended_ms=80),
    ]
    assert turns_of(story) == turns
    assert turns_of(story[:-1]) == [*turns[:-1], Turn(worker=TWO, begun_ms=70)]
    assert turns_of(story[:2]) == []
