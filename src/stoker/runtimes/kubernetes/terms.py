"""What holds for every worker of an installation in a cluster. Pure: how the settings write it, and what it is."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

from lightkube.models.core_v1 import Toleration

from stoker.errors import InvalidInput

EFFECTS: Final = ("NoSchedule", "PreferNoSchedule", "NoExecute")
_LABEL: Final = re.compile(r"([A-Za-z0-9]([A-Za-z0-9./_-]*[A-Za-z0-9])?)=([A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?)?")
_TOLERATION: Final = re.compile(r"(?P<key>[A-Za-z0-9./_-]+)(=(?P<value>[A-Za-z0-9._-]+))?(:(?P<effect>[A-Za-z]+))?")


@dataclass(frozen=True, kw_only=True, slots=True)
class Terms:
    """House rules. Empty and 0 mean: as the cluster has it."""

    installation: str
    namespace: str = "default"
    by_team: bool = False
    """Whether each team has a namespace of its own, `NAMESPACE-TEAM`."""
    gpu_resource: str = "nvidia.com/gpu"
    cuda_major_label: str = "nvidia.com/cuda.runtime.major"
    cuda_minor_label: str = "nvidia.com/cuda.runtime.minor"
    node_labels: Mapping[str, str] = field(default_factory=dict)
    """Workers run on nodes with all of these labels only."""
    places: Sequence[Mapping[str, str]] = ()
    """The labels of each kind of nodes that was declared: images are fetched ahead onto nodes of these. Empty: onto all."""
    tolerations: Sequence[Toleration] = ()
    priority_class: str = ""
    runtime_class: str = ""
    service_account: str = ""
    pull_secrets: Sequence[str] = ()
    """Secrets of the namespace by which images may be pulled, besides the endpoint's own credential."""
    always_pull: bool = True
    """Whether the registry is asked at each start of an image without a digest."""
    security: Literal["baseline", "restricted"] = "baseline"
    network_policy: bool = True
    grace_s: float = 30.0
    """How long a worker may go on that somebody else ends, as when its node is emptied."""
    prepare_s: float = 1_800.0
    """How long a node may fetch the image and create the container before another is tried."""
    log_bytes_max: int = 4 * 1024 * 1024
    shm_bytes: int = 1024**3
    memory_bytes: int = 0
    cpus: float = 0.0
    disk_bytes: int = 0
    storage_class: str = ""
    access_mode: str = "ReadWriteMany"


def read_labels(text: str) -> dict[str, str]:
    """`KEY=VALUE, KEY=VALUE`. Raises `InvalidInput`."""
    labels: dict[str, str] = {}
    for part in _parts(text):
        found = _LABEL.fullmatch(part)
        if found is None:
            raise InvalidInput(
                f"'{part[:100]}' is no label of a node",
                code="invalid_setting",
                field="kubernetes_node_labels",
                next_step="write KEY=VALUE, several with commas between them",
            )
        labels[found[1]] = found[3] or ""
    return labels


def read_tolerations(text: str) -> list[Toleration]:
    """`KEY[=VALUE][:EFFECT], ...`, as `kubectl taint` writes taints. Raises `InvalidInput`."""
    tolerations = []
    for part in _parts(text):
        found = _TOLERATION.fullmatch(part)
        if found is None or (found["effect"] and found["effect"] not in EFFECTS):
            raise InvalidInput(
                f"'{part[:100]}' is no toleration",
                code="invalid_setting",
                field="kubernetes_tolerations",
                next_step=f"write KEY[=VALUE][:EFFECT], with an effect of {', '.join(EFFECTS)}",
            )
        how = "Equal" if found["value"] else "Exists"
        tolerations.append(
            Toleration(key=found["key"], operator=how, value=found["value"] or None, effect=found["effect"] or None)
        )
    return tolerations


def _parts(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]
