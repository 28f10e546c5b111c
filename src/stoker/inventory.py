"""The inventory: what a machine has for workers, what is reserved, and where the next worker goes. Pure.

Whoever decides a launch asks it with everything that living workers hold, and writes the place down with the decision, before
anything starts; the store refuses a place that somebody else took meanwhile (`specification.admits`). So nothing is ever
promised twice: no device, no slot, no byte of memory that a specification reserves.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from stoker.amounts import counted
from stoker.endpoint import Release, cuda_refusal
from stoker.errors import InvalidInput
from stoker.specification import Bounds, Capacity, Place, Specification, specification_of, specifications_of


@dataclass(frozen=True, kw_only=True, slots=True)
class Room:
    """How many more workers of a release a specification has room for; None for as many as like."""

    specification: Specification
    workers: int | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Inventory:
    """One machine at one moment."""

    capacity: Capacity
    specifications: tuple[Specification, ...]
    devices: tuple[tuple[str, str], ...]
    """Each GPU with the id of its specification, in the order of the driver."""
    places: tuple[Place, ...]
    """What living workers hold."""
    kept: Mapping[str, int] = field(default_factory=dict)
    """How many free GPUs or places of each specification are kept for others than who asks: `sharing` says for whom."""
    short: Mapping[str, str] = field(default_factory=dict)
    """Specifications that are passed over, with the reason in words: nobody finds places of them now (`shortages`)."""

    # ── what there is ─────────────────────────────────────────────────────────────────────────────────────────────────

    def specification(self, spec_id: str) -> Specification | None:
        """The specification with that id."""
        return next((one for one in self.specifications if one.id == spec_id), None)

    def devices_of(self, one: Specification) -> list[str]:
        """All GPUs of a specification."""
        return [device for device, spec_id in self.devices if spec_id == one.id]

    def free_devices(self, one: Specification) -> list[str]:
        """Those that nobody holds."""
        held = {gpu for place in self.places for gpu in place.gpus}
        return [device for device in self.devices_of(one) if device not in held]

    def total(self, one: Specification) -> int | None:
        """How many GPUs, or places without any, there are; None when nobody can tell, or for as many as like."""
        if one.has_gpus:
            return len(self.devices_of(one)) if self.capacity.known else None
        return one.slots

    def free(self, one: Specification) -> int | None:
        """How many of them are free."""
        if one.has_gpus:
            return len(self.free_devices(one)) if self.capacity.known else None
        rooms = [self._memory_room(one, 0)]
        if one.slots is not None:
            taken = Counter(place.specification for place in self.places)[one.id]
            rooms.append(max(0, one.slots - taken))
        return min((room for room in rooms if room is not None), default=None)

    def bounds(self, one: Specification) -> Bounds:
        """What the store must keep places of this specification within."""
        return Bounds(slots=None if one.has_gpus else one.slots, memory_bytes=self.capacity.memory_bytes or None)

    def _memory_room(self, one: Specification, gpus: int) -> int | None:
        """How many workers the host's memory still has room for."""
        each, has = one.memory_of(gpus), self.capacity.memory_bytes
        if not each or not has:
            return None
        return max(0, has - sum(place.memory_bytes for place in self.places)) // each

    # ── where a worker may go ─────────────────────────────────────────────────────────────────────────────────────────

    def choices(self, release: Release) -> tuple[Specification, ...]:
        """The specifications that could ever hold a worker of the release, the ones it prefers first."""
        if release.gpus_per_worker and cuda_refusal(release.cuda, self.capacity.cuda):
            return ()
        named = [self.specification(spec_id) for spec_id in release.specifications]
        wanted = [one for one in named if one is not None] if release.specifications else self.specifications
        return tuple(one for one in wanted if self._could_hold(one, release.gpus_per_worker))

    def _could_hold(self, one: Specification, gpus: int) -> bool:
        if one.has_gpus != (gpus > 0):
            return False
        enough = not self.capacity.known or gpus <= len(self.devices_of(one))
        memory_bytes = self.capacity.memory_bytes
        return enough and one.slots != 0 and (not memory_bytes or one.memory_of(gpus) <= memory_bytes)

    def rooms(self, release: Release) -> tuple[Room, ...]:
        """How many more workers of the release fit where, the places it prefers first."""
        return tuple(Room(specification=one, workers=self._room(one, release)) for one in self.choices(release))

    def _room(self, one: Specification, release: Release) -> int | None:
        if one.id in self.short:
            return 0
        free = self.free(one)
        free = None if free is None else max(0, free - self.kept.get(one.id, 0))
        if not one.has_gpus:
            return free
        rooms = (
            None if free is None else free // release.gpus_per_worker,
            self._memory_room(one, release.gpus_per_worker),
        )
        return min((room for room in rooms if room is not None), default=None)

    def place(self, release: Release) -> Place | None:
        """A place for one more worker, in the first specification that has room; None when none has. A worker gets all of
        its GPUs or none."""
        for room in self.rooms(release):
            if room.workers is None or room.workers > 0:
                one, gpus = room.specification, release.gpus_per_worker
                devices = tuple(self.free_devices(one)[:gpus]) if one.has_gpus else ()
                return Place(specification=one.id, gpus=devices, memory_bytes=one.memory_of(gpus))
        return None

    def with_place(self, place: Place) -> Inventory:
        """The inventory when this place is taken too."""
        return replace(self, places=(*self.places, place))

    def fullness(self, release: Release) -> str:
        """Why there is no room, in words."""
        choices = self.choices(release)
        if not choices:
            refused = refusal(self, release)
            return "" if refused is None else refused.message
        return "; ".join(self._fullness_of(one, release.gpus_per_worker) for one in choices)

    def _fullness_of(self, one: Specification, gpus: int) -> str:
        if one.id in self.short:
            return self.short[one.id]
        total, free = self.total(one), self.free(one)
        if kept := self.kept.get(one.id, 0):
            noun = "GPUs" if one.has_gpus else "places"
            return f"{free} of {total} {noun} {one.name} are free, and {kept} of them kept for others whose turn it is"
        if one.has_gpus:
            text = f"{free} of {total} GPUs {one.name} are free, a worker needs {gpus}"
            short = free is not None and free >= gpus
            return f"{text} and {one.memory_of(gpus) / 1024**3:g} GiB of memory" if short else text
        return f"{free} of {total} places of {one.name} are free" if total else f"{one.name} has no memory left"


def inventory_of(capacity: Capacity, declared: Sequence[Specification], places: Iterable[Place]) -> Inventory:
    """The inventory of a machine with these workers."""
    return Inventory(
        capacity=capacity,
        specifications=specifications_of(capacity, declared),
        devices=tuple((device.id, specification_of(device, declared).id) for device in capacity.devices),
        places=tuple(places),
    )


# ── what can never be placed ──────────────────────────────────────────────────────────────────────────────────────────


def check_placeable(inventory: Inventory, release: Release) -> None:
    """Raise `InvalidInput` for a release of which no worker could ever start here."""
    known = [one.id for one in inventory.specifications]
    for spec_id in release.specifications:
        if spec_id not in known:
            raise InvalidInput(
                f"there is no specification '{spec_id[:100]}'",
                code="unknown_specification",
                field="specifications",
                next_step=f"choose among {', '.join(known)}; see: stoker specification ls",
            )
    refused = refusal(inventory, release)
    if refused is not None:
        raise refused


def refusal(inventory: Inventory, release: Release) -> InvalidInput | None:
    """Why no worker of the release could ever start; None when one could."""
    gpus, capacity = release.gpus_per_worker, inventory.capacity
    if gpus and (text := cuda_refusal(release.cuda, capacity.cuda)):
        return _never(text, "cuda", f"choose a version up to {capacity.cuda}, or leave cuda empty for any")
    if inventory.choices(release):
        return None
    text = _shortage(inventory, release)
    if release.specifications:
        next_step = "choose others, or leave specifications empty for any; see: stoker specification ls"
        return _never(text, "specifications", next_step)
    return _never(
        text, "gpus_per_worker", "choose another gpus_per_worker, or run Stoker on a machine that has as many"
    )


def _never(text: str, field: str, next_step: str) -> InvalidInput:
    return InvalidInput(text, code="no_such_capacity", field=field, next_step=next_step)


def _shortage(inventory: Inventory, release: Release) -> str:
    """What the specifications that the release may use lack."""
    gpus = release.gpus_per_worker
    allowed = [one for one in inventory.specifications if one.id in release.specifications] or inventory.specifications
    fitting = [one for one in allowed if one.has_gpus is (gpus > 0)]
    names = ", ".join(one.name for one in fitting or allowed)
    if not fitting and release.specifications:
        return f"a worker needs {counted(gpus, 'GPU')}; {names} {'has none' if gpus else 'is for workers with GPUs'}"
    most = max((len(inventory.devices_of(one)) for one in fitting), default=0)
    if most < gpus:
        kinds = f" of one kind ({names})" if most else ""
        why = f" ({inventory.capacity.text})" if inventory.capacity.text else ""
        return f"a worker needs {counted(gpus, 'GPU')}; this machine has {most}{kinds}{why}"
    return f"a worker needs more memory, or more places, than there are of {names}"
