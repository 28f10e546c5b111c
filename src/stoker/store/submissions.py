"""Jobs arriving: stored with their input, once per idempotency key."""

from __future__ import annotations

import msgspec

from stoker.errors import Conflict
from stoker.job import Job
from stoker.store import SUBMIT_KEY_LIFE_MS, NewJob
from stoker.store.image import Image, KeyUse, Needs, SubmitKey
from stoker.store.tables import plain
from stoker.store.transitions import tell_job


class Submit(msgspec.Struct, frozen=True, gc=False):
    """See `JobRows.submit`."""

    new: NewJob

    def need(self, needs: Needs) -> None:
        """What the key was used for, if there is one."""
        needs.new_jobs += 1
        if self.new.idempotency_key is not None:
            needs.keys.add(self._key(self.new.idempotency_key))

    def decide(self, image: Image) -> Job:
        """The job, or the one that its key made before. Raises `Conflict`."""
        if self.new.idempotency_key is not None:
            known = self._known(image, self._key(self.new.idempotency_key))
            if known is not None:
                return known
        job = self.new.job
        seq = image.add_job(self.new)
        tell_job(image, seq, job, job.created_ms, "submitted")
        return job

    def _key(self, key: str) -> SubmitKey:
        return SubmitKey(self.new.job.endpoint, plain(key))

    def _known(self, image: Image, key: SubmitKey) -> Job | None:
        """The job that the key made within its life; otherwise remember the key for the new one."""
        job = self.new.job
        used = image.keys.get(key)
        if used is None or used.at_ms <= job.created_ms - SUBMIT_KEY_LIFE_MS:
            image.keys[key] = KeyUse(job.id, self.new.body_hash, job.created_ms)
            image.new_keys.add(key)
            return None
        if used.body_hash != self.new.body_hash:
            raise Conflict(
                "this Idempotency-Key was used for another request",
                code="idempotency_mismatch",
                next_step="send the same body again, or choose a new key",
            )
        return _made(image, used)


def _made(image: Image, used: KeyUse) -> Job:
    stored = image.jobs.get(used.job)
    if stored is None:
        # Running it again would break the promise of the key, and its result is gone.
        raise Conflict(
            "the job that this Idempotency-Key made is over and no longer kept",
            code="idempotency_job_gone",
            next_step="choose a new key to run it again",
        )
    return stored.job
