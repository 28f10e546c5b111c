"""A worker with the real SDK that asks the CUDA driver what it may use, and uses it: no framework, the driver's library alone."""

import ctypes
import time
from typing import Any

import runpod


class Cuda:
    """The driver's calls that are needed here. Each raises when the driver says no."""

    def __init__(self) -> None:
        self._library = ctypes.CDLL("libcuda.so.1")

    def call(self, name: str, *arguments: Any) -> None:
        status = getattr(self._library, name)(*arguments)
        if status:
            raise RuntimeError(f"{name} answered {status}")

    def devices(self) -> int:
        """How many this process sees; none is an error of its own (100) for the driver."""
        if self._library.cuInit(0) == 100:
            return 0
        count = ctypes.c_int()
        self.call("cuDeviceGetCount", ctypes.byref(count))
        return count.value

    def name(self) -> str:
        text = ctypes.create_string_buffer(128)
        self.call("cuDeviceGetName", text, 128, 0)
        return text.value.decode()

    def fill(self, size: int) -> int:
        """Take that much memory, write it, read its last byte back."""
        context, place, last = ctypes.c_void_p(), ctypes.c_uint64(), ctypes.create_string_buffer(1)
        self.call("cuDevicePrimaryCtxRetain", ctypes.byref(context), 0)
        self.call("cuCtxSetCurrent", context)
        self.call("cuMemAlloc_v2", ctypes.byref(place), ctypes.c_size_t(size))
        self.call("cuMemsetD8_v2", place, ctypes.c_ubyte(0x5A), ctypes.c_size_t(size))
        self.call("cuMemcpyDtoH_v2", last, ctypes.c_uint64(place.value + size - 1), ctypes.c_size_t(1))
        return last.raw[0]


def handler(job: dict[str, Any]) -> Any:
    """`{"fill": bytes, "hold_s": s}`: what is seen, and what was read back; then it is held for so long."""
    order, cuda = job["input"], Cuda()
    seen: dict[str, Any] = {"devices": cuda.devices()}
    if seen["devices"]:
        seen |= {"name": cuda.name(), "read": cuda.fill(order["fill"])}
    runpod.serverless.progress_update(job, seen)
    time.sleep(order.get("hold_s", 0))
    return seen


if __name__ == "__main__":
    runpod.serverless.start({"handler": handler})
