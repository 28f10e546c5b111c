"""How the secret values of an environment come in and go out: sealed where they are kept, open where a worker is launched."""

from __future__ import annotations

from collections.abc import Mapping

from stoker.document import NewSecret
from stoker.endpoint import Env, Secret, check_env_value
from stoker.errors import InvalidInput
from stoker.ids import TeamId
from stoker.vault import Vault

Given = Mapping[str, str | NewSecret | Secret]
"""An environment as a customer gives it; `Secret` for what comes from a template."""


async def sealed(vault: Vault, team: TeamId, given: Given, present: Env) -> dict[str, str | Secret]:
    """The environment to be stored. What is given again stays as it was sealed, so that nothing has changed.

    Raises `InvalidInput` (`secret_missing`) when a secret is to be kept that is not there.
    """
    return {name: await _sealed(vault, team, name, value, present.get(name)) for name, value in given.items()}


async def _sealed(
    vault: Vault, team: TeamId, name: str, value: str | NewSecret | Secret, present: str | Secret | None
) -> str | Secret:
    if isinstance(value, str | Secret):
        return value
    if value.value is None:
        return _kept(vault, team, name, present)
    check_env_value(name, value.value)
    if isinstance(present, Secret) and await vault.open(present.sealed, team) == value.value:
        return present
    return Secret(vault.seal(value.value, team))


def _kept(vault: Vault, team: TeamId, name: str, present: str | Secret | None) -> Secret:
    if present is None:
        raise InvalidInput(
            f"the secret variable {name} has no value yet",
            code="secret_missing",
            field=f"env.{name}",
            next_step='give it one: {"secret": "VALUE"}, or --secret NAME=VALUE',
        )
    return present if isinstance(present, Secret) else Secret(vault.seal(present, team))


async def opened(vault: Vault, team: TeamId, env: Env) -> dict[str, str]:
    """The environment as a worker gets it. Raises `Unavailable`."""
    return {
        name: value if isinstance(value, str) else await vault.open(value.sealed, team) for name, value in env.items()
    }


__all__ = ["Given", "opened", "sealed"]
