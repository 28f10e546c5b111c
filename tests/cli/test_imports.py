"""What the command line loads before it knows what is asked."""

from __future__ import annotations

import subprocess
import sys
from typing import get_args

from stoker.cli.serve import RUNTIMES
from stoker.config import Settings


def test_help_waits_for_no_library_that_only_a_command_needs() -> None:
    """HTTP, settings and the server are imported by the commands that use them: they take four fifths of the time to start."""
    look = "import sys, stoker.cli; print(*sorted({'fastapi', 'httpx', 'pydantic', 'uvicorn'} & set(sys.modules)))"
    loaded = subprocess.run([sys.executable, "-c", look], capture_output=True, check=True, text=True).stdout
    assert loaded.split() == []


def test_runtimes_to_choose_from_are_those_of_the_setting() -> None:
    """The command names them itself, so as not to load the settings for its help."""
    assert get_args(Settings.model_fields["runtime"].annotation) == RUNTIMES
