"""What a cluster is told to run for a worker. Pure: from a launch order and the house rules to objects of the API.

A worker is a bare pod with a name of its own: a Deployment would choose for us whom to end. Its environment is a secret, which
goes when the pod goes. Safe by default (`docs/decisions/` has the reasons): no token of a service account, no new privileges, few
capabilities, nothing of the node.
"""

from __future__ import annotations

import base64
import json
import math
from typing import Final

from lightkube.models.core_v1 import (
    Affinity,
    Capabilities,
    Container,
    ContainerPort,
    EmptyDirVolumeSource,
    EnvFromSource,
    LocalObjectReference,
    NodeAffinity,
    NodeSelector,
    NodeSelectorRequirement,
    NodeSelectorTerm,
    PersistentVolumeClaimSpec,
    PersistentVolumeClaimVolumeSource,
    PodSecurityContext,
    PodSpec,
    ResourceRequirements,
    SeccompProfile,
    SecretEnvSource,
    SecurityContext,
    VolumeMount,
    VolumeResourceRequirements,
)
from lightkube.models.core_v1 import Volume as PodVolume
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.core_v1 import Namespace, PersistentVolumeClaim, Pod, Secret

from stoker.errors import InvalidInput
from stoker.registry import DOCKER_HUB
from stoker.runtimes import Login, Volume, WorkerSpec
from stoker.runtimes.container import (
    CAPABILITIES,
    ENDPOINT,
    INSTALLATION,
    TEAM,
    WORKER,
    container_name,
    split_words,
)
from stoker.runtimes.kubernetes.terms import Terms
from stoker.runtimes.reference import is_pinned

CONTAINER: Final = "worker"
"""How the one container of a pod is called."""
SHM: Final = "shm"
VOLUME: Final = "stoker.volume"
"""The label of a claim that has the volume's name, for people."""
MANAGER: Final = {"app.kubernetes.io/managed-by": "stoker"}
_HUB_NAME: Final = "https://index.docker.io/v1/"
"""How Docker Hub is called in a pull secret."""


def namespace_of(team: str, terms: Terms) -> str:
    """Where the pods of a team's workers live."""
    return f"{terms.namespace}-{team}" if terms.by_team and team else terms.namespace


def home_of(namespace: str, terms: Terms) -> Namespace:
    """The namespace of a team's own."""
    labels = {**MANAGER, INSTALLATION: terms.installation, "pod-security.kubernetes.io/enforce": terms.security}
    return Namespace(metadata=ObjectMeta(name=namespace, labels=labels))


def labels_of(spec: WorkerSpec, terms: Terms) -> dict[str, str]:
    """By which its objects are found again."""
    ours = {INSTALLATION: terms.installation, WORKER: spec.worker, ENDPOINT: spec.endpoint, TEAM: spec.team}
    return MANAGER | {name: value for name, value in ours.items() if value}


def pod_of(spec: WorkerSpec, terms: Terms) -> Pod:
    """The pod. Raises `InvalidInput` for a command that no shell could split, and for directories of nodes."""
    grace_s = math.ceil(terms.grace_s)
    return Pod(
        metadata=ObjectMeta(
            name=container_name(spec.worker), namespace=namespace_of(spec.team, terms), labels=labels_of(spec, terms)
        ),
        spec=PodSpec(
            containers=[_container(spec, terms)],
            restartPolicy="Never",  # a fresh file system for every start (protocol §14.4)
            terminationGracePeriodSeconds=grace_s,
            hostname=spec.worker[:63],
            shareProcessNamespace=True,  # the first process is the cluster's: it buries orphans, and SIGTERM ends the worker's
            enableServiceLinks=False,  # else the environment holds an address of every service
            automountServiceAccountToken=False,
            serviceAccountName=terms.service_account or None,
            priorityClassName=terms.priority_class or None,
            runtimeClassName=(terms.runtime_class or None) if spec.gpu_count else None,
            securityContext=pod_security(terms),
            imagePullSecrets=_pull_secrets(spec, terms) or None,
            nodeSelector={**terms.node_labels, **spec.node_selector} or None,
            affinity=_affinity(spec, terms),
            tolerations=list(terms.tolerations) or None,
            volumes=_pod_volumes(spec, terms),
        ),
    )


def _container(spec: WorkerSpec, terms: Terms) -> Container:
    pinned = is_pinned(spec.image)
    return Container(
        name=CONTAINER,
        image=spec.image,
        imagePullPolicy="Always" if terms.always_pull and not pinned else "IfNotPresent",
        command=split_words("entrypoint", spec.entrypoint) or None,
        args=split_words("command", spec.command) or None,
        envFrom=[EnvFromSource(secretRef=SecretEnvSource(name=container_name(spec.worker)))],
        ports=[ContainerPort(containerPort=spec.http_port, name="http")] if spec.http_port else None,
        resources=_resources(spec, terms),
        securityContext=container_security(terms),
        volumeMounts=_mounts(spec, terms),
        terminationMessagePolicy="File",
    )


def _resources(spec: WorkerSpec, terms: Terms) -> ResourceRequirements | None:
    """What it is promised and what it may use are the same: a worker that was promised less would be the first to go."""
    amounts: dict[str, str] = {}
    if cpus := spec.cpus or terms.cpus:
        amounts["cpu"] = f"{round(cpus * 1000)}m"
    if memory_bytes := spec.memory_bytes or terms.memory_bytes:
        amounts["memory"] = str(memory_bytes)
    if disk_bytes := spec.disk_bytes or terms.disk_bytes:
        amounts["ephemeral-storage"] = str(disk_bytes)
    if spec.gpu_count:
        amounts[terms.gpu_resource] = str(spec.gpu_count)
    return ResourceRequirements(limits=amounts, requests=dict(amounts)) if amounts else None


# ── safety ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def pod_security(terms: Terms) -> PodSecurityContext:
    """What holds for all that is in a pod."""
    profile = SeccompProfile(type="RuntimeDefault")
    return PodSecurityContext(seccompProfile=profile, runAsNonRoot=True if terms.security == "restricted" else None)


def container_security(terms: Terms) -> SecurityContext:
    """What a container may do."""
    added = None if terms.security == "restricted" else list(CAPABILITIES)
    return SecurityContext(allowPrivilegeEscalation=False, capabilities=Capabilities(drop=["ALL"], add=added))


# ── where it may run ──────────────────────────────────────────────────────────────────────────────────────────────────


def _affinity(spec: WorkerSpec, terms: Terms) -> Affinity | None:
    if not (spec.cuda and spec.gpu_count):
        return None
    chosen = NodeSelector(nodeSelectorTerms=cuda_terms(spec.cuda, terms))
    return Affinity(nodeAffinity=NodeAffinity(requiredDuringSchedulingIgnoredDuringExecution=chosen))


def cuda_terms(cuda: str, terms: Terms) -> list[NodeSelectorTerm]:
    """Nodes whose driver offers the oldest of these versions, or a newer one: the major is greater, or the minor is no less."""
    least = min(_version(one) for one in cuda.removeprefix(">=").split(","))
    newer = NodeSelectorRequirement(key=terms.cuda_major_label, operator="Gt", values=[str(least[0])])
    same = NodeSelectorRequirement(key=terms.cuda_major_label, operator="In", values=[str(least[0])])
    minor = NodeSelectorRequirement(key=terms.cuda_minor_label, operator="Gt", values=[str(least[1] - 1)])
    return [NodeSelectorTerm(matchExpressions=[newer]), NodeSelectorTerm(matchExpressions=[same, minor])]


def _version(text: str) -> tuple[int, int]:
    major, _, minor = text.strip().partition(".")
    return int(major), int(minor)


# ── storage ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def claim_name(volume: str, terms: Terms) -> str:
    """How the claim of a volume is called, by its id: another one of the same name is another."""
    return f"stoker-{terms.installation}-{volume}"


def _claim_of(volume: Volume, terms: Terms) -> str:
    if not volume.id:
        raise InvalidInput(
            f"workers in a cluster may not mount {volume.source}: which node would it be of?",
            code="mount_not_allowed",
            field="volumes",
            next_step="make a volume and mount it by its name",
        )
    return claim_name(volume.id, terms)


def claims_of(spec: WorkerSpec, terms: Terms) -> list[PersistentVolumeClaim]:
    """The claims that its volumes need. Raises `InvalidInput`."""
    claims = {_claim_of(volume, terms): volume for volume in spec.volumes}
    return [_claim(name, volume, spec, terms) for name, volume in claims.items()]


def _claim(name: str, volume: Volume, spec: WorkerSpec, terms: Terms) -> PersistentVolumeClaim:
    labels = {key: value for key, value in labels_of(spec, terms).items() if key not in (WORKER, ENDPOINT)}
    labels[VOLUME] = volume.name
    size = VolumeResourceRequirements(requests={"storage": str(volume.size_bytes)})
    return PersistentVolumeClaim(
        metadata=ObjectMeta(name=name, namespace=namespace_of(spec.team, terms), labels=labels),
        spec=PersistentVolumeClaimSpec(
            accessModes=[terms.access_mode], storageClassName=terms.storage_class or None, resources=size
        ),
    )


def _pod_volumes(spec: WorkerSpec, terms: Terms) -> list[PodVolume]:
    size = spec.shm_bytes or terms.shm_bytes
    shm = PodVolume(name=SHM, emptyDir=EmptyDirVolumeSource(medium="Memory", sizeLimit=str(size)))
    claims = [
        PodVolume(name=f"volume-{number}", persistentVolumeClaim=PersistentVolumeClaimVolumeSource(claimName=name))
        for number, name in enumerate(_claim_names(spec, terms))
    ]
    return [shm, *claims]


def _claim_names(spec: WorkerSpec, terms: Terms) -> list[str]:
    return list(dict.fromkeys(_claim_of(volume, terms) for volume in spec.volumes))


def _mounts(spec: WorkerSpec, terms: Terms) -> list[VolumeMount]:
    """Each volume where it was asked for."""
    names = _claim_names(spec, terms)
    mounts = [
        VolumeMount(
            name=f"volume-{names.index(_claim_of(volume, terms))}",
            mountPath=volume.target,
            readOnly=True if volume.read_only else None,
        )
        for volume in spec.volumes
    ]
    return [VolumeMount(name=SHM, mountPath="/dev/shm"), *mounts]  # nosec B108  # the pod's own memory


# ── secrets ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def pull_secret_name(worker: str) -> str:
    """How the secret for the registry is called."""
    return f"{container_name(worker)}-pull"


def _pull_secrets(spec: WorkerSpec, terms: Terms) -> list[LocalObjectReference]:
    own = [pull_secret_name(spec.worker)] if spec.login else []
    return [LocalObjectReference(name=name) for name in (*own, *terms.pull_secrets)]


def secrets_of(spec: WorkerSpec, terms: Terms) -> list[Secret]:
    """What only the worker may know: its environment, and with what its image is pulled."""
    data = {name: _encoded(value) for name, value in spec.env.items()}
    secrets = [Secret(metadata=_about(container_name(spec.worker), spec, terms), type="Opaque", data=data)]
    if spec.login is not None:
        secrets.append(pull_secret(_about(pull_secret_name(spec.worker), spec, terms), spec.login))
    return secrets


def _about(name: str, spec: WorkerSpec, terms: Terms) -> ObjectMeta:
    return ObjectMeta(name=name, namespace=namespace_of(spec.team, terms), labels=labels_of(spec, terms))


def pull_secret(about: ObjectMeta, login: Login) -> Secret:
    """With what a registry lets somebody pull."""
    content = {".dockerconfigjson": _encoded(_login(login))}
    return Secret(metadata=about, type="kubernetes.io/dockerconfigjson", data=content)


def _login(login: Login) -> str:
    server = _HUB_NAME if login.registry in ("", DOCKER_HUB) else login.registry
    auth = _encoded(f"{login.username}:{login.password}")
    return json.dumps({"auths": {server: {"username": login.username, "password": login.password, "auth": auth}}})


def _encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()
