"""Renders plain manifests from the Helm chart; and how other programs here ask Helm.

    .venv/bin/python scripts/manifests.py       rewrite deploy/kubernetes/*.yaml

`make manifests` runs it, with Helm in `.helm`. A test fails when a manifest is stale. The chart's own values are renewed by `scripts/docs.py`.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).parents[1]
CHART: Final = ROOT / "deploy" / "helm" / "stoker"
HELM: Final = ROOT / ".helm" / "bin" / "python"
MANIFESTS: Final[dict[str, dict[str, Any]]] = {
    "stoker": {"secret": {"name": "stoker"}},
    "trial": {"secret": {"name": "stoker"}, "replicas": 1, "database": {"bundled": {"enabled": True}}},
}
"""The plain manifests and the values that they are rendered with, for a namespace `stoker`."""


class HelmRefused(Exception):
    """Helm said no."""


def helm(call: str, **arguments: Any) -> Any:
    """A call of `scripts/helm.py`; its answer. Raises `HelmRefused`."""
    words = [str(HELM), str(ROOT / "scripts" / "helm.py"), call]
    done = subprocess.run(words, input=json.dumps(arguments, default=str), capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(words)}: {done.stderr}")
    told = json.loads(done.stdout)
    if "error" in told:
        raise HelmRefused(told["error"])
    return told["answer"]


def rendered(values: dict[str, Any], *, name: str = "stoker", namespace: str = "stoker") -> list[str]:
    """The objects of an installation with these values, in the order of the chart's files."""
    found = helm("render", chart=CHART, values=values, name=name, namespace=namespace)
    texts = [text.strip() for path, text in sorted(found.items()) if path.endswith(".yaml")]
    return [text for text in texts if text]


def manifest(name: str) -> str:
    """A plain manifest."""
    values = json.dumps(MANIFESTS[name])
    head = f"# Rendered from deploy/helm/stoker by `make manifests`, with the values {values}\n"
    return head + "".join(f"---\n{text.removeprefix('---').strip()}\n" for text in rendered(MANIFESTS[name]))


def manifests() -> dict[Path, str]:
    """All plain manifests."""
    return {ROOT / "deploy" / "kubernetes" / f"{name}.yaml": manifest(name) for name in MANIFESTS}


def main() -> int:
    """Rewrite what is stale."""
    for path, text in manifests().items():
        if not path.exists() or path.read_text("utf-8") != text:
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, "utf-8")
            print(f"written: {path.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
