"""Who takes part, and how each is started: as its own documentation says.

In commands and environments, `{bin}` is the folder of the contestant's own programs, `{apps}` that of the applications, `{port}`
where it shall listen, `{broker}` the URL of its broker, `{data}` a folder that outlives a restart, `{python}` and `{sdk}` the
interpreters of this environment and of the Runpod SDK's.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Final

import httpx
import msgspec

from benchmarks.peers.brokers import Broker
from benchmarks.peers.speech import Speech

ROOT: Final = Path(__file__).parent.parent.parent
APPS: Final = Path(__file__).parent / "apps"
SDK: Final = ROOT / ".sdks" / "runpod-1.12.0"
OURS: Final = Path(sys.executable).parent.parent
KEY: Final = "sk_bench_admin"
SLOTS: Final = 32
"""Jobs that a worker may hold, given to all whose worker is asynchronous; rows that show defaults keep theirs."""


class Contestant(msgspec.Struct, frozen=True, kw_only=True):
    """One row of the table."""

    name: str
    label: str
    kept: str
    """Where a job is when its submit is answered."""
    home: Path
    """The environment its programs are in."""
    packages: tuple[str, ...]
    """Whose versions are reported."""
    commands: tuple[tuple[str, ...], ...]
    broker: Broker = Broker.NONE
    prepare: tuple[str, ...] = ()
    """Run to its end before the first start."""
    environment: dict[str, str] = {}
    speech: Speech = Speech()
    heavy: bool = False
    """It takes half a minute to start: it is asked for, and gets one round."""
    worker: str = ""
    """For Stoker: the command of its endpoint's worker."""


def _peer(folder: str) -> Path:
    return ROOT / ".peers" / folder


def _web(module: str) -> tuple[str, ...]:
    return ("{bin}/uvicorn", f"{module}:web", "--port", "{port}", "--log-level", "warning")


_OUR_SPEECH: Final = Speech(submit="/v2/echo/run", status="/v2/echo/status/", key=KEY)
_LIGHT: Final = "{python} on_stoker.py"
_OF_THE_SDK: Final = "{sdk} -u on_runpod.py"


def _stoker(name: str, label: str, *, worker: str = _LIGHT, postgres: bool = False) -> Contestant:
    database = ("--database", "{broker}") if postgres else ()
    return Contestant(
        name=name,
        label=label,
        kept="PostgreSQL, committed" if postgres else "SQLite, on the disk",
        home=OURS,
        packages=("stoker", "asyncpg") if postgres else ("stoker",),
        broker=Broker.POSTGRES if postgres else Broker.NONE,
        commands=(("{bin}/stoker", "serve", "--port", "{port}", "--data-dir", "{data}", *database),),
        environment={"STOKER_BOOTSTRAP_KEY": KEY, "STOKER_RUNTIME": "process"},
        speech=_OUR_SPEECH,
        worker=worker,
    )


def _celery(name: str, label: str, *, kept: str, broker: Broker, **environment: str) -> Contestant:
    return Contestant(
        name=name,
        label=label,
        kept=kept,
        home=_peer("celery"),
        packages=("celery", "redis", "fastapi", "uvicorn"),
        broker=broker,
        commands=(
            ("{bin}/celery", "--app", "on_celery:queue", "worker", "--loglevel", "WARNING"),
            _web("on_celery"),
        ),
        environment={"REDIS_URL": "{broker}", **environment},
    )


def _arq(name: str, label: str, *, kept: str, broker: Broker, **environment: str) -> Contestant:
    return Contestant(
        name=name,
        label=label,
        kept=kept,
        home=_peer("arq"),
        packages=("arq", "redis", "fastapi", "uvicorn"),
        broker=broker,
        commands=(("{bin}/arq", "on_arq.Worker"), _web("on_arq")),
        environment={"REDIS_URL": "{broker}", **environment},
    )


_IN_REDIS: Final = "Redis, in memory"
_ON_DISK: Final = "Redis, on the disk"
_TUNED: Final = {"POLL_DELAY_S": "0.01", "MAX_JOBS": str(SLOTS)}

ALL: Final[tuple[Contestant, ...]] = (
    _stoker("stoker", "Stoker, SQLite"),
    _stoker("stoker-sdk", "Stoker, SQLite, worker of the Runpod SDK", worker=_OF_THE_SDK),
    _stoker("stoker-postgres", "Stoker, PostgreSQL", postgres=True),
    Contestant(
        name="runpod",
        label="Runpod SDK, `--rp_serve_api`",
        kept="memory",
        home=SDK,
        packages=("runpod", "fastapi", "uvicorn"),
        commands=(("{bin}/python", "on_runpod.py", "--rp_serve_api", "--rp_api_port", "{port}"),),
        environment={"UVICORN_LOG_LEVEL": "warning", "RUNPOD_SKIP_AUTO_SYSTEM_CHECKS": "true"},
        speech=Speech(status_method="POST"),
    ),
    _celery("celery", "FastAPI + Celery + Redis", kept=_IN_REDIS, broker=Broker.REDIS),
    _celery(
        "celery-late",
        "Celery with `acks_late`, Redis AOF always",
        kept=_ON_DISK,
        broker=Broker.REDIS_ALWAYS,
        ACKS_LATE="1",
    ),
    _arq("arq", "FastAPI + arq + Redis", kept=_IN_REDIS, broker=Broker.REDIS),
    _arq("arq-fast", "arq with `poll_delay` 10 ms", kept=_IN_REDIS, broker=Broker.REDIS, **_TUNED),
    _arq(
        "arq-always",
        "arq with `poll_delay` 10 ms, Redis AOF always",
        kept=_ON_DISK,
        broker=Broker.REDIS_ALWAYS,
        **_TUNED,
    ),
    Contestant(
        name="procrastinate",
        label="FastAPI + procrastinate + PostgreSQL",
        kept="PostgreSQL, committed",
        home=_peer("procrastinate"),
        packages=("procrastinate", "psycopg", "fastapi", "uvicorn"),
        broker=Broker.POSTGRES,
        prepare=("{bin}/python", "on_procrastinate.py"),
        commands=(
            ("{bin}/procrastinate", "--app", "on_procrastinate.queue", "worker", "--concurrency", str(SLOTS)),
            _web("on_procrastinate"),
        ),
        environment={"DATABASE_URL": "{broker}"},
    ),
    Contestant(
        name="bentoml",
        label="BentoML task",
        kept="SQLite, removed at start",
        home=_peer("bentoml"),
        packages=("bentoml", "uvicorn"),
        commands=(("{bin}/bentoml", "serve", "on_bentoml:Echo", "--port", "{port}"),),
        environment={
            "BENTOML_HOME": "{data}",
            "BENTOML_DO_NOT_TRACK": "True",
            "BENTOML_RESULT_STORE": "{data}/results.db",
        },
        speech=Speech(
            submit="/echo/submit",
            status="/echo/status?task_id=",
            result="/echo/get?task_id=",
            id_field="task_id",
            completed='"completed"',
            failed='"failed"',
        ),
    ),
    Contestant(
        name="ray",
        label="Ray Serve, task consumer, Redis",
        kept=_IN_REDIS,
        home=_peer("ray"),
        packages=("ray", "celery", "redis", "fastapi", "uvicorn"),
        broker=Broker.REDIS,
        commands=(("{bin}/python", "on_ray.py", "{port}"),),
        environment={
            "REDIS_URL": "{broker}",
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_TMPDIR": "{data}",  # sockets are below it, whose paths must stay under 108 characters
            "HOME": "{data}",
        },
        heavy=True,
    ),
)


def named(names: str) -> tuple[Contestant, ...]:
    """Those in a list with commas; an empty one means all.

    Raises ValueError for a name that nobody has.
    """
    wanted = [name.strip() for name in names.split(",") if name.strip()]
    if unknown := set(wanted) - {one.name for one in ALL}:
        raise ValueError(f"nobody is called {', '.join(sorted(unknown))}; there are {', '.join(o.name for o in ALL)}")
    return tuple(one for one in ALL if not wanted or one.name in wanted)


def obstacle(contestant: Contestant) -> str:
    """Why it cannot take part, empty when it can."""
    if not (contestant.home / "bin" / "python").exists():
        return f"not installed: `make peers` makes {contestant.home.name}"
    if contestant.broker is Broker.POSTGRES and contestant.home == OURS and "--database" not in _serve_options():
        return "this Stoker has no setting `database`"
    if _OF_THE_SDK in contestant.worker and not SDK.exists():
        return f"not installed: `make sdks` makes {SDK.name}"
    return ""


def _serve_options() -> str:
    command = [str(OURS / "bin" / "stoker"), "serve", "--help"]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=30).stdout


def deploy(contestant: Contestant, port: int, fill: dict[str, str]) -> None:
    """Create Stoker's endpoint. Raises httpx.HTTPError when it was refused."""
    endpoint = {
        "name": "echo",
        "image": f"dir:{APPS}",
        "command": contestant.worker.format(**fill),
        "env": {"SLOTS": str(SLOTS)},
        "slots": SLOTS,
        "min_workers": 1,
        "max_workers": 1,
    }
    url = f"http://127.0.0.1:{port}/api/endpoints"
    httpx.post(url, json=endpoint, headers={"Authorization": f"Bearer {KEY}"}, timeout=30).raise_for_status()
