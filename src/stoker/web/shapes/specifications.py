"""Answers about the places that workers have, and where one fits."""

from __future__ import annotations

from typing import TypedDict

from stoker.web.shapes.common import JsonObject, Named


class SpecificationShown(TypedDict):
    """A kind of place for workers: `gpu` or `cpu`. Numbers that nobody can tell are null; the price is that of one GPU, or of one
    worker without any."""

    id: str
    name: str
    type: str
    total: int | None
    free: int | None
    gpu_memory_gb: int
    cpus: float
    memory_gb: float
    price_per_hour: float


class SpecificationList(TypedDict):
    """What there is; the newest CUDA version of the driver; why there are no GPUs, if there are none."""

    specifications: list[SpecificationShown]
    cuda: str
    text: str


class GpuShown(TypedDict):
    """A GPU now; who holds it is named where the key reaches it."""

    id: str
    name: str
    specification: str
    memory_bytes: int | None
    memory_used_bytes: int | None
    power_w: float | None
    held: bool
    worker: str | None
    endpoint: Named | None


class GpuList(TypedDict):
    """All GPUs, in the order of the driver."""

    gpus: list[GpuShown]


class Choice(SpecificationShown):
    """Where a worker may go, and what it costs there."""

    worker_per_hour: float


class Fit(TypedDict):
    """How a worker fits on the machine, the places that it prefers first."""

    gpus_needed: int
    choices: list[Choice]


class Planned(TypedDict):
    """What was done, or would be: `create`, `update` or `nothing`."""

    action: str
    before: JsonObject
    after: JsonObject
    endpoint: JsonObject
    new_release: bool
    fit: Fit
