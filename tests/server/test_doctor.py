"""What `stoker doctor` finds, and what it says about it."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from lightkube.models.core_v1 import NodeStatus
from lightkube.models.meta_v1 import ObjectMeta

from stoker.cli import program
from stoker.doctor import cluster as of_cluster
from stoker.doctor.engine import clock_finding, driver_finding, toolkit_findings, version_finding
from stoker.doctor.machine import disk_finding, port_finding
from stoker.runtimes import Capacity, Device
from stoker.runtimes.kubernetes import Terms
from stoker.runtimes.kubernetes.api import Node, StorageClass
from stoker.runtimes.kubernetes.rights import rights_of
from tests.cluster import Cluster, kubeconfig
from tests.docker import Engine


@pytest.mark.parametrize(
    ("version", "verdict"),
    [("19.03.15", "wrong"), ("20.10.24+dfsg1", "ok"), ("28.2.2", "ok"), ("27.0.0-rc.1", "ok")],
)
def test_old_engines_are_refused(version: str, verdict: str) -> None:
    """Containers reach the machine by a name that engines know since 20.10."""
    assert version_finding(version).verdict == verdict


def test_a_clock_that_is_off_is_found() -> None:
    """Log lines bear the engine's time, so it must be ours."""
    at_ms = 1_700_000_000_000
    assert clock_finding("2023-11-14T22:13:20.123456789Z", at_ms).verdict == "ok"
    assert clock_finding("2023-11-14T22:15:20Z", at_ms).verdict == "wrong"


def test_disk_limits_depend_on_the_driver() -> None:
    """Only some drivers enforce them; for the others it is said how they are kept."""
    assert driver_finding({"Driver": "overlay2", "DriverStatus": [["Backing Filesystem", "xfs"]]}).verdict == "ok"
    assert driver_finding({"Driver": "overlay2", "DriverStatus": [["Backing Filesystem", "extfs"]]}).verdict == "note"


def test_gpus_need_the_toolkit() -> None:
    """GPUs that containers cannot get are a fault with a fix; without GPUs nobody needs the toolkit."""
    two = Capacity(devices=(Device(id="a", name="GPU"), Device(id="b", name="GPU")))
    assert toolkit_findings({"Runtimes": {"runc": {}}}, Capacity(text="none")) == []
    (fault,) = toolkit_findings({"Runtimes": {"runc": {}}}, two)
    assert (fault.verdict, "nvidia-ctk" in fault.fix) == ("wrong", True)
    assert toolkit_findings({"Runtimes": {"nvidia": {}}}, two)[0].verdict == "ok"


def test_machine(tmp_path: Path) -> None:
    """A disk has its free space told, and a port that can be listened on is free."""
    assert "GB are free" in disk_finding("disk", tmp_path).text
    assert port_finding("127.0.0.1", 0).verdict == "ok"
    assert port_finding("192.0.2.1", 0).verdict == "note"


def test_without_an_engine_it_says_how_to_get_one(tmp_path: Path) -> None:
    """Asked for Docker, a missing engine is a fault: the exit status says so, and the fix is named."""
    environ = {"STOKER_RUNTIME": "docker", "STOKER_DOCKER_HOST": f"unix://{tmp_path}/none", "STOKER_PORT": "0"}
    result = CliRunner().invoke(program, ["doctor", "--json", "--data-dir", str(tmp_path)], env=environ)
    found = {one["subject"]: one for one in json.loads(result.stdout)["findings"]}
    assert found["Docker engine"]["verdict"] == "wrong"
    assert "apt-get install docker.io" in found["Docker engine"]["fix"]


@pytest.mark.docker
@pytest.mark.slow
def test_with_an_engine(docker_engine: Engine, tmp_path: Path) -> None:
    """A real engine is found with its version, its clock and its disk."""
    environ = {"STOKER_DOCKER_HOST": docker_engine.host, "STOKER_PORT": "0"}
    result = CliRunner().invoke(program, ["doctor", "--json", "--data-dir", str(tmp_path)], env=environ)
    found = {one["subject"]: one["verdict"] for one in json.loads(result.stdout)["findings"]}
    assert found["Docker engine"] == "ok"
    assert found["clock"] == "ok"
    assert "engine's disk" in found


# ── clusters ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("version", "verdict"), [("v1.19.16", "wrong"), ("v1.20.2", "ok"), ("v1.34.1+k3s1", "ok")])
def test_old_clusters_are_refused(version: str, verdict: str) -> None:
    """What is older than what was tested is not promised."""
    assert of_cluster.version_finding(version, "https://here").verdict == verdict


def test_lacking_rights_are_named_with_their_command() -> None:
    """Each kind of object that the account may not use is a fault, and the command that allows it is said."""
    allowed = {right: right.resource != "secrets" for right in rights_of(by_team=False)}
    (fault,) = of_cluster.right_findings(allowed, Terms(installation="one", namespace="here"))
    assert fault.text == "it may not create, patch, delete secrets in namespace here"
    assert "kubectl create role stoker-secrets -n here --verb=create,patch,delete --resource=secrets" in fault.fix
    assert "create clusterrole" in of_cluster.role_command("pods", ["get"], Terms(installation="one", by_team=True))


def test_storage_for_volumes() -> None:
    """A class that is named has to be there; without a name the cluster has to have a default."""
    plain = StorageClass(provisioner="p", metadata=ObjectMeta(name="slow"))
    usual = StorageClass(
        provisioner="p", metadata=ObjectMeta(name="fast", annotations={of_cluster.DEFAULT_CLASS: "true"})
    )
    assert of_cluster.storage_finding([plain, usual], "").text == "storage class fast"
    assert of_cluster.storage_finding([plain], "").verdict == "note"
    assert of_cluster.storage_finding([plain], "gone").verdict == "wrong"
    assert of_cluster.storage_finding([plain], "slow").verdict == "ok"


def test_gpus_of_nodes() -> None:
    """How many there are, and what to do when nodes offer none."""
    terms = Terms(installation="one", node_labels={"pool": "gpu"})
    two = Node(status=NodeStatus(allocatable={"nvidia.com/gpu": "2", "cpu": "4"}))
    none = Node(status=NodeStatus(allocatable={"cpu": "4"}))
    assert of_cluster.node_finding([two, none], terms).text == "2 nvidia.com/gpu on 1 of 2 nodes"
    assert "device plugin" in of_cluster.node_finding([none], terms).fix
    assert "pool=gpu" in of_cluster.node_finding([], terms).text


def test_who_keeps_network_policies() -> None:
    """A network plugin that is known to keep them is named; without one it is said what workers may reach, and how to see it."""
    assert (
        of_cluster.policy_finding({"apps", "cilium.io"}).text == "Cilium is there, which keeps workers from each other"
    )
    unknown = of_cluster.policy_finding({"apps", "networking.k8s.io"})
    assert unknown.verdict == "note"
    assert "docs/how-to/kubernetes.md" in unknown.fix


def diagnosed(config: Path, tmp_path: Path, **settings: str) -> dict[str, dict[str, str]]:
    """What the command says of a cluster, by subject."""
    environ = {"STOKER_RUNTIME": "kubernetes", "STOKER_KUBERNETES_CONFIG": str(config), "STOKER_PORT": "0"}
    environ |= {f"STOKER_{name.upper()}": value for name, value in settings.items()}
    result = CliRunner().invoke(program, ["doctor", "--json", "--data-dir", str(tmp_path)], env=environ)
    return {one["subject"]: one for one in json.loads(result.stdout)["findings"]}


def test_without_a_cluster(tmp_path: Path) -> None:
    """A cluster that does not answer, a kubeconfig that is none, and pods that would call themselves are faults."""
    config = tmp_path / "config"
    assert diagnosed(config, tmp_path)["cluster"]["verdict"] == "wrong"
    config.write_text(kubeconfig("https://127.0.0.1:9", "none"))
    found = diagnosed(config, tmp_path, worker_url="http://localhost:8700")
    assert "does not answer" in found["cluster"]["text"]
    assert found["worker_url"]["verdict"] == "wrong"


CALICO = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "felixconfigurations.crd.projectcalico.org"},
    "spec": {
        "group": "crd.projectcalico.org",
        "scope": "Cluster",
        "names": {"kind": "FelixConfiguration", "plural": "felixconfigurations"},
        "versions": [
            {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": {"type": "object"}}}
        ],
    },
}
"""A kind of objects that Calico brings."""


@pytest.mark.kubernetes
@pytest.mark.slow
def test_with_a_cluster(cluster: Cluster, tmp_path: Path) -> None:
    """A real cluster is found with its version; an account without rights has each of them named; a namespace that is not there, and
    a class of pods that is not there, are told in the cluster's words."""
    told = {"worker_url": "http://10.217.0.1:8700", "kubernetes_namespace": "default"}
    found = diagnosed(cluster.config, tmp_path, **told)
    assert [found[one]["verdict"] for one in ("cluster", "account", "workers", "worker_url")] == ["ok"] * 4
    assert "v1.20" in found["cluster"]["text"]
    assert found["GPUs"]["text"].endswith("of 1 node")
    gone = diagnosed(cluster.config, tmp_path, **told | {"kubernetes_namespace": "gone"})
    assert gone["workers"]["fix"] == "kubectl create namespace gone"
    classed = diagnosed(cluster.config, tmp_path, **told, kubernetes_priority_class="no-such-class")
    assert "no-such-class" in classed["workers"]["text"]
    assert found["network policy"]["verdict"] == "note"
    cluster.kubectl("apply", "-f", "-", stdin=json.dumps(CALICO))
    cluster.kubectl("wait", "--for=condition=Established", "crd/felixconfigurations.crd.projectcalico.org")
    found = diagnosed(cluster.config, tmp_path, **told)
    cluster.kubectl("delete", "crd", "felixconfigurations.crd.projectcalico.org")
    assert "Calico" in found["network policy"]["text"]
    poor = tmp_path / "poor"
    poor.write_text(kubeconfig(cluster.server, cluster.token_of("default", "default")))
    found = diagnosed(poor, tmp_path, **told)
    assert found["account"]["verdict"] == "wrong"
    assert "may not look" in found["GPUs"]["text"]
