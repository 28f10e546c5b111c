"""Writes the OpenAPI document of the server to stdout, for the clients that are made from it. No server runs.

.venv/bin/python scripts/openapi.py > openapi.json
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

if __package__ in (None, ""):  # run as a file
    sys.path.insert(0, str(Path(__file__).parents[1]))

from scripts import routes


def main() -> None:
    """The document."""
    json.dump(routes.description(), sys.stdout)


if __name__ == "__main__":
    main()
