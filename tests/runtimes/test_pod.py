"""What a cluster is told: orders in, objects out, each as the published types of the API want it."""

from __future__ import annotations

import base64
import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import msgspec
import pytest
from lightkube.core.dictmixin import DictMixin
from lightkube.resources.apps_v1 import DaemonSet
from lightkube.resources.core_v1 import ConfigMap, Namespace, PersistentVolumeClaim, Pod, Secret
from lightkube.resources.networking_v1 import NetworkPolicy

from stoker.errors import InvalidInput
from stoker.ids import WorkerId
from stoker.runtimes import Login, Volume, WorkerSpec
from stoker.runtimes.kubernetes.ahead import set_of, set_secrets
from stoker.runtimes.kubernetes.pod import claim_name, claims_of, home_of, labels_of, namespace_of, pod_of, secrets_of
from stoker.runtimes.kubernetes.policy import policy_of
from stoker.runtimes.kubernetes.record import End, record_of
from stoker.runtimes.kubernetes.terms import Terms, read_labels, read_tolerations
from stoker.worker import Exit

GIB = 1024**3
GOLDEN = Path(__file__).parent / "golden"
PLAIN = WorkerSpec(worker=WorkerId("w1"), endpoint="chat", team="team-a", image="example.com/worker:1")
FULL = WorkerSpec(
    worker=WorkerId("w2"),
    endpoint="chat",
    team="team-a",
    image=f"example.com/worker@sha256:{'0' * 64}",
    login=Login(registry="example.com", username="ann", password="p:w"),
    entrypoint="/bin/tini --",
    command="python -u 'my handler.py'",
    env={"TOKEN": "s3cret", "ODD": "a b='c' ü $HOME"},
    gpu_count=2,
    cuda=">=12.4",
    volumes=(
        Volume(source="/v/1", name="models", id="vol-1", target="/models", read_only=True, size_bytes=GIB),
        Volume(source="/v/2", name="cache", id="vol-2", target="/cache", size_bytes=2 * GIB),
    ),
    http_port=8000,
    disk_bytes=10 * 1024**3,
)
HOUSE = Terms(
    installation="i1",
    namespace="workers",
    by_team=True,
    node_labels=read_labels("pool=gpu, zone=a"),
    places=({"nvidia.com/gpu.product": "H100"}, {"kind": "small", "zone": "b"}),
    tolerations=tuple(read_tolerations("nvidia.com/gpu:NoSchedule, spot=yes:NoExecute")),
    priority_class="low",
    runtime_class="nvidia",
    service_account="worker",
    pull_secrets=("mirror",),
    memory_bytes=8 * 1024**3,
    cpus=1.5,
    storage_class="shared",
)


def objects(spec: WorkerSpec, terms: Terms) -> list[Any]:
    """Everything that is sent for a worker, from its namespace and its image to what stays of it."""
    end = End(exit=Exit(code=3, text="exit code 3"))
    return [
        home_of(namespace_of(spec.team, terms), terms),
        *claims_of(spec, terms),
        *set_secrets(spec.image, spec.login, terms),
        set_of(spec.image, spec.login, terms),
        *secrets_of(spec, terms),
        pod_of(spec, terms),
        policy_of(terms.installation),
        record_of(spec.worker, end, [], labels_of(spec, terms), bytes_max=1000),
    ]


@pytest.mark.parametrize(("name", "spec", "terms"), [("plain", PLAIN, Terms(installation="i1")), ("full", FULL, HOUSE)])
def test_golden(name: str, spec: WorkerSpec, terms: Terms) -> None:
    """A worker makes exactly these objects."""
    written = json.dumps([one.to_dict() for one in objects(spec, terms)], indent=1, sort_keys=True) + "\n"
    file = GOLDEN / f"{name}.json"
    assert written == file.read_text()


def strict(written: Any, kind: Any, path: str) -> None:
    """Fail where what was written has a field that the published type does not have."""
    if isinstance(kind, type) and issubclass(kind, DictMixin):
        known = {one.encode_name: one for one in msgspec.structs.fields(kind)}
        for name, value in written.items():
            assert name in known, f"{path}.{name} is unknown"
            strict(value, known[name].type, f"{path}.{name}")
        return
    for inner in getattr(kind, "__args__", ()):
        if isinstance(written, list):
            for number, value in enumerate(written):
                strict(value, inner, f"{path}[{number}]")
        elif isinstance(written, dict) and isinstance(inner, type) and issubclass(inner, DictMixin):
            strict(written, inner, path)


@pytest.mark.parametrize("name", ["plain", "full"])
def test_published_types(name: str) -> None:
    """What is sent is valid by the newest published types: no unknown field, each value of its type."""
    known = (Pod, Secret, ConfigMap, Namespace, PersistentVolumeClaim, NetworkPolicy, DaemonSet)
    kinds: dict[str, Any] = {one.__name__: one for one in known}
    for written in json.loads((GOLDEN / f"{name}.json").read_text()):
        kind = kinds[written["kind"]]
        strict(written, kind, written["kind"])
        assert msgspec.convert(written, kind).to_dict() == written


def test_an_unknown_field_is_found() -> None:
    """The check of types does refuse: a field that no version has."""
    with pytest.raises(AssertionError, match=r"Pod\.spec\.containers\[0\]\.imagine"):
        strict({"spec": {"containers": [{"name": "x", "imagine": 1}]}}, Pod, "Pod")


def test_secrets_are_not_in_the_pod() -> None:
    """Neither the environment nor the password stands where everybody who may see pods would see it."""
    pod = json.dumps(pod_of(FULL, HOUSE).to_dict())
    env, login = secrets_of(FULL, HOUSE)
    assert "s3cret" not in pod
    assert "p:w" not in pod
    assert env.data is not None
    assert base64.b64decode(env.data["ODD"]).decode() == FULL.env["ODD"]
    assert login.data is not None
    assert json.loads(base64.b64decode(login.data[".dockerconfigjson"]))["auths"]["example.com"]["password"] == "p:w"


def test_directories_of_nodes_are_refused() -> None:
    """A path would be of whichever node: volumes have names."""
    spec = WorkerSpec(worker=WorkerId("w"), image="x:1", volumes=(Volume(source="/data", target="/data"),))
    with pytest.raises(InvalidInput) as refused:
        pod_of(spec, Terms(installation="i"))
    assert refused.value.code == "mount_not_allowed"


def test_claims_are_the_teams_own() -> None:
    """Two volumes never share a claim, whatever they are called: of two teams, or one made after the other was deleted."""
    assert claim_name("vol-1", HOUSE) != claim_name("vol-2", HOUSE)
    assert claim_name("vol-1", HOUSE) != claim_name("vol-1", Terms(installation="another"))


@pytest.mark.parametrize("setting", ["a b", "=x", "key=val ue", "key"])
def test_odd_labels_are_refused(setting: str) -> None:
    """A label of a node is KEY=VALUE."""
    with pytest.raises(InvalidInput) as refused:
        read_labels(setting)
    assert refused.value.field == "kubernetes_node_labels"


@pytest.mark.parametrize("setting", ["a b", "key:Sometimes", "=x:NoSchedule"])
def test_odd_tolerations_are_refused(setting: str) -> None:
    """A toleration is written as a taint."""
    with pytest.raises(InvalidInput) as refused:
        read_tolerations(setting)
    assert refused.value.field == "kubernetes_tolerations"


def test_every_term_is_used() -> None:
    """No house rule is forgotten: each one that is not a matter of the runtime itself changes some object."""
    other: dict[str, Any] = {"security": "restricted", "cuda_major_label": "x", "cuda_minor_label": "y"}
    of_runtime = {"by_team", "prepare_s", "network_policy", "log_bytes_max", "installation"}
    for one in fields(Terms):
        if one.name in of_runtime:
            continue
        changed = {item.name: getattr(HOUSE, item.name) for item in fields(Terms)}
        changed[one.name] = other.get(one.name) or _another(changed[one.name])
        spec = PLAIN if one.name in ("disk_bytes", "always_pull") else FULL
        before, after = ([thing.to_dict() for thing in objects(spec, terms)] for terms in (HOUSE, Terms(**changed)))
        assert before != after, one.name


def _another(value: Any) -> Any:
    match value:
        case bool():
            return not value
        case str():
            return f"{value}x"
        case int() | float():
            return value + 1
        case tuple() | list():
            return ()
        case _:
            return {"other": "label"}
