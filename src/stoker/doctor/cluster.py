"""Whether a Kubernetes cluster is there, lets the server do what it has to, and takes pods of workers."""

from __future__ import annotations

import asyncio
import re
from typing import Final, Literal
from urllib.parse import urlsplit

from stoker import clusters
from stoker.amounts import counted
from stoker.config import Settings
from stoker.doctor.finding import Finding
from stoker.errors import InvalidInput, Unavailable
from stoker.ids import WorkerId
from stoker.runtimes import WorkerSpec
from stoker.runtimes.kubernetes import Api, Refusal, Terms
from stoker.runtimes.kubernetes.api import Node, StorageClass
from stoker.runtimes.kubernetes.pod import pod_of
from stoker.runtimes.kubernetes.rights import Right, rights_of

CLUSTER_LEAST: Final = (1, 20)
"""The oldest that is tested."""
DEFAULT_CLASS: Final = "storageclass.kubernetes.io/is-default-class"
KEEPERS: Final = {
    "crd.projectcalico.org": "Calico",
    "cilium.io": "Cilium",
    "crd.antrea.io": "Antrea",
    "k8s.ovn.org": "OVN-Kubernetes",
    "network.openshift.io": "OpenShift",
    "kubeovn.io": "Kube-OVN",
}
"""Network plugins that keep policies and bring kinds of objects of their own. Others keep them without a sign that everybody may see."""
_FORBIDDEN: Final = 403
LOOPBACK: Final = ("localhost", "127.0.0.1", "::1", "0.0.0.0")


def cluster_findings(settings: Settings) -> list[Finding]:
    """What is to be said of the cluster that the settings name. Blocks."""
    try:
        api = clusters.api_of(settings)
        terms = clusters.terms_of(settings, api.namespace)
    except InvalidInput as error:
        return [Finding(subject="cluster", verdict="wrong", text=error.message, fix=error.next_step or "")]
    return [*asyncio.run(_look(api, settings, terms)), worker_url_finding(settings)]


async def _look(api: Api, settings: Settings, terms: Terms) -> list[Finding]:
    try:
        found = [version_finding(await api.version(), api.host)]
        if found[0].verdict == "wrong":
            return found
        allowed = await _rights(api, terms)
        found += right_findings(allowed, terms)
        if all(allowed.values()):
            found.append(await _pod_finding(api, terms))
        found.append(await _storage_finding(api, settings.kubernetes_storage_class))
        found.append(await _node_finding(api, terms))
        if terms.network_policy:
            found.append(policy_finding(await api.groups()))
        return found
    except Unavailable as error:
        return [Finding(subject="cluster", verdict="wrong", text=error.message, fix=error.next_step or "")]
    except Refusal as refusal:
        return [
            Finding(
                subject="cluster", verdict="wrong", text=f"it refuses: {refusal.message}", fix="look at the account"
            )
        ]
    finally:
        await api.close()


def version_finding(version: str, host: str) -> Finding:
    """Whether the cluster is new enough."""
    numbers = tuple(int(part) for part in re.findall(r"\d+", version)[:2])
    if numbers < CLUSTER_LEAST:
        text = f"{host} runs {version}, which is too old"
        return Finding(subject="cluster", verdict="wrong", text=text, fix="upgrade it to 1.20 or newer")
    return Finding(subject="cluster", verdict="ok", text=f"{host} runs {version}")


# ── what we may do ────────────────────────────────────────────────────────────────────────────────────────────────────


async def _rights(api: Api, terms: Terms) -> dict[Right, bool]:
    """Whether we have each right that the runtime needs."""
    wanted = rights_of(by_team=terms.by_team)
    answers = await asyncio.gather(*(api.may(right, "" if terms.by_team else terms.namespace) for right in wanted))
    return dict(zip(wanted, answers, strict=True))


def right_findings(allowed: dict[Right, bool], terms: Terms) -> list[Finding]:
    """What the account may not do, by kind of object, and how it is allowed to."""
    where = "all namespaces" if terms.by_team else f"namespace {terms.namespace}"
    lacking: dict[str, list[str]] = {}
    for right, has in allowed.items():
        if not has:
            lacking.setdefault(right.resource, []).append(right.verb)
    if not lacking:
        return [Finding(subject="account", verdict="ok", text=f"it may do all that it has to in {where}")]
    return [
        Finding(
            subject="account",
            verdict="wrong",
            text=f"it may not {', '.join(verbs)} {resource} in {where}",
            fix=role_command(resource, verbs, terms),
        )
        for resource, verbs in lacking.items()
    ]


def role_command(resource: str, verbs: list[str], terms: Terms) -> str:
    """How who runs the cluster allows it."""
    kind, place = ("clusterrole", "") if terms.by_team else ("role", f" -n {terms.namespace}")
    name = f"stoker-{resource.replace('/', '-')}"
    make = f"kubectl create {kind} {name}{place} --verb={','.join(verbs)} --resource={resource}"
    return f"{make}; then bind it to the account: kubectl create {kind}binding. The Helm chart does both"


async def _pod_finding(api: Api, terms: Terms) -> Finding:
    """Whether a worker's pod would be taken, as far as can be told without one: nothing is created."""
    pod = pod_of(WorkerSpec(worker=WorkerId("doctor"), image="stoker.example/doctor:1"), terms)
    try:
        await api.try_pod(pod, terms.namespace)
    except Refusal as refusal:
        fix = (
            f"kubectl create namespace {terms.namespace}" if "namespaces" in refusal.message else "change what it names"
        )
        return Finding(
            subject="workers", verdict="wrong", text=f"the cluster takes no pod of a worker: {refusal.message}", fix=fix
        )
    return Finding(subject="workers", verdict="ok", text=f"pods are taken in namespace {terms.namespace}")


# ── what there is ─────────────────────────────────────────────────────────────────────────────────────────────────────


async def _storage_finding(api: Api, name: str) -> Finding:
    try:
        return storage_finding(await api.storage_classes(), name)
    except Refusal as refusal:
        return _unseen("volumes", "kubectl get storageclasses", refusal)


def storage_finding(classes: list[StorageClass], name: str) -> Finding:
    """Whether volumes can get storage."""
    names = {str(one.metadata.name): one for one in classes if one.metadata is not None}
    if name:
        found = [name] if name in names else []
    else:
        found = [
            key
            for key, one in names.items()
            if ((one.metadata and one.metadata.annotations) or {}).get(DEFAULT_CLASS) == "true"
        ]
    if found:
        return Finding(subject="volumes", verdict="ok", text=f"storage class {found[0]}")
    known = f"there are: {', '.join(sorted(names))}" if names else "there is none"
    text = f"there is no storage class {name}" if name else "the cluster has no storage class for those who name none"
    verdict: Literal["wrong", "note"] = "wrong" if name else "note"
    return Finding(
        subject="volumes",
        verdict=verdict,
        text=f"{text} ({known}): volumes stay unbound",
        fix="set kubernetes_storage_class",
    )


async def _node_finding(api: Api, terms: Terms) -> Finding:
    try:
        return node_finding(await api.nodes(dict(terms.node_labels)), terms)
    except Refusal as refusal:
        return _unseen("GPUs", "kubectl describe nodes", refusal)


def node_finding(nodes: list[Node], terms: Terms) -> Finding:
    """Whether there are nodes for workers, and GPUs on them. An autoscaler may bring some, so none is no fault."""
    offered = [int(((one.status and one.status.allocatable) or {}).get(terms.gpu_resource, "0")) for one in nodes]
    if not nodes:
        labels = ", ".join(f"{key}={value}" for key, value in terms.node_labels.items())
        text = f"no node has the labels {labels}" if labels else "there is no node"
        return Finding(subject="GPUs", verdict="note", text=text, fix="label nodes, or let an autoscaler bring them")
    text = f"{sum(offered)} {terms.gpu_resource} on {sum(map(bool, offered))} of {counted(len(nodes), 'node')}"
    if sum(offered):
        return Finding(subject="GPUs", verdict="ok", text=text)
    return Finding(
        subject="GPUs",
        verdict="note",
        text=text,
        fix="install the device plugin of the GPUs' vendor, or name their resource: kubernetes_gpu_resource",
    )


def policy_finding(groups: set[str]) -> Finding:
    """Whether a network plugin is there that is known to keep policies, by the kinds of objects that it brings."""
    subject = "network policy"
    found = sorted({name for group, name in KEEPERS.items() if group in groups})
    if found:
        return Finding(
            subject=subject, verdict="ok", text=f"{', '.join(found)} is there, which keeps workers from each other"
        )
    return Finding(
        subject=subject,
        verdict="note",
        text="no network plugin shows itself that is known to keep policies: workers may meet each other, and the metadata address",
        fix="see whether it is kept: docs/how-to/kubernetes.md, Safety",
    )


def _unseen(subject: str, command: str, refusal: Refusal) -> Finding:
    """The servers' account need not see it."""
    why = "the account may not look" if refusal.status == _FORBIDDEN else refusal.message
    return Finding(subject=subject, verdict="note", text=f"not looked at: {why}", fix=f"as who may: {command}")


def worker_url_finding(settings: Settings) -> Finding:
    """Whether pods could reach the server, as far as its URL tells."""
    subject = "worker_url"
    try:
        clusters.check_reach(settings)
    except InvalidInput as error:
        return Finding(subject=subject, verdict="wrong", text=error.message, fix=error.next_step or "")
    if urlsplit(settings.worker_url).hostname in LOOPBACK:
        text = f"{settings.worker_url} is each pod itself"
        return Finding(subject=subject, verdict="wrong", text=text, fix="name a service, or an address that pods reach")
    return Finding(subject=subject, verdict="ok", text=settings.worker_url or f"http://{settings.host}:{settings.port}")
