"""The inventory: where workers go, what is full, and what can never be placed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stoker.endpoint import Release
from stoker.errors import InvalidInput
from stoker.ids import EndpointId, ReleaseId
from stoker.inventory import Inventory, check_placeable, inventory_of
from stoker.specification import GIB, Capacity, Device, Place, Specification, admits

BIG, SMALL = "H100 SXM 80GB", "RTX 4090 24GB"


def devices(big: int, small: int) -> tuple[Device, ...]:
    """So many GPUs of each kind."""
    h100 = [Device(id=f"H{n}", name="NVIDIA H100 80GB HBM3", memory_bytes=80 * GIB) for n in range(big)]
    rtx = [Device(id=f"R{n}", name="NVIDIA GeForce RTX 4090", memory_bytes=24 * GIB) for n in range(small)]
    return (*h100, *rtx)


def a_machine(big: int = 2, small: int = 2, *declared: Specification, **more: Any) -> Inventory:
    """A machine on which nothing runs."""
    capacity = Capacity(devices=devices(big, small), cuda="12.6", cpus=1, **more)
    return inventory_of(capacity, declared, ())


def a_release(gpus: int = 1, *specifications: str, cuda: str = "") -> Release:
    """What a worker needs."""
    return Release(
        id=ReleaseId("r"),
        endpoint=EndpointId("e"),
        number=1,
        image="any",
        gpus_per_worker=gpus,
        specifications=specifications,
        cuda=cuda,
        created_ms=0,
    )


def placed(inventory: Inventory, release: Release, times: int) -> tuple[Inventory, list[str]]:
    """The inventory after so many launches, and where each went."""
    went = []
    for _ in range(times):
        place = inventory.place(release)
        if place is None:
            went.append("")
        else:
            went.append(place.specification)
            inventory = inventory.with_place(place)
    return inventory, went


def test_the_fallback_order_is_honoured() -> None:
    """Workers go to the first choice until it is full, then to the second, then nowhere; why is said."""
    release = a_release(1, "rtx-4090-24gb", "h100-sxm-80gb")
    full, went = placed(a_machine(2, 1), release, 4)
    assert went == ["rtx-4090-24gb", "h100-sxm-80gb", "h100-sxm-80gb", ""]
    assert full.fullness(release) == (
        f"0 of 1 GPUs {SMALL} are free, a worker needs 1; 0 of 2 GPUs {BIG} are free, a worker needs 1"
    )


def test_a_worker_has_gpus_of_one_kind() -> None:
    """Two free GPUs of two kinds are no place for a worker that needs two."""
    inventory, went = placed(a_machine(3, 3), a_release(2), 3)
    assert went == ["h100-sxm-80gb", "rtx-4090-24gb", ""]
    assert [inventory.free(one) for one in inventory.specifications] == [1, 1, 8]


def test_places_without_gpus() -> None:
    """A worker without GPUs takes a slot of the CPU and no GPU."""
    inventory, went = placed(a_machine(), a_release(0), 9)
    assert went == ["cpu"] * 8 + [""]
    assert inventory.fullness(a_release(0)) == "0 of 8 places of CPU are free"


def test_memory_is_reserved() -> None:
    """What a specification reserves of the host's memory is counted over all workers, whatever they are placed in."""
    own = Specification(id="own", name="Own", gpu="RTX", memory_gb=8)
    small = Specification(id="small", name="small", memory_gb=4, slots=9)
    inventory = a_machine(0, 4, own, small, memory_bytes=20 * GIB)
    inventory, went = placed(inventory, a_release(1), 3)
    assert went == ["own", "own", ""]
    assert "8 GiB of memory" in inventory.fullness(a_release(1))
    assert placed(inventory, a_release(0), 2)[1] == ["small", ""]


def test_gpus_of_workers_from_before_are_held() -> None:
    """A worker that was launched before there were specifications keeps its GPUs."""
    inventory = inventory_of(Capacity(devices=devices(1, 1)), (), [Place(gpus=("H0",))])
    assert placed(inventory, a_release(1), 2)[1] == ["rtx-4090-24gb", ""]


def test_a_runtime_that_places_workers_itself() -> None:
    """Where nobody knows what there is, what was declared is never full and has no devices."""
    own = Specification(id="own", name="Own", gpu="RTX", memory_gb=1)
    inventory = inventory_of(Capacity(known=False), (own,), ())
    place = inventory.place(a_release(8))
    assert place == Place(specification="own", memory_bytes=8 * GIB)
    assert (inventory.total(own), inventory.free(own)) == (None, None)
    check_placeable(inventory, a_release(8, "own"))


def test_a_kind_that_nobody_finds_is_passed_over() -> None:
    """Workers go to the next kind that they may use, and why is said."""
    kinds = [Specification(id=one, name=one.upper(), gpu=one) for one in ("a", "b")]
    inventory = replace(
        inventory_of(Capacity(known=False), kinds, ()), short={"a": "no place was found on A within 60 s"}
    )
    assert placed(inventory, a_release(1, "a", "b"), 2)[1] == ["b", "b"]
    assert [room.workers for room in inventory.rooms(a_release(1, "a", "b"))] == [0, None]
    assert inventory.fullness(a_release(1, "a")) == "no place was found on A within 60 s"


WISHES = st.lists(
    st.tuples(
        st.integers(0, 3),
        st.lists(st.sampled_from(["rtx-4090-24gb", "h100-sxm-80gb", "cpu"]), unique=True, max_size=3).map(tuple),
        st.booleans(),
    ),
    max_size=20,
)


@given(st.integers(0, 4), st.integers(0, 4), WISHES)
def test_nothing_is_promised_twice(big: int, small: int, wishes: list[tuple[int, tuple[str, ...], bool]]) -> None:
    """Whatever workers start and end: each GPU has one holder of the right kind and number, slots and memory suffice, the store
    admits every place, and a worker waits only when nothing that it may use has room."""
    inventory = a_machine(big, small, Specification(id="cpu", name="CPU", memory_gb=2, slots=3), memory_bytes=5 * GIB)
    for gpus, names, ends in wishes:
        if ends and inventory.places:
            inventory = inventory_of(inventory.capacity, inventory.specifications, inventory.places[1:])
        release = a_release(gpus, *names)
        place = inventory.place(release)
        if place is None:
            assert all(room.workers == 0 for room in inventory.rooms(release))
            continue
        one = inventory.specification(place.specification)
        assert one is not None
        assert admits(inventory.bounds(one), inventory.places, place)
        assert len(place.gpus) == gpus
        assert set(place.gpus) <= set(inventory.devices_of(one))
        assert not names or place.specification in names
        inventory = inventory.with_place(place)
    held = [gpu for place in inventory.places for gpu in place.gpus]
    assert len(held) == len(set(held))
    assert sum(place.memory_bytes for place in inventory.places) <= 5 * GIB


@given(st.integers(0, 4), st.integers(0, 4), WISHES, st.integers(0, 4))
def test_room_is_what_can_be_placed(big: int, small: int, wishes: list[Any], gpus: int) -> None:
    """As many workers as the inventory says have room can be placed one after another, and no more."""
    inventory = a_machine(big, small)
    for count, names, _ in wishes:
        place = inventory.place(a_release(count, *names))
        inventory = inventory if place is None else inventory.with_place(place)
    release = a_release(gpus)
    counts = [room.workers for room in inventory.rooms(release)]
    room = sum(count for count in counts if count is not None)
    assert placed(inventory, release, room + 1)[1].count("") == 1


@pytest.mark.parametrize(
    ("release", "code", "field", "words"),
    [
        (
            a_release(1, "nope"),
            "unknown_specification",
            "specifications",
            "choose among h100-sxm-80gb, rtx-4090-24gb, cpu",
        ),
        (a_release(3), "no_such_capacity", "gpus_per_worker", f"this machine has 2 of one kind ({BIG}, {SMALL})"),
        (
            a_release(3, "rtx-4090-24gb"),
            "no_such_capacity",
            "specifications",
            f"this machine has 2 of one kind ({SMALL})",
        ),
        (a_release(1, "cpu"), "no_such_capacity", "specifications", "CPU has none"),
        (a_release(0, "rtx-4090-24gb"), "no_such_capacity", "specifications", "is for workers with GPUs"),
        (a_release(1, cuda=">=12.8"), "no_such_capacity", "cuda", "offers CUDA 12.6"),
    ],
)
def test_what_can_never_be_placed_is_refused(release: Release, code: str, field: str, words: str) -> None:
    """An unknown name, more GPUs than there are of a kind, the wrong kind of place, too new a CUDA: refused with the reason."""
    with pytest.raises(InvalidInput) as caught:
        check_placeable(a_machine(), release)
    assert (caught.value.code, caught.value.field) == (code, field)
    assert words in f"{caught.value.message}; {caught.value.next_step}"


def test_one_possible_choice_is_enough() -> None:
    """A choice that could never hold a worker is passed over when another could."""
    release = a_release(3, "rtx-4090-24gb", "h100-sxm-80gb")
    inventory = a_machine(4, 2)
    check_placeable(inventory, release)
    assert [one.name for one in inventory.choices(release)] == [BIG]


def test_a_machine_without_gpus_says_why() -> None:
    """The driver's own words are in the refusal."""
    inventory = inventory_of(Capacity(text="no NVIDIA driver on this machine"), (), ())
    with pytest.raises(InvalidInput, match=r"this machine has 0 \(no NVIDIA driver"):
        check_placeable(inventory, a_release(1))


def test_too_little_memory_is_refused() -> None:
    """A worker that needs more memory than the whole machine has is never started."""
    own = Specification(id="own", name="Own", gpu="RTX", memory_gb=64)
    with pytest.raises(InvalidInput, match="more memory"):
        check_placeable(a_machine(0, 1, own, memory_bytes=32 * GIB), a_release(1))
