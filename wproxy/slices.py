"""The slices of a large response (subrequests.md §6; nginx: ngx_http_slice_filter_module.c): which to ask for, and whether an
answer is the slice that was asked for.

Pure values and functions: worker/filters/slices.py fetches slices and sends them.
"""

from __future__ import annotations

import re

from wproxy.conditions import first_range
from wproxy.http import FieldsLike, ResponseFields

_LARGEST = 2**63 - 1
_CONTENT_RANGE = re.compile(rb"bytes  *([0-9]+) *- *([0-9]+) */ *([0-9]+|\*) *\Z").match
_FIRST = re.compile(rb"bytes= *([0-9]+)", re.IGNORECASE).match


class SliceMismatch(Exception):
    """An answer is not the slice that was asked for; the message is nginx's, for the log."""


class Slices:
    """The slices of one response so far. size: that of each; start: the first byte of the next one; wanted: the value of
    `$slice_range` for the last one that was asked for; etag: that of the slices before, None if they had none.
    """

    __slots__ = ("etag", "size", "start", "wanted")

    def __init__(self, size: int, start: int) -> None:
        """start: any byte of the first slice."""
        self.size = size
        self.etag: bytes | None = None
        self.go_to(start)
        self.ask()

    def go_to(self, byte: int) -> None:
        """Go on with the slice that has this byte."""
        self.start = byte - byte % self.size

    def ask(self) -> None:
        """Ask for the next slice from now on."""
        self.wanted = b"bytes=%d-%d" % (self.start, self.start + self.size - 1)

    def take(self, fields: ResponseFields) -> int:
        """Take the answer with these fields as the next slice; return the length of the whole. Raises SliceMismatch."""
        if fields.status != 206:
            raise SliceMismatch(f"unexpected status code {fields.status} in slice response")
        values = {name.lower(): value for name, value in reversed(fields.lines)}
        etag = values.get(b"etag")
        if self.etag and etag != self.etag:
            raise SliceMismatch("etag mismatch in slice response")
        self.etag = etag or self.etag
        begin, end, length = read_content_range(values.get(b"content-range"))
        expected = min(begin + self.size, length)
        if begin != self.start or end != expected:
            expectation = f"expected: {self.start}-{expected}"
            raise SliceMismatch(f"unexpected range in slice response: {begin}-{end}, {expectation}")
        self.start = end
        return length


def read_content_range(value: bytes | None) -> tuple[int, int, int]:
    """Read a Content-Range; return the first byte, the byte after the last, and the length of the whole. Raises SliceMismatch."""
    found = None if value is None else _CONTENT_RANGE(value)
    numbers = None if found is None else [int(digits) for digits in found.groups() if digits != b"*"]
    if numbers is None or max(numbers) > _LARGEST:
        raise SliceMismatch("invalid range in slice response")
    if len(numbers) < 3:
        raise SliceMismatch("no complete length in slice response")
    return numbers[0], numbers[1] + 1, numbers[2]


def first_byte(fields: FieldsLike) -> int:
    """Return the first byte that a request asks for; 0 if it does not ask for one stretch with a known beginning."""
    value = first_range(fields)
    if value is None or len(value) < 7 or b"," in value or fields.get(b"if-range") is not None:
        return 0
    found = _FIRST(value)
    if found is None:
        return 0
    byte = int(found[1])
    return byte if byte <= _LARGEST else 0
