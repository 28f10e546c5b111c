"""Many large bodies at once: a server takes no more memory for them than it says."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from tests.live import KEY, LiveServer
from tests.server.conftest import WORKERS

pytestmark = pytest.mark.slow

MIB = 1024 * 1024
CALLERS = 64
BODY = b'{"input":"' + b"x" * (4 * MIB) + b'"}'
BOUND_MIB = 64
"""`uploads_bytes_max`, as it comes."""
BESIDE_MIB = 96
"""What the rest of a server grows by under such load: reads of the connections, what a database's driver sends, freed memory that is
kept. All bodies together have 256 MiB, and a copy of each would have as much again."""


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def live(request: pytest.FixtureRequest, tmp_path: Path) -> LiveServer:
    """A server on either database that accepts such bodies."""
    more = {"database": request.getfixturevalue("postgres_url")} if request.param == "postgres" else {}
    return LiveServer(tmp_path / "data", input_bytes_max=8 * MIB, **more)


def resident_mib(live: LiveServer, name: str) -> float:
    """Memory of the server: `VmRSS` now, `VmHWM` at its peak."""
    assert live.process is not None
    status = Path(f"/proc/{live.process.pid}/status").read_text()
    return int(status.split(f"{name}:")[1].split()[0]) / 1024


@pytest.mark.timeout(240)
def test_64_uploads_of_4_mib(live: LiveServer) -> None:
    """64 submissions of 4 MiB that come at once are all accepted, and the server grows by its bound and a little, not by what they have."""
    with live:
        live.create("a", image=WORKERS, command="sleep 600", max_workers=1)
        before = resident_mib(live, "VmRSS")
        headers = {"Authorization": f"Bearer {KEY}"}

        def submit(_: int) -> int:
            return httpx.post(f"{live.url}/v2/a/run", content=BODY, headers=headers, timeout=200).status_code

        with ThreadPoolExecutor(CALLERS) as callers:
            assert set(callers.map(submit, range(CALLERS))) == {200}
        grown = resident_mib(live, "VmHWM") - before
        print(f"grown by {grown:.0f} MiB")
        assert grown < BOUND_MIB + BESIDE_MIB
