"""Runs this environment's `uv` with the settings that `pip` is configured with.

uv does not read pip's configuration files or PIP_* variables. Whoever has told pip where packages come from (a mirror, a
certificate, a folder of wheels) should not have to say it twice, and no such address is ever written into this repository:
it is asked for here and handed to uv in its environment. What is set for uv already wins.

    .venv/bin/python scripts/uv.py pip install ...
"""

import ast
import os
import subprocess
import sys
from pathlib import Path

# pip's setting -> uv's variable, and what uv puts between several values (None: a single one)
UV_VARIABLES: dict[str, tuple[str, str | None]] = {
    "index-url": ("UV_DEFAULT_INDEX", None),
    "extra-index-url": ("UV_INDEX", " "),
    "find-links": ("UV_FIND_LINKS", ","),
    "no-index": ("UV_NO_INDEX", None),
    "trusted-host": ("UV_INSECURE_HOST", " "),
    "cert": ("SSL_CERT_FILE", None),
    "timeout": ("UV_HTTP_TIMEOUT", None),
    "proxy": ("ALL_PROXY", None),
}


def pip_settings() -> dict[str, str]:
    """What pip would use for `pip install`: files, then the `install` section, then the environment."""
    listing = subprocess.run(
        [sys.executable, "-m", "pip", "--disable-pip-version-check", "config", "list"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    sections: dict[str, dict[str, str]] = {"global": {}, "install": {}, ":env:": {}}
    for line in listing.splitlines():
        key, _, value = line.partition("=")
        section, _, name = key.partition(".")
        if section in sections:
            sections[section][name] = str(ast.literal_eval(value))
    return sections["global"] | sections["install"] | sections[":env:"]


def uv_environment(settings: dict[str, str]) -> dict[str, str]:
    variables = {"UV_PYTHON_DOWNLOADS": "never"}
    for name, (variable, separator) in UV_VARIABLES.items():
        if value := settings.get(name, "").strip():
            variables[variable] = value if separator is None else separator.join(value.split())
    if "UV_INDEX" in variables:
        variables["UV_INDEX_STRATEGY"] = "unsafe-best-match"  # pip looks at every index; uv stops at the first
    return variables


def main() -> None:
    uv = Path(sys.executable).with_name("uv")
    os.execve(uv, [str(uv), *sys.argv[1:]], uv_environment(pip_settings()) | dict(os.environ))


if __name__ == "__main__":
    main()
