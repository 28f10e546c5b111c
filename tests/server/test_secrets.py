"""Secrets and keys with real servers: the wrong key does not start, a rotation beside running servers loses nothing."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from stoker.catalog import TRUST_MS
from tests.live import LiveServer, until
from tests.server.conftest import WORKERS

pytestmark = pytest.mark.slow

COMMAND = f"{sys.executable} -u light.py"
BUCKET = {"accessId": "id", "accessSecret": "hush"}


def stoker(*words: str, settings: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run a command on the machine of the server, to its end."""
    program = str(Path(sys.executable).with_name("stoker"))
    environment = {f"STOKER_{name.upper()}": value for name, value in (settings or {}).items()}
    return subprocess.run([program, *words], env=environment, capture_output=True, text=True, timeout=60, check=False)


def test_wrong_key_does_not_start(live: LiveServer) -> None:
    """A server whose key does not fit its database, or is gone, ends with the reason and what to do; the right one starts."""
    live.create("a", image=WORKERS, command=COMMAND, env={"TOKEN": {"secret": "hush"}})
    live.stop()
    file = live.data_dir / "secrets.key"
    right = file.read_text()
    serve = ("serve", "--port", "0", "--data-dir", str(live.data_dir))
    file.write_text("A" * 43 + "=\n")
    wrong = stoker(*serve)
    file.unlink()
    missing = stoker(*serve)
    assert (wrong.returncode, missing.returncode) == (3, 3)
    assert "which this server does not have" in wrong.stderr
    assert "there is no file" in missing.stderr
    assert not file.exists()
    assert "next: " in wrong.stderr
    assert "next: " in missing.stderr
    file.write_text(right)
    live.start()
    assert live.api.get("/api/endpoints/a").json()["env"] == {"TOKEN": {"secret": True}}


def test_bucket_of_a_job_reaches_its_worker(on_each_database: LiveServer) -> None:
    """What a job brings for a bucket is sealed while it waits, survives a rotation of the key, and is open for its worker."""
    live = on_each_database
    live.create("a", image=WORKERS, command=COMMAND)
    live.api.post("/api/endpoints/a/pause")
    job = live.run("a", {"echo": "s3"}, s3Config=BUCKET)
    words = ["secrets", "rotate", "--data-dir", str(live.data_dir)]
    database = live.settings.get("database")
    rotated = stoker(*words, settings={"database": str(database)} if database else {})
    assert rotated.returncode == 0, rotated.stderr
    assert ", 1 row sealed anew" in rotated.stdout
    live.api.post("/api/endpoints/a/resume")
    assert live.finished(job)["state"] == "completed"


@pytest.fixture
def two(tmp_path: Path, postgres_url: str) -> Iterator[tuple[LiveServer, LiveServer]]:
    """Two servers of one machine on one database; each has a file with the same key."""
    more = {"database": postgres_url, "runtime": "none"}
    with LiveServer(tmp_path / "one", **more) as first:
        (tmp_path / "two").mkdir()
        (tmp_path / "two" / "secrets.key").write_bytes((tmp_path / "one" / "secrets.key").read_bytes())
        with LiveServer(tmp_path / "two", **more) as second:
            yield first, second


@pytest.mark.postgres
def test_server_without_the_key_of_the_others(two: tuple[LiveServer, LiveServer], tmp_path: Path) -> None:
    """A server that comes to a shared database without its key does not start, and leaves no key behind."""
    url = str(two[0].settings["database"])
    third = stoker("serve", "--port", "0", "--data-dir", str(tmp_path / "three"), settings={"database": url})
    assert third.returncode == 3
    assert "there is no file" in third.stderr
    assert url not in third.stderr
    assert not (tmp_path / "three" / "secrets.key").exists()


@pytest.mark.postgres
def test_key_that_was_revoked_at_another_server(two: tuple[LiveServer, LiveServer]) -> None:
    """A key in constant use at one server is refused there soon after another one revoked it, and stays so."""
    first, second = two
    made = first.api.post("/api/keys", json={"name": "shared", "scopes": ["read"]}).json()
    with httpx.Client(base_url=second.url, headers={"Authorization": f"Bearer {made['secret']}"}) as theirs:
        assert theirs.get("/api/me").status_code == 200
        assert first.api.delete(f"/api/keys/{made['id']}").status_code == 200
        until(lambda: theirs.get("/api/me").status_code == 401, what=f"the refusal, {TRUST_MS} ms later at most")
        assert {theirs.get("/api/me").status_code for _again in range(20)} == {401}


@pytest.mark.postgres
def test_secret_of_another_server(two: tuple[LiveServer, LiveServer]) -> None:
    """What one server sealed another opens; after a rotation at one place the other asks for the new file."""
    first, second = two
    body = {"name": "ours", "registry": "127.0.0.1:1", "username": "me", "password": "hush"}
    assert first.api.post("/api/credentials", json=body).status_code == 201
    assert second.api.post("/api/credentials/ours/test").json()["code"] == "registry_unreachable"
    url = str(first.settings["database"])
    rotated = stoker("secrets", "rotate", "--data-dir", str(first.data_dir), settings={"database": url})
    assert rotated.returncode == 0, rotated.stderr
    assert first.api.post("/api/credentials/ours/test").json()["code"] == "registry_unreachable"
    assert second.api.post("/api/credentials/ours/test").json()["code"] == "secrets_key_unknown"
    (second.data_dir / "secrets.key").write_bytes((first.data_dir / "secrets.key").read_bytes())
    assert second.api.post("/api/credentials/ours/test").json()["code"] == "registry_unreachable"
