"""Servers whose workers are pods: a real cluster, the real SDK inside."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from scripts.manifests import HELM, rendered
from tests.cluster import NODE, Cluster, kubeconfig
from tests.live import KEY, LiveServer, until
from tests.server.images import create, gone, logs
from tests.server.pods import at_port
from tests.server.test_rolling import CLIENTS, Client, check, done, restart

pytestmark = [pytest.mark.slow, pytest.mark.kubernetes, pytest.mark.timeout(300)]


def begins(live: LiveServer, job: str) -> None:
    """Wait until the job runs."""
    until(lambda: f"job {job} begins" in logs(live, job), what="the job to run")


def test_a_job_runs_in_a_pod(housed: LiveServer, handler_pod_image: str) -> None:
    """The first job starts a pod with the real SDK, which reaches the server; the stages of its start are told in order, and its
    output is there while it runs and after it is gone."""
    create(housed, "a", handler_pod_image)
    job = housed.run("a", {"echo": [1, "ü"]})
    assert housed.finished(job)["output"] == [1, "ü"]
    (worker,) = housed.workers("a")
    story = housed.api.get(f"/api/workers/{worker['id']}").json()["story"]
    kinds = [line["kind"] for line in story if line["reason"] != "no_room_yet"]
    assert kinds[:7] == ["decided", "scheduled", "pulled", "created", "started", "launched", "ready"]
    begins(housed, job)  # what a pod printed reaches its node's log a moment later
    housed.api.post(f"/api/workers/{worker['id']}/stop", params={"now": True})
    assert gone(housed, "a", worker["id"])["reason"] == "stopped_by_user"
    assert f"job {job} begins" in housed.api.get(f"/api/workers/{worker['id']}/logs").text


def test_a_death_is_told(housed: LiveServer, handler_pod_image: str) -> None:
    """A worker that dies in the middle of a job is gone with its exit code, and its log stays."""
    create(housed, "a", handler_pod_image, retries=0)
    job = housed.run("a", {"die": 41})
    done = housed.finished(job)
    assert done["state"] == "failed"
    assert gone(housed, "a", done["worker"])["exit"]["code"] == 41
    assert f"job {job} begins" in housed.api.get(f"/api/workers/{done['worker']}/logs").text


def test_execution_limit_deletes_a_deaf_pod(housed: LiveServer, handler_pod_image: str, cluster: Cluster) -> None:
    """A worker that goes on with a job past its limit is replaced: its pod is deleted, and the next job runs in another."""
    create(housed, "a", handler_pod_image, max_workers=1, execution_timeout_ms=5_000, retries=0)
    late = housed.finished(housed.run("a", {"hold_s": 600}))
    assert late["state"] == "timed_out"
    assert gone(housed, "a", late["worker"])["reason"] == "job_not_stopped"
    assert housed.finished(housed.run("a", {"echo": 2}))["output"] == 2
    names = cluster.kubectl("get", "pods", "-n", str(housed.settings["kubernetes_namespace"]), "-o", "name")
    assert late["worker"] not in names


def test_no_room_is_why(housed: LiveServer, handler_pod_image: str) -> None:
    """A job whose worker no node can take says what is lacking; when the job is cancelled the worker is given up."""
    create(housed, "a", handler_pod_image, gpus_per_worker=8)
    job = housed.run("a", {"echo": 1})
    why = until(
        lambda: "nvidia.com/gpu" in (said := housed.api.get(f"/api/jobs/{job}").json()["why"])["text"] and said,
        what="the reason",
    )
    assert why["reason"] == "no_capacity"
    (worker,) = housed.workers("a")
    assert (worker["state"], worker["reason"]) == ("decided", "no_room_yet")
    endpoint = housed.api.get("/api/endpoints/a").json()["id"]
    unstarted = f'stoker_workers_unstarted{{endpoint="{endpoint}",reason="no_room_yet"}} 1'
    until(lambda: unstarted in housed.api.get("/metrics").text, what="the metric")
    housed.api.post(f"/v2/a/cancel/{job}")
    assert gone(housed, "a", worker["id"])["reason"] == "scaled_down"


def test_an_image_that_does_not_come(housed: LiveServer) -> None:
    """A job whose image cannot be pulled says so, with the registry's text, and tries go on with growing pauses."""
    create(housed, "a", "127.0.0.1:9/never:1")
    job = housed.run("a", {"echo": 1})
    why = until(
        lambda: "cannot pull" in (said := housed.api.get(f"/api/jobs/{job}").json()["why"])["text"] and said,
        what="the reason",
    )
    assert why["reason"] in ("launch_backoff", "crash_loop")
    assert "127.0.0.1:9/never:1" in why["text"]


def test_an_image_is_fetched_ahead(housed: LiveServer, handler_pod_image: str, cluster: Cluster) -> None:
    """A team's image is brought onto the nodes through the same calls as onto a machine: how it stands is told, and nothing is left."""
    space = str(housed.settings["kubernetes_namespace"])

    def state(image: str) -> dict[str, Any]:
        listed = housed.api.get("/api/images").json()["images"]
        return dict(next((one for one in listed if one["name"] == image), {}))

    absent = "127.0.0.1:9/never:1"
    for image in (handler_pod_image, absent):
        assert housed.api.post("/api/images/warm", json={"image": image}).status_code == 202
    until(lambda: state(handler_pod_image)["state"] == "here", what="the image")
    until(lambda: "cannot pull" in (state(absent)["error"] or ""), what="the reason")
    for image in (handler_pod_image, absent):
        assert housed.api.post("/api/images/remove", json={"image": image}).status_code == 200
    until(lambda: not cluster.get("daemonsets,pods", "-n", space)["items"], what="the sets to go")
    assert state(handler_pod_image) == {}


def test_pods_survive_servers_and_the_api(housed: LiveServer, handler_pod_image: str, cluster: Cluster) -> None:
    """After kill -9 of the server, and while the API server is away, the same worker goes on with its jobs."""
    create(housed, "a", handler_pod_image, max_workers=1)
    job = housed.run("a", {"hold_s": 3, "echo": "still here"})
    begins(housed, job)
    housed.kill()
    housed.start()
    done = housed.finished(job)
    assert done["output"] == "still here"
    cluster.stop_part("api")
    until(lambda: "runtime_unavailable" in housed.log(), what="the server to notice")
    during = housed.finished(housed.run("a", {"echo": 2}))
    cluster.run_part("api")
    assert (during["worker"], during["output"]) == (done["worker"], 2)
    until(lambda: "cluster_answers" in housed.log(), what="the server to notice")
    after = housed.finished(housed.run("a", {"echo": 3}))
    assert (after["worker"], after["output"]) == (done["worker"], 3)


def test_a_lost_node_gives_its_jobs_back(housed: LiveServer, handler_pod_image: str, cluster: Cluster) -> None:
    """When a node dies, its worker falls silent; after the lease the job goes back, and runs again when there is a node."""
    create(housed, "a", handler_pod_image, max_workers=1)
    job = housed.run("a", {"hold_s": 20, "echo": "again"})
    begins(housed, job)
    first = housed.job(job)["worker"]
    cluster.stop_part("kubelet")
    cluster.kill_pod(f"stoker-{first}")
    assert gone(housed, "a", first)["reason"] == "silent"
    cluster.run_part("kubelet")
    done = housed.finished(job)
    assert done["output"] == "again"
    assert done["worker"] != first


@pytest.mark.postgres
def test_rolling_restart_of_two_servers(
    pod_settings: dict[str, object], handler_pod_image: str, tmp_path: Path, postgres_url: str
) -> None:
    """Two servers on PostgreSQL look after the same pods; each is restarted under load, and every job completes once."""
    # Workers call the server that launched them: they have to wait for it as long as it takes to start.
    shared = {**pod_settings, "database": postgres_url, "lease_s": 60}
    first, second = (LiveServer(tmp_path / "data", **at_port(shared)) for _ in range(2))
    with first, second:
        create(
            second, "load", handler_pod_image, command="python3 -u light.py", min_workers=2, max_workers=2, retries=10
        )
        clients = [Client([first.url, second.url], number) for number in range(CLIENTS)]
        with ExitStack() as stack:
            for client in clients:
                stack.enter_context(client)
            until(partial(done, clients, 20), what="jobs", patience_s=120)
            before = {one["id"] for one in second.workers("load") if one["state"] == "ready"}
            restart([first, second], 1)
            until(partial(done, clients, sum(len(one.outputs) for one in clients) + 20), what="jobs", patience_s=120)
        after = {one["id"] for one in second.workers("load") if one["state"] == "ready"}
        assert before & after, "the workers went on"
        check(first, clients)


def test_the_next_specification_is_tried(
    cluster: Cluster, pod_settings: dict[str, object], handler_pod_image: str, tmp_path: Path
) -> None:
    """A worker that finds no node of the specification that its endpoint prefers moves on to the next, and everybody says so; later the first one
    is tried again."""
    key = f"stoker.test/{pod_settings['kubernetes_namespace']}"
    kinds = [{"id": one, "slots": 9, "node_selector": {key: one}} for one in ("scarce", "plenty")]
    shared = {
        **pod_settings,
        "specifications": json.dumps(kinds),
        "kubernetes_place_wait_s": 2,
        "kubernetes_pass_over_s": 10,
    }
    cluster.kubectl("label", "node", NODE, f"{key}=plenty")
    with LiveServer(tmp_path / "data", **at_port(shared)) as server:
        create(server, "a", handler_pod_image, max_workers=1, specifications=["scarce", "plenty"])
        job, short = server.run("a", {"echo": 1}), "no place was found on scarce within 2 s"
        until(lambda: short in server.job(job)["why"]["text"], what="the reason")
        done = server.finished(job)
        second, first = (server.api.get(f"/api/workers/{one['id']}").json() for one in server.workers("a", gone=9))
        assert (second["id"], second["specification"]) == (done["worker"], "plenty")
        assert f"1 on plenty: {short}" in second["story"][0]["text"]
        assert (first["specification"], first["reason"]) == ("scarce", "tried_elsewhere")
        assert short in first["detail"]
        assert "no node has room (1 looked at)" in first["detail"]
        cluster.kubectl("label", "node", NODE, f"{key}=scarce", "--overwrite")
        server.api.post(f"/api/workers/{second['id']}/stop", params={"now": True})
        again = server.finished(server.run("a", {"echo": 2}))
        assert server.api.get(f"/api/workers/{again['worker']}").json()["specification"] == "scarce"
    cluster.kubectl("label", "node", NODE, f"{key}-")


def test_a_volume_is_a_claim(housed: LiveServer, handler_pod_image: str, cluster: Cluster) -> None:
    """A volume becomes a claim with the first worker that needs it, which waits for storage and says so; with the volume it goes."""
    space = str(housed.settings["kubernetes_namespace"])
    assert housed.api.post("/api/volumes", json={"name": "models", "size_gb": 1}).status_code == 201
    create(housed, "a", handler_pod_image, volumes=["models:/models"])
    job = housed.run("a", {"echo": 1})
    until(lambda: "PersistentVolumeClaim" in housed.job(job)["why"]["text"], what="the reason")
    assert len(cluster.get("pvc", "-n", space)["items"]) == 1
    housed.api.post(f"/v2/a/cancel/{job}")
    assert housed.api.delete("/api/endpoints/a").status_code in (200, 204)
    until(lambda: housed.api.delete("/api/volumes/models").status_code in (200, 204), what="nobody to need it")
    until(lambda: not cluster.get("pvc", "-n", space)["items"], what="the claim to go")


@pytest.mark.skipif(not HELM.exists(), reason="there is no Helm: make .helm")
def test_a_namespace_for_each_team(
    cluster: Cluster, pod_settings: dict[str, object], handler_pod_image: str, tmp_path: Path
) -> None:
    """Where each team has a namespace of its own, the rights that the chart gives in the whole cluster are enough and it has no others: jobs of
    two teams run in two namespaces."""
    space, config = str(pod_settings["kubernetes_namespace"]), tmp_path / "config"
    grant(cluster, space)
    config.write_text(kubeconfig(cluster.server, cluster.token_of("stoker", space)))
    account = f"--as=system:serviceaccount:{space}:stoker"
    for right in ("get secrets", "list nodes", "create roles", "delete namespaces"):
        assert cluster.kubectl("auth", "can-i", *right.split(), account, check=False) == ""
    shared = {**pod_settings, "kubernetes_config": config, "kubernetes_namespace_per_team": "true"}
    with LiveServer(tmp_path / "data", **at_port(shared)) as server:
        keys = [KEY, another_team(server)]
        for key in keys:
            server.api.headers["Authorization"] = f"Bearer {key}"
            team = server.api.get("/api/me").json()["team"]["id"]
            create(server, "a", handler_pod_image)
            done = server.finished(server.run("a", {"echo": team}))
            assert done["output"] == team
            names = cluster.kubectl("get", "pods", "-n", f"{space}-{team}", "-o", "name")
            assert names == f"pod/stoker-{done['worker']}"
            cluster.kubectl("delete", "namespace", f"{space}-{team}", "--wait=false")
    cluster.kubectl("delete", "clusterrole,clusterrolebinding", f"{space}-stoker")


def grant(cluster: Cluster, namespace: str) -> None:
    """Make the account of the chart with its rights, and nothing else of the chart."""
    values = {"secret": {"name": "keys"}, "workers": {"namespacePerTeam": True}}
    (rights,) = [
        text for text in rendered(values, name="stoker", namespace=namespace) if "kind: ClusterRoleBinding" in text
    ]
    cluster.kubectl("apply", "-f", "-", stdin=rights)
    until(lambda: "secrets" in cluster.get("serviceaccount", "stoker", "-n", namespace), what="its token")


def another_team(live: LiveServer) -> str:
    """The key of a team that is not the operator's."""
    program = Path(sys.executable).with_name("stoker")
    words = [str(program), "team", "create", "other", "--data-dir", str(live.data_dir)]
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()
