"""What holds for every test: no blocking call in the event loop, reproducible chance, nothing skipped unseen.

The hooks run in each pytest-xdist worker too, so this module keeps no state.
"""

import os
from collections.abc import Generator, Iterator

import pytest
import structlog
from blockbuster import blockbuster_ctx
from hypothesis import HealthCheck, settings

from tests.blocking import allow
from tests.cluster import cluster
from tests.docker import docker_engine, lonely_engine, registry, small_engine
from tests.elsewhere import rootless_engine, tcp_engine
from tests.gpus import gpu_driver, gpu_engine, real_gpus
from tests.postgres import postgres, postgres_url

__all__ = [  # fixtures for everybody
    "cluster",
    "docker_engine",
    "gpu_driver",
    "gpu_engine",
    "lonely_engine",
    "postgres",
    "postgres_url",
    "real_gpus",
    "registry",
    "rootless_engine",
    "small_engine",
    "tcp_engine",
]

CI = os.environ.get("CI", "").lower() not in ("", "0", "false")

# Only these may be absent where CI runs; a test that is skipped for any other reason fails there.
MAY_BE_ABSENT = frozenset({"gpu"})

# deadline: shared machines stall for longer than any honest limit; pytest-timeout bounds a hang.
# function_scoped_fixture: `no_blocking` below is one, holds no state, and need not be renewed for each example.
settings.register_profile(
    "laptop", deadline=None, print_blob=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
settings.register_profile("ci", settings.get_profile("laptop"), derandomize=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci" if CI else "laptop"))


def pytest_report_header() -> str:
    return f"hypothesis profile {settings.get_current_profile_name()}, skips {'fail (CI is set)' if CI else 'allowed'}"


@pytest.fixture(autouse=True)
def logs_of_one_test() -> Iterator[None]:
    """A test that starts a server in this process tells where logs go: to its own captured stderr, which is closed after it."""
    yield
    structlog.reset_defaults()


@pytest.fixture(autouse=True)
def no_blocking(request: pytest.FixtureRequest) -> Iterator[None]:
    """A blocking call that `stoker` makes inside a running event loop raises `blockbuster.BlockingError`.

    Threads without a loop may block: the store's writer does. `@pytest.mark.allow_blocking("reason")` turns it off.
    """
    allowed = request.node.get_closest_marker("allow_blocking")
    if allowed is not None:
        assert allowed.args, 'say why: @pytest.mark.allow_blocking("reason")'
        yield
        return
    with blockbuster_ctx("stoker") as guard:
        allow(guard)
        yield


@pytest.hookimpl(tryfirst=True)  # pytest-xdist reads the groups in the same hook
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests on a cluster stop parts of it: one process runs them all."""
    for item in items:
        if item.get_closest_marker("kubernetes") is not None:
            item.add_marker(pytest.mark.xdist_group("cluster"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if CI and report.skipped and not hasattr(report, "wasxfail"):
        markers = {marker.name for marker in item.iter_markers()}
        if not markers & MAY_BE_ABSENT:
            _fail(report, needs=", ".join(sorted(markers & {"sdk", "slow"})))
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    if CI and report.skipped:
        markers = {marker.name for marker in collector.iter_markers()}
        if not markers & MAY_BE_ABSENT:
            _fail(report, needs="")
    return report


def _fail(report: pytest.TestReport | pytest.CollectReport, *, needs: str) -> None:
    """Turn a skip into a failure that says which service was missing."""
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    report.outcome = "failed"
    report.longrepr = (
        f"Skipped where CI is set: {reason.removeprefix('Skipped: ')}\n"
        f"{report.nodeid} is marked {needs or 'nothing'}; "
        f"only tests marked {', '.join(sorted(MAY_BE_ABSENT))} may be skipped there."
    )
