"""A location that only returns a constant has its answers ready: they are those that the phases give."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from conversation import Stage
from like_nginx import comparable

Make = Callable[[str], Stage]


def ask(target: str, *fields: str, method: str = "GET") -> bytes:
    """Return a request after which the connection is kept."""
    return "\r\n".join([f"{method} {target} HTTP/1.1", "Host: h", *fields, "", ""]).encode()


# The same `return` twice. A step before the second one makes it go through the phases.
SERVER = """server {
  listen 127.0.0.1:8080;
  add_header X-Own "$status $request_method" always; gzip on; gzip_min_length 0; gzip_types *; client_max_body_size 10;
  error_page 404 =200 /replaced;
  location /ready { return RETURN; }
  location /phase { set $any value; return RETURN; }
  location /replaced { return 200 replaced; }
}"""


# The method, the end of the path, the fields and the body.
REQUESTS: dict[str, tuple[str, str, str, bytes]] = {
    "plain": ("GET", "", "", b""),
    "HEAD": ("HEAD", "", "", b""),
    "extension": ("GET", "/a.html", "", b""),
    "gzip": ("GET", "", "Accept-Encoding: gzip", b""),
    "If-None-Match": ("GET", "", "If-None-Match: *", b""),
    "If-Match": ("GET", "", 'If-Match: "a"', b""),
    "body": ("POST", "", "Content-Length: 3", b"abc"),
    "large body": ("POST", "", "Content-Length: 11", b"abcdefghijk"),
}


def answers(made: Stage, location: str, name: str) -> str:
    """Return a location's answers to two requests in a row on one connection."""
    method, path, field, body = REQUESTS[name]
    client = made.client()
    ends = ("Connection: keep-alive", "Connection: close")
    client.send(b"".join(ask(f"/{location}{path}", end, *filter(None, [field]), method=method) + body for end in ends))
    assert client.is_closed()
    told = comparable(bytes(client.received)).replace(f"/{location}", "/LOCATION")
    client.close()
    return told


@pytest.mark.parametrize(
    "value", ['200 "text"', "200", "204", '404 "not here"', '500 ""', "301 /x", '99 "a"', '200 "$request_method"', "103 x"]
)
@pytest.mark.parametrize("name", REQUESTS)
def test_ready_answers_are_those_of_the_phases(front: Make, value: str, name: str) -> None:
    made = front(SERVER.replace("RETURN", value))
    ready, phases = (answers(made, location, name) for location in ("ready", "phase"))
    assert ready == phases
    assert ready


def test_a_location_that_is_internal_or_limited_has_no_ready_answer(front: Make) -> None:
    made = front(
        "server { listen 127.0.0.1:8080; location /in { internal; return 200 x; } "
        "location /get { return 200 get; limit_except GET { deny all; } } }"
    )
    for path, method, status in (("/in", "GET", b"404"), ("/get", "GET", b"200"), ("/get", "POST", b"403")):
        client = made.client().send(ask(path, "Connection: close", method=method))
        assert client.is_closed()
        assert client.received[9:12] == status, (path, method)


def test_ready_answers_are_not_shared_by_types(front: Make) -> None:
    made = front('server { listen 127.0.0.1:8080; types { text/css css; text/html html; } location / { return 200 "text"; } }')
    client = made.client()
    for path, kind in (("/a.css", b"text/css"), ("/a.html", b"text/html"), ("/a", b"text/plain"), ("/b.css", b"text/css")):
        client.send(ask(path))
        assert b"Content-Type: " + kind + b"\r\n" in client.receives_head()
        client.receives(b"text")


def test_a_slow_client_takes_nothing_from_the_answer_of_others(stage: Callable[..., Stage]):
    text = "0123456789abcdef" * 65536
    s = stage(locations=f'[http.server.location."= /large"]\nreturn = [200, "{text}"]')
    slow = s.client(tcp=True, receive_buffer=4096, send_buffer=4096)
    slow.send_some(ask("/large"))
    s.settle()
    quick = s.client()
    quick.send(ask("/large"))
    for client in (quick, slow):
        s.until(lambda client=client: client.pull_all().endswith(text[-1000:].encode()), "not all has come")
        assert client.take().endswith(b"\r\n\r\n" + text.encode())
