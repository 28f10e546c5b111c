"""The name by which the workers of this server are known as its own, by an engine or a cluster that it shares with others."""

from __future__ import annotations

import secrets

from stoker.config import Settings


def installation_of(settings: Settings) -> str:
    """What the settings say, else a name made at the first start. Blocks, for a line in a file."""
    if settings.installation:
        return settings.installation
    file = settings.data_dir / "installation"
    if not file.exists():
        settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        file.write_text(secrets.token_hex(4))
    return file.read_text().strip()
