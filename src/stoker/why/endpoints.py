"""Why an endpoint does what it does: its last recorded decision, and what a person can do about it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from stoker.amounts import counted
from stoker.endpoint import Endpoint
from stoker.scaling import Reason
from stoker.store import Counts, Decision
from stoker.warmup import WarmUp, WarmUpState
from stoker.why import Why

NEXT_STEPS: Final[Mapping[Reason, str]] = {
    Reason.NOTHING_TO_DO: "",
    Reason.WORKER_FREE: "",
    Reason.NO_WORKER_YET: "",
    Reason.WORKER_STARTING: "see its stages: stoker worker ls, then stoker worker why ID",
    Reason.IMAGE_PULLING: "fetch images before they are needed: stoker image warm IMAGE",
    Reason.HEALTH_FAILING: "see what the worker printed: stoker worker ls NAME, then stoker worker logs ID",
    Reason.WORKERS_BUSY: "for more workers sooner lower the policy's value: stoker endpoint update NAME --policy-value N",
    Reason.AT_MAX_WORKERS: "allow more: stoker endpoint update NAME --max-workers N",
    Reason.REPLACING: "wait until workers of the new release are ready, or let more start at once: stoker endpoint update NAME --max-surge N",
    Reason.NO_CAPACITY: "wait for its turn, give it more of the machine (stoker endpoint update NAME --weight N), or lower what others may have",
    Reason.LAUNCH_BACKOFF: "see what the worker printed: stoker worker ls NAME, then stoker worker logs ID",
    Reason.CRASH_LOOP: "see what the worker printed (stoker worker logs ID), mend the image or its settings, then: stoker endpoint retry NAME",
    Reason.RUNTIME_UNAVAILABLE: "on the server's machine: stoker doctor",
    Reason.LOW_PRIORITY: "submit without low priority, or keep a worker: stoker endpoint update NAME --min-workers 1",
    Reason.DELAY_ALLOWED: "for an earlier start lower the policy's value: stoker endpoint update NAME --policy-value SECONDS",
    Reason.BELOW_MIN: "",
    Reason.PAUSED: "stoker endpoint resume NAME",
    Reason.BUDGET: "wait until then, or raise it: stoker budget set --help",
    Reason.DELETED: "",
}
"""What to do about a reason; empty where waiting is all there is to do."""
STUCK: Final = frozenset(
    {Reason.PAUSED, Reason.BUDGET, Reason.CRASH_LOOP, Reason.RUNTIME_UNAVAILABLE, Reason.NO_CAPACITY, Reason.DELETED}
)
"""While these hold nobody can tell when a job starts."""


_QUIET: Final = frozenset({Reason.NOTHING_TO_DO, Reason.NO_WORKER_YET})
"""While these hold, what happens to the image is all there is to tell."""


def explain_endpoint(
    endpoint: Endpoint,
    counts: Counts,
    decision: Decision | None,
    *,
    warning: str = "",
    warm_up: WarmUp | None = None,
) -> Why:
    """Why it has the workers that it has, and why its jobs wait; with a `warning` about its budget, and how far the `warm_up` of its image is,
    which its next worker waits for."""
    image = "" if warm_up is None else _image(warm_up)
    load = f"{counts.waiting} waiting, {counts.running} running"
    if endpoint.paused_ms is not None:
        return Why(
            reason=Reason.PAUSED,
            text=f"the endpoint is paused: its queue is kept; {load}",
            next_step=next_step(Reason.PAUSED, endpoint.name),
        )
    if warm_up is not None and image and (decision is None or decision.reason in _QUIET):
        return Why(
            reason=Reason.IMAGE_PULLING,
            text=f"{image}; {load}" + (f"; {warning}" if warning else ""),
            next_step="see it: stoker image ls" if warm_up.code else "",
        )
    if decision is None:
        return Why(reason=Reason.NO_WORKER_YET, text=f"nothing has been decided about it yet; {load}")
    return Why(
        reason=decision.reason,
        text=f"{decision.text}; {load}; {decision.wanted} of at most {counted(endpoint.max_workers, 'worker')} wanted"
        + (f"; {image}" if image and decision.reason != Reason.IMAGE_PULLING else "")
        + (f"; {warning}" if warning else ""),
        next_step=next_step(decision.reason, endpoint.name),
    )


def _image(warm_up: WarmUp) -> str:
    """How far the warm-up of its image is, in words; empty once it is here."""
    if warm_up.state is WarmUpState.HERE:
        return ""
    if not warm_up.code:
        return f"its image is being fetched: {warm_up.text or warm_up.image}"
    again = "it is tried again" if warm_up.state is WarmUpState.FETCHING else "a worker will try again"
    return f"its image could not be fetched ahead ({warm_up.text}); {again}"


def next_step(reason: str, endpoint: str) -> str:
    """What to do about the reason of a decision, for the endpoint of this name."""
    return NEXT_STEPS[Reason(reason)].replace("NAME", endpoint) if reason in set(Reason) else ""


__all__ = ["NEXT_STEPS", "STUCK", "explain_endpoint", "next_step"]
