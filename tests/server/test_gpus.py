"""A machine with two GPUs: each is promised once, and workers see those that they were promised and no other."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.docker import BASE
from tests.gpus import DEVICES, GpuEngine
from tests.live import LiveServer, until
from tests.server.conftest import WORKERS

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("gpu_driver")]

RECIPE = f"FROM {BASE}\nWORKDIR /worker\nCOPY handler.py .\n"
HELD = {"hold_s": 3600}
GIB = 1024**3


def share(live: LiveServer, **fields: object) -> dict[str, list[str]]:
    """Two workers at work, one GPU each, and a third that waits; which devices each of the two was promised."""
    body = {"name": "a", "gpus_per_worker": 1, "cuda": ">=12.0", "max_workers": 3, **fields}
    answer = live.api.post("/api/endpoints", json=body)
    assert answer.status_code == 201, answer.text
    jobs = [live.run("a", HELD) for _ in range(3)]
    running = until(
        lambda: (found := [one for one in map(live.job, jobs) if one["state"] == "running"])[1:] and found,
        what="two jobs that run",
    )
    (waiting,) = set(jobs) - {one["id"] for one in running}
    why = until(
        lambda: (said := live.job(waiting)["why"])["reason"] == "no_capacity" and said, what="the third job's reason"
    )
    assert "0 of 2 GPUs RTX 4090 24GB are free" in why["text"]
    held = {one["worker"]: live.api.get(f"/api/workers/{one['worker']}").json()["gpus"] for one in running}
    assert sorted(gpu for gpus in held.values() for gpu in gpus) == sorted(DEVICES)
    return held


@pytest.mark.docker
@pytest.mark.timeout(300)  # the engine gets its image first
def test_containers_get_the_devices_they_were_promised(gpu_engine: GpuEngine, tmp_path: Path) -> None:
    """Each container asks the engine for its own device, and has its name in the variable that the toolkit reads; a worker without
    GPUs asks for none; what this driver or this machine can never do is refused."""
    image = gpu_engine.build("stoker-test-handler", RECIPE, [WORKERS / "handler.py"])
    program = {"image": image, "command": "python3 -u handler.py"}
    with LiveServer(tmp_path / "data", runtime="docker", docker_host=gpu_engine.host) as live:
        for worker, gpus in share(live, **program).items():
            container = f"stoker-{worker}"
            (asked,) = json.loads(gpu_engine.run("inspect", "-f", "{{json .HostConfig.DeviceRequests}}", container))
            assert (asked["DeviceIDs"], asked["Capabilities"]) == (gpus, [["gpu"]])
            told = gpu_engine.run("exec", container, "printenv", "NVIDIA_VISIBLE_DEVICES")
            assert [told] == gpus
        assert gpu_engine.calls == 2
        shown = live.api.get("/api/gpus").json()["gpus"]
        assert [one["id"] for one in shown] == list(DEVICES)
        assert {one["worker"] for one in shown} == {one["id"] for one in live.workers("a") if one["gpus"]}
        assert {
            (one["endpoint"]["name"], one["memory_bytes"], one["memory_used_bytes"], one["power_w"]) for one in shown
        } == {("a", 24 * GIB, GIB, 61.0)}
        live.api.post("/api/endpoints", json={"name": "without", **program})
        assert live.finished(live.run("without", {"environment": "NVIDIA_VISIBLE_DEVICES"}))["output"] == "void"
        assert gpu_engine.calls == 2
        for fields, field in (
            ({"gpus_per_worker": 3}, "gpus_per_worker"),
            ({"gpus_per_worker": 1, "cuda": "13.0"}, "cuda"),
        ):
            refused = live.api.post("/api/endpoints", json={"name": "never", **program, **fields})
            assert (refused.status_code, refused.json()["field"]) == (400, field)


def test_processes_see_the_devices_they_were_promised(tmp_path: Path) -> None:
    """Each process has its own device in the variable that CUDA reads; a GPU goes to the next worker when its own is gone."""
    program = {"image": f"dir:{WORKERS}", "command": "python -u handler.py"}
    with LiveServer(tmp_path / "data", runtime="process") as live:
        held = share(live, **program)
        worker, gpus = next(iter(held.items()))
        live.api.post(f"/api/workers/{worker}/stop", json={"now": True})
        after = until(
            lambda: [one["gpus"] for one in live.workers("a") if one["id"] not in held and one["state"] == "ready"],
            what="the worker that comes after",
        )
        assert after == [gpus]
        live.api.patch("/api/endpoints/a", json={"max_workers": 1, "retries": 0})
        for job in live.api.get("/api/endpoints/a/jobs").json()["jobs"]:
            live.api.post(f"/api/jobs/{job['id']}/cancel")
        seen = live.finished(live.run("a", {"environment": "CUDA_VISIBLE_DEVICES"}))
        assert [seen["output"]] == live.api.get(f"/api/workers/{seen['worker']}").json()["gpus"]
