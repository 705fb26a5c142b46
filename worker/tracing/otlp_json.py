"""OTLP as JSON: names in lowerCamelCase, identifiers in hexadecimal, numbers of 64 bits as text."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from worker.tracing.otlp import utf8
from worker.tracing.span import Span, Value

CONTENT_TYPE = b"application/json"


def _text(text: str) -> str:
    return utf8(text).decode()


def _any_value(value: Value) -> dict[str, Any]:
    if isinstance(value, str):
        return {"stringValue": _text(value)}
    if isinstance(value, int):
        return {"intValue": str(value)}
    return {"arrayValue": {"values": [_any_value(each) for each in value]}}


def _key_value(name: str, value: Value) -> dict[str, Any]:
    return {"key": _text(name), "value": _any_value(value)}


def encode(span: Span) -> bytes:
    """Return a Span."""
    shown: dict[str, Any] = {"traceId": span.trace_id.decode(), "spanId": span.span_id.decode()}
    if span.state:
        shown["traceState"] = _text(span.state.decode("utf-8", "surrogateescape"))
    if span.parent:
        shown["parentSpanId"] = span.parent.decode()
    shown |= {
        "name": _text(span.name),
        "kind": span.kind,
        "startTimeUnixNano": str(span.start),
        "endTimeUnixNano": str(span.end),
        "attributes": [_key_value(name, value) for name, value in span.attributes],
    }
    if span.error is not None:
        shown["status"] = {"message": _text(span.error), "code": 2} if span.error else {"code": 2}
    shown["flags"] = span.flags
    return json.dumps(shown, separators=(",", ":")).encode()


def pack(resource: Iterable[tuple[str, str]], scope: tuple[str, str], spans: Iterable[bytes]) -> bytes:
    """Return an ExportTraceServiceRequest of encoded spans. scope: our name and version."""
    attributes = json.dumps([_key_value(name, value) for name, value in resource]).encode()
    described = json.dumps({"name": scope[0], "version": scope[1]}).encode()
    return b'{"resourceSpans":[{"resource":{"attributes":%b},"scopeSpans":[{"scope":%b,"spans":[%b]}]}]}' % (
        attributes,
        described,
        b",".join(spans),
    )


def read_partial_success(answer: bytes) -> tuple[int, str]:
    """Return the number of rejected spans and the reason, of an ExportTraceServiceResponse; (0, "") for what cannot be read."""
    try:
        partial = json.loads(answer).get("partialSuccess") or {}
        return int(partial.get("rejectedSpans", 0)), str(partial.get("errorMessage", ""))
    except (ValueError, AttributeError, TypeError):
        return 0, ""
