"""The words that everybody uses: errors, the clock, ids."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Iterator

import pytest

from stoker import errors, ids
from stoker.clock import ManualClock, SystemClock
from stoker.errors import StokerError

# ── errors ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _tree(kind: type[StokerError], depth: int = 0) -> Iterator[tuple[int, str]]:
    yield depth, kind.__name__
    for child in kind.__subclasses__():
        if child.__module__ == errors.__name__:
            yield from _tree(child, depth + 1)


def test_the_tree_of_errors_is_drawn_as_it_is() -> None:
    """The drawing in the module's docstring shows every class of errors below its parent."""
    lines = re.findall(r"^    ([│├└─ ]*)(\w+)", errors.__doc__ or "", re.MULTILINE)
    assert [(len(indent) // 4, name) for indent, name in lines] == list(_tree(StokerError))


@pytest.mark.parametrize("kind", [getattr(errors, name) for _, name in _tree(StokerError)])
def test_an_error_explains_itself(kind: type[StokerError]) -> None:
    """Without a message an error says its docstring; its code is the class's own unless one is given."""
    plain = kind()
    assert str(plain) == plain.message == kind.__doc__
    assert (plain.code, plain.field, plain.next_step) == (kind.default_code, None, None)
    told = kind("no", code="special", field="name", next_step="say yes")
    assert (str(told), told.code, told.field, told.next_step) == ("no", "special", "name", "say yes")


def test_codes_of_errors_are_distinct() -> None:
    """Clients branch on codes, so no two classes share one."""
    codes = [getattr(errors, name).default_code for _, name in _tree(StokerError)]
    assert len(set(codes)) == len(codes)


# ── the clock ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_system_clock_never_runs_backwards() -> None:
    """Readings never decrease within a process, and are of this century."""
    clock = SystemClock()
    readings = [clock.now_ms() for _ in range(1_000)]
    assert readings == sorted(readings)
    assert 1_600_000_000_000 < readings[0] < 4_200_000_000_000


def test_a_manual_clock_stands_still() -> None:
    """A manual clock moves when told to, by exactly that."""
    clock = ManualClock(now_ms=5_000)
    assert (clock.now_ms(), clock.now_ms()) == (5_000, 5_000)
    clock.advance_s(1.5)
    assert clock.now_ms() == 6_500


# ── ids ───────────────────────────────────────────────────────────────────────────────────────────────────────────────

UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"


@pytest.mark.parametrize(
    ("draw", "shape"),
    [
        (ids.new_team_id, r"team-[0-9a-z]{12}"),
        (ids.new_key_id, r"key-[0-9a-z]{12}"),
        (ids.new_endpoint_id, r"[0-9a-z]{14}"),
        (ids.new_endpoint_name, r"[0-9a-f]{16}"),
        (ids.new_release_id, r"rel-[0-9a-z]{12}"),
        (lambda: ids.new_job_id(1_700_000_000_000), UUID),
        (lambda: ids.new_job_id(1_700_000_000_000, sync=True), f"sync-{UUID}"),
        (ids.new_worker_id, r"[0-9a-z]{14}"),
        (ids.new_api_key, r"sk_[0-9A-Za-z_-]{43}"),
        (ids.new_worker_token, r"[0-9A-Za-z_-]{32}"),
    ],
)
def test_ids_and_secrets(draw: Callable[[], str], shape: str) -> None:
    """Each has its shape, needs no escaping in a URL, and is not drawn twice."""
    drawn = [draw() for _ in range(200)]
    assert all(re.fullmatch(shape, one) for one in drawn)
    assert all(re.fullmatch(r"[0-9A-Za-z._~-]+", one) for one in drawn)
    assert len(set(drawn)) == len(drawn)


def test_job_ids_follow_time() -> None:
    """An id begins with the moment of its job: a later job's id is the greater text."""
    drawn = [ids.new_job_id(at_ms) for at_ms in (0, 1, 1_700_000_000_000, 1_700_000_000_001, 2**48 - 1)]
    assert drawn == sorted(drawn)
    assert uuid.UUID(drawn[2]).version == 7
    assert uuid.UUID(drawn[2]).int >> 80 == 1_700_000_000_000


def test_secrets_are_stored_as_sha256() -> None:
    """The hash is plain SHA-256, so that other programs can compute it, and takes any text a header may carry."""
    assert ids.secret_hash("abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert len(ids.secret_hash("\udcff")) == 64
