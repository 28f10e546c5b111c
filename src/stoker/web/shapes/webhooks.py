"""Answers about webhooks."""

from __future__ import annotations

from typing import TypedDict

from stoker.job import JobState
from stoker.web.shapes.common import Named
from stoker.webhook import NoticeState


class TryShown(TypedDict):
    """One attempt to tell a receiver; `status` None when it did not answer."""

    at_ms: int
    status: int | None
    duration_ms: int
    error: str


class NoticeTold(TypedDict):
    """What a receiver was told, or will be."""

    id: str
    url: str
    dialect: str
    job_state: JobState
    ended_ms: int
    state: NoticeState
    next_try_ms: int | None
    delivered_ms: int | None


class NoticeShown(NoticeTold):
    """With every try."""

    tries: list[TryShown]


class NoticeListed(NoticeTold):
    """Among those of a team, with its last try alone."""

    job: str
    endpoint: Named
    last_try: TryShown | None


class NoticeList(TypedDict):
    """Notices of a job, oldest first."""

    notices: list[NoticeShown]


class NoticePage(TypedDict):
    """Notices of a team, newest first; the next page is before `next`."""

    notices: list[NoticeListed]
    next: int | None


class WebhookSecret(TypedDict):
    """Whether a team's notices are signed, and since when."""

    signs: bool
    made_ms: int | None
    old_until_ms: int | None


class WebhookSecretMade(WebhookSecret):
    """A secret that was made just now."""

    secret: str
