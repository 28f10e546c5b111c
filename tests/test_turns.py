"""While which workers ran a job, and what that cost."""

from hypothesis import given
from hypothesis import strategies as st

from stoker.fleet.costs import cost_of
from stoker.fleet.turns import Turn, turns_of
from stoker.ids import EndpointId, ReleaseId, TeamId, WorkerId
from stoker.metering import HOUR_MS, Meter, Use, let_go, read, rested
from stoker.specification import MICROS
from stoker.store import StoryLine
from stoker.worker import Worker

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


def a_worker(price_micros: int, stopped_ms: int | None = None) -> Worker:
    return Worker(
        id=ONE,
        team=TeamId("t"),
        endpoint=EndpointId("e"),
        release=ReleaseId("r"),
        token_hash="",
        decided_ms=0,
        price_per_hour_micros=price_micros,
        stopped_ms=stopped_ms,
    )


@given(
    spells=st.lists(st.tuples(st.integers(0, 2 * HOUR_MS), st.integers(0, 2 * HOUR_MS)), max_size=20),
    price_micros=st.integers(0, 100 * MICROS),
)
def test_jobs_cost_what_the_ledger_says(spells: list[tuple[int, int]], price_micros: int) -> None:
    """What a worker's jobs cost, one after another, is what its running time costs in the ledger of usage."""
    meter, at_ms = Meter(0), 0
    turns: list[Turn] = []
    for idle_ms, run_ms in spells:
        meter = rested(meter, at_ms, at_ms + idle_ms)
        begun_ms, at_ms = at_ms + idle_ms, at_ms + idle_ms + run_ms
        meter = let_go(meter, "key", begun_ms, at_ms)
        turns.append(Turn(worker=ONE, begun_ms=begun_ms, ended_ms=at_ms))
    _, readings = read(meter, at_ms, idle_ms=at_ms)
    running_ms = sum(one.ms for one in readings if one.use is Use.RUNNING)
    assert cost_of(turns, {ONE: a_worker(price_micros)}, at_ms) == round(running_ms * price_micros / HOUR_MS) / MICROS


def test_a_turn_costs_until_it_ends_or_its_worker_does() -> None:
    """One that goes on has cost what it cost until now; time after its worker was told to stop is free."""
    going_on = [Turn(worker=ONE, begun_ms=HOUR_MS)]
    assert cost_of(going_on, {ONE: a_worker(2 * MICROS)}, 2 * HOUR_MS) == 2.0
    assert cost_of(going_on, {ONE: a_worker(2 * MICROS, stopped_ms=HOUR_MS * 3 // 2)}, 2 * HOUR_MS) == 1.0
    assert cost_of(going_on, {ONE: a_worker(2 * MICROS, stopped_ms=HOUR_MS // 2)}, 2 * HOUR_MS) == 0.0
