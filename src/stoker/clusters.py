"""A server whose workers are pods of a Kubernetes cluster: its runtime, and how they reach it.

Called by `hosting.py` and `doctor/`, and imported only where a cluster is asked for.
"""

from __future__ import annotations

from collections.abc import Mapping

import structlog

from stoker.clock import Clock
from stoker.config import Settings
from stoker.errors import InvalidInput
from stoker.installation import installation_of
from stoker.runtimes import Nudge
from stoker.runtimes.kubernetes import Access, Api, KubernetesRuntime, Terms
from stoker.runtimes.kubernetes.terms import read_labels, read_tolerations

log = structlog.get_logger()

GIB = 1024**3


def runtime(settings: Settings, clock: Clock, nudge: Nudge) -> KubernetesRuntime:
    """The runtime that the settings describe. Blocks, for files. Raises `InvalidInput`."""
    check_reach(settings)
    api = api_of(settings)
    return KubernetesRuntime(api, clock, nudge=nudge, terms=terms_of(settings, api.namespace))


def api_of(settings: Settings) -> Api:
    """The cluster that the settings name. Blocks. Raises `InvalidInput`."""
    return Api.open(Access(file=settings.kubernetes_config, context=settings.kubernetes_context))


def terms_of(settings: Settings, namespace: str) -> Terms:
    """What the settings say of pods; `namespace` is where we are. Raises `InvalidInput`."""
    return Terms(
        installation=installation_of(settings),
        namespace=settings.kubernetes_namespace or namespace,
        by_team=settings.kubernetes_namespace_per_team,
        gpu_resource=settings.kubernetes_gpu_resource,
        cuda_major_label=f"{settings.kubernetes_cuda_label}.major",
        cuda_minor_label=f"{settings.kubernetes_cuda_label}.minor",
        node_labels=read_labels(settings.kubernetes_node_labels),
        places=places_of(settings),
        tolerations=tuple(read_tolerations(settings.kubernetes_tolerations)),
        priority_class=settings.kubernetes_priority_class,
        runtime_class=settings.kubernetes_runtime_class,
        service_account=settings.kubernetes_service_account,
        pull_secrets=tuple(name.strip() for name in settings.kubernetes_pull_secrets.split(",") if name.strip()),
        always_pull=settings.kubernetes_always_pull,
        security=settings.kubernetes_security,
        network_policy=settings.kubernetes_network_policy,
        grace_s=settings.kubernetes_grace_s,
        prepare_s=settings.kubernetes_prepare_s,
        log_bytes_max=settings.worker_log_bytes_max,
        shm_bytes=int(settings.worker_shm_gb * GIB),
        memory_bytes=int(settings.worker_memory_gb * GIB),
        cpus=settings.worker_cpus,
        disk_bytes=int(settings.worker_disk_gb * GIB),
        storage_class=settings.kubernetes_storage_class,
        access_mode=settings.kubernetes_access_mode,
    )


def places_of(settings: Settings) -> tuple[Mapping[str, str], ...]:
    """The labels of each kind of nodes; none where some kind may be on any node."""
    declared = tuple(one.node_selector for one in settings.specifications)
    return declared if all(declared) else ()


def check_reach(settings: Settings) -> None:
    """Raise `InvalidInput` where pods cannot know how to reach the server."""
    if settings.worker_url or not (settings.workers_on_loopback or settings.worker_host in ("0.0.0.0", "::")):
        return
    raise InvalidInput(
        f"pods do not know how to reach a server that listens on {settings.worker_host}",
        code="no_worker_url",
        field="worker_url",
        next_step="say it: STOKER_WORKER_URL=http://NAME:PORT, the name of a service or an address that pods can reach",
    )


__all__ = ["api_of", "check_reach", "runtime", "terms_of"]
