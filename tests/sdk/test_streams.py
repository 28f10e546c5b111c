"""Handlers that are generators: parts while they run, a list in the end if they ask for it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.live import LiveServer
from tests.sdk.places import EXIT_CODES, SDKS, place

pytestmark = [pytest.mark.sdk, pytest.mark.slow]

PARTS = [{"index": 0, "word": "漢字 🦊"}, "text", 3, None, {"output": 1}, []]


@pytest.mark.parametrize("sdk", SDKS)
def test_parts(live: LiveServer, tmp_path: Path, sdk: str) -> None:
    """The stream has every part once and in order, before an error too; without aggregation the output is an empty list."""
    with place(live, tmp_path, sdk=sdk, kind="stream") as at:
        whole, broken = at.order("count", parts=PARTS), at.order("fail", parts=[1, 2])
        soft = at.order("count", parts=[1, {"error": "soft"}])

        assert at.streamed(whole) == ("COMPLETED", PARTS)
        assert at.status(whole)["output"] == []

        assert at.streamed(broken) == ("FAILED", [1, 2])
        assert at.status(broken)["error"].startswith("handler: the well is dry")

        if sdk == "runpod-1.6.2":  # before 1.7.7 an error that is yielded is a part like any other
            assert at.streamed(soft) == ("COMPLETED", [1, {"error": "soft"}])
        else:
            assert at.streamed(soft) == ("FAILED", [1])
            assert at.status(soft)["error"] == "soft"


@pytest.mark.parametrize("sdk", SDKS)
def test_aggregate_and_refresh(live: LiveServer, tmp_path: Path, sdk: str) -> None:
    """With aggregation the output lists the parts. A worker that asks to be fresh for every job is, errors included."""
    with place(live, tmp_path, sdk=sdk, kind="fresh") as at:
        broken, whole = at.order("fail", parts=[1, 2]), at.order("count", parts=PARTS)

        assert at.streamed(broken) == ("FAILED", [1, 2])
        first = at.status(broken)
        assert first["error"].startswith("handler: the well is dry")
        assert "output" not in first

        assert at.streamed(whole) == ("COMPLETED", PARTS)
        second = at.status(whole)
        assert second["output"] == PARTS
        assert second["workerId"] != first["workerId"]

        worker = at.gone(first["workerId"])
        assert worker["reason"] == "refresh_asked"
        assert worker["exit"]["code"] in EXIT_CODES[sdk], worker["exit"]
