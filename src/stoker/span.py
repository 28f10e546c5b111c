"""Spans: the life of a job as tools for traces show it. Pure; what becomes a span is said in `traces.py`.

A trace bears the id of its job, which is a UUID, unless the client that submitted it sent a trace of its own (`traceparent`, W3C Trace Context). The id of a span
follows from what it is about, so that whoever tells of it twice tells of the same span.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Final, NamedTuple

from stoker.ids import JobId

_CHANCE_BITS: Final = 62
"""Of a job's id that are random from its end on: the two before say which kind of UUID it is."""
_TRACEPARENT: Final = re.compile("00-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}")


class Parent(NamedTuple):
    """The span of somebody else from which a job came."""

    trace: int
    span: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Span:
    """Some time of a job, with what is known of it. Times in milliseconds since the epoch."""

    trace: int
    id: int
    parent: int | None
    name: str
    begin_ms: int
    end_ms: int
    attributes: Mapping[str, str | int | bool] = field(default_factory=dict)
    failed: str | None = None
    """Why it ended badly, in a word or a few."""


def trace_id(job: JobId) -> int:
    """The 128 bits of its UUID."""
    digits = job.removeprefix("sync-").replace("-", "")
    try:
        return int(digits, 16) % (1 << 128) or 1
    except ValueError:  # of an earlier version
        return _digest(job, 16)


def span_id(job: JobId, name: str, at_ms: int) -> int:
    """64 bits that follow from what the span is about."""
    return _digest(f"{job} {name} {at_ms}", 8)


def _digest(text: str, size: int) -> int:
    return int.from_bytes(blake2b(text.encode(), digest_size=size).digest()) or 1


def sampled(job: JobId, ratio: float) -> bool:
    """Whether the job is among the share of jobs that are traced: everywhere and each time the same ones."""
    return trace_id(job) % (1 << _CHANCE_BITS) < ratio * (1 << _CHANCE_BITS)


def parse_parent(traceparent: str) -> Parent | None:
    """What a header `traceparent` says; None when it says nothing that can be believed."""
    found = _TRACEPARENT.fullmatch(traceparent)
    if found is None:
        return None
    parent = Parent(int(found[1], 16), int(found[2], 16))
    return parent if parent.trace and parent.span else None


__all__ = ["Parent", "Span", "parse_parent", "sampled", "span_id", "trace_id"]
