"""One contestant on the stage: started in a fresh folder, loaded, left idle, weighed, killed; everything of it ends with it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from random import Random
from types import TracebackType
from typing import Any, Final, Self, TypeVar

import httpx
import msgspec

from benchmarks.peers import brokers, processes
from benchmarks.peers.client import RUNNING, Order, Seen
from benchmarks.peers.lineup import APPS, OURS, ROOT, SDK, Contestant, deploy

START_S: Final = 40.0
"""From the start of the programs until the first job went through; also for what prepares them."""
HEAVY_START_S: Final = 120.0
GRACE_S: Final = 60.0
"""For a generator beyond the seconds it was told."""
LOG_TAIL: Final = 600

Answer = TypeVar("Answer")


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """How much is measured."""

    rounds: int
    load_s: float
    idle_s: float
    clients: int
    patience_s: float
    """For accepted jobs after a restart."""


class Turn(msgspec.Struct, frozen=True, kw_only=True):
    """What one contestant did in one round."""

    load: Seen
    idle: Seen
    pss_bytes: int


class Crash(msgspec.Struct, frozen=True, kw_only=True):
    """What was lost with the applications; `kill -9` to all of them at once, the broker lived on."""

    unfinished: int
    """Jobs that were accepted and not seen completed when it happened."""
    unfinished_missing: int
    finished: int
    """Jobs whose output had been seen."""
    finished_missing: int


class Failed(Exception):
    """A contestant did not do what it should; the reason, and the end of its log."""


class Show:
    """A contestant while it runs. On the way out, everything that it started is killed."""

    def __init__(self, contestant: Contestant, folder: Path) -> None:
        self._contestant = contestant
        self._folder = folder
        self._start_s = HEAVY_START_S if contestant.heavy else START_S
        self._port = processes.free_port()
        self._broker: list[int] = []
        self._fill: dict[str, str] = {}

    def __enter__(self) -> Self:
        try:
            self._begin()
        except BaseException:
            processes.kill()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        processes.kill()

    def _begin(self) -> None:
        data = self._folder / "data"
        data.mkdir(parents=True)
        self._folder.chmod(0o711)  # PostgreSQL runs as somebody else
        url, self._broker = brokers.start(self._contestant.broker, self._folder / "broker")
        self._fill = {
            "bin": str(self._contestant.home / "bin"),
            "apps": str(APPS),
            "port": str(self._port),
            "broker": url,
            "data": str(data),
            "python": str(OURS / "bin" / "python"),
            "sdk": str(SDK / "bin" / "python"),
        }
        if self._contestant.prepare:
            self._prepare()
        self.start(fresh=True)

    def _prepare(self) -> None:
        command = [part.format(**self._fill) for part in self._contestant.prepare]
        with self._log.open("ab") as log:
            subprocess.run(
                command, check=True, cwd=APPS, env=self._environment(), stdout=log, stderr=log, timeout=self._start_s
            )

    def start(self, *, fresh: bool = False) -> None:
        """Start the applications; returns when a job went through. Raises Failed."""
        for command in self._contestant.commands:
            filled = [part.format(**self._fill) for part in command]
            processes.spawn(filled, folder=APPS, log=self._log, environment=self._environment())
        if fresh and self._contestant.worker:
            self._deploy()
        self._ask(self._order("ready", seconds=self._start_s), float)

    def _deploy(self) -> None:
        """When the server listens."""
        deadline_s = time.monotonic() + self._start_s
        while True:
            try:
                deploy(self._contestant, self._port, self._fill)
                return
            except httpx.HTTPError as error:
                if time.monotonic() > deadline_s:
                    raise Failed(self._story(str(error))) from error
                time.sleep(0.2)

    def load(self, *, clients: int, seconds: float) -> Seen:
        """Clients without pauses, who poll every 20 ms."""
        return self._ask(self._order("load", clients=clients, seconds=seconds), Seen)

    def idle(self, *, seconds: float) -> Seen:
        """One client that leaves up to 60 ms between its jobs and polls every millisecond."""
        return self._ask(self._order("load", seconds=seconds, pause_s=0.06, poll_s=0.001), Seen)

    def pss_bytes(self) -> int:
        """Memory of the applications and the broker."""
        return processes.pss_bytes(processes.descendants())

    def crash(self, *, clients: int, after_s: float, patience_s: float) -> Crash:
        """kill -9 of all applications under load; restart; what is missing in the end."""
        order = self._order("crash", clients=clients, seconds=after_s + GRACE_S)
        generator = self._launch(order)
        try:
            self._at_work(generator)
            time.sleep(after_s)
            processes.kill(but=[generator.pid, *self._broker])
            seen = self._answer(generator, order, Seen)
        finally:
            generator.kill()
        self.start()
        # the results first: the jobs that were under way get their patience afterwards
        gone = self._ask(self._order("missing", jobs=seen.finished, seconds=1.0), list[str])
        lost = self._ask(self._order("missing", jobs=seen.unfinished, seconds=patience_s), list[str])
        return Crash(
            unfinished=len(seen.unfinished),
            unfinished_missing=len(lost),
            finished=len(seen.finished),
            finished_missing=len(gone),
        )

    # ── how ───────────────────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def _log(self) -> Path:
        return self._folder / "log"

    def _environment(self) -> Mapping[str, str]:
        ours = self._contestant.home == OURS
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith("STOKER_") and (ours or name not in ("PYTHONPATH", "VIRTUAL_ENV"))
        }
        if not ours:
            kept["PYTHONPATH"] = str(APPS)
        asked = {name: value.format(**self._fill) for name, value in self._contestant.environment.items()}
        return kept | {"PYTHONUNBUFFERED": "1", "PYTHONDONTWRITEBYTECODE": "1"} | asked

    def _order(self, do: str, **fields: Any) -> Order:
        return Order(do=do, port=self._port, speech=self._contestant.speech, **fields)

    def _launch(self, order: Order) -> subprocess.Popen[bytes]:
        generator = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.peers.client"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=ROOT,
        )
        assert generator.stdin is not None
        generator.stdin.write(msgspec.json.encode(order))
        generator.stdin.close()
        generator.stdin = None
        return generator

    def _at_work(self, generator: subprocess.Popen[bytes]) -> None:
        """Wait until it says that all its clients are connected, which may take long on a busy machine."""
        assert generator.stderr is not None
        said = generator.stderr.readline().decode(errors="replace").strip()
        if said != RUNNING:
            raise Failed(self._story(said or "the generator died"))

    def _ask(self, order: Order, kind: type[Answer]) -> Answer:
        generator = self._launch(order)
        try:
            return self._answer(generator, order, kind)
        finally:
            generator.kill()

    def _answer(self, generator: subprocess.Popen[bytes], order: Order, kind: type[Answer]) -> Answer:
        try:
            output, trouble = generator.communicate(timeout=order.seconds + GRACE_S)
        except subprocess.TimeoutExpired:
            raise Failed(self._story(f"the generator did not come back from `{order.do}`")) from None
        try:
            return read_answer(generator.returncode, output, trouble, kind)
        except Failed as failed:
            raise Failed(self._story(str(failed))) from failed

    def _story(self, reason: str) -> str:
        tail = self._log.read_text(errors="replace")[-LOG_TAIL:].strip() if self._log.exists() else ""
        return f"{reason}\n{tail}" if tail else reason


def read_answer(code: int, output: bytes, trouble: bytes, kind: type[Answer]) -> Answer:
    """What a generator answered. Raises Failed with its last words, or with how it ended without an answer."""
    words = trouble.decode(errors="replace").strip().splitlines()[-1:]
    if code != 0:
        raise Failed(words[0] if words else f"the generator died ({code})")
    try:
        return msgspec.json.decode(output, type=kind)
    except msgspec.DecodeError as error:
        said = f"the generator ended well, or nobody saw how, and its answer has {len(output):,} bytes"
        raise Failed(": ".join([said, str(error), *words])) from error


def turn(contestant: Contestant, plan: Plan, folder: Path) -> Turn:
    """One round of one contestant. Raises Failed, Absent, OSError, TimeoutError."""
    with Show(contestant, folder) as show:
        load = show.load(clients=plan.clients, seconds=plan.load_s)
        idle = show.idle(seconds=plan.idle_s)
        return Turn(load=load, idle=idle, pss_bytes=show.pss_bytes())


def crash(contestant: Contestant, plan: Plan, folder: Path, chance: Random) -> Crash:
    """One crash of one contestant, at a random moment of its load. Raises what `turn` raises."""
    with Show(contestant, folder) as show:
        return show.crash(clients=plan.clients, after_s=1.0 + chance.random(), patience_s=plan.patience_s)
