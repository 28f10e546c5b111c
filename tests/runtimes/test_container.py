"""What containers are made of, without an engine: the create call, names and progress of images, words for deaths, log lines."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from stoker.errors import InvalidInput, StokerError, Unavailable
from stoker.ids import WorkerId
from stoker.registry import full_name
from stoker.runtimes import LogLine, WorkerSpec
from stoker.runtimes.docker.container import Terms, container_config, published
from stoker.runtimes.docker.death import exit_of
from stoker.runtimes.docker.disk import keeps_limits, too_full
from stoker.runtimes.docker.networks import first_address, network_config
from stoker.runtimes.docker.record import Records
from stoker.runtimes.output import LINE_CHARACTERS_MAX, lines_of, moment_ms
from stoker.runtimes.reference import Progress, check_name, is_pinned, pull_error, repository
from stoker.worker import Exit

TERMS = Terms(installation="here")
DIGEST = "sha256:" + "a" * 64


def config(terms: Terms = TERMS, *, enforce_disk: bool = True, **fields: Any) -> dict[str, Any]:
    """The create call of a worker."""
    spec = WorkerSpec(worker=WorkerId("w1"), image="image:1", **fields)
    return container_config(spec, terms, network="net", enforce_disk=enforce_disk)


# ── the create call ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_port_that_is_published() -> None:
    """Where a worker is reached is what the engine says of its one published port; nothing when there is none."""
    ports = {"22/tcp": None, "8000/tcp": [{"HostIp": "127.0.0.1", "HostPort": "32768"}]}
    assert published({"NetworkSettings": {"Ports": ports}}) == "127.0.0.1:32768"
    for nowhere in ({}, {"NetworkSettings": {"Ports": None}}, {"NetworkSettings": {"Ports": {"22/tcp": None}}}):
        assert published(nowhere) == ""


def test_gpus_are_the_exact_devices() -> None:
    """The reserved devices and no others, by device request and in the variable that images look at."""
    made = config(gpus=("GPU-1", "GPU-2"))
    assert made["HostConfig"]["DeviceRequests"] == [{"DeviceIDs": ["GPU-1", "GPU-2"], "Capabilities": [["gpu"]]}]
    assert "NVIDIA_VISIBLE_DEVICES=GPU-1,GPU-2" in made["Env"]
    assert "DeviceRequests" not in config()["HostConfig"]


def test_a_user_cannot_choose_devices() -> None:
    """The variable is ours, whatever the endpoint's environment says."""
    made = config(env={"NVIDIA_VISIBLE_DEVICES": "all", "A": "b=c"})
    assert made["Env"] == ["NVIDIA_VISIBLE_DEVICES=void", "A=b=c"]


def test_command_and_entrypoint_are_the_images_unless_given() -> None:
    """What is left out stays the image's; what is given is split as a shell would."""
    assert {"Cmd", "Entrypoint"} & config().keys() == set()
    made = config(command="python 'my handler.py'", entrypoint="/usr/bin/env -S")
    assert (made["Cmd"], made["Entrypoint"]) == (["python", "my handler.py"], ["/usr/bin/env", "-S"])
    with pytest.raises(InvalidInput) as refused:
        config(entrypoint="unbalanced '")
    assert refused.value.field == "entrypoint"


def test_limits_are_those_of_the_settings() -> None:
    """Memory without swap, cores, shared memory, and disk where the engine can: else the label that is looked at."""
    terms = Terms(installation="here", memory_bytes=5, cpus=1.5, shm_bytes=6, disk_bytes=7)
    host = config(terms)["HostConfig"]
    assert (host["Memory"], host["MemorySwap"], host["NanoCpus"], host["ShmSize"]) == (5, 5, 1_500_000_000, 6)
    assert host["StorageOpt"] == {"size": "7"}
    watched = config(terms, enforce_disk=False, disk_bytes=8)
    assert "StorageOpt" not in watched["HostConfig"]
    assert watched["Labels"]["stoker.disk_bytes"] == "8"


def test_bridges_fit_the_kernel() -> None:
    """A bridge's name has at most 15 characters, begins as the firewall rule says, and differs between endpoints."""
    bridges = [
        network_config("here", endpoint)["Options"]["com.docker.network.bridge.name"]
        for endpoint in ("a", "b", "a" * 60)
    ]
    assert len(set(bridges)) == 3
    assert all(len(bridge) <= 15 and bridge.startswith("stk-") for bridge in bridges)


@pytest.mark.parametrize(("subnet", "address"), [("172.17.0.0/16", "172.17.0.1"), ("", ""), ("fd00::/64", "fd00::1")])
def test_first_address(subnet: str, address: str) -> None:
    """What a young engine does not say is the first address of its network."""
    assert first_address(subnet) == address


# ── images ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("image", "full", "place"),
    [
        ("python:3.12", "docker.io/library/python:3.12", "docker.io/library/python"),
        ("team/worker", "docker.io/team/worker", "docker.io/team/worker"),
        ("localhost/a:1", "localhost/a:1", "localhost/a"),
        ("127.0.0.1:5000/a/b:1", "127.0.0.1:5000/a/b:1", "127.0.0.1:5000/a/b"),
        (f"registry.io/a@{DIGEST}", f"registry.io/a@{DIGEST}", "registry.io/a"),
    ],
)
def test_names_are_spelled_out(image: str, full: str, place: str) -> None:
    """Short names mean what they mean to the engine; tag and digest are no part of the place."""
    check_name(image)
    assert (full_name(image), repository(image)) == (full, place)
    assert is_pinned(image) is ("@" in image)


@pytest.mark.parametrize(
    "image", ["", "registry.io/Upper", "a b", "-x", "a:", "http://a/b", "dir:/x", f"a@{DIGEST[:-1]}"]
)
def test_what_is_no_name_is_refused(image: str) -> None:
    """What no engine understands is refused before one is asked, with the field and the next step."""
    with pytest.raises(InvalidInput) as refused:
        check_name(image)
    assert (refused.value.field, bool(refused.value.next_step)) == ("image", True)


def test_progress_adds_up_layers() -> None:
    """Layers, bytes and speed, whatever order the engine speaks in."""
    progress = Progress("x:1", 1_000)
    assert progress.text(1_000) == "pulling x:1: asking the registry"
    for layer in ("a", "b"):
        progress.hear({"id": layer, "status": "Pulling fs layer"})
    progress.hear({"id": "c", "status": "Already exists"})
    progress.hear({"status": "Digest: …"})
    progress.hear({"id": "latest", "status": "Pulling from x"})
    progress.hear({"id": "a", "status": "Downloading", "progressDetail": {"current": 30_000_000, "total": 40_000_000}})
    assert progress.text(3_000) == "pulling x:1: 1 of 3 layers, 30 of 40 MB, 15.0 MB/s"
    progress.hear({"id": "a", "status": "Download complete"})
    progress.hear({"id": "a", "status": "Pull complete"})
    assert progress.text(5_000) == "pulling x:1: 2 of 3 layers, 40 of 40 MB, 10.0 MB/s"


@pytest.mark.parametrize(
    ("said", "kind", "code"),
    [
        ("toomanyrequests: You have reached your pull rate limit", Unavailable, "image_rate_limited"),
        ("write /var/lib/docker/tmp/x: no space left on device", Unavailable, "disk_full"),
        ("no matching manifest for linux/amd64 in the manifest list entries", InvalidInput, "wrong_architecture"),
        (
            "pull access denied for x, repository does not exist or may require 'docker login'",
            InvalidInput,
            "image_denied",
        ),
        ("manifest for x:9 not found: manifest unknown: manifest unknown", InvalidInput, "image_not_found"),
        ('Get "https://x/v2/": dial tcp: lookup x: no such host', Unavailable, "registry_unreachable"),
        ("something new", Unavailable, "pull_failed"),
    ],
)
def test_refused_pulls_have_codes(said: str, kind: type[StokerError], code: str) -> None:
    """What the engine says becomes a code, and whether trying again may help."""
    error = pull_error("x:9", said)
    assert (type(error), error.code) == (kind, code)
    assert said[:20] in error.message


# ── the end ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("state", "more", "text"),
    [
        ({"ExitCode": 0}, {"last_line": "bye"}, "exited normally (exit code 0)"),
        ({"ExitCode": 3}, {"last_line": " why "}, "exit code 3; last output: why"),
        ({"ExitCode": 139}, {}, "killed by SIGSEGV (exit code 139)"),
        ({"ExitCode": 137}, {"stopped": "because I said so"}, "killed by SIGKILL (exit code 137) because I said so"),
        (
            {"ExitCode": 137, "OOMKilled": True},
            {"victim": "python3 (process 7)"},
            "out of memory: the kernel killed python3 (process 7) because the worker reached its memory limit (exit code 137)",
        ),
        ({"ExitCode": 127}, {}, "the command was not found in the image (exit code 127)"),
        ({"ExitCode": 128, "Error": "no mount"}, {}, "exit code 128; the engine says: no mount"),
    ],
)
def test_deaths_in_words(state: dict[str, Any], more: dict[str, str], text: str) -> None:
    """Each way to end has its sentence."""
    words = {"stopped": "", "victim": "", "last_line": ""} | more
    assert exit_of(state, **words) == Exit(code=state["ExitCode"], text=text)


@pytest.mark.parametrize(
    ("driver", "status", "keeps"),
    [
        ("overlay2", [["Backing Filesystem", "xfs"], ["Supports d_type", "true"]], True),
        ("overlay2", [["Backing Filesystem", "extfs"], ["Supports d_type", "true"]], False),
        ("btrfs", [["Build Version", "Btrfs v6.2"], ["Library Version", "102"]], False),
        ("zfs", [["Zpool", "tank"], ["Zpool Health", "ONLINE"]], True),
        ("overlayfs", [["driver-type", "io.containerd.snapshotter.v1"]], False),
        ("zfs", [["driver-type", "io.containerd.snapshotter.v1"]], False),
        ("vfs", None, False),
    ],
)
def test_which_engines_keep_disk_limits(driver: str, status: list[list[str]] | None, keeps: bool) -> None:
    """A limit is left to the engine only if it counts what is written, and takes it seriously."""
    assert keeps_limits({"Driver": driver, "DriverStatus": status}) is keeps


def test_who_wrote_too_much() -> None:
    """Only who has a limit, is over it and still runs."""
    one = {"Labels": {"stoker.worker": "w", "stoker.disk_bytes": "1073741824"}, "State": "running", "SizeRw": 2 << 30}
    assert too_full([one]) == {"w": "because it wrote 2.0 GiB to its own disk, and 1.0 GiB are allowed"}
    assert too_full([{**one, "State": "exited"}, {**one, "SizeRw": 5}, {**one, "Labels": {"stoker.worker": "v"}}]) == {}


# ── output ────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def lines(*pieces: str) -> list[LogLine]:
    """The lines of an engine's pieces."""

    async def stream() -> AsyncIterator[str]:
        for piece in pieces:
            yield piece

    return [line async for line in lines_of(stream())]


async def test_lines_have_the_engines_time() -> None:
    """Milliseconds of the engine's nanoseconds; carriage returns go, and a line beyond the limit is cut."""
    stamp = "2026-01-02T03:04:05.678901234Z"
    assert await lines(f"{stamp} a b\r\n") == [LogLine(at_ms=1_767_323_045_678, text="a b")]
    cut = await lines(f"{stamp} {'x' * (LINE_CHARACTERS_MAX + 1)}\n")
    assert [len(line.text) for line in cut] == [LINE_CHARACTERS_MAX, 1]
    assert moment_ms("2026-01-02T03:04:05Z") == 1_767_323_045_000
    assert moment_ms("nonsense") == 0


def test_records_are_read_back(tmp_path: Path) -> None:
    """An end and an output are what was written; what was not finished does not exist."""
    records, worker = Records(tmp_path / "none-yet"), WorkerId("w1")
    assert records.read() == {}
    end, output = (
        Exit(code=3, text="exit code 3"),
        [LogLine(at_ms=number, text=f"line ü {number}") for number in range(3)],
    )
    records.write(worker, end, output)
    (tmp_path / "none-yet" / "w2").mkdir()
    assert records.read() == {worker: end}
    assert records.output(worker, 2) == output[1:]
    assert records.output(worker, 0) == records.output(WorkerId("w2"), 5) == []
    records.remove(worker)
    assert records.read() == {}
