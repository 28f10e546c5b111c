"""Sharing a box: who gets how much of it, who waits how long, and who gives way; played in seconds, without a store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import count

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace as moved

from stoker.endpoint import Release
from stoker.ids import EndpointId, ReleaseId, TeamId, WorkerId
from stoker.inventory import Inventory, inventory_of
from stoker.sharing import LOOKS_BACK_S, PATIENCE_S, TURN_S, Claimant, Share, fair_parts, share
from stoker.specification import Capacity, Device, Specification
from stoker.worker import Worker, WorkerReason, WorkerState

T0_MS = 1_700_000_000_000
LOOK_S = 5
"""How often everybody is looked at."""


@dataclass(frozen=True, kw_only=True)
class Customer:
    """An endpoint with more jobs than it can do, from one moment to another; after that its workers are idle."""

    name: str
    weight: int = 1
    gpus: int = 1
    most: int = 8
    since_s: int = 0
    until_s: int = 10**9
    job_s: int = 5
    cold_s: int = 5
    choices: tuple[str, ...] = ("x",)

    @property
    def id(self) -> EndpointId:
        return EndpointId(self.name)

    @property
    def swap_s(self) -> int:
        """How long it takes at most to give one of its places to another and to have it again, but for waiting."""
        return TURN_S + PATIENCE_S + self.cold_s + self.job_s + 3 * LOOK_S

    def here(self, now_s: int) -> bool:
        return self.since_s <= now_s < self.until_s

    def release(self) -> Release:
        return Release(
            id=ReleaseId("r"),
            endpoint=self.id,
            number=1,
            image="any",
            gpus_per_worker=self.gpus,
            specifications=self.choices,
            created_ms=0,
        )


@dataclass
class Box:
    """A machine with GPUs of kinds, played in steps of `LOOK_S`."""

    gpus: Mapping[str, int]
    customers: Sequence[Customer]
    now_s: int = 0
    workers: dict[WorkerId, Worker] = field(default_factory=dict)
    job_ends_s: dict[WorkerId, int] = field(default_factory=dict)
    oldest_s: dict[str, int] = field(default_factory=dict)
    """Since when the oldest job of an endpoint waits."""
    first_s: dict[str, int] = field(default_factory=dict)
    """When an endpoint got its first worker."""
    texts: dict[str, str] = field(default_factory=dict)
    _numbers: count[int] = field(default_factory=count)

    @property
    def now_ms(self) -> int:
        return T0_MS + self.now_s * 1000

    def alive(self, name: str = "") -> list[Worker]:
        """Workers that are not gone."""
        return [one for one in self.workers.values() if one.alive and name in ("", one.endpoint)]

    def inventory(self) -> Inventory:
        devices = tuple(Device(id=f"{kind}{n}", name=kind) for kind, total in self.gpus.items() for n in range(total))
        kinds = [Specification(id=kind, name=kind.upper(), gpu=kind) for kind in self.gpus]
        return inventory_of(Capacity(devices=devices), kinds, (one.place for one in self.alive()))

    def claimant(self, one: Customer) -> Claimant:
        here = one.here(self.now_s)
        waiting_s = self.oldest_s.setdefault(one.name, self.now_s) if here else 0
        return Claimant(
            endpoint=one.id,
            weight=one.weight,
            gpus=one.gpus,
            choices=one.choices,
            wanted=one.most if here else 0,
            missing=max(0, one.most - len(self.alive(one.name))) if here else 0,
            waiting_ms=T0_MS + waiting_s * 1000 if here else None,
        )

    def shares(self) -> Mapping[EndpointId, Share]:
        since_ms = self.now_ms - LOOKS_BACK_S * 1000
        workers = [one for one in self.workers.values() if one.gone_ms is None or one.gone_ms > since_ms]
        return share(self.now_ms, [self.claimant(one) for one in self.customers], workers, self.inventory())

    def play(self, until_s: int) -> Box:
        """As long as that, in one order after the other."""
        while self.now_s < until_s:
            self.now_s += LOOK_S
            for worker in self.alive():
                self.workers[worker.id] = self._live(worker)
            begin = self.now_s // LOOK_S % len(self.customers)
            for customer in (*self.customers[begin:], *self.customers[:begin]):
                self._look_at(customer)
        return self

    def _live(self, worker: Worker) -> Worker:
        customer = next(one for one in self.customers if one.name == worker.endpoint)
        job_over = self.now_s >= self.job_ends_s.get(worker.id, 0)
        match worker.state:
            case WorkerState.DECIDED if self.now_ms >= worker.decided_ms + customer.cold_s * 1000:
                self.job_ends_s[worker.id] = self.now_s + customer.job_s
                return moved(worker, state=WorkerState.READY, ready_ms=self.now_ms)
            case WorkerState.DRAINING if job_over:
                return moved(worker, state=WorkerState.GONE, gone_ms=self.now_ms)
            case WorkerState.READY if job_over and not customer.here(self.now_s):
                return moved(worker, idle_ms=worker.idle_ms or self.now_ms)
            case WorkerState.READY if job_over:
                self.job_ends_s[worker.id] = self.now_s + customer.job_s
                self.oldest_s[customer.name] = max(customer.since_s, self.now_s - 30)
        return worker

    def _look_at(self, customer: Customer) -> None:
        mine = self.shares()[customer.id]
        self.texts[customer.name] = mine.text
        for name, text in mine.gives_way.items():
            self._gives_way(customer, self.workers[name], text)
        inventory = replace(self.inventory(), kept=mine.kept)
        for _ in range(self.claimant(customer).missing):
            place = inventory.place(customer.release())
            if place is None:
                break
            inventory = inventory.with_place(place)
            worker = Worker(
                id=WorkerId(f"{customer.name}{next(self._numbers)}"),
                team=TeamId("t"),
                endpoint=customer.id,
                release=ReleaseId("r"),
                token_hash="",
                gpus=place.gpus,
                specification=place.specification,
                wanted_ms=T0_MS + self.oldest_s[customer.name] * 1000,
                decided_ms=self.now_ms,
            )
            self.workers[worker.id] = worker
            self.first_s.setdefault(customer.name, self.now_s)

    def _gives_way(self, customer: Customer, worker: Worker, text: str) -> None:
        """Only what is ready gives way, after its turn or idle, and only while somebody has waited for long enough."""
        assert (worker.endpoint, worker.state) == (customer.name, WorkerState.READY)
        assert worker.ready_ms is not None
        assert worker.idle_ms is not None or self.now_ms - worker.ready_ms >= TURN_S * 1000
        patient = [self.oldest_s[one.name] for one in self.customers if one is not customer and one.here(self.now_s)]
        assert min(patient) + PATIENCE_S <= self.now_s
        assert text.startswith("others waited for their share")
        self.workers[worker.id] = moved(
            worker, state=WorkerState.DRAINING, reason=WorkerReason.GAVE_WAY, drained_ms=self.now_ms
        )

    def used_s(self, name: str, since_s: int = 0) -> float:
        """GPU-seconds that an endpoint has had since then."""
        since_ms = T0_MS + since_s * 1000
        return sum(
            max(0, (one.gone_ms or self.now_ms) - max(one.decided_ms, since_ms)) / 1000 * len(one.gpus)
            for one in self.workers.values()
            if one.endpoint == name
        )

    def gave_way(self, name: str) -> int:
        """How many workers of an endpoint did."""
        return sum(one.endpoint == name and one.reason is WorkerReason.GAVE_WAY for one in self.workers.values())


# ── shares ────────────────────────────────────────────────────────────────────────────────────────────────────────────

WISHES = st.lists(st.tuples(st.integers(1, 1000), st.integers(0, 20)), max_size=6)


@given(st.integers(0, 30), WISHES)
def test_all_is_divided_by_weight(total: int, wishes: list[tuple[int, float]]) -> None:
    """Nobody gets more than it wants; who gets less has at least as much for its weight as anybody; nothing is left over that
    somebody wants."""
    parts = fair_parts(total, wishes)
    assert all(0 <= part <= most + 1e-9 for part, (_weight, most) in zip(parts, wishes, strict=True))
    assert sum(parts) == pytest.approx(min(total, sum(most for _weight, most in wishes)))
    short = [part / weight for part, (weight, most) in zip(parts, wishes, strict=True) if part < most - 1e-9]
    every = [part / weight for part, (weight, _most) in zip(parts, wishes, strict=True)]
    assert all(one >= other - 1e-9 for one in short for other in every)


def test_while_there_is_room_nobody_gives_way() -> None:
    """Two endpoints that both find a place for all they want are left alone."""
    box = Box(gpus={"x": 4}, customers=[Customer(name="a", most=2), Customer(name="b", most=2)]).play(900)
    assert (box.used_s("a"), box.used_s("b")) == (1790, 1790)
    assert [one.reason for one in box.workers.values()] == [WorkerReason.SCALED_UP] * 4


# ── boxes ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.slow
@pytest.mark.parametrize(
    ("gpus", "customers"),
    [
        (4, [Customer(name="a"), Customer(name="b", since_s=300)]),
        (1, [Customer(name="a"), Customer(name="b", since_s=300)]),
        (1, [Customer(name="a", weight=3), Customer(name="b", since_s=300)]),
        (3, [Customer(name="a"), Customer(name="b", since_s=300)]),
        (8, [Customer(name="a", gpus=8, weight=3), Customer(name="b")]),
        (8, [Customer(name="a", gpus=4), Customer(name="b"), Customer(name="c", weight=2, gpus=2)]),
        (2, [Customer(name="a", job_s=120), Customer(name="b", cold_s=60), Customer(name="c")]),
        (1, [Customer(name=f"e{number}", weight=1 + number % 3) for number in range(6)]),
    ],
)
def test_everybody_gets_its_share_of_gpu_seconds(gpus: int, customers: list[Customer]) -> None:
    """Over half an hour and over an hour each has its share but for one turn of each, whatever comes out even or not."""
    box = Box(gpus={"x": gpus}, customers=customers)
    parts = fair_parts(gpus, [(one.weight, one.most * one.gpus) for one in customers])
    off_most_s = sum(one.swap_s for one in customers) * max(one.gpus for one in customers)
    for until_s in (2400, 4200):
        box.play(until_s)
        for one, part in zip(customers, parts, strict=True):
            assert abs(box.used_s(one.name, 600) - part * (until_s - 600)) <= off_most_s


def test_places_that_come_out_even_do_not_flap() -> None:
    """Once everybody has its share nobody gives way any more."""
    box = Box(gpus={"x": 4}, customers=[Customer(name="a", weight=3), Customer(name="b", since_s=100)]).play(900)
    assert (box.gave_way("a"), box.gave_way("b")) == (1, 0)


@pytest.mark.slow
@settings(max_examples=15, deadline=None)
@given(st.data())
def test_nobody_starves(data: st.DataObject) -> None:
    """Whatever there is and whoever comes and goes: everybody with jobs is served within a turn of each of the others (who weighs less,
    after more of them), keeps getting its share, and no place stays free that somebody could use."""
    gpus = data.draw(st.integers(1, 4))
    customers = [
        Customer(
            name=name,
            weight=data.draw(st.integers(1, 4)),
            gpus=data.draw(st.integers(1, min(2, gpus))),
            most=data.draw(st.integers(1, 4)),
            since_s=data.draw(st.integers(0, 20)) * 30,
            until_s=data.draw(st.sampled_from([900, 10**9])),
            job_s=data.draw(st.sampled_from([5, 40])),
            cold_s=data.draw(st.sampled_from([5, 30])),
        )
        for name in "abcd"[: data.draw(st.integers(2, 4))]
    ]
    box = Box(gpus={"x": gpus}, customers=customers).play(1500)
    cycle_s = sum(one.swap_s for one in customers) * max(one.gpus for one in customers)
    heaviest = max(one.weight for one in customers)
    for one in customers:
        waited_s = box.first_s.get(one.name, min(one.until_s, box.now_s)) - one.since_s
        assert waited_s <= cycle_s * heaviest / one.weight
    here = [one for one in customers if one.here(box.now_s)]
    usable = gpus - gpus % min((one.gpus for one in here), default=1)
    parts = fair_parts(usable, [(one.weight, one.most * one.gpus) for one in here])
    for one, part in zip(here, parts, strict=True):
        assert box.used_s(one.name, 900) >= part * 600 - 2 * cycle_s  # turns that began before, and that end after
    if any(one.gpus == 1 and len(box.alive(one.name)) < one.most for one in here):
        assert not box.inventory().free_devices(box.inventory().specifications[0]) or any(one.gpus > 1 for one in here)


def test_a_worker_larger_than_its_share_gets_its_turn() -> None:
    """Two GPUs at once, for an endpoint whose share is one of three: others that have just their share give it up in turns."""
    box = Box(gpus={"x": 3}, customers=[Customer(name="a", weight=2, most=2), Customer(name="b", gpus=2, most=1)])
    box.play(1500)
    assert box.first_s["b"] <= sum(one.swap_s for one in box.customers)
    assert box.used_s("b") > 0.5 * 1500 * 1
    assert box.used_s("a") > 0.5 * 1500 * 2


def test_what_is_too_little_for_any_worker_is_nobodys_share() -> None:
    """Of three GPUs, workers of two can use two: who had them alone is owed nothing for the third when somebody comes."""
    box = Box(gpus={"x": 3}, customers=[Customer(name="a", gpus=2), Customer(name="b", gpus=2, since_s=600)])
    box.play(900)
    assert box.first_s["b"] - 600 <= sum(one.swap_s for one in box.customers)


def test_who_comes_with_jobs_is_served_soon() -> None:
    """One more endpoint on a box that is all another's has a worker after the patience, a look and the job that is going on; the
    other loses what is beyond its share, and not more."""
    first, second = Customer(name="a", job_s=20), Customer(name="b", since_s=300)
    box = Box(gpus={"x": 4}, customers=[first, second]).play(500)
    assert box.first_s["b"] - 300 <= PATIENCE_S + first.job_s + 2 * LOOK_S
    assert (len(box.alive("a")), len(box.alive("b"))) == (2, 2)


def test_idle_workers_give_way_at_once() -> None:
    """Who has no jobs any more keeps no place from somebody who has: its turn needs not be over."""
    box = Box(gpus={"x": 2}, customers=[Customer(name="a", until_s=30), Customer(name="b", since_s=40)]).play(70)
    assert (len(box.alive("a")), len(box.alive("b"))) == (0, 2)


def test_other_kinds_are_left_alone() -> None:
    """Nobody gives way in a kind of place that the waiting one may not use, and who has a free second choice goes there."""
    customers = [
        Customer(name="a", most=2, choices=("x",)),
        Customer(name="b", most=2, choices=("y",)),
        Customer(name="c", most=2, choices=("y", "z"), since_s=100),
    ]
    box = Box(gpus={"x": 2, "y": 2, "z": 2}, customers=customers).play(600)
    assert [box.gave_way(name) for name in "abc"] == [0, 0, 0]
    assert {one.specification for one in box.alive("c")} == {"z"}


def test_a_worker_of_many_gpus_is_not_passed_over() -> None:
    """What becomes free is kept for the large worker whose turn it is, though small ones would fit."""
    box = Box(gpus={"x": 4}, customers=[Customer(name="a", job_s=5), Customer(name="b", gpus=4, since_s=100)])
    box.play(300)
    assert box.first_s["b"] - 100 <= Customer(name="a").swap_s


def test_what_a_waiting_job_is_told() -> None:
    """In numbers: how much others have, how much is its share, and when its turn comes; nobody is named."""
    box = Box(gpus={"x": 1}, customers=[Customer(name="alice"), Customer(name="bob", since_s=20)]).play(25)
    assert box.texts["bob"] == (
        "others have 1 of 1 GPUs X, this endpoint 0; its share is 0.5, and its turn comes in about 45 s"
    )
    box.play(70)
    assert box.texts["bob"].endswith("its share is 0.5: a place is being made free for it")


@cache
def three_on_two() -> Box:
    """Two minutes of three endpoints on two GPUs."""
    customers = [Customer(name="a"), Customer(name="b", since_s=60), Customer(name="c")]
    return Box(gpus={"x": 2}, customers=customers).play(120)


@settings(max_examples=20)
@given(st.permutations(range(3)), st.integers(0, 10**9))
def test_order_and_time_of_day_do_not_matter(order: list[int], later_ms: int) -> None:
    """The same claims in another order, or on another day, are shared in the same way."""
    box = three_on_two()
    claimants = [box.claimant(one) for one in box.customers]
    known = share(box.now_ms, claimants, box.workers.values(), box.inventory())
    moved_claimants = [
        replace(claimants[place], waiting_ms=(claimants[place].waiting_ms or 0) + later_ms) for place in order
    ]

    def later(at_ms: int | None) -> int | None:
        return None if at_ms is None else at_ms + later_ms

    workers = [
        moved(
            one,
            wanted_ms=later(one.wanted_ms),
            decided_ms=one.decided_ms + later_ms,
            ready_ms=later(one.ready_ms),
            gone_ms=later(one.gone_ms),
        )
        for one in reversed(box.workers.values())
    ]
    assert share(box.now_ms + later_ms, moved_claimants, workers, box.inventory()) == known
