"""Answers about the places that workers have, and where one fits."""

from __future__ import annotations

from typing import TypedDict

from stoker.web.shapes.common import JsonObject


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
