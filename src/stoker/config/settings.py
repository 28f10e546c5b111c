"""Each setting: its name, its default, its bounds and what it means."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, SecretStr

from stoker.config.fields import AbsolutePath, Address, DatabaseUrl, Networks, OptionalPath
from stoker.config.specifications import DeclaredSpecifications
from stoker.hosts import is_loopback
from stoker.specification import Specification
from stoker.volume import MountTerms

SHOWN_TO_TEAMS = frozenset(
    (
        "audit_kept_days",
        "audit_kept_max",
        "cancel_grace_s",
        "events_kept_max",
        "gone_workers_kept_s",
        "hold_s",
        "input_bytes_max",
        "jobs_kept_max",
        "lease_s",
        "output_bytes_max",
        "part_bytes_max",
        "ping_interval_ms",
        "public_url",
        "queued_max",
        "rate_factor",
        "retention_s",
        "session_s",
        "start_timeout_s",
        "stop_grace_s",
        "upload_stall_s",
        "uploads_per_key_max",
        "usage_kept_days",
        "usage_kept_max",
        "volume_price_per_gib_hour",
        "webhook_give_up_s",
        "webhook_timeout_s",
        "worker_failures_max",
        "worker_log_bytes_max",
        "worker_system_checks",
    )
)
"""Settings that every team's admins may see: what their own jobs, workers and bills come up against. The others are about the machine, its
network and all teams together, and are the operator's; so is a new one, until it is named here."""


class Origin(StrEnum):
    """Where the value of a setting came from."""

    COMMAND_LINE = "command_line"
    ENVIRONMENT = "environment"
    FILE = "file"
    DEFAULT = "default"


class Settings(BaseModel):
    """Everything the server can be told."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    _origins: dict[str, Origin] = PrivateAttr(default_factory=dict)

    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: int = Field(8700, ge=0, le=65535, description="Port to listen on; 0 takes a free one.")
    data_dir: AbsolutePath = Field(
        Path("stoker-data"), description="Where the database, worker directories and logs live."
    )
    database: DatabaseUrl = Field(
        None,
        description="Where the database is: `postgresql://USER:PASSWORD@HOST:PORT/NAME`; empty: a SQLite file in the data "
        "directory. Shown nowhere.",
    )
    database_connect_s: float = Field(
        3.0, gt=0, description="How long one attempt to connect to PostgreSQL may take, in seconds."
    )
    database_statement_s: float = Field(
        15.0, gt=0, description="How long one statement may take in PostgreSQL, in seconds."
    )
    database_listen: bool = Field(
        True,
        description="Whether servers on one PostgreSQL database wake each other by LISTEN and NOTIFY. Without it, as behind a "
        "pooler that cannot, they find each other's jobs and changes by looking every few seconds.",
    )
    processes: int = Field(
        1,
        ge=1,
        le=64,
        description="How many servers `stoker serve` runs on the port, each a process of its own; more than one need a "
        "PostgreSQL database.",
    )
    tls_certificate: OptionalPath = Field(
        None,
        description="The PEM file with the server's certificate, and those that vouch for it: then the server speaks HTTPS. A renewed file "
        "is taken within 10 s, or at SIGHUP. Empty: it speaks HTTP.",
    )
    tls_key: OptionalPath = Field(
        None, description="The PEM file with the key of that certificate, without a passphrase."
    )
    worker_listen: Address = Field(
        "",
        description="Where the server also listens for workers, without TLS and for nothing but their calls, as `ADDRESS:PORT`; empty: "
        "workers come where clients do. With TLS it is needed, or a `worker_url` whose certificate workers trust.",
    )
    worker_url: str = Field(
        "",
        description="URL under which workers reach this server; empty: derived from `worker_listen`, else from host and port.",
    )
    public_url: str = Field(
        "", description="URL that answers show to clients, as seen through a proxy; empty: derived from host and port."
    )
    runtime: Literal["auto", "docker", "kubernetes", "process", "none"] = Field(
        "auto",
        description="What runs workers. `docker` runs containers, `kubernetes` pods of a cluster; `process` runs commands as the server's user. `auto` is `docker` "
        "when an engine answers, else `process` if the server listens on a loopback address; `none` starts no workers.",
    )
    docker_host: str = Field(
        "",
        description="The Docker engine, as `unix:///path` or `tcp://host:port`; empty: the variable `DOCKER_HOST`, else "
        "`unix:///var/run/docker.sock`.",
    )
    installation: Annotated[str, Field(pattern="^[a-z0-9-]{0,32}$")] = Field(
        "",
        description="The label by which containers and pods are known as this server's, small letters and digits. Servers that "
        "share an engine or a cluster, and a database, share it. Empty: made at the first start and kept in the data directory.",
    )
    kubernetes_config: str = Field(
        "",
        description="The kubeconfig file of the cluster; empty: the account of the pod that the server runs in, else `KUBECONFIG`, "
        "else `~/.kube/config`.",
    )
    kubernetes_context: str = Field("", description="The context of that file; empty: its current one.")
    kubernetes_namespace: Annotated[str, Field(pattern="^[a-z0-9-]{0,40}$")] = Field(
        "",
        description="Where workers' pods live; empty: the namespace of the pod that the server runs in, or of the context.",
    )
    kubernetes_namespace_per_team: bool = Field(
        False,
        description="Whether each team's workers have a namespace of their own, `NAMESPACE-TEAM`, made when it is needed.",
    )
    kubernetes_gpu_resource: str = Field("nvidia.com/gpu", description="The cluster's resource that is a GPU.")
    kubernetes_cuda_label: str = Field(
        "nvidia.com/cuda.runtime",
        description="The labels of nodes that hold the newest CUDA version of their driver, without `.major` and `.minor`.",
    )
    kubernetes_node_labels: str = Field(
        "", description="Labels of the nodes that workers run on, as `KEY=VALUE, KEY=VALUE`; empty: any node."
    )
    kubernetes_tolerations: str = Field(
        "",
        description="Taints of nodes that workers do not mind, as `KEY[=VALUE][:EFFECT]` with commas between them.",
    )
    kubernetes_priority_class: str = Field("", description="The priority class of workers' pods; empty: the cluster's.")
    kubernetes_runtime_class: str = Field(
        "", description="The runtime class of pods with GPUs, such as `nvidia`; empty: the cluster's."
    )
    kubernetes_service_account: str = Field(
        "", description="The service account of workers' pods, which get no token of it; empty: `default`."
    )
    kubernetes_pull_secrets: str = Field(
        "", description="Secrets of the namespace with which images are pulled, with commas between them."
    )
    kubernetes_always_pull: bool = Field(
        True,
        description="Whether the registry is asked at each start of an image without a digest; `false` for images that were "
        "brought onto the nodes by hand.",
    )
    kubernetes_security: Literal["baseline", "restricted"] = Field(
        "baseline",
        description="The pod security standard that workers keep. `restricted` demands images that do not run as root.",
    )
    kubernetes_network_policy: bool = Field(
        True, description="Whether a network policy keeps workers from each other and from metadata addresses."
    )
    kubernetes_grace_s: float = Field(
        30.0, ge=1, description="How long a worker may go on that the cluster ends, as when its node is emptied."
    )
    kubernetes_prepare_s: float = Field(
        1_800.0,
        gt=0,
        description="How long a node may fetch the image and create the container before the start counts as failed. Waiting for a "
        "node has no limit.",
    )
    kubernetes_place_wait_s: float = Field(
        60.0,
        gt=0,
        description="How long a worker may wait for a node of one specification before the next that its endpoint may use is tried. More than "
        "your autoscaler needs to bring a node.",
    )
    kubernetes_pass_over_s: float = Field(
        600.0, ge=0, description="How long a specification that had no node for a worker is passed over."
    )
    kubernetes_storage_class: str = Field("", description="The storage class of volumes; empty: the cluster's.")
    kubernetes_access_mode: Literal["ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"] = Field(
        "ReadWriteMany",
        description="How volumes can be mounted; with `ReadWriteOnce` all workers that share one run on one node.",
    )
    worker_shm_gb: float = Field(1.0, gt=0, description="Shared memory of a container or pod, in GiB.")
    worker_memory_gb: float = Field(
        0.0,
        ge=0,
        description="The most memory that a container may use, in GiB; in a cluster it is also promised. 0: no limit.",
    )
    worker_cpus: float = Field(
        0.0,
        ge=0,
        description="The most CPU cores that a container may use; in a cluster they are also promised. 0: no limit.",
    )
    worker_disk_gb: float = Field(
        0.0, ge=0, description="The most that a container may write to its own disk, in GiB; 0: no limit."
    )
    worker_pids_max: int = Field(4_096, ge=16, description="The most processes and threads of a container.")
    block_metadata: Literal["auto", "always", "never"] = Field(
        "auto",
        description="Whether containers are kept from the addresses where clouds tell a machine its credentials (169.254.169.254 and the "
        "like). `auto`: by rules that the server puts into the firewall where it may, else its log and `stoker doctor` say which are "
        "missing; `always`: no container starts without the rules; `never`: containers may ask, and rules that are there stay.",
    )
    mount_roots: str = Field(
        "",
        description="Directories of this machine that endpoints of all teams may mount, and what is below them, separated by colons; "
        "empty: none may, volumes of a team alone. Never the server's own directories.",
    )
    volumes_dir: OptionalPath = Field(
        None,
        description="Where the files of volumes are; empty: `volumes` in the data directory. Servers on several machines need one that "
        "they share, an engine in another place must see it under the same path.",
    )
    volumes_measured_every_s: float = Field(
        60.0, gt=0, description="How often the usage of volumes is measured, at most a tenth of the time."
    )
    volume_price_per_gib_hour: float = Field(
        0.0, ge=0, description="Price of a GiB in a volume for an hour, in your currency."
    )
    usage_kept_days: int = Field(
        400, ge=1, description="How long the ledger of usage is kept, in days. Budgets need the month that goes on."
    )
    audit_kept_days: int = Field(0, ge=0, description="How long lines of the audit log are kept, in days; 0: for ever.")
    jobs_kept_max: int = Field(
        0,
        ge=0,
        description="How many finished jobs are kept, of all endpoints together: beyond it, those go first whose retention would end first. 0: "
        "no limit.",
    )
    events_kept_max: int = Field(
        0,
        ge=0,
        description="How many lines about endpoints the ledger of events keeps; the oldest go first. 0: no limit.",
    )
    audit_kept_max: int = Field(
        0, ge=0, description="How many lines of the audit log are kept; the oldest go first. 0: no limit."
    )
    usage_kept_max: int = Field(
        0,
        ge=0,
        description="How many entries of the ledger of usage are kept; beyond it the oldest hours go, but none of the present month, which "
        "budgets count. 0: no limit.",
    )
    database_mb_max: int = Field(
        0,
        ge=0,
        description="How much of a SQLite database may be in use, in MiB: beyond it finished jobs go, as with `jobs_kept_max`. 0: no limit.",
    )
    images_unused_s: int = Field(
        604_800, ge=0, description="How long an image that no endpoint uses is kept after its last use, in seconds."
    )
    images_gb_max: float = Field(
        200.0,
        ge=0,
        description="Room for images, in GiB: beyond it, those that no endpoint uses go, the longest unused first.",
    )
    bootstrap_key: SecretStr | None = Field(
        None, description="The admin API key that the first start creates; empty: a random one, printed once."
    )
    session_s: int = Field(
        43_200, ge=60, le=2_592_000, description="How long a person stays signed in to the console, in seconds."
    )
    secrets_key: SecretStr | None = Field(
        None,
        description="The key that seals secrets in the database, 32 bytes in base64; several, with commas between them, while one "
        "replaces another. Empty: the file `secrets_key_file`. Shown nowhere.",
    )
    secrets_key_file: Path | None = Field(
        None,
        description="The file with that key; empty: `secrets.key` in the data directory, which the first start makes. All servers on "
        "a database need the same. Without it secrets cannot be read: keep a copy, apart from those of the database.",
    )
    specifications: DeclaredSpecifications = Field(
        (),
        description="Kinds of places for workers, with their prices: tables `[[specifications]]` in the file, in the variable a list "
        "of objects in JSON. What none of them is about is discovered.",
    )
    input_bytes_max: int = Field(4 * 1024 * 1024, ge=1024, description="Largest submitted job, in bytes.")
    output_bytes_max: int = Field(4 * 1024 * 1024, ge=1024, description="Largest output of a job, in bytes.")
    part_bytes_max: int = Field(1024 * 1024, ge=1024, description="Largest part of a stream, in bytes.")
    uploads_bytes_max: int = Field(
        64 * 1024 * 1024,
        ge=1024 * 1024,
        description="Memory for large request bodies that are being received or stored, of all connections together, in bytes: "
        "three quarters for clients, one for workers. Bodies wait for room; those of 64 KiB or less never do and are not "
        "counted. A body over its share is received alone.",
    )
    upload_stall_s: float = Field(
        30.0,
        gt=0,
        description="How long a request body may stay behind 16 KiB of progress before it is refused with 408.",
    )
    disk_free_mb_min: int = Field(
        512,
        ge=0,
        description="When the disk of the data directory has less room than this, in MiB, new jobs are refused with 507: what was "
        "accepted can still end. For a SQLite database; 0: never.",
    )
    rate_factor: float = Field(
        10.0,
        ge=0,
        description="How many requests a key may make at an endpoint in 10 s, as a multiple of what Runpod allows: 1000 `/run`, 2000 "
        "`/runsync`, 2000 status and stream, 100 cancel and retry, 2 purge. More are refused with 429; 0: never.",
    )
    queued_max: int = Field(
        100_000,
        ge=0,
        description="The most jobs that may wait at one endpoint; more are refused with 429. 0: no limit.",
    )
    uploads_per_key_max: int = Field(
        200,
        ge=0,
        description="The most bodies over 64 KiB that one key may send to one server at once; more are refused with 429. 0: no limit.",
    )
    webhook_timeout_s: float = Field(
        10.0, gt=0, le=60, description="How long a receiver of a webhook may take to answer, in seconds."
    )
    webhook_give_up_s: int = Field(
        86_400,
        ge=60,
        le=604_800,
        description="How long a webhook that is not delivered is tried again, in seconds.",
    )
    webhooks_per_receiver: int = Field(
        4, ge=1, le=64, description="The most webhooks that are under way to one receiver of one team at once."
    )
    webhooks_at_once: int = Field(
        64,
        ge=4,
        le=1024,
        description="The most webhooks that are under way at once; a quarter of them for any one team. Each takes the memory of a "
        "job's input and output.",
    )
    webhook_networks: Networks = Field(
        "",
        description="Networks that webhooks may go to although they are not public, such as `10.1.0.0/16, 127.0.0.0/8`; empty: "
        "none. Whoever may submit jobs can reach them through the server.",
    )
    retention_s: int = Field(
        21_600, ge=60, le=604_800, description="How long results are kept, for endpoints that do not say."
    )
    hold_s: float = Field(20.0, gt=0, le=25, description="How long an empty take of a worker is held, in seconds.")
    lease_s: float = Field(
        30.0, gt=0, description="How long a worker that sends pings may be silent before its jobs are taken back."
    )
    ping_interval_ms: int = Field(4_000, ge=1_000, description="How often workers are told to ping.")
    cancel_grace_s: float = Field(
        10.0,
        ge=0,
        description="How long a worker may go on with a job it was told to stop, before it is replaced. Below a ping interval "
        "and two seconds, workers that obeyed are replaced too: only their next ping shows it.",
    )
    stop_grace_s: float = Field(10.0, ge=0, description="Time between SIGTERM and SIGKILL of a worker.")
    worker_failures_max: int = Field(
        5,
        ge=0,
        description="A worker that fails this many jobs in a row, while others of its endpoint succeed, is replaced; 0: never.",
    )
    start_timeout_s: float = Field(420.0, gt=0, description="How long a worker may take until its first take.")
    shutdown_grace_s: float = Field(
        20.0, ge=0, description="How long running jobs may go on when the server is told to stop."
    )
    worker_system_checks: bool = Field(
        False,
        description="Whether workers' SDKs check memory, disk and outbound network at their start. Off, because on a closed "
        "network every start would fail; an endpoint may set RUNPOD_SKIP_AUTO_SYSTEM_CHECKS itself.",
    )
    observe_every_s: float = Field(1.0, gt=0, description="How often the runtime is asked what it sees.")
    gone_workers_kept_s: int = Field(86_400, ge=0, description="How long ended workers and their logs are kept.")
    gone_logs_bytes_max: int = Field(
        1024**3,
        ge=0,
        description="How much output of all ended workers together is kept; beyond it, that of those which ended first goes.",
    )
    worker_log_bytes_max: int = Field(
        4 * 1024 * 1024, ge=65_536, description="How much output of one worker is kept; the oldest half goes first."
    )
    metrics_key: SecretStr = Field(
        SecretStr(""),
        description="What Prometheus sends as its bearer token to read `/metrics`, which is about all teams. Empty: nobody may. Shown "
        "nowhere.",
    )
    metrics_open: bool = Field(
        False, description="Whether everybody who reaches the server may read `/metrics` without a key."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Level of the server's own log."
    )
    log_format: Literal["text", "json"] = Field("text", description="Form of the server's own log.")
    log_jobs: Literal["none", "failures", "all"] = Field(
        "failures",
        description="What the server's own log tells of jobs: those that fail, time out or lose an attempt, or every step of every job, which are "
        "several lines a job, and the requests that submit, cancel or retry jobs.",
    )
    access_log: Literal["none", "management", "all"] = Field(
        "management",
        description="Which requests leave a line in the server's own log: those of the management API, or also those of the job API, of workers, "
        "health checks and the console, which are many.",
    )

    @property
    def volumes_path(self) -> Path:
        """Where the files of volumes are."""
        return self.volumes_dir or self.data_dir / "volumes"

    @property
    def mount_terms(self) -> MountTerms:
        """Which directories of this machine endpoints may mount."""
        roots = tuple(root for root in self.mount_roots.split(":") if root)
        return MountTerms(roots=roots, kept=(str(self.data_dir), str(self.volumes_path)))

    @property
    def specifications_declared(self) -> tuple[Specification, ...]:
        """The specifications as rules."""
        return tuple(one.specification() for one in self.specifications)

    @property
    def on_loopback(self) -> bool:
        """Whether only this machine can reach the server."""
        return is_loopback(self.host)

    @property
    def scheme(self) -> str:
        """What clients speak."""
        return "http" if self.tls_certificate is None else "https"

    @property
    def worker_door(self) -> tuple[str, int] | None:
        """The address and port of `worker_listen`."""
        host, _, port = self.worker_listen.rpartition(":")
        return (host.strip("[]"), int(port)) if host else None

    @property
    def worker_host(self) -> str:
        """The address that workers come to."""
        return self.worker_door[0] if self.worker_door else self.host

    @property
    def workers_on_loopback(self) -> bool:
        """Whether only this machine's workers can come there."""
        return is_loopback(self.worker_host)

    @property
    def origins(self) -> Mapping[str, Origin]:
        """Where each setting that is not at its default came from."""
        return self._origins

    def came_from(self, origins: Mapping[str, Origin]) -> Settings:
        """The same settings, that know where they came from."""
        told = self.model_copy()
        told._origins = dict(origins)
        return told

    @property
    def allowed_networks(self) -> tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]:
        """Those of `webhook_networks`."""
        return tuple(ipaddress.ip_network(one) for one in self.webhook_networks.replace(",", " ").split())
