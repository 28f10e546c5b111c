"""Servers of our own: child processes that are killed, paused, and started again as a supervisor would."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

import psutil

from stoker.errors import Unavailable

SERVE: Final = "import sys; from stoker.cli import main; sys.exit(main(['serve']))"
START_S: Final = 60.0
STOP_S: Final = 60.0
TRY_AGAIN_S: Final = 0.5
"""Between two starts of a server that does not come up: its database may be away."""
WORKER_FILE: Final = "work.py"


class Server:
    """One `stoker serve`. `settings` are its settings, by name."""

    def __init__(self, log: Path, settings: Mapping[str, object]) -> None:
        self._log = log
        self._settings = dict(settings)
        self._process: asyncio.subprocess.Process | None = None
        self.url = ""
        self.lock = asyncio.Lock()
        """Held while it is struck: what is dead is neither killed nor paused."""

    async def start(self, *, patience_s: float = START_S) -> None:
        """Start it, again and again until it listens. Raises `Unavailable` when it takes longer, with the end of its log."""
        loop = asyncio.get_running_loop()
        until_s = loop.time() + patience_s
        while not await self._try():
            if loop.time() > until_s:
                raise Unavailable(
                    f"a server does not start: {self._log.read_text()[-2000:]}",
                    code="chaos_no_server",
                    next_step="correct what its log says; a database that is given has to be empty",
                )
            await asyncio.sleep(TRY_AGAIN_S)

    async def _try(self) -> bool:
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-c",
                SERVE,
                env=self._environment(),
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for us: we end it in order
            )
        assert self._process.stdout is not None
        line = (await self._process.stdout.readline()).decode()
        if not line.startswith("Stoker listens on "):
            await self._process.wait()
            return False
        self.url = line.split()[-1]
        self._settings["port"] = self.url.rsplit(":", 1)[1]
        return True

    def _environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("STOKER_")}
        ours = {f"STOKER_{name.upper()}": str(value) for name, value in self._settings.items()}
        return kept | ours | {"PYTHONUNBUFFERED": "1"}

    async def kill(self) -> None:
        """End it as a power cut would. Its workers go on."""
        self.signal(signal.SIGKILL)
        if self._process is not None:
            await self._process.wait()

    def signal(self, which: signal.Signals) -> None:
        """Send it a signal, if it is there."""
        if self._process is not None:
            with suppress(ProcessLookupError):
                self._process.send_signal(which)

    async def stop(self) -> None:
        """Let it end in order; the last one takes its workers along."""
        if self._process is None or self._process.returncode is not None:
            return
        self.signal(signal.SIGCONT)
        self.signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(STOP_S):
                await self._process.wait()
        except TimeoutError:
            await self.kill()


def workers_below(folder: Path) -> Sequence[psutil.Process]:
    """The processes of workers whose files are in the folder, the oldest first."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.cmdline()[-1:] == [WORKER_FILE] and Path(process.cwd()).is_relative_to(folder):
                found.append((process.create_time(), process.pid, process))
    return [process for _, _, process in sorted(found, key=lambda one: one[:2])]


__all__ = ["WORKER_FILE", "Server", "workers_below"]
