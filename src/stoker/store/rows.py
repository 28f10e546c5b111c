"""Rows and records: which columns a record has, in which order, and how each is written.

Called by everything in an adapter that reads or writes a table; the tables are alike in all databases. Column lists are
made here once, so that a `SELECT` and the function that understands its rows cannot drift apart.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from operator import attrgetter
from typing import Any, Final

import msgspec

from stoker.checkup import HealthCheck
from stoker.endpoint import Endpoint, Env, Policy, PolicyType, Release, Secret
from stoker.job import Job, JobReason, JobState
from stoker.metering import Meter
from stoker.specification import Place
from stoker.store import Failures, Stop, StoryLine
from stoker.store.image import StoredJob
from stoker.store.ledger import LedgerLine, Position
from stoker.store.tables import plain
from stoker.volume import read_mount
from stoker.worker import CRASHES, Exit, Worker, WorkerReason, WorkerState

Row = Sequence[Any]
"""What a driver answers with: values by place."""


def _columns(table: str, names: str) -> str:
    return ", ".join(f"{table}.{name}" for name in names.split())


# ── jobs ──────────────────────────────────────────────────────────────────────────────────────────────────────────────

JOB: Final = _columns(
    "jobs",
    "seq id team endpoint state reason low_priority created_ms queued_ms expires_ms execution_limit_ms retention_ms "
    "retry_limit attempt losses worker claimed_ms confirmed_ms lease_until_ms finished_ms receiver key",
)
JOB_WIDTH: Final = JOB.count(",") + 1
"""How many columns `stored_job` takes; what a statement selects besides comes after them."""


_STATES: Final = {state.value: state for state in JobState}
_REASONS: Final = {reason.value: reason for reason in JobReason}
"""Calling an enumeration costs as much as the rest of a row."""


def stored_job(row: Row) -> StoredJob:
    """From a row that begins with `JOB`."""
    return StoredJob(
        row[0],
        Job(
            id=row[1],
            team=row[2],
            endpoint=row[3],
            state=_STATES[row[4]],
            reason=_REASONS[row[5]],
            low_priority=bool(row[6]),
            created_ms=row[7],
            queued_ms=row[8],
            expires_ms=row[9],
            execution_limit_ms=row[10],
            retention_ms=row[11],
            retry_limit=row[12],
            attempt=row[13],
            losses=row[14],
            worker=row[15],
            claimed_ms=row[16],
            confirmed_ms=row[17],
            lease_until_ms=row[18],
            finished_ms=row[19],
            receiver=row[20],
            key=row[21],
        ),
    )


_WORDS: Final = {"state": "state.word", "reason": "reason.word"}


def job_values(columns: Sequence[str], *, of: str) -> Callable[[Any], tuple[Any, ...]]:
    """What reads the number of a job's row, and the values for `columns`, from a record: `seq`, and fields of its job `of`."""
    read: Callable[[Any], tuple[Any, ...]] = attrgetter(
        "seq", *(f"{of}.{_WORDS.get(column, column)}" for column in columns)
    )
    return read


END: Final = "job, team, endpoint, lane, ended, since_ms, due_ms"
"""Of a notice that is new: see `store.notices`, which brings the rest."""


def end_values(job: Job) -> tuple[Any, ...]:
    """For `END`: of a job whose webhook is to be told that it ended."""
    ended = msgspec.json.encode(job).decode()
    return (job.id, job.team, job.endpoint, f"{job.team} {job.receiver}", ended, job.finished_ms, job.finished_ms)


def plain_error(error: str | None) -> bytes | None:
    """An error as it is kept. Handlers may send half of a surrogate pair, which a text cannot hold."""
    return None if error is None else error.encode("utf-8", "surrogatepass")


STOP: Final = _columns("stops", "job worker asked_ms told_ms")


def stop(row: Row) -> Stop:
    """From a row of `STOP`."""
    return Stop(job=row[0], worker=row[1], asked_ms=row[2], told_ms=row[3])


STORY: Final = "at_ms, kind, reason, state, attempt, worker, text"


def story_line(row: Row, **whose: Any) -> StoryLine:
    """From a row of `STORY`; `whose` names the job, which the row knows by number only."""
    return StoryLine(
        at_ms=row[0], kind=row[1], reason=row[2], state=row[3], attempt=row[4], worker=row[5], text=row[6], **whose
    )


LEDGER: Final = _columns("story", "at_ms team endpoint worker kind state reason attempt wanted text")


def ledger_line(row: Row) -> LedgerLine:
    """From a row of batch, number and the job's id, and then `LEDGER`."""
    return LedgerLine(
        position=Position(row[0], row[1]),
        job=row[2],
        at_ms=row[3],
        team=row[4],
        endpoint=row[5],
        worker=row[6],
        kind=row[7],
        state=row[8],
        reason=row[9],
        attempt=row[10],
        wanted=row[11],
        text=row[12],
    )


# ── workers ───────────────────────────────────────────────────────────────────────────────────────────────────────────

WORKER: Final = _columns(
    "workers",
    "id team endpoint release token_hash gpus specification memory_bytes price_per_hour_micros wanted_ms decided_ms "
    "state reason detail launched_ms ready_ms idle_ms drained_ms stopped_ms gone_ms seen_ms pinged_ms sdk exit_code exit_text "
    "unhealthy_ms meter unmetered",
)
WORKER_WIDTH: Final = WORKER.count(",") + 1


_WORKER_STATES: Final = {state.value: state for state in WorkerState}
_WORKER_REASONS: Final = {reason.value: reason for reason in WorkerReason}
_GPUS: Final = msgspec.json.Decoder(tuple[str, ...])


def worker(row: Row) -> Worker:
    """From a row that begins with `WORKER`."""
    return Worker(
        id=row[0],
        team=row[1],
        endpoint=row[2],
        release=row[3],
        token_hash=row[4],
        gpus=_GPUS.decode(row[5]),
        specification=row[6],
        memory_bytes=row[7],
        price_per_hour_micros=row[8],
        wanted_ms=row[9],
        decided_ms=row[10],
        state=_WORKER_STATES[row[11]],
        reason=_WORKER_REASONS[row[12]],
        detail=row[13],
        launched_ms=row[14],
        ready_ms=row[15],
        idle_ms=row[16],
        drained_ms=row[17],
        stopped_ms=row[18],
        gone_ms=row[19],
        seen_ms=row[20],
        pinged_ms=row[21],
        sdk=row[22],
        exit=None if row[24] is None else Exit(code=row[23], text=row[24]),
        unhealthy_ms=row[25],
        meter=None if row[26] is None else _METERS.decode(row[26]),
    )


def failures(rows: Sequence[Row]) -> Failures:
    """From rows of when, in which words and why, the last one first."""
    if not rows:
        return Failures()
    crashes = sum(row[2] in CRASHES for row in rows)
    return Failures(count=len(rows), last_ms=rows[0][0], text=rows[0][1], crashes=crashes)


def worker_values(worker: Worker) -> tuple[Any, ...]:
    """For `WORKER`."""
    fixed = (worker.id, worker.team, worker.endpoint, worker.release, worker.token_hash)
    place = (json.dumps(worker.gpus), worker.specification, worker.memory_bytes)
    return (
        *fixed,
        *place,
        worker.price_per_hour_micros,
        worker.wanted_ms,
        worker.decided_ms,
        *moving_worker_values(worker),
    )


PLACE: Final = "workers.gpus, workers.specification, workers.memory_bytes"


def place_of(row: Row) -> Place:
    """From a row of `PLACE`."""
    return Place(gpus=tuple(json.loads(row[0])), specification=row[1], memory_bytes=row[2])


def moving_worker_values(worker: Worker) -> tuple[Any, ...]:
    """What transitions change: see `save.SAVE_WORKER`."""
    return (
        worker.state.value,
        worker.reason.value,
        plain(worker.detail),
        worker.launched_ms,
        worker.ready_ms,
        worker.idle_ms,
        worker.drained_ms,
        worker.stopped_ms,
        worker.gone_ms,
        worker.seen_ms,
        worker.pinged_ms,
        plain(worker.sdk),
        None if worker.exit is None else worker.exit.code,
        None if worker.exit is None else plain(worker.exit.text),
        worker.unhealthy_ms,
        *metered_values(worker),
    )


_METERS: Final = msgspec.json.Decoder(Meter)
_as_json: Final = msgspec.json.Encoder().encode


def meter_value(worker: Worker) -> str | None:
    """Its meter, as it is stored."""
    return None if worker.meter is None else _as_json(worker.meter).decode()


def metered_values(worker: Worker) -> tuple[str | None, bool]:
    """Its meter, and whether it is to be read."""
    return meter_value(worker), worker.unmetered


# ── what customers configure ──────────────────────────────────────────────────────────────────────────────────────────

ENDPOINT: Final = _columns(
    "endpoints",
    "id team name app_name release min_workers max_workers idle_timeout_s slots policy_type policy_value "
    "execution_timeout_ms ttl_ms retries retention_s deliver_ahead version created_ms deleted_ms webhook paused_ms max_surge weight rate",
)


def endpoint(row: Row) -> Endpoint:
    """From a row of `ENDPOINT`."""
    return Endpoint(
        id=row[0],
        team=row[1],
        name=row[2],
        app_name=row[3],
        release=row[4],
        min_workers=row[5],
        max_workers=row[6],
        idle_timeout_s=row[7],
        slots=row[8],
        policy=Policy(type=PolicyType(row[9]), value=row[10]),
        execution_timeout_ms=row[11],
        ttl_ms=row[12],
        retries=row[13],
        retention_s=row[14],
        deliver_ahead=row[15],
        version=row[16],
        created_ms=row[17],
        deleted_ms=row[18],
        webhook=row[19],
        paused_ms=row[20],
        max_surge=row[21],
        weight=row[22],
        rate=row[23],
    )


def endpoint_values(endpoint: Endpoint) -> tuple[Any, ...]:
    """For `ENDPOINT`."""
    return (
        endpoint.id,
        endpoint.team,
        endpoint.name,
        endpoint.app_name,
        endpoint.release,
        endpoint.min_workers,
        endpoint.max_workers,
        endpoint.idle_timeout_s,
        endpoint.slots,
        endpoint.policy.type.value,
        endpoint.policy.value,
        endpoint.execution_timeout_ms,
        endpoint.ttl_ms,
        endpoint.retries,
        endpoint.retention_s,
        endpoint.deliver_ahead,
        endpoint.version,
        endpoint.created_ms,
        endpoint.deleted_ms,
        endpoint.webhook,
        endpoint.paused_ms,
        endpoint.max_surge,
        endpoint.weight,
        endpoint.rate,
    )


RELEASE: Final = _columns(
    "releases",
    "id endpoint number image command env gpus_per_worker created_ms credential entrypoint cuda http_port made_by digest "
    "container specifications",
)


def release(row: Row) -> Release:
    """From a row of `RELEASE`."""
    return Release(
        id=row[0],
        endpoint=row[1],
        number=row[2],
        image=row[3],
        command=row[4],
        env=_env(row[5]),
        gpus_per_worker=row[6],
        created_ms=row[7],
        credential=row[8],
        entrypoint=row[9],
        cuda=row[10],
        http_port=row[11],
        made_by=row[12],
        digest=row[13],
        specifications=tuple(json.loads(row[15])),
        **_container(json.loads(row[14])),
    )


def _container(fields: dict[str, Any]) -> dict[str, Any]:
    """What a release says of volumes, disk and health, from its JSON object; what is left out has its default."""
    health = fields.get("health")
    return fields | {
        "volumes": tuple(read_mount(text) for text in fields.get("volumes", ())),
        "health": None if health is None else HealthCheck(**health),
    }


def release_values(release: Release) -> tuple[Any, ...]:
    """For `RELEASE`."""
    return (
        release.id,
        release.endpoint,
        release.number,
        release.image,
        release.command,
        _env_text(release.env),
        release.gpus_per_worker,
        release.created_ms,
        release.credential,
        release.entrypoint,
        release.cuda,
        release.http_port,
        release.made_by,
        release.digest,
        _container_text(release),
        json.dumps(release.specifications),
    )


def _container_text(release: Release) -> str:
    health = None if release.health is None else asdict(release.health)
    volumes = [str(mount) for mount in release.volumes]
    return json.dumps({"volumes": volumes, "disk_gb": release.disk_gb, "health": health})


def _env(text: str) -> Env:
    """A secret is an object with what was sealed: no variable's value is one."""
    found = json.loads(text)
    return {name: value if isinstance(value, str) else Secret(value["sealed"]) for name, value in found.items()}


def _env_text(env: Env) -> str:
    return json.dumps(
        {name: value if isinstance(value, str) else {"sealed": value.sealed} for name, value in env.items()}
    )
