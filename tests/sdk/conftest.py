"""One real server for all tests of a process."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.live import LiveServer

OUTPUT_BYTES_MAX = 64 * 1024


@pytest.fixture(scope="session")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """A server with short holds, and a lease so long that it explains nothing that these tests see.

    An obedient worker shows by its pings that it let a job go: a ping that is 2 s younger than the stop. The grace is longer.
    """
    terms = {"hold_s": 2, "lease_s": 60, "cancel_grace_s": 6, "stop_grace_s": 10, "output_bytes_max": OUTPUT_BYTES_MAX}
    with LiveServer(tmp_path_factory.mktemp("server"), **terms) as server:
        yield server
