"""Settings: read once, from a TOML file and the environment, into one frozen record that is handed on as values.

Each setting is a field of `Settings`; in the environment it is `STOKER_` and its name in capitals. The environment wins over
the file, the command line over both. Unknown settings are refused, in the file and in the environment alike: a typo must not
be silently ignored. `docs/reference/settings.md` is tested against this file.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, get_args

from pydantic import SecretStr, ValidationError

from stoker.config.settings import SHOWN_TO_TEAMS, Origin, Settings
from stoker.config.specifications import DeclaredSpecification
from stoker.errors import InvalidInput

CLIENT_VARIABLES: Final = frozenset({"STOKER_URL", "STOKER_API_KEY", "STOKER_CONFIG"})
"""Variables with our prefix that are not settings of the server."""


def load(
    file: Path | None = None, *, environ: Mapping[str, str] | None = None, overrides: Mapping[str, Any] | None = None
) -> Settings:
    """Settings from all sources. Raises `InvalidInput` naming the setting that is unknown or wrong."""
    sources = {
        Origin.FILE: {} if file is None else _read_file(file),
        Origin.ENVIRONMENT: _read_environment(os.environ if environ is None else environ),
        Origin.COMMAND_LINE: {name: value for name, value in (overrides or {}).items() if value is not None},
    }
    values = {name: value for given in sources.values() for name, value in given.items()}
    origins = {name: origin for origin, given in sources.items() for name in given}
    try:
        return _agreeing(Settings.model_validate(values)).came_from(origins)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        name = ".".join(str(part) for part in first["loc"])
        unknown = first["type"] == "extra_forbidden"
        raise InvalidInput(
            f"there is no setting '{name}'" if unknown else f"setting '{name}': {first['msg']}",
            code="invalid_setting",
            field=name,
            next_step="see docs/reference/settings.md for all settings",
        ) from None


def shown(settings: Settings) -> list[dict[str, Any]]:
    """Every setting for people: its value as JSON, where it came from and what it means. A secret one shows only whether it is set."""
    values = settings.model_dump(mode="json")
    return [_shown(settings, name, values[name]) for name in Settings.model_fields]


def _shown(settings: Settings, name: str, value: Any) -> dict[str, Any]:
    field = Settings.model_fields[name]
    secret = SecretStr in (field.annotation, *get_args(field.annotation))
    return {
        "name": name,
        "value": None if secret else value,
        "is_set": bool(getattr(settings, name)) if secret else value is not None,
        "secret": secret,
        "origin": settings.origins.get(name, Origin.DEFAULT),
        "description": field.description or "",
    }


def _agreeing(settings: Settings) -> Settings:
    """Settings that fit each other. Raises `InvalidInput`."""
    if settings.processes > 1 and not settings.database:
        raise InvalidInput(
            "several processes need a PostgreSQL database: one server alone can use a SQLite file",
            code="processes_need_postgresql",
            field="processes",
            next_step="set database to a postgresql:// URL, or processes to 1",
        )
    if settings.database_mb_max and settings.database:
        raise InvalidInput(
            "how much of a PostgreSQL database is in use cannot be told: its tables stay as large as they were when rows go",
            code="invalid_setting",
            field="database_mb_max",
            next_step="bound the rows instead: jobs_kept_max",
        )
    if (settings.tls_certificate is None) is not (settings.tls_key is None):
        raise InvalidInput(
            "TLS needs a certificate and its key",
            code="invalid_setting",
            field="tls_key" if settings.tls_key is None else "tls_certificate",
            next_step="set both tls_certificate and tls_key, or neither",
        )
    if settings.tls_certificate and not (settings.worker_listen or settings.worker_url or settings.runtime == "none"):
        raise InvalidInput(
            "with TLS, workers need an address of their own: they would not trust the certificate for the one they know",
            code="no_worker_door",
            field="worker_listen",
            next_step="set worker_listen=127.0.0.1:8701, or worker_url to an https:// URL that workers trust",
        )
    return settings


def _read_file(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InvalidInput(f"cannot read the configuration {file}: {error}", code="invalid_setting") from None


def _read_environment(environ: Mapping[str, str]) -> dict[str, str]:
    ours = {name: value for name, value in environ.items() if name.startswith("STOKER_")}
    return {name.removeprefix("STOKER_").lower(): ours[name] for name in ours if name not in CLIENT_VARIABLES}


__all__ = [
    "CLIENT_VARIABLES",
    "SHOWN_TO_TEAMS",
    "DeclaredSpecification",
    "Origin",
    "Settings",
    "load",
    "shown",
]
