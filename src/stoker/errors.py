"""Every error that Stoker raises on purpose.

    StokerError
    ├── Refused                    the caller can mend it; nothing was changed
    │   ├── InvalidInput           a value is wrong; `field` names it
    │   ├── TooLarge               a body is over its limit
    │   ├── Stalled                a body did not come
    │   ├── TargetTooLong          the path and query of a request are over their limit
    │   ├── HeadTooLarge           so are its headers
    │   ├── Unauthenticated        no key, or one that is not valid
    │   ├── Forbidden              the key is valid and lacks a scope
    │   ├── NotFound               it does not exist, or another team owns it
    │   ├── Conflict               the state of things forbids it
    │   ├── Exhausted              there is no budget left for it
    │   └── TooMany                the caller asks too much; later it may be all right
    ├── Unavailable                try again later; the same call may succeed
    │   ├── OutcomeUnknown         it may have been done: the database went away while it committed
    │   └── DiskFull               there is no room for it
    └── Defect                     our own mistake; outside it is only "internal"
        └── IllegalTransition      an event that a state machine does not allow

Who raises them: rules, operations and adapters. Who turns them into answers: `web.app`, by class, in one table.
The docstring of a class is its default message. `code` is stable: clients may branch on it.
"""

from __future__ import annotations

from typing import ClassVar


class StokerError(Exception):
    """Something went wrong."""

    default_code: ClassVar[str] = "error"

    def __init__(
        self,
        message: str | None = None,
        *,
        code: str | None = None,
        field: str | None = None,
        next_step: str | None = None,
    ) -> None:
        self.message = message or (type(self).__doc__ or "").strip()
        self.code = code or self.default_code
        self.field = field
        self.next_step = next_step
        super().__init__(self.message)


class Refused(StokerError):
    """The request was refused."""

    default_code = "refused"


class InvalidInput(Refused):
    """A value in the request is not valid."""

    default_code = "invalid_input"


class TooLarge(Refused):
    """The request body is too large."""

    default_code = "payload_too_large"


class Stalled(Refused):
    """The request body stopped coming."""

    default_code = "upload_stalled"


class TargetTooLong(Refused):
    """The path and query of the request are too long."""

    default_code = "target_too_long"


class HeadTooLarge(Refused):
    """The headers of the request are too large."""

    default_code = "head_too_large"


class Unauthenticated(Refused):
    """The API key is missing or not valid."""

    default_code = "unauthenticated"


class Forbidden(Refused):
    """The API key does not allow this."""

    default_code = "forbidden"


class NotFound(Refused):
    """There is no such thing, or it belongs to another team."""

    default_code = "not_found"


class Conflict(Refused):
    """The present state does not allow this."""

    default_code = "conflict"


class Exhausted(Refused):
    """There is no budget left for this."""

    default_code = "budget_exhausted"


class TooMany(Refused):
    """Too much was asked at once."""

    default_code = "too_many_requests"

    def __init__(
        self,
        message: str | None = None,
        *,
        code: str | None = None,
        field: str | None = None,
        next_step: str | None = None,
        retry_after_s: int = 1,
    ) -> None:
        super().__init__(message, code=code, field=field, next_step=next_step)
        self.retry_after_s = retry_after_s


class Unavailable(StokerError):
    """Stoker cannot do this right now; try again shortly."""

    default_code = "unavailable"


class OutcomeUnknown(Unavailable):
    """The database went away while it committed: the change may or may not have been made."""

    default_code = "outcome_unknown"


class DiskFull(Unavailable):
    """The disk has no room for this."""

    default_code = "disk_full"


class Defect(StokerError):
    """An internal error."""

    default_code = "internal"


class IllegalTransition(Defect):
    """An event arrived that this state does not allow."""

    default_code = "illegal_transition"
