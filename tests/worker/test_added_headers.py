"""What add_header, add_trailer and expires make of responses on the wire; the heads are what nginx 1.22.1 sent."""

from __future__ import annotations

import re

import pytest
from conversation import SERVER, get

from wproxy.address import Address
from wproxy.config.load import load_text

LOCATIONS = """
[http.server.location]
"/err" = { expires = "1h", add_header = [["X-One", "1"], ["X-Two", "two", "always"]], return = 404 }
"/redirect" = { expires = "epoch", add_header = [["X-One", "1"]], return = [[301, "/x"]] }
"/elsewhere" = { add_header = [["X-One", "1"]], return = [[302, "http://a/x"]] }
"/text" = { add_header = [["X-One", "$uri"], ["X-Status", "$status"]], return = [[200, "hi"]] }
"/nothing" = { add_header = [["X-One", "1"]], return = 204 }
"/trailer" = { add_trailer = [["X-T", "t"], ["X-Status", "$status"]], return = [[200, "hi"]] }
"/trailer404" = { add_trailer = [["X-T", "t"]], return = 404 }
"/tokens" = { server_tokens = false, return = 404 }
"/chrome" = { return = 404 }
"/unpadded" = { msie_padding = false, return = 404 }
"""
PROXY = """
expires = "max"
add_header = [["X-One", "1"], ["ETag", '"mine"'], ["X-Uri", "$uri"], ["X-Two", "2", "always"]]
add_trailer = [["X-T", "$upstream_status"]]
"""


@pytest.fixture
def s(stage):
    return stage(locations=LOCATIONS, location=PROXY)


def fields(head: bytes) -> list[bytes]:
    """The lines of a head after Server and Date, with the lengths of pages made the same."""
    lines = re.sub(rb"Content-Length: [0-9]{3}", b"Content-Length: N", head).split(b"\r\n")
    assert lines[1:3] == [b"Server: " + SERVER, b"Date: now"]
    assert lines[-2:] == [b"", b""]
    return [lines[0], *lines[3:-2]]


@pytest.mark.parametrize("method", [b"GET", b"HEAD"])
@pytest.mark.parametrize(
    ("target", "expected"),
    [
        (b"/err", b"HTTP/1.1 404 Not Found|Content-Type: text/html|Content-Length: N|Connection: close|X-Two: two"),
        (
            b"/redirect",
            b"HTTP/1.1 301 Moved Permanently|Content-Type: text/html|Content-Length: N|Location: http://front:8080/x|"
            b"Connection: close|Expires: Thu, 01 Jan 1970 00:00:01 GMT|Cache-Control: no-cache|X-One: 1",
        ),
        (
            b"/elsewhere",
            b"HTTP/1.1 302 Moved Temporarily|Content-Type: text/html|Content-Length: N|Connection: close|"
            b"Location: http://a/x|X-One: 1",
        ),
        (b"/text", b"HTTP/1.1 200 OK|Content-Type: text/plain|Content-Length: 2|Connection: close|X-One: /text|X-Status: 200"),
        (b"/nothing", b"HTTP/1.1 204 No Content|Connection: close|X-One: 1"),
    ],
)
def test_the_order_of_fields_is_nginx_s(s, method, target, expected):
    client = s.client()
    client.send(get(target, b"Connection: close", host=b"front").replace(b"GET", method, 1))
    assert fields(client.receives_head()) == expected.split(b"|")
    assert client.is_closed()


def test_a_refused_request_gets_what_is_for_always(stage):
    s = stage(http='add_header = [["X-One", "1"], ["X-Two", "2", "always"]]')
    client = s.client()
    client.send(b"nonsense\r\n\r\n")
    assert fields(client.receives_head())[-2:] == [b"Connection: close", b"X-Two: 2"]


def proxied(s, answer: bytes, request: bytes) -> tuple[list[bytes], bytes]:
    """The fields of the head, and the body, that the client gets for this answer of the upstream."""
    client = s.client()
    client.send(request)
    upstream = s.peers[0].accept()
    upstream.receives_head()
    upstream.send(answer)
    head = client.receives_head()
    return fields(head), client.take()


def test_a_proxied_response_has_its_own_lines_before_those_that_are_added(s):
    answer = b'HTTP/1.1 200 OK\r\nX-First: f\r\nETag: "up"\r\nContent-Type: a/b\r\nContent-Length: 2\r\n\r\nhi'
    lines, body = proxied(s, answer, get(b"/p", version=b"1.0"))
    assert lines == [
        b"HTTP/1.1 200 OK",
        b"Content-Type: a/b",
        b"Content-Length: 2",
        b"Connection: close",
        b"X-First: f",
        b'ETag: "mine"',
        b"Expires: Thu, 31 Dec 2037 23:55:55 GMT",
        b"Cache-Control: max-age=315360000",
        b"X-One: 1",
        b"X-Uri: /p",
        b"X-Two: 2",
    ]
    assert body == b"hi"


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
    ],
)
def test_a_trailer_comes_after_the_last_chunk(s, answer):
    lines, body = proxied(s, answer, get(b"/p"))
    assert lines[1:3] == [b"Transfer-Encoding: chunked", b"Connection: keep-alive"]
    assert body == b"2\r\nhi\r\n0\r\nX-T: 200\r\n\r\n"


def test_a_trailer_comes_after_a_body_that_comes_in_pieces(s):
    client = s.client()
    client.send(get(b"/p"))
    upstream = s.peers[0].accept()
    upstream.receives_head()
    upstream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nhi")
    client.receives_head()
    client.receives(b"2\r\nhi\r\n")
    upstream.send(b"ho")
    client.receives(b"2\r\nho\r\n0\r\nX-T: 200\r\n\r\n")
    assert s.last_access()["body_bytes_sent"] == "29"
    assert client.is_open()


def test_a_trailer_makes_chunks_of_a_whole_body_too(s):
    client = s.client()
    client.send(get(b"/trailer"))
    assert fields(client.receives_head())[-2:] == [b"Transfer-Encoding: chunked", b"Connection: keep-alive"]
    client.receives(b"2\r\nhi\r\n0\r\nX-T: t\r\nX-Status: 200\r\n\r\n")
    client.send(get(b"/trailer404"))
    assert b"Content-Length: N" in fields(client.receives_head())


def test_a_line_break_in_a_value_is_a_500_and_the_upstream_is_given_up(s):
    client = s.client()
    client.send(get(b"/a%0d%0aSet-Cookie:x=y"))
    upstream = s.peers[0].accept()
    upstream.receives_head()
    upstream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 40\r\n\r\nhi")
    lines = fields(client.receives_head())
    assert lines[0] == b"HTTP/1.1 500 Internal Server Error"
    assert not any(b"Cookie" in line for line in lines)
    assert upstream.is_closed()
    assert client.is_closed()


@pytest.mark.parametrize(("agent", "target", "more"), [
    (b"Chrome/1", b"/chrome", 402), (b"MSIE 7.0", b"/chrome", 402), (b"curl", b"/chrome", 0), (b"Chrome/1", b"/unpadded", 0),
])  # fmt: skip
def test_error_pages_are_padded_for_browsers_that_hide_short_ones(s, agent, target, more):
    client = s.client()
    client.send(get(target, b"User-Agent: " + agent))
    head = client.receives_head()
    body = client.take()
    assert b"Content-Length: %d" % len(body) in head
    assert len(body) == 146 - len(b"nginx") + len(SERVER) + more


def test_without_tokens_nothing_tells_the_version(s):
    client = s.client()
    client.send(get(b"/tokens"))
    name = SERVER.partition(b"/")[0]
    assert b"\r\nServer: " + name + b"\r\n" in client.receives_head()
    assert b"<hr><center>" + name + b"</center>" in client.take()


# Inheritance (routing.md §1.4)


@pytest.mark.parametrize(
    ("http", "server", "location", "names"),
    [
        ("", "", "", "H"),
        ("", "S", "", "S"),
        ("", "S", "L", "L"),
        ("merge", "S", "L", "LSH"),
        ("", "merge S", "L", "LSH"),
        ("", "merge", "L", "LH"),
        ("", "S", "merge L", "LS"),
        ("", "merge S", "", "SH"),
        ("", "merge S", "on L", "L"),
        ("", "S", "off", ""),
        ("", "off", "L", "L"),
        ("", "off S", "", ""),
        ("off", "S", "merge L", "LS"),
    ],
)
def test_what_is_added_where_blocks_nest(http, server, location, names):
    def lines(words: str) -> str:
        modes = [word for word in words.split() if word.islower()]
        items = [word for word in words.split() if word.isupper()]
        written = [f'add_header_inherit = "{mode}"' for mode in modes]
        if items:
            written.append("add_header = [" + ", ".join(f'["{item}", "x"]' for item in items) + "]")
        return "\n".join(written)

    text = f"""
[http]
{lines(http + " H")}
[[http.server]]
listen = 8080
{lines(server)}
[http.server.location."/"]
{lines(location)}
"""
    configuration = load_text(text.encode(), "wproxy.toml", "/", lambda host, port: [Address(host, port)])
    found = next(place for place in configuration.servers[0].each_location() if place.pattern == "/")
    assert "".join(item.name.decode() for item in found.add_header) == names
