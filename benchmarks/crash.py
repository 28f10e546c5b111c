"""What is lost when the server is killed under load: nothing that was answered with 200.

The connections of submitters and workers die with the server, so results and jobs on their way are lost too. The workers come
back, say that they hold nothing, and everything accepted has to be completed in the end.
"""

from __future__ import annotations

import time
from pathlib import Path
from random import Random

import msgspec

from benchmarks.load import Loaded
from benchmarks.rig import StokerServer, answer_of, start_load


class Crashes(msgspec.Struct, kw_only=True):
    """All rounds together."""

    rounds: int
    accepted: int
    missing: int


def measure(folder: Path, *, rounds: int, workers: int, chance: Random) -> Crashes:
    """Kill and restart one server `rounds` times, each at a random moment of the load."""
    accepted = missing = 0
    with StokerServer(folder, workers=workers) as server:
        for _ in range(rounds):
            loading = start_load(server.order("crash", submitters=4 * workers, takes=workers))
            time.sleep(1.0 + chance.random())
            server.kill()
            jobs = answer_of(loading, Loaded).accepted
            server.start()
            order = server.order("drain", takes=workers, jobs=jobs)
            accepted += len(jobs)
            missing += len(answer_of(start_load(order), list[str]))
    return Crashes(rounds=rounds, accepted=accepted, missing=missing)
