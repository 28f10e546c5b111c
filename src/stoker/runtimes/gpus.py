"""The GPUs of this machine, as its driver knows them. Who holds which of them is the ledger's matter (`stoker.gpus`)."""

from __future__ import annotations

from stoker.runtimes import Capacity


def read_capacity() -> Capacity:
    """The NVIDIA devices of this machine, by UUID, which is what `CUDA_VISIBLE_DEVICES` takes and no reboot renumbers.

    Blocks: the first call may wake the driver, which takes a second on some machines. The driver is kept open for that
    reason. No library, no driver and a driver that answers with an error all mean no devices, and `text` says which.
    """
    try:
        import pynvml
    except ImportError:
        return Capacity(text="the package nvidia-ml-py is not installed, so GPUs cannot be seen")
    try:
        pynvml.nvmlInit()
        devices = [pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(pynvml.nvmlDeviceGetCount())]
        uuids = tuple(str(pynvml.nvmlDeviceGetUUID(device)) for device in devices)
        names = tuple(str(pynvml.nvmlDeviceGetName(device)) for device in devices)
        number = int(pynvml.nvmlSystemGetCudaDriverVersion())
    except (pynvml.NVMLError_LibraryNotFound, pynvml.NVMLError_DriverNotLoaded):
        return Capacity(text="no NVIDIA driver on this machine")
    except pynvml.NVMLError as error:
        return Capacity(text=f"the NVIDIA driver does not answer: {error}")
    cuda = f"{number // 1000}.{number % 1000 // 10}"
    return Capacity(gpus=uuids, gpu_names=names, cuda=cuda, text="" if uuids else "the NVIDIA driver knows no GPU")
