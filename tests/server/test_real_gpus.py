"""A machine with real GPUs, of any number: what `test_gpus.py` shows with a driver of its own, shown with NVIDIA's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.live import LiveServer, until
from tests.server.conftest import WORKERS

pytestmark = [pytest.mark.slow, pytest.mark.gpu]

GIB = 1024**3
COMMAND = "python -u gpu.py"


def gpus(live: LiveServer) -> list[dict[str, Any]]:
    """What the server tells of each device."""
    return list(live.api.get("/api/gpus").json()["gpus"])


def test_each_worker_uses_its_own_device_and_no_other(real_gpus: int, tmp_path: Path) -> None:
    """One job holds each device, sees that one alone and its memory in use; one more waits and hears why, until a device is free."""
    with LiveServer(tmp_path / "data", runtime="process") as live:
        live.create("a", gpus_per_worker=1, max_workers=real_gpus + 1, cuda=">=11.0", image=WORKERS, command=COMMAND)
        jobs = [live.run("a", {"fill": 2 * GIB, "hold_s": 3600}) for _ in range(real_gpus + 1)]
        running = until(
            lambda: (now := [one for one in map(live.job, jobs) if one.get("output")])[real_gpus - 1 :] and now,
            what="a job on each device",
        )
        assert {(one["output"]["devices"], one["output"]["read"]) for one in running} == {(1, 0x5A)}
        until(
            lambda: all(one["memory_used_bytes"] > 2 * GIB for one in gpus(live)),
            what="the memory in use: the driver is asked once a second",
        )
        used = gpus(live)
        assert {one["worker"] for one in used} == {one["worker"] for one in running}
        assert all(one["power_w"] > 0 for one in used)
        (waiting,) = set(jobs) - {one["id"] for one in running}
        why = until(
            lambda: (said := live.job(waiting)["why"])["reason"] == "no_capacity" and said, what="the reason in words"
        )
        assert f"0 of {real_gpus} GPUs" in why["text"]
        live.api.post(f"/api/jobs/{running[0]['id']}/cancel")
        after = until(lambda: (one := live.job(waiting)).get("output") and one, what="the job that waited")
        assert after["output"]["read"] == 0x5A


@pytest.mark.usefixtures("real_gpus")
def test_a_worker_without_gpus_sees_none(tmp_path: Path) -> None:
    """What was not promised is hidden from the driver itself."""
    with LiveServer(tmp_path / "data", runtime="process") as live:
        live.create("without", image=WORKERS, command=COMMAND)
        assert live.finished(live.run("without", {"fill": GIB}))["output"] == {"devices": 0}


def test_what_the_driver_cannot_run_is_refused(real_gpus: int, tmp_path: Path) -> None:
    """A CUDA version that is newer than the driver's, and more GPUs than there are: at once, with the field."""
    with LiveServer(tmp_path / "data", runtime="process") as live:
        for fields, field in (
            ({"gpus_per_worker": real_gpus + 1}, "gpus_per_worker"),
            ({"gpus_per_worker": 1, "cuda": "99.0"}, "cuda"),
        ):
            body = {"name": "never", "image": f"dir:{WORKERS}", "command": COMMAND, **fields}
            refused = live.api.post("/api/endpoints", json=body)
            assert (refused.status_code, refused.json()["field"]) == (400, field), refused.text
