"""The parsers are total, whatever comes, however it is cut; what they accept, h11 reads the same way.

The strategies mix well-formed pieces with the bytes that tell parsers apart, so that most wires are nearly right.
"""

from __future__ import annotations

import h11
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from made_requests import attributes_of

from worker.http1.chunked import LAST_CHUNK, ChunkedDecoder, ChunkError, encode_chunk
from worker.http1.request import HeadLimits, HeadMemo, RequestFields, RequestLine, take_request_head
from worker.http1.response import ResponseHead, body_of, take_response_head
from wproxy.failures import ClientError, UpstreamFailure

settings.register_profile("http1", deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
quick = settings(settings.get_profile("http1"), max_examples=250)
few = settings(settings.get_profile("http1"), max_examples=100)

SMALL = HeadLimits(line=60, field=40, total=200, count=6)
LIMITS = [
    HeadLimits(),
    HeadLimits(ignore_invalid_headers=False, merge_slashes=False),
    HeadLimits(underscores_in_headers=True),
    SMALL,
]

line_ends = st.sampled_from([b"\r\n"] * 30 + [b"\n"] * 6 + [b"\r", b"\r\r\n", b"", b"\n\r", b"\r\n\r\n", b"\n\n", b"\r\n "])
names = st.sampled_from([b"Host", b"host", b"Content-Length", b"Transfer-Encoding", b"Connection", b"Upgrade", b"Expect", b"Cookie", b"X-A",
                         b"X_A", b"X.A", b"Proxy", b"TE", b"Keep-Alive", b"Date", b"Server", b"", b" X", b"X ", b"X\0"])  # fmt: skip
values = st.sampled_from([b"a", b"a:80", b"[::1]", b"a/b", b"", b"5", b"0", b"005", b"+5", b"5, 5", b"chunked", b"Chunked", b"gzip", b"chunked,", b"\tchunked",
                          b"close", b"keep-alive, X-A", b"Upgrade", b"100-continue", b"timeout=5", b"\xe4", b"a\0", b"a\x0b", b"\x85", b"x" * 45])  # fmt: skip
separators = st.sampled_from([b": "] * 8 + [b":", b":  ", b":\t", b" : ", b"", b"::"])
good_fields = st.sampled_from([b"Host: a\r\n"] * 3 + [b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n", b"Connection: close, X-A\r\n", b"X-A: b\r\n",
                               b"X_A: b\r\n", b"Cookie: c\r\n", b"Upgrade: u\n", b"Keep-Alive: timeout=5\r\n", b"Date: now\r\n"])  # fmt: skip
any_fields = st.tuples(names, separators, values, line_ends).map(b"".join)
fields = st.one_of(good_fields, good_fields, good_fields, any_fields)
methods = st.sampled_from([b"GET"] * 12 + [b"POST", b"HEAD", b"OPTIONS", b"TRACE", b"CONNECT", b"get", b"G!T", b"", b"M-X_Y"])
targets = st.sampled_from([b"/", b"/a?b", b"/a%20b"] * 5 + [b"/..", b"/%zz", b"//a/../b", b"*", b"a:80", b"http://b/c", b"http://b", b"http://b:1?x",
                           b"https://u@b/", b"ftp://b/", b"/#", b"/\xe4", b"/ x", b"", b"/" + b"y" * 50])  # fmt: skip
versions = st.sampled_from(
    [b"HTTP/1.1"] * 16 + [b"HTTP/1.0"] * 4 + [b"HTTP/1.2", b"HTTP/2.0", b"HTTP/0.9", b"HTTP/1.10", b"", b"HTTP/1.1 "]
)
request_lines = st.tuples(methods, st.just(b" "), targets, st.just(b" "), versions, line_ends).map(b"".join)
leading = st.sampled_from([b""] * 16 + [b"\r\n", b"\n", b"\r\n" * 8, b"\r\n" * 9, b"\r"])
ends = st.sampled_from([b"\r\n"] * 6 + [b"\n", b"", b"\r", b"\r\n\r\n", b"\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"])
hosts = st.sampled_from([b"Host: a\r\n"] * 4 + [b""])
requests = st.tuples(leading, request_lines, hosts, st.lists(fields, max_size=7).map(b"".join), ends).map(b"".join)
status_lines = st.tuples(st.sampled_from([b"HTTP/1.1 200 OK"] * 6 + [b"HTTP/1.0 204", b"HTTP/1.1 100 Continue", b"HTTP/1.1 099 x", b"HTTP/2.0 200 OK", b"x", b"",
                         b"HTTP/1.1  304 \x01", b"HTTP/1.1 200 a\rb"]), line_ends).map(b"".join)  # fmt: skip
responses = st.tuples(status_lines, st.lists(fields, max_size=7).map(b"".join), ends).map(b"".join)
chunk_pieces = st.sampled_from([b"5", b"0", b"1", b"a", b"ffffffffffffffff", b"05", b" ", b"\t", b";x", b";", b"\r\n", b"\r\n", b"\r\n", b"\r", b"\n", b"hello",
                                b"h", b"5\r\nhello\r\n", b"1\r\nx\r\n", b"0\r\n\r\n", b"0\r\n", b"A: b\r\n", b"Host: a\r\n", b"A : b\r\n", b"\0", b"+"])  # fmt: skip
chunked_bodies = st.lists(chunk_pieces, max_size=12).map(b"".join)


@st.composite
def damaged(draw, wires):
    """A wire with a few bytes put in, taken out or changed."""
    wire = bytearray(draw(wires))
    for _ in range(draw(st.integers(0, 2))):
        at = draw(st.integers(0, len(wire)))
        wire[at : at + draw(st.integers(0, 2))] = draw(
            st.sampled_from([b"\0", b"\r", b"\n", b" ", b":", b"\t", b"\x0b", b"\x7f", b"\x85", b"x", b"\r\n", b""])
        )
    return bytes(wire)


# What the connection derives from fields is none of their values.
DERIVED = {"cache", "composed", "difference"}


def request_outcome(wire: bytes, limits: HeadLimits, memo: HeadMemo | None = None):
    """None, a status, or all facts. Any other exception is the failure of the test."""
    try:
        taken = take_request_head(wire, limits, memo or HeadMemo())
    except ClientError as refusal:
        assert refusal.status in (400, 405, 414, 494, 501, 505)
        return refusal.status
    if taken is None:
        return None
    line, found, consumed = taken
    return (
        tuple(getattr(line, name) for name in attributes_of(RequestLine)),
        tuple(getattr(found, name) for name in attributes_of(RequestFields) if name not in DERIVED),
        consumed,
    )


def response_outcome(wire: bytes, limit: int, last: ResponseHead | None = None):
    try:
        taken = take_response_head(wire, limit, last)
    except UpstreamFailure as failure:
        assert failure.kind == "invalid_header"
        return "refused"
    if taken is None:
        return None
    return tuple(getattr(taken[0], name) for name in attributes_of(ResponseHead) if name != "cache"), taken[1]


def as_sent(status):
    """494 goes to the client as 400; which of the two it is may depend on how much has arrived."""
    return 400 if status == 494 else status


def assert_cut_anywhere_is_the_same(outcome_of, wire: bytes) -> None:
    """A wire that grows says nothing, then for ever the same."""
    whole = as_sent(outcome_of(wire))
    settled = None
    for length in range(len(wire) + 1):
        grown = as_sent(outcome_of(wire[:length]))
        if settled is None:
            settled = grown
        else:
            assert grown == settled
        if isinstance(grown, tuple):
            assert grown[-1] == length or as_sent(outcome_of(wire[: length - 1])) == grown, "taken as soon as it is whole"
    assert whole == settled


@quick
@given(st.binary(max_size=300), st.sampled_from(LIMITS))
def test_request_heads_of_noise(wire: bytes, limits: HeadLimits):
    request_outcome(wire, limits)
    request_outcome(b"GET / HTTP/1.1\r\n" + wire + b"\r\n\r\n", limits)


@quick
@given(damaged(requests), st.sampled_from(LIMITS))
@example(b"GET / HTTP/1.1\r\nHost: a\rHost: a\rTransfer-Encoding: a:80\r\n\r\n", SMALL)
@example(b"GET /" + b"x" * 44 + b" HTTP/1.1\r\r\n", SMALL)
@example(b"GET /" + b"x" * 60 + b"\r\n\r\n", SMALL)
def test_request_heads_do_not_depend_on_the_cut(wire: bytes, limits: HeadLimits):
    assert_cut_anywhere_is_the_same(lambda piece: request_outcome(piece, limits), wire)


@quick
@given(st.lists(damaged(requests), min_size=2, max_size=4), st.sampled_from(LIMITS))
def test_request_heads_do_not_depend_on_the_memo(wires: list[bytes], limits: HeadLimits):
    """Whatever a connection and the worker remember, a head means what it means to a new connection."""
    memo = HeadMemo()
    lines = [wire[: wire.find(b"\n") + 1] for wire in wires]
    blocks = [wire[wire.find(b"\n") + 1 :] for wire in wires]
    for wire in [*wires, *(line + block for line in lines for block in blocks), *wires]:
        assert request_outcome(wire, limits, memo) == request_outcome(wire, limits)


@quick
@given(requests, st.lists(st.tuples(st.integers(0, 400), st.binary(max_size=3)), min_size=1, max_size=6), st.sampled_from(LIMITS))
def test_a_few_other_bytes_mean_what_they_mean_to_a_new_connection(
    wire: bytes, changes: list[tuple[int, bytes]], limits: HeadLimits
):
    memo = HeadMemo()
    for place, other in changes:
        place %= len(wire) or 1
        for sent in (wire, wire[:place] + other + wire[place + len(other) :]):
            assert request_outcome(sent, limits, memo) == request_outcome(sent, limits)


@quick
@given(st.lists(requests, min_size=2, max_size=3).map(b"".join))
def test_pipelined_heads_come_one_after_the_other(wire: bytes):
    """Read on one connection from a growing buffer, or each from its beginning: the same."""
    memo = HeadMemo()
    buffer = wire
    while True:
        result = request_outcome(buffer, LIMITS[0], memo)
        assert result == request_outcome(buffer, LIMITS[0])
        if not isinstance(result, tuple):
            break
        assert 0 < result[-1] <= len(buffer)
        buffer = buffer[result[-1] :]


def has_nothing_of_ours(wire: bytes, found: RequestFields) -> bool:
    """Nothing that we treat on purpose in a way h11 does not: dropped lines, 8-bit targets."""
    return len(found.lines) == wire.count(b"\r\n") - 2 and wire.split(b"\r\n")[0].isascii()


@quick
@given(damaged(requests))
def test_h11_reads_accepted_requests_the_same_way(wire: bytes):
    try:
        taken = take_request_head(wire, LIMITS[0], HeadMemo())
    except ClientError:
        return
    if taken is None:
        return
    line, found, consumed = taken
    head = wire[:consumed]
    if head.count(b"\n") != head.count(b"\r\n") or not has_nothing_of_ours(head, found):
        return
    oracle = h11.Connection(h11.SERVER)
    oracle.receive_data(head)
    try:
        event = oracle.next_event()
    except h11.RemoteProtocolError as refusal:
        # h11 wants the framing of its own: it joins equal lengths, and knows no 100-continue but one.
        pytest.fail(f"h11 refuses what we accept: {refusal} in {head!r}")
    assert isinstance(event, h11.Request)
    assert (event.method, event.target) == (line.method, line.target)
    assert list(event.headers.raw_items()) == [
        (name, value.lower() if lower == b"transfer-encoding" else value) for lower, name, value in found.lines
    ]


@quick
@given(st.binary(max_size=300))
def test_response_heads_of_noise(wire: bytes):
    response_outcome(wire, 100)
    response_outcome(b"HTTP/1.1 200 OK\r\n" + wire + b"\r\n\r\n", 4096)


@quick
@given(damaged(responses), st.sampled_from([40, 100, 4096]))
def test_response_heads_do_not_depend_on_the_cut(wire: bytes, limit: int):
    assert_cut_anywhere_is_the_same(lambda piece: response_outcome(piece, limit), wire)


@quick
@given(damaged(responses), damaged(responses))
def test_response_heads_do_not_depend_on_the_last_one(first: bytes, second: bytes):
    try:
        taken = take_response_head(first, 4096, None)
    except UpstreamFailure:
        return
    last = taken[0] if taken is not None else None
    for wire in (first, second, first + second):
        assert response_outcome(wire, 4096, last) == response_outcome(wire, 4096)


@quick
@given(responses, st.sampled_from([b"GET", b"HEAD", b"POST"]))
def test_every_accepted_response_has_one_framing(wire: bytes, method: bytes):
    try:
        taken = take_response_head(wire, 4096, None)
    except UpstreamFailure:
        return
    if taken is not None:
        kind, length = body_of(taken[0], method)
        assert (kind == 1) == (length > 0)
        assert not (taken[0].chunked and taken[0].content_length >= 0)


def decode(*pieces: bytes):
    decoder = ChunkedDecoder()
    try:
        payload = b"".join([decoder.feed(piece) for piece in pieces])
    except ChunkError:
        return "refused"
    return payload, decoder.finished, decoder.trailers, decoder.leftover


@quick
@given(damaged(chunked_bodies), st.data())
def test_chunked_bodies_do_not_depend_on_the_cut(wire: bytes, data):
    whole = decode(wire)
    assert decode(*[wire[index : index + 1] for index in range(len(wire))]) == whole
    cuts = sorted(data.draw(st.lists(st.integers(0, len(wire)), max_size=4)))
    pieces = [wire[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(wire)])]
    assert decode(*pieces) == whole


@quick
@given(st.binary(max_size=200))
def test_chunked_bodies_of_noise(wire: bytes):
    decode(wire)
    decode(b"5\r\nhello\r\n" + wire)


@few
@given(st.lists(st.binary(max_size=50), max_size=10), st.binary(max_size=20))
def test_what_is_encoded_is_decoded(parts: list[bytes], rest: bytes):
    wire = b"".join(map(encode_chunk, parts)) + LAST_CHUNK + rest
    assert decode(wire) == (b"".join(parts), True, (), rest)


@quick
@given(damaged(chunked_bodies))
def test_h11_decodes_accepted_chunks_the_same_way(wire: bytes):
    result = decode(wire)
    if result == "refused" or not result[1]:
        return
    oracle = h11.Connection(h11.SERVER)
    oracle.receive_data(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + wire)
    assert isinstance(oracle.next_event(), h11.Request)
    payload = b""
    while isinstance(event := oracle.next_event(), h11.Data):
        payload += event.data
    assert isinstance(event, h11.EndOfMessage)
    assert (payload, oracle.trailing_data[0]) == (result[0], result[3])
