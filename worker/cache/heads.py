"""The heads of stored responses: what the upstream sent, read again. nginx stores them in the form of their protocol."""

from __future__ import annotations

from worker.cgi.head import take_cgi_head
from worker.fastcgi.records import AnswerReader, RecordError
from worker.http1.response import ResponseHead, take_response_head
from wproxy.failures import UpstreamFailure

# The number of heads that a worker keeps before it starts over, and the most bytes of one.
MOST = 1024
LARGEST = 4096

_known: dict[tuple[str, bytes, int], ResponseHead] = {}

# The record that FastCGI output comes in: version 1, STDOUT, request 1, the length, no padding.
_STDOUT = b"\x01\x06\x00\x01%b\x00\x00"


class CannotRead(Exception):
    """A stored head is not the head of a response."""


def read_stored_head(module: str, data: bytes, length: int) -> ResponseHead:
    """Return the head of a stored response. length: that of its body, which is stored without its framing. Raises CannotRead."""
    key = module, data, length
    known = _known.get(key)
    if known is None:
        known = _read(module, data)
        if known.content_length < 0 and known.status != 304:  # a 304 would tell the length of another response
            known.content_length = length
        known.chunked = False
        if len(_known) >= MOST:
            _known.clear()
        if len(data) <= LARGEST:
            _known[key] = known
    return known


def _read(module: str, data: bytes) -> ResponseHead:
    limit = len(data) + 1
    try:
        if module == "proxy":
            taken = take_response_head(data, limit, None)
        else:
            if module == "fastcgi" and data[:1] == b"\x01":
                data = _output_of(data)
            taken = take_cgi_head(data, limit, may_be_http=module != "fastcgi")
    except (UpstreamFailure, RecordError) as failure:
        raise CannotRead(str(failure)) from None
    if taken is None:
        raise CannotRead("it is incomplete")
    return taken[0] if module == "proxy" else _own(taken[0])


def _output_of(data: bytes) -> bytes:
    """Return the output in FastCGI records, of which the last one may be incomplete: the body follows. Raises RecordError."""
    return AnswerReader().feed(data)


def _own(head: ResponseHead) -> ResponseHead:
    """Return a copy: heads of CGI programs are shared with their connections."""
    copy = ResponseHead(head.block, head.status, head.reason, head.version, head.lines, head.values, -1, False)
    copy.ignored = head.ignored
    return copy


def stored_form(module: str, head: ResponseHead) -> bytes:
    """Return a head as it is stored."""
    block = head.block
    if module == "fastcgi" and len(block) < 65536:
        return _STDOUT % len(block).to_bytes(2, "big") + block
    return block or _composed(head)


def _composed(head: ResponseHead) -> bytes:
    """Return a head that was not received as text, as HTTP/1 has it."""
    lines = [b"HTTP/1.1 %d %b" % (head.status, head.reason), *(name + b": " + value for _, name, value in head.lines)]
    return b"\r\n".join(lines) + b"\r\n\r\n"
