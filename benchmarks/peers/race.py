"""The run: rounds in random order, then one crash each, one table. `make bench-peers`.

One contestant at a time is on the machine. A contestant that fails once gets a row with the reason, and the others go on.
"""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import Final, TypeVar

from benchmarks.figures import Spread
from benchmarks.peers import measure
from benchmarks.peers.brokers import Absent
from benchmarks.peers.lineup import ALL, Contestant, named, obstacle
from benchmarks.peers.measure import Crash, Failed, Plan, Turn
from benchmarks.peers.processes import adopt_orphans
from benchmarks.peers.table import Record, render
from benchmarks.peers.versions import versions

FULL: Final = Plan(rounds=3, load_s=3.0, idle_s=2.0, clients=256, patience_s=40.0)
QUICK: Final = Plan(rounds=1, load_s=2.0, idle_s=1.5, clients=256, patience_s=10.0)

Result = TypeVar("Result")


class Race:
    """What was seen so far, by contestant."""

    def __init__(self, contestants: Sequence[Contestant], plan: Plan, folder: Path, chance: Random) -> None:
        self._plan = plan
        self._folder = folder
        self._chance = chance
        self._number = 0
        self.records = {one.name: Record(label=one.label, kept=one.kept, failure=obstacle(one)) for one in contestants}
        self._contestants = list(contestants)
        for one in contestants:
            if reason := self.records[one.name].failure:
                _say(f"{one.name}: left out, {reason}")

    def run(self) -> None:
        """Every round of everyone, then every crash."""
        for number in range(self._plan.rounds):
            for one in self._able():
                if one.heavy and number > 0:
                    continue
                seen = self._try(one, f"round {number + 1}", lambda one=one: self._turn(one))  # type: ignore[misc]  # mypy cannot infer a lambda with a default
                if seen is not None:
                    self.records[one.name].turns.append(seen)
        for one in self._able():
            self.records[one.name].crash = self._try(one, "kill -9", lambda one=one: self._crash(one))  # type: ignore[misc]  # as above

    def _able(self) -> list[Contestant]:
        able = [one for one in self._contestants if not self.records[one.name].failure]
        self._chance.shuffle(able)
        return able

    def _turn(self, one: Contestant) -> Turn:
        return measure.turn(one, self._plan, self._fresh(one))

    def _crash(self, one: Contestant) -> Crash:
        return measure.crash(one, self._plan, self._fresh(one), self._chance)

    def _fresh(self, one: Contestant) -> Path:
        self._number += 1
        return self._folder / f"{self._number}-{one.name}"

    def _try(self, one: Contestant, what: str, do: Callable[[], Result]) -> Result | None:
        """Do it; a failure becomes the contestant's last word."""
        try:
            result = do()
        except Exception as error:
            if not isinstance(error, (Failed, Absent, OSError)):
                traceback.print_exc()
            _say(f"{what}: {one.name} failed: {error}")
            self.records[one.name].failure = f"{what}: {str(error).splitlines()[0] if str(error) else repr(error)}"
            return None
        _say(f"{what}: {one.name}: {_words(result)}")
        return result


def _words(result: object) -> str:
    """What the person who waits wants to know."""
    match result:
        case Turn(load=load, idle=idle, pss_bytes=pss):
            return (
                f"{load.jobs / load.seconds:,.0f} jobs/s, idle {Spread.of(idle.total_s).p50:.3g} ms, {pss / 2**20:,.0f} MiB, "
                f"{load.polls} polls too early, {load.refused + idle.refused} refused"
            )
        case Crash():
            return (
                f"{result.unfinished_missing} of {result.unfinished} jobs and {result.finished_missing} of "
                f"{result.finished} results missing"
            )
        case _:
            return str(result)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _machine(plan: Plan, seed: int) -> str:
    today = datetime.datetime.now(datetime.UTC).date()
    load = ", ".join(f"{one:.1f}" for one in os.getloadavg())
    return (
        f"{today}, seed {seed}, {os.cpu_count()} cores, {platform.system()} {platform.release()} {platform.machine()}, "
        f"CPython {platform.python_version()}; {plan.rounds} rounds of {plan.load_s:g} s under load by {plan.clients} "
        f"clients and {plan.idle_s:g} s idle; patience after a restart {plan.patience_s:g} s; load average at the end {load}"
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="make bench-peers", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one short round and little patience: for a look")
    parser.add_argument("--seed", type=int, default=1, help="of the order and the moments of the kills")
    parser.add_argument("--only", default="", help="names with commas between them (default: all)")
    parser.add_argument("--heavy", action="store_true", help="also those that take half a minute to start")
    parser.add_argument("--dir", type=Path, help="where to work: on the disk that matters (default: temporary)")
    given = parser.parse_args()
    plan = QUICK if given.quick else FULL
    contestants = named(given.only) if given.only else tuple(one for one in ALL if given.heavy or not one.heavy)
    adopt_orphans()
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))  # the way out kills what was started
    with tempfile.TemporaryDirectory(prefix="peers-", dir=given.dir, ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o711)  # PostgreSQL runs as somebody else
        race = Race(contestants, plan, Path(folder), Random(given.seed))
        race.run()
    print(f"\n{_machine(plan, given.seed)}\n\n{versions(contestants)}\n")
    print(render(list(race.records.values())))


if __name__ == "__main__":
    main()
