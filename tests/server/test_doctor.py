"""What `stoker doctor` finds, and what it says about it."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from stoker.cli import program
from stoker.doctor import clock_finding, disk_finding, driver_finding, port_finding, toolkit_findings, version_finding
from stoker.runtimes import Capacity, Device
from tests.docker import Engine


@pytest.mark.parametrize(
    ("version", "verdict"),
    [("19.03.15", "wrong"), ("20.10.24+dfsg1", "ok"), ("28.2.2", "ok"), ("27.0.0-rc.1", "ok")],
)
def test_old_engines_are_refused(version: str, verdict: str) -> None:
    """Containers reach the machine by a name that engines know since 20.10."""
    assert version_finding(version).verdict == verdict


def test_a_clock_that_is_off_is_found() -> None:
    """Log lines bear the engine's time, so it must be ours."""
    at_ms = 1_700_000_000_000
    assert clock_finding("2023-11-14T22:13:20.123456789Z", at_ms).verdict == "ok"
    assert clock_finding("2023-11-14T22:15:20Z", at_ms).verdict == "wrong"


def test_disk_limits_depend_on_the_driver() -> None:
    """Only some drivers enforce them; for the others it is said how they are kept."""
    assert driver_finding({"Driver": "overlay2", "DriverStatus": [["Backing Filesystem", "xfs"]]}).verdict == "ok"
    assert driver_finding({"Driver": "overlay2", "DriverStatus": [["Backing Filesystem", "extfs"]]}).verdict == "note"


def test_gpus_need_the_toolkit() -> None:
    """GPUs that containers cannot get are a fault with a fix; without GPUs nobody needs the toolkit."""
    two = Capacity(devices=(Device(id="a", name="GPU"), Device(id="b", name="GPU")))
    assert toolkit_findings({"Runtimes": {"runc": {}}}, Capacity(text="none")) == []
    (fault,) = toolkit_findings({"Runtimes": {"runc": {}}}, two)
    assert (fault.verdict, "nvidia-ctk" in fault.fix) == ("wrong", True)
    assert toolkit_findings({"Runtimes": {"nvidia": {}}}, two)[0].verdict == "ok"


def test_machine(tmp_path: Path) -> None:
    """A disk has its free space told, and a port that can be listened on is free."""
    assert "GB are free" in disk_finding("disk", tmp_path).text
    assert port_finding("127.0.0.1", 0).verdict == "ok"
    assert port_finding("192.0.2.1", 0).verdict == "note"


def test_without_an_engine_it_says_how_to_get_one(tmp_path: Path) -> None:
    """Asked for Docker, a missing engine is a fault: the exit status says so, and the fix is named."""
    environ = {"STOKER_RUNTIME": "docker", "STOKER_DOCKER_HOST": f"unix://{tmp_path}/none", "STOKER_PORT": "0"}
    result = CliRunner().invoke(program, ["doctor", "--json", "--data-dir", str(tmp_path)], env=environ)
    found = {one["subject"]: one for one in json.loads(result.stdout)["findings"]}
    assert found["Docker engine"]["verdict"] == "wrong"
    assert "apt-get install docker.io" in found["Docker engine"]["fix"]


@pytest.mark.docker
@pytest.mark.slow
def test_with_an_engine(docker_engine: Engine, tmp_path: Path) -> None:
    """A real engine is found with its version, its clock and its disk."""
    environ = {"STOKER_DOCKER_HOST": docker_engine.host, "STOKER_PORT": "0"}
    result = CliRunner().invoke(program, ["doctor", "--json", "--data-dir", str(tmp_path)], env=environ)
    found = {one["subject"]: one["verdict"] for one in json.loads(result.stdout)["findings"]}
    assert found["Docker engine"] == "ok"
    assert found["clock"] == "ok"
    assert "engine's disk" in found
