"""What the engine is told to run for a worker. Pure: from a launch order and the house rules to the API's words.

Safe by default (`docs/decisions/0006-docker.md` has the reasons): no new privileges, few capabilities, bounded processes and logs,
a network of the endpoint alone, and nothing of the host but what the release mounts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from stoker.runtimes import Volume, WorkerSpec
from stoker.runtimes.container import CAPABILITIES, ENDPOINT, INSTALLATION, WORKER, split_words
from stoker.volume import MOUNT_PATH, MountTerms

DISK: Final = "stoker.disk_bytes"
"""What a container may write, where the engine cannot keep it to that: `disk` looks."""
HOST: Final = "host.docker.internal"
"""The name under which containers reach the machine that they run on."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Terms:
    """What holds for every worker of this installation. 0 means no limit."""

    installation: str
    log_bytes_max: int = 4 * 1024 * 1024
    pids_max: int = 4_096
    shm_bytes: int = 1024**3
    memory_bytes: int = 0
    cpus: float = 0.0
    disk_bytes: int = 0
    block_metadata: Literal["auto", "always", "never"] = "auto"
    """Whether workers are kept from the metadata of their machine; `auto`: where that can be done."""
    mounts: MountTerms = field(default_factory=MountTerms)
    """Which directories of the machine releases may mount."""


def container_config(spec: WorkerSpec, terms: Terms, *, network: str, enforce_disk: bool) -> dict[str, Any]:
    """The body of the engine's create call. Raises `InvalidInput` for a command that no shell could split."""
    config: dict[str, Any] = {
        "Image": spec.image,
        "Hostname": spec.worker[:63],
        "Env": [f"{name}={value}" for name, value in _environment(spec).items()],
        "Labels": _labels(spec, terms, enforce_disk=enforce_disk),
        "HostConfig": _host_config(spec, terms, network, enforce_disk=enforce_disk),
    }
    if spec.command:
        config["Cmd"] = split_words("command", spec.command)
    if spec.entrypoint:
        config["Entrypoint"] = split_words("entrypoint", spec.entrypoint)
    if spec.http_port:
        config["ExposedPorts"] = {f"{spec.http_port}/tcp": {}}
    return config


def _labels(spec: WorkerSpec, terms: Terms, *, enforce_disk: bool) -> dict[str, str]:
    labels = {INSTALLATION: terms.installation, WORKER: spec.worker, ENDPOINT: spec.endpoint}
    watched = 0 if enforce_disk else spec.disk_bytes or terms.disk_bytes
    return labels | ({DISK: str(watched)} if watched else {})


def _environment(spec: WorkerSpec) -> Mapping[str, str]:
    """The worker's own, and which GPUs it may see: images made for them see all where nobody says otherwise."""
    return {**spec.env, "NVIDIA_VISIBLE_DEVICES": ",".join(spec.gpus) or "void"}


def _host_config(spec: WorkerSpec, terms: Terms, network: str, *, enforce_disk: bool) -> dict[str, Any]:
    config: dict[str, Any] = {
        "Init": True,  # the first process passes signals on and buries orphans, whatever the image runs
        "NetworkMode": network,
        "ExtraHosts": [f"{HOST}:host-gateway"],
        "RestartPolicy": {"Name": "no"},  # a fresh file system for every start (protocol §14.4)
        "SecurityOpt": ["no-new-privileges"],
        "CapDrop": ["ALL"],
        "CapAdd": list(CAPABILITIES),
        "PidsLimit": terms.pids_max,
        "ShmSize": spec.shm_bytes or terms.shm_bytes,
        "LogConfig": _logs(terms.log_bytes_max),
    }
    if memory_bytes := spec.memory_bytes or terms.memory_bytes:
        config |= {"Memory": memory_bytes, "MemorySwap": memory_bytes}
    if cpus := spec.cpus or terms.cpus:
        config["NanoCpus"] = round(cpus * 1_000_000_000)
    if enforce_disk and (disk_bytes := spec.disk_bytes or terms.disk_bytes):
        config["StorageOpt"] = {"size": str(disk_bytes)}
    if spec.gpus:
        config["DeviceRequests"] = [{"DeviceIDs": list(spec.gpus), "Capabilities": [["gpu"]]}]
    if spec.volumes:
        config["Mounts"] = mounts(spec.volumes)
    if spec.http_port:
        config["PortBindings"] = {f"{spec.http_port}/tcp": [{"HostIp": "127.0.0.1", "HostPort": ""}]}
    return config


def published(shown: Mapping[str, Any]) -> str:
    """`HOST:PORT` of the one port that is published of a container, as the engine shows it; empty when none is."""
    ports = shown.get("NetworkSettings", {}).get("Ports") or {}
    bindings = [binding for found in ports.values() for binding in found or () if binding.get("HostPort")]
    return f"{bindings[0]['HostIp']}:{bindings[0]['HostPort']}" if bindings else ""


def _logs(bytes_max: int) -> dict[str, Any]:
    """Two files of half the size: the oldest half goes first."""
    return {"Type": "json-file", "Config": {"max-size": str(bytes_max // 2), "max-file": "2"}}


def mounts(volumes: Sequence[Volume]) -> list[dict[str, Any]]:
    """Each volume where it was asked for; the first one also where Runpod's workers look, if nothing else is there."""
    places = [(volume, volume.target) for volume in volumes]
    if MOUNT_PATH not in (target for _, target in places):
        places.append((volumes[0], MOUNT_PATH))
    return [
        {"Type": "bind", "Source": volume.source, "Target": target, "ReadOnly": volume.read_only}
        for volume, target in places
    ]
