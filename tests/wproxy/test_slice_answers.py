"""Slices: which to ask for, and which answers are taken (subrequests.md §6)."""

from __future__ import annotations

import pytest

from worker.http1.request import RequestFields
from wproxy.http import ResponseFields
from wproxy.slices import SliceMismatch, Slices, first_byte, read_content_range

LARGEST = 2**63 - 1


def asking(**values):
    known = {name.replace("_", "-").encode(): value for name, value in values.items()}
    return RequestFields((), known, b"h", None, -1, False)


@pytest.mark.parametrize(
    ("value", "byte"),
    [
        (b"bytes=0-", 0),
        (b"bytes=25-30", 25),
        (b"BYTES=  25-", 25),
        (b"bytes=25", 25),
        (b"bytes=25-x", 25),
        (b"bytes=-5", 0),
        (b"bytes=1-2,25-", 0),
        (b"bytes = 25-", 0),
        (b"lines=25-", 0),
        (b"bytes=x", 0),
        (b"bytes=", 0),
        (b"bytes=%d-" % LARGEST, LARGEST),
        (b"bytes=%d-" % (LARGEST + 1), 0),
    ],
)
def test_the_first_slice_has_the_first_byte_that_is_asked_for(value, byte):
    assert first_byte(asking(range=value)) == byte
    assert first_byte(asking(range=value, if_range=b'"a"')) == 0


def answered(content_range, etag=b'"a"', status=206):
    lines = [(b"Content-Range", content_range)] if content_range else []
    return ResponseFields(status, (*lines, *([(b"ETag", etag)] if etag else [])))


def test_slices_follow_each_other_to_the_end():
    slices = Slices(10, 25)
    assert slices.wanted == b"bytes=20-29"
    assert slices.take(answered(b"bytes 20-29/35")) == 35
    assert slices.start == 30 and slices.wanted == b"bytes=20-29"
    slices.ask()
    assert slices.wanted == b"bytes=30-39"
    assert slices.take(answered(b"bytes 30-34/35")) == 35
    assert slices.start == 35


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (answered(b"bytes 10-19/35", status=200), "unexpected status code 200 in slice response"),
        (answered(b"bytes 10-19/35", b'"b"'), "etag mismatch in slice response"),
        (answered(b"bytes 10-19/35", b""), "etag mismatch in slice response"),
        (answered(b""), "invalid range in slice response"),
        (answered(b"bytes */35"), "invalid range in slice response"),
        (answered(b"bytes 10-19/*"), "no complete length in slice response"),
        (answered(b"bytes 0-9/35"), "unexpected range in slice response: 0-10, expected: 10-10"),
        (answered(b"bytes 10-20/35"), "unexpected range in slice response: 10-21, expected: 10-20"),
        (answered(b"bytes 10-18/35"), "unexpected range in slice response: 10-19, expected: 10-20"),
        (answered(b"bytes 10-19/9"), "unexpected range in slice response: 10-20, expected: 10-9"),
    ],
)
def test_another_answer_is_not_taken_for_a_slice(fields, message):
    slices = Slices(10, 0)
    slices.take(answered(b"bytes 0-9/35"))
    with pytest.raises(SliceMismatch) as caught:
        slices.take(fields)
    assert str(caught.value) == message
    assert slices.start == 10


def test_slices_without_an_etag_may_get_one():
    slices = Slices(10, 0)
    slices.take(answered(b"bytes 0-9/35", b""))
    slices.take(answered(b"bytes 10-19/35", b'"a"'))
    with pytest.raises(SliceMismatch):
        slices.take(answered(b"bytes 20-29/35", b""))


@pytest.mark.parametrize(
    "value",
    [
        b"bytes",
        b"bytes 1-2",
        b"bytes 1-2/",
        b"bytes 1-2/3x",
        b"Bytes 1-2/3",
        b"bytes -2/3",
        b"bytes 1-2/%d" % (LARGEST + 1),
        None,
    ],
)
def test_a_content_range_that_cannot_be_read_is_invalid(value):
    with pytest.raises(SliceMismatch, match=r"^invalid range"):
        read_content_range(value)


def test_a_content_range_may_have_blanks():
    assert read_content_range(b"bytes   1 - 2 / 3 ") == (1, 3, 3)
