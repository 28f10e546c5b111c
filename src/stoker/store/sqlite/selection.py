"""What looking for jobs needs to know about SQLite."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from stoker.job import JobState
from stoker.store.rows import JOB
from stoker.store.selecting import Lists

_TAIL: Final = "jobs.endpoint = $1 AND jobs.team = $2 AND jobs.seq < $3 ORDER BY jobs.seq DESC LIMIT $4"


def _walk(index: str, condition: str) -> str:
    return f"SELECT {JOB} FROM jobs INDEXED BY {index} WHERE {condition} {_TAIL}"


_RUNNING: Final = _walk("jobs_running", "jobs.state = 'running' AND")
_AHEAD: Final = _walk("jobs_ahead", "jobs.state = 'ahead' AND")
_QUEUED: Final = " UNION ALL ".join(
    f"SELECT * FROM ({one})"
    for one in (
        *(_walk("jobs_queued", f"jobs.state = 'queued' AND jobs.low_priority = {low} AND") for low in (0, 1)),
        _AHEAD,
    )
)
_OF_STATE: Final[Mapping[JobState | None, str]] = {
    None: _walk("jobs_of_endpoint", ""),
    JobState.QUEUED: f"{_QUEUED} ORDER BY seq DESC LIMIT $4",
    JobState.AHEAD: _AHEAD,
    JobState.RUNNING: _RUNNING,
} | {
    state: _walk("jobs_ended", f"jobs.finished_ms IS NOT NULL AND jobs.state = '{state.value}' AND")
    for state in JobState
    if state.final
}
LISTS: Final = Lists(
    of_state=_OF_STATE,
    seq_of="SELECT seq FROM jobs WHERE id = $1 AND team = $2 AND endpoint = $3",
    holds="instr({whole}, {part}) > 0",
)
