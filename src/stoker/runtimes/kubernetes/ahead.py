"""What a cluster is told to fetch ahead of workers, and how far it is. Pure.

A daemon set puts one pod on each node that workers may run on; the cluster's own controller knows which nodes these are, so that we need no right
to look at nodes. The pod names the image and a program that no image has: its node fetches the image, cannot start the pod, and nothing of
the image ever runs. When all nodes have it the set is removed, and its pods with it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from lightkube.models.apps_v1 import DaemonSetSpec
from lightkube.models.core_v1 import (
    Affinity,
    Container,
    LocalObjectReference,
    NodeAffinity,
    NodeSelector,
    NodeSelectorRequirement,
    NodeSelectorTerm,
    PodSpec,
    PodTemplateSpec,
    ResourceRequirements,
)
from lightkube.models.meta_v1 import LabelSelector, ObjectMeta
from lightkube.resources.apps_v1 import DaemonSet
from lightkube.resources.core_v1 import Pod, Secret

from stoker.runtimes import Login
from stoker.runtimes.container import INSTALLATION
from stoker.runtimes.kubernetes.condition import PULL_FAILED, container_of, image_of, node_of
from stoker.runtimes.kubernetes.pod import MANAGER, container_security, pod_security, pull_secret
from stoker.runtimes.kubernetes.terms import Terms
from stoker.runtimes.reference import is_pinned

FETCH: Final = "stoker.fetch"
"""The label of pods that only fetch an image: the name of their set."""
NO_PROGRAM: Final = "/stoker/fetches/only"
_FETCHED: Final = frozenset(
    {
        "CrashLoopBackOff",
        "CreateContainerConfigError",
        "CreateContainerError",
        "RunContainerError",
    }
)
"""What a pod waits for once its image is there."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Far:
    """How far it is: on how many of how many nodes, and where it went wrong."""

    nodes: int
    have: int
    digest: str = ""
    """The name of the bytes, if all of these nodes have the same."""
    failed: Pod | None = None
    text: str = ""
    """What its node says of the pod that failed."""
    waits: str = ""
    """One of the nodes that do not have it."""

    @property
    def words(self) -> str:
        """In words."""
        return f"{self.have} of {self.nodes} nodes have it" if self.nodes else "the cluster looks for nodes"


def set_name(image: str, terms: Terms) -> str:
    """How the set is called that fetches an image."""
    return f"stoker-{terms.installation}-fetch-{hashlib.sha256(image.encode()).hexdigest()[:16]}"


def set_of(image: str, login: Login | None, terms: Terms) -> DaemonSet:
    """The set."""
    name = set_name(image, terms)
    labels = {**MANAGER, INSTALLATION: terms.installation, FETCH: name}
    secrets = [name] if login is not None else []
    return DaemonSet(
        metadata=ObjectMeta(name=name, namespace=terms.namespace, labels=labels),
        spec=DaemonSetSpec(
            selector=LabelSelector(matchLabels={FETCH: name}),
            template=PodTemplateSpec(
                metadata=ObjectMeta(labels=labels),
                spec=PodSpec(
                    containers=[_container(image, terms)],
                    terminationGracePeriodSeconds=0,
                    enableServiceLinks=False,
                    automountServiceAccountToken=False,
                    serviceAccountName=terms.service_account or None,
                    securityContext=pod_security(terms),
                    imagePullSecrets=[LocalObjectReference(name=one) for one in (*secrets, *terms.pull_secrets)]
                    or None,
                    nodeSelector=dict(terms.node_labels) or None,
                    affinity=_affinity(terms),
                    tolerations=list(terms.tolerations) or None,
                ),
            ),
        ),
    )


def set_secrets(image: str, login: Login | None, terms: Terms) -> list[Secret]:
    """With what it is fetched."""
    if login is None:
        return []
    labels = {**MANAGER, INSTALLATION: terms.installation}
    about = ObjectMeta(name=set_name(image, terms), namespace=terms.namespace, labels=labels)
    return [pull_secret(about, login)]


def _container(image: str, terms: Terms) -> Container:
    little = {"cpu": "1m", "memory": "16Mi"}  # a quota may demand that something is said
    return Container(
        name="fetch",
        image=image,
        imagePullPolicy="Always" if terms.always_pull and not is_pinned(image) else "IfNotPresent",
        command=[NO_PROGRAM],
        resources=ResourceRequirements(limits=little, requests=dict(little)),
        securityContext=container_security(terms),
    )


def _affinity(terms: Terms) -> Affinity | None:
    """Nodes of any of the declared kinds."""
    if not terms.places:
        return None
    chosen = [
        NodeSelectorTerm(
            matchExpressions=[
                NodeSelectorRequirement(key=key, operator="In", values=[value]) for key, value in sorted(place.items())
            ]
        )
        for place in terms.places
    ]
    return Affinity(
        nodeAffinity=NodeAffinity(requiredDuringSchedulingIgnoredDuringExecution=NodeSelector(nodeSelectorTerms=chosen))
    )


def far(daemons: DaemonSet, pods: Sequence[Pod]) -> Far:
    """How far it is. No nodes are counted before the cluster has looked at the set."""
    status, about = daemons.status, daemons.metadata
    if status is None or about is None or (status.observedGeneration or 0) < (about.generation or 1):
        return Far(nodes=0, have=0)
    pods = [one for one in pods if _is_of(one, about)]  # those of a set that was removed may still be there
    there = [one for one in pods if _has_it(one)]
    names = {image_of(one) for one in there}
    failed = next((one for one in pods if _trouble(one)), None)
    return Far(
        nodes=status.desiredNumberScheduled,
        have=len(there),
        digest=names.pop() if len(names) == 1 else "",
        failed=failed,
        text=_trouble(failed) if failed is not None else "",
        waits=next((node_of(one) for one in pods if not _has_it(one) and node_of(one)), ""),
    )


def _is_of(pod: Pod, daemons: ObjectMeta) -> bool:
    owners = (pod.metadata.ownerReferences if pod.metadata is not None else None) or ()
    return any(one.uid == daemons.uid for one in owners)


def _has_it(pod: Pod) -> bool:
    container = container_of(pod)
    if container is None or container.state is None:
        return False
    waiting = container.state.waiting
    return bool(container.imageID) or (waiting is not None and waiting.reason in _FETCHED)


def _trouble(pod: Pod) -> str:
    container = container_of(pod)
    waiting = container.state.waiting if container is not None and container.state is not None else None
    if waiting is None or waiting.reason not in PULL_FAILED:
        return ""
    return waiting.message or waiting.reason or ""
