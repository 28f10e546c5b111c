"""A machine with two GPUs, where there is none: a driver's library, and an engine with the toolkit's hook.

What needs no GPU to be true is real: the driver's calls, the server's ledger, the engine's device requests, the containers.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import pytest

from stoker.runtimes.gpus import read_capacity
from tests.docker import Engine, check_machine, load_base, memory_disk

DEVICES: Final = ("GPU-0000aaaa-1111-2222-3333-444444444444", "GPU-0000bbbb-1111-2222-3333-444444444444")
"""As `driver.c` has them."""
_HOOK: Final = "#!/bin/sh\necho called >> {folder}/called\n"


@pytest.fixture
def real_gpus() -> int:
    """How many devices NVIDIA's driver lists on this machine."""
    capacity = read_capacity()
    if not capacity.devices:
        pytest.skip(capacity.text)
    return len(capacity.devices)


@pytest.fixture
def gpu_driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Servers that are started find the driver with two devices."""
    if shutil.which("gcc") is None:
        pytest.skip("the driver's library cannot be built without gcc (Debian: gcc libc6-dev)")
    library = tmp_path / "driver" / "libnvidia-ml.so.1"
    library.parent.mkdir()
    source = Path(__file__).with_name("driver.c")
    subprocess.run(["gcc", "-shared", "-fPIC", "-Wall", "-Wextra", "-Werror", "-o", library, source], check=True)
    monkeypatch.setenv("LD_LIBRARY_PATH", str(library.parent))


class GpuEngine(Engine):
    """An engine that finds the GPU toolkit's hook, and so takes device requests; the hook does nothing but say that it was called."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, alone=True)

    def _launch(self, words: Sequence[str]) -> None:
        toolkit = self.folder / "toolkit"
        toolkit.mkdir(parents=True, exist_ok=True)
        hook = toolkit / "nvidia-container-runtime-hook"
        hook.write_text(_HOOK.format(folder=toolkit))
        hook.chmod(0o755)
        super()._launch(["env", f"PATH={toolkit}:{os.environ['PATH']}", *words])

    @property
    def calls(self) -> int:
        """How many containers the hook was called for."""
        called = self.folder / "toolkit/called"
        return len(called.read_text().splitlines()) if called.exists() else 0


@pytest.fixture
def gpu_engine() -> Iterator[GpuEngine]:
    """An engine that hands out GPUs, with the base image."""
    check_machine()
    with memory_disk(1024) as disk:
        engine = GpuEngine(disk / "engine")
        engine.start()
        try:
            load_base(engine)
            yield engine
        finally:
            engine.close()
