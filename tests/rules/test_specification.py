"""Instance specifications: what GPUs are called, what is discovered, and what a machine has room for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stoker.specification import (
    GIB,
    Bounds,
    Capacity,
    Device,
    Place,
    Specification,
    admits,
    specification_of,
    specifications_of,
)

MIB = 1024**2


@pytest.mark.parametrize(
    ("driver", "mib", "name", "spec_id"),
    [
        ("NVIDIA GeForce RTX 4090", 24_564, "RTX 4090 24GB", "rtx-4090-24gb"),
        ("NVIDIA GeForce RTX 5090", 32_607, "RTX 5090 32GB", "rtx-5090-32gb"),
        ("NVIDIA H100 80GB HBM3", 81_559, "H100 SXM 80GB", "h100-sxm-80gb"),
        ("NVIDIA H100 PCIe", 81_559, "H100 PCIe 80GB", "h100-pcie-80gb"),
        ("NVIDIA H200", 143_771, "H200 141GB", "h200-141gb"),
        ("NVIDIA A100-SXM4-80GB", 81_920, "A100 SXM 80GB", "a100-sxm-80gb"),
        ("NVIDIA A100-SXM4-40GB", 40_960, "A100 SXM 40GB", "a100-sxm-40gb"),
        ("NVIDIA A100 80GB PCIe", 81_920, "A100 PCIe 80GB", "a100-pcie-80gb"),
        ("NVIDIA L40S", 46_068, "L40S 48GB", "l40s-48gb"),
        ("NVIDIA RTX 6000 Ada Generation", 49_140, "RTX 6000 Ada Generation 48GB", "rtx-6000-ada-generation-48gb"),
        ("Tesla T4", 15_360, "T4 16GB", "t4-16gb"),
        ("NVIDIA GB10", 0, "GB10", "gb10"),
        ("", 0, "GPU", "gpu"),
    ],
)
def test_names_that_people_use(driver: str, mib: int, name: str, spec_id: str) -> None:
    """The driver's name and the memory it reports become the name under which such a GPU is sold."""
    one = specification_of(Device(id="GPU-1", name=driver, memory_bytes=mib * MIB), ())
    assert (one.name, one.id, one.has_gpus) == (name, spec_id, True)


def test_declared_before_discovered() -> None:
    """A GPU belongs to the first declared specification whose text its name holds; the others are discovered, and so is the CPU."""
    cheap = Specification(id="cheap", name="Cheap", gpu="rtx 40", price_per_hour=0.25)
    never = Specification(id="never", name="Never", gpu="RTX 4090", price_per_hour=9)
    capacity = Capacity(
        devices=(
            Device(id="a", name="NVIDIA GeForce RTX 4090", memory_bytes=24_564 * MIB),
            Device(id="b", name="NVIDIA L4", memory_bytes=23_034 * MIB),
        ),
        cpus=4,
    )
    found = specifications_of(capacity, (cheap, never))
    assert [one.id for one in found] == ["cheap", "never", "l4-24gb", "cpu"]
    assert [one.gpu_memory_gb for one in found] == [24, 24, 24, 0]
    assert found[-1].slots == 32


def test_where_nobody_says_what_there_is_any_gpu_will_do() -> None:
    """A cluster does not say what it has: without declarations there are places with GPUs and without, as many as like."""
    assert [one.id for one in specifications_of(Capacity(known=False), ())] == ["gpu", "cpu"]


def test_a_declared_place_without_gpus_replaces_the_discovered_one() -> None:
    """Who declares places without GPUs says all there is about them, but for how many when they leave that out."""
    small = Specification(id="small", name="small", cpus=2, memory_gb=4)
    (one,) = specifications_of(Capacity(cpus=2), (small,))
    assert (one.id, one.slots) == ("small", 16)
    (unknown,) = specifications_of(Capacity(known=False), (small,))
    assert unknown.slots is None


def test_price_and_memory_of_a_worker() -> None:
    """Price, cores and memory are those of a GPU times their number; of a worker without GPUs as they are."""
    one = Specification(id="x", name="X", gpu="X", price_per_hour=0.1, cpus=4, memory_gb=8)
    assert (one.price_of(3), one.cpus_of(3), one.memory_of(3)) == (0.3, 12, 24 * GIB)
    assert (one.price_of(0), one.cpus_of(0), one.memory_of(0)) == (0.1, 4, 8 * GIB)


@given(st.integers(0, 10**11), st.integers(0, 64))
def test_prices_are_exact(price: int, gpus: int) -> None:
    """A price in millionths is the price that is shown: no sum of them is rounded."""
    one = Specification(id="x", name="x", price_per_hour=price / 10**5)
    assert one.price_micros_of(gpus) == price * max(1, gpus) * 10
    assert one.price_of(gpus) == price * max(1, gpus) / 10**5


GPUS = st.lists(st.sampled_from("abcdef"), unique=True, max_size=3).map(tuple)
PLACES = st.builds(Place, specification=st.sampled_from(["x", "y"]), gpus=GPUS, memory_bytes=st.integers(0, 4))
BOUNDS = st.builds(Bounds, slots=st.none() | st.integers(0, 4), memory_bytes=st.none() | st.integers(0, 12))


@given(BOUNDS, st.lists(PLACES, max_size=12))
def test_what_is_admitted_stays_within_the_bounds(bounds: Bounds, wishes: list[Place]) -> None:
    """Whatever is asked for one after another: no GPU in two places, slots and memory within their bounds."""
    taken: list[Place] = []
    for wish in wishes:
        if admits(bounds, taken, wish):
            taken.append(wish)
    gpus = [gpu for place in taken for gpu in place.gpus]
    assert len(gpus) == len(set(gpus))
    for spec_id in ("x", "y"):
        assert bounds.slots is None or sum(place.specification == spec_id for place in taken) <= bounds.slots
    assert bounds.memory_bytes is None or sum(place.memory_bytes for place in taken) <= bounds.memory_bytes
