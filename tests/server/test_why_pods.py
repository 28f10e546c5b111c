"""What is said where a cluster takes no pod of a worker, or does not start it: its own words, on a real one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.admission import rule
from tests.cluster import Cluster
from tests.live import LiveServer, until
from tests.server.images import create
from tests.server.test_why import why

pytestmark = [pytest.mark.slow, pytest.mark.kubernetes, pytest.mark.timeout(300)]


def told(live: LiveServer, image: str, word: str) -> dict[str, Any]:
    """What a job of a new endpoint is told once the word is in it; the endpoint and the worker that did not start tell it too."""
    create(live, "a", image)
    job = live.run("a", {"echo": 1})

    def look() -> dict[str, Any] | None:
        said = why(live, f"jobs/{job}")
        return said if word in said["text"] else None

    said = until(look, what=f"'{word}'")
    assert word in why(live, "endpoints/a")["text"]
    failed = [one for one in live.workers("a", gone=9) if one["reason"] == "launch_failed"]
    assert word in failed[0]["detail"]
    assert word in why(live, f"workers/{failed[0]['id']}")["text"]
    return said


def space(live: LiveServer) -> str:
    """The namespace of its workers."""
    return str(live.settings["kubernetes_namespace"])


def test_a_webhook_says_no(housed: LiveServer, handler_pod_image: str, cluster: Cluster, tmp_path: Path) -> None:
    """The words of a rule that refuses a pod stand on the job, the endpoint and the worker; when the rule is gone the job runs."""
    with rule(cluster, space(housed), "images come from registry.example.com", tmp_path / "rule"):
        said = told(housed, handler_pod_image, "images come from registry.example.com")
    assert "the cluster does not admit" in said["text"]
    assert said["next_step"]
    (job,) = housed.api.get("/api/endpoints/a/jobs").json()["jobs"]
    assert housed.finished(job["id"])["output"] == 1


def test_a_webhook_does_not_answer(
    housed: LiveServer, handler_pod_image: str, cluster: Cluster, tmp_path: Path
) -> None:
    """A rule that cannot be asked is named."""
    with rule(cluster, space(housed), "", tmp_path / "rule"):
        told(housed, handler_pod_image, 'failed calling webhook "pods.stoker.test"')


def test_a_range_of_limits(housed: LiveServer, handler_pod_image: str, cluster: Cluster) -> None:
    """A worker that asks for more than a namespace lets one have is told which amount that is."""
    limits = {"limits": [{"type": "Container", "max": {"cpu": "10m"}}]}
    about = {"apiVersion": "v1", "kind": "LimitRange", "metadata": {"name": "small", "namespace": space(housed)}}
    cluster.kubectl("apply", "-f", "-", stdin=json.dumps({**about, "spec": limits}))
    housed.stop()
    housed.settings["worker_cpus"] = 2
    housed.start()
    said = told(housed, handler_pod_image, "maximum cpu usage per Container is 10m, but limit is 2")
    assert "the cluster does not admit" in said["text"]


def test_a_quota(housed: LiveServer, handler_pod_image: str, cluster: Cluster) -> None:
    """A namespace without room names its quota, with what is used and what it allows."""
    cluster.kubectl("create", "quota", "small", "--hard=pods=0", "-n", space(housed))
    until(lambda: "used" in cluster.get("quota", "small", "-n", space(housed))["status"], what="the quota to count")
    told(housed, handler_pod_image, "exceeded quota: small, requested: pods=1, used: pods=0, limited: pods=0")


def test_a_health_check(housed: LiveServer, handler_pod_image: str) -> None:
    """A pod that answers its health check badly gets no job and the answer is told; one that answers well runs it."""
    serves = 'sh -c "python3 -m http.server 8000 & exec python3 -u handler.py"'
    health = {"path": "/none", "period_s": 1}
    create(housed, "a", handler_pod_image, command=serves, http_port=8000, health=health)
    job = housed.run("a", {"echo": 1})
    said = until(
        lambda: (now := why(housed, f"jobs/{job}"))["reason"] == "health_failing" and now, what="the bad answer"
    )
    assert "404" in said["text"]
    answer = housed.api.patch("/api/endpoints/a", json={"health": {**health, "path": "/handler.py"}})
    assert answer.status_code == 200, answer.text
    assert housed.finished(job)["output"] == 1
