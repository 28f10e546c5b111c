"""Which kinds of places are passed over, and for how long."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from stoker.ids import EndpointId, ReleaseId, TeamId, WorkerId
from stoker.shortages import Patience, shortages
from stoker.specification import Specification
from stoker.worker import Worker, WorkerReason, WorkerState

NOW_MS = 1_700_000_000_000
PATIENCE = Patience(wait_s=60, pass_over_s=600)
KINDS = [Specification(id=one, name=one.upper()) for one in ("a", "b", "c")]


def a_worker(kind: str, waited_s: float, reason: WorkerReason = WorkerReason.NO_ROOM_YET) -> Worker:
    """One that was decided so long ago."""
    return Worker(
        id=WorkerId("w"),
        team=TeamId("t"),
        endpoint=EndpointId("e"),
        release=ReleaseId("r"),
        token_hash="",
        specification=kind,
        decided_ms=NOW_MS - round(waited_s * 1000),
        reason=reason,
    )


def short(*workers: Worker, choices: int = 2, **moved_s_ago: float) -> list[str]:
    """The kinds that are passed over."""
    moved_on_ms = {kind: NOW_MS - round(ago * 1000) for kind, ago in moved_s_ago.items()}
    return list(shortages(NOW_MS, KINDS[:choices], workers, moved_on_ms, PATIENCE))


def test_a_kind_is_short_when_a_worker_waited_there() -> None:
    """From the end of its patience on, and with the reason in words."""
    assert short(a_worker("a", 59.9)) == []
    assert short(a_worker("a", 60)) == ["a"]
    told = shortages(NOW_MS, KINDS, [a_worker("a", 60)], {}, PATIENCE)
    assert told == {"a": "no place was found on A within 60 s"}


def test_other_waits_say_nothing_about_a_kind() -> None:
    """An image that is fetched, a worker that runs, and one that is being stopped have a place, or need none."""
    assert short(a_worker("a", 999, WorkerReason.IMAGE_PULLING), a_worker("a", 999, WorkerReason.PLACING)) == []
    stopping = replace(a_worker("a", 999), state=WorkerState.STOPPING)
    assert short(stopping) == []


def test_a_kind_stays_short_for_a_while() -> None:
    """After the last worker moved on, and no longer."""
    assert short(a=599.9) == ["a"]
    assert short(a=600) == []


def test_when_all_are_short_none_is() -> None:
    """Somebody has to wait: whoever adds machines sees it."""
    assert short(a_worker("b", 60), a=100) == []
    assert short(a_worker("b", 60), a=100, choices=3) == ["a", "b"]
    assert short(a_worker("a", 60), choices=1) == []


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 700))),
    st.dictionaries(st.sampled_from("abcd"), st.integers(0, 700)),
)
def test_there_is_always_a_kind_to_try(waits: list[tuple[str, int]], moved: dict[str, float]) -> None:
    """Whatever was tried, not every kind is passed over, and only kinds that may be used are named."""
    found = short(*(a_worker(kind, ago) for kind, ago in waits), choices=3, **moved)
    assert set(found) < {one.id for one in KINDS}
