"""Parts of many answers.

Their annotations are no texts: shapes elsewhere inherit them, and since Python 3.14 texts are looked up where the heir is.
"""

from typing import Any, TypedDict

JsonObject = dict[str, Any]


class Named(TypedDict):
    """A thing by id, and its name."""

    id: str
    name: str


class Doer(TypedDict):
    """A member by id and name; without an id it was the server itself."""

    id: str | None
    name: str


class StoryLine(TypedDict):
    """One line of what happened."""

    at_ms: int
    kind: str
    state: str
    reason: str
    attempt: int | None
    worker: str | None
    text: str


class ExpectedStart(TypedDict):
    """When a waiting job will start, in seconds from now, and how many ended jobs say so."""

    p50_s: float
    p90_s: float
    samples: int


class Because(TypedDict):
    """A reason code, its sentence, what to do about it, and for jobs that wait when they will start, where that can be told."""

    reason: str
    text: str
    next_step: str | None
    expected_start: ExpectedStart | None
