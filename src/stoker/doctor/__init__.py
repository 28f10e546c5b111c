"""What may keep a server from running workers, and how to mend it.

`examine` looks at everything that `stoker serve` would use, with the same settings, and changes nothing. Called by
`stoker doctor`.

    machine   GPUs, disk, port        engine   the Docker engine        cluster   the Kubernetes cluster
"""

from __future__ import annotations

from collections.abc import Sequence

from stoker.config import Settings
from stoker.doctor.finding import Finding
from stoker.doctor.machine import disk_finding, existing, gpu_finding, port_finding
from stoker.runtimes import gpus


def examine(settings: Settings) -> Sequence[Finding]:
    """All findings. Blocks for a few seconds at most."""
    own = [disk_finding("data directory", existing(settings.data_dir)), port_finding(settings.host, settings.port)]
    if settings.runtime == "kubernetes":
        from stoker.doctor.cluster import cluster_findings  # it knows all objects of a cluster: 9 MiB

        return [*cluster_findings(settings), *own]
    from stoker.doctor.engine import engine_findings

    capacity = gpus.read_capacity()
    return [*engine_findings(settings, capacity), gpu_finding(capacity), *own]


__all__ = ["Finding", "examine"]
