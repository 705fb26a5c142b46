"""Heads of CGI responses: a table, each fed whole, byte by byte and with trailing bytes."""

from __future__ import annotations

import random

import pytest

from worker.cgi.head import take_cgi_head
from wproxy.failures import UpstreamFailure

LIMIT = 4096
# Head, status, reason, field names, and the length of the body.
HEADS = [
    (b"Content-Type: text/html\r\n\r\n", 200, b"OK", [b"Content-Type"], -1),
    (b"Status: 404 Not Found\r\nX-A: b\r\n\r\n", 404, b"Not Found", [b"Status", b"X-A"], -1),
    (b"Status: 500\r\n\r\n", 500, b"Internal Server Error", [b"Status"], -1),
    (b"Status: 503 \r\n\r\n", 503, b"Service Temporarily Unavailable", [b"Status"], -1),
    (b"Status: 999\r\n\r\n", 999, b"", [b"Status"], -1),
    (b"status:   299   Odd one\n\n", 299, b"Odd one", [b"status"], -1),
    (b"Location: /x\r\n\r\n", 302, b"Moved Temporarily", [b"Location"], -1),
    (b"Location: /x\nStatus: 201 Made\n\n", 201, b"Made", [b"Location", b"Status"], -1),
    (b"A: 1\nB: 2\r\nContent-Length: 5\n\n", 200, b"OK", [b"A", b"B", b"Content-Length"], 5),
    (b"\r\n", 200, b"OK", [], -1),
    (b"\n", 200, b"OK", [], -1),
    (b"Status: 101 Switching\r\nUpgrade: x\r\n\r\n", 101, b"Switching", [b"Status", b"Upgrade"], -1),
    (b"Transfer-Encoding: chunked\r\n\r\n", 200, b"OK", [b"Transfer-Encoding"], -1),
]
STATUS_LINES = [
    (b"HTTP/1.1 418 Teapot\r\nX-A: b\r\n\r\n", 418, b"Teapot", [b"X-A"], -1),
    (b"HTTP/1.0 200 OK\n\n", 200, b"OK", [], -1),
    (b"HTTP/1.1 204\r\n\r\n", 204, b"", [], -1),
]
BAD = [
    (b"no colon\r\n\r\n", "upstream sent invalid header"),
    (b"HTTP/1.1 200 OK\r\n\r\n", "upstream sent invalid header"),
    (b"Status: abc\r\n\r\n", 'upstream sent invalid status "abc"'),
    (b"Status: 99\r\n\r\n", 'upstream sent invalid status "99"'),
    (b"Status: 2000\r\n\r\n", 'upstream sent invalid status "2000"'),
    (b"Status: 103 Early\r\n\r\n", "upstream sent an interim status: 103"),
    (b"Content-Length: five\r\n\r\n", "upstream sent invalid"),
    (b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n", "upstream sent duplicate header line"),
    (b"X: a\0b\r\n\r\n", "upstream sent invalid header"),
    (b" folded: x\r\n\r\n", "upstream sent invalid header"),
    (b"X: a\rb\r\n\r\n", "upstream sent invalid header"),
]


@pytest.mark.parametrize("may_be_http", [False, True])
@pytest.mark.parametrize(("block", "status", "reason", "names", "length"), HEADS + STATUS_LINES)
def test_a_head_is_read_at_any_cut(block, status, reason, names, length, may_be_http):
    if block.startswith(b"HTTP/") and not may_be_http:
        return
    for end in range(len(block)):
        assert take_cgi_head(block[:end], LIMIT, may_be_http) is None
    for after in (b"", b"body", b"\r\n\r\n", b"\n"):
        for _ in range(2):  # the second time it is known
            head, consumed = take_cgi_head(block + after, LIMIT, may_be_http)
            assert consumed == len(block)
            assert (head.status, head.reason, [name for _, name, _ in head.lines], head.content_length) == (
                status,
                reason,
                names,
                length,
            )
            assert head.block == block and not head.chunked


@pytest.mark.parametrize(("block", "reason"), BAD)
def test_a_bad_head_is_refused(block, reason):
    for _ in range(2):
        with pytest.raises(UpstreamFailure) as failure:
            take_cgi_head(block + b"body", LIMIT)
        assert failure.value.kind == "invalid_header"
        assert failure.value.reason.startswith(reason)


def test_a_head_has_a_limit():
    block = b"X: " + b"x" * 91 + b"\r\n\r\n"
    assert take_cgi_head(block, len(block)) is not None
    for known in (block, block[:-2]):
        with pytest.raises(UpstreamFailure) as failure:
            take_cgi_head(known, len(known) - 1)
        assert failure.value.reason == "upstream sent too big header"


@pytest.mark.parametrize("seed", range(60))
def test_garbage_is_refused_or_read_and_nothing_else(seed):
    chance = random.Random(seed)
    block = bytearray(chance.choice(HEADS + STATUS_LINES)[0] + b"Set-Cookie: a=b\r\n\r\nbody")
    for _ in range(1 + chance.randrange(5)):
        block[chance.randrange(len(block))] = chance.randrange(256)
    try:
        taken = take_cgi_head(bytes(block), LIMIT, bool(seed % 2))
    except UpstreamFailure as failure:
        assert failure.kind == "invalid_header"
    else:
        assert taken is None or (200 <= taken[0].status < 1000 or taken[0].status == 101)
