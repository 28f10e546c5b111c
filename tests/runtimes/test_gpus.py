"""What the driver and the machine are asked."""

import subprocess

import pytest

from stoker.runtimes.gpus import read_capacity


def test_capacity_without_a_driver_says_why() -> None:
    """A machine without GPUs offers none and says why; one with GPUs says nothing."""
    capacity = read_capacity()
    assert bool(capacity.text) != bool(capacity.devices)
    assert capacity.cpus > 0
    assert capacity.memory_bytes > 0


@pytest.mark.gpu
@pytest.mark.usefixtures("real_gpus")
def test_capacity_is_what_the_driver_lists() -> None:
    """Ids are the UUIDs that the driver's own tool shows, in its order: what `CUDA_VISIBLE_DEVICES` takes."""
    shown = subprocess.run(
        ["nvidia-smi", "--query-gpu=uuid,name,memory.total", "--format=csv,noheader,nounits"],
        capture_output=True,
        check=True,
        text=True,
    )
    capacity = read_capacity()
    assert [
        f"{device.id}, {device.name}, {device.memory_bytes // 1024**2}" for device in capacity.devices
    ] == shown.stdout.splitlines()
