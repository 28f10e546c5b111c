"""Instance specifications: the kinds of places that a machine has for workers, what they hold, and what they cost.

A specification is a kind of GPU (`RTX 4090 24GB`) or a kind of place without GPUs (`CPU`). Operators declare them in the
settings; what nobody declared is discovered: every kind of GPU that the driver lists, and the machine's CPU.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

GIB: Final = 1024**3
CPU_SLOTS_PER_CORE: Final = 8
"""Workers without GPUs that a core may have, unless the settings say: more of them would take each other's time."""
PRICE_DIGITS: Final = 5
"""Prices are exact to so many digits behind the point."""
MICROS: Final = 1_000_000
"""Where prices are kept and summed they are whole millionths of the operator's currency: sums of them are exact."""
SOLD_GB: Final = (2, 4, 6, 8, 10, 11, 12, 16, 20, 24, 32, 40, 48, 64, 80, 94, 96, 141, 180, 192, 288)
"""Sizes of memory that GPUs are sold with. A driver reports a little less: it keeps some for error correction."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Device:
    """One GPU. Its id is the driver's UUID, which no reboot renumbers."""

    id: str
    name: str = ""
    memory_bytes: int = 0
    """0 when nobody can tell."""
    memory_used_bytes: int | None = None
    """By whoever uses it; None when nobody can tell."""
    power_w: float | None = None
    """What it draws; None when nobody can tell."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Capacity:
    """What a machine, or whatever runs workers, offers to them."""

    devices: Sequence[Device] = ()
    """In the order of the driver; which of them are reserved is the inventory's matter."""
    cuda: str = ""
    """The newest CUDA version that the driver offers, such as `12.4`; empty when nobody can tell."""
    cpus: int = 0
    """CPU cores; 0 when nobody can tell."""
    memory_bytes: int = 0
    """Memory of the host; 0 when nobody can tell."""
    text: str = ""
    """Why there are no GPUs, in words, when there are none."""
    known: bool = True
    """False when workers are placed by somebody who does not say what there is: then only what is declared is there, without
    numbers, and nothing is full."""

    @property
    def gpus(self) -> tuple[str, ...]:
        """Ids of all devices."""
        return tuple(device.id for device in self.devices)


@dataclass(frozen=True, kw_only=True, slots=True)
class Specification:
    """A kind of place for workers."""

    id: str
    name: str
    gpu: str = ""
    """Part of the driver's name for its GPUs; empty for places without GPUs."""
    gpu_memory_gb: int = 0
    """Memory of one of its GPUs; 0 when nobody can tell."""
    slots: int | None = None
    """Workers without GPUs that may be there at once; None for as many as like."""
    cpus: float = 0.0
    """CPU cores for each of a worker's GPUs, or for a worker without any; 0 for no bound of its own."""
    memory_gb: float = 0.0
    """Memory of the host in GiB, counted in the same way and reserved; 0 for none."""
    price_per_hour: float = 0.0
    """Of one GPU, or of one worker without any, in the operator's currency."""
    node_selector: Mapping[str, str] = field(default_factory=dict)
    """Labels of the nodes that have it, for runtimes that have nodes."""

    @property
    def has_gpus(self) -> bool:
        """Whether its workers have GPUs."""
        return bool(self.gpu)

    def price_of(self, gpus: int) -> float:
        """What a worker costs in an hour."""
        return per_hour(self.price_micros_of(gpus))

    def price_micros_of(self, gpus: int) -> int:
        """The same in millionths."""
        return round(round(self.price_per_hour * max(1, gpus), PRICE_DIGITS) * MICROS)

    def memory_of(self, gpus: int) -> int:
        """Bytes of the host's memory that are reserved for a worker."""
        return round(self.memory_gb * max(1, gpus) * GIB)

    def cpus_of(self, gpus: int) -> float:
        """CPU cores that a worker may use; 0 for no bound."""
        return self.cpus * max(1, gpus)


def per_hour(price_micros: int) -> float:
    """A price in the operator's currency, as it is shown."""
    return price_micros / MICROS


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """What is reserved for one worker."""

    specification: str = ""
    """Its id; empty for workers that were launched before there were any."""
    gpus: tuple[str, ...] = ()
    memory_bytes: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Bounds:
    """What all places of a machine together must stay within; None for no bound. No device is in two of them anyway."""

    slots: int | None = None
    """Places of one specification without GPUs."""
    memory_bytes: int | None = None


UNBOUNDED: Final = Bounds()


def admits(bounds: Bounds, others: Iterable[Place], new: Place) -> bool:
    """Whether the machine has room for one more place beside those that are taken."""
    taken = list(others)
    if any(gpu in place.gpus for place in taken for gpu in new.gpus):
        return False
    alike = sum(place.specification == new.specification for place in taken)
    if bounds.slots is not None and alike >= bounds.slots:
        return False
    memory_bytes = new.memory_bytes + sum(place.memory_bytes for place in taken)
    return bounds.memory_bytes is None or new.memory_bytes == 0 or memory_bytes <= bounds.memory_bytes


# ── from devices to specifications ────────────────────────────────────────────────────────────────────────────────────


def specifications_of(capacity: Capacity, declared: Sequence[Specification]) -> tuple[Specification, ...]:
    """The specifications of a machine: those that were declared, in their order, then what else there is."""
    found = {one.id: _measured(one, capacity) for one in declared}
    for device in capacity.devices:
        one = specification_of(device, declared)
        found.setdefault(one.id, one)
    if not capacity.known and not declared:
        found["gpu"] = Specification(id="gpu", name="GPU", gpu="GPU")  # whichever whoever places workers has
    if not any(not one.has_gpus for one in found.values()):
        found.setdefault("cpu", Specification(id="cpu", name="CPU", slots=cpu_slots(capacity)))
    return tuple(found.values())


def cpu_slots(capacity: Capacity) -> int | None:
    """How many workers without GPUs a machine has places for; None when nobody can tell."""
    return capacity.cpus * CPU_SLOTS_PER_CORE if capacity.cpus else None


def specification_of(device: Device, declared: Sequence[Specification]) -> Specification:
    """The first that was declared for GPUs of this name, else the one that the name makes."""
    for one in declared:
        if one.has_gpus and one.gpu.casefold() in device.name.casefold():
            return one
    gb = sold_gb(device.memory_bytes)
    name = f"{short_name(device.name)} {gb}GB" if gb else short_name(device.name)
    return Specification(id=_slug(name), name=name, gpu=device.name or "GPU", gpu_memory_gb=gb)


def _measured(one: Specification, capacity: Capacity) -> Specification:
    """With what the machine has, where the operator did not say."""
    if not one.has_gpus:
        return one if one.slots is not None else replace(one, slots=cpu_slots(capacity))
    if one.gpu_memory_gb:
        return one
    sizes = [device.memory_bytes for device in capacity.devices if one.gpu.casefold() in device.name.casefold()]
    return replace(one, gpu_memory_gb=sold_gb(min(sizes))) if sizes else one


def sold_gb(memory_bytes: int) -> int:
    """The size that a GPU with so much memory is sold as, in GB; 0 when nobody can tell."""
    gib = memory_bytes / GIB
    return next((size for size in SOLD_GB if gib <= size), round(gib)) if memory_bytes else 0


_VENDOR: Final = re.compile(r"\b(NVIDIA|GeForce|Tesla|Quadro)\b ?", re.IGNORECASE)
_MEMORY: Final = re.compile(r"[ -]?\b[0-9]+ ?GB\b", re.IGNORECASE)
_STACKED: Final = re.compile(r"[ -]?\bHBM[0-9][a-z]?\b", re.IGNORECASE)
_FORM: Final = re.compile(r"[ -](SXM|PCIe|NVL)[0-9]?\b", re.IGNORECASE)


def short_name(driver_name: str) -> str:
    """What people call a GPU: `NVIDIA GeForce RTX 4090` is an `RTX 4090`, `NVIDIA H100 80GB HBM3` an `H100 SXM`."""
    name = _MEMORY.sub("", _VENDOR.sub("", driver_name))
    if _STACKED.search(name) and not _FORM.search(name):
        name = _STACKED.sub(" SXM", name)  # the driver names the form only of those that are none
    name = _FORM.sub(lambda match: f" {match[1]}", _STACKED.sub("", name))
    return " ".join(name.split()) or "GPU"


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
