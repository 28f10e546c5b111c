"""Instance specifications under `/api/specifications`: what there is, how much of it is free, and what it costs; and each GPU."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastapi import APIRouter, Depends

from stoker.catalog import Catalog
from stoker.endpoint import Release
from stoker.inventory import Inventory
from stoker.machine import Machine
from stoker.specification import Device, Specification, per_hour
from stoker.team import ApiKey, Scope
from stoker.web.asgi import JsonRoute
from stoker.web.auth import Asks
from stoker.worker import Worker

JsonObject = dict[str, Any]


class SpecificationRoutes:
    """The routes, over the machine that they show."""

    def __init__(self, machine: Machine, catalog: Catalog) -> None:
        self._machine = machine
        self._catalog = catalog

    def router(self) -> APIRouter:
        """All routes about places."""
        router = APIRouter(prefix="/api", tags=["specifications"], route_class=JsonRoute)

        read = Depends(Asks(self._catalog, Scope.READ))

        @router.get("/specifications")
        async def list_specifications(_key: ApiKey = read) -> JsonObject:
            """The kinds of places for workers: GPUs or slots in all and free, memory, price per hour of a GPU or of a worker without.
            Numbers that nobody can tell are null."""
            inventory = await self._machine.inventory()
            return {
                "specifications": [_specification(inventory, one) for one in inventory.specifications],
                "cuda": inventory.capacity.cuda,
                "text": inventory.capacity.text,
            }

        @router.get("/gpus")
        async def list_gpus(key: ApiKey = read) -> JsonObject:
            """The machine's GPUs: memory and power as their driver told them within the last second, and who holds each. Workers that the key does not
            reach are not named. Numbers that nobody can tell are null."""
            devices = await self._machine.devices()
            return {"gpus": [await self._gpu(key, *one) for one in devices]}

        return router

    async def _gpu(self, key: ApiKey, one: Device, specification: Specification, holder: Worker | None) -> JsonObject:
        ours = holder is not None and holder.team == key.team and key.reaches(holder.endpoint)
        return {
            "id": one.id,
            "name": specification.name,
            "specification": specification.id,
            "memory_bytes": one.memory_bytes or None,
            "memory_used_bytes": one.memory_used_bytes,
            "power_w": one.power_w,
            "held": holder is not None,
            "worker": holder.id if holder is not None and ours else None,
            "endpoint": {"id": holder.endpoint, "name": await self._catalog.name_of(holder.endpoint)}
            if holder is not None and ours
            else None,
        }


def fit(inventory: Inventory, release: Release) -> JsonObject:
    """Where a worker of the release may go, the preferred places first, and what it costs there."""
    return {
        "gpus_needed": release.gpus_per_worker,
        "choices": [
            _specification(inventory, one) | {"worker_per_hour": one.price_of(release.gpus_per_worker)}
            for one in inventory.choices(release)
        ],
    }


def price(inventory: Inventory, release: Release, workers: Sequence[Worker]) -> JsonObject:
    """What a worker costs where the next one would like to go most, and what the living ones cost together."""
    first = next(iter(inventory.choices(release)), None)
    now_micros = sum(worker.price_per_hour_micros for worker in workers)
    return {
        "specification": None if first is None else first.id,
        "worker_per_hour": 0.0 if first is None else first.price_of(release.gpus_per_worker),
        "now_per_hour": per_hour(now_micros),
    }


def _specification(inventory: Inventory, one: Specification) -> JsonObject:
    return {
        "id": one.id,
        "name": one.name,
        "type": "gpu" if one.has_gpus else "cpu",
        "total": inventory.total(one),
        "free": inventory.free(one),
        "gpu_memory_gb": one.gpu_memory_gb,
        "cpus": one.cpus,
        "memory_gb": one.memory_gb,
        "price_per_hour": one.price_per_hour,
    }
