"""Field lists of responses: every row of http2-rules.md, "As client to upstreams", that is about heads."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from worker.http1.fields import VALUE_BYTES
from worker.http1.response import LENGTH, NONE, UNTIL_CLOSE, ResponseHead, body_of
from worker.http2.response_head import read_response_head, read_response_trailers
from wproxy.failures import UpstreamFailure

Pairs = list[tuple[bytes, bytes]]
OK = (b":status", b"200")


def size_of(fields: Pairs) -> int:
    return sum(len(name) + len(value) for name, value in fields)


def read(fields: Pairs) -> ResponseHead:
    return read_response_head(fields, size_of(fields), 4096)


def test_a_head_is_that_of_http1():
    head = read([OK, (b"content-type", b"text/plain"), (b"set-cookie", b"a"), (b"set-cookie", b"b"), (b"content-length", b"5")])
    assert (head.status, head.reason, head.version, head.content_length, head.chunked) == (200, b"OK", 20, 5, False)
    assert head.lines == (
        (b"content-type", b"content-type", b"text/plain"),
        (b"set-cookie", b"set-cookie", b"a"),
        (b"set-cookie", b"set-cookie", b"b"),
        (b"content-length", b"content-length", b"5"),
    )
    assert head.get(b"set-cookie") == b"a, b"
    assert body_of(head, b"GET") == (LENGTH, 5)


WRONG = {
    "no :status": [(b"a", b"b")],
    "nothing": [],
    ":status twice": [OK, OK],
    ":status late": [(b"a", b"b"), OK],
    ":status after fields again": [OK, (b"a", b"b"), OK],
    "another pseudo-header": [OK, (b":path", b"/")],
    "a colon alone": [OK, (b":", b"/")],
    "099": [(b":status", b"099")],
    "1000": [(b":status", b"1000")],
    "2x0": [(b":status", b"2x0")],
    "an empty status": [(b":status", b"")],
    "+20": [(b":status", b"+20")],
    "upper case": [OK, (b"Server", b"b")],
    "a colon in a name": [OK, (b"a:b", b"c")],
    "an empty name": [OK, (b"", b"c")],
    "a space in a name": [OK, (b"a ", b"c")],
    "an eight-bit name": [OK, (b"\xe2a", b"c")],
    "LF in a name": [OK, (b"a\n", b"c")],
    "NUL in a value": [OK, (b"a", b"b\0")],
    "CR in a value": [OK, (b"a", b"b\rc")],
    "CR LF in a value": [OK, (b"a", b"b\r\nset-cookie: c")],
    "two lengths": [OK, (b"content-length", b"5"), (b"content-length", b"5")],
    "a list of lengths": [OK, (b"content-length", b"5, 5")],
    "no number": [OK, (b"content-length", b"5x")],
    "too large": [OK, (b"a", b"b" * 4096)],
}


@pytest.mark.parametrize("fields", WRONG.values(), ids=WRONG)
def test_a_wrong_head_is_a_failure_of_the_upstream(fields):
    with pytest.raises(UpstreamFailure) as failure:
        read(fields)
    assert failure.value.kind == "invalid_header"
    assert failure.value.reason.startswith("upstream sent ")
    assert failure.value.reason.isprintable()


def test_fields_about_the_connection_are_dropped():
    names = (b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade", b"te")
    head = read([OK, *((name, b"x") for name in names), (b"a", b"b")])
    assert head.lines == ((b"a", b"a", b"b"),)
    assert (head.upgrade, head.chunked) == (None, False)


def test_values_are_stripped():
    assert read([OK, (b"a", b" b\t")]).get(b"a") == b"b"


def test_repeated_fields_that_count_once_are_dropped_as_in_http1():
    head = read([OK, (b"server", b"a"), (b"server", b"b")])
    assert head.get(b"server") == b"a"
    assert head.ignored == ('upstream sent duplicate header line: "server: b", previous value: "server: a", ignored',)


@pytest.mark.parametrize("status", [100, 103, 204, 304, 404, 599, 999])
def test_any_status_of_three_digits_is_read(status):
    assert read([(b":status", b"%d" % status)]).status == status


def test_a_body_of_unknown_length_ends_with_its_stream():
    assert body_of(read([OK]), b"GET") == (UNTIL_CLOSE, -1)
    assert body_of(read([(b":status", b"304")]), b"GET") == (NONE, 0)


def trailers(fields: Pairs, end_stream: bool = True) -> tuple[tuple[bytes, bytes, bytes], ...]:
    return read_response_trailers(fields, size_of(fields), 4096, end_stream)


def test_trailers_are_kept_without_those_that_frame_or_route():
    sent = [
        (b"grpc-status", b"0"),
        (b"grpc-message", b" a "),
        (b"content-length", b"5"),
        (b"connection", b"x"),
        (b"set-cookie", b"x"),
    ]
    assert trailers(sent) == ((b"grpc-status", b"grpc-status", b"0"), (b"grpc-message", b"grpc-message", b"a"))


@pytest.mark.parametrize(
    ("fields", "end_stream"),
    [
        ([(b"a", b"b")], False),
        ([(b":status", b"200")], True),
        ([(b"a", b"b\n")], True),
        ([(b"a", b"b" * 5000)], True),
        ([(b"a@", b"")], True),
    ],
)
def test_wrong_trailers_are_a_failure(fields, end_stream):
    with pytest.raises(UpstreamFailure):
        trailers(fields, end_stream)


def test_a_name_that_only_heads_may_have_is_not_learnt_for_trailers():
    assert read([OK, (b"a@", b"b")]).get(b"a@") == b"b"
    with pytest.raises(UpstreamFailure):
        trailers([(b"a@", b"b")])


NAMES = st.sampled_from((b":status", b"content-length", b"a", b"set-cookie", b"server", b"te", b"connection")) | st.binary(
    max_size=4
)
VALUES = st.sampled_from((b"200", b"5", b"a", b" b ")) | st.binary(max_size=5)


@given(st.lists(st.tuples(NAMES, VALUES), max_size=6), st.booleans(), st.booleans())
@settings(max_examples=150, deadline=None)
def test_what_passes_can_be_written_in_http1(extra, usual, end_stream):
    try:
        lines = read([OK, *extra] if usual else extra).lines
    except UpstreamFailure as failure:
        assert failure.kind == "invalid_header"
        lines = ()
    try:
        lines += trailers(extra, end_stream)
    except UpstreamFailure as failure:
        assert failure.kind == "invalid_header"
    for lower, name, value in lines:
        assert lower == name == name.lower()
        assert not set(name) & set(b"\0\r\n :\t")
        assert not value.translate(None, VALUE_BYTES)
        assert value.strip(b" \t") == value
        assert lower not in (b"transfer-encoding", b"connection", b"upgrade", b"te")
    assert [lower for lower, _, _ in lines].count(b"content-length") <= 1
