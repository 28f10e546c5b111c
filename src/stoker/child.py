"""A process that becomes one of several servers on a port: `python -m stoker.child SOCKET NUMBER`, started by `processes.py`."""

from __future__ import annotations

import sys

from stoker import memory

if __name__ == "__main__":
    with memory.sparing():
        from stoker.processes import main
    sys.exit(main())
