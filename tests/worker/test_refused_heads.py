"""A head that is refused speaks for itself: nothing of the requests that came behind it counts."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from conversation import Stage, get

Make = Callable[[str], Stage]

SERVERS = """
server { listen 127.0.0.1:8080; server_name first; error_page 400 /page; location = /page { return 200 first; } }
server { listen 127.0.0.1:8080; server_name other; error_page 400 /page; add_header X-Of other always; location = /page { return 200 other; } }
"""


@pytest.mark.parametrize("blank", [b"\r\n", b"\n"], ids=["CRLF", "LF"])
@pytest.mark.parametrize("before", [b"", b"\r\n"], ids=["", "an empty line before"])
def test_the_server_of_a_refused_head_is_not_that_of_the_request_behind_it(front: Make, blank: bytes, before: bytes) -> None:
    refused = b"GET /a HTTP/1.1\r\nX-A: b\r\n" + blank
    s = front(SERVERS)
    client = s.client().send(before + refused + get(b"/b", host=b"other"))
    answer = client.take()
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert answer.endswith(b"\r\n\r\nfirst")
    assert b"X-Of" not in answer
    assert client.is_closed()
    (access,) = s.access_log()
    assert access["request"] == "GET /a HTTP/1.1"
    assert access["request_length"] == str(len(refused))


def test_its_own_host_counts(front: Make) -> None:
    s = front(SERVERS)
    client = s.client().send(get(b"/a", b"Host: again", host=b"other") + get(b"/b", host=b"first"))
    assert client.take().endswith(b"\r\n\r\nother")
    assert client.is_closed()


def test_a_refused_head_behind_a_good_request_counts_only_itself(front: Make) -> None:
    refused = b"GET /a HTTP/1.1\r\nX-A: b\r\n\r\n"
    s = front(SERVERS + "server { listen 127.0.0.1:8080; server_name good; location / { return 200 good; } }")
    client = s.client().send(get(b"/", host=b"good") + refused + get(b"/b", host=b"other"))
    answer = client.take()
    assert b"\r\n\r\ngoodHTTP/1.1 400 " in answer
    assert answer.endswith(b"\r\n\r\nfirst")
    assert s.last_access()["request_length"] == str(len(refused))
