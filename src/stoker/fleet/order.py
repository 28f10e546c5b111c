"""The order to launch a worker: what the runtime is told, and what the worker's environment is (protocol §2, §3). Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from stoker.endpoint import Release
from stoker.fleet.terms import FleetTerms
from stoker.runtimes import Volume, WorkerSpec
from stoker.specification import Specification
from stoker.volume import Mount, variable
from stoker.worker import Worker


def worker_spec(
    worker: Worker,
    release: Release,
    env: Mapping[str, str],
    place: Specification | None = None,
    volumes: Sequence[Volume] = (),
) -> WorkerSpec:
    """The order to launch the worker in a place of that specification, if it is known. `volumes` are those of the release, where
    they are on the machine."""
    return WorkerSpec(
        worker=worker.id,
        endpoint=worker.endpoint,
        team=worker.team,
        image=release.image,
        command=release.command,
        entrypoint=release.entrypoint,
        env=env,
        gpus=worker.gpus,
        gpu_count=release.gpus_per_worker,
        specification=worker.specification,
        node_selector={} if place is None else place.node_selector,
        cpus=0.0 if place is None else place.cpus_of(release.gpus_per_worker),
        memory_bytes=worker.memory_bytes,
        cuda=release.cuda,
        volumes=volumes,
        http_port=release.http_port,
        disk_bytes=release.disk_gb * 1024**3,
    )


def worker_environment(
    worker: Worker,
    token: str,
    terms: FleetTerms,
    user: Mapping[str, str],
    mounts: Sequence[Mount] = (),
    *,
    gpus: int = 0,
    http_port: int = 0,
) -> dict[str, str]:
    """The user's environment, what the worker protocol needs (protocol §2, §3): four URLs, the ids, the credential; and where
    volumes are seen and where its own HTTP server is to listen.

    The log level and the SDK's checks of the machine are defaults that the user may override; the rest is ours. The worker id is
    filled in already and only `$ID`, the job, is left; the token rides in the query, because an image may replace the header with
    a key of its own (§2.1).
    """
    base = f"{terms.worker_url}/worker"
    urls = {
        "WEBHOOK_GET_JOB": f"{base}/job-take/{worker.id}?t={token}",
        "WEBHOOK_POST_OUTPUT": f"{base}/job-done/{worker.id}/$ID?t={token}",
        "WEBHOOK_POST_STREAM": f"{base}/job-stream/{worker.id}/$ID?t={token}",
        "WEBHOOK_PING": f"{base}/ping/{worker.id}?t={token}",
    }
    names = urls | {
        "POD_ID": worker.id,
        "POD_HOSTNAME": worker.id,
        "ENDPOINT_ID": worker.endpoint,
        "AI_API_KEY": token,
        "PING_INTERVAL": str(terms.ping_interval_ms),
    }
    ours = {f"{vendor}_{name}": value for vendor in ("RUNPOD", "NOVITA") for name, value in names.items()}
    defaults = {"RUNPOD_DEBUG_LEVEL": "INFO", "RUNPOD_GPU_COUNT": str(gpus)}
    if terms.skip_system_checks:
        defaults["RUNPOD_SKIP_AUTO_SYSTEM_CHECKS"] = "true"
    if http_port:
        defaults |= {"PORT": str(http_port), "PORT_HEALTH": str(http_port)}
    volumes = {variable(mount.source): mount.path for mount in mounts if not mount.of_machine}
    return defaults | dict(user) | volumes | ours
