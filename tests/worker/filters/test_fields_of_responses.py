"""What the fields of a response are to filters of bodies."""

from __future__ import annotations

import pytest

from worker.filters.fields import has_type
from wproxy.http import ResponseFields


@pytest.mark.parametrize(
    ("content_type", "types", "is_one"),
    [
        (b"text/x", {b"text/x"}, True),
        (b"Text/X; charset=utf-8", {b"text/x"}, True),
        (b"text/x;charset=utf-8", {b"text/x"}, True),
        # It may have been written so in `types`, and so again for the filter.
        (b"text/x; charset=UTF-8", {b"text/x; charset=utf-8"}, True),
        (b"text/x; charset=koi8-r", {b"text/x; charset=utf-8"}, False),
        (b"text/x; version=1", {b"text/x"}, False),
        (b"text/y", {b"text/x"}, False),
        (b"text/y", None, True),
        (None, {b"text/x"}, False),
        (None, None, True),
    ],
)
def test_a_type_may_bear_its_charset(content_type: bytes | None, types: set[bytes] | None, is_one: bool) -> None:
    fields = ResponseFields(200, content_type=content_type)
    assert has_type(fields, None if types is None else frozenset(types)) is is_one
