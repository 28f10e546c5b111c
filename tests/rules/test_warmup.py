"""Warm-ups: when one that went wrong is tried again."""

from stoker.errors import InvalidInput, Unavailable
from stoker.ids import TeamId
from stoker.warmup import FIRST_PAUSE_MS, TRIES_MOST, WarmUp, WarmUpState

ASKED = WarmUp(team=TeamId("team-one"), image="example.com/a:1", due_ms=1_000, asked_ms=1_000, updated_ms=1_000)
DENIED = InvalidInput("not for you", code="image_denied")
BUSY = Unavailable("come again", code="image_rate_limited")


def test_what_will_never_come_is_not_tried_again() -> None:
    """A refusal that stays is the end, with its code and words."""
    failed = ASKED.failed(DENIED, 2_000)
    assert (failed.state, failed.code, failed.text) == (WarmUpState.FAILED, "image_denied", "not for you")


def test_pauses_double_and_tries_end() -> None:
    """What may come later is tried again after pauses that double, so many times and no more."""
    one, pauses = ASKED, []
    while one.state is WarmUpState.FETCHING:
        one = one.failed(BUSY, 2_000)
        pauses.append(one.due_ms - 2_000)
    assert one.tries == TRIES_MOST
    assert pauses[:-1] == [FIRST_PAUSE_MS * 2**n for n in range(TRIES_MOST - 1)]


def test_progress_forgets_what_went_wrong() -> None:
    """One that goes on says how far it is, and no longer what went wrong; one that is here says neither."""
    again = ASKED.failed(BUSY, 2_000).far("half of it", 3_000)
    assert (again.text, again.code) == ("half of it", "")
    here = again.fetched("example.com/a@sha256:1", 4_000)
    assert (here.state, here.text, here.digest) == (WarmUpState.HERE, "", "example.com/a@sha256:1")
