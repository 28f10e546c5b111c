"""The ledger of GPUs, and what the driver is asked."""

import shutil
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stoker.gpus import free_devices, reserve
from stoker.runtimes.gpus import read_capacity

DEVICES = st.lists(st.integers(0, 15).map("GPU-{}".format), unique=True, max_size=8)
ANY_DEVICES = st.lists(st.integers(0, 15).map("GPU-{}".format), max_size=12)


@given(capacity=DEVICES, reserved=ANY_DEVICES)
def test_free_is_what_nobody_holds(capacity: list[str], reserved: list[str]) -> None:
    """Free devices are those of the machine that are not held, in the machine's order."""
    assert free_devices(capacity, reserved) == [device for device in capacity if device not in reserved]


@given(capacity=DEVICES, wishes=st.lists(st.integers(0, 4), max_size=12))
def test_nothing_is_promised_twice(capacity: list[str], wishes: list[int]) -> None:
    """Whatever workers ask for, one after another, each device has at most one holder, and nobody gets a part."""
    held: list[str] = []
    for count in wishes:
        free = len(capacity) - len(held)
        given_out = reserve(capacity, held, count)
        if given_out is None:
            assert free < count
        else:
            assert len(given_out) == count
            held.extend(given_out)
    assert len(held) == len(set(held))
    assert set(held) <= set(capacity)


@given(capacity=DEVICES, reserved=ANY_DEVICES, count=st.integers(1, 4))
def test_returned_devices_can_be_promised_again(capacity: list[str], reserved: list[str], count: int) -> None:
    """The ledger has no memory: what is no longer held is free."""
    first = reserve(capacity, reserved, count)
    assert reserve(capacity, reserved, count) == first


def test_capacity_without_a_driver_says_why() -> None:
    """A machine without GPUs offers none and says why; one with GPUs says nothing."""
    capacity = read_capacity()
    assert bool(capacity.text) != bool(capacity.gpus)
    assert len(capacity.gpus) == len(capacity.gpu_names)


@pytest.mark.gpu
def test_capacity_is_what_the_driver_lists() -> None:
    """Ids are the UUIDs that the driver's own tool shows, in its order: what `CUDA_VISIBLE_DEVICES` takes."""
    if shutil.which("nvidia-smi") is None:
        pytest.skip("no NVIDIA driver on this machine")
    shown = subprocess.run(
        ["nvidia-smi", "--query-gpu=uuid,name", "--format=csv,noheader"], capture_output=True, check=True, text=True
    )
    capacity = read_capacity()
    assert [f"{uuid}, {name}" for uuid, name in zip(capacity.gpus, capacity.gpu_names, strict=True)] == (
        shown.stdout.splitlines()
    )
