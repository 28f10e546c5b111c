"""What a handler returns, raises or cannot say, and what a client sees of it."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.live import LiveServer
from tests.sdk.conftest import OUTPUT_BYTES_MAX
from tests.sdk.places import SDKS, Place, place

pytestmark = [pytest.mark.sdk, pytest.mark.slow]

ABSENT = object()
S3 = {"accessId": "AK", "accessSecret": "geheim", "bucketName": "b", "endpointUrl": "http://s3.example"}
LOST = (
    r"; attempt {} on worker \w+: the worker asked for new work without posting a result \(is the output valid JSON\?"
)
LOST_TWICE = "^retries_exhausted: .*" + LOST.format(1) + ".*" + LOST.format(2)


@dataclass(frozen=True, kw_only=True)
class Case:
    """A job and its end. `error` is a pattern; no pattern, no error."""

    do: str
    words: dict[str, Any] = field(default_factory=dict)
    fields: dict[str, Any] = field(default_factory=dict)
    status: str = "COMPLETED"
    output: Any = ABSENT
    error: str | None = None

    def agrees(self, seen: dict[str, Any]) -> bool:
        """Whether the client sees this end."""
        error = seen.get("error")
        said = error is None if self.error is None else isinstance(error, str) and bool(re.search(self.error, error))
        return seen["status"] == self.status and seen.get("output", ABSENT) == self.output and said


def gives(value: Any, **end: Any) -> Case:
    """A handler that returns `value`, and the end of its job."""
    return Case(do="give back", words={"value": value}, **end)


CASES = {
    "a dictionary": gives({"answer": 42}, output={"answer": 42}),
    "a number": gives(7, output=7),
    "false": gives(False, output=False),
    "an empty text": gives("", output=""),
    "an empty list": gives([], output=[]),
    "no braces": gives({}, output=ABSENT),
    "nothing": gives(None, output=None),
    "an output in an output": gives({"output": {"a": 1}}, output={"output": {"a": 1}}),
    "letters of the world": gives({"ключ": "ж é 漢 🦊 \n\\"}, output={"ключ": "ж é 漢 🦊 \n\\"}),
    "numbers that JSON lacks": Case(do="give nan", output={"numbers": [None, None, 1.5]}),
    "an error": gives({"error": "soft"}, status="FAILED", error="^soft$"),
    "an error and an output": gives({"error": "soft", "x": 1}, status="FAILED", error="^soft$", output={"x": 1}),
    "an error that is an object": gives({"error": {"code": 5}}, status="FAILED", error=r'^\{"code": ?5\}$'),
    "an exception": Case(do="fail", words={"text": "boom"}, status="FAILED", error="error_message.*boom"),
    "the whole job": Case(
        do="give job",
        fields={"s3Config": S3, "unknown": 1},
        output={"id": "", "input": {"do": "give job"}, "s3Config": S3},
    ),
    "an output over the limit": Case(
        do="write much", words={"size": OUTPUT_BYTES_MAX}, status="FAILED", error="^output_too_large: .*65538 bytes"
    ),
    "an output far over the limit": Case(
        do="write much",
        words={"size": 16 * OUTPUT_BYTES_MAX},
        status="FAILED",
        error="^output_too_large: .*65536 bytes",
    ),
    "an object": Case(do="give object", status="FAILED", error=LOST_TWICE),
    "a set inside": Case(do="give set", status="FAILED", error=LOST_TWICE),
}

NULL = Case(do="", output={"input": None})
NULL_DROPPED = Case(do="", status="FAILED", error="SDKs before 1.7 also drop a job whose input is null")


def _submit(at: Place, case: Case) -> str:
    return at.order(case.do, fields=case.fields, **case.words) if case.do else at.live.run(at.name, None)


def _seen(at: Place, case: Case, job: str) -> dict[str, Any]:
    seen = at.ended(job)
    if case.do == "give job":
        del seen["output"]["input"]["at"]
    return seen


@pytest.mark.parametrize("sdk", SDKS)
def test_ends(live: LiveServer, tmp_path: Path, sdk: str) -> None:
    """Whatever a handler does, its job ends as it should; one whose result cannot be sent fails soon, and says why."""
    cases = CASES | {"null": NULL_DROPPED if sdk == "runpod-1.6.2" else NULL}
    with place(live, tmp_path, sdk=sdk, kind="greedy", slots=32) as at:
        jobs = {name: _submit(at, case) for name, case in cases.items()}
        ends = {name: _seen(at, cases[name], job) for name, job in jobs.items()}
        assert {name: end for name, end in ends.items() if not cases[name].agrees(end)} == {}
        assert json.loads(ends["an exception"]["error"])["error_type"] == "<class 'ValueError'>"
