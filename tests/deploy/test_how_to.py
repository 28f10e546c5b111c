"""The how-to of Kubernetes, typed into a cluster that holds nothing of ours."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts.manifests import HELM
from stoker import __version__
from tests.cluster import PATHS, PROGRAMS, Cluster, layer_of
from tests.deploy.images import POSTGRES, load_postgres, load_server
from tests.docker import base_tar, free_port
from tests.docs import pages
from tests.live import ROOT, until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.kubernetes,
    pytest.mark.timeout(600),
    pytest.mark.skipif(not HELM.exists(), reason="there is no Helm: make .helm"),
]

PAGE = "docs/how-to/kubernetes.md"
CHAT = b'import runpod\n\nrunpod.serverless.start({"handler": lambda job: {"heard": job["input"]["prompt"]}})\n'
SMALL = {"requests": {"cpu": "10m", "memory": "64Mi"}}
BESIDES = {
    "database": {"bundled": {"image": POSTGRES, "size": "", "resources": SMALL}},
    "resources": SMALL,
    "settings": {"kubernetes_always_pull": False},
}
"""What a cluster without storage and without a registry needs; the page takes it that there are both."""


@pytest.fixture
def programs(cluster: Cluster, tmp_path: Path) -> Iterator[Path]:
    """A folder with `helm` and `kubectl` for this cluster, on whose node the images of the page are; there is nothing of ours before and after."""
    server = load_server(cluster, _made(tmp_path / "server"))
    cluster.name_image(server, f"registry.example.com/stoker:{__version__}")
    load_postgres(cluster, _made(tmp_path / "postgres"))
    layer = layer_of(_made(tmp_path / "chat"), {"worker/handler.py": CHAT})
    command = ["python3", "-u", "handler.py"]
    cluster.load_image("registry.example.com/team/chat:3", [base_tar(), layer], command, env=PATHS, folder="/worker")
    cluster.set_room("nvidia.com/gpu", "2")
    folder = _made(tmp_path / "bin")
    (folder / "besides.json").write_text(json.dumps(BESIDES))
    words = [sys.executable, "-m", "tests.deploy.helm", str(cluster.folder), str(folder / "besides.json")]
    _program(folder / "helm", shlex.join(words))
    _program(folder / "kubectl", shlex.join([str(PROGRAMS / "kubectl"), "--kubeconfig", str(cluster.config)]))
    yield folder
    cluster.kubectl("delete", "pods", "--all", "-n", "stoker", "--grace-period=0", "--force", "--wait=false")
    cluster.kubectl("delete", "namespace", "stoker", "--wait=false", "--ignore-not-found")


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def _program(file: Path, words: str) -> None:
    file.write_text(f'#!/bin/sh\nexec {words} "$@"\n')
    file.chmod(0o755)


def test_from_an_empty_cluster_to_the_first_job(programs: Path, tmp_path: Path) -> None:
    """What the page has typed installs a trial, reaches it, and runs a job on a GPU."""
    typed = [block.text for block in pages.blocks(PAGE) if not block.kind and not pages.is_make(block)]
    install = next(text for text in typed if "database.bundled.enabled=true" in text)
    first_job = next(text for text in typed if "port-forward" in text)
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    forward, rest = first_job.split("&\n", 1)
    assert forward.strip().endswith(" 8700")
    env = pages.environment(tmp_path, STOKER_URL=url, XDG_CACHE_HOME=str(PROGRAMS.parents[1]))
    env["PATH"] = f"{programs}:{env['PATH']}"
    _type_in(install, env)
    with subprocess.Popen(
        ["bash", "-c", f"exec {forward.strip()[:-4]}{port}:8700"], env=env, stdout=subprocess.DEVNULL
    ) as held:
        try:
            until(lambda: _answers(url), what="the service")
            assert '"heard": "hello"' in _type_in(rest, env)
        finally:
            held.terminate()


def _answers(url: str) -> bool:
    return subprocess.run(["curl", "-sf", "-o", os.devnull, f"{url}/healthz"]).returncode == 0


def _type_in(text: str, env: dict[str, str]) -> str:
    """What a shell prints that ends with the first command that fails."""
    done = subprocess.run(["bash", "-ec", text], cwd=ROOT, env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, f"{text}\n{done.stdout}\n{done.stderr}"
    return done.stdout
