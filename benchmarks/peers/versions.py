"""What took part, read from the environments themselves."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable
from typing import Final

from benchmarks.peers import brokers
from benchmarks.peers.brokers import Absent
from benchmarks.peers.lineup import Contestant

ASK: Final = """
import sys
from importlib.metadata import distributions
found = {one.name.lower(): one.version for one in distributions()}
print(", ".join(f"{name} {found[name]}" for name in sys.argv[1:] if name in found))
"""
"""What is not installed is left out: its row says so."""


def versions(contestants: Iterable[Contestant]) -> str:
    """One line for every environment, and one for the brokers, as a Markdown list."""
    lines = []
    found = set()
    for one in contestants:
        python = one.home / "bin" / "python"
        if python.exists():
            command = [str(python), "-c", ASK, *one.packages]
            lines.append(subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout.strip())
        try:
            found.add(brokers.version(one.broker))
        except Absent as error:
            found.add(str(error))
    programs = ", ".join(sorted(found - {""}))
    return "\n".join(f"- {line}" for line in dict.fromkeys([*lines, programs]) if line)
