"""What all containers have in common, whoever runs them: what they may do, how commands are read, how they end. Pure."""

from __future__ import annotations

import shlex
import signal
from typing import Final

from stoker.errors import InvalidInput
from stoker.runtimes.reference import check_name

INSTALLATION: Final = "stoker.installation"
WORKER: Final = "stoker.worker"
ENDPOINT: Final = "stoker.endpoint"
TEAM: Final = "stoker.team"
"""Labels by which the workers of a server are found again."""
CAPABILITIES: Final = (
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "NET_BIND_SERVICE",
    "SETGID",
    "SETUID",
    "SYS_CHROOT",
)
"""Enough to install packages, change users and run sshd, which images do at their start; the engine's usual set without raw
sockets, device nodes, file capabilities and audit."""
LAST_LINE_MAX: Final = 300
"""Characters of the last line of output that the words of an end carry."""


def container_name(worker: str) -> str:
    """How a worker's container is called. Worker ids are unique, so a second launch finds the name taken."""
    return f"stoker-{worker}"


def check_image(image: str, command: str) -> None:
    """Raise `InvalidInput` for names that cannot be understood. Whether the image exists is seen when it is pulled."""
    if image.startswith("dir:"):
        raise InvalidInput(
            "this server runs workers as containers: a directory is no image",
            field="image",
            next_step="build an image from it, or start the server with --runtime process",
        )
    check_name(image)
    split_words("command", command)


def split_words(field: str, text: str) -> list[str]:
    """A command line as words. Raises `InvalidInput`."""
    try:
        return shlex.split(text)
    except ValueError as error:
        raise InvalidInput(
            f"the {field} cannot be split into words: {error}",
            field=field,
            next_step=f"check the quotes of the {field}",
        ) from None


def code_text(code: int) -> str:
    """An exit code in words."""
    if code == 0:
        return "exited normally (exit code 0)"
    name = {128 + one: one.name for one in signal.Signals}.get(code)
    return f"killed by {name} (exit code {code})" if name else _NOT_STARTED.get(code, f"exit code {code}")


_NOT_STARTED: Final = {
    126: "the command cannot be executed (exit code 126)",
    127: "the command was not found in the image (exit code 127)",
}


def with_last_line(text: str, code: int | None, last_line: str) -> str:
    """The words of an end, and what was written last, where that may tell more."""
    last_line = last_line.strip()[:LAST_LINE_MAX]
    return f"{text}; last output: {last_line}" if code and last_line else text
