"""Whether a connection is kept, and for how long, is for the location to say that a request is answered in."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from conversation import End, Stage, get

Make = Callable[[str], Stage]

SHORT = "location /short { keepalive_timeout 5s; return 200 short; }"
NEVER = "location /never { keepalive_timeout 0; return 200 never; }"
ONCE = "location /once { keepalive_requests 1; return 200 once; }"
WAYS = {
    "directly": "{} location / {{ return 200 root; }}",
    "after the server's steps": "set $a b; {} location / {{ return 200 root; }}",
    "after a rewrite of the server": "rewrite ^/to(/.*)$ $1; {} location / {{ return 200 root; }}",
    "after a rewrite of a location": "location /to {{ rewrite ^/to(/.*)$ $1 last; }} {} location / {{ return 200 root; }}",
    "by an error page": "location /to {{ error_page 404 =200 $arg_to; return 404; }} {} location / {{ return 200 root; }}",
}


def target(way: str, path: bytes) -> bytes:
    if way == "by an error page":
        return b"/to?to=" + path
    return path if way in ("directly", "after the server's steps") else b"/to" + path


@pytest.mark.parametrize("way", WAYS)
def test_keepalive_timeout_is_that_of_the_location_that_answers(front: Make, way: str) -> None:
    s = front(f"server {{ listen 127.0.0.1:8080; keepalive_timeout 60s; {WAYS[way].format(SHORT)} }}")
    client = s.client()
    for _ in range(2):
        client.send(get(target(way, b"/short")))
        assert b"\r\n\r\nshort" in client.take()
        s.advance(4)
    assert client.is_open()
    client.send(get(target(way, b"/short")) + get(b"/"))  # and that of the next one is its own
    assert client.take().endswith(b"root")
    s.advance(30)
    assert client.is_open()
    client.send(get(target(way, b"/short")))
    client.take()
    s.advance(6)
    assert client.is_closed()


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("location", "path"), [(NEVER, b"/never"), (ONCE, b"/once")])
def test_a_location_that_keeps_no_connection_says_close(front: Make, way: str, location: str, path: bytes) -> None:
    s = front(f"server {{ listen 127.0.0.1:8080; keepalive_timeout 60s; {WAYS[way].format(location)} }}")
    client = s.client().send(get(target(way, path)))
    assert b"\r\nConnection: close\r\n" in client.take()
    assert client.is_closed()


def test_steps_of_a_server_without_keepalive_do_not_decide_for_its_locations(front: Make) -> None:
    s = front(f"server {{ listen 127.0.0.1:8080; keepalive_timeout 0; set $a b; {SHORT} if ($arg_r) {{ return 200 server; }} }}")
    client = s.client().send(get(b"/short"))
    assert b"\r\nConnection: keep-alive\r\n" in client.take()
    s.advance(4)
    assert client.is_open()
    client.send(get(b"/short?r=1"))
    assert b"\r\nConnection: close\r\n" in client.take()
    assert client.is_closed()


def test_the_same_head_that_leads_elsewhere_once_has_its_own_time_again(stage: Callable[..., Stage]) -> None:
    s = stage(
        server='keepalive_timeout = "60s"\nerror_page = [["502", "=200", "/down"]]',
        locations='[http.server.location."/down"]\nkeepalive_timeout = "5s"\nreturn = [200, "down"]',
    )
    client = s.client().send(get(b"/"))
    s.peers[0].accept().send(b"nonsense\r\n\r\n").close()
    assert client.take().endswith(b"down")
    s.advance(11)
    assert client.is_closed()
    client = s.client().send(get(b"/"))
    s.peers[0].accept().send(b"nonsense\r\n\r\n").close()
    assert client.take().endswith(b"down")
    s.advance(3)
    client.send(get(b"/"))
    s.peers[0].accept().send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nup")
    assert client.take().endswith(b"up")
    s.advance(30)
    assert client.is_open()


def test_heads_that_differ_in_values_are_kept_as_each_one_says(front: Make) -> None:
    """The browsers of keepalive_disable are looked up in each request, and so are its version and its location."""
    text = f"keepalive_timeout 60s; {SHORT} location /not-safari {{ keepalive_disable safari; return 200 browsers; }} return 200 root;"
    s = front(f"server {{ listen 127.0.0.1:8080; {text} }}".replace("return 200 root;", "location / { return 200 root; }"))

    def asked(client: End, number: int, path: bytes = b"/", method: bytes = b"GET", version: bytes = b"HTTP/1.1") -> bytes:
        agent = b"(Macintosh; Intel Mac OS X) Safari/%d" % number if number > 90 else b"%d" % number
        lines = b"User-Agent: %b\r\nCookie: a=%d" % (agent, number)
        client.send(b"%b %b %b\r\nHost: a\r\n%b\r\n\r\n" % (method, path, version, lines))
        return client.take()

    for last in ((91, b"/not-safari"), (9, b"/", b"GET", b"HTTP/1.0")):
        client = s.client()
        for number in range(5):
            assert b"\r\nConnection: keep-alive\r\n" in asked(client, number)
        assert b"\r\nConnection: keep-alive\r\n" in asked(client, 6, b"/not-safari")
        assert b"\r\nConnection: keep-alive\r\n" in asked(client, 91)
        assert b"\r\nConnection: close\r\n" in asked(client, *last)
        assert client.is_closed()
    client = s.client()
    for number in range(5):
        asked(client, number)
    asked(client, 6, b"/short")
    s.advance(4)
    asked(client, 7)
    s.advance(30)
    asked(client, 8, b"/short")
    s.advance(6)
    assert client.is_closed()
