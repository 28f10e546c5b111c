"""What the vendors' own clients can do with Stoker, in both dialects; their jobs run on a runpod worker."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.live import KEY, PATIENCE_S, LiveServer
from tests.sdk.places import Place, interpreter, place

pytestmark = [pytest.mark.sdk, pytest.mark.slow]

CLIENTS = Path(__file__).parent / "clients"
PARTS = [1, {"ж": "🦊"}]
QUEUED = {"v1": "PENDING", "v2": "IN_QUEUE"}


@pytest.fixture(scope="module")
def shop(live: LiveServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """An endpoint with one worker that has one job at a time: a list of parts."""
    with place(live, tmp_path_factory.mktemp("at"), sdk="runpod-1.12.0", kind="aggregate") as at:
        yield at


def call(shop: Place, sdk: str, program: str, dialect: str) -> dict[str, Any]:
    """Run a client to its end; what it saw."""
    words = [f"{shop.live.url}/{dialect}", KEY, shop.name, str(shop.at)]
    ours = {name: value for name, value in os.environ.items() if not name.startswith(("RUNPOD_", "NOVITA_"))}
    ran = subprocess.run(
        [interpreter(sdk), CLIENTS / program, *words], env=ours, capture_output=True, text=True, timeout=2 * PATIENCE_S
    )
    assert ran.returncode == 0, ran.stderr
    return dict(json.loads(ran.stdout.splitlines()[-1]))


def queue_of(dialect: str, health: dict[str, Any]) -> dict[str, Any]:
    """What every client sees of a queue with one running and two waiting jobs."""
    jobs = {"inProgress": 1, "inQueue": 2}
    assert health["jobs"] == health["jobs"] | jobs
    assert health["workers"] == {
        "idle": 0, "initializing": 0, "ready": 0, "running": 1, "throttled": 0, "unhealthy": 0
    }  # fmt: skip
    return {
        "queued": QUEUED[dialect],
        "cancelled": "CANCELLED",
        "purged": {"removed": 1, "status": "completed"},
        "status of the cancelled": "CANCELLED",
        "status of the purged": "CANCELLED",
        "cancelled while running": "CANCELLED",
    }


FAILING = {"failing output": None, "failing status": "FAILED"}
ENDS = {"output": PARTS, "status": "COMPLETED"}
REFUSALS = {"no such key": "RuntimeError: 401", "no such endpoint": "HTTPError: 404"}


@pytest.mark.parametrize(("sdk", "dialect"), [("runpod-1.12.0", "v1"), ("runpod-1.12.0", "v2"), ("runpod-1.6.2", "v2")])
def test_runpod(shop: Place, sdk: str, dialect: str) -> None:
    """Runpod's client runs, waits, streams, cancels and purges; the stream of a cancelled job releases it with a 404."""
    seen = call(shop, sdk, "of_runpod.py", dialect)
    expected = ENDS | FAILING | REFUSALS | queue_of(dialect, seen.pop("health"))
    assert seen == expected | {
        "stream": PARTS,
        "run_sync": PARTS,
        "output of the running": None,
        "part of the running": "part",
        "stream of the cancelled": ["404"],
    }


def test_runpod_asyncio(shop: Place) -> None:
    """Runpod's asyncio client does the same."""
    seen = call(shop, "runpod-1.12.0", "of_runpod_asyncio.py", "v2")
    assert seen == ENDS | {"stream": PARTS} | queue_of("v2", seen.pop("health"))


def test_novita(shop: Place) -> None:
    """Novita's client does the same; it has no streams."""
    seen = call(shop, "novita-gpus-0.0.1", "of_novita.py", "v1")
    refusals = REFUSALS | {"no such key": "RuntimeError: Una"}
    assert seen == ENDS | FAILING | refusals | queue_of("v1", seen.pop("health"))
