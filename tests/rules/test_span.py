"""Ids of traces and spans, and whose trace a job belongs to."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stoker import ids
from stoker.ids import JobId
from stoker.span import Parent, parse_parent, sampled, span_id, trace_id

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


def test_a_trace_bears_the_id_of_its_job() -> None:
    """Whoever has a job's id has its trace's, also of a job of `/runsync`; an id that is no UUID has some trace too."""
    assert f"{trace_id(JobId('01a2b3c4-d5e6-7f00-8a1b-2c3d4e5f6071')):032x}" == "01a2b3c4d5e67f008a1b2c3d4e5f6071"
    assert trace_id(JobId("sync-01a2b3c4-d5e6-7f00-8a1b-2c3d4e5f6071")) == trace_id(
        JobId("01a2b3c4-d5e6-7f00-8a1b-2c3d4e5f6071")
    )
    assert 0 < trace_id(JobId("odd one")) < 1 << 128


@given(st.text(max_size=60), st.text(max_size=20), st.integers(0, 1 << 45))
def test_ids_are_ids(job: str, name: str, at_ms: int) -> None:
    """Whatever a span is about, its ids have their size, are not zero, and follow from that alone."""
    assert 0 < trace_id(JobId(job)) < 1 << 128
    assert 0 < span_id(JobId(job), name, at_ms) < 1 << 64
    assert span_id(JobId(job), name, at_ms) == span_id(JobId(job), name, at_ms)


def test_a_share_of_jobs() -> None:
    """About the share that is wanted is traced; a larger share takes all that a smaller one takes; 1 takes all, 0 none."""
    jobs = [ids.new_job_id(1_790_000_000_000 + number) for number in range(2_000)]
    some = {job for job in jobs if sampled(job, 0.25)}
    assert 350 < len(some) < 650
    assert some <= {job for job in jobs if sampled(job, 0.3)}
    assert all(sampled(job, 1) and not sampled(job, 0) for job in jobs)


@pytest.mark.parametrize(
    ("said", "parent"),
    [
        (f"00-{TRACE}-{SPAN}-01", Parent(int(TRACE, 16), int(SPAN, 16))),
        (f"00-{TRACE}-{SPAN}-00", Parent(int(TRACE, 16), int(SPAN, 16))),
        (f"00-{'0' * 32}-{SPAN}-01", None),
        (f"00-{TRACE}-{'0' * 16}-01", None),
        (f"00-{TRACE.upper()}-{SPAN}-01", None),
        (f"ff-{TRACE}-{SPAN}-01", None),
        (f"00-{TRACE}-{SPAN}-01-more", None),
        ("", None),
    ],
)
def test_a_clients_trace(said: str, parent: Parent | None) -> None:
    """A `traceparent` is taken as W3C writes it, or not at all."""
    assert parse_parent(said) == parent
