"""Helm as its SDK on PyPI has it, asked by other programs: run with the Python of `.helm`, whose only package is that SDK.

    .helm/bin/python scripts/helm.py CALL <arguments.json

Arguments are an object in JSON on standard input, the answer is JSON on standard output: `{"answer": …}` or `{"error": "…"}`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

import helm_python


def render(chart: str, values: dict[str, Any], name: str, namespace: str) -> dict[str, str]:
    """Each template's text, by path; nothing of a cluster is known, so it is rendered for the newest that Helm knows."""
    with helm_python.Chart.load(chart) as loaded:
        loaded.validate_schema(values)
        return dict(loaded.render(values, name=name, namespace=namespace))


def lint(chart: str, values: dict[str, Any]) -> list[str]:
    """What `helm lint --strict` finds."""
    found = helm_python.lint(chart, values, strict=True)
    return [*found["errors"], *(one["error"] for one in found["messages"] if one["severity"] > 1)]


def install(chart: str, values: dict[str, Any], name: str, namespace: str, kubeconfig: str) -> str:
    """Install it into a cluster; what was told to who did."""
    with helm_python.Config(kubeconfig_path=kubeconfig, namespace=namespace) as config:
        return str(config.install(chart, name, values, namespace=namespace).get("notes", ""))


def upgrade(chart: str, values: dict[str, Any], name: str, namespace: str, kubeconfig: str) -> str:
    """Bring what is installed to these values."""
    with helm_python.Config(kubeconfig_path=kubeconfig, namespace=namespace) as config:
        return str(config.upgrade(chart, name, values, namespace=namespace).get("notes", ""))


def uninstall(name: str, namespace: str, kubeconfig: str) -> str:
    """Remove it."""
    with helm_python.Config(kubeconfig_path=kubeconfig, namespace=namespace) as config:
        return str(config.uninstall(name)["info"])


CALLS: dict[str, Callable[..., Any]] = {one.__name__: one for one in (render, lint, install, upgrade, uninstall)}


def main() -> int:
    """Answer one call."""
    try:
        told: dict[str, Any] = {"answer": CALLS[sys.argv[1]](**json.load(sys.stdin))}
    except helm_python.HelmError as error:
        told = {"error": str(error)}
    json.dump(told, sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())
