"""Where a body ends: each is fed whole, byte by byte and with trailing bytes, and the payload is the same."""

from __future__ import annotations

import pytest

from worker.http1.chunked import BodyTooLarge, ChunkError
from worker.http1.framing import ENDLESS, Framing
from worker.http1.response import CHUNKED, LENGTH, UNTIL_CLOSE

BODIES = [
    pytest.param(LENGTH, 5, b"hello", b"hello", id="length"),
    pytest.param(CHUNKED, 0, b"2\r\nhe\r\n3;x=y\r\nllo\r\n0\r\nA: b\r\n\r\n", b"hello", id="chunks"),
]


@pytest.mark.parametrize("trailing", [b"", b"GET / HTTP/1.1\r\n"])
@pytest.mark.parametrize("step", [1, 3, 1000])
@pytest.mark.parametrize(("kind", "length", "wire", "payload"), BODIES)
def test_the_payload_is_the_same_however_it_comes_and_what_follows_is_left_over(kind, length, wire, payload, step, trailing):
    framing = Framing(kind, length)
    found = b""
    data = wire + trailing
    while data and not framing.finished:
        found += framing.feed(data[:step])
        data = data[step:]
    assert framing.finished
    assert found == payload
    assert framing.received == len(payload)
    assert framing.leftover + data == trailing
    assert framing.trailers == (((b"A", b"b"),) if kind == CHUNKED else ())


@pytest.mark.parametrize(("kind", "length", "wire", "payload"), BODIES)
def test_a_connection_that_ends_early_ends_no_such_body(kind, length, wire, payload):
    framing = Framing(kind, length)
    framing.feed(wire[:-1])
    assert not framing.end()
    assert not framing.finished


def test_a_body_without_length_ends_with_its_connection():
    framing = Framing(UNTIL_CLOSE)
    assert framing.feed(b"as much as it likes") == b"as much as it likes"
    assert not framing.finished
    assert framing.unframed == ENDLESS - 19
    assert framing.end() and framing.finished


def test_bytes_that_the_kernel_moves_count():
    framing = Framing(LENGTH, 10)
    framing.feed(b"abc")
    assert framing.unframed == 7
    framing.moved(6)
    assert (framing.received, framing.unframed, framing.finished) == (9, 1, False)
    framing.moved(1)
    assert (framing.received, framing.unframed, framing.finished) == (10, 0, True)


def test_nothing_in_chunks_is_without_frames():
    assert Framing(CHUNKED).unframed == 0


def test_a_body_of_no_bytes_ends_at_once():
    framing = Framing(LENGTH, 0)
    assert framing.feed(b"") == b"" and framing.finished


def test_bad_chunks_and_too_many_of_them_are_told():
    with pytest.raises(ChunkError):
        Framing(CHUNKED).feed(b"x\r\n")
    framing = Framing(CHUNKED)
    framing.limit = 4
    with pytest.raises(BodyTooLarge):
        framing.feed(b"5\r\nhello\r\n")
