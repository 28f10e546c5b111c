"""Operations on notices: delivering one, showing and redelivering those of a job, and the secret that signs a team's.

A notice's body is the status of its job as it was at that end, in the words of the dialect in which the job was submitted; so it is made
when it is sent, from what the job shows, or from what was kept when the job was retried or forgotten since.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from stoker.audit import Action, Actor, AuditLine, Facts, Kind
from stoker.clock import Clock
from stoker.errors import InvalidInput
from stoker.ids import EndpointId, JobId, TeamId
from stoker.job import JobState
from stoker.store import Result, Store
from stoker.store.notices import NoticePage, no_notice
from stoker.vault import Vault
from stoker.webhook import (
    OVERLAP_MOST_MS,
    Answer,
    Notice,
    NoticeState,
    SigningSecret,
    Target,
    Try,
    after,
    again,
    parse,
    signature,
    write_secret,
)
from stoker.why.jobs import explain_end

KEY_BYTES: Final = 32
GRANTED_MS: Final = 3_600_000
"""What every pending notice has left at least when a server begins to deliver: nobody may have tried for days."""
GIVE_UP_BATCH: Final = 100

Render = Callable[[Result, bytes | None], bytes]
"""A job with its input, as a dialect tells its end."""


Tried = Callable[[Notice, Try], None]
"""Hears of each try."""


def nobody(_notice: Notice, _tried: Try) -> None:
    """Hears it."""


class Receivers(Protocol):
    """Receivers of webhooks, wherever they are."""

    async def tell(self, target: Target, headers: Mapping[str, str], body: bytes) -> Answer:
        """Send it. Whatever goes wrong is in the answer."""
        ...


class NoReceivers:
    """For programs that deliver nothing."""

    async def tell(self, target: Target, headers: Mapping[str, str], body: bytes) -> Answer:
        """Refuse."""
        return Answer(error="this program delivers no webhooks")


@dataclass(frozen=True, kw_only=True, slots=True)
class Told:
    """What was counted since the start of this process."""

    delivered: int = 0
    failed: int = 0
    """Tries that did not succeed."""
    given_up: int = 0


class Notices:
    """Operations on notices."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        vault: Vault,
        *,
        receivers: Receivers,
        renders: Mapping[str, Render],
        life_s: int,
        agent: str = "Stoker",
        tried: Tried = nobody,
    ) -> None:
        self._store = store
        self._clock = clock
        self._vault = vault
        self._receivers = receivers
        self._renders = renders
        self._life_ms = life_s * 1000
        self._agent = agent
        self._tried = tried
        self._told = Told()

    @property
    def told(self) -> Told:
        """Counters, for metrics."""
        return self._told

    # ── delivering ────────────────────────────────────────────────────────────────────────────────────────────────────

    async def deliver(self, notice: Notice) -> Try:
        """Try once, and store what came of it. Doing it twice at once delivers it twice, nothing worse."""
        began_ms = self._clock.now_ms()
        body = await self._body(notice)
        if body is None:
            return Try(at_ms=began_ms, duration_ms=0, error="the notice is gone")
        headers = await self._headers(notice, body, began_ms)
        answer = await self._tell(notice, headers, body)
        tried = Try(
            at_ms=began_ms,
            duration_ms=max(0, self._clock.now_ms() - began_ms),
            status=answer.status,
            error=answer.error,
            retry_after_ms=answer.retry_after_ms,
        )
        now = after(notice, tried, life_ms=self._life_ms)
        await self._store.notices.record(notice, now, tried)
        self._tried(notice, tried)
        self._count(tried, given_up=now.due_ms is None and not tried.succeeded)
        return tried

    async def _tell(self, notice: Notice, headers: Mapping[str, str], body: bytes) -> Answer:
        try:
            target = parse(notice.url)
        except InvalidInput as error:  # it was submitted to an earlier version
            return Answer(status=None, error=error.message)
        return await self._receivers.tell(target, headers, body)

    def _count(self, tried: Try, *, given_up: bool) -> None:
        told = self._told
        self._told = Told(
            delivered=told.delivered + tried.succeeded,
            failed=told.failed + (not tried.succeeded),
            given_up=told.given_up + given_up,
        )

    async def _body(self, notice: Notice) -> bytes | None:
        """None when the notice is gone. What is asked last counts: if nothing was kept by then, the job still had it before."""
        result = await self._store.jobs.result(notice.team, notice.endpoint, notice.job)
        sent = await self._store.jobs.input(notice.team, notice.job)
        kept = await self._store.notices.kept(notice.number)
        if kept is not None:
            shown, sent = Result(job=notice.ended, output=kept.output, error=kept.error), kept.input
        elif result is not None:
            shown = Result(job=notice.ended, output=result.output, error=result.error)
        else:
            return None
        return self._renders[notice.dialect](await self._explained(shown), sent)

    async def _explained(self, result: Result) -> Result:
        job = result.job
        if result.error is not None or job.state not in (JobState.FAILED, JobState.TIMED_OUT):
            return result
        story = [line for line in await self._store.jobs.story(job.id) if line.at_ms <= (job.finished_ms or 0)]
        return Result(job=job, output=result.output, error=explain_end(job, story))

    async def _headers(self, notice: Notice, body: bytes, now_ms: int) -> dict[str, str]:
        """Signed if the team has a secret; during a rotation with both."""
        timestamp_s = now_ms // 1000
        headers = {
            "content-type": "application/json",
            "user-agent": self._agent,
            "webhook-id": notice.id,
            "webhook-timestamp": str(timestamp_s),
        }
        secret = await self._store.notices.secret(notice.team)
        if secret is not None:
            keys = [await self._vault.open(sealed, notice.team) for sealed in secret.in_use(now_ms)]
            headers["webhook-signature"] = " ".join(signature(key, notice.id, timestamp_s, body) for key in keys)
        return headers

    async def begin(self) -> None:
        """This server delivers from now on: what still waits gets some time, however long nobody tried."""
        await self._store.notices.grant(self._clock.now_ms() - self._life_ms + min(GRANTED_MS, self._life_ms))

    async def give_up(self) -> None:
        """Give up what nobody got to while its receiver failed."""
        now_ms = self._clock.now_ms()
        text = f"its time, {self._life_ms // 1000} s, was over while its receiver failed"
        while True:
            many = await self._store.notices.give_up(now_ms - self._life_ms, now_ms, text, GIVE_UP_BATCH)
            told = self._told
            self._told = Told(delivered=told.delivered, failed=told.failed, given_up=told.given_up + many)
            if many < GIVE_UP_BATCH:
                return

    # ── for customers ─────────────────────────────────────────────────────────────────────────────────────────────────

    async def of_job(self, team: TeamId, job: JobId) -> Sequence[tuple[Notice, Sequence[Try]]]:
        """What the webhook of a job, which was read before, was told, oldest first, with every try."""
        return await self._store.notices.of_job(team, job)

    async def page(
        self, team: TeamId, endpoint: EndpointId | None, state: NoticeState | None, *, before: int | None, limit: int
    ) -> NoticePage:
        """What receivers of a team, or of one endpoint of it, were told or will be, newest first, before a number."""
        return await self._store.notices.page(team, endpoint, state, before=before, limit=limit)

    async def redeliver(self, by: Actor, job: JobId, word: str) -> Notice:
        """Deliver a notice of the job once more, whatever became of it. Raises `NotFound`."""
        for notice, _ in await self.of_job(by.team, job):
            if word == notice.id:
                now = again(notice, self._clock.now_ms())
                facts = {"job": job, "url": parse(notice.url).shown}
                line = self._line(by, Action.REDELIVERED, thing=notice.id, name=job, after=facts)
                await self._store.notices.again(now, line)
                return now
        raise no_notice(word)

    async def secret(self, team: TeamId) -> SigningSecret | None:
        """What is known of the team's secret; None before the first."""
        return await self._store.notices.secret(team)

    async def rotate_secret(self, by: Actor, *, overlap_ms: int) -> tuple[SigningSecret, str]:
        """A new secret, which is shown only now; for `overlap_ms` notices are signed with the old one too.

        Raises `InvalidInput`, `Conflict` when two rotate at once.
        """
        if not 0 <= overlap_ms <= OVERLAP_MOST_MS:
            raise InvalidInput(
                f"overlap is {overlap_ms // 1000} s; it must be from 0 to {OVERLAP_MOST_MS // 1000} seconds",
                code="out_of_range",
                field="overlap_s",
            )
        before = await self.secret(by.team)
        plain, now_ms = write_secret(secrets.token_bytes(KEY_BYTES)), self._clock.now_ms()
        made = SigningSecret(
            team=by.team,
            sealed=self._vault.seal(plain, by.team),
            made_ms=now_ms,
            old_sealed=None if before is None else before.sealed,
            old_until_ms=None if before is None else now_ms + overlap_ms,
        )
        facts = {"old_until_ms": made.old_until_ms}
        line = self._line(by, Action.ROTATED, thing="secret", name="secret of webhooks", after=facts)
        await self._store.notices.save_secret(made, was=before, line=line)
        return made, plain

    def _line(self, by: Actor, action: Action, *, thing: str, name: str, after: Facts | dict[str, Any]) -> AuditLine:
        return AuditLine(
            at_ms=self._clock.now_ms(), by=by, action=action, kind=Kind.WEBHOOK, thing=thing, name=name, after=after
        )


__all__ = ["NoReceivers", "Notices", "Receivers", "Render", "Told", "Tried"]
