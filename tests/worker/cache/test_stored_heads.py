"""The heads of stored responses, read again."""

from __future__ import annotations

import pytest

from worker.cache.heads import CannotRead, read_stored_head


@pytest.mark.parametrize(
    ("head", "body", "length"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\n", 5, 5),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", 5, 5),
        (b"HTTP/1.1 404 No\r\nContent-Length: 5\r\n\r\n", 5, 5),
        # A 304 tells the length of another response, or none.
        (b"HTTP/1.1 304 Not Modified\r\n\r\n", 0, -1),
        (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n", 0, 9),
    ],
)
def test_a_stored_response_has_the_length_of_its_body(head, body, length):
    assert read_stored_head("proxy", head, body).content_length == length


@pytest.mark.parametrize("head", [b"", b"HTTP/1.1 200 OK\r\n", b"nonsense\r\n\r\n"])
def test_what_is_no_head_is_told(head):
    with pytest.raises(CannotRead):
        read_stored_head("proxy", head, 0)
