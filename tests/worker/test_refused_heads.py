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


def test_the_host_in_its_line_comes_before_its_own_host(front: Make) -> None:
    s = front(SERVERS)
    client = s.client().send(b"GET http://other/a HTTP/1.1\r\nHost: first\r\nX-A: b\r\nBad Name: x\r\n\r\n")
    answer = client.take()
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"\r\nX-Of: other\r\n" in answer
    assert answer.endswith(b"\r\n\r\nother")


def test_a_refused_head_behind_a_good_request_counts_only_itself(front: Make) -> None:
    refused = b"GET /a HTTP/1.1\r\nX-A: b\r\n\r\n"
    s = front(SERVERS + "server { listen 127.0.0.1:8080; server_name good; location / { return 200 good; } }")
    client = s.client().send(get(b"/", host=b"good") + refused + get(b"/b", host=b"other"))
    answer = client.take()
    assert b"\r\n\r\ngoodHTTP/1.1 400 " in answer
    assert answer.endswith(b"\r\n\r\nfirst")
    assert s.last_access()["request_length"] == str(len(refused))


@pytest.mark.parametrize(
    ("refused", "has_chunks"),
    [
        (b"GET / HTTP/1.0\r\nBad Name: x\r\n\r\n", False),
        (b"GET /%zz HTTP/1.0\r\n\r\n", False),
        (b"GET http://h/%zz HTTP/1.0\r\n\r\n", False),
        (b"TRACE / HTTP/1.0\r\n\r\n", False),
        (b"get / HTTP/1.0\r\n\r\n", False),
        (b"get / HTTP/1.1\r\n\r\n", False),  # the line is not read beyond its fault
        (b"GET / HTTP/0.9\r\n\r\n", False),
        (b"GET / HTTP/2.0\r\n\r\n", False),
        (b"GET /\r\n\r\n", False),
        (b"GET / x HTTP/1.1\r\n\r\n", False),
        (b"\x16\x03\x01\r\n\r\n", False),
        (b"GET /" + b"a" * 20000 + b" HTTP/1.1\r\n\r\n", False),
        (b"GET /%zz HTTP/1.1\r\n\r\n", True),
        (b"GET http://h/%zz HTTP/1.1\r\n\r\n", True),
        (b"TRACE / HTTP/1.1\r\nHost: h\r\n\r\n", True),
        (b"GET / HTTP/1.1\r\nX-No-Host: x\r\n\r\n", True),
    ],
)
def test_a_refusal_comes_in_chunks_only_for_a_line_that_names_a_version_with_chunks(
    front: Make, refused: bytes, has_chunks: bool
) -> None:
    s = front(
        "server { listen 127.0.0.1:8080; error_page 400 405 414 505 /page;"
        " location = /page { sub_filter page this; sub_filter_types *; return 200 page; } }"
    )
    client = s.client().send(refused)
    head, _, body = client.take().partition(b"\r\n\r\n")
    assert (b"\r\nTransfer-Encoding: chunked" in head) == has_chunks
    assert body == (b"4\r\nthis\r\n0\r\n\r\n" if has_chunks else b"this")
    assert b"\r\nConnection: close" in head
    assert client.is_closed()
