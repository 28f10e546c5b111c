"""Which server a command talks to, and as whom: from the options before the command or from the environment."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import update_wrapper
from typing import TYPE_CHECKING, Concatenate, Final, ParamSpec, TypeVar

import click

from stoker.errors import Unauthenticated

if TYPE_CHECKING:
    from stoker.client import Client

DEFAULT_URL: Final = "http://127.0.0.1:8700"

Rest = ParamSpec("Rest")
Returned = TypeVar("Returned")


@dataclass(frozen=True, kw_only=True, slots=True)
class Connection:
    """A server's address and a key for it, None when nobody gave one."""

    url: str
    api_key: str | None

    def open(self) -> Client:
        """A client. Raises `Unauthenticated` when there is no key, before anything is sent."""
        if not self.api_key:
            raise Unauthenticated(
                "no API key was given",
                code="api_key_missing",
                next_step="export STOKER_API_KEY=sk_…  (the first start of `stoker serve` prints an admin key; "
                "`stoker key create NAME --scope run` makes more)",
            )
        from stoker.client import Client  # here: `stoker serve` asks nobody

        return Client(self.url, self.api_key)


def with_client(command: Callable[Concatenate[Client, Rest], Returned]) -> Callable[Rest, Returned]:
    """Call the command with a client, which is closed when the command ends."""

    def call(*args: Rest.args, **kwargs: Rest.kwargs) -> Returned:
        connection = click.get_current_context().find_object(Connection)
        assert connection is not None, "the group makes one for every command"
        with connection.open() as client:
            return command(client, *args, **kwargs)

    return update_wrapper(call, command)


def check_url(_context: click.Context, _option: click.Parameter, given: str) -> str:
    """An absolute http or https URL. Raises `BadParameter`."""
    if given == DEFAULT_URL:
        return given
    import httpx  # here: `stoker --help` should not wait for its import, nor a server keep it in memory

    try:
        url = httpx.URL(given)
    except (httpx.InvalidURL, UnicodeError) as error:
        raise click.BadParameter(f"'{given}' is no URL: {error}") from None
    if url.scheme not in ("http", "https") or not url.host:
        raise click.BadParameter(f"'{given}' is no http or https URL; it looks like {DEFAULT_URL}")
    return given


def check_header(_context: click.Context, _option: click.Parameter, given: str | None) -> str | None:
    """What can travel in an HTTP header, without blanks around it. Raises `BadParameter`."""
    text = (given or "").strip()
    if not (text.isascii() and text.isprintable()):
        raise click.BadParameter("it may use printable ASCII characters only")
    return text or None


__all__ = ["DEFAULT_URL", "Connection", "check_header", "check_url", "with_client"]
