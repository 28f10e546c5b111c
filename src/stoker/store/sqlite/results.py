"""What a status shows, read for everybody who asks at once.

Called by `transaction.py`: statuses that wait together are one statement.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from stoker.ids import EndpointId, JobId, TeamId
from stoker.store import Result
from stoker.store.rows import JOB, JOB_WIDTH, Row, stored_job
from stoker.store.sqlite.tx import LARGE_BYTES, Tx, gathered

RESULTS: Final = gathered(
    f"{JOB}, CASE WHEN length(outputs.output) < {LARGE_BYTES} THEN CAST(outputs.output AS TEXT) END AS output, "
    f"length(outputs.output) >= {LARGE_BYTES} AS large, "
    "CASE WHEN outputs.error IS NOT NULL THEN '=' || hex(outputs.error) END AS error, jobs.webhook",
    "FROM jobs LEFT JOIN outputs ON outputs.job = jobs.seq WHERE jobs.id IN (SELECT value FROM json_each(?))",
)
"""Outputs are JSON, and therefore text; errors are nearly."""
LARGE_OUTPUT: Final = "SELECT output FROM outputs WHERE job = ?"


class FindResult(msgspec.Struct, frozen=True, gc=False):
    """See `JobRows.result`. A function of the transaction; those that wait together are better asked together."""

    team: TeamId
    endpoint: EndpointId | None
    job: JobId

    def __call__(self, tx: Tx) -> Result | None:
        """The answer to this question alone."""
        return find_results(tx, [self])[0]


def find_results(tx: Tx, wanted: Sequence[FindResult]) -> list[Result | None]:
    """The answers, in the order of the questions."""
    rows = {row[1]: row for row in tx.gather(RESULTS, {each.job for each in wanted})}
    return [_result(tx, each, rows.get(each.job)) for each in wanted]


def _result(tx: Tx, wanted: FindResult, row: Row | None) -> Result | None:
    if row is None:
        return None
    seq, job = stored_job(row)
    if job.team != wanted.team or wanted.endpoint not in (None, job.endpoint):
        return None
    output, large, error, webhook = row[JOB_WIDTH:]
    body: bytes | None = None if output is None else output.encode()
    if large:
        body = tx.all(LARGE_OUTPUT, (seq,))[0][0]
    text = None if error is None else bytes.fromhex(error[1:]).decode("utf-8", "surrogatepass")
    return Result(job=job, output=body, error=text, webhook=webhook)
