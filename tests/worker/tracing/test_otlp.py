"""Spans as bytes: decoded by OpenTelemetry's own classes, and compared byte for byte with what those write."""

from __future__ import annotations

import json

import pytest
from google.protobuf import json_format
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest, ExportTraceServiceResponse

from worker.tracing import otlp, otlp_json
from worker.tracing.span import CLIENT, SERVER, Span

TRACE = b"0af7651916cd43dd8448eb211c80319c"
FULL = Span(
    TRACE,
    b"b7ad6b7169203331",
    b"a=1",
    b"00f067aa0ba902b7",
    "GET /\u20ac",
    SERVER,
    1_700_000_000_123_000_000,
    1_700_000_000_456_000_000,
    [("http.method", "GET"), ("http.status_code", 502), ("http.request.header.x", ("a", "b")), ("big", 1 << 40), ("zero", 0)],
    "connect() failed",
    0x303,
)
PLAIN = Span(TRACE, b"b7ad6b7169203332", b"", b"", "/", CLIENT, 1, 2, [], None, 0x100)
RESOURCE = (("service.name", "shop"), ("deployment", "x" * 300))
SCOPE = ("wproxy", "1.2")


def packed(module, *spans):
    return module.pack(RESOURCE, SCOPE, [module.encode(span) for span in spans])


def expected() -> ExportTraceServiceRequest:
    """The same request, made of OpenTelemetry's classes."""
    request = ExportTraceServiceRequest()
    group = request.resource_spans.add()
    for name, value in RESOURCE:
        group.resource.attributes.add(key=name).value.string_value = value
    scope = group.scope_spans.add()
    scope.scope.name, scope.scope.version = SCOPE
    for each in (FULL, PLAIN):
        span = scope.spans.add(
            trace_id=bytes.fromhex(each.trace_id.decode()),
            span_id=bytes.fromhex(each.span_id.decode()),
            trace_state=each.state.decode(),
            parent_span_id=bytes.fromhex(each.parent.decode()),
            name=each.name,
            kind=each.kind,
            start_time_unix_nano=each.start,
            end_time_unix_nano=each.end,
            flags=each.flags,
        )
        for name, value in each.attributes:
            target = span.attributes.add(key=name).value
            if isinstance(value, str):
                target.string_value = value
            elif isinstance(value, int):
                target.int_value = value
            else:
                for item in value:
                    target.array_value.values.add(string_value=item)
        if each.error is not None:
            span.status.message, span.status.code = each.error, 2
    return request


def test_the_bytes_are_those_that_opentelemetry_writes():
    data = packed(otlp, FULL, PLAIN)
    assert ExportTraceServiceRequest.FromString(data) == expected()
    assert data == expected().SerializeToString(deterministic=True)


def test_the_json_means_the_same():
    shown = json.loads(packed(otlp_json, FULL, PLAIN))
    (span, _) = shown["resourceSpans"][0]["scopeSpans"][0]["spans"]
    assert span["traceId"] == TRACE.decode(), "identifiers are hexadecimal in OTLP, not base64"
    assert span["startTimeUnixNano"] == "1700000000123000000"
    assert span["status"] == {"message": "connect() failed", "code": 2}
    for each in shown["resourceSpans"][0]["scopeSpans"][0]["spans"]:
        for key in ("traceId", "spanId", "parentSpanId"):
            if key in each:  # what json_format expects
                import base64

                each[key] = base64.b64encode(bytes.fromhex(each[key])).decode()
    assert json_format.ParseDict(shown, ExportTraceServiceRequest()) == expected()


def test_text_is_valid_utf8_whatever_it_came_from():
    span = PLAIN._replace(name="a\udcff", attributes=[("k", "b\udcc3")], state=b"x\xff", error="\udcff")
    (decoded,) = ExportTraceServiceRequest.FromString(packed(otlp, span)).resource_spans[0].scope_spans[0].spans
    assert (decoded.name, decoded.attributes[0].value.string_value) == ("a\ufffd", "b\ufffd")
    json.loads(packed(otlp_json, span))


@pytest.mark.parametrize("number", [0, 1, 127, 128, 300, 16383, 16384, (1 << 63) - 1])
def test_whole_numbers(number):
    span = PLAIN._replace(attributes=[("n", number)])
    (decoded,) = ExportTraceServiceRequest.FromString(packed(otlp, span)).resource_spans[0].scope_spans[0].spans
    assert decoded.attributes[0].value.int_value == number


def test_a_partial_success_is_read():
    answer = ExportTraceServiceResponse()
    assert otlp.read_partial_success(answer.SerializeToString()) == (0, "")
    answer.partial_success.rejected_spans, answer.partial_success.error_message = 300, "too old"
    data = answer.SerializeToString()
    assert otlp.read_partial_success(data) == (300, "too old")
    for end in range(len(data)):
        otlp.read_partial_success(data[:end])
    assert otlp_json.read_partial_success(b'{"partialSuccess":{"rejectedSpans":"3","errorMessage":"x"}}') == (3, "x")


@pytest.mark.parametrize(
    "answer", [b"", b"\xff", b"{", b"[]", b"null", b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", b"\x0f"]
)
def test_answers_that_cannot_be_read(answer):
    assert otlp.read_partial_success(answer) == (0, "")
    assert otlp_json.read_partial_success(answer) == (0, "")
