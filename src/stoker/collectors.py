"""A collector of traces over OTLP/HTTP, by OpenTelemetry's own exporter, as its standard variables say.

The packages are the extra `stoker[traces]`, and are imported only where a collector is named. The exporter blocks while it sends and
tries again, so it does that in a thread.
"""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Mapping, Sequence
from typing import Any, Final

from stoker import __version__
from stoker.amounts import counted
from stoker.errors import InvalidInput, Unavailable
from stoker.span import Span

ENDPOINTS: Final = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
"""Where the collector is: the one is used as it is, the other gets `/v1/traces` behind it."""
_NS: Final = 1_000_000
"""Nanoseconds of a millisecond."""


def ratio_of(environ: Mapping[str, str]) -> float:
    """The share of jobs that the sampler of the variables takes. Raises `InvalidInput`."""
    sampler = environ.get("OTEL_TRACES_SAMPLER", "").removeprefix("parentbased_") or "always_on"
    shares = {"always_on": "1", "always_off": "0", "traceidratio": environ.get("OTEL_TRACES_SAMPLER_ARG") or "1"}
    try:
        ratio = float(shares[sampler])
    except (KeyError, ValueError):
        ratio = -1.0
    if not 0 <= ratio <= 1:
        raise InvalidInput(
            "OTEL_TRACES_SAMPLER, or its OTEL_TRACES_SAMPLER_ARG, is none that Stoker knows",
            code="invalid_setting",
            field="OTEL_TRACES_SAMPLER",
            next_step="set it to always_on, always_off, or traceidratio with an argument from 0 to 1",
        )
    return ratio


def wanted(environ: Mapping[str, str]) -> bool:
    """Whether the variables name a collector and do not forbid to tell it anything."""
    if environ.get("OTEL_SDK_DISABLED", "").lower() == "true" or environ.get("OTEL_TRACES_EXPORTER", "otlp") == "none":
        return False
    return any(environ.get(name) for name in ENDPOINTS)


def collector(environ: Mapping[str, str]) -> OtlpCollector | None:
    """The collector that the variables name, if they do. Raises `InvalidInput` when it cannot be told anything."""
    if not wanted(environ):
        return None
    ratio = ratio_of(environ)
    if not ratio:
        return None
    try:
        importlib.import_module("opentelemetry.exporter.otlp.proto.http.trace_exporter")
    except ImportError:
        raise InvalidInput(
            "a collector of traces is named, but what talks to it is not installed",
            code="traces_not_installed",
            next_step="install it: pip install 'stoker[traces]', or unset OTEL_EXPORTER_OTLP_ENDPOINT",
        ) from None
    return OtlpCollector(ratio)


class OtlpCollector:
    """`traces.Collector`. Addresses, headers, certificates, compression and timeout are read from the environment by the exporter itself."""

    def __init__(self, ratio: float) -> None:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import OTELResourceDetector, Resource

        self.ratio = ratio
        ours = Resource({"service.name": "stoker", "service.version": __version__})
        self._resource = ours.merge(OTELResourceDetector().detect())
        self._exporter = OTLPSpanExporter()

    async def tell(self, spans: Sequence[Span]) -> None:
        """Send them in one request."""
        await asyncio.to_thread(self._send, [self._written(span) for span in spans])

    def _send(self, spans: Sequence[Any]) -> None:
        from opentelemetry.sdk.trace.export import SpanExportResult

        if self._exporter.export(spans) is not SpanExportResult.SUCCESS:
            raise Unavailable(
                f"the collector of traces did not take {counted(len(spans), 'span')}",
                next_step="see whether OTEL_EXPORTER_OTLP_ENDPOINT is where it listens",
            )

    def _written(self, span: Span) -> Any:
        from opentelemetry.sdk.trace import ReadableSpan
        from opentelemetry.sdk.util.instrumentation import InstrumentationScope
        from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags

        def context(id: int) -> SpanContext:
            return SpanContext(span.trace, id, is_remote=False, trace_flags=TraceFlags(TraceFlags.SAMPLED))

        return ReadableSpan(
            span.name,
            context(span.id),
            None if span.parent is None else context(span.parent),
            self._resource,
            dict(span.attributes),
            kind={"job": SpanKind.SERVER, "webhook": SpanKind.CLIENT}.get(span.name, SpanKind.INTERNAL),
            status=Status(StatusCode.UNSET if span.failed is None else StatusCode.ERROR, span.failed),
            start_time=span.begin_ms * _NS,
            end_time=span.end_ms * _NS,
            instrumentation_scope=InstrumentationScope("stoker", __version__),
        )


__all__ = ["OtlpCollector", "collector", "ratio_of", "wanted"]
