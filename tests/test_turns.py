"""While which workers ran a job, and what that cost."""

from hypothesis import given
from hypothesis import strategies as st

from stoker.audit import Action, Actor, AuditLine, Kind
from stoker.fleet.costs import cost_of
from stoker.fleet.turns import Turn, slots_during, turns_of
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


def a_change(at_ms: int, before: int, after: int) -> AuditLine:
    facts = {"before": {"slots": before}, "after": {"slots": after}}
    return AuditLine(
        at_ms=at_ms, by=Actor(team=TeamId("t")), action=Action.CHANGED, kind=Kind.ENDPOINT, thing="e", name="e", **facts
    )


def test_slots_are_the_most_while_it_ran() -> None:
    """Changes of an endpoint's slots count from the first turn of a job to the end of its last, and not after it."""
    turns = [Turn(worker=ONE, begun_ms=30, ended_ms=40), Turn(worker=TWO, begun_ms=60, ended_ms=80)]
    changes = [a_change(90, 3, 9), a_change(70, 5, 3), a_change(50, 2, 5), a_change(20, 8, 2)]
    assert slots_during(turns, changes, 9) == 5
    assert slots_during(turns[:1], changes, 9) == 2
    assert slots_during([Turn(worker=TWO, begun_ms=60)], changes, 9) == 9
    assert slots_during(turns, [], 4) == 4


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
    assert cost_of(turns, {ONE: a_worker(price_micros)}, at_ms) == running_ms * price_micros // HOUR_MS / MICROS


@given(
    spells=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 60_000), st.integers(1, 60_000)), max_size=40),
    slots=st.integers(1, 4),
    price_micros=st.integers(1, 100 * MICROS),
)
def test_jobs_in_slots_cost_no_more_than_the_ledger_says(
    spells: list[tuple[int, int, int]], slots: int, price_micros: int
) -> None:
    """Whatever runs beside what, jobs together cost at most what the running time of their worker costs in the ledger of usage, and those
    of one key at most what the ledger gives that key."""
    free_ms = [0] * slots
    jobs: list[tuple[str, int, int]] = []
    for slot, pause_ms, run_ms in spells:
        slot %= slots
        begun_ms = free_ms[slot] + pause_ms
        free_ms[slot] = begun_ms + run_ms
        jobs.append((f"key {slot % 2}", begun_ms, free_ms[slot]))
    end_ms = max(free_ms)
    meter, busy_ms = Meter(0), 0
    for _, begun_ms, ended_ms in sorted(jobs, key=lambda job: job[1]):
        meter = rested(meter, busy_ms, max(busy_ms, begun_ms))
        busy_ms = max(busy_ms, ended_ms)
    for key, begun_ms, ended_ms in jobs:
        meter = let_go(meter, key, begun_ms, ended_ms)
    _, readings = read(meter, end_ms, idle_ms=end_ms)
    workers = {ONE: a_worker(price_micros)}
    for key in ("key 0", "key 1"):
        costs = [
            cost_of([Turn(worker=ONE, begun_ms=begun_ms, ended_ms=ended_ms)], workers, end_ms, slots=slots)
            for one, begun_ms, ended_ms in jobs
            if one == key
        ]
        ledger_ms = sum(one.ms for one in readings if one.use is Use.RUNNING and one.key == key)
        assert (
            sum(round(cost * MICROS) for cost in costs) <= ledger_ms * price_micros / HOUR_MS + price_micros / HOUR_MS
        )


def test_a_turn_costs_until_it_ends_or_its_worker_does() -> None:
    """One that goes on has cost what it cost until now; time after its worker was told to stop is free."""
    going_on = [Turn(worker=ONE, begun_ms=HOUR_MS)]
    assert cost_of(going_on, {ONE: a_worker(2 * MICROS)}, 2 * HOUR_MS) == 2.0
    assert cost_of(going_on, {ONE: a_worker(2 * MICROS, stopped_ms=HOUR_MS * 3 // 2)}, 2 * HOUR_MS) == 1.0
    assert cost_of(going_on, {ONE: a_worker(2 * MICROS, stopped_ms=HOUR_MS // 2)}, 2 * HOUR_MS) == 0.0
