"""Volumes over HTTP: what a client may do with one, files that stream, and what keeps a team to its own."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import psutil
import pytest

from stoker.endpoint import LIMITS
from tests.live import KEY, LiveServer, until
from tests.web.hands import COMMAND, WORKERS

pytestmark = pytest.mark.slow

MIB = 1024 * 1024
PLENTY = 96 * MIB
"""More than the server may have in memory for files."""


@pytest.fixture
def volume(api: httpx.Client, name: str) -> str:
    """A volume of our team."""
    assert api.post("/api/volumes", json={"name": name, "size_gb": 1}).status_code == 201
    return name


def refused(answer: httpx.Response, status: int, code: str, field: str | None = None) -> dict[str, Any]:
    """The body of a refusal, which says what must be."""
    body: dict[str, Any] = answer.json()
    assert (answer.status_code, body["code"]) == (status, code), body
    assert field is None or body["field"] == field, body
    return body


def inside(live: LiveServer, api: httpx.Client, volume: str) -> Path:
    """Where the volume's files are on the machine."""
    found = str(api.get(f"/api/volumes/{volume}").json()["id"])
    return live.data_dir / "volumes" / found / "files"


# ── volumes ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_volume_is_made_grown_and_deleted(api: httpx.Client, name: str) -> None:
    """A volume has a name, a size and a place; it grows, never shrinks, and goes with everything in it."""
    made = api.post("/api/volumes", json={"name": name, "size_gb": 2}).json()
    assert (made["name"], made["size_gb"], made["mount_path"]) == (name, 2, "/runpod-volume")
    assert (made["used_bytes"], made["over"], made["endpoints"]) == (0, False, [])
    assert name in names_of_all(api)
    assert api.get(f"/api/volumes/{made['id']}").json()["name"] == name
    grown = api.patch(f"/api/volumes/{name}", json={"size_gb": 3, "mount_path": "/models"}).json()
    assert (grown["size_gb"], grown["mount_path"]) == (3, "/models")
    refused(api.patch(f"/api/volumes/{name}", json={"size_gb": 2}), 400, "volume_cannot_shrink", "size_gb")
    refused(api.post("/api/volumes", json={"name": name, "size_gb": 1}), 409, "name_taken", "name")
    assert api.delete(f"/api/volumes/{name}").status_code == 200
    refused(api.get(f"/api/volumes/{name}"), 404, "volume_not_found")


@pytest.mark.parametrize(
    ("body", "code", "field"),
    [
        ({"name": "x", "size_gb": 0}, "out_of_range", "size_gb"),
        ({"name": "x", "size_gb": 65_537}, "out_of_range", "size_gb"),
        ({"name": "x", "size_gb": "1"}, "invalid_input", "size_gb"),
        ({"name": "x"}, "invalid_input", "size_gb"),
        ({"name": "Up", "size_gb": 1}, "invalid_input", "name"),
        ({"name": "a/b", "size_gb": 1}, "invalid_input", "name"),
        ({"name": "..", "size_gb": 1}, "invalid_input", "name"),
        ({"name": "", "size_gb": 1}, "invalid_input", "name"),
        ({"name": "n" * 64, "size_gb": 1}, "invalid_input", "name"),
        ({"name": "x", "size_gb": 1, "mount_path": "models"}, "invalid_input", "mount_path"),
        ({"name": "x", "size_gb": 1, "mount_path": "/a/../b"}, "invalid_input", "mount_path"),
        ({"name": "x", "size_gb": 1, "mount_path": "/"}, "invalid_input", "mount_path"),
        ({"name": "x", "size_gb": 1, "mount_path": "/proc/1"}, "invalid_input", "mount_path"),
        ({"name": "x", "size_gb": 1, "colour": 1}, "invalid_input", "colour"),
    ],
)
def test_values_that_are_refused(api: httpx.Client, body: dict[str, Any], code: str, field: str) -> None:
    """What cannot be a volume is refused with the field, and nothing is made."""
    before = names_of_all(api)
    refused(api.post("/api/volumes", json=body), 400, code, field)
    assert names_of_all(api) == before


def names_of_all(api: httpx.Client) -> list[str]:
    """Which volumes there are."""
    return [one["name"] for one in api.get("/api/volumes").json()["volumes"]]


def test_range_is_served(api: httpx.Client) -> None:
    """The range of sizes is served with all others."""
    served = api.get("/api/limits").json()
    assert served["volume.size_gb"] == {
        "least": 1,
        "most": 65_536,
        "unit": "GiB",
        "why": served["volume.size_gb"]["why"],
    }
    assert set(LIMITS) <= set(served)


# ── files ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_files_come_and_go(api: httpx.Client, volume: str) -> None:
    """A file is uploaded, listed, downloaded and deleted, whatever its name is made of; usage follows at once."""
    path = f"/api/volumes/{volume}/files"
    name = "a b/ü%2F?#&=.bin"
    url = f"{path}/a%20b/%C3%BC%252F%3F%23%26%3D.bin"
    body = os.urandom(3 * MIB)
    sent = api.put(url, content=body).json()
    assert sent["path"] == name
    assert sent["volume"]["used_bytes"] >= len(body)
    (folder,) = api.get(path).json()["files"]
    assert (folder["name"], folder["kind"]) == ("a b", "directory")
    (file,) = api.get(path, params={"path": "a b"}).json()["files"]
    assert (file["name"], file["kind"], file["size"]) == ("ü%2F?#&=.bin", "file", len(body))
    assert api.get(url).content == body
    refused(api.delete(f"{path}/a%20b"), 409, "directory_not_empty", "path")
    assert api.delete(f"{path}/a%20b", params={"recursive": True}).status_code == 200
    assert api.get(path).json() == {"path": "", "files": [], "more": False}
    assert api.get(f"/api/volumes/{volume}").json()["used_bytes"] < len(body)
    refused(api.get(url), 404, "file_not_found", "path")
    refused(api.delete(url), 404, "file_not_found", "path")


def test_pages_of_a_directory(api: httpx.Client, volume: str) -> None:
    """A directory comes in pages."""
    path = f"/api/volumes/{volume}/files"
    for number in range(3):
        api.put(f"{path}/{number}", content=b"")
    page = api.get(path, params={"limit": 2}).json()
    assert ([one["name"] for one in page["files"]], page["more"]) == (["0", "1"], True)
    page = api.get(path, params={"limit": 2, "after": "1"}).json()
    assert ([one["name"] for one in page["files"]], page["more"]) == (["2"], False)
    refused(api.get(path, params={"limit": 0}), 400, "invalid_input", "limit")


@pytest.mark.parametrize(
    ("asked", "status", "start", "end"),
    [
        ("bytes=0-0", 206, 0, 1),
        ("bytes=5-", 206, 5, 100),
        ("bytes=-7", 206, 93, 100),
        ("bytes=90-1000", 206, 90, 100),
        ("bytes=-1000", 206, 0, 100),
        ("bytes=7-3", 200, 0, 100),
        ("bytes=0-1,5-6", 200, 0, 100),
        ("lines=1-2", 200, 0, 100),
        ("bytes=-", 200, 0, 100),
    ],
)
def test_ranges(api: httpx.Client, volume: str, asked: str, status: int, start: int, end: int) -> None:
    """One range of bytes is answered with it, anything else with the whole file."""
    url, body = f"/api/volumes/{volume}/files/x", bytes(range(100))
    api.put(url, content=body)
    answer = api.get(url, headers={"Range": asked})
    assert (answer.status_code, answer.content) == (status, body[start:end])
    if status == 206:
        assert answer.headers["content-range"] == f"bytes {start}-{end - 1}/100"


def test_range_of_another_file(api: httpx.Client, volume: str) -> None:
    """A download goes on only with the file it began with; a range beyond the end is refused."""
    url = f"/api/volumes/{volume}/files/x"
    api.put(url, content=b"0123456789")
    tag = api.get(url).headers["etag"]
    assert api.get(url, headers={"Range": "bytes=5-", "If-Range": tag}).content == b"56789"
    api.put(url, content=b"abcdefghijkl")
    assert api.get(url, headers={"Range": "bytes=5-", "If-Range": tag}).content == b"abcdefghijkl"
    refused(api.get(url, headers={"Range": "bytes=12-"}), 400, "no_such_range", "range")


@pytest.mark.parametrize(
    "path",
    ["%2e%2e%2f%2e%2e%2fstoker.db", "a%2f..%2f..%2fx", "a%00b", "%ff%2f..", ".", "a%2f.%2fb", "n" * 256],
)
def test_paths_that_lead_out(live: LiveServer, api: httpx.Client, volume: str, path: str) -> None:
    """No way of writing a path leads out of the volume, for any method."""
    for method in ("GET", "PUT", "DELETE"):
        status, _ = raw(live, method, f"/api/volumes/{volume}/files/{path}")
        assert status in (400, 404, 405), (method, status)
    status, _ = raw(live, "GET", f"/api/volumes/{volume}/files?path={path}")
    assert status == 400
    assert api.get(f"/api/volumes/{volume}/files").json()["files"] == []


def raw(live: LiveServer, method: str, target: str, body: bytes = b"") -> tuple[int, bytes]:
    """What a client gets that normalises nothing."""
    where = urlsplit(live.url)
    assert where.hostname is not None
    with socket.create_connection((where.hostname, where.port or 80), timeout=30) as connection:
        head = f"{method} {target} HTTP/1.1\r\nHost: x\r\nAuthorization: {KEY}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        connection.sendall(head.encode() + body)
        answer = b"".join(iter(lambda: connection.recv(65_536), b""))
    return int(answer.split()[1]), answer


def test_links_of_workers_are_not_followed(live: LiveServer, api: httpx.Client, volume: str) -> None:
    """A link that a worker left in its volume opens nothing of the machine to the team."""
    (inside(live, api, volume) / "out").symlink_to(live.data_dir)
    path = f"/api/volumes/{volume}/files"
    assert [one["kind"] for one in api.get(path).json()["files"]] == ["link"]
    for answer in (
        api.get(f"{path}/out/stoker.db"),
        api.get(f"{path}/out"),
        api.get(path, params={"path": "out"}),
        api.put(f"{path}/out/new", content=b"!"),
        api.delete(f"{path}/out/stoker.db"),
    ):
        refused(answer, 409, "not_a_file", "path")
    assert api.delete(f"{path}/out", params={"recursive": True}).status_code == 200
    assert (live.data_dir / "stoker.db").exists()


# ── bodies ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_upload_that_is_cut_off_leaves_nothing(live: LiveServer, api: httpx.Client, volume: str) -> None:
    """A client that hangs up in the middle leaves no file, and the old one as it was."""
    url = f"/api/volumes/{volume}/files/x"
    api.put(url, content=b"old")
    where = urlsplit(live.url)
    assert where.hostname is not None
    with socket.create_connection((where.hostname, where.port or 80), timeout=30) as connection:
        head = f"PUT {url} HTTP/1.1\r\nHost: x\r\nAuthorization: {KEY}\r\nContent-Length: {8 * MIB}\r\n\r\n"
        connection.sendall(head.encode() + bytes(4 * MIB))
        moving = inside(live, api, volume).parent / "moving"
        until(lambda: list(moving.iterdir()), what="the upload to begin")
    until(lambda: not list(moving.iterdir()), what="the upload to be given up")
    assert api.get(url).content == b"old"


def body_of(size: int) -> Iterator[bytes]:
    """So many bytes, a piece at a time."""
    for _ in range(size // MIB):
        yield bytes(MIB)


def test_memory_does_not_grow_with_a_file(live: LiveServer, api: httpx.Client, volume: str) -> None:
    """A large file goes in and out without being in the server's memory."""
    assert live.process is not None
    server = psutil.Process(live.process.pid)
    url = f"/api/volumes/{volume}/files/large"
    api.put(url, content=body_of(MIB))
    before = server.memory_info().rss
    seen = [before]

    def watched() -> Iterator[bytes]:
        for piece in body_of(PLENTY):
            yield piece
            seen.append(server.memory_info().rss)

    assert api.put(url, content=watched()).status_code == 200
    with api.stream("GET", url) as answer:
        size = 0
        for piece in answer.iter_raw():
            size += len(piece)
            seen.append(server.memory_info().rss)
    assert size == PLENTY
    assert max(seen) - before < PLENTY // 4
    api.delete(url)


def test_full_volume_refuses_uploads(live: LiveServer, api: httpx.Client, volume: str) -> None:
    """What would not fit is refused, whether its length was said or not; nothing of it stays, and growing helps."""
    with (inside(live, api, volume) / "big").open("wb") as big:
        os.posix_fallocate(big.fileno(), 0, 1024 * MIB - 2 * MIB)
    url = f"/api/volumes/{volume}/files/x"
    api.put(url, content=b"")
    until(lambda: api.get(f"/api/volumes/{volume}").json()["used_bytes"] > 1000 * MIB, what="the volume to be measured")
    refused(api.put(url, content=bytes(4 * MIB)), 409, "volume_full")
    refused(api.put(url, content=body_of(4 * MIB)), 409, "volume_full")
    assert api.get(url).content == b""
    with (inside(live, api, volume) / "more").open("wb") as more:
        os.posix_fallocate(more.fileno(), 0, 4 * MIB)
    until(lambda: api.get(f"/api/volumes/{volume}").json()["over"], what="the volume to be over its size")
    refused(api.put(url, content=b"1"), 409, "volume_full")
    assert api.patch(f"/api/volumes/{volume}", json={"size_gb": 2}).json()["over"] is False
    assert api.put(url, content=bytes(4 * MIB)).status_code == 200
    api.delete(f"/api/volumes/{volume}")


# ── who uses it ───────────────────────────────────────────────────────────────────────────────────────────────────────


def fields(**more: Any) -> dict[str, Any]:
    """An endpoint that needs no GPU."""
    return {"image": f"dir:{WORKERS}", "command": COMMAND, "max_workers": 1, **more}


def test_volume_in_use_stays(api: httpx.Client, volume: str) -> None:
    """An endpoint mounts a volume by its name; while it does, the volume cannot go, and the refusal says who it is."""
    endpoint = f"of-{volume}"
    made = api.post("/api/endpoints", json=fields(name=endpoint, volumes=[volume, f"{volume}:/more:ro"])).json()
    assert made["volumes"] == [f"{volume}:/runpod-volume", f"{volume}:/more:ro"]
    assert api.get(f"/api/volumes/{volume}").json()["endpoints"] == [endpoint]
    assert endpoint in refused(api.delete(f"/api/volumes/{volume}"), 409, "volume_in_use")["error"]
    again = api.post("/api/endpoints/apply", json={"name": endpoint, "volumes": [volume, f"{volume}:/more:ro"]})
    assert again.json()["action"] == "nothing"
    assert api.patch(f"/api/endpoints/{endpoint}", json={"volumes": []}).status_code == 200
    assert api.delete(f"/api/volumes/{volume}").status_code == 200
    rolled = api.post(f"/api/endpoints/{endpoint}/releases/1/roll-back")
    refused(rolled, 404, "volume_not_found", "volumes")
    api.delete(f"/api/endpoints/{endpoint}")


@pytest.mark.parametrize(
    ("mount", "status", "code"),
    [
        ("nobody", 404, "volume_not_found"),
        ("/etc:/x", 400, "mount_not_allowed"),
        ("/:/x", 400, "mount_not_allowed"),
        ("/etc", 400, "invalid_input"),
        ("{volume}:models", 400, "invalid_input"),
        ("{volume}:/a/../b", 400, "invalid_input"),
        ("{volume}:/a:rw", 400, "invalid_input"),
        ("{volume}:/:ro", 400, "invalid_input"),
        ("../x:/x", 400, "invalid_input"),
        ("", 400, "invalid_input"),
    ],
)
@pytest.mark.parametrize("dry_run", [True, False])
def test_mounts_that_are_refused(
    api: httpx.Client, volume: str, mount: str, status: int, code: str, *, dry_run: bool
) -> None:
    """What cannot be mounted is refused when the endpoint is made, with the field: a tenant never mounts the machine."""
    body = fields(name=f"of-{volume}", volumes=[mount.format(volume=volume)])
    answer = api.post("/api/endpoints", json=body, params={"dry_run": dry_run})
    refused(answer, status, code, "volumes")


def test_two_volumes_in_one_place(api: httpx.Client, volume: str) -> None:
    """Two volumes cannot be seen at the same path."""
    body = fields(name=f"of-{volume}", volumes=[volume, f"{volume}:/runpod-volume"])
    refused(api.post("/api/endpoints", json=body), 400, "invalid_input", "volumes")


def test_volume_of_another_team(api: httpx.Client, stranger: httpx.Client, volume: str) -> None:
    """Another team's volume cannot be mounted; one of the same name is another volume."""
    body = fields(name=f"of-{volume}", volumes=[volume])
    refused(stranger.post("/api/endpoints", json=body), 404, "volume_not_found", "volumes")
    assert stranger.post("/api/volumes", json={"name": volume, "size_gb": 1}).status_code == 201
    api.put(f"/api/volumes/{volume}/files/x", content=b"ours")
    refused(stranger.get(f"/api/volumes/{volume}/files/x"), 404, "file_not_found")
    assert stranger.delete(f"/api/volumes/{volume}").status_code == 200
    assert api.get(f"/api/volumes/{volume}/files/x").content == b"ours"


def test_changes_leave_lines(api: httpx.Client, volume: str) -> None:
    """Everything that changes a volume or a file leaves a line of the audit log."""
    volume_id = api.get(f"/api/volumes/{volume}").json()["id"]
    api.patch(f"/api/volumes/{volume}", json={"size_gb": 2})
    api.put(f"/api/volumes/{volume}/files/x", content=b"1")
    api.delete(f"/api/volumes/{volume}/files/x")
    api.delete(f"/api/volumes/{volume}")
    lines = api.get("/api/audit", params={"thing": volume_id}).json()["lines"]
    assert [line["action"] for line in reversed(lines)] == ["created", "changed", "uploaded", "removed", "deleted"]
    assert lines[-2]["before"] == {"size_gb": 1}
    assert lines[-3]["after"]["path"] == "x"
