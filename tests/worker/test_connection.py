"""The life of a client connection: kept or closed, its timers, its limits, and what happens when the client leaves."""

from __future__ import annotations

import gc
import os
import re
import socket
from contextlib import suppress

import pytest
from conversation import SERVER, chunks, error_page, get, ok, post, refusal, sent_up, to_client

from worker.client.http1.connection import Connection

HELLO = '[http.server.location."/hello"]\nreturn = [200, "hello"]\n'


def hello(kept: bool = True, body: bytes | None = b"hello") -> bytes:
    return to_client(body, content_type=b"text/plain", kept=kept, length=5)


# Kept or closed.


def test_a_connection_that_has_ended_leaves_nothing_to_the_collector(stage):
    s = stage(locations=HELLO)
    gc.collect()
    gc.disable()
    try:
        for _ in range(3):
            client = s.client()
            client.send(get(b"/hello", b"Connection: close"))
            client.receives(hello(kept=False))
            assert client.is_closed()
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        left = [thing for thing in gc.garbage if isinstance(thing, Connection)]
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()
    assert s.statuses() == ["200"] * 3
    assert not left and not s.worker.clients.connections


def test_a_connection_serves_request_after_request(stage):
    s = stage(locations=HELLO)
    client = s.client()
    for _ in range(5):
        client.send(get(b"/hello"))
        client.receives(hello())
    assert client.is_open()
    assert s.statuses() == ["200"] * 5


@pytest.mark.parametrize(
    ("version", "connection", "kept"),
    [
        (b"1.1", b"", True),
        (b"1.1", b"keep-alive", True),
        (b"1.1", b"close", False),
        (b"1.1", b"Close", False),
        (b"1.1", b"x-close", False),
        (b"1.1", b"foo, close", False),
        (b"1.1", b"upgrade", True),
        (b"1.0", b"", False),
        (b"1.0", b"keep-alive", True),
        (b"1.0", b"Keep-Alive", True),
        (b"1.0", b"close", False),
        (b"1.0", b"keep-alive, close", False),
    ],
)
@pytest.mark.parametrize("proxied", [False, True])
def test_what_the_client_asks_for(stage, version, connection, kept, proxied):
    s = stage(locations=HELLO)
    client = s.client()
    fields = (b"Connection: " + connection,) if connection else ()
    client.send(get(b"/" if proxied else b"/hello", *fields, version=version))
    if proxied:
        upstream = s.peers[0].accept()
        upstream.receives(sent_up())
        upstream.send(ok())
        client.receives(to_client(kept=kept))
        assert upstream.is_open()
    else:
        client.receives(hello(kept))
    assert client.is_open() == kept


def test_a_1_0_request_needs_no_host(stage):
    s = stage(locations=HELLO)
    client = s.client()
    client.send(b"GET /hello HTTP/1.0\r\n\r\n")
    client.receives(hello(kept=False))
    client.is_closed()


def test_head_has_the_head_and_nothing_else(stage):
    s = stage(locations=HELLO)
    client = s.client()
    client.send(get(b"/hello", method=b"HEAD") + get(b"/hello"))
    client.receives(hello(body=None) + hello())
    assert [line["body_bytes_sent"] for line in s.access_log()] == ["0", "5"]


def test_pipelined_requests_are_answered_in_order(stage):
    s = stage(locations=HELLO)
    client = s.client()
    client.send(get(b"/1") + get(b"/hello") + get(b"/2"))
    upstream = s.peers[0].accept()
    upstream.receives(sent_up(b"/1"))
    client.receives_nothing()
    upstream.send(ok(b"one"))
    client.receives(to_client(b"one") + hello())
    upstream.receives(sent_up(b"/2"))
    upstream.send(ok(b"two"))
    client.receives(to_client(b"two"))


@pytest.mark.parametrize("more", [1, 5, 20, 500])
def test_requests_behind_a_small_one_are_answered_however_they_fall_into_reads(stage, more):
    s = stage(locations='[http.server.location."= /r"]\nreturn = [200, "x"]')
    client = s.client(tcp=True)
    request = get(b"/r", b"X: " + b"x" * 37)
    client.send(request)
    answer = client.receives_head() + client.take()
    client.send(request * more)
    client.receives(answer * more)
    client.send(request)
    client.receives(answer)


def test_a_close_with_more_behind_than_a_small_read_takes_lets_the_answer_arrive(stage):
    s = stage(locations='[http.server.location."= /r"]\nreturn = [200, "x"]')
    client = s.client(tcp=True)
    client.send(get(b"/r"))
    client.receives_head()
    assert client.take() == b"x"
    client.send(get(b"/r", b"Connection: close") + b"x" * 2000)
    assert client.receives_head().startswith(b"HTTP/1.1 200 OK\r\n")
    client.receives(b"x")
    client.end_sending()
    assert client.is_closed()


def test_a_hundred_pipelined_requests(stage):
    s = stage(locations=HELLO)
    client = s.client()
    client.send(get(b"/hello") * 100)
    client.receives(hello() * 100)


def test_nothing_behind_a_closing_request_is_read(stage):
    s = stage(locations=HELLO)
    client = s.client()
    client.send(get(b"/hello", b"Connection: close") + get(b"/second"))
    client.receives(hello(kept=False))
    client.is_closed()
    s.peers[0].is_unvisited()
    assert s.statuses() == ["200"]


def test_the_date_of_a_repeated_answer_is_that_of_its_second(stage):
    s = stage(locations=HELLO)
    client = s.client()
    s.loop._next_wall_check = float("inf")  # the clock is set here, and by nobody else
    for wall, date in ((0.0, b"Thu, 01 Jan 1970 00:00:00 GMT"), (1.0, b"Thu, 01 Jan 1970 00:00:01 GMT")):
        s.loop.clock.set_wall(wall)
        for _ in range(2):
            client.send(get(b"/hello"))
            assert b"\r\nDate: " + date + b"\r\n" in client.pull_all()
            client.receives(hello())


def test_keepalive_requests(stage):
    s = stage(locations=HELLO, server="keepalive_requests = 3")
    client = s.client()
    client.send(get(b"/hello") * 4)
    client.receives(hello() * 2 + hello(kept=False))
    client.is_closed()
    assert s.statuses() == ["200"] * 3


def test_keepalive_time(stage):
    s = stage(locations=HELLO, server='keepalive_time = "60s"\nkeepalive_timeout = "1h"')
    client = s.client()
    s.advance(59)
    client.send(get(b"/hello"))
    client.receives(hello())
    s.advance(2)
    client.send(get(b"/hello"))
    client.receives(hello(kept=False))
    client.is_closed()


def test_keepalive_timeout_of_0(stage):
    s = stage(locations=HELLO, server="keepalive_timeout = 0")
    client = s.client()
    client.send(get(b"/hello"))
    client.receives(hello(kept=False))
    client.is_closed()


def test_keepalive_timeout_is_announced_when_it_has_two_values(stage):
    s = stage(locations=HELLO, server='keepalive_timeout = ["75s", "20s"]')
    client = s.client()
    client.send(get(b"/hello"))
    client.receives(hello().replace(b"keep-alive\r\n", b"keep-alive\r\nKeep-Alive: timeout=20\r\n"))


def test_an_idle_connection_is_closed_after_keepalive_timeout(stage):
    s = stage(locations=HELLO, server='keepalive_timeout = "10s"')
    client = s.client()
    client.send(get(b"/hello"))
    client.receives(hello())
    s.advance(9.5)
    assert client.is_open()
    client.send(get(b"/hello"))
    client.receives(hello())
    s.advance(9.5)
    assert client.is_open()
    s.advance(1)
    client.is_closed()
    assert s.statuses() == ["200", "200"]
    assert s.error_log() == []


# The time a head may take.


def test_a_client_that_says_nothing_is_closed_without_a_line(stage):
    s = stage(server='client_header_timeout = "5s"')
    client = s.client()
    s.advance(4.9)
    assert client.is_open()
    s.advance(0.2)
    client.is_closed()
    client.receives_nothing()
    assert s.access_log() == []


def test_client_header_timeout_is_for_the_whole_head(stage):
    s = stage(server='client_header_timeout = "5s"')
    client = s.client()
    for piece in (b"GET /slow HT", b"TP/1.1\r\n", b"Host: h\r\n", b"X: y\r\n"):
        client.send(piece)
        s.advance(1)
    s.advance(1)
    client.is_closed()
    client.receives_nothing()
    access = s.last_access()
    assert access["status"] == "408"
    assert access["request"] == "GET /slow HTTP/1.1"
    assert access["wproxy_end_cause"] == (
        f"client: client timed out (110: Connection timed out) (client_header_timeout 5: {s.position('client_header_timeout')})"
    )
    assert (
        "client timed out (110: Connection timed out) while reading client request headers, client: 127.0.0.1" in s.error_log()[0]
    )
    s.peers[0].is_unvisited()


def test_the_head_of_a_later_request_has_as_long_from_its_first_byte(stage):
    s = stage(locations=HELLO, server='client_header_timeout = "5s"\nkeepalive_timeout = "60s"')
    client = s.client()
    client.send(get(b"/hello"))
    client.receives(hello())
    s.advance(50)
    client.send(b"GET /hello HTTP/1.1\r\n")
    s.advance(4)
    client.send(b"Host: h\r\n")
    assert client.is_open()
    s.advance(1.1)
    client.is_closed()
    assert s.statuses() == ["200", "408"]


def test_a_part_of_a_head_behind_a_request_has_the_time_of_a_head(stage):
    s = stage(locations=HELLO, server='client_header_timeout = "5s"\nkeepalive_timeout = "60s"')
    client = s.client()
    client.send(get(b"/hello") + b"GET /hel")
    client.receives(hello())
    s.advance(6)
    assert not client.is_open()
    assert s.statuses() == ["200", "408"]


def test_a_client_that_leaves_within_a_head(stage):
    s = stage()
    client = s.client()
    client.send(b"GET / HTTP/1.1\r\nHo")
    client.close()
    assert s.worker.clients.connections == set()
    (line,) = s.error_log()
    assert "client prematurely closed connection while reading client request headers" in line


def test_a_client_that_resets_within_a_head(stage):
    s = stage()
    client = s.client(tcp=True)
    client.send(b"GET / HTTP/1.1\r\nHo")
    client.reset()
    s.until(lambda: not s.worker.clients.connections, "the connection stays")


# Refusals.


@pytest.mark.parametrize(
    ("wire", "status", "reason"),
    [
        (b"GET / HTTP/1.1\r\nHost: h\r\nContent-Length: x\r\n\r\n", 400, 'client sent invalid "Content-Length" header'),
        (b"GET / HTTP/1.1\r\n\r\n", 400, 'client sent HTTP/1.1 request without "Host" header'),
        (b"TRACE / HTTP/1.1\r\nHost: h\r\n\r\n", 405, "client sent TRACE method"),
        (b"GET /" + b"a" * 8300 + b" HTTP/1.1\r\n\r\n", 414, "client sent too long URI"),
        (b"GET / HTTP/1.1\r\nHost: h\r\nX: " + b"a" * 8300 + b"\r\n\r\n", 494, "client sent too long header line"),
        (b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: x\r\n\r\n", 501, 'client sent unknown "Transfer-Encoding": "x"'),
        (b"GET / HTTP/7.0\r\nHost: h\r\n\r\n", 505, "client sent invalid version"),
    ],
    ids=lambda value: repr(value)[:40],
)
@pytest.mark.parametrize("tcp", [False, True])
def test_a_refusal_is_answered_closed_and_logged(stage, wire, status, reason, tcp):
    s = stage()
    client = s.client(tcp=tcp)
    client.send(wire)
    client.receives(refusal(status))
    client.is_closed()
    s.peers[0].is_unvisited()
    assert s.statuses() == [str(400 if status == 494 else status)]
    (line,) = s.error_log()
    assert "[info]" in line
    assert f"*1 {reason}" in line
    assert re.search(
        r" while reading client request (line|headers), client: 127\.0\.0\.1, server: front, "
        r'request: "([^"]+"(, host: "h")?( \(large_client_header_buffers 4 8k: default\))?|GET /a{1000,})$',  # cut, as nginx cuts
        line,
    )


def test_a_refusal_arrives_although_the_client_goes_on_sending(stage):
    """Closing with unread bytes would reset the connection, and the client might never see the answer."""
    s = stage()
    client = s.client(tcp=True)
    client.send(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 10000000\r\n\r\n" + b"x" * 10)
    for _ in range(20):
        client.send(b"x" * 50000)
    client.receives(refusal(413))
    assert client.saw_end
    assert not client.saw_reset


# Bodies.


@pytest.mark.parametrize("sent", [b"", b"part of it"], ids=["nothing", "a part"])
def test_413_lingers_for_a_body_that_is_still_to_come(stage, sent):
    s = stage(location='client_max_body_size = "1k"')
    client = s.client(tcp=True)
    client.send(get(b"/", b"Content-Length: 5000", method=b"POST") + sent)
    client.receives(refusal(413))
    s.peers[0].is_unvisited()
    client.send(b"x" * 1000)
    client.send(b"x" * 1000)
    client.is_closed()
    assert not client.saw_reset
    assert "client intended to send too large body: 5000 bytes" in s.error_log()[0]


@pytest.mark.parametrize(
    "refused",
    [
        get(b"/", b"Content-Length: 5000", method=b"POST"),
        get(b"/", b"Transfer-Encoding: chunked", method=b"POST") + chunks(b"x" * 2000, last=False),
        get(b"/", b"Transfer-Encoding: chunked", method=b"POST") + b"zz\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"nonsense\r\n\r\n",
    ],
    ids=["413", "413 in chunks", "400 in chunks", "400 of a head", "400 of a line"],
)
@pytest.mark.parametrize("leaving", ["end", "reset"])
def test_a_refused_request_is_logged_once(stage, refused, leaving):
    """Its client sends the rest and leaves, in one, while we linger."""
    s = stage(location='client_max_body_size = "1k"')
    client = s.client(tcp=True).send(refused + b"more")
    assert client.receives_head().startswith((b"HTTP/1.1 413 ", b"HTTP/1.1 400 "))
    client.sock.send(b"x" * 100)
    if leaving == "end":
        client.end_sending()
    else:
        client.reset()
    s.until(lambda: not s.worker.clients.connections, "the connection stays")
    assert len(s.statuses()) == 1
    assert s.worker.clients.requests == 1
    assert len(s.error_log()) == 1


def test_413_without_100_continue(stage):
    s = stage(location='client_max_body_size = "1k"')
    client = s.client()
    client.send(get(b"/", b"Content-Length: 5000", b"Expect: 100-continue", method=b"POST"))
    client.receives(refusal(413))


def test_413_for_a_chunked_body_once_it_is_too_large(stage):
    s = stage(location='client_max_body_size = "1k"')
    client = s.client()
    client.send(get(b"/", b"Transfer-Encoding: chunked", method=b"POST") + chunks(b"x" * 1000, last=False))
    client.receives_nothing()
    client.send(chunks(b"x" * 30, last=False))
    client.receives(refusal(413))
    s.peers[0].is_unvisited()


def test_client_max_body_size_of_0_is_no_limit(stage):
    s = stage(location="client_max_body_size = 0\nproxy_request_buffering = false")
    client = s.client()
    client.send(get(b"/", b"Content-Length: 9999999999", method=b"POST"))
    upstream = s.peers[0].accept()
    upstream.receives(sent_up(b"/", b"Content-Length: 9999999999", method=b"POST"))


def test_client_body_timeout_is_between_two_reads(stage):
    s = stage(location='client_body_timeout = "5s"')
    client = s.client()
    client.send(get(b"/", b"Content-Length: 10", method=b"POST"))
    for _ in range(4):
        s.advance(4)
        client.send(b"x")
    s.advance(5.1)
    client.is_closed()
    client.receives_nothing()
    assert s.statuses() == ["408"]
    s.peers[0].is_unvisited()


def test_a_client_that_leaves_within_its_body_is_a_400(stage):
    s = stage()
    client = s.client()
    client.send(get(b"/", b"Content-Length: 10", method=b"POST") + b"part")
    client.close()
    assert s.statuses() == ["400"]
    s.peers[0].is_unvisited()
    assert "client prematurely closed connection while sending the request body" in s.error_log()[0]


def test_a_body_nobody_reads_is_skipped_and_the_connection_kept(stage):
    s = stage(locations=HELLO)
    client = s.client()
    client.send(get(b"/hello", b"Content-Length: 100", method=b"POST"))
    client.receives(hello())
    client.send(b"x" * 50)
    s.advance(4)
    client.send(b"x" * 50 + get(b"/hello"))
    client.receives(hello())
    assert s.statuses() == ["200", "200"]


def test_a_chunked_body_nobody_reads_too(stage):
    s = stage(locations=HELLO)
    client = s.client()
    client.send(
        get(b"/hello", b"Transfer-Encoding: chunked", method=b"POST") + chunks(b"x" * 100, b"GET / HTTP/1.1\r\n") + get(b"/hello")
    )
    client.receives(hello() + hello())


def test_it_is_skipped_for_lingering_timeout_at_most(stage):
    s = stage(locations=HELLO, server='lingering_timeout = "3s"')
    client = s.client()
    client.send(get(b"/hello", b"Content-Length: 100", method=b"POST") + b"x")
    client.receives(hello())
    s.advance(2.9)
    assert client.is_open()
    s.advance(0.2)
    client.is_closed()
    assert s.statuses() == ["200"]


def test_and_for_lingering_time_in_all(stage):
    s = stage(locations=HELLO, server='lingering_timeout = "3s"\nlingering_time = "10s"')
    client = s.client()
    client.send(get(b"/hello", b"Content-Length: 100", method=b"POST"))
    client.receives(hello())
    for _ in range(5):
        s.advance(2)
        client.send(b"x")
    s.advance(1)
    try:
        client.send(b"x")
    except OSError:
        pass
    client.is_closed()


def test_bad_chunks_of_a_body_nobody_reads_are_a_bad_request(stage):
    s = stage(locations=HELLO)
    client = s.client()
    client.send(get(b"/hello", b"Transfer-Encoding: chunked", method=b"POST") + b"2\r\nabzz\r\n" + get(b"/hello"))
    client.receives(refusal(400))
    assert client.is_closed()
    assert s.statuses() == ["400"]


def test_bad_chunks_that_come_when_it_has_been_answered_close_the_connection_gently(stage):
    """More comes behind them, and the client has not read its answer: no reset may take that away."""
    s = stage(locations=HELLO)
    client = s.client(tcp=True)
    client.send(get(b"/hello", b"Transfer-Encoding: chunked", method=b"POST"))
    client.send(b"zz\r\n" + b"x" * 100_000)
    client.send(b"x" * 100_000)
    client.receives(hello())
    client.end_sending()
    assert client.is_closed()
    assert not client.saw_reset
    assert s.statuses() == ["200"]


@pytest.mark.parametrize("at_once", [True, False], ids=["at once", "later"])
def test_a_body_nobody_reads_may_be_of_any_size(stage, at_once):
    """It is not kept, so client_max_body_size has no say; lingering_time has."""
    s = stage(server='client_max_body_size = "1k"', locations=HELLO)
    client = s.client(tcp=True)
    head = get(b"/hello", b"Transfer-Encoding: chunked", method=b"POST")
    rest = chunks(*[b"x" * 1000] * 400) + get(b"/hello")
    if at_once:
        client.send(head + rest)
    else:
        client.send(head).send(rest)
    client.receives(hello() * 2)
    assert client.is_open()
    assert s.statuses() == ["200", "200"]


def test_an_error_page_arrives_although_its_client_sends_more_than_it_may(stage, tmp_path):
    page = b"x" * 600_000
    (tmp_path / "big.html").write_bytes(page)
    s = stage(
        server=f'client_max_body_size = "10k"\nroot = "{tmp_path}"',
        locations="""
        [http.server.location."/deny"]
        deny = ["all"]
        error_page = [["403", "/big.html"]]
        [http.server.location."/big.html"]
        """,
    )
    client = s.client(tcp=True, receive_buffer=20_000)
    client.send(get(b"/deny", b"Transfer-Encoding: chunked", method=b"POST") + chunks(b"y" * 1000, last=False))
    assert client.receives_head().startswith(b"HTTP/1.1 403 ")
    client.send_some(chunks(*[b"y" * 1000] * 400))
    while client.pull(len(client.received) + 8192) and client.is_open() and len(client.received) < len(page):
        s.settle()
    assert bytes(client.received) == page
    assert not client.saw_reset


@pytest.mark.parametrize(
    ("framing", "body"),
    [
        (b"Content-Length: 3", b"abc"),
        (b"Content-Length: 100000", b"x" * 100_000),
        (b"Transfer-Encoding: chunked", chunks(b"abc")),
    ],
    ids=["length", "a file", "chunks"],
)
@pytest.mark.parametrize("tcp", [False, True])
def test_100_continue_waits_for_room(stage, framing, body, tcp):
    """A client that has not read its last answer yet has not left."""
    s = stage(location='client_body_timeout = "10s"')
    client = s.client(tcp=tcp)
    (connection,) = s.worker.clients.connections
    unread = 0
    with suppress(BlockingIOError):
        while True:
            unread += connection.stream.sock.send(b"x" * 4096)
    client.send(get(b"/", framing, b"Expect: 100-continue", method=b"POST"))
    s.advance(5)
    assert client.take() == b"x" * unread + b"HTTP/1.1 100 Continue\r\n\r\n"
    client.send(body)
    upstream = s.peers[0].accept()
    upstream.receives_head()
    upstream.send(ok())
    client.receives(to_client())


def test_a_client_without_room_for_100_continue_has_client_body_timeout(stage):
    s = stage(location='client_body_timeout = "10s"')
    client = s.client()
    (connection,) = s.worker.clients.connections
    with suppress(BlockingIOError):
        while True:
            connection.stream.sock.send(b"x" * 4096)
    client.send(get(b"/", b"Content-Length: 3", b"Expect: 100-continue", method=b"POST"))
    s.advance(11)
    assert s.statuses() == ["408"]


def test_a_client_that_resets_while_its_body_is_skipped_is_logged_once(stage):
    s = stage(locations=HELLO)
    client = s.client(tcp=True)
    client.send(get(b"/hello", b"Content-Length: 100", method=b"POST") + b"x")
    client.receives(hello())
    client.reset()
    s.until(lambda: not s.worker.clients.connections, "the connection stays")
    assert s.statuses() == ["200"]


def test_a_body_that_was_never_asked_for_closes_the_connection(stage):
    """Whether it comes all the same is for the client to decide, so nothing after it can be trusted."""
    s = stage(locations=HELLO)
    client = s.client()
    client.send(get(b"/hello", b"Content-Length: 100", b"Expect: 100-continue", method=b"POST"))
    client.receives(hello(kept=False))
    client.is_closed()


# Lingering.


def test_lingering_reads_and_forgets_until_the_client_closes(stage):
    s = stage(locations=HELLO)
    client = s.client(tcp=True)
    client.send(get(b"/hello", b"Connection: close") + b"GET /more")
    client.receives(hello(kept=False))
    client.is_closed()
    client.send(b"x" * 100)
    client.send(b"x" * 100)
    assert s.worker.clients.connections
    client.end_sending()
    s.until(lambda: not s.worker.clients.connections, "it lingers")
    assert s.statuses() == ["200"]


def test_lingering_has_its_timeouts(stage):
    s = stage(locations=HELLO, server='lingering_timeout = "3s"\nlingering_time = "10s"')
    client = s.client()
    client.send(get(b"/hello", b"Connection: close") + b"more")
    client.receives(hello(kept=False))
    for _ in range(3):
        s.advance(2.9)
        client.send(b"x")
        assert s.worker.clients.connections
    s.advance(2.9)
    s.advance(2.9)
    assert not s.worker.clients.connections


def test_there_is_no_lingering_without_anything_unread(stage):
    s = stage(locations=HELLO)
    client = s.client()
    client.send(get(b"/hello", b"Connection: close"))
    client.receives(hello(kept=False))
    assert not s.worker.clients.connections


def test_444_closes_without_a_word(stage):
    s = stage(locations='[http.server.location."/gone"]\nreturn = 444')
    client = s.client()
    client.send(get(b"/gone"))
    client.is_closed()
    client.receives_nothing()
    assert s.statuses() == ["444"]


# The client leaves while it is waited for the upstream.


def wait_for_answer(s, tcp: bool = False, request: bytes = get()):
    client = s.client(tcp=tcp)
    client.send(request)
    upstream = s.peers[0].accept()
    upstream.receives_head()
    return client, upstream


def is_aborted(s, upstream, cause: str = "client: closed the connection") -> None:
    assert upstream.is_closed()
    assert not s.worker.clients.connections
    access = s.last_access()
    assert access["status"] == "499"
    assert access["upstream_status"] == "-"
    assert access["wproxy_end_cause"] == cause
    assert access["wproxy_end_code"] == "cl_left"
    assert s.group().peers[0].health.fails == 0
    text = (
        "client prematurely closed connection, so upstream connection is closed too while sending request to upstream, client: "
    )
    assert any(text in line for line in s.error_log())


@pytest.mark.parametrize("tcp", [False, True])
def test_a_client_that_closes_is_a_499_at_once(stage, tcp):
    s = stage()
    client, upstream = wait_for_answer(s, tcp)
    before = s.loop.turns
    client.close()
    is_aborted(s, upstream)
    if not tcp:
        assert s.loop.turns - before < 15


def test_within_two_turns(stage):
    s = stage()
    client, upstream = wait_for_answer(s)
    client.sock.close()
    s.loop.turn(0)
    s.loop.turn(0)
    assert not s.worker.clients.connections
    assert upstream.is_closed()


@pytest.mark.parametrize("tcp", [False, True])
def test_a_client_that_ends_its_side_is_a_499_too(stage, tcp):
    s = stage()
    client, upstream = wait_for_answer(s, tcp)
    client.end_sending()
    is_aborted(s, upstream)
    client.is_closed()


def test_a_client_that_resets_is_a_499(stage):
    s = stage()
    client, upstream = wait_for_answer(s, tcp=True)
    client.reset()
    is_aborted(s, upstream)


def test_a_client_that_leaves_with_pipelined_bytes_unread_is_a_499(stage):
    s = stage()
    client, upstream = wait_for_answer(s, tcp=True)
    client.send(get(b"/pipelined"))
    assert upstream.is_open()
    client.send(get(b"/more"))
    assert upstream.is_open()
    client.end_sending()
    is_aborted(s, upstream)
    assert s.statuses() == ["499"]


def test_a_client_that_resets_with_pipelined_bytes_unread_is_a_499(stage):
    s = stage()
    client, upstream = wait_for_answer(s, tcp=True)
    client.send(get(b"/pipelined"))
    client.reset()
    is_aborted(s, upstream)
    assert s.statuses() == ["499"]


def test_bytes_and_end_at_once(stage):
    s = stage()
    client, upstream = wait_for_answer(s, tcp=True)
    client.sock.send(get(b"/pipelined"))
    client.end_sending()
    is_aborted(s, upstream)


def test_pipelined_bytes_alone_do_not_abort(stage):
    s = stage()
    client, upstream = wait_for_answer(s, tcp=True)
    client.send(get(b"/second"))
    upstream.receives_nothing()
    upstream.send(ok())
    client.receives(to_client())
    upstream.receives(sent_up(b"/second"))
    upstream.send(ok(b"2"))
    client.receives(to_client(b"2"))


def test_unread_pipelined_bytes_stay_in_the_kernel(stage):
    """While a request is answered no byte is read: the memory of a worker does not grow with what clients push."""
    s = stage()
    client, upstream = wait_for_answer(s, tcp=False)
    accepted = client.send_some(get(b"/x") * 100_000)
    assert accepted < 1_000_000
    (connection,) = s.worker.clients.connections
    assert len(connection.buffer) < 100
    upstream.send(ok())
    client.receives(to_client())
    client.close()


def test_a_client_that_leaves_while_connecting(stage):
    from conversation import SilentPeer

    s = stage(peers=[SilentPeer()])
    client = s.client()
    client.send(get())
    client.close()
    assert not s.worker.clients.connections
    assert s.statuses() == ["499"]


def test_a_client_that_leaves_while_its_body_is_sent_upstream(stage):
    s = stage(location='client_max_body_size = 0\nproxy_request_buffering = false\nclient_body_buffer_size = "1k"')
    client = s.client(tcp=True)
    client.send(get(b"/", b"Content-Length: 100000000", method=b"PUT") + b"x" * 10)
    upstream = s.peers[0].accept()
    client.send_some(b"x" * 100_000_000)
    client.reset()
    s.until(lambda: not s.worker.clients.connections, "the connection stays")
    upstream.pull_all()
    assert upstream.is_closed()
    assert s.statuses()[0] in ("499", "400")
    assert len(s.statuses()) == 1


@pytest.mark.parametrize("tcp", [False, True])
@pytest.mark.parametrize("body", [b"ok", b"x" * 300_000], ids=["small", "big"])
def test_proxy_ignore_client_abort_lets_the_upstream_finish(stage, tcp, body):
    s = stage(location="proxy_ignore_client_abort = true")
    client, upstream = wait_for_answer(s, tcp)
    client.close()
    assert upstream.is_open()
    assert s.worker.clients.connections
    upstream.send_some(ok(body))
    s.until(lambda: not s.worker.clients.connections, "the connection stays")
    assert s.last_access()["status"] in ("200", "499")
    assert len(s.statuses()) == 1


def test_proxy_ignore_client_abort_serves_a_client_that_only_ended_its_side(stage):
    s = stage(location="proxy_ignore_client_abort = true")
    client, upstream = wait_for_answer(s)
    client.end_sending()
    assert upstream.is_open()
    upstream.send(ok())
    client.receives(to_client())
    client.is_closed()
    assert s.statuses() == ["200"]


def test_a_client_that_leaves_during_the_response_ends_the_upstream(stage):
    s = stage()
    client, upstream = wait_for_answer(s)
    upstream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\npart")
    client.receives(to_client(b"part", length=100))
    client.close()
    assert upstream.is_closed()
    assert s.statuses() == ["200"]
    assert s.last_access()["request_completion"] == ""


@pytest.mark.parametrize("answer", ["head and part", "until close", "101"])
def test_a_client_that_is_gone_when_the_head_goes_out_leaves_nothing_behind(stage, answer):
    """The sweep at the end of the test finds an upstream connection that nobody closed."""
    s = stage(
        location='proxy_ignore_client_abort = true\nproxy_set_header = { Upgrade = "$http_upgrade", Connection = "upgrade" }'
    )
    client, upstream = wait_for_answer(s, request=get(b"/", b"Upgrade: x", b"Connection: upgrade"))
    client.close()
    upstream.send(
        {
            "head and part": b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\npart",
            "until close": b"HTTP/1.1 200 OK\r\n\r\npart",
            "101": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
        }[answer]
    )
    assert upstream.is_closed()
    assert not s.worker.clients.connections
    assert len(s.statuses()) == 1


# A client that does not read.


def test_send_timeout_is_between_two_writes(stage):
    s = stage(location='send_timeout = "5s"\nproxy_buffering = false')
    client = s.client(send_buffer=4096)
    client.send(get())
    upstream = s.peers[0].accept()
    upstream.receives(sent_up())
    upstream.send_some(ok(b"x" * 2_000_000))
    for _ in range(4):
        s.advance(4)
        assert s.worker.clients.connections
        client.received.clear()
        client.pull(200_000)  # a buffer of the kernel counts as taken when all of it is
        s.settle()
    s.advance(4)
    assert s.worker.clients.connections
    s.advance(1.1)
    assert not s.worker.clients.connections
    assert upstream.pull_all() is not None
    assert upstream.is_closed()
    access = s.last_access()
    assert access["status"] == "200"
    assert access["wproxy_end_cause"] == f"client: it did not take the response (send_timeout 5: {s.position('send_timeout')})"
    assert access["wproxy_end_code"] == "cl_stalled"
    assert "client timed out (110: Connection timed out) while sending response to client" in s.error_log()[0]


def test_send_timeout_of_a_response_at_hand(stage):
    s = stage(locations=f'[http.server.location."/big"]\nreturn = [200, "{"x" * 500_000}"]\nsend_timeout = "5s"')
    client = s.client(send_buffer=4096)
    client.send(get(b"/big"))
    assert s.worker.clients.connections
    s.advance(5.1)
    assert not s.worker.clients.connections
    assert "send_timeout 5" in s.last_access()["wproxy_end_cause"]
    assert s.last_access()["wproxy_end_code"] == "cl_stalled"


def test_a_slow_client_holds_the_upstream_back(stage):
    """What the upstream sends stays in the kernel until the client takes it."""
    s = stage()
    client = s.client(send_buffer=4096)
    client.send(get())
    upstream = s.peers[0].accept()
    upstream.receives(sent_up())
    body = bytes(range(256)) * 40_000
    head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body)
    taken = upstream.send_some(head + body)
    assert taken < len(body)
    rest = (head + body)[taken:]
    received = bytearray()
    while rest or len(received) < len(body):
        client.pull()
        received += client.received
        client.received.clear()
        s.settle()
        if rest:
            rest = rest[upstream.send_some(rest) :]
        if received.endswith(body[-256:]) and not rest and len(received) > len(body):
            break
    client.pull_all()
    received += client.received
    client.received.clear()
    assert bytes(received).endswith(body)
    assert len(received) < len(body) + 300
    assert s.last_access()["request_completion"] == "OK"


# What is left.


def test_the_location_that_is_not_there(stage):
    s = stage(peers=0, text=CONFIGURATION_WITHOUT_LOCATION)
    client = s.client()
    client.send(get())
    client.receives(error_page(404))
    assert client.is_open()


CONFIGURATION_WITHOUT_LOCATION = """\
error_log = [["{directory}/error.log", "info"]]
[http]
access_log = [["{directory}/access.log", "test"]]
[http.log_format]
test = '{log_format}'
[[http.server]]
listen = "127.0.0.1:8080"
"""


def test_server_tokens_off(stage):
    s = stage(locations=HELLO, server="server_tokens = false")
    client = s.client()
    client.send(get(b"/hello"))
    client.receives(hello().replace(SERVER, b"wproxy"))


def test_draining_closes_idle_connections_and_serves_fresh_ones_once(stage):
    s = stage(locations=HELLO)
    idle = s.client()
    idle.send(get(b"/hello"))
    idle.receives(hello())
    fresh = s.client()
    s.worker.drain()
    s.settle()
    idle.is_closed()
    assert fresh.is_open()
    fresh.send(get(b"/hello"))
    fresh.receives(hello(kept=False))
    fresh.is_closed()
    assert not s.worker.clients.connections


def test_a_request_that_is_served_while_the_worker_drains_is_the_last_of_its_connection(stage):
    s = stage()
    client, upstream = wait_for_answer(s)
    s.worker.drain()
    s.settle()
    assert client.is_open()
    upstream.send(ok())
    assert client.take() in (to_client(), to_client(kept=False))
    assert not client.is_open()
    assert upstream.is_closed()
    assert not s.worker.clients.connections


def test_a_client_over_ipv4_gets_no_delay(stage):
    s = stage(locations=HELLO)
    client = s.client(tcp=True)
    client.send_slowly(get(b"/hello"))
    client.receives(hello())
    assert client.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_a_body_of_one_byte_at_a_time(stage):
    s = stage()
    client = s.client()
    client.send_slowly(post(b"hello world"))
    upstream = s.peers[0].accept()
    upstream.receives(sent_up(b"/", b"Content-Length: 11", method=b"POST") + b"hello world")
    upstream.send(ok())
    client.receives(to_client())


# Fairness.


class Flood:
    """The system's reading and writing, where one descriptor has more to read than anybody can take, and another takes all.

    received: the number of reads from the first one.
    """

    def __init__(self, source: int, target: int = -1) -> None:
        self.source = source
        self.target = target
        self.received = 0

    def read(self, fd: int, size: int) -> bytes:
        if fd != self.source:
            return os.read(fd, size)
        self.received += 1
        if self.received > 3000:
            raise ConnectionResetError(104, "enough")
        return b"x" * 65536

    def write(self, fd: int, data: bytes | memoryview) -> int:
        return len(data) if fd == self.target else os.write(fd, data)


@pytest.mark.interpreted_only("the system's calls are replaced")
@pytest.mark.parametrize("kind", ["response", "upload", "tunnel"])
def test_a_transfer_between_fast_neighbours_lets_the_others_go_on(stage, monkeypatch, kind):
    """Both ends are made as fast as can be: every receive is full and every send is taken, as on a fast network."""
    s = stage(
        location='client_max_body_size = 0\nproxy_request_buffering = false\nproxy_set_header = { Upgrade = "$http_upgrade" }',
        locations=HELLO,
    )
    client = s.client()
    client.send(get(b"/", b"Content-Length: 9000000000", method=b"PUT") if kind == "upload" else get(b"/", b"Upgrade: x"))
    upstream = s.peers[0].accept()
    upstream.receives_head()
    (connection,) = s.worker.clients.connections
    (other,) = [stream for stream in s.loop._streams.values() if stream is not connection.stream]
    source, target = (connection.stream, other) if kind == "upload" else (other, connection.stream)
    head = b"" if kind == "upload" else b"HTTP/1.1 200 OK\r\nContent-Length: 9000000000\r\n\r\n"
    if kind == "tunnel":
        head = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n"
    if head:
        upstream.send(head)
        client.receives_head()
    flood = Flood(source.fd, target.fd)
    monkeypatch.setattr("worker.stream._read", flood.read)
    monkeypatch.setattr("worker.stream._write", flood.write)
    hasty = s.client()
    (client if kind == "upload" else upstream).sock.send(b"go")
    hasty.sock.send(get(b"/hello"))
    for _ in range(20):
        s.loop.turn(0)
    assert hasty.pull()
    assert flood.received < 1000
    s.settle()


@pytest.mark.interpreted_only("the system's calls are replaced")
@pytest.mark.parametrize("kind", ["a body nobody reads", "lingering"])
def test_a_client_that_never_pauses_is_not_listened_to_for_ever(stage, monkeypatch, kind):
    """Anybody can send faster than we forget; lingering_time must end it, and the others must not wait for that."""
    s = stage(locations=HELLO, server='lingering_time = "30s"\nclient_max_body_size = 0')
    client = s.client()
    if kind == "lingering":
        client.send(get(b"/hello", b"Connection: close") + b"more")
        client.receives(hello(kept=False))
    else:
        client.send(get(b"/hello", b"Content-Length: 9000000000", method=b"POST"))
        client.receives(hello())
    (connection,) = s.worker.clients.connections
    flood = Flood(connection.stream.fd)
    monkeypatch.setattr("worker.stream._read", flood.read)
    hasty = s.client()
    client.sock.send(b"go")
    hasty.sock.send(get(b"/hello"))
    for _ in range(20):
        s.loop.turn(0)
    assert hasty.pull()
    assert flood.received < 1000
    s.now += 31
    for _ in range(20):
        s.loop.turn(0)
    assert connection not in s.worker.clients.connections
    assert flood.received < 2000


@pytest.mark.parametrize(
    ("setting", "method", "agent", "is_kept"),
    [
        ("", b"POST", b"Mozilla/4.0 (compatible; MSIE 6.0; Windows NT 5.0)", False),
        ("", b"GET", b"Mozilla/4.0 (compatible; MSIE 6.0; Windows NT 5.0)", True),
        ("", b"GET", b"Version/17.0 Mac OS X Safari/605.1.15", True),
        ('keepalive_disable = ["safari"]', b"GET", b"Version/17.0 Mac OS X Safari/605.1.15", False),
        ('keepalive_disable = ["none"]', b"POST", b"Mozilla/4.0 (compatible; MSIE 6.0; Windows NT 5.0)", True),
    ],
)
def test_browsers_of_keepalive_disable_are_not_kept(stage, setting, method, agent, is_kept):
    s = stage(locations=f'[http.server.location."= /k"]\n{setting}\nreturn = [200, "hello"]')
    client = s.client()
    client.send(get(b"/k", b"Content-Length: 0", b"User-Agent: " + agent, method=method))
    assert (b"Connection: keep-alive" in client.receives_head()) == is_kept
    client.close()
