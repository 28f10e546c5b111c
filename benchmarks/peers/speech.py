"""How the contestants are spoken to: where a job is submitted, how it is asked for, and what their answers mean."""

from __future__ import annotations

from enum import Enum
from typing import Final

import msgspec

from benchmarks.load import request

BODY_BYTES: Final = 300
_FRAME: Final = '{"input":{"text":"%s"}}'
TEXT: Final = "x" * (BODY_BYTES - len(_FRAME) + 2)
"""What is sent has to come back, and is looked for in the output."""
BODY: Final = (_FRAME % TEXT).encode()


class Stage(Enum):
    """What an answer says about a job."""

    WAITING = "waiting"
    COMPLETED = "completed"
    """And the output is in the answer, or `Speech.result` has it."""
    UNKNOWN = "unknown"
    """Nobody will ever finish it: the server does not know the id, or says that the job failed."""


class Speech(msgspec.Struct, frozen=True, kw_only=True):
    """One contestant's requests and words. Without changes, those of our own applications."""

    submit: str = "/run"
    status: str = "/status/"
    """The job's id is added."""
    status_method: str = "GET"
    result: str = ""
    """Where the output is, when a status does not contain it. The job's id is added."""
    id_field: str = "id"
    completed: str = '"COMPLETED"'
    failed: str = '"FAILED"'
    key: str = ""

    def submission(self) -> bytes:
        """The request that submits a job."""
        return request("POST", self.submit, key=self.key, body=BODY)

    def question(self, job: str) -> bytes:
        """The request that asks how a job is."""
        body = None if self.status_method == "GET" else b""
        return request(self.status_method, self.status + job, key=self.key, body=body)

    def fetch(self, job: str) -> bytes:
        """The request for the output."""
        return request("GET", self.result + job, key=self.key)

    def job_of(self, body: bytes) -> str:
        """The id in the answer to a submission.

        Raises ValueError when there is none.
        """
        mark = f'"{self.id_field}":'.encode()
        begin = body.index(b'"', body.index(mark) + len(mark)) + 1
        return body[begin : body.index(b'"', begin)].decode()

    def stage_of(self, status: int, body: bytes) -> Stage:
        """What an answer to `question` says."""
        if status in (404, 410) or self.failed.encode() in body:
            return Stage.UNKNOWN
        if status == 200 and self.completed.encode() in body:
            return Stage.COMPLETED
        return Stage.WAITING
