"""The insides of uvicorn that `web.connection` leans on: an upgrade that changes one of them must be looked at."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable
from typing import Any

import pytest
import uvicorn
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import Server, ServerState

from stoker.web.connection import Connection
from stoker.web.exchange import Exchange

CYCLE_NAMES = {"response_complete", "disconnected", "keep_alive", "message_event", "body", "more_body", "run_asgi"}
"""What uvicorn's protocol asks of a request cycle. `Exchange` lacks the last three: their callers are overridden."""

KNOWN = {
    HttpToolsProtocol.__init__: "4f08999410347141",
    HttpToolsProtocol.connection_made: "6efb565ff3d36b91",
    HttpToolsProtocol.connection_lost: "c91a4c9bf2e29c55",
    HttpToolsProtocol.data_received: "010a7ae59a5d3b1a",
    HttpToolsProtocol.on_message_begin: "96d377fdc7c2baef",
    HttpToolsProtocol.on_url: "37be44e962b04ca8",
    HttpToolsProtocol.on_header: "65d62c044f61fdbd",
    HttpToolsProtocol.on_headers_complete: "1ea8589acfad92d8",
    HttpToolsProtocol._start_asgi_task: "9c08c2571ae9b038",
    HttpToolsProtocol.on_body: "dba9c32aeba35b6a",
    HttpToolsProtocol.on_message_complete: "1fbad42dc31fc01f",
    HttpToolsProtocol.on_response_complete: "64e254f28e389e76",
    HttpToolsProtocol._unset_keepalive_if_required: "00a6a4e47214e68e",
    HttpToolsProtocol.shutdown: "d7351fa33f00d430",
    FlowControl: "126debcdaa894c83",
    ServerState: "f2260fbf10154746",
    Server.on_tick: "60ea49b06ccf68c1",
    Server.shutdown: "9b33c50562992b1e",
    Server._wait_tasks_to_complete: "17209be1e991445d",
}
"""What we read and found to suit `web.connection` and `web.exchange`, by the beginning of its SHA-256."""


def print_of(thing: Callable[..., Any]) -> str:
    """What changes when its source does."""
    return hashlib.sha256(inspect.getsource(thing).encode()).hexdigest()[:16]


@pytest.mark.parametrize("thing", KNOWN, ids=lambda thing: thing.__qualname__)
def test_it_is_as_we_read_it(thing: Callable[..., Any]) -> None:
    """Each part of uvicorn that we lean on has the source that was read: read the new one, then note its print here."""
    assert print_of(thing) == KNOWN[thing], f"uvicorn {uvicorn.__version__} changed {thing.__qualname__}"


def test_exchange_passes_for_a_cycle() -> None:
    """An exchange has every name that uvicorn's protocol uses on a cycle outside the methods that we override."""
    ours = {name for name in vars(Connection) if name.startswith(("on_", "_start"))}
    theirs = [part for name, part in vars(HttpToolsProtocol).items() if inspect.isfunction(part) and name not in ours]
    source = "\n".join(inspect.getsource(part) for part in theirs)
    used = {name for name in CYCLE_NAMES if f"cycle.{name}" in source}
    assert used == {"response_complete", "disconnected", "keep_alive", "message_event"}
    assert used <= {name for kind in Exchange.__mro__ for name in vars(kind)}
