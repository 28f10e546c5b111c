"""A server whose workers are containers: a real engine, the real SDK inside, real registries."""

import base64
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto.server import ThreadedMotoServer

from tests.docker import BASE, Engine, Registry, basic_auth
from tests.live import ROOT, LiveServer, until
from tests.server.conftest import WORKERS
from tests.server.images import create, logs

pytestmark = [pytest.mark.slow, pytest.mark.docker]


@pytest.fixture(scope="session")
def handler_image(docker_engine: Engine) -> str:
    """An image with the real SDK."""
    recipe = "FROM stoker-test-base\nWORKDIR /worker\nCOPY handler.py .\n"
    return docker_engine.build("stoker-test-handler", recipe, [WORKERS / "handler.py"])


@pytest.fixture
def housed(docker_engine: Engine, tmp_path: Path) -> Iterator[LiveServer]:
    """A server on loopback that runs containers."""
    with LiveServer(tmp_path / "data", runtime="docker", docker_host=docker_engine.host) as server:
        yield server


def test_a_job_runs_in_a_container(housed: LiveServer, handler_image: str) -> None:
    """The first job starts a container with the real SDK, which reaches the server on loopback through its second door; the
    stages of its start are told, and the release is pinned to the bytes that it runs."""
    create(housed, "a", handler_image)
    assert housed.finished(housed.run("a", {"echo": [1, "ü"]}))["output"] == [1, "ü"]
    (worker,) = housed.workers("a")
    story = housed.api.get(f"/api/workers/{worker['id']}").json()["story"]
    kinds = [line["kind"] for line in story]
    assert kinds[:5] == ["decided", "pulled", "created", "started", "launched"]
    moments = [line["at_ms"] for line in story]
    assert moments == sorted(moments)
    assert housed.api.get("/api/endpoints/a").json()["digest"].startswith("sha256:")


@pytest.fixture
def private(docker_engine: Engine, tmp_path: Path) -> Iterator[str]:
    """An image in a registry that lets in ann alone; it is not on the machine."""
    registry = Registry(tmp_path / "private", basic_auth(tmp_path / "private", "ann", "pass-word"))
    registry.start()
    image = f"{registry.host}/private:1"
    docker_engine.build(image, "FROM scratch\nCOPY Dockerfile /private\n")
    docker_engine.run("login", "-u", "ann", "-p", "pass-word", registry.host)
    docker_engine.run("push", "-q", image)
    docker_engine.run("logout", registry.host)
    docker_engine.run("rmi", image)
    yield image
    registry.close()


def image_of(live: LiveServer, name: str) -> dict[str, Any]:
    """What the list of images says about one."""
    return next(one for one in live.api.get("/api/images").json()["images"] if one["name"] == name)


def test_a_private_image_is_warmed(housed: LiveServer, private: str) -> None:
    """Without a credential the warm-up fails with the reason, with it the image comes; an endpoint is warmed when it is made, runs what came,
    and keeps it; once the endpoint is gone the image can be removed from the machine."""
    api, registry = housed.api, private.partition("/")[0]
    assert api.post("/api/images/warm", json={"image": private}).status_code == 202
    until(lambda: image_of(housed, private)["state"] == "failed", what="the refusal")
    assert image_of(housed, private)["code"] == "image_denied"
    login = {"name": "ours", "registry": registry, "username": "ann", "password": "pass-word"}
    assert api.post("/api/credentials", json=login).status_code == 201
    create(housed, "a", private, credential="ours")
    until(lambda: image_of(housed, private)["state"] == "here", what="the image")
    here = image_of(housed, private)
    assert (here["credential"], here["endpoints"], here["error"]) == ("ours", ["a"], None)
    assert here["bytes"] > 0
    assert api.get("/api/endpoints/a").json()["digest"] == here["digest"]
    refused = api.post("/api/images/remove", json={"image": private})
    assert (refused.status_code, refused.json()["code"]) == (409, "image_in_use")
    api.delete("/api/endpoints/a")
    assert api.post("/api/images/remove", json={"image": private}).status_code == 200
    assert api.get("/api/images").json() == {"images": []}


def test_containers_survive_a_killed_server(housed: LiveServer, handler_image: str) -> None:
    """After kill -9 the next server finds its containers by their label: the same worker goes on, and its job ends."""
    create(housed, "a", handler_image)
    job = housed.run("a", {"hold_s": 3, "echo": "still here"})
    until(lambda: f"job {job} begins" in logs(housed, job), what="the job to run")
    housed.kill()
    housed.start()
    done = housed.finished(job)
    assert done["output"] == "still here"
    (worker,) = housed.workers("a")
    assert worker["id"] == done["worker"]


def test_a_death_is_told(housed: LiveServer, handler_image: str) -> None:
    """A worker that dies in the middle of a job is gone with its exit code and last words, and its log stays."""
    create(housed, "a", handler_image, retries=0)
    job = housed.run("a", {"die": 41})
    done = housed.finished(job)
    assert done["state"] == "failed"
    worker = done["worker"]
    shown = until(
        lambda: next((one for one in housed.workers("a", gone=9) if one["id"] == worker and one["exit"]), None),
        what="its exit",
    )
    assert shown["exit"]["code"] == 41
    assert f"job {job} begins" in housed.api.get(f"/api/workers/{worker}/logs").text


def test_a_worker_that_fails_everything_is_replaced(docker_engine: Engine, handler_image: str, tmp_path: Path) -> None:
    """A container in which every job fails, while those of its neighbour succeed, makes room for a fresh one after so many failures
    in a row; then all jobs succeed again."""
    settings = {"runtime": "docker", "docker_host": docker_engine.host, "worker_failures_max": 3}
    with LiveServer(tmp_path / "data", **settings) as live:
        create(live, "a", handler_image, min_workers=2, max_workers=2, deliver_ahead="off")
        until(lambda: [one["state"] for one in live.workers("a")] == ["ready"] * 2, what="two workers")
        broken = live.finished(live.run("a", {"break": True}))["worker"]

        def seen(reason: str) -> dict[str, Any] | None:
            found = live.workers("a", gone=9)
            return next((one for one in found if (one["id"], one["reason"]) == (broken, reason)), None)

        def work_on() -> dict[str, Any] | None:
            for job in [live.run("a", {"hold_s": 0.3}) for _ in range(2)]:  # one for each
                live.finished(job)
            return seen("fails_every_job")

        until(work_on, what="its replacement")
        gone = until(lambda: seen("fails_every_job"), what="its end")
        assert gone["detail"] == "it failed 3 jobs in a row while others succeeded"
        until(lambda: [one["state"] for one in live.workers("a")] == ["ready"] * 2, what="two workers again")
        after = [live.finished(live.run("a", {"echo": number})) for number in range(4)]
        assert [one["output"] for one in after] == [0, 1, 2, 3]
        assert broken not in {one["worker"] for one in after}


def test_only_the_worker_protocol_can_be_reached(housed: LiveServer, handler_image: str) -> None:
    """From inside, the server on loopback is reached by the worker protocol alone: the same port, without any other route."""
    create(housed, "a", handler_image)
    host, port = "host.docker.internal", int(str(housed.settings["port"]))
    assert housed.finished(housed.run("a", {"reach": [host, port]}))["output"] is True
    door = housed.finished(housed.run("a", {"environment": "RUNPOD_WEBHOOK_PING"}))["output"]
    assert door.startswith(f"http://{host}:{port}/worker/ping/")


def test_engine_down_is_not_the_end_of_workers(tmp_path: Path, lonely_engine: Engine) -> None:
    """While the engine is away nothing is called gone; when it is back the same worker goes on."""
    recipe = "FROM stoker-test-base\nWORKDIR /worker\nCOPY handler.py .\n"
    image = lonely_engine.build("stoker-test-handler", recipe, [WORKERS / "handler.py"])
    with LiveServer(tmp_path / "data", runtime="docker", docker_host=lonely_engine.host) as live:
        create(live, "a", image, max_workers=1)
        worker = live.finished(live.run("a", {"echo": 1}))["worker"]
        lonely_engine.stop(signal.SIGKILL)
        until(lambda: "runtime_unavailable" in live.log(), what="the server to notice")
        during = live.finished(live.run("a", {"echo": 2}))
        assert (during["worker"], during["output"]) == (worker, 2)
        lonely_engine.start()
        after = live.finished(live.run("a", {"echo": 3}))
        assert (after["worker"], after["output"]) == (worker, 3)


# ── a server beside the handler ───────────────────────────────────────────────────────────────────────────────────────

EXAMPLE = ROOT / "examples" / "inner_server"


@pytest.fixture(scope="session")
def inner_server_image(docker_engine: Engine) -> str:
    """The example, on the base of the tests."""
    docker_engine.run("build", "-q", "-t", "stoker-test-inner-server", "--build-arg", f"BASE={BASE}", str(EXAMPLE))
    return "stoker-test-inner-server"


def picture(content: bytes) -> dict[str, Any]:
    """The input of a job with one image."""
    return {"images": [{"name": "a.png", "image": base64.b64encode(content).decode()}]}


def test_images_go_in_and_out(housed: LiveServer, inner_server_image: str) -> None:
    """An image whose start script runs a server and the handler beside it works unchanged, with base64 in and out; it ignores
    SIGTERM, so stopping it ends with SIGKILL after the grace, and nothing of it is left."""
    create(housed, "a", inner_server_image, command="")
    done = housed.finished(housed.run("a", picture(b"\x00\x01\xff" * 50_000)))
    assert base64.b64decode(done["output"]["images"][0]["data"]) == b"\xff\xfe\x00" * 50_000
    housed.api.post(f"/api/workers/{done['worker']}/stop", json={"now": True})
    until(lambda: housed.workers("a") == [], what="its end")
    (gone,) = housed.workers("a", gone=1)
    assert gone["exit"]["code"] == 137
    assert "when its grace of 2 s had passed" in gone["exit"]["text"]


def test_a_dead_inner_server_replaces_the_worker(housed: LiveServer, inner_server_image: str) -> None:
    """When the server beside the handler dies, pings go on; the job fails with the reason, and the next one gets a fresh container."""
    create(housed, "a", inner_server_image, command="")
    lost = housed.finished(housed.run("a", {"crash": True}))
    assert lost["state"] == "failed"
    done = housed.finished(housed.run("a", picture(b"x")))
    assert done["state"] == "completed"
    assert done["worker"] != lost["worker"]


@pytest.fixture
def s3() -> Iterator[Any]:
    """An S3-compatible server that containers can reach, with the bucket that the SDK uploads to this month."""
    server = ThreadedMotoServer("0.0.0.0", 0, verbose=False)
    server.start()
    _, port = server.get_host_and_port()
    client = boto3.client(
        "s3",
        endpoint_url=f"http://127.0.0.1:{port}",
        aws_access_key_id="key",
        aws_secret_access_key="secret",
        region_name="us-east-1",
    )
    client.create_bucket(Bucket=time.strftime("%m-%y"))
    yield client
    client.close()
    server.stop()


def test_results_are_uploaded(housed: LiveServer, inner_server_image: str, s3: Any) -> None:
    """With the `BUCKET_*` variables the SDK uploads a result, and the job's output is its URL."""
    endpoint = f"http://host.docker.internal:{s3.meta.endpoint_url.rpartition(':')[2]}"
    env = {"BUCKET_ENDPOINT_URL": endpoint, "BUCKET_ACCESS_KEY_ID": "key", "BUCKET_SECRET_ACCESS_KEY": "secret"}
    create(housed, "a", inner_server_image, command="", env=env)
    done = housed.finished(housed.run("a", picture(b"\x00\x0f")))
    (image,) = done["output"]["images"]
    assert image["type"] == "s3_url"
    assert image["data"].startswith(endpoint)
    bucket = time.strftime("%m-%y")
    (stored,) = s3.list_objects_v2(Bucket=bucket)["Contents"]
    assert s3.get_object(Bucket=bucket, Key=stored["Key"])["Body"].read() == b"\xff\xf0"
