"""`helm install` as the documentation has it typed, where Helm is a library: the program's own words are read, and nothing else.

    python -m tests.deploy.helm CLUSTER VALUES install NAME CHART --namespace NAMESPACE [--create-namespace] [--set KEY=VALUE]...

`VALUES` is a file with what the test's cluster needs besides.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click

from scripts.manifests import ROOT, helm
from tests.cluster import Cluster


@click.command()
@click.argument("folder", type=Path)
@click.argument("besides", type=Path)
@click.argument("call", type=click.Choice(["install"]))
@click.argument("name")
@click.argument("chart")
@click.option("--namespace", required=True)
@click.option("--create-namespace", is_flag=True)
@click.option("--set", "told", multiple=True)
def main(
    folder: Path,
    besides: Path,
    call: str,
    name: str,
    chart: str,
    namespace: str,
    create_namespace: bool,
    told: tuple[str, ...],
) -> None:
    """Install a chart."""
    cluster = Cluster(folder)
    if create_namespace:
        cluster.add_namespace(namespace)
    values = json.loads(besides.read_text())
    for one in told:
        key, _, value = one.partition("=")
        put(values, key.split("."), {"true": True, "false": False}.get(value, value))
    print(helm(call, chart=ROOT / chart, values=values, name=name, namespace=namespace, kubeconfig=cluster.config))
    cluster.name_services()


def put(values: dict[str, Any], path: list[str], value: Any) -> None:
    """Set what is at the end of a path."""
    for key in path[:-1]:
        values = values.setdefault(key, {})
    values[path[-1]] = value


if __name__ == "__main__":
    sys.exit(main())
