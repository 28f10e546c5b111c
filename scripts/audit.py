"""Looks for known weaknesses of the packages in constraints.txt, with pip-audit: `make audit`.

Whoever publishes advisories may be out of reach, or reached through a mirror that has none; pip-audit takes the second for "nothing known". So
this says how many packages somebody answered for, and names a source that did not answer. A weakness is exit status 1. What nobody answered for is
0, since no change of ours mends it, unless AUDIT_REQUIRED is set: where advisories are known to be in reach, that is a failure too.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

SOURCES: Final = ("pypi", "osv")
"""Who publishes advisories, as pip-audit calls them."""
PATIENCE_S: Final = 300
PINS: Final = "constraints.txt"

Report = Mapping[str, Any]
"""What pip-audit writes as JSON."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What all sources together said."""

    answered: frozenset[str]
    """Packages for which at least one source has a page."""
    unanswered: frozenset[str]
    weak: frozenset[str]
    """A line for each weakness."""


def judge(reports: Sequence[Report]) -> Verdict:
    """From the reports of the sources that answered."""
    named, answered, weak = set(), set(), set()
    for package in (package for report in reports for package in report["dependencies"]):
        named.add(package["name"])
        if "skip_reason" in package:
            continue
        answered.add(package["name"])
        for one in package["vulns"]:
            mended = ", ".join(one["fix_versions"]) or "no version yet"
            weak.add(f"{package['name']} {package['version']}: {one['id']}; mended by {mended}")
    return Verdict(answered=frozenset(answered), unanswered=frozenset(named - answered), weak=frozenset(weak))


def ask(source: str) -> Report | None:
    """What that source knows about our packages; None when it does not answer."""
    tool = Path(sys.executable).with_name("pip-audit")
    words = ["--vulnerability-service", source, "--requirement", PINS, "--no-deps", "--disable-pip", "--format", "json"]
    try:
        done = subprocess.run([tool, *words], capture_output=True, text=True, timeout=PATIENCE_S)
        report: Report = json.loads(done.stdout)
    except (subprocess.TimeoutExpired, ValueError):
        return None
    return report


def main() -> int:
    """The exit status."""
    reports = {source: ask(source) for source in SOURCES}
    for source in (source for source, report in reports.items() if report is None):
        print(f"NOT REACHED: {source}")
    verdict = judge([report for report in reports.values() if report is not None])
    for line in sorted(verdict.weak):
        print(f"WEAK: {line}")
    print(f"{len(verdict.answered)} packages of {PINS} were looked up, {len(verdict.weak)} weaknesses are known")
    complete = bool(verdict.answered) and not verdict.unanswered
    if not complete:
        print(
            f"NOT AUDITED: nobody answered for {len(verdict.unanswered) or 'all'} packages; this says nothing about them"
        )
    return int(bool(verdict.weak) or (not complete and bool(os.environ.get("AUDIT_REQUIRED"))))


if __name__ == "__main__":
    sys.exit(main())
