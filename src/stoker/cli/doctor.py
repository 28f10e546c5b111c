"""`stoker doctor`: look at this machine, or the cluster, as a server would, and say what is wrong and how to mend it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from stoker.cli import output
from stoker.cli.exits import ExitStatus, report
from stoker.errors import InvalidInput


@click.command()
@click.option("--data-dir", type=click.Path(path_type=Path), help="Where the server keeps its data.")
@click.option(
    "--config",
    "file",
    envvar="STOKER_CONFIG",
    show_envvar=True,
    type=click.Path(path_type=Path),
    help="A TOML file with settings.",
)
@output.json_option
def doctor(data_dir: Path | None, file: Path | None) -> int:
    """Check engine, GPUs, disk, port, clock and firewall of this machine, with the settings that `stoker serve` would use; with
    `runtime = "kubernetes"` the cluster: that it answers, what the account may do, whether pods are taken, storage, GPUs.

    The exit status is 6 when something is wrong that keeps workers from running.
    """
    from stoker.config import load  # here, because no other command should wait for its import

    try:
        settings = load(file, overrides={"data_dir": data_dir})
    except InvalidInput as error:
        report(error, as_json=False)
        return ExitStatus.USAGE
    from stoker.doctor import examine  # here, because no other command should wait for its import

    found: list[dict[str, Any]] = [
        {"subject": one.subject, "verdict": one.verdict, "text": one.text, "fix": one.fix} for one in examine(settings)
    ]
    output.answer({"findings": found}, lambda _: _show(found))
    return ExitStatus.UNAVAILABLE if any(one["verdict"] == "wrong" for one in found) else ExitStatus.OK


def _show(found: list[dict[str, Any]]) -> None:
    for one in found:
        output.say(f"{one['verdict']:5}  {one['subject']}: {one['text']}")
        if one["fix"]:
            output.say(f"       fix: {one['fix']}")
