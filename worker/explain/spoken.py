"""The words of the client whose request is explained, in HTTP/1 or HTTP/2, and those it gets, as text."""

from __future__ import annotations

from worker.http2 import frames
from worker.http2.frames import FrameReader, Headers, headers_frames, settings_frame
from worker.http2.header_block import HeaderDecoder, encode_fields
from wproxy.explain import Question


def http1_head(question: Question) -> bytes:
    """Return the head that a client of HTTP/1 would send."""
    lines = [f"{question.method} {question.url.target} HTTP/1.1"]
    if not any(name.lower() == "host" for name, _ in question.fields):
        lines.append(f"Host: {question.url.authority}")
    lines += [f"{name}: {value}" for name, value in question.fields]
    return "\r\n".join(lines).encode("utf-8", "surrogateescape") + b"\r\n\r\n"


def http2_fields(question: Question) -> list[tuple[bytes, bytes]]:
    """Return the fields that a client of HTTP/2 would send: names in lower case, Host as :authority."""
    hosts = [value for name, value in question.fields if name.lower() == "host"]
    scheme = "https" if question.url.scheme in ("https", "wss") else "http"
    authority = hosts[0] if hosts else question.url.authority
    lines = [(":method", question.method), (":scheme", scheme), (":path", question.url.target), (":authority", authority)]
    lines += [(name.lower(), value) for name, value in question.fields if name.lower() != "host"]
    return [(name.encode("utf-8", "surrogateescape"), value.encode("utf-8", "surrogateescape")) for name, value in lines]


def http2_wire(fields: list[tuple[bytes, bytes]]) -> bytes:
    """Return the first bytes of a connection with one request. A body that the fields announce does not come."""
    has_body = any(name in (b"content-length", b"transfer-encoding") for name, _ in fields)
    return frames.PREFACE + settings_frame(()) + headers_frames(1, encode_fields(fields), not has_body)


def as_text(fields: list[tuple[bytes, bytes]]) -> bytes:
    """Return fields as lines."""
    return b"".join(name + b": " + value + b"\r\n" for name, value in fields) + b"\r\n"


def http2_answer(sent: bytes) -> bytes:
    """Return the head of the answer in frames, as text: `HTTP/2 200` and its fields; b"" if there is none."""
    reader, decoder = FrameReader("server", expects_preface=False), HeaderDecoder("server")
    reader.feed(sent)
    while (frame := reader.take()) is not None:
        if isinstance(frame, Headers):
            (_, status), *fields = decoder.decode(frame.block)
            if not status.startswith(b"1"):
                return b"HTTP/2 " + status + b" \r\n" + as_text(fields)
    return b""
