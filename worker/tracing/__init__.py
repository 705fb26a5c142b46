"""Tracing: spans of requests, and their way to a collector (OpenTelemetry; nginx's module otel).

`locations` begins and ends the trace of a request, `spans` describes what it did, `otlp` and `otlp_json` write that down, and
`exporter` sends it in batches. `wproxy.tracing` reads and writes the fields traceparent and tracestate.

Nothing of this is imported where no location traces.
"""
