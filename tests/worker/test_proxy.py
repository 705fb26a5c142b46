"""proxy_pass as both sides see it: heads, bodies, retries, health, balancing, the pool and the timers (proxy.md)."""

from __future__ import annotations

import re
import socket
import struct

import pytest
from conversation import End, Mismatch, Peer, SilentPeer, Stage, chunks, error_page, get, ok, post, refusal, sent_up, to_client

from worker.stream import HEAD_CHUNK, SMALL_CHUNK
from worker.upstream.protocols.http1 import LARGE_CHUNK

CHUNKED = b"Transfer-Encoding: chunked"


def exchange(
    s: Stage, client: End, upstream: End | None, request: bytes = get(), expected: bytes | None = sent_up(), peer: int = 0
) -> End:
    """One request answered with `ok`, over the connection given or a new one; returns the upstream connection."""
    client.send(request)
    if upstream is None:
        upstream = s.peers[peer].accept()
    if expected is None:
        upstream.receives_head()
    else:
        upstream.receives(expected)
    upstream.send(ok())
    client.receives(to_client())
    return upstream


class Pool:
    """Peers that answer whatever comes with `ok`, whoever gets it."""

    def __init__(self, s: Stage) -> None:
        self.s = s
        self.ends: dict[int, list[End]] = {}

    def serve(self) -> int:
        """Answer the one request that is under way; the number of its peer."""

        def find() -> tuple[int, End] | None:
            for number, peer in enumerate(self.s.peers):
                try:
                    accepted = peer._try_accept()
                except OSError:
                    continue  # does not listen
                if accepted is not None:
                    self.ends.setdefault(number, []).append(End(self.s, accepted, f"upstream {number}"))
                for end in self.ends.get(number, ()):
                    if b"\r\n\r\n" in end.pull():
                        return number, end
            return None

        number, end = self.s.until(find, "no peer received a request")
        end.received.clear()
        end.send(ok())
        return number

    def order(self, client: End, count: int) -> str:
        """Which peers answer so many requests one after another, as letters."""
        letters = ""
        for _ in range(count):
            client.send(get())
            letters += "abcdefgh"[self.serve()]
            client.receives(to_client())
        return letters


# The request head (proxy.md §1.3).


def test_a_plain_proxy_pass(stage):
    s = stage()
    upstream = exchange(
        s,
        s.client(),
        None,
        get(b"/a?b=c", b"User-Agent: x", b"accept:  */*  "),
        sent_up(b"/a?b=c", b"User-Agent: x", b"accept: */*"),
    )
    assert upstream.is_open()


def test_the_order_is_host_then_what_is_set_then_framing_then_the_clients_own(stage):
    s = stage(location='proxy_set_header = { X-Second = "2", Host = "$host", X-First = "1" }')
    client = s.client()
    client.send(get(b"/", b"A: 1", b"Content-Length: 2", b"B: 2", host=b"H.example:81", method=b"POST") + b"hi")
    s.peers[0].accept().receives(
        b"POST / HTTP/1.1\r\nHost: h.example\r\nX-Second: 2\r\nX-First: 1\r\nContent-Length: 2\r\nA: 1\r\nB: 2\r\n\r\nhi"
    )


@pytest.mark.parametrize(
    ("template", "host"),
    [
        ("$host", b"front.example"),
        ("$http_host", b"Front.Example:8080"),
        ("$proxy_host", b"app"),
        ("fixed", b"fixed"),
        ("", b"app"),
        ("$arg_none", b"app"),
    ],
)
def test_host(stage, template, host):
    s = stage(location=f'proxy_set_header = {{ Host = "{template}" }}')
    client = s.client()
    client.send(get(host=b"Front.Example:8080"))
    s.peers[0].accept().receives(sent_up(host=host))


def test_the_default_host_of_an_address_names_its_port(stage):
    peer = Peer()
    s = stage(peers=[peer], locations=f'[http.server.location."/direct"]\nproxy_pass = "http://{peer.name}"')
    client = s.client()
    client.send(get(b"/direct"))
    peer.accept().receives(sent_up(b"/direct", host=peer.name.encode()))


def test_the_default_host_of_a_unix_socket_is_localhost(stage, tmp_path):
    peer = Peer(f"{tmp_path}/up.sock")
    s = stage(peers=[peer], locations=f'[http.server.location."/direct/"]\nproxy_pass = "http://unix:{tmp_path}/up.sock:/u/"')
    client = s.client()
    exchange(s, client, None, get(b"/direct/x"), sent_up(b"/u/x", host=b"localhost"))
    assert s.last_access()["upstream_addr"] == f"unix:{tmp_path}/up.sock"


def test_an_empty_value_removes_the_field(stage):
    s = stage(location='proxy_set_header = { Accept-Encoding = "", X-Gone = "$arg_gone", X-Here = "$arg_here" }')
    client = s.client()
    client.send(get(b"/?here=1", b"Accept-Encoding: gzip", b"X-Gone: from the client", b"X-HERE: from the client", b"A: 1"))
    s.peers[0].accept().receives(sent_up(b"/?here=1", b"X-Here: 1", b"A: 1"))


def test_a_field_may_be_set_twice(stage):
    s = stage(location='proxy_set_header = { X = [["a"], ["b"]], x = "c" }')
    client = s.client()
    client.send(get(b"/", b"X: d"))
    s.peers[0].accept().receives(sent_up(b"/", b"X: a", b"X: b", b"x: c"))


def test_fields_of_the_outer_level_are_lost_where_one_is_set(stage):
    s = stage(
        server='proxy_set_header = { X-Outer = "o" }',
        locations='[http.server.location."/inner"]\nproxy_pass = "http://app"\nproxy_set_header = { X-Inner = "i" }',
    )
    client = s.client()
    upstream = exchange(s, client, None, get(), sent_up(b"/", b"X-Outer: o"))
    exchange(s, client, upstream, get(b"/inner"), sent_up(b"/inner", b"X-Inner: i"))


@pytest.mark.parametrize(
    "field",
    [
        b"Connection: x",
        b"Proxy-Connection: x",
        b"Keep-Alive: x",
        b"TE: trailers",
        b"Expect: x",
        b"Upgrade: x",
        b"HTTP2-Settings: x",
        b"Proxy: x",
    ],
    ids=repr,
)
def test_what_is_always_dropped(stage, field):
    s = stage()
    exchange(s, s.client(), None, get(b"/", b"A: 1", field, b"B: 2"), sent_up(b"/", b"A: 1", b"B: 2"))


@pytest.mark.parametrize(
    "name", [b"Trailer", b"Proxy-Authorization", b"Accept-Encoding", b"Via", b"Range", b"If-None-Match", b"Cookie"]
)
def test_what_passes(stage, name):
    s = stage()
    exchange(s, s.client(), None, get(b"/", name + b": x"), sent_up(b"/", name + b": x"))


def test_repeated_fields_pass_in_their_order(stage):
    s = stage()
    fields = (b"X: 1", b"Y: 2", b"X: 3", b"Cookie: a=1", b"Cookie: b=2")
    exchange(s, s.client(), None, get(b"/", *fields), sent_up(b"/", *fields))


def test_dropped_fields_may_be_set(stage):
    s = stage(location='proxy_set_header = { Connection = "close", Upgrade = "$http_upgrade", TE = "trailers" }')
    client = s.client()
    client.send(get(b"/", b"Upgrade: h", b"Connection: upgrade"))
    s.peers[0].accept().receives(sent_up(b"/", b"Connection: close", b"Upgrade: h", b"TE: trailers"))


def test_what_the_client_says_of_itself_is_replaced(stage):
    s = stage(location='proxy_set_header = { X-Real-IP = "$remote_addr", X-Forwarded-For = "$proxy_add_x_forwarded_for" }')
    client = s.client()
    client.send(
        get(b"/", b"x-real-ip: 6.6.6.6", b"X-FORWARDED-FOR: 1.1.1.1", b"A: b", b"X-Forwarded-For: 2.2.2.2", b"X-Real-IP: 7.7.7.7")
    )
    s.peers[0].accept().receives(sent_up(b"/", b"X-Real-IP: 127.0.0.1", b"X-Forwarded-For: 1.1.1.1, 2.2.2.2, 127.0.0.1", b"A: b"))


def test_proxy_pass_request_headers_off(stage):
    s = stage(location='proxy_pass_request_headers = false\nproxy_set_header = { X = "y" }')
    client = s.client()
    client.send(get(b"/", b"A: 1", b"Content-Length: 2", method=b"PUT") + b"hi")
    s.peers[0].accept().receives(sent_up(b"/", b"X: y", b"Content-Length: 2", method=b"PUT") + b"hi")


def test_http_1_0_upstream(stage):
    s = stage(location='proxy_http_version = "1.0"')
    client = s.client()
    client.send(get(b"/", b"A: 1"))
    upstream = s.peers[0].accept()
    upstream.receives(sent_up(b"/", b"A: 1", version=b"1.0"))
    upstream.send(ok(version=b"1.0"))
    client.receives(to_client())
    upstream.is_closed()


def test_a_1_0_client_is_proxied_as_1_1(stage):
    s = stage()
    client = s.client()
    client.send(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\nX: y\r\n\r\n")
    s.peers[0].accept().receives(sent_up(b"/", b"X: y"))


@pytest.mark.parametrize("method", [b"POST", b"PUT", b"GET"])
def test_a_length_of_0_is_passed_on(stage, method):
    s = stage()
    client = s.client()
    client.send(get(b"/", b"Content-Length: 0", method=method))
    assert s.peers[0].accept().take() == sent_up(b"/", b"Content-Length: 0", method=method)


def test_a_post_without_a_length_has_none_upstream(stage):
    s = stage()
    exchange(s, s.client(), None, get(method=b"POST"), sent_up(method=b"POST"))


# The URI (proxy.md §1.1).


@pytest.mark.parametrize(
    ("location", "target", "request_target", "expected"),
    [
        ("/api/", "http://app", b"/api/a%20b?q", b"/api/a%20b?q"),
        ("/api/", "http://app/", b"/api/a%20b?q", b"/a%20b?q"),
        ("/api", "http://app/", b"/api/x", b"//x"),
        ("/api", "http://app/", b"/apix", b"/x"),
        ("/p/", "http://app/new", b"/p/a", b"/newa"),
        ("/p/", "http://app/n?x=1", b"/p/a?q", b"/n?x=1a?q"),
        ("= /e", "http://app/ex", b"/e?k", b"/ex?k"),
        ("/s/", "http://app/", b"/s//x/./%2Fy", b"/x/y"),
        ("/s/", "http://app/", b"/s/a%3Fb", b"/a%3Fb"),
        ("/s/", "http://app/", b"/s/a%0d%0ab", b"/a%0D%0Ab"),
        ("/s/", "http://app/", b"/s/a%25zz", b"/a%25zz"),
        ("/s/", "http://app/", b"/s/%e4%ff", b"/%E4%FF"),
        ("/s", "http://app", b"/s//../s/x", b"/s//../s/x"),
    ],
)
def test_uris(stage, location, target, request_target, expected):
    s = stage(locations=f'[http.server.location."{location}"]\nproxy_pass = "{target}"')
    exchange(s, s.client(), None, get(request_target), sent_up(expected))


@pytest.mark.parametrize("name", ["X-Uri", "Host"])
@pytest.mark.parametrize("evil", [b"/%0d%0aX-Evil:%20yes", b"/%0a", b"/%0d"])
def test_a_line_break_in_a_variable_is_a_500_and_nothing_upstream(stage, name, evil):
    s = stage(location=f'proxy_set_header = {{ {name} = "$uri" }}')
    client = s.client()
    client.send(get(evil))
    client.receives(refusal(500))
    accepted = s.peers[0]._try_accept()
    if accepted is not None:  # a connection there may be, but not a byte on it
        with accepted:
            assert accepted.recv(100) == b""
    assert "header value made from variables" in s.error_log()[0]
    assert s.group().peers[0].health.fails == 0


# What is remembered of a head.


def test_the_same_block_in_another_location_is_composed_anew(stage):
    s = stage(
        location='proxy_set_header = { X-Where = "first" }',
        locations='[http.server.location."/b"]\nproxy_pass = "http://app/c"\nproxy_set_header = { X-Where = "second", A = "" }',
    )
    client = s.client()
    upstream = None
    for _ in range(3):
        upstream = exchange(s, client, upstream, get(b"/a", b"A: 1"), sent_up(b"/a", b"X-Where: first", b"A: 1"))
        exchange(s, client, upstream, get(b"/b", b"A: 1"), sent_up(b"/c", b"X-Where: second"))


def test_the_same_block_with_another_body(stage):
    s = stage()
    client = s.client()
    upstream = None
    for body in (b"hello", b"hi", b"", b"hello", b"x" * 300):
        request = get(b"/", CHUNKED, b"A: 1", method=b"POST") + (chunks(body) if body else b"0\r\n\r\n")
        expected = sent_up(b"/", b"Content-Length: %d" % len(body), b"A: 1", method=b"POST") + body
        upstream = exchange(s, client, upstream, request, expected)


def test_the_same_block_with_bodies_below_and_above_the_buffer(stage):
    s = stage(location='client_body_buffer_size = "100"')
    client = s.client()
    upstream = None
    for size in (10, 300, 20, 500):
        request = get(b"/", CHUNKED, method=b"PUT") + chunks(b"x" * size)
        expected = sent_up(b"/", b"Content-Length: %d" % size, method=b"PUT") + b"x" * size
        upstream = exchange(s, client, upstream, request, expected)


def test_two_lines_in_turn(stage):
    s = stage()
    client = s.client()
    upstream = None
    for _ in range(3):
        for target, method in ((b"/a", b"GET"), (b"/b?c", b"GET"), (b"/a", b"DELETE"), (b"/a", b"GET")):
            upstream = exchange(s, client, upstream, get(target, b"A: 1", method=method), sent_up(target, b"A: 1", method=method))


def test_blocks_in_turn(stage):
    s = stage(location='proxy_set_header = { X-A = "$http_a", X-Host = "$host" }')
    client = s.client()
    upstream = None
    for _ in range(3):
        for value, host in ((b"1", b"h"), (b"2", b"h"), (b"1", b"other")):
            expected = sent_up(b"/", b"X-A: " + value, b"X-Host: " + host, b"A: " + value)
            upstream = exchange(s, client, upstream, get(b"/", b"A: " + value, host=host), expected)


def test_blocks_that_differ_in_values_only(stage):
    s = stage(location='proxy_set_header = { X-Real = "$remote_addr", X-F = "$proxy_add_x_forwarded_for", X-Gone = "" }')
    client = s.client()
    upstream = None
    for a, forwarded, length in (
        (b"1", b"f", 0),
        (b"2", b"f", 0),
        (b"22", b"g", 0),
        (b"2", b"g", 3),
        (b"3", b"g", 3),
        (b"3", b"g", 2),
    ):
        method = b"PUT"
        block = (
            b"A: " + a,
            b"X-Gone: " + a,
            b"TE: " + a,
            b"X-Forwarded-For: " + forwarded,
            b"Content-Length: %d" % length,
            b"B: " + a,
        )
        added = (b"X-Real: 127.0.0.1", b"X-F: " + forwarded + b", 127.0.0.1", b"Content-Length: %d" % length)
        passed = (b"A: " + a, b"X-Forwarded-For: " + forwarded, b"B: " + a)
        body = b"x" * length
        expected = sent_up(b"/", *added, *passed, method=method) + body
        upstream = exchange(s, client, upstream, get(b"/", *block, method=method) + body, expected)


def test_absolute_form_and_origin_form_in_turn(stage):
    s = stage(location='proxy_set_header = { Host = "$host", X = "$request_uri" }')
    client = s.client()
    upstream = None
    for _ in range(2):
        for line, host, target in (
            (b"GET /a HTTP/1.1", b"h", b"/a"),
            (b"GET http://other/a HTTP/1.1", b"other", b"/a"),
            (b"GET http://third/a HTTP/1.1", b"third", b"/a"),
            (b"GET http://third HTTP/1.1", b"third", b"/"),
        ):
            request = line + b"\r\nHost: h\r\nB: c\r\n\r\n"
            upstream = exchange(s, client, upstream, request, sent_up(target, b"X: " + target, b"B: c", host=host))


def test_variables_of_the_request_are_read_each_time(stage):
    s = stage(
        location='proxy_set_header = { X-Id = "$request_id", X-Uri = "$request_uri", X-Arg = "a$arg_a", X-N = "$connection_requests" }'
    )
    client = s.client()
    upstream = None
    ids = set()
    for number, target in enumerate([b"/?a=1", b"/?a=1", b"/?a=2", b"/"], 1):
        client.send(get(target))
        upstream = upstream or s.peers[0].accept()
        head = upstream.receives_head()
        ids.add(re.search(rb"X-Id: ([0-9a-f]{32})\r\n", head)[1])
        assert b"\r\nX-Uri: " + target + b"\r\n" in head
        assert b"\r\nX-Arg: a" + target.partition(b"=")[2] + b"\r\n" in head
        assert b"\r\nX-N: %d\r\n" % number in head
        upstream.send(ok())
        client.receives(to_client())
    assert len(ids) == 4


def test_what_connection_names_counts_for_its_block_only(stage):
    s = stage()
    client = s.client()
    upstream = exchange(s, client, None, get(b"/", b"Connection: X-A", b"X-A: 1", b"X-B: 2"), sent_up(b"/", b"X-B: 2"))
    exchange(s, client, upstream, get(b"/", b"Connection: X-B", b"X-A: 1", b"X-B: 2"), sent_up(b"/", b"X-A: 1"))
    exchange(s, client, upstream, get(b"/", b"X-A: 1", b"X-B: 2"), sent_up(b"/", b"X-A: 1", b"X-B: 2"))


def test_clients_do_not_see_what_others_sent(stage):
    s = stage(location='proxy_set_header = { X-Port = "$remote_port", X-Serial = "$connection" }')
    upstream = None
    for number in (1, 2, 3):
        client = s.client()
        expected = sent_up(b"/", b"X-Port: 40000", b"X-Serial: %d" % number)
        upstream = exchange(s, client, upstream, get(), expected)


def test_head_and_get_of_the_same_answer(stage):
    """The head that an upstream repeats is remembered; how its body ends depends on the request too."""
    s = stage()
    client = s.client()
    upstream = None
    for method in (b"GET", b"HEAD", b"GET", b"HEAD", b"HEAD", b"GET"):
        body = b"hello" if method == b"GET" else b""
        client.send(get(method=method))
        upstream = upstream or s.peers[0].accept()
        upstream.receives(sent_up(method=method))
        upstream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX: y\r\n\r\n" + body)
        client.receives(to_client(body, b"X: y", length=5))


def test_one_head_in_two_locations(stage):
    """And what of it a client gets depends on the location."""
    s = stage(locations='[http.server.location."/hide"]\nproxy_pass = "http://app"\nproxy_hide_header = "X"')
    client = s.client()
    upstream = None
    for target in (b"/", b"/hide", b"/", b"/hide"):
        client.send(get(target))
        upstream = upstream or s.peers[0].accept()
        upstream.receives(sent_up(target))
        upstream.send(ok(b"ok", b"X: y"))
        client.receives(to_client(b"ok", *((b"X: y",) if target == b"/" else ())))


# Bodies.


@pytest.mark.parametrize("size", [1, 99, 100, 101, 199, 200, 201, 5000, 70_000, 300_000])
@pytest.mark.parametrize("arrival", ["with the head", "after it", "in pieces"])
def test_a_body_with_a_length(stage, size, arrival):
    s = stage(location='proxy_request_buffering = false\nclient_body_buffer_size = "100"')
    client = s.client()
    body = bytes(index % 251 for index in range(size))
    head = get(b"/", b"Content-Length: %d" % size, method=b"POST")
    if arrival == "with the head":
        client.send_some(head + body)
        left = b""
    elif arrival == "after it":
        client.send(head)
        left = body
    else:
        client.send(head + body[: size // 3])
        client.send_some(body[size // 3 : size // 3 + 1])
        left = body[size // 3 + 1 :]
    if arrival == "with the head":
        left = (head + body)[len(head) + size :]
    upstream = None
    if size > 100 or not left:
        upstream = s.peers[0].accept()
    while left:
        left = left[client.send_some(left) :]
        if upstream is not None:
            upstream.pull_all()
    upstream = upstream or s.peers[0].accept()
    upstream.receives(sent_up(b"/", b"Content-Length: %d" % size, method=b"POST") + body)
    upstream.send(ok())
    client.receives(to_client())
    exchange(s, client, upstream)


@pytest.mark.parametrize("size", [1, 99, 100, 101, 1000, 200_000])
@pytest.mark.parametrize("piece", [1, 50, 1000, 70_000])
def test_a_chunked_body(stage, size, piece):
    if size // piece > 2000:
        pytest.skip("too many chunks")
    s = stage(location='proxy_request_buffering = false\nclient_body_buffer_size = "100"')
    client = s.client()
    body = bytes(index % 251 for index in range(size))
    wire = get(b"/", CHUNKED, method=b"POST") + chunks(*[body[at : at + piece] for at in range(0, size, piece)])
    upstream = None
    while wire:
        wire = wire[client.send_some(wire) :]
        upstream = upstream or s.peers[0].accept()
        upstream.pull_all()
    head = upstream.receives_head()
    if b"chunked" in head:
        assert size > 100
        assert head == sent_up(b"/", CHUNKED, method=b"POST")
        assert decode_chunks(upstream.take()) == body
    else:
        assert head == sent_up(b"/", b"Content-Length: %d" % size, method=b"POST")
        assert upstream.take() == body
    upstream.send(ok())
    client.receives(to_client())
    exchange(s, client, upstream)


def decode_chunks(wire: bytes) -> bytes:
    body = b""
    while True:
        size, _, wire = wire.partition(b"\r\n")
        count = int(size, 16)
        body, wire = body + wire[:count], wire[count:]
        assert wire[:2] == b"\r\n"
        wire = wire[2:]
        if not count:
            assert not wire
            return body


def test_no_peer_is_chosen_before_a_small_body_is_there(stage):
    s = stage()
    client = s.client()
    client.send(post(b"hello")[:-1])
    s.peers[0].is_unvisited()
    client.send(b"o")
    s.peers[0].accept().receives(sent_up(b"/", b"Content-Length: 5", method=b"POST") + b"hello")


def test_a_large_body_is_streamed_as_it_comes(stage):
    s = stage(location='proxy_request_buffering = false\nclient_body_buffer_size = "10"')
    client = s.client()
    client.send(get(b"/", b"Content-Length: 30", method=b"PUT"))
    upstream = s.peers[0].accept()
    upstream.receives(sent_up(b"/", b"Content-Length: 30", method=b"PUT"))
    client.send(b"a" * 10)
    upstream.receives(b"a" * 10)
    client.send(b"b" * 19)
    upstream.receives(b"b" * 19)
    client.send(b"c" + get(b"/next"))
    upstream.receives(b"c")
    upstream.send(ok())
    client.receives(to_client())
    upstream.receives(sent_up(b"/next"))


def test_a_chunked_body_over_the_buffer_for_a_1_0_upstream_is_read_whole(stage):
    s = stage(location='proxy_request_buffering = false\nclient_body_buffer_size = "10"\nproxy_http_version = "1.0"')
    client = s.client()
    client.send(get(b"/", CHUNKED, method=b"POST") + chunks(b"x" * 50, last=False))
    s.peers[0].is_unvisited()
    client.send(chunks(b"y" * 50))
    s.peers[0].accept().receives(sent_up(b"/", b"Content-Length: 100", method=b"POST", version=b"1.0") + b"x" * 50 + b"y" * 50)


@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_a_slow_upstream_holds_the_client_back(stage, tmp_path, framing):
    """The worker reads no more from the client than the upstream takes: its memory is bounded whatever the body's size."""
    peer = Peer(f"{tmp_path}/up.sock")
    s = stage(peers=[peer], location='client_max_body_size = 0\nproxy_request_buffering = false\nclient_body_buffer_size = "1k"')
    client = s.client()
    size = 50_000_000
    field = b"Content-Length: %d" % size if framing == "length" else CHUNKED
    client.send(get(b"/", field, method=b"PUT"))
    if framing == "chunked":
        client.send(b"%x\r\n" % size)
        client.send(b"x" * 2000)
    upstream = peer.accept()
    taken = client.send_some(b"x" * size)
    assert taken < 2_000_000
    more = 0
    for _ in range(50):
        more += len(upstream.pull_all())
        upstream.received.clear()
        client.send_some(b"x" * 1_000_000)
        (connection,) = s.worker.clients.connections
        assert len(connection.buffer) < 100_000
    assert more > 2_000_000


def test_an_interrupted_upload_is_not_a_complete_request(stage):
    s = stage(location='proxy_request_buffering = false\nclient_body_buffer_size = "10"')
    client = s.client()
    client.send(get(b"/", CHUNKED, method=b"PUT") + chunks(b"x" * 50, last=False))
    upstream = s.peers[0].accept()
    upstream.receives(sent_up(b"/", CHUNKED, method=b"PUT") + chunks(b"x" * 50, last=False))
    client.close()
    assert upstream.is_closed()
    upstream.receives_nothing()
    assert s.statuses() == ["400"]


# An answer before the request is over.


@pytest.mark.parametrize("framing", ["length", "chunked"])
@pytest.mark.parametrize("slowly", [False, True])
def test_an_early_answer_ends_the_upload_and_its_connection(stage, framing, slowly):
    s = stage(location='proxy_request_buffering = false\nclient_body_buffer_size = "10"')
    client = s.client()
    field = b"Content-Length: 100" if framing == "length" else CHUNKED
    client.send(get(b"/", field, method=b"POST"))
    first = b"a" * 50 if framing == "length" else chunks(b"a" * 50, last=False)
    client.send(first)
    upstream = s.peers[0].accept()
    upstream.receives_head()
    upstream.receives(first)
    answer = ok(b"no", status=b"403 Forbidden")
    upstream.send_slowly(answer) if slowly else upstream.send(answer)
    client.receives(to_client(b"no", status=b"403 Forbidden"))
    assert upstream.is_closed()
    client.send((b"b" * 50 if framing == "length" else chunks(b"b" * 50)) + get(b"/next"))
    fresh = s.peers[0].accept()
    fresh.receives(sent_up(b"/next"))
    upstream.receives_nothing()
    fresh.send(ok())
    client.receives(to_client())


def test_an_early_answer_to_an_upload_that_stalls_at_the_upstream(stage, tmp_path):
    """The upstream answers without reading: the sender waits for room and must hear of the answer."""
    peer = Peer(f"{tmp_path}/up.sock")
    s = stage(peers=[peer], location='client_max_body_size = 0\nproxy_request_buffering = false\nclient_body_buffer_size = "1k"')
    client = s.client()
    client.send(get(b"/", b"Content-Length: 100000000", method=b"POST"))
    upstream = peer.accept()
    client.send_some(b"x" * 10_000_000)
    upstream.send(ok(b"too much", status=b"413 Too Large"))
    client.receives(to_client(b"too much", status=b"413 Too Large"))
    assert s.statuses() == ["413"]


@pytest.mark.parametrize("tcp", [False, True])
def test_an_upstream_that_answers_and_closes_in_the_middle_of_an_upload(stage, tmp_path, tcp):
    peer = Peer() if tcp else Peer(f"{tmp_path}/up.sock")
    s = stage(peers=[peer], location='proxy_request_buffering = false\nclient_body_buffer_size = "10"')
    client = s.client()
    client.send(get(b"/", b"Content-Length: 1000", method=b"POST") + b"x" * 100)
    upstream = peer.accept()
    upstream.pull_all()
    upstream.sock.send(ok(b"no", b"Connection: close", status=b"413 Too Large"))
    upstream.sock.close()
    upstream.over = True
    client.sock.send(b"y" * 500)
    client.receives(to_client(b"no", status=b"413 Too Large"))


@pytest.mark.parametrize("end", ["close", "reset"])
def test_an_upstream_that_leaves_in_the_middle_of_an_upload_is_a_502(stage, end):
    s = stage(peers=2, location='proxy_request_buffering = false\nclient_body_buffer_size = "10"')
    client = s.client()
    client.send(get(b"/", b"Content-Length: 1000", method=b"PUT") + b"x" * 100)
    client.send(b"x" * 100)
    upstream = s.peers[0].accept()
    upstream.pull_all()
    upstream.close() if end == "close" else upstream.reset()
    client.receives(error_page(502))
    s.peers[1].is_unvisited()
    assert s.group().peers[0].health.fails == 1
    assert s.last_access()["upstream_status"] == "502"


def test_an_upstream_that_leaves_before_anything_was_taken_from_the_client_is_retried(stage):
    s = stage(peers=2, location='proxy_request_buffering = false\nclient_body_buffer_size = "10"')
    client = s.client()
    client.send(get(b"/", b"Content-Length: 100", method=b"PUT"))
    first = s.peers[0].accept()
    first.receives_head()
    first.close()
    second = s.peers[1].accept()
    second.receives_head()
    client.send(b"x" * 100)
    second.receives(b"x" * 100)
    second.send(ok())
    client.receives(to_client())


def test_expect_continue_of_a_large_body(stage):
    s = stage(location='proxy_request_buffering = false\nclient_body_buffer_size = "10"')
    client = s.client()
    client.send(get(b"/", b"Content-Length: 100", b"Expect: 100-continue", method=b"PUT"))
    client.receives(b"HTTP/1.1 100 Continue\r\n\r\n")
    client.send(b"x" * 100)
    upstream = s.peers[0].accept()
    upstream.receives(sent_up(b"/", b"Content-Length: 100", method=b"PUT") + b"x" * 100)
    upstream.send(ok())
    client.receives(to_client())
    assert client.is_open()


# Retries (proxy.md §4.1).


def logged(s: Stage) -> tuple[str, str, str]:
    access = s.last_access()
    return access["status"], access["upstream_addr"], access["upstream_status"]


@pytest.mark.parametrize("method", [b"GET", b"POST", b"PATCH", b"LOCK"])
def test_a_refused_connection_is_retried_on_the_next_peer_whatever_the_method(stage, method):
    s = stage(peers=2)
    s.peers[0].refuse()
    client = s.client()
    client.send(post(b"hi", method=method))
    upstream = s.peers[1].accept()
    upstream.receives(sent_up(b"/", b"Content-Length: 2", method=method) + b"hi")
    upstream.send(ok())
    client.receives(to_client())
    assert logged(s) == ("200", f"{s.peers[0].name}, {s.peers[1].name}", "502, 200")
    assert s.group().peers[0].health.fails == 1
    assert any("connect() failed (111: Connection refused) while connecting to upstream" in line for line in s.error_log())


def test_the_log_says_why_before_what_came_of_it(stage):
    s = stage(peers=2)
    s.peers[0].refuse()
    exchange(s, s.client(), None, peer=1)
    assert [re.search(r"\[(\w+)\]", line)[1] for line in s.error_log()] == ["error", "warn"]


def test_connections_of_a_unix_socket_are_refused_at_once(stage, tmp_path):
    first = Peer(f"{tmp_path}/up.sock")
    s = stage(peers=[first, Peer()])
    first.refuse()
    exchange(s, s.client(), None, peer=1)
    (line,) = [line for line in s.error_log() if "connect()" in line]
    assert f"connect() to {first.name} failed (111: Connection refused) while connecting to upstream" in line
    assert f'upstream: "http://{first.name}:/"' in line


def test_a_connect_that_times_out_is_retried(stage):
    s = stage(peers=[SilentPeer(), Peer()], location='proxy_connect_timeout = "3s"')
    client = s.client()
    client.send(get())
    s.advance(2.9)
    s.peers[1].is_unvisited()
    s.advance(0.1)
    upstream = s.peers[1].accept()
    upstream.receives(sent_up())
    upstream.send(ok())
    client.receives(to_client())
    assert logged(s)[2] == "504, 200"


@pytest.mark.parametrize(
    ("method", "retried"),
    [(b"GET", True), (b"PUT", True), (b"DELETE", True), (b"POST", False), (b"PATCH", False), (b"LOCK", False)],
)
@pytest.mark.parametrize("failure", ["close", "reset", "timeout"])
def test_a_failure_after_sending_is_retried_unless_that_may_do_a_thing_twice(stage, method, retried, failure):
    s = stage(peers=2, location='proxy_read_timeout = "3s"')
    client = s.client()
    client.send(get(method=method))
    first = s.peers[0].accept()
    first.receives(sent_up(method=method))
    fail(s, first, failure)
    status = 504 if failure == "timeout" else 502
    if retried:
        second = s.peers[1].accept()
        second.receives(sent_up(method=method))
        second.send(ok())
        client.receives(to_client())
        assert logged(s) == ("200", f"{s.peers[0].name}, {s.peers[1].name}", f"{status}, 200")
    else:
        client.receives(error_page(status))
        s.peers[1].is_unvisited()
        assert logged(s) == (str(status), s.peers[0].name, str(status))
    assert first.is_closed() if failure == "timeout" else True


def fail(s: Stage, upstream: End, failure: str) -> None:
    if failure == "close":
        upstream.close()
    elif failure == "reset":
        upstream.reset()
    elif failure == "timeout":
        s.advance(3)
    elif failure == "garbage":
        upstream.send(b"garbage\r\n\r\n")


def test_a_post_is_retried_where_non_idempotent_says_so(stage):
    s = stage(peers=2, location='proxy_next_upstream = ["error", "timeout", "non_idempotent"]')
    client = s.client()
    client.send(post(b"hi"))
    first = s.peers[0].accept()
    first.receives(sent_up(b"/", b"Content-Length: 2", method=b"POST") + b"hi")
    first.close()
    s.peers[1].accept().receives(sent_up(b"/", b"Content-Length: 2", method=b"POST") + b"hi")


@pytest.mark.parametrize(
    ("words", "failure", "retried"),
    [
        ('"off"', "refused", False),
        ('"off"', "close", False),
        ('["off", "error"]', "close", False),
        ('"error"', "close", True),
        ('"error"', "timeout", False),
        ('"timeout"', "timeout", True),
        ('"timeout"', "refused", False),
        ('["error", "timeout"]', "garbage", False),
        ('"invalid_header"', "garbage", True),
        ('"invalid_header"', "close", False),
    ],
)
def test_only_the_failures_named_are_retried(stage, words, failure, retried):
    s = stage(peers=2, location=f'proxy_read_timeout = "3s"\nproxy_next_upstream = {words}')
    if failure == "refused":
        s.peers[0].refuse()
    client = s.client()
    client.send(get())
    if failure != "refused":
        first = s.peers[0].accept()
        first.receives(sent_up())
        fail(s, first, failure)
    if retried:
        second = s.peers[1].accept()
        second.receives(sent_up())
        second.send(ok())
        client.receives(to_client())
    else:
        client.receives(error_page(504 if failure == "timeout" else 502))
        s.peers[1].is_unvisited()
    assert s.group().peers[0].health.fails == 1


@pytest.mark.parametrize("status", [b"500", b"502", b"503", b"504", b"403", b"404", b"429"])
def test_an_answer_may_be_retried(stage, status):
    s = stage(peers=2, location=f'proxy_next_upstream = "http_{status.decode()}"')
    client = s.client()
    client.send(get())
    first = s.peers[0].accept()
    first.receives(sent_up())
    first.send(ok(b"no", status=status + b" No"))
    assert client.take() == b""
    second = s.peers[1].accept()
    second.receives(sent_up())


def answered_twice(s: Stage, client: End, request: bytes, status: bytes) -> End:
    """The first peer answers with this status; returns the connection to the second."""
    client.send(request)
    first = s.peers[0].accept()
    first.receives_head()
    first.send(ok(b"no", b"X-From: first", status=status))
    return s.peers[1].accept()


def test_an_answer_that_is_retried_is_a_failure_of_its_peer(stage):
    s = stage(peers=2, location='proxy_next_upstream = ["http_503", "http_404"]')
    client = s.client()
    second = answered_twice(s, client, get(), b"503 Busy")
    second.receives(sent_up())
    second.send(ok(b"yes"))
    client.receives(to_client(b"yes"))
    assert logged(s) == ("200", f"{s.peers[0].name}, {s.peers[1].name}", "503, 200")
    assert s.group().peers[0].health.fails == 1


def test_but_not_a_404(stage):
    s = stage(peers=2, location='proxy_next_upstream = "http_404"')
    client = s.client()
    second = answered_twice(s, client, get(), b"404 Not Found")
    second.receives(sent_up())
    second.send(ok(b"no either", status=b"404 Not Found"))
    client.receives(to_client(b"no either", status=b"404 Not Found"))
    assert logged(s)[2] == "404, 404"
    assert s.group().peers[0].health.fails == 0
    assert s.group().peers[1].health.fails == 0


def test_the_last_peers_own_answer_is_relayed(stage):
    s = stage(peers=2, location='proxy_next_upstream = "http_503"')
    client = s.client()
    second = answered_twice(s, client, get(), b"503 Busy")
    second.receives(sent_up())
    second.send(ok(b"also busy", b"X-From: second", status=b"503 Busy Too"))
    client.receives(to_client(b"also busy", b"X-From: second", status=b"503 Busy Too"))
    assert second.is_open()


@pytest.mark.parametrize("peers", [1, 2])
@pytest.mark.parametrize("method", [b"GET", b"POST"])
def test_an_answer_is_relayed_where_no_other_may_be_asked(stage, peers, method):
    s = stage(peers=peers, location='proxy_next_upstream = "http_503"')
    if peers == 2 and method == b"GET":
        pytest.skip("this one may be retried")
    client = s.client()
    client.send(get(method=method))
    upstream = s.peers[0].accept()
    upstream.receives(sent_up(method=method))
    upstream.send(ok(b"busy", status=b"503 Busy"))
    client.receives(to_client(b"busy", status=b"503 Busy"))
    if peers == 2:
        s.peers[1].is_unvisited()
    assert s.group().peers[0].health.fails == 0


def test_an_answer_to_an_upload_that_was_streamed_is_relayed(stage):
    s = stage(
        peers=2, location='proxy_next_upstream = "http_503"\nproxy_request_buffering = false\nclient_body_buffer_size = "10"'
    )
    client = s.client()
    client.send(get(b"/", b"Content-Length: 100", method=b"PUT") + b"x" * 50)
    client.send(b"x" * 50)
    upstream = s.peers[0].accept()
    upstream.receives_head()
    upstream.receives(b"x" * 100)
    upstream.send(ok(b"busy", status=b"503 Busy"))
    client.receives(to_client(b"busy", status=b"503 Busy"))
    s.peers[1].is_unvisited()


def test_an_answer_that_is_retried_has_its_times(stage):
    s = stage(peers=2, location='proxy_next_upstream = "http_503"')
    client = s.client()
    second = answered_twice(s, client, get(), b"503 Busy")
    second.receives(sent_up())
    second.send(ok())
    client.receives(to_client())
    assert s.last_access()["upstream_header_time"] == "0.000, 0.000"


def test_tries(stage):
    s = stage(peers=3, location="proxy_next_upstream_tries = 2")
    client = s.client()
    client.send(get())
    s.peers[0].accept().close()
    s.peers[1].accept().close()
    client.receives(error_page(502))
    s.peers[2].is_unvisited()
    assert logged(s)[2] == "502, 502"


def test_the_time_for_tries(stage):
    s = stage(peers=3, location='proxy_read_timeout = "4s"\nproxy_next_upstream_timeout = "5s"')
    client = s.client()
    client.send(get())
    first = s.peers[0].accept()
    s.advance(4)
    second = s.peers[1].accept()
    s.advance(4)
    client.receives(error_page(504))
    s.peers[2].is_unvisited()
    assert first.is_closed()
    assert second.is_closed()


def test_every_peer_is_tried_once(stage):
    s = stage(peers=3, peer_parameters=("max_fails = 0",) * 3)
    for peer in s.peers:
        peer.refuse()
    client = s.client()
    client.send(get())
    client.receives(error_page(502))
    assert sorted(logged(s)[1].split(", ")) == sorted(peer.name for peer in s.peers)
    assert logged(s)[2] == "502, 502, 502"
    assert len(s.error_log()) == 3


def test_the_last_failure_decides_the_status(stage):
    s = stage(peers=2, location='proxy_read_timeout = "3s"')
    s.peers[0].refuse()
    client = s.client()
    client.send(get())
    upstream = s.peers[1].accept()
    s.advance(3)
    client.receives(error_page(504))
    assert upstream.is_closed()
    assert logged(s)[2] == "502, 504"


def test_no_live_upstreams(stage):
    s = stage(peers=2)
    for peer in s.peers:
        peer.refuse()
    client = s.client()
    client.send(get())
    client.receives(error_page(502))
    client.send(get())
    client.receives(error_page(502))
    assert logged(s) == ("502", "app", "502")
    assert s.last_access()["wproxy_end_cause"] == "upstream: no live upstreams while connecting to upstream"
    assert s.last_access()["wproxy_end_code"] == "up_none"
    assert (
        'no live upstreams while connecting to upstream, client: 127.0.0.1, server: front, request: "GET / HTTP/1.1", upstream: "http://app/"'
        in s.error_log()[-1]
    )


def test_backup_only_when_no_primary_can_serve(stage):
    s = stage(peers=3, peer_parameters=("", "", "backup = true"))
    client = s.client()
    pool = Pool(s)
    assert pool.order(client, 4) == "abab"
    s.peers[2].is_unvisited()
    for number in (0, 1):
        s.peers[number].refuse()
        for end in pool.ends[number]:
            end.close()
    assert pool.order(client, 3) == "ccc"
    assert s.access_log()[4]["upstream_status"] == "502, 502, 200"
    assert s.access_log()[5]["upstream_status"] == "200"


def test_down_peers_are_never_asked(stage):
    s = stage(peers=3, peer_parameters=("down = true", "", ""))
    assert Pool(s).order(s.client(), 4) == "bcbc"
    s.peers[0].is_unvisited()


def test_all_down(stage):
    s = stage(peers=2, peer_parameters=("down = true", "down = true"))
    client = s.client()
    client.send(get())
    client.receives(error_page(502))
    assert "no live upstreams" in s.error_log()[0]


def test_max_conns(stage):
    s = stage(peers=2, peer_parameters=("max_conns = 1", "max_conns = 1"))
    clients = [s.client() for _ in range(3)]
    clients[0].send(get())
    first = s.peers[0].accept()
    clients[1].send(get())
    second = s.peers[1].accept()
    clients[2].send(get())
    clients[2].receives(error_page(502))
    first.receives(sent_up())
    first.send(ok())
    clients[0].receives(to_client())
    clients[2].send(get())
    first.receives(sent_up())
    first.send(ok())
    clients[2].receives(to_client())
    second.receives(sent_up())
    second.send(ok())
    clients[1].receives(to_client())


def test_max_conns_counts_a_body_until_its_end(stage):
    s = stage(peers=1, peer_parameters=("max_conns = 1",))
    client, other = s.client(), s.client()
    client.send(get())
    upstream = s.peers[0].accept()
    upstream.receives(sent_up())
    upstream.send(ok(b"0123456789")[:-5])
    other.send(get())
    other.receives(error_page(502))
    upstream.send(b"56789")
    client.receives(to_client(b"0123456789"))
    exchange(s, other, upstream)


# Idle connections that have died.


def dying(s: Stage, end: End, how: str = "close") -> None:
    """Let the upstream leave after the loop has asked for events and before the client's task runs."""

    async def leave() -> None:
        if how == "reset":
            end.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        end.sock.close()
        end.over = True

    s.loop.spawn(leave(), "leaving upstream")


@pytest.mark.parametrize("how", ["close", "reset"])
@pytest.mark.parametrize("peers", [1, 2])
@pytest.mark.parametrize("method", [b"GET", b"POST"])
def test_a_dead_idle_connection_is_replaced_by_a_fresh_one_to_the_same_peer(stage, how, peers, method):
    s = stage(peers=peers, peer_parameters=("weight = 100",))
    client = s.client()
    upstream = exchange(s, client, None)
    client.sock.send(get(b"/again", method=method))
    dying(s, upstream, how)
    fresh = s.peers[0].accept()
    fresh.receives(sent_up(b"/again", method=method))
    fresh.send(ok())
    client.receives(to_client())
    assert logged(s) == ("200", s.peers[0].name, "200")
    assert s.group().peers[0].health.fails == 0
    assert s.error_log() == []


@pytest.mark.parametrize("end", ["close", "reset"])
def test_a_get_that_a_reused_connection_swallowed_is_sent_again(stage, end):
    s = stage(peers=2, peer_parameters=("weight = 100",))
    client = s.client()
    upstream = exchange(s, client, None)
    client.send(get(b"/again"))
    upstream.receives(sent_up(b"/again"))
    upstream.close() if end == "close" else upstream.reset()
    fresh = s.peers[0].accept()
    fresh.receives(sent_up(b"/again"))
    fresh.send(ok())
    client.receives(to_client())
    s.peers[1].is_unvisited()
    assert logged(s) == ("200", s.peers[0].name, "200")
    assert s.group().peers[0].health.fails == 0


@pytest.mark.parametrize("end", ["close", "reset"])
def test_a_post_that_a_reused_connection_swallowed_is_not(stage, end):
    s = stage(peers=2, peer_parameters=("weight = 100",))
    client = s.client()
    upstream = exchange(s, client, None)
    client.send(post(b"hi"))
    upstream.receives(sent_up(b"/", b"Content-Length: 2", method=b"POST") + b"hi")
    upstream.close() if end == "close" else upstream.reset()
    client.receives(error_page(502))
    for peer in s.peers:
        peer.is_unvisited()
    assert logged(s) == ("502", s.peers[0].name, "502")
    assert s.group().peers[0].health.fails == 0


def test_several_dead_idle_connections_are_gone_through(stage):
    s = stage()
    clients = [s.client() for _ in range(3)]
    upstreams = []
    for client in clients:
        client.send(get())
        upstreams.append(s.peers[0].accept())
    for client, upstream in zip(clients, upstreams):
        upstream.receives(sent_up())
        upstream.send(ok())
        client.receives(to_client())
    clients[0].sock.send(get(b"/again"))
    for upstream in upstreams:
        dying(s, upstream)
    fresh = s.peers[0].accept()
    fresh.receives(sent_up(b"/again"))
    fresh.send(ok())
    clients[0].receives(to_client())
    assert logged(s)[2] == "200"


def test_a_reused_connection_that_dies_after_a_byte_of_an_answer_is_a_failure(stage):
    s = stage(peers=2, peer_parameters=("weight = 100",))
    client = s.client()
    upstream = exchange(s, client, None)
    client.send(get(b"/again"))
    upstream.receives(sent_up(b"/again"))
    upstream.send(b"HTTP/1.1 2")
    upstream.close()
    second = s.peers[1].accept()
    second.receives(sent_up(b"/again"))
    second.send(ok())
    client.receives(to_client())
    assert logged(s)[2] == "502, 200"
    assert s.group().peers[0].health.fails == 1


def test_after_a_dead_idle_connection_a_refused_one_is_a_failure(stage):
    s = stage(peers=2, peer_parameters=("weight = 100",))
    client = s.client()
    upstream = exchange(s, client, None)
    s.peers[0].refuse()
    client.send(get(b"/again"))
    upstream.receives(sent_up(b"/again"))
    upstream.close()
    second = s.peers[1].accept()
    second.receives(sent_up(b"/again"))
    second.send(ok())
    client.receives(to_client())
    assert logged(s) == ("200", f"{s.peers[0].name}, {s.peers[1].name}", "502, 200")


def test_an_upload_that_is_streamed_over_a_dead_idle_connection(stage):
    """What was taken from the client is gone, but nothing was taken before the connection showed that it is dead."""
    s = stage(location='proxy_request_buffering = false\nclient_body_buffer_size = "10"')
    client = s.client()
    upstream = exchange(s, client, None)
    client.sock.send(get(b"/up", b"Content-Length: 100", method=b"PUT"))
    dying(s, upstream)
    fresh = s.peers[0].accept()
    fresh.receives(sent_up(b"/up", b"Content-Length: 100", method=b"PUT"))
    client.send(b"x" * 100)
    fresh.receives(b"x" * 100)
    fresh.send(ok())
    client.receives(to_client())


def test_a_request_that_could_not_be_sent_spoils_no_other(stage):
    """A head that the socket does not take at once, from a client without a body, at an upstream that does not read."""
    s = stage(location='proxy_send_timeout = "5s"')
    s.peers[0].sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
    client = s.client()
    upstream = exchange(s, client, None)
    s.group().peers[0].idle[0].stream.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2048)
    client.send(get(b"/big", *[b"X%d: " % number + b"x" * 7000 for number in range(4)]))
    s.advance(5.1)
    client.receives(error_page(504))
    assert upstream.pull_all()
    assert upstream.is_closed()
    assert "while sending request to upstream" in s.error_log()[0]
    following = exchange(s, client, None)
    assert following.is_open()
    exchange(s, client, following)


# The pool (proxy.md §6).


def busy(s: Stage, count: int) -> tuple[list[End], list[End]]:
    """So many clients, each with a request on a connection of its own."""
    clients = [s.client() for _ in range(count)]
    upstreams = []
    for client in clients:
        client.send(get())
        upstreams.append(s.peers[0].accept())
        upstreams[-1].receives(sent_up())
    return clients, upstreams


def release(clients: list[End], upstreams: list[End]) -> None:
    for client, upstream in zip(clients, upstreams):
        upstream.send(ok())
        client.receives(to_client())


def test_the_connection_released_last_is_used_first(stage):
    s = stage()
    clients, upstreams = busy(s, 3)
    release(clients, upstreams)
    clients[0].send(get(b"/x"))
    upstreams[2].receives(sent_up(b"/x"))
    clients[1].send(get(b"/y"))
    upstreams[1].receives(sent_up(b"/y"))
    clients[2].send(get(b"/z"))
    upstreams[0].receives(sent_up(b"/z"))
    s.peers[0].is_unvisited()


def test_connections_are_shared_between_clients_and_locations(stage):
    s = stage(locations='[http.server.location."/other"]\nproxy_pass = "http://app"')
    upstream = exchange(s, s.client(), None)
    exchange(s, s.client(), upstream, get(b"/other"), sent_up(b"/other"))


def test_the_oldest_is_closed_when_the_pool_is_full(stage):
    s = stage(upstream="keepalive = 2")
    clients, upstreams = busy(s, 3)
    release(clients, upstreams)
    s.advance(1)
    assert upstreams[0].is_closed()
    assert upstreams[1].is_open()
    assert upstreams[2].is_open()


def test_the_limit_is_for_the_whole_group(stage):
    s = stage(peers=2, upstream="keepalive = 1")
    clients = [s.client(), s.client()]
    clients[0].send(get())
    clients[1].send(get())
    upstreams = [s.peers[0].accept(), s.peers[1].accept()]
    for upstream in upstreams:
        upstream.receives(sent_up())
    s.advance(1)
    release(clients[:1], upstreams[:1])
    s.advance(1)
    release(clients[1:], upstreams[1:])
    s.advance(1)
    assert upstreams[0].is_closed()
    assert upstreams[1].is_open()


def test_the_oldest_is_the_one_released_first_whatever_the_upstream_announces(stage):
    """proxy.md §6: full -> evict the least recently used of the group."""
    s = stage(peers=2, upstream="keepalive = 2")
    clients = [s.client() for _ in range(3)]
    clients[0].send(get())
    a = s.peers[0].accept()
    a.receives(sent_up())
    clients[1].send(get())
    b = s.peers[1].accept()
    b.receives(sent_up())
    clients[2].send(get())
    c = s.peers[0].accept()
    c.receives(sent_up())
    a.send(ok())
    clients[0].receives(to_client())
    s.advance(1)
    b.send(ok(b"ok", b"Keep-Alive: timeout=10"))
    clients[1].receives(to_client())
    s.advance(1)
    c.send(ok())
    clients[2].receives(to_client())
    s.advance(1)
    assert b.is_open()
    assert c.is_open()
    assert a.is_closed()


def test_keepalive_0_keeps_none(stage):
    s = stage(upstream="keepalive = 0")
    client = s.client()
    upstream = exchange(s, client, None)
    assert upstream.is_closed()
    exchange(s, client, None)


def test_keepalive_requests(stage):
    s = stage(upstream="keepalive_requests = 2")
    client = s.client()
    upstream = exchange(s, client, None)
    exchange(s, client, upstream)
    assert upstream.is_closed()
    exchange(s, client, None)


def test_keepalive_time(stage):
    s = stage(upstream='keepalive_time = "10s"\nkeepalive_timeout = "1h"', server='keepalive_timeout = "1h"')
    client = s.client()
    upstream = exchange(s, client, None)
    s.advance(9)
    exchange(s, client, upstream)
    s.advance(2)
    exchange(s, client, upstream)
    assert upstream.is_closed()


def test_keepalive_timeout(stage):
    s = stage(upstream='keepalive_timeout = "10s"')
    client = s.client()
    upstream = exchange(s, client, None)
    s.advance(9)
    exchange(s, client, upstream)
    s.advance(9)
    assert upstream.is_open()
    s.advance(1.5)
    assert upstream.is_closed()


@pytest.mark.parametrize(
    ("announced", "kept_for"),
    [(b"timeout=5", 4), (b"timeout=5, max=100", 4), (b"timeout=1", 0), (b"timeout=0", 0), (b"timeout=500", 60)],
)
def test_an_announced_timeout_is_heeded_a_second_early(stage, announced, kept_for):
    s = stage()
    client = s.client()
    client.send(get())
    upstream = s.peers[0].accept()
    upstream.receives(sent_up())
    upstream.send(ok(b"ok", b"Keep-Alive: " + announced))
    client.receives(to_client())
    if kept_for:
        s.advance(kept_for - 0.5)
        assert upstream.is_open()
        s.advance(1.1)
    assert upstream.is_closed()


@pytest.mark.parametrize("what", ["close", "bytes", "reset"])
def test_an_idle_connection_that_becomes_readable_is_closed(stage, what):
    s = stage()
    client = s.client()
    upstream = exchange(s, client, None)
    if what == "close":
        upstream.end_sending()
    elif what == "bytes":
        upstream.send(b"x")
    else:
        upstream.reset()
    if what != "reset":
        assert upstream.is_closed()
    s.settle()
    assert s.group().idle_count == 0
    exchange(s, client, None)


def test_an_implicit_group_keeps_connections_too(stage):
    peer = Peer()
    s = stage(peers=[peer], locations=f'[http.server.location."/direct"]\nproxy_pass = "http://{peer.name}"')
    client = s.client()
    upstream = exchange(s, client, None, get(b"/direct"), sent_up(b"/direct", host=peer.name.encode()))
    exchange(s, client, upstream, get(b"/direct"), sent_up(b"/direct", host=peer.name.encode()))


def test_a_response_the_client_does_not_wait_for_is_not_pooled(stage):
    s = stage()
    client = s.client()
    client.send(get())
    upstream = s.peers[0].accept()
    upstream.receives(sent_up())
    client.close()
    assert upstream.is_closed()
    assert s.group().idle_count == 0


# Health (proxy.md §4.2).


def test_a_failed_peer_rests_for_fail_timeout(stage):
    s = stage(peers=2, peer_parameters=("", ""))
    s.peers[0].refuse()
    client = s.client()
    pool = Pool(s)
    assert pool.order(client, 4) == "bbbb"
    assert [line["upstream_status"] for line in s.access_log()] == ["502, 200", "200", "200", "200"]
    (line,) = [line for line in s.error_log() if "[warn]" in line]
    assert "*1 upstream server temporarily disabled while connecting to upstream, client: 127.0.0.1, server: front" in line
    assert f'upstream: "http://{s.peers[0].name}/", host: "h"' in line
    s.peers[0].listen_again()
    s.advance(9)
    assert pool.order(client, 2) == "bb"
    s.advance(3)
    assert pool.order(client, 8).count("a") >= 3  # a weight that was lowered recovers by one at each choice


def test_one_probe_goes_through_and_its_failure_rests_the_peer_again(stage):
    s = stage(peers=2)
    s.peers[0].refuse()
    client = s.client()
    pool = Pool(s)
    pool.order(client, 2)
    s.advance(12)
    pool.order(client, 4)
    tries = [line["upstream_addr"].count(s.peers[0].name) for line in s.access_log()]
    assert tries[:2] == [1, 0]
    assert sum(tries[2:]) == 1


def test_only_one_request_probes(stage):
    s = stage(peers=2)
    s.peers[0].refuse()
    client = s.client()
    pool = Pool(s)
    pool.order(client, 1)
    s.peers[0].listen_again()
    s.advance(12)
    clients = [s.client() for _ in range(4)]
    for each in clients:
        each.send(get())
    probe = s.peers[0].accept()
    probe.receives(sent_up())
    s.peers[0].is_unvisited()
    probe.send(ok())
    for _ in range(3):
        pool.serve()
    for each in clients:
        each.receives(to_client())
    assert s.group().peers[0].health.fails == 0


def test_max_fails(stage):
    s = stage(peers=2, peer_parameters=("max_fails = 3", ""))
    s.peers[0].refuse()
    pool = Pool(s)
    pool.order(s.client(), 10)
    tries = [line["upstream_addr"].count(s.peers[0].name) for line in s.access_log()]
    assert sum(tries) == 3


def test_max_fails_0_never_rests(stage):
    s = stage(peers=2, peer_parameters=("max_fails = 0", ""))
    s.peers[0].refuse()
    Pool(s).order(s.client(), 6)
    assert sum(line["upstream_addr"].count(s.peers[0].name) for line in s.access_log()) >= 3
    assert not any("temporarily disabled" in line for line in s.error_log())


def test_a_single_peer_never_rests(stage):
    s = stage()
    s.peers[0].refuse()
    client = s.client()
    for _ in range(3):
        client.send(get())
        client.receives(error_page(502))
    s.peers[0].listen_again()
    exchange(s, client, None)
    assert [line["upstream_status"] for line in s.access_log()] == ["502", "502", "502", "200"]


@pytest.mark.parametrize("status", [b"404 Not Found", b"500 Oops", b"503 Busy"])
def test_an_answer_is_no_failure_whatever_it_says(stage, status):
    s = stage(peers=2)
    client = s.client()
    client.send(get())
    upstream = s.peers[0].accept()
    upstream.receives(sent_up())
    upstream.send(ok(b"no", status=status))
    client.receives(to_client(b"no", status=status))
    assert s.group().peers[0].health.fails == 0


def test_a_cut_body_is_no_failure_of_the_peer(stage):
    """The head was good: nginx counts this as a success, and so do we."""
    s = stage(peers=2)
    client = s.client()
    client.send(get())
    upstream = s.peers[0].accept()
    upstream.receives(sent_up())
    upstream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
    upstream.close()
    client.is_closed()
    assert s.group().peers[0].health.fails == 0


# Balancing.


@pytest.mark.parametrize(
    ("weights", "order"),
    [((5, 1, 1), "aabacaa"), ((3, 2, 1), "abacba"), ((1, 1, 1), "abcabc"), ((1, 2), "bab"), ((4, 2, 1), "abacaba")],
)
def test_smooth_weighted_round_robin(stage, weights, order):
    s = stage(peers=len(weights), peer_parameters=tuple(f"weight = {weight}" for weight in weights))
    assert Pool(s).order(s.client(), 2 * len(order)) == order * 2


def test_a_weight_lowered_by_failures_recovers(stage):
    s = stage(peers=2, peer_parameters=('weight = 4, fail_timeout = "1s"', "weight = 1"))
    s.peers[0].refuse()
    client = s.client()
    pool = Pool(s)
    pool.order(client, 1)
    s.peers[0].listen_again()
    s.advance(3)
    pool.order(client, 6)
    letters = pool.order(client, 10)
    assert letters.count("a") == 8


# Timers.


def test_proxy_connect_timeout(stage):
    s = stage(peers=[SilentPeer()], location='proxy_connect_timeout = "5s"')
    client = s.client()
    client.send(get(b"/x"))
    s.advance(4.9)
    client.receives_nothing()
    s.advance(0.1)
    client.receives(error_page(504))
    where = f"proxy_connect_timeout 5: {s.position('proxy_connect_timeout')}"
    (line,) = s.error_log()
    assert "[error]" in line
    assert line.endswith(
        "*1 upstream timed out (110: Connection timed out) while connecting to upstream, client: 127.0.0.1, server: front, "
        f'request: "GET /x HTTP/1.1", upstream: "http://{s.peers[0].name}/x", host: "h" ({where})'
    )
    access = s.last_access()
    assert (
        access["wproxy_end_cause"]
        == f"upstream: upstream timed out (110: Connection timed out) while connecting to upstream ({where})"
    )
    assert (access["status"], access["upstream_status"], access["upstream_connect_time"]) == ("504", "504", "-")


def test_proxy_read_timeout_before_the_head_is_for_all_of_it(stage):
    s = stage(location='proxy_read_timeout = "5s"')
    client = s.client()
    client.send(get())
    upstream = s.peers[0].accept()
    upstream.receives(sent_up())
    for piece in (b"HTTP/1.1 200 OK\r\n", b"X: y\r\n", b"Y: z\r\n", b"Z: "):
        s.advance(1.2)
        upstream.send(piece)
    s.advance(0.2)
    client.receives(error_page(504))
    assert upstream.is_closed()
    where = f"proxy_read_timeout 5: {s.position('proxy_read_timeout')}"
    (line,) = s.error_log()
    assert "upstream timed out (110: Connection timed out) while reading response header from upstream" in line
    assert line.endswith(f"({where})")


def test_proxy_read_timeout_within_a_body_is_between_two_reads(stage):
    s = stage(location='proxy_read_timeout = "5s"')
    client = s.client()
    client.send(get())
    upstream = s.peers[0].accept()
    upstream.receives(sent_up())
    upstream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n")
    for _ in range(4):
        s.advance(4.8)
        upstream.send(b"x")
    s.advance(5)
    client.is_closed()
    client.receives(to_client(b"xxxx", length=10))
    assert upstream.is_closed()
    access = s.last_access()
    where = f"proxy_read_timeout 5: {s.position('proxy_read_timeout')}"
    assert access["status"] == access["upstream_status"] == "200"
    assert (
        access["wproxy_end_cause"] == f"upstream: upstream timed out (110: Connection timed out) while reading upstream ({where})"
    )
    assert access["upstream_response_length"] == "4"


def test_proxy_read_timeout_does_not_run_while_the_client_is_slow(stage):
    s = stage(location='proxy_read_timeout = "5s"\nsend_timeout = "100s"')
    client = s.client(send_buffer=4096)
    client.send(get())
    upstream = s.peers[0].accept()
    upstream.receives(sent_up())
    rest = ok(b"x" * 2_000_000)
    rest = rest[upstream.send_some(rest) :]
    for _ in range(5):
        s.advance(4)
    assert s.worker.clients.connections
    total = 0
    while s.worker.clients.connections and total < 2_000_000:
        total += len(client.pull())
        client.received.clear()
        s.settle()
        if rest:
            rest = rest[upstream.send_some(rest) :]
    assert s.last_access()["request_completion"] == "OK"


def test_proxy_send_timeout(stage, tmp_path):
    peer = Peer(f"{tmp_path}/up.sock")
    s = stage(
        peers=[peer],
        location='proxy_send_timeout = "5s"\nclient_max_body_size = 0\nproxy_request_buffering = false\nclient_body_buffer_size = "1k"',
    )
    client = s.client()
    client.send(get(b"/", b"Content-Length: 10000000", method=b"PUT"))
    upstream = peer.accept()
    client.send_some(b"x" * 10_000_000)
    for _ in range(3):
        s.advance(4)
        upstream.pull(400_000)
        upstream.received.clear()
        client.send_some(b"x" * 1_000_000)
    s.advance(4.9)
    client.receives_nothing()
    s.advance(0.2)
    reply = client.take()
    assert reply in (error_page(504), refusal(504))
    where = f"proxy_send_timeout 5: {s.position('proxy_send_timeout')}"
    (line,) = s.error_log()
    assert "upstream timed out (110: Connection timed out) while sending request to upstream" in line
    assert line.endswith(f"({where})")


def test_a_timer_left_at_its_default_says_so(stage):
    s = stage()
    client = s.client()
    client.send(get())
    s.peers[0].accept()
    s.advance(60)
    client.receives(error_page(504))
    assert "(proxy_read_timeout 60: default)" in s.error_log()[0]


def test_a_read_timeout_of_0_expires_at_once(stage):
    s = stage(location="proxy_read_timeout = 0")
    client = s.client()
    client.send(get())
    s.peers[0].accept()
    s.advance(0.03)
    client.receives(error_page(504))


# The access log over retries (proxy.md §8).


def test_upstream_variables_over_three_tries(stage):
    s = stage(peers=3, location='proxy_read_timeout = "5s"')
    s.peers[0].refuse()
    client = s.client()
    client.send(get())
    second = s.peers[1].accept()
    second.receives(sent_up())
    second.send(b"HTTP/1.1 200")
    s.advance(5)
    third = s.peers[2].accept()
    third.receives(sent_up())
    s.advance(2)
    third.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello")
    s.advance(3)
    third.send(b"world")
    client.receives(to_client(b"helloworld"))
    access = s.last_access()
    assert access["status"] == "200"
    assert access["upstream_addr"] == ", ".join(peer.name for peer in s.peers)
    assert access["upstream_status"] == "502, 504, 200"
    assert access["upstream_connect_time"] == "-, 0.000, 0.000"
    first, second_time, third_time = access["upstream_response_time"].split(", ")
    assert first == "0.000"
    assert 4.99 < float(second_time) < 5.06
    assert 4.99 < float(third_time) < 5.2
    header_times = access["upstream_header_time"].split(", ")
    assert header_times[:2] == ["-", "-"]
    assert 1.99 < float(header_times[2]) < 2.1
    assert access["upstream_response_length"] == "0, 0, 10"
    assert access["upstream_bytes_received"].split(", ")[:2] == ["0", "12"]
    assert access["request_completion"] == "OK"
    assert 9.9 < float(access["request_time"]) < 10.3


def test_bytes_received_counts_the_whole_response(stage):
    s = stage()
    client = s.client()
    client.send(get())
    upstream = s.peers[0].accept()
    upstream.receives(sent_up())
    answer = ok(b"x" * 1000)
    upstream.send(answer[:60])
    upstream.send(answer[60:])
    client.receives(to_client(b"x" * 1000))
    assert s.last_access()["upstream_bytes_received"] == str(len(answer))


def test_sizes_in_the_access_log(stage):
    s = stage()
    client = s.client()
    client.send(post(b"x" * 50))
    upstream = s.peers[0].accept()
    upstream.receives_head()
    upstream.send(ok(b"y" * 20))
    reply = client.take()
    access = s.last_access()
    assert access["body_bytes_sent"] == "20"
    assert int(access["bytes_sent"]) == len(reply) - len(b"now") + len(b"Sun, 06 Nov 1994 08:49:37 GMT")


def test_request_length_counts_the_body(stage):
    s = stage()
    client = s.client()
    wire = post(b"x" * 50)
    client.send(wire)
    upstream = s.peers[0].accept()
    upstream.receives_head()
    upstream.send(ok())
    client.receives(to_client())
    assert s.last_access()["request_length"] == str(len(wire))


def test_no_upstream_leaves_dashes(stage):
    s = stage(locations='[http.server.location."/r"]\nreturn = [200, "x"]')
    client = s.client()
    client.send(get(b"/r"))
    client.take()
    assert logged(s) == ("200", "-", "-")


def test_the_unvisited_peer_tells_what_it_heard(stage):
    """The harness itself: a peer that should not have been asked says what reached it."""
    s = stage()
    s.client().send(get(b"/heard"))
    with pytest.raises(Mismatch, match="/heard"):
        s.peers[0].is_unvisited()


# What the logs say of the request's way to the upstream.


def test_what_was_sent_and_the_body_are_known_to_the_log(stage):
    s = stage()
    client = s.client()
    client.send(b"POST /form HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc")
    upstream = s.peers[0].accept()
    head = b"POST /form HTTP/1.1\r\nHost: app\r\nContent-Length: 3\r\n\r\n"
    upstream.receives(head + b"abc")
    upstream.send(ok())
    client.take()
    line = s.last_access()
    assert line["request_body"] == "abc"
    assert line["upstream_bytes_sent"] == str(len(head) + 3)


SMALL, MIDDLE, LARGE = 30, 9000, 100_000


@pytest.mark.parametrize(
    ("sizes", "chunk"),
    [
        ((SMALL, SMALL, SMALL), SMALL_CHUNK),
        ((SMALL, MIDDLE, SMALL), HEAD_CHUNK),
        ((SMALL, LARGE, SMALL, LARGE), SMALL_CHUNK),
        ((LARGE, LARGE, SMALL, LARGE), LARGE_CHUNK),
        ((LARGE, MIDDLE, LARGE), HEAD_CHUNK),
        ((MIDDLE, SMALL, LARGE), HEAD_CHUNK),
    ],
)
@pytest.mark.parametrize("pieces", [False, True])
def test_whatever_a_connection_is_read_by_answers_of_any_size_arrive(stage, sizes, chunk, pieces):
    """pieces: the head comes in two, and some of the body with it."""
    s = stage()
    client, upstream = s.client(tcp=True, receive_buffer=1 << 20, send_buffer=1 << 20), None
    for number, size in enumerate(sizes):
        client.send(get())
        upstream = upstream or s.peers[0].accept()
        upstream.receives(sent_up())
        body = bytes([65 + number]) * size
        answer = b"HTTP/1.1 200 OK\r\nX: %d\r\nContent-Length: %d\r\n\r\n" % (number, size) + body
        if pieces:
            upstream.send(answer[:20])
            upstream.send(answer[20:700])
            answer = answer[700:]
        if answer:
            upstream.send(answer)
        head = client.receives_head()
        assert b"\r\nX: %d\r\n" % number in head
        client.receives(body)
    (connection,) = s.group().peers[0].idle
    assert pieces or connection.chunk == chunk
