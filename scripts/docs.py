"""Writes everything in the documentation that is generated: state machines, settings, fields, routes, the command line.

    .venv/bin/python scripts/docs.py            rewrite what is stale
    .venv/bin/python scripts/docs.py --check    name what is stale, and fail if anything is

A generated part stands between `<!-- generated: NAME -->` and `<!-- end -->`; some pages are generated as a whole. A test runs
the check.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal, get_args, get_origin

from pydantic.fields import FieldInfo

if __package__ in (None, ""):  # run as a file
    sys.path.insert(0, str(Path(__file__).parents[1]))

from scripts import chart, fields, machines, routes
from stoker.cli import reference
from stoker.config import CLIENT_VARIABLES, DeclaredSpecification, Settings

ROOT = Path(__file__).parents[1]


def settings_table() -> str:
    """Every setting with its variable, default and meaning."""
    rows = [
        [
            f"`{name}`",
            f"`STOKER_{name.upper()}`",
            _default(field),
            " ".join([field.description or "", _range(field)]).strip(),
        ]
        for name, field in Settings.model_fields.items()
    ]
    return machines.table(["Setting", "Variable", "Default", "Meaning"], rows)


def specification_table() -> str:
    """Every key of a table `[[specifications]]`."""
    rows = [
        [f"`{name}`", "needed" if field.is_required() else _default(field), field.description or ""]
        for name, field in DeclaredSpecification.model_fields.items()
    ]
    return machines.table(["Key", "Default", "Meaning"], rows)


def _default(field: FieldInfo) -> str:
    value = field.default
    if value is None or value == "" or value == () or value == {}:
        return "empty"
    return f"`{value}`"


def _range(field: FieldInfo) -> str:
    """The values that are allowed, in words."""
    if get_origin(field.annotation) is Literal:
        return f"One of {', '.join(f'`{value}`' for value in get_args(field.annotation))}."
    bounds = [
        f"{words} {getattr(bound, name)}"
        for bound in field.metadata
        for name, words in {"ge": "at least", "gt": "more than", "le": "at most", "lt": "less than"}.items()
        if hasattr(bound, name)
    ]
    return f"{', '.join(bounds).capitalize()}." if bounds else ""


def client_variables() -> str:
    """Variables with our prefix that the server leaves alone."""
    return ", ".join(f"`{name}`" for name in sorted(CLIENT_VARIABLES))


def _parts_of(machine: machines.Machine) -> dict[str, Callable[[], str]]:
    return {
        "diagram": lambda: machines.diagram(machine),
        "matrix": lambda: machines.matrix(machine),
        "changes": lambda: machines.changes(machine),
        "events": lambda: machines.events(machine),
        "effects": lambda: machines.effects(machine),
    }


PAGES: Mapping[str, Mapping[str, Callable[[], str]]] = {
    "docs/reference/job-states.md": _parts_of(machines.JOB),
    "docs/reference/worker-states.md": _parts_of(machines.WORKER),
    "docs/reference/settings.md": {
        "settings": settings_table,
        "specifications": specification_table,
        "client variables": client_variables,
    },
    "docs/reference/chart.md": {"values": chart.table},
    "docs/reference/endpoint.md": {"fields": fields.table},
    "docs/reference/routes.md": {"routes": routes.tables},
}
"""Which parts of which page are generated, and by what."""

WHOLE: Mapping[str, Callable[[], str]] = {
    "docs/reference/cli.md": reference.text,
    "deploy/helm/stoker/values.yaml": chart.values_yaml,
    "deploy/helm/stoker/values.schema.json": chart.schema,
}
"""Pages that are generated as a whole, and what says of the chart's values what is allowed."""

_PART = re.compile(r"(<!-- generated: (?P<name>[^>]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def render(page: str) -> str:
    """The page as it should be. Raises `ValueError` when its markers and its parts are not the same."""
    if page in WHOLE:
        return WHOLE[page]()
    text = (ROOT / page).read_text("utf-8")
    marked = [match["name"] for match in _PART.finditer(text)]
    if sorted(marked) != sorted(PAGES[page]):
        raise ValueError(f"{page} marks the parts {sorted(marked)}, but has {sorted(PAGES[page])}")
    return _PART.sub(lambda match: f"{match[1]}\n{PAGES[page][match['name']]()}\n\n{match[3]}", text)


def stale() -> list[str]:
    """Pages that are not as they should be."""
    return [page for page in (*PAGES, *WHOLE) if (ROOT / page).read_text("utf-8") != render(page)]


def main() -> int:
    """Rewrite or check."""
    parser = argparse.ArgumentParser(description="Writes the generated parts of the documentation.")
    parser.add_argument("--check", action="store_true", help="change nothing, fail when a page is stale")
    arguments = parser.parse_args()
    pages = stale()
    for page in pages:
        print(f"{'stale' if arguments.check else 'written'}: {page}")
        if not arguments.check:
            (ROOT / page).write_text(render(page), "utf-8")
    return 1 if pages and arguments.check else 0


if __name__ == "__main__":
    sys.exit(main())
