"""The times that govern workers, and where they call."""

from __future__ import annotations

from dataclasses import dataclass, field

from stoker.shortages import Patience


@dataclass(frozen=True, kw_only=True, slots=True)
class FleetTerms:
    """The times that govern workers, and the address they call."""

    worker_url: str
    """Base URL without a slash at the end, reachable from workers."""
    ping_interval_ms: int
    lease_s: float
    cancel_grace_s: float
    stop_grace_s: float
    start_timeout_s: float
    gone_workers_kept_s: float
    gone_logs_bytes_max: int = 1024**3
    """How much output of all ended workers together is kept."""
    patience: Patience = field(default_factory=Patience)
    """With whoever places workers and has no place for one yet."""
    skip_system_checks: bool = True
    """Whether the SDK leaves out its checks of memory, disk and outbound network, which fail every start on a closed network."""
