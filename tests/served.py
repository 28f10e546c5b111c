"""Runs a server as a test wants it: settings from the environment, and a blocking call in the event loop is an error."""

from __future__ import annotations

import sys

from blockbuster import BlockBuster

from stoker import config, processes, server
from tests.blocking import allow


def main() -> int:
    """The exit status of the server."""
    settings = config.load()
    guard = BlockBuster(["stoker"])
    allow(guard)
    guard.activate()
    try:
        return processes.serve(settings) if settings.processes > 1 else server.serve(settings)
    finally:
        guard.deactivate()


if __name__ == "__main__":
    sys.exit(main())
