"""Range and multipart/byteranges (routing.md §5.5)."""

from __future__ import annotations

import pytest

from wproxy.ranges import Unsatisfiable, frame_parts, next_boundary, parse_ranges, still_holds

MOST = 2**31 - 1


@pytest.mark.parametrize(
    ("value", "parts"),
    [
        (b"bytes=0-0", [(0, 1)]),
        (b"bytes=2-5", [(2, 6)]),
        (b"BYTES= 7 - ", [(7, 10)]),
        (b"bytes=-3", [(7, 10)]),
        (b"bytes=-30", [(0, 10)]),
        (b"bytes=5-99", [(5, 10)]),
        (b"bytes=10-,3-4", [(3, 5)]),
        (b"bytes=-0,3-4", [(3, 5)]),
        (b"bytes=5-3,3-4", [(3, 5)]),
        (b"bytes=0-1,4-5", [(0, 2), (4, 6)]),
        (b"bytes=4-5 , 0-1", [(4, 6), (0, 2)]),
        (b"bytes=0000000000000000000000000001-2", [(1, 3)]),
    ],
)
def test_what_is_there_is_given(value, parts):
    assert parse_ranges(value, 10, MOST, True) == parts


@pytest.mark.parametrize("value", [b"bytes", b"bytes=", b"lines=1-2", b"octets=0-1", b""])
def test_other_units_are_not_understood_and_the_whole_is_sent(value):
    assert parse_ranges(value, 10, MOST, True) is None


@pytest.mark.parametrize(
    "value",
    [
        b"bytes=10-",
        b"bytes=-0",
        b"bytes=5-3",
        b"bytes=0-1,",
        b"bytes=,0-1",
        b"bytes=a-b",
        b"bytes=1",
        b"bytes=- 1",
        b"bytes=--1",
        b"bytes=1-2-3",
        b"bytes=\t1-2",
        b"bytes=1-2;3-4",
        b"bytes=0-99999999999999999999",
        b"bytes=0-" + b"9" * 5000,
        b"bytes=9223372036854775808-",
    ],
)
def test_what_is_not_there_or_not_readable_is_unsatisfiable(value):
    with pytest.raises(Unsatisfiable):
        parse_ranges(value, 10, MOST, True)


def test_of_an_empty_body_the_whole_is_all_there_is():
    assert parse_ranges(b"bytes=0-", 0, MOST, True) is None
    with pytest.raises(Unsatisfiable):
        parse_ranges(b"bytes=1-", 0, MOST, True)


def test_more_parts_than_allowed_or_than_the_whole_are_the_whole():
    assert parse_ranges(b"bytes=0-1,4-5", 10, 1, False) is None
    assert parse_ranges(b"bytes=0-1,4-5", 10, 2, False) == [(0, 2), (4, 6)]
    assert parse_ranges(b"bytes=20-,0-1", 10, 1, False) == [(0, 2)]  # what is not there does not count
    assert parse_ranges(b"bytes=0-9,0-0", 10, 5, False) is None


def test_by_default_parts_with_their_frames_may_not_cost_much_more_than_the_whole():
    few = b"bytes=" + b",".join(b"%d-%d" % (n * 2, n * 2) for n in range(16))
    many = b"bytes=" + b",".join(b"%d-%d" % (n * 2, n * 2) for n in range(18))
    parts = parse_ranges(few, 100, MOST, True)
    assert parts is not None and len(parts) == 16
    assert parse_ranges(many, 100, MOST, True) is None
    allowed = parse_ranges(many, 100, 1000, False)
    assert allowed is not None and len(allowed) == 18


@pytest.mark.parametrize(
    ("value", "holds"),
    [
        (b'"e"', True),
        (b'W/"e"', False),
        (b'"f"', False),
        (b"Sun, 09 Sep 2001 01:46:40 GMT", True),
        (b"Sun, 09 Sep 2001 01:46:41 GMT", False),
        (b"e", False),
        (b"", False),
    ],
)
def test_if_range_wants_exactly_this_body(value, holds):
    assert still_holds(value, b'"e"', 1_000_000_000) is holds


def test_several_parts_are_framed():
    pieces, size = frame_parts([(0, 2), (4, 10)], 10, b"text/plain", b"B")
    assert pieces == [
        b"\r\n--B\r\nContent-Type: text/plain\r\nContent-Range: bytes 0-1/10\r\n\r\n",
        (0, 2),
        b"\r\n--B\r\nContent-Type: text/plain\r\nContent-Range: bytes 4-9/10\r\n\r\n",
        (4, 10),
        b"\r\n--B--\r\n",
    ]
    assert size == sum(len(piece) if isinstance(piece, bytes) else piece[1] - piece[0] for piece in pieces)
    untyped, _ = frame_parts([(0, 2), (4, 10)], 10, b"", b"B")
    assert untyped[0] == b"\r\n--B\r\nContent-Range: bytes 0-1/10\r\n\r\n"


def test_boundaries_are_twenty_digits_and_never_the_same():
    boundaries = {next_boundary() for _ in range(100)}
    assert len(boundaries) == 100
    assert all(len(boundary) == 20 and boundary.isdigit() for boundary in boundaries)
