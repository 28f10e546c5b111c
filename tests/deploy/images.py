"""Images of the server and of PostgreSQL for a cluster without a registry: made of a Debian root, without an engine."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Final

from tests.cluster import Cluster, layer_of
from tests.docker import ROOT, SUITE_PYTHON, base_tar, root_tar

SERVER: Final = "stoker.test/server:1"
POSTGRES: Final = "stoker.test/postgres:1"
PROGRAM: Final = b"#!/usr/bin/python3\nimport sys\n\nfrom stoker.cli import main\n\nsys.exit(main())\n"
DATABASE_PATHS: Final = "PATH=/usr/lib/postgresql/15/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def load_server(cluster: Cluster, folder: Path) -> str:
    """Our package and what it needs, for the Python of the base image; the image's name."""
    uv, installed = str(Path(sys.executable).parent / "uv"), folder / "root" / "opt" / "stoker"
    _do(uv, "build", "-q", "--wheel", "--out-dir", str(folder))
    (wheel,) = folder.glob("stoker-*.whl")
    target = ["--target", str(installed), "--python-version", SUITE_PYTHON, "--only-binary", ":all:"]
    _do(uv, "pip", "install", "-q", *target, "--constraint", "constraints.txt", str(wheel))
    layer = folder / "server.tar"
    _do("tar", "-C", str(folder / "root"), "-cf", str(layer), ".")
    program = layer_of(folder, {"usr/local/bin/stoker": PROGRAM})
    env = ("PYTHONPATH=/opt/stoker", "STOKER_DATA_DIR=/var/lib/stoker", "PATH=/usr/local/bin:/usr/bin:/bin")
    return cluster.load_image(SERVER, [base_tar(), layer, program], ["stoker", "serve"], env=env)


def load_postgres(cluster: Cluster, folder: Path) -> str:
    """Debian's PostgreSQL, as the published image runs it; the image's name."""
    start = (ROOT / "tests" / "server" / "deploy" / "postgres.sh").read_bytes()
    root = root_tar("stoker-test-postgres", "postgresql")
    layer = layer_of(folder, {"postgres.sh": start})
    return cluster.load_image(POSTGRES, [root, layer], ["sh", "/postgres.sh"], env=(DATABASE_PATHS,))


def _do(*words: str) -> None:
    done = subprocess.run(words, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, f"{' '.join(words)}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
