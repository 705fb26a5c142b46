"""OTLP in Protocol Buffers (opentelemetry-proto: collector/trace/v1, trace/v1, common/v1): values to bytes, and answers back.

Only what is sent is written: a field is its number and wire type in one byte, then its bytes. Each function names the message.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from struct import Struct

from worker.tracing.span import Span, Value

CONTENT_TYPE = b"application/x-protobuf"

_fixed64 = Struct("<Q").pack
_fixed32 = Struct("<I").pack
_SHORT = [bytes((length,)) for length in range(128)]
# Status{18 code ERROR}
_ERROR = b"\x18\x02"


def varint(number: int) -> bytes:
    """Return a whole number, not negative."""
    if number < 128:
        return _SHORT[number]
    octets = bytearray()
    while number > 127:
        octets.append(128 | number & 127)
        number >>= 7
    octets.append(number)
    return bytes(octets)


def delimited(tag: bytes, content: bytes) -> bytes:
    """Return a field of bytes, text or a message."""
    return tag + varint(len(content)) + content


def utf8(text: str) -> bytes:
    """Return text as valid UTF-8, whatever bytes it came from."""
    try:
        return text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace").encode()


@lru_cache(2048)
def _any_value(value: Value) -> bytes:
    """Return an AnyValue: 0A string, 18 int, 2A ArrayValue{0A AnyValue}."""
    if isinstance(value, str):
        return delimited(b"\x0a", utf8(value))
    if isinstance(value, int):
        return b"\x18" + varint(value)
    return delimited(b"\x2a", b"".join(delimited(b"\x0a", _any_value(each)) for each in value))


@lru_cache(4096)
def key_value(name: str, value: Value) -> bytes:
    """Return a KeyValue: 0A key, 12 AnyValue. Most attributes of one location are the same in every span."""
    return delimited(b"\x0a", utf8(name)) + delimited(b"\x12", _any_value(value))


def encode(span: Span) -> bytes:
    """Return a Span."""
    parts = [
        b"\x0a\x10",
        bytes.fromhex(span.trace_id.decode()),
        b"\x12\x08",
        bytes.fromhex(span.span_id.decode()),
    ]
    if span.state:
        parts.append(delimited(b"\x1a", utf8(span.state.decode("utf-8", "surrogateescape"))))
    if span.parent:
        parts += (b"\x22\x08", bytes.fromhex(span.parent.decode()))
    parts += (
        delimited(b"\x2a", utf8(span.name)),
        b"\x30" + _SHORT[span.kind],
        b"\x39" + _fixed64(span.start),
        b"\x41" + _fixed64(span.end),
    )
    parts += [delimited(b"\x4a", key_value(name, value)) for name, value in span.attributes]
    if span.error is not None:
        message = delimited(b"\x12", utf8(span.error)) if span.error else b""
        parts.append(delimited(b"\x7a", message + _ERROR))
    parts.append(b"\x85\x01" + _fixed32(span.flags))
    return b"".join(parts)


def pack(resource: Iterable[tuple[str, str]], scope: tuple[str, str], spans: Iterable[bytes]) -> bytes:
    """Return an ExportTraceServiceRequest of encoded spans. scope: our name and version."""
    described = b"".join(delimited(b"\x0a", key_value(name, value)) for name, value in resource)
    name, version = scope
    scoped = delimited(b"\x0a", delimited(b"\x0a", utf8(name)) + delimited(b"\x12", utf8(version)))
    scoped += b"".join([delimited(b"\x12", span) for span in spans])
    return delimited(b"\x0a", delimited(b"\x0a", described) + delimited(b"\x12", scoped))


def read_partial_success(answer: bytes) -> tuple[int, str]:
    """Return the number of rejected spans and the reason, of an ExportTraceServiceResponse; (0, "") for what cannot be read."""
    try:
        partial = dict(_fields(answer)).get(1, b"")
        found = dict(_fields(partial)) if isinstance(partial, bytes) else {}
    except (IndexError, ValueError):
        return 0, ""
    rejected, reason = found.get(1, 0), found.get(2, b"")
    return (rejected if isinstance(rejected, int) else 0), reason.decode("utf-8", "replace") if isinstance(reason, bytes) else ""


def _fields(message: bytes) -> Iterable[tuple[int, int | bytes]]:
    """Yield the numbers of fields and their values. Raises IndexError, ValueError."""
    at = 0
    while at < len(message):
        tag, at = _read_varint(message, at)
        if tag & 7 == 0:
            number, at = _read_varint(message, at)
            yield tag >> 3, number
        elif tag & 7 == 2:
            length, at = _read_varint(message, at)
            if at + length > len(message):
                raise IndexError("the message is cut")
            yield tag >> 3, message[at : at + length]
            at += length
        elif tag & 7 in (1, 5):
            at += 8 if tag & 7 == 1 else 4
        else:
            raise ValueError("an unknown wire type")


def _read_varint(message: bytes, at: int) -> tuple[int, int]:
    number = shift = 0
    while True:
        octet = message[at]
        number |= (octet & 127) << shift
        at += 1
        shift += 7
        if octet < 128:
            return number, at
        if shift > 63:
            raise ValueError("a number is too long")
