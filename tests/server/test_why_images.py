"""What is said while an image comes, or does not: by a real engine from real registries, behind a wire that can be held up."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.docker import Engine, Registry, basic_auth, free_port
from tests.live import LiveServer, until
from tests.server.images import create
from tests.server.test_why import said, why

pytestmark = [pytest.mark.slow, pytest.mark.docker]

LAYER_BYTES = 8 << 20
LET_THROUGH_BYTES = 2 << 20
PIECE = 1 << 16


class Narrows:
    """A wire to a registry that lets so many bytes of each connection through, and the rest when it is opened."""

    def __init__(self, port: int) -> None:
        self._to = port
        self.port = free_port()
        self.host = f"127.0.0.1:{self.port}"
        self.open = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._to))
                threading.Thread(target=self._pass, args=(client, server, 1 << 40), daemon=True).start()
                threading.Thread(target=self._pass, args=(server, client, LET_THROUGH_BYTES), daemon=True).start()

    def _pass(self, source: socket.socket, target: socket.socket, most: int) -> None:
        passed = 0
        with suppress(OSError), source, target:
            while piece := source.recv(PIECE):
                passed += len(piece)
                if passed > most:
                    self.open.wait()
                target.sendall(piece)

    def close(self) -> None:
        """Let everything through, and listen no more."""
        self.open.set()
        self._listener.close()


@pytest.fixture
def housed(docker_engine: Engine, tmp_path: Path) -> Iterator[LiveServer]:
    """A server on loopback that runs containers."""
    with LiveServer(tmp_path / "data", runtime="docker", docker_host=docker_engine.host) as server:
        yield server


def pushed(engine: Engine, registry: Registry, folder: Path, name: str) -> str:
    """A large image in the registry, which the machine does not have."""
    (folder / "weights").write_bytes(os.urandom(LAYER_BYTES))
    image = f"{registry.host}/{name}:1"
    engine.build(image, "FROM scratch\nCOPY weights /\n", [folder / "weights"])
    engine.run("push", "-q", image)
    engine.run("rmi", image)
    return image


@pytest.fixture
def narrows(docker_engine: Engine, tmp_path: Path) -> Iterator[tuple[Narrows, str]]:
    """The wire, and a large image behind it."""
    registry = Registry(tmp_path / "registry")
    registry.start()
    pushed(docker_engine, registry, tmp_path, "large")
    wire = Narrows(registry.port)
    yield wire, f"{wire.host}/large:1"
    wire.close()
    registry.close()


def test_only_the_warm_up_pulls(housed: LiveServer, narrows: tuple[Narrows, str]) -> None:
    """Before any job an endpoint whose image is on its way says which, and how far it is; once it is here it says so no more."""
    wire, image = narrows
    create(housed, "a", image)

    def coming() -> dict[str, Any] | None:
        found = why(housed, "endpoints/a")
        return found if found["reason"] == "image_pulling" and " MB, " in found["text"] else None

    told = until(coming, what="the endpoint to say how far its image is")
    assert told["text"].startswith("its image is being fetched: ")
    assert image in told["text"]
    wire.open.set()
    until(lambda: why(housed, "endpoints/a")["reason"] != "image_pulling", what="the image")


def test_an_image_is_pulled(housed: LiveServer, narrows: tuple[Narrows, str]) -> None:
    """A job whose worker waits for its image says which, and how far; so do the endpoint and the worker."""
    wire, image = narrows
    create(housed, "a", image, max_workers=1)
    told = said(housed, housed.run("a", {"echo": 1}), "image_pulling")
    assert image in told["text"]
    assert told["next_step"] == "fetch images before they are needed: stoker image warm IMAGE"
    assert why(housed, "endpoints/a")["reason"] == "image_pulling"
    worker = housed.workers("a")[0]["id"]
    assert image in why(housed, f"workers/{worker}")["text"]
    housed.api.post("/api/endpoints/a/pause")
    wire.open.set()


def failure(live: LiveServer, job: str, *words: str) -> dict[str, Any]:
    """What the job says once a start of a worker has failed for these words."""

    def look() -> dict[str, Any] | None:
        found = why(live, f"jobs/{job}")
        failed = found["reason"] in ("launch_backoff", "crash_loop")
        return found if failed and all(word in found["text"] for word in words) else None

    return until(look, what=f"the job to wait for {words}")


@pytest.mark.parametrize("closed", [False, True], ids=["missing", "denied"])
def test_an_image_that_does_not_come(
    housed: LiveServer, docker_engine: Engine, tmp_path: Path, *, closed: bool
) -> None:
    """A job whose image is missing, or denied, says so with the image's name and what to do; the worker that wanted it does too."""
    auth = basic_auth(tmp_path / "registry", "ann", "pass-word") if closed else ""
    registry = Registry(tmp_path / "registry", auth)
    registry.start()
    image = f"{registry.host}/absent:1"
    create(housed, "a", image, max_workers=1)
    told = failure(housed, housed.run("a", {"echo": 1}), image)
    assert "stoker" in told["next_step"]
    gone = until(lambda: housed.workers("a", gone=1), what="a worker that failed")[-1]["id"]
    about = why(housed, f"workers/{gone}")
    assert (about["reason"], image in about["text"]) == ("launch_failed", True)
    word = "credential" if closed else "no such image"
    assert word in (told["text"] + told["next_step"]).lower(), told
    registry.close()
