"""Response heads as HTTP/1 clients get them."""

from __future__ import annotations

from worker.http1.write import KEEPALIVE, make_head
from wproxy.http import ResponseFields

FIRST = b"Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n"
SECOND = b"Date: Sun, 06 Nov 1994 08:49:38 GMT\r\n"


def test_a_head_is_kept_with_its_date_line_and_by_variant():
    fields = ResponseFields(200, content_length=5, server=b"s")
    kept = make_head(fields, KEEPALIVE, None, FIRST)
    closing = make_head(fields, 0, None, FIRST)
    assert kept == b"HTTP/1.1 200 OK\r\nServer: s\r\n" + FIRST + b"Content-Length: 5\r\nConnection: keep-alive\r\n\r\n"
    assert closing == kept.replace(b"keep-alive", b"close")
    assert fields.wire == {KEEPALIVE: (kept, FIRST), 0: (closing, FIRST)}


def test_a_later_head_takes_the_place_of_the_one_before():
    fields = ResponseFields(200, content_length=5)
    earlier = make_head(fields, KEEPALIVE, None, FIRST)
    later = make_head(fields, KEEPALIVE, None, SECOND)
    assert later == earlier.replace(FIRST, SECOND)
    assert fields.wire == {KEEPALIVE: (later, SECOND)}


def test_fields_with_a_date_get_no_second_one():
    fields = ResponseFields(200, ((b"Date", b"yesterday"),))
    head = make_head(fields, KEEPALIVE, None, FIRST)
    assert head.count(b"Date: ") == 1
    assert b"\r\nDate: yesterday\r\n" in head
