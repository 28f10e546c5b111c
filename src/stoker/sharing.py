"""Sharing a machine: who may have the next place, and who gives one up for it. Pure, and without memory.

While there is room nobody is asked. When jobs of an endpoint wait and the places that it may use are all taken, each kind of
place (a specification) is shared among the endpoints that want it: by their weights, nobody more than it wants. What does not
come out even (two GPUs for three endpoints, one worker that needs four) goes in turns. A turn belongs to whoever has had the
least of its share in GPU-seconds: what was `owed`, worked out from when workers were decided and when they went. Nothing is
kept for it but the workers' own records.

What must stay true (`tests/rules/test_sharing.py` proves it):

- Nobody gives up a place but for an endpoint below its share whose oldest job has waited for `PATIENCE_S`.
- A worker that others want to replace has been ready for `TURN_S`: places do not flap.
- Everybody who wants gets its share of GPU-seconds, but for a bound that does not grow with time.
- Whoever arrives with jobs has a worker after a bounded time, also where one worker is more than its share.
- A place that is free stays free only for somebody whose turn it is.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final

from stoker.ids import EndpointId, WorkerId
from stoker.inventory import Inventory
from stoker.specification import Specification
from stoker.worker import Worker, WorkerState

PATIENCE_S: Final = 10
"""How long the oldest job waits before anybody gives up a place for it: most waits end by themselves."""
TURN_S: Final = 60
"""How long a worker is ready before it gives way: what a cold start costs should have been worth it."""
LOOKS_BACK_S: Final = 3_600
"""How far back it is worked out who has had how much; longer ago is forgotten, and so are ended workers some day."""
OWED_MOST_S: Final = 600
"""At most so many seconds of a worker can be owed to an endpoint, or by it: what happened long ago shuts nobody out for long."""
GAP_MS: Final = 5_000
"""Without worker and without waiting jobs for longer than this, an endpoint has left, and begins anew."""

_SERVING: Final = (WorkerState.DECIDED, WorkerState.STARTING, WorkerState.READY)


@dataclass(frozen=True, kw_only=True, slots=True)
class Claimant:
    """An endpoint that has workers, or wants some."""

    endpoint: EndpointId
    weight: int
    gpus: int
    """Of one worker."""
    choices: tuple[str, ...]
    """Ids of the specifications that its workers may be placed in, the preferred one first."""
    wanted: int
    """Workers that it should have, by its load and between its min and max."""
    missing: int = 0
    """How many of them it would launch now if there were room."""
    waiting_ms: int | None = None
    """Since when its oldest job that counts for scaling waits."""

    @property
    def units(self) -> int:
        """How many GPUs, or places without any, one worker takes."""
        return max(1, self.gpus)


@dataclass(frozen=True, kw_only=True, slots=True)
class Share:
    """What sharing means for one endpoint."""

    kept: Mapping[str, int] = field(default_factory=dict)
    """GPUs or places of each specification that are free, but kept for others whose turn it is."""
    gives_way: Mapping[WorkerId, str] = field(default_factory=dict)
    """Workers of it that others are to replace, with the reason in words."""
    text: str = ""
    """Why it gets no more, in words; empty when that is not because of others."""


def share(
    now_ms: int, claimants: Iterable[Claimant], workers: Iterable[Worker], inventory: Inventory
) -> Mapping[EndpointId, Share]:
    """What each of them may have. `workers` are those that live, and those that went within `LOOKS_BACK_S`."""
    everybody = sorted(claimants, key=lambda one: one.endpoint)
    of_kind: dict[str, list[Worker]] = {}
    for worker in workers:
        of_kind.setdefault(worker.specification, []).append(worker)
    kinds = [
        _Kind(now_ms, one, total, inventory.free(one) or 0, everybody, of_kind)
        for one in inventory.specifications
        if (total := inventory.total(one)) is not None
    ]
    met: dict[EndpointId, int] = {}
    for party in sorted((party for kind in kinds for party in kind.parties), key=_Party.turn):
        one = party.claimant
        left = one.missing - met.get(one.endpoint, 0)
        got = sum(party.kind.claim(party) for _ in range(min(left, party.within_share())))
        met[one.endpoint] = met.get(one.endpoint, 0) + got
    return {one.endpoint: _share_of(one, kinds) for one in everybody}


def fair_parts(total: float, wishes: Sequence[tuple[int, float]]) -> list[float]:
    """`total` divided among wishes of (weight, most): in proportion to the weights, nobody more than its most."""
    parts = [0.0] * len(wishes)
    open_ones = [place for place, (_weight, most) in enumerate(wishes) if most > 0]
    open_ones.sort(key=lambda place: wishes[place][1] / wishes[place][0])
    weights = sum(wishes[place][0] for place in open_ones)
    for place in open_ones:
        weight, most = wishes[place]
        parts[place] = min(most, total * weight / weights)
        total, weights = total - parts[place], weights - weight
    return parts


# ── one kind of place ─────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(eq=False, kw_only=True, slots=True)
class _Party:
    """A claimant in one kind of place."""

    kind: _Kind
    claimant: Claimant
    workers: list[Worker]
    """All of it that is remembered, ended ones included."""
    wants: int
    """GPUs or places."""
    fair: float = 0.0
    """How many are its share."""
    owed: float = 0.0
    """What it has had too little of its share, in GPU-seconds; negative when it has had too much."""
    since_ms: int = 0
    reserved: int = 0
    """Free ones that are kept for it."""
    coming: int = 0
    """Workers that get places which are being given up."""
    claims: int = 0
    """Workers for which it has a claim."""
    gives_way: dict[WorkerId, str] = field(default_factory=dict)

    @property
    def serving(self) -> list[Worker]:
        """Its workers that stay."""
        return [one for one in self.workers if one.state in _SERVING and one.id not in self.gives_way]

    @property
    def has(self) -> int:
        """How many GPUs or places it keeps."""
        return len(self.serving) * self.claimant.units

    def turn(self) -> tuple[float, int, int, str]:
        """Whose turn it is first: who is owed the most, then who waits longest; where it prefers to be."""
        one = self.claimant
        waiting_ms = self.kind.now_ms if one.waiting_ms is None else one.waiting_ms
        return -round(self.owed), waiting_ms, one.choices.index(self.kind.id), one.endpoint

    def within_share(self) -> int:
        """How many more workers its share is good for; the one that goes beyond it only when it is owed something."""
        more = (self.fair - self.has) / self.claimant.units
        return max(0, math.ceil(more - 1e-9) if self.owed > 0 else math.floor(more + 1e-9))

    def over(self) -> bool:
        """Whether it has more than its share."""
        return self.has > self.fair + 1e-9


class _Kind:
    """One specification, with everybody who has or wants some of it."""

    def __init__(
        self,
        now_ms: int,
        specification: Specification,
        total: int,
        free: int,
        claimants: Sequence[Claimant],
        of_kind: Mapping[str, Sequence[Worker]],
    ) -> None:
        self.now_ms = now_ms
        self.id = specification.id
        self.name = specification.name
        self.noun = "GPUs" if specification.has_gpus else "places"
        self.total = total
        self.spare = free
        """Free ones that nobody has a claim on."""
        mine = of_kind.get(self.id, ())
        self.leaving = sum(_units(one) for one in mine if one.state in (WorkerState.DRAINING, WorkerState.STOPPING))
        """Those that will be free soon, and that nobody has a claim on."""
        self.parties = [party for one in claimants if self.id in one.choices and (party := self._party(one, of_kind))]
        taken = sum(party.has for party in self.parties)
        self.shared = free + self.leaving + taken
        """What there is to share: all but what somebody holds who may not be here any more."""
        self._divide()

    def _party(self, one: Claimant, of_kind: Mapping[str, Sequence[Worker]]) -> _Party | None:
        mine = [worker for worker in of_kind.get(self.id, ()) if worker.endpoint == one.endpoint]
        elsewhere = sum(
            worker.endpoint == one.endpoint and worker.state in _SERVING
            for kind, workers in of_kind.items()
            if kind != self.id
            for worker in workers
        )
        here = sum(worker.state in _SERVING for worker in mine)
        wants = max(0, min(one.wanted - elsewhere, here + one.missing))
        if not here and not wants:
            return None
        party = _Party(kind=self, claimant=one, workers=mine, wants=wants * one.units)
        party.since_ms = self._present_since_ms(party)
        return party

    def _present_since_ms(self, party: _Party) -> int:
        """Since when it has had workers or waited for them, without a gap."""
        spans = [
            (worker.decided_ms if worker.wanted_ms is None else worker.wanted_ms, worker.gone_ms or self.now_ms)
            for worker in party.workers
        ]
        if party.claimant.waiting_ms is not None and party.claimant.missing:
            spans.append((party.claimant.waiting_ms, self.now_ms))
        since_ms = self.now_ms
        for begin_ms, end_ms in sorted(spans, key=lambda span: -span[1]):
            if end_ms < since_ms - GAP_MS:
                break
            since_ms = min(since_ms, begin_ms)
        return max(since_ms, self.now_ms - LOOKS_BACK_S * 1000)

    def _divide(self) -> None:
        """Work out what is whose share now, and what is owed from before."""
        moments_ms = sorted({party.since_ms for party in self.parties} | {self.now_ms})
        for begin_ms, end_ms in pairwise(moments_ms):
            there = [party for party in self.parties if party.since_ms <= begin_ms]
            for party, part in zip(there, self._parts(there), strict=True):
                party.owed += part * (end_ms - begin_ms) / 1000
        for party, part in zip(self.parties, self._parts(self.parties), strict=True):
            party.fair = part
            most = OWED_MOST_S * party.claimant.units
            party.owed = max(-most, min(most, party.owed - self._used_s(party)))

    def _parts(self, parties: Sequence[_Party]) -> list[float]:
        least = min((party.claimant.units for party in parties), default=1)
        usable = self.shared - self.shared % least  # what is too little for a worker of anybody is nobody's share
        return fair_parts(usable, [(party.claimant.weight, party.wants) for party in parties])

    def _used_s(self, party: _Party) -> float:
        return sum(
            max(0, (worker.gone_ms or self.now_ms) - max(worker.decided_ms, party.since_ms)) / 1000 * _units(worker)
            for worker in party.workers
        )

    # ── claims ────────────────────────────────────────────────────────────────────────────────────────────────────────

    def claim(self, party: _Party) -> bool:
        """Keep what one more worker of it needs: what is free, what becomes free anyway, and what others are to give up.
        Whether that suffices; what is free is kept in any case, or small workers would always come before large ones."""
        reserved = min(party.claimant.units, self.spare)
        self.spare -= reserved
        party.reserved += reserved
        party.claims += 1
        need = party.claimant.units - reserved
        coming = min(need, self.leaving)
        self.leaving -= coming
        need -= coming
        for other, worker in self._victims(party, need):
            other.gives_way[worker.id] = self._gave_way(other)
            need -= _units(worker)
        self.leaving += max(0, -need)
        party.coming += reserved < party.claimant.units and need <= 0
        return need <= 0

    def _victims(self, party: _Party, need: int) -> list[tuple[_Party, Worker]]:
        """Workers that give way for `need` more; none when that would not be enough, or it is too early."""
        if need <= 0 or not self._patience_over(party):
            return []
        found: list[tuple[_Party, Worker]] = []
        left = {other.claimant.endpoint: other.has for other in self.parties}
        for other, worker in self._candidates(party):
            if need > 0 and self._may_lose(party, other, worker, left[other.claimant.endpoint]):
                found.append((other, worker))
                left[other.claimant.endpoint] -= _units(worker)
                need -= _units(worker)
        return found if need <= 0 else []

    def _candidates(self, party: _Party) -> list[tuple[_Party, Worker]]:
        """Ready workers of others: of those that have more than their share first, idle ones and the youngest first."""
        others = [one for one in self.parties if one is not party]
        others.sort(key=lambda one: (not one.over(), one.owed, one.claimant.endpoint))
        return [
            (other, worker)
            for other in others
            for worker in sorted(other.serving, key=lambda one: (one.idle_ms is None, -one.decided_ms, one.id))
            if worker.state is WorkerState.READY
        ]

    def _may_lose(self, party: _Party, other: _Party, worker: Worker, has: int) -> bool:
        """Whether `other`, which has so many, is to give `worker` up to `party`: a whole one beyond its share at once, what does
        not come out even in turns."""
        if has - _units(worker) >= other.fair - 1e-9:
            unused = worker.idle_ms is not None and has > other.wants
            return unused or self._turn_end_ms(worker) <= self.now_ms
        larger_than_its_share = party.claimant.units > party.fair
        in_turns = has > other.fair + 1e-9 or larger_than_its_share
        return in_turns and other.owed < party.owed and self._turns_end_ms(other) <= self.now_ms

    def _patience_over(self, party: _Party) -> bool:
        since_ms = party.claimant.waiting_ms
        return since_ms is not None and since_ms + PATIENCE_S * 1000 <= self.now_ms

    def _turn_end_ms(self, worker: Worker) -> int:
        """From when on it may be asked to give way."""
        return (self.now_ms if worker.ready_ms is None else worker.ready_ms) + TURN_S * 1000

    def _turns_end_ms(self, party: _Party) -> int:
        """When the turn of its last worker ends: until then it keeps all that it has in turns."""
        return max((self._turn_end_ms(worker) for worker in party.serving), default=self.now_ms)

    # ── in words ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def _gave_way(self, party: _Party) -> str:
        return f"others waited for their share: the endpoint has {self._of(party.has)}, and {_number(party.fair)} are its share"

    def _of(self, count: int) -> str:
        return f"{count} of {self.total} {self.noun} {self.name}"

    def words(self, party: _Party) -> str:
        """Why it gets no more here."""
        others = sum(one.has for one in self.parties if one is not party)
        text = f"others have {self._of(others)}, this endpoint {party.has}; its share is {_number(party.fair)}"
        if party.has >= party.fair - 1e-9:
            return text
        if party.coming:
            return f"{text}: a place is being made free for it"
        turn_ms = self._turn_ms(party)
        return f"{text}, and its turn comes in about {math.ceil((turn_ms - self.now_ms) / 1000)} s" if turn_ms else text

    def _turn_ms(self, party: _Party) -> int | None:
        """When somebody will be asked to give way for it, as far as can be told; None when that depends on others."""
        if party.claimant.waiting_ms is None:
            return None
        moments_ms = [
            max(self._turns_end_ms(other), self._crossing_ms(party, other))
            if other.has - _units(worker) < other.fair
            else self._turn_end_ms(worker)
            for other, worker in self._candidates(party)
            if other.over()
        ]
        if not moments_ms:
            return None
        return max(min(moments_ms), party.claimant.waiting_ms + PATIENCE_S * 1000, self.now_ms + 1)

    def _crossing_ms(self, party: _Party, other: _Party) -> int:
        """When `party` is owed more than `other`."""
        apart = max(0.0, other.owed - party.owed, -party.owed)
        closing = max(1e-3, (party.fair - party.has) + max(0.0, other.has - other.fair))
        return self.now_ms + round(apart / closing * 1000)


def _share_of(one: Claimant, kinds: Sequence[_Kind]) -> Share:
    kept: dict[str, int] = {}
    gives_way: dict[WorkerId, str] = {}
    texts: list[str] = []
    for kind in kinds:
        mine = next((party for party in kind.parties if party.claimant is one), None)
        reserved = sum(party.reserved for party in kind.parties if party is not mine)
        if reserved:
            kept[kind.id] = reserved
        if mine is not None:
            gives_way |= mine.gives_way
            if len(kind.parties) > 1:
                texts.append(kind.words(mine))
    return Share(kept=kept, gives_way=gives_way, text="; ".join(texts))


def _units(worker: Worker) -> int:
    return len(worker.gpus) or 1


def _number(part: float) -> str:
    return f"{part:.1f}".removesuffix(".0")
