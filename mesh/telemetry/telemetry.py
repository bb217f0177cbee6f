"""Traces and metrics by OpenTelemetry, or nothing at all.

One trace goes from the HTTP request through the dispatcher to the node and back: its context travels in the
``traceparent`` header of NATS messages (W3C Trace Context). Where telemetry is off the SDK is not even
imported, and each call here is one comparison.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from opentelemetry.metrics import Histogram, Meter, UpDownCounter
    from opentelemetry.trace import Span as OtelSpan
    from opentelemetry.trace import Tracer

    from mesh.telemetry.names import Instrument

Attribute = str | int | float | bool
SpanRole = Literal["server", "consumer", "internal"]


class Span(Protocol):
    """One step of a trace."""

    @property
    def traceparent(self) -> str | None:
        """What to send along so that the next process continues the trace; None where there is none."""
        ...

    def note(self, key: str, value: Attribute) -> None:
        """Add what was learned on the way."""
        ...

    def end(self, error: str | None = None) -> None:
        """Close the step; with ``error``, as a failed one."""
        ...


class _NoSpan:
    """Where nothing is traced: passes on the context that came in, so that a gap in the middle breaks no trace."""

    __slots__ = ("traceparent",)

    def __init__(self, traceparent: str | None) -> None:
        self.traceparent = traceparent

    def note(self, key: str, value: Attribute) -> None:
        """Nothing."""

    def end(self, error: str | None = None) -> None:
        """Nothing."""


class Telemetry:
    """What a process records. ``Telemetry.off()`` records nothing."""

    def __init__(self, tracer: Tracer | None, meter: Meter | None, shutdown: Sequence[Shutdown] = ()) -> None:
        """Use the given tracer and meter; ``open_telemetry`` makes them."""
        self._tracer = tracer
        self._meter = meter
        self._shutdown = shutdown
        self._histograms: dict[str, Histogram] = {}
        self._counters: dict[str, UpDownCounter] = {}

    @classmethod
    def off(cls) -> Telemetry:
        """Record nothing."""
        return cls(None, None)

    def span(
        self,
        name: str,
        *,
        parent: str | None,
        role: SpanRole = "internal",
        attributes: Mapping[str, Attribute] | None = None,
    ) -> Span:
        """Begin a step that continues the trace of ``parent`` (a ``traceparent`` value), or begins one."""
        if self._tracer is None:
            return _NoSpan(parent)
        return _begin(self._tracer, name, parent, role, attributes or {})

    def record(self, instrument: Instrument, value: float, attributes: Mapping[str, Attribute]) -> None:
        """Add one value to a histogram."""
        if self._meter is None:
            return
        histogram = self._histograms.get(instrument.name)
        if histogram is None:
            histogram = self._meter.create_histogram(
                instrument.name,
                instrument.unit,
                instrument.description,
                explicit_bucket_boundaries_advisory=list(instrument.bounds) or None,
            )
            self._histograms[instrument.name] = histogram
        histogram.record(value, attributes)

    def add(self, instrument: Instrument, change: int, attributes: Mapping[str, Attribute] | None = None) -> None:
        """Move a count up or down."""
        if self._meter is None:
            return
        counter = self._counters.get(instrument.name)
        if counter is None:
            counter = self._meter.create_up_down_counter(instrument.name, instrument.unit, instrument.description)
            self._counters[instrument.name] = counter
        counter.add(change, attributes or {})

    def close(self) -> None:
        """Send what was not sent yet, and record no more."""
        for provider in self._shutdown:
            provider.shutdown()


class Shutdown(Protocol):
    """A provider that can be closed."""

    def shutdown(self) -> None:
        """Send what was not sent yet."""
        ...


class _SdkSpan:
    """A step that is recorded."""

    __slots__ = ("_span", "traceparent")

    def __init__(self, span: OtelSpan, traceparent: str | None) -> None:
        self._span = span
        self.traceparent = traceparent

    def note(self, key: str, value: Attribute) -> None:
        """Set an attribute."""
        self._span.set_attribute(key, value)

    def end(self, error: str | None = None) -> None:
        """End the span; an error sets its status."""
        from opentelemetry.trace import Status, StatusCode

        if error is not None:
            self._span.set_status(Status(StatusCode.ERROR, error))
        self._span.end()


def _begin(
    tracer: Tracer, name: str, parent: str | None, role: SpanRole, attributes: Mapping[str, Attribute]
) -> _SdkSpan:
    from opentelemetry.trace import SpanKind, set_span_in_context
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    propagator = TraceContextTextMapPropagator()
    context = propagator.extract({"traceparent": parent}) if parent else None
    span = tracer.start_span(name, context, kind=SpanKind[role.upper()], attributes=attributes)
    carrier: dict[str, str] = {}
    propagator.inject(carrier, set_span_in_context(span))
    return _SdkSpan(span, carrier.get("traceparent"))
