"""The rules that conftest.py lays on every test, tried on small suites of their own."""

from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

SKIPS = """
import pytest

def test_runs():
    pass

@pytest.mark.sdk
def test_skipped():
    pytest.skip("the SDK environment is missing: make sdks")

@pytest.mark.gpu
def test_without_gpu():
    pytest.skip("no GPU")
"""

BLOCKING = """
import time

import pytest
import stoker
from blockbuster import BlockingError

# a module that lies in stoker's folder, as far as Python can tell
ours = {}
exec(compile("def tarry(): time.sleep(0.001)", stoker.__path__[0] + "/ours.py", "exec"), {"time": time}, ours)
tarry = ours["tarry"]

async def test_blocking_call_in_the_loop_raises():
    with pytest.raises(BlockingError):
        tarry()

def test_blocking_call_outside_a_loop_is_fine():
    tarry()

async def test_other_peoples_blocking_call_is_fine():
    time.sleep(0.001)

@pytest.mark.allow_blocking("to try the marker")
async def test_blocking_call_allowed_by_mark():
    tarry()
"""

CLUSTER = """
import os

import pytest

@pytest.mark.kubernetes
@pytest.mark.parametrize("number", range(4))
def test_stops_a_part(number, pytestconfig):
    (pytestconfig.rootpath / f"on-{os.environ['PYTEST_XDIST_WORKER']}").touch()

@pytest.mark.parametrize("number", range(4))
def test_of_something_else(number):
    pass
"""


@pytest.fixture
def suite(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """An empty suite under our pyproject.toml and conftest.py."""
    pytester.makefile(".toml", pyproject=(ROOT / "pyproject.toml").read_text())
    pytester.mkdir("tests")
    for path in (ROOT / "tests").glob("*.py"):
        if not path.name.startswith("test_"):  # the conftest, and what it stands on
            (pytester.path / "tests" / path.name).write_text(path.read_text())
    monkeypatch.delenv("CI", raising=False)
    return pytester


def run(suite: pytest.Pytester, source: str, *options: str) -> pytest.RunResult:
    (suite.path / "tests/test_small.py").write_text(source)
    return suite.runpytest_subprocess("-p", "no:cacheprovider", *options)


@pytest.mark.slow
def test_skip_is_shown_outside_ci(suite: pytest.Pytester) -> None:
    """Outside CI a skipped test is listed with its reason and the run passes."""
    result = run(suite, SKIPS)
    result.assert_outcomes(passed=1, skipped=2)
    result.stdout.fnmatch_lines(["SKIPPED*the SDK environment is missing*"])


@pytest.mark.slow
def test_skip_fails_in_ci(suite: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """In CI a skipped test fails and says what was missing, unless it is marked as needing what CI lacks."""
    monkeypatch.setenv("CI", "true")
    result = run(suite, SKIPS)
    result.assert_outcomes(passed=1, skipped=1, failed=1)
    result.stdout.fnmatch_lines(["*the SDK environment is missing: make sdks*", "*test_skipped is marked sdk*"])


@pytest.mark.slow
def test_module_skip_fails_in_ci(suite: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """In CI a whole module that skips itself fails the run."""
    monkeypatch.setenv("CI", "true")
    result = run(suite, 'import pytest\n\npytest.importorskip("no_such_module")\n')
    assert result.ret != 0
    result.stdout.fnmatch_lines(["*could not import 'no_such_module'*"])


@pytest.mark.slow
def test_blocking_calls(suite: pytest.Pytester) -> None:
    """A blocking call that stoker makes inside the event loop fails the test; elsewhere, or marked, it does not."""
    run(suite, BLOCKING).assert_outcomes(passed=4)


@pytest.mark.slow
def test_one_process_has_the_cluster(suite: pytest.Pytester) -> None:
    """Tests that stop parts of the cluster are all run by one process, one after the other, however many processes there are."""
    run(suite, CLUSTER, "-n", "2", "--dist", "loadgroup").assert_outcomes(passed=8)
    assert len(list(suite.path.glob("on-*"))) == 1
