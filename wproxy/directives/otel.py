"""Tracing: spans of requests for a collector of OpenTelemetry (nginx's module otel, ngx_otel_module)."""

from __future__ import annotations

import re
from typing import NamedTuple

from wproxy.config.registry import EXPORTER, GATHER, HTTP, LOCATION, OWN, OWN_GATHER, SERVER, directive
from wproxy.directives.values import number, text, time, word
from wproxy.template import Template, compile_template
from wproxy.tracing import CONTEXTS

GRPC, HTTP_PROTOBUF, HTTP_JSON = "grpc", "http/protobuf", "http/json"
# The path of OTLP over HTTP.
TRACES = "/v1/traces"

_ENDPOINT = re.compile(r"(?:(https?)://)?([^/\s\[\]]+|\[[0-9a-fA-F:.]+\]):(\d{1,5})(/\S*)?")


class Endpoint(NamedTuple):
    """The address of a collector. authority: host and port as written. path: "" for OTLP over gRPC."""

    is_secure: bool
    authority: str
    path: str


class SpanAttribute(NamedTuple):
    """One attribute: its name, and its value as a template."""

    name: str
    value: Template


def endpoint(value: str) -> Endpoint:
    """Read `[http://|https://]HOST:PORT[/PATH]`."""
    found = _ENDPOINT.fullmatch(value)
    if found is None or not 0 < int(found[3]) < 65536:
        raise ValueError(f'invalid endpoint "{value}", write host:port for gRPC, or http://host:port/v1/traces')
    return Endpoint(found[1] == "https", f"{found[2]}:{found[3]}", found[4] or "")


def field(name: str, value: str) -> tuple[str, str]:
    """Read the name and the value of a header field."""
    if not re.fullmatch(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+", name):
        raise ValueError(f'invalid header name "{name}"')
    if not re.fullmatch(r"[\x20-\x7e\x80-\U0010ffff]*", value):
        raise ValueError(f'invalid value of header "{name}"')
    return name, value


def pair(name: str, value: str) -> tuple[str, str]:
    """Read a name and a value."""
    return name, value


def span_attribute(name: str, value: str) -> SpanAttribute:
    """Read the name and the value of an attribute."""
    return SpanAttribute(name, compile_template(value))


def nothing() -> None:
    """Read no argument."""


_BLOCKS = HTTP | SERVER | LOCATION


class OtelBlock:
    """In http."""

    otel_exporter: None = directive(
        nothing,
        HTTP,
        arity=0,
        inherit=OWN,
        block=EXPORTER,
        doc="The collector that gets the spans of traced requests.",
    )


class OtelExporterDirectives:
    """Inside `otel_exporter`."""

    endpoint: Endpoint | None = directive(
        endpoint,
        EXPORTER,
        inherit=OWN,
        doc="The collector: host:port for OTLP over gRPC (4317), http://host:port/v1/traces for OTLP over HTTP (4318).",
    )
    protocol: str | None = directive(
        word((GRPC, HTTP_PROTOBUF, HTTP_JSON)),
        EXPORTER,
        inherit=OWN,
        doc="How spans are sent: grpc, http/protobuf or http/json; by default what the endpoint says, which has a path or none.",
    )
    trusted_certificate: str | None = directive(
        text,
        EXPORTER,
        inherit=OWN,
        doc="The certificates that the collector's must be signed by; by default those of the system.",
    )
    header: tuple[tuple[str, str], ...] = directive(
        field, EXPORTER, arity=2, inherit=OWN_GATHER, named=True, doc="A header field of the requests to the collector."
    )
    interval: float = directive(time, EXPORTER, default="5s", inherit=OWN, doc="The longest time until a span is sent.")
    batch_size: int = directive(
        number(1, 100_000), EXPORTER, default="512", inherit=OWN, doc="The number of spans of one request, per worker."
    )
    batch_count: int = directive(
        number(1, 10_000),
        EXPORTER,
        default="4",
        inherit=OWN,
        doc="The number of batches that may wait, then spans are dropped.",
    )


class OtelDirectives:
    """In http, a server or a location."""

    otel_service_name: str = directive(
        text, HTTP, default="unknown_service:nginx", doc="The name of the service in exported spans."
    )
    otel_resource_attr: tuple[tuple[str, str], ...] = directive(
        pair, HTTP, arity=2, inherit=GATHER, named=True, doc="A further attribute of the resource that spans belong to."
    )
    otel_trace: Template = directive(
        compile_template,
        _BLOCKS,
        default="off",
        doc="Whether requests are traced: on, off, or a variable that is `on` or `1`, such as one of split_clients.",
    )
    otel_trace_context: str = directive(
        word(tuple(CONTEXTS)),
        _BLOCKS,
        default="ignore",
        doc="Whether the trace of a request is taken over from traceparent (extract), passed on (inject), or both (propagate).",
    )
    otel_span_name: Template | None = directive(
        compile_template, _BLOCKS, doc="The name of spans; by default that of the location."
    )
    otel_span_attr: tuple[SpanAttribute, ...] = directive(
        span_attribute,
        _BLOCKS,
        arity=2,
        inherit=GATHER,
        named=True,
        doc="An attribute of spans; an empty value removes one of that name.",
    )
    otel_semconv: str = directive(
        word(("nginx", "stable", "both")),
        _BLOCKS,
        default="nginx",
        doc="The names of attributes: those of nginx's module, the stable semantic conventions of OpenTelemetry, or both.",
    )
