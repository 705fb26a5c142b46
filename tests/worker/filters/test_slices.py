"""slice: slices are asked for one after the other, and only a complete response looks complete (subrequests.md §6)."""

from __future__ import annotations

import pytest

SLICE = 200_000
WHOLE = bytes(number % 251 for number in range(500_000))
LOCATION = 'slice = "200000"\nproxy_set_header = { Range = "$slice_range" }'


def answer(upstream, begin, body=None, end=None):
    """Receive the request for the slice that begins there, and send it, or what is given of it."""
    asked = f"\r\nRange: bytes={begin}-{begin + SLICE - 1}\r\n".encode()
    assert asked in upstream.receives_head()
    end = min(begin + SLICE, len(WHOLE)) if end is None else end
    head = b"HTTP/1.1 206 Partial Content\r\nContent-Range: bytes %d-%d/%d\r\nContent-Length: %d\r\n\r\n"
    upstream.send(head % (begin, end - 1, len(WHOLE), end - begin))
    upstream.send(WHOLE[begin:end] if body is None else body)


def asked(s, *fields):
    client = s.client().send(b"\r\n".join([b"GET /big HTTP/1.1", b"Host: h", *fields, b"", b""]))
    return client, s.peers[0].accept()


def test_large_slices_follow_each_other_on_one_connection(stage):
    s = stage(location=LOCATION)
    client, upstream = asked(s)
    answer(upstream, 0)
    assert b"\r\nContent-Length: 500000\r\n" in client.receives_head()
    client.receives(WHOLE[:SLICE])
    for begin in range(SLICE, len(WHOLE), SLICE):
        answer(upstream, begin)
        client.receives(WHOLE[begin : begin + SLICE])
    assert s.statuses() == ["200"]
    client.send(b"GET /other HTTP/1.1\r\nHost: h\r\nRange: bytes=399990-400010\r\n\r\n")
    answer(upstream, 200_000)
    assert b"\r\nContent-Range: bytes 399990-400010/500000\r\n" in client.receives_head()
    answer(upstream, 400_000)
    client.receives(WHOLE[399_990:400_011])
    assert s.statuses() == ["200", "206"]


def test_no_slice_is_asked_for_before_its_turn(stage):
    s = stage(location=LOCATION)
    client, upstream = asked(s)
    answer(upstream, 0, body=WHOLE[:1000])
    client.receives_head()
    client.receives(WHOLE[:1000])
    upstream.receives_nothing()
    upstream.send(WHOLE[1000:SLICE])
    assert b"\r\nRange: bytes=200000-399999\r\n" in upstream.receives_head()


def test_the_end_of_a_client_is_the_end_of_its_slices(stage):
    s = stage(location=LOCATION)
    client, upstream = asked(s)
    answer(upstream, 0)
    client.receives_head()
    client.receives(WHOLE[:SLICE])
    answer(upstream, SLICE, body=b"")
    client.reset()
    assert upstream.is_closed()
    assert s.last_access()["wproxy_end_cause"] == "client: closed the connection"


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda upstream: answer(upstream, SLICE, end=300_000), "unexpected range in slice response: 200000-300000, expected"),
        (lambda upstream: (answer(upstream, SLICE, body=b"x" * 9), upstream.close()), "upstream prematurely closed connection"),
        (
            lambda upstream: (
                upstream.receives_head(),
                upstream.send(
                    b"HTTP/1.1 206 P\r\nContent-Range: bytes 200000-399999/500000\r\nContent-Length: 9\r\n\r\n123456789"
                ),
            ),
            "slice response ended 199991 bytes before its range",
        ),
        (
            lambda upstream: (
                upstream.receives_head(),
                upstream.send(
                    b"HTTP/1.1 206 P\r\nContent-Range: bytes 200000-399999/500000\r\nContent-Length: 200001\r\n\r\n"
                    + bytes(200_001)
                ),
            ),
            "slice response is longer than its range by 1 bytes",
        ),
        (
            lambda upstream: (upstream.receives_head(), upstream.send(b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n")),
            "unexpected status code 503 in slice response",
        ),
    ],
)
def test_a_response_with_a_wrong_slice_is_cut(stage, spoil, message):
    s = stage(location=LOCATION)
    client, upstream = asked(s)
    answer(upstream, 0)
    client.receives_head()
    client.receives(WHOLE[:SLICE])
    spoil(upstream)
    assert client.is_closed()
    assert len(client.received) < len(WHOLE) - SLICE
    assert any(message in line for line in s.error_log())


@pytest.mark.parametrize("setting", ["max_ranges = 0", 'sub_filter = [["will never be found", ""]]\nsub_filter_types = "*"'])
def test_a_client_that_gets_the_whole_for_a_part_gets_all_of_it(stage, setting):
    s = stage(location=f"{LOCATION}\n{setting}")
    client, upstream = asked(s, b"Range: bytes=400000-", b"Connection: close")
    answer(upstream, 400_000, body=WHOLE[400_000:400_100])
    assert client.receives_head().startswith(b"HTTP/1.1 200 ")
    assert upstream.is_closed(), "what was asked for is not what comes first"
    upstream = s.peers[0].accept()
    for begin in range(0, len(WHOLE), SLICE):
        answer(upstream, begin)
        s.until(lambda end=begin + SLICE: client.pull_all() and len(client.received) >= min(end, len(WHOLE)), "no slice")
    assert client.is_closed()
    body = bytes(client.received)
    assert body == WHOLE if setting.startswith("max") else len(body) > len(WHOLE)
