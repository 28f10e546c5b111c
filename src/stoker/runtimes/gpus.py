"""What this machine offers to workers: the GPUs that its driver knows, its cores, its memory.

Who holds which of them is the inventory's matter (`stoker.inventory`).
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

from stoker.runtimes import Capacity, Device

DRIVER: Final = "libnvidia-ml.so.1"
"""The driver's library, as `pynvml` asks the system for it."""
NO_DRIVER: Final = Capacity(text="no NVIDIA driver on this machine")


def read_capacity() -> Capacity:
    """Blocks: the first call may wake the driver, which takes a second on some machines."""
    memory_bytes = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return replace(_read_gpus(), cpus=os.cpu_count() or 0, memory_bytes=memory_bytes)


def _read_gpus() -> Capacity:
    """The NVIDIA devices, by UUID, which is what `CUDA_VISIBLE_DEVICES` takes and no reboot renumbers.

    The driver is kept open: waking it takes long. No library, no driver and a driver that answers with an error all mean no
    devices, and `text` says which.
    """
    try:
        ctypes.CDLL(DRIVER)
    except OSError:
        return NO_DRIVER
    try:
        import pynvml  # 18 MiB of memory, when it has to be compiled, that a server without GPUs can do without
    except ImportError:
        return Capacity(text="the package nvidia-ml-py is not installed, so GPUs cannot be seen")
    try:
        pynvml.nvmlInit()
        handles = [pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(pynvml.nvmlDeviceGetCount())]
        devices = tuple(_device(handle) for handle in handles)
        number = int(pynvml.nvmlSystemGetCudaDriverVersion())
    except (pynvml.NVMLError_LibraryNotFound, pynvml.NVMLError_DriverNotLoaded):
        return NO_DRIVER
    except pynvml.NVMLError as error:
        return Capacity(text=f"the NVIDIA driver does not answer: {error}")
    cuda = f"{number // 1000}.{number % 1000 // 10}"
    return Capacity(devices=devices, cuda=cuda, text="" if devices else "the NVIDIA driver knows no GPU")


def _device(handle: Any) -> Device:
    """One device. Those that share the memory of the host have none of their own; not every one knows what it draws."""
    import pynvml

    memory = _told(pynvml.nvmlDeviceGetMemoryInfo, handle)
    milliwatts = _told(pynvml.nvmlDeviceGetPowerUsage, handle)
    return Device(
        id=str(pynvml.nvmlDeviceGetUUID(handle)),
        name=str(pynvml.nvmlDeviceGetName(handle)),
        memory_bytes=0 if memory is None else int(memory.total),
        memory_used_bytes=None if memory is None else int(memory.used),
        power_w=None if milliwatts is None else int(milliwatts) / 1000,
    )


def _told(ask: Callable[[Any], Any], handle: Any) -> Any | None:
    """What the driver says; None where this device, or this driver, cannot say it."""
    import pynvml

    try:
        return ask(handle)
    except (pynvml.NVMLError_NotSupported, pynvml.NVMLError_FunctionNotFound):
        return None
