"""`proxy_http_version 2`: requests as streams, answers, windows, faults (http2-rules.md, "As client to upstreams")."""

from __future__ import annotations

import shutil
import socket
import struct
import subprocess

import pytest
from conversation import End, Stage, chunks, get, post
from http2_peer import ACK, END_HEADERS, END_STREAM, PADDED, PREFACE, Http2Peer, Sent, frame, settings
from tls_peer import TlsPeer

from bench.ports import free_port
from tests.authority import authority
from worker.http2 import answer_block
from worker.stream import Stream
from worker.upstream.protocols.http2 import HTTP2Connection

NGINX = shutil.which("nginx") or "/usr/sbin/nginx"


@pytest.fixture
def two(stage):
    """A stage whose proxy_pass speaks HTTP/2."""

    def make(location: str = "", **more) -> Stage:
        return stage(location=f'proxy_http_version = "2"\n{location}', **more)

    return make


def ask(s: Stage, path: bytes = b"/", *fields: bytes, method: bytes = b"GET") -> End:
    return s.client().send(get(path, *fields, method=method))


def accept(s: Stage, number: int = 0, **own: int) -> Http2Peer:
    return Http2Peer(s.peers[number].accept(), **own)


def body_of(client: End) -> tuple[bytes, bytes]:
    """The head, and the body of a chunked response that is there to its end."""
    head = client.receives_head()
    client.stage.until(lambda: b"0\r\n" in client.pull_all() or client.saw_end, "the end does not come")
    wire, body = client.take(), b""
    while wire:
        size, _, rest = wire.partition(b"\r\n")
        if size == b"0":
            break
        body, wire = body + rest[: int(size, 16)], rest[int(size, 16) + 2 :]
    return head, body


# Requests.


def test_a_request_is_a_field_block_and_the_answer_goes_to_an_http1_client(two):
    s = two()
    client = ask(s, b"/path?a=1", b"X-One: 1", b"Cookie: a=b", b"TE: trailers", b"Connection: X-Named", b"X-Named: 1")
    peer = accept(s)
    number, fields = peer.request()
    assert number == 1
    assert fields == [
        (b":method", b"GET"),
        (b":scheme", b"http"),
        (b":path", b"/path?a=1"),
        (b":authority", b"app"),
        (b"x-one", b"1"),
        (b"cookie", b"a=b"),
    ]
    peer.send(peer.head(1, ("content-length", "2"), ("x-two", "2"), ("server", "them")), peer.data(1, b"ok", end=True))
    head = client.receives_head()
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"\r\nx-two: 2\r\n" in head and b"them" not in head
    assert b"\r\nContent-Length: 2\r\n" in head
    client.receives(b"ok")
    assert s.group().idle_count == 1


def test_fields_about_the_connection_are_not_sent(two):
    s = two(
        'proxy_set_header = { Host = "own", Connection = "upgrade", Upgrade = "$http_upgrade", TE = "gzip", X-Set = "$host", '
        'Transfer-Encoding = "chunked" }'
    )
    client = ask(s, b"/", b"Upgrade: websocket", b"Keep-Alive: 1", b"Expect: x", b"Proxy: 1")
    if client.pull_all():
        client = ask(s, b"/", b"Upgrade: websocket", b"Keep-Alive: 1", b"Proxy: 1")
    peer = accept(s)
    _, fields = peer.request()
    assert fields[3:] == [(b":authority", b"own"), (b"x-set", b"h")]
    peer.answer(1)
    assert body_of(client)[1] == b"ok"


def test_requests_follow_each_other_on_a_connection(two):
    s = two()
    client = s.client()
    peer = None
    for number in (1, 3, 5):
        client.send(get(b"/%d" % number))
        peer = peer or accept(s)
        assert peer.request()[0] == number
        peer.answer(number, b"body %d" % number)
        assert body_of(client)[1] == b"body %d" % number
    assert s.group().idle_count == 1
    assert s.last_access()["upstream_connect_time"] == "0.000"


def test_an_upstream_that_speaks_before_there_is_a_request_hears_the_beginning_first(two):
    """RFC 9113 section 3.4: whatever is sent, the preface and our settings come before it."""
    ours, theirs = socket.socketpair()
    with theirs:
        ours.setblocking(False)
        loop = two().worker.loop
        stream = Stream(loop, ours)
        loop.add(stream)
        connection = HTTP2Connection(stream, 10, 60.0)
        connection.receive(settings() + frame("PING", 0, b"12345678"))
        sent = theirs.recv(65536)
        head = connection.begin()
        assert sent.startswith(PREFACE) and sent.count(PREFACE) == 1
        assert sent.endswith(frame("SETTINGS", 0, b"", ACK) + frame("PING", 0, b"12345678", ACK))
        assert connection.open(head, b"\x82", b"", False) == frame("HEADERS", 1, b"\x82", END_HEADERS | END_STREAM)
        connection.close()


def test_one_request_at_a_time_unless_more_are_allowed(two):
    s = two()
    first, second = ask(s, b"/1"), ask(s, b"/2")
    peers = accept(s), accept(s)
    for peer, client in zip(peers, (first, second)):
        peer.request()
        peer.answer(1)
        assert body_of(client)[1] == b"ok"
    assert s.group().idle_count == 2


def test_proxy_max_streams_lets_requests_share_a_connection(two):
    s = two("proxy_max_streams = 2")
    first = ask(s, b"/1")
    peer = accept(s)
    peer.request()
    second, third = ask(s, b"/2"), ask(s, b"/3")
    assert peer.request()[0] == 3
    other = accept(s)
    other.request()
    peer.answer(3, b"second").answer(1, b"first")
    other.answer(1, b"third")
    assert [body_of(client)[1] for client in (first, second, third)] == [b"first", b"second", b"third"]


def test_the_upstream_may_allow_for_fewer_streams(two):
    s = two("proxy_max_streams = 10")
    clients = [ask(s, b"/1")]
    peer = accept(s, streams=2)
    peer.request()
    clients.append(ask(s, b"/2"))
    peer.request()
    clients.append(ask(s, b"/3"))
    other = accept(s)
    other.request()
    other.answer(1)
    peer.answer(1).answer(3)
    assert [body_of(client)[1] for client in clients] == [b"ok"] * 3


def test_requests_that_come_while_a_connection_is_opened_wait_for_it(two):
    s = two("proxy_max_streams = 2")
    clients = [s.client() for _ in range(3)]
    for number, client in enumerate(clients):
        client.sock.send(get(b"/%d" % number))  # all three before the worker turns
    peer, other = accept(s), accept(s)
    assert s.peers[0].is_unvisited()
    found = [sent for sent in peer.take() + other.take() if sent.kind == "HEADERS"]
    assert sorted(dict(sent.payload)[b":path"] for sent in found) == [b"/0", b"/1", b"/2"]
    assert [sent.stream for sent in found] == [1, 3, 1]
    peer.answer(1).answer(3)
    other.answer(1)
    assert [body_of(client)[1] for client in clients] == [b"ok"] * 3
    assert s.group().idle_count == 2


def test_requests_that_the_upstream_has_no_place_for_yet_are_sent_once_more(two):
    s = two("proxy_max_streams = 10")
    clients = [s.client() for _ in range(2)]
    for client in clients:
        client.sock.send(post(b"body"))
    peer = accept(s, streams=1)
    assert [sent.stream for sent in peer.take() if sent.kind == "HEADERS"] == [1, 3]
    peer.send(frame("RST_STREAM", 3, (7).to_bytes(4, "big")))
    other = accept(s, streams=1)
    assert [sent.kind for sent in other.take()] == ["HEADERS", "DATA"]
    other.answer(1)
    peer.answer(1)
    assert [body_of(client)[1] for client in clients] == [b"ok"] * 2
    assert sorted(line["upstream_status"] for line in s.access_log()) == ["200", "200"], "that was no attempt of its own"


def test_an_upstream_that_allows_for_no_stream_is_waited_for(two):
    s = two()
    client = s.client().send(post(b"body"))
    peer = accept(s, streams=0)
    peer.take()
    peer.send(frame("RST_STREAM", 1, (7).to_bytes(4, "big")))
    assert s.peers[0].is_unvisited(), "the connection stands"
    assert peer.take() == []
    peer.send(settings(streams=1))
    assert [(sent.kind, sent.stream) for sent in peer.take()] == [("HEADERS", 3), ("DATA", 3)]
    peer.answer(3)
    assert body_of(client)[1] == b"ok"
    assert s.last_access()["upstream_status"] == "200"


def test_an_upstream_that_never_allows_for_a_stream_times_out(two):
    s = two('proxy_connect_timeout = "5s"')
    client = ask(s)
    peer = accept(s)
    peer.request()
    peer.answer(1)
    body_of(client)
    peer.send(settings(streams=0))
    client.send(get())
    s.advance(4)
    assert peer.take() == []
    s.advance(2)
    assert client.receives_head().startswith(b"HTTP/1.1 504 ")
    assert peer.take() == []
    assert "upstream timed out (110: Connection timed out) while sending request to upstream" in s.error_log()[-1]


def test_a_refusal_on_a_connection_that_stands_is_no_reason_to_ask_again(two):
    s = two()
    client = ask(s)
    peer = accept(s)
    peer.request()
    peer.answer(1)
    body_of(client)
    client.send(get())
    peer.request()
    peer.send(frame("RST_STREAM", 3, (7).to_bytes(4, "big")))
    assert client.receives_head().startswith(b"HTTP/1.1 502 ")
    assert peer.take() == []


def test_the_first_head_after_a_smaller_table_says_so(two):
    s = two()
    client = ask(s)
    peer = accept(s, table=0)
    peer.decoder.max_allowed_table_size = peer.decoder.header_table_size = 4096
    peer.request()
    peer.answer(1)
    body_of(client)
    client.send(get(b"/2"))
    peer.end.stage.until(peer._has_frames, "no request")
    wire = bytes(peer.end.pull_all())
    peer.end.received.clear()
    acknowledged = frame("SETTINGS", 0, b"", ACK)
    wire = wire.removeprefix(acknowledged)
    assert wire[3] == 1 and wire[9] == 0x20, "a size update to 0 begins the block"
    peer.answer(3)
    body_of(client)


# Bodies of requests.


def uploaded(peer: Http2Peer, into: bytearray) -> bool:
    """Take what has come; return whether the request has ended."""
    for sent in peer.take():
        if sent.kind == "DATA":
            into += sent.payload
        if sent.kind in ("DATA", "HEADERS") and sent.ends:
            return True
    return False


@pytest.mark.parametrize("settings_", ["", 'client_body_buffer_size = "1k"', "proxy_request_buffering = false"])
@pytest.mark.parametrize("size", [0, 5, 16384, 50_000])
def test_bodies_go_up_from_memory_from_a_file_and_as_they_come(two, settings_, size):
    s = two(settings_)
    body = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    client = s.client().send(post(body))
    peer = accept(s)
    (head, *rest) = peer.take()
    assert head.kind == "HEADERS" and head.ends is (size == 0)
    assert (b"content-length", b"%d" % size) in [tuple(field) for field in head.payload]
    got = bytearray(b"".join(sent.payload for sent in rest))
    if size:
        s.until(lambda: (rest and rest[-1].ends) or uploaded(peer, got), "the end of the body")
    assert got == body
    peer.answer(1)
    assert body_of(client)[1] == b"ok"
    assert s.group().idle_count == 1


def test_a_chunked_body_has_no_length_and_ends_with_an_empty_frame(two):
    s = two("proxy_request_buffering = false")
    client = s.client().send(get(b"/", b"Transfer-Encoding: chunked", method=b"POST"))
    peer = accept(s)
    (head,) = peer.take()
    assert not head.ends and b"content-length" not in dict(head.payload)
    client.send(chunks(b"one", last=False))
    assert peer.take() == [Sent("DATA", 1, 0, b"one")]
    client.send(chunks(b"two"))
    assert peer.take() == [Sent("DATA", 1, 0, b"two"), Sent("DATA", 1, 1, b"")]
    peer.answer(1)
    body_of(client)


def test_a_body_waits_for_the_windows_of_the_upstream(two):
    s = two()
    client = ask(s)
    peer = accept(s, window=10)
    peer.request()
    peer.answer(1)
    body_of(client)
    body = bytes(100_000)
    client.send(post(body))
    got = bytearray()
    assert not uploaded(peer, got)
    assert len(got) == 10
    peer.send(frame("WINDOW_UPDATE", 3, (7).to_bytes(4, "big")))
    assert not uploaded(peer, got)
    assert len(got) == 17
    peer.send(settings(window=5))
    peer.send(frame("WINDOW_UPDATE", 3, (5).to_bytes(4, "big")))
    assert not uploaded(peer, got)
    assert len(got) == 17, "the window is negative, then 0"
    peer.send(frame("WINDOW_UPDATE", 3, (1 << 20).to_bytes(4, "big")))
    assert not uploaded(peer, got)
    assert len(got) == 65535, "the window of the connection"
    peer.send(frame("WINDOW_UPDATE", 0, (1 << 20).to_bytes(4, "big")))
    s.until(lambda: uploaded(peer, got), "the end of the body")
    assert got == body
    peer.answer(3)
    body_of(client)


def test_an_upstream_that_opens_no_window_times_out(two):
    s = two('proxy_send_timeout = "5s"')
    client = s.client().send(post(bytes(100_000)))
    peer = accept(s)
    uploaded(peer, bytearray())
    s.advance(6)
    assert client.receives_head().startswith(b"HTTP/1.1 504 ")
    assert Sent("RST_STREAM", 1, 0, 8) in peer.take()


def test_an_answer_before_the_end_of_the_body_ends_the_upload(two):
    s = two("proxy_request_buffering = false")
    client = s.client().send(get(b"/", b"Content-Length: 10", method=b"POST"))
    peer = accept(s)
    peer.take()
    peer.answer(1, b"early", ("content-length", "5"))
    assert client.receives_head().startswith(b"HTTP/1.1 200 ")
    client.receives(b"early")
    assert peer.take() == [Sent("RST_STREAM", 1, 0, 8)]
    assert s.group().idle_count == 1, "only the stream is lost"


def test_an_upstream_that_wants_no_more_of_the_body_is_still_heard(two):
    s = two("proxy_request_buffering = false\nclient_max_body_size = 0")
    client = s.client().send(get(b"/", b"Content-Length: 1000000", method=b"POST"))
    peer = accept(s)
    client.send(bytes(200_000))
    peer.take()
    peer.send(peer.head(1, end=True), frame("RST_STREAM", 1, bytes(4)))
    assert client.receives_head().startswith(b"HTTP/1.1 200 ")


def test_both_directions_at_once(two):
    s = two("proxy_request_buffering = false\nproxy_buffering = false")
    client = s.client().send(get(b"/", b"Transfer-Encoding: chunked", method=b"POST"))
    peer = accept(s)
    peer.take()
    peer.send(peer.head(1))
    client.receives_head()
    for piece in (b"12345", b"67890"):
        client.send(chunks(piece, last=False))
        assert peer.take() == [Sent("DATA", 1, 0, piece)]
        peer.send(peer.data(1, piece))
        client.receives(b"5\r\n" + piece + b"\r\n")
    client.send(b"0\r\n\r\n")
    assert peer.take() == [Sent("DATA", 1, 1, b"")]
    peer.send(peer.data(1, end=True))
    client.receives(b"0\r\n\r\n")
    assert s.group().idle_count == 1


# Answers.


@pytest.mark.parametrize("status", [200, 204, 304, 404])
@pytest.mark.parametrize("method", [b"GET", b"HEAD"])
def test_answers_that_end_with_their_head(two, status, method):
    s = two()
    client = ask(s, method=method)
    peer = accept(s)
    peer.request()
    peer.send(peer.head(1, ("content-length", "0"), status=status, end=True))
    assert client.receives_head().startswith(b"HTTP/1.1 %d " % status)
    client.receives_nothing()
    assert s.group().idle_count == 1


@pytest.mark.parametrize(("method", "status"), [(b"HEAD", 200), (b"GET", 204), (b"GET", 304)])
def test_a_body_where_there_can_be_none_is_dropped(two, method, status):
    s = two()
    client = ask(s, method=method)
    peer = accept(s)
    peer.request()
    peer.send(peer.head(1, ("x-a", "b"), status=status), peer.data(1, b"HTTP/1.1 200 OK\r\n\r\n", end=True))
    assert client.receives_head().startswith(b"HTTP/1.1 %d " % status)
    client.receives_nothing()
    client.send(get(b"/again"))
    peer = peer if s.peers[0].is_unvisited() else accept(s)
    stream, _ = peer.request()
    peer.answer(stream, b"second", ("content-length", "6"))
    assert client.receives_head().startswith(b"HTTP/1.1 200 ")
    client.receives(b"second")


def test_interim_heads_are_skipped_and_hints_pass(two):
    s = two("early_hints = ['1']")
    client = ask(s)
    peer = accept(s)
    peer.request()
    peer.send(peer.head(1, status=100), peer.head(1, ("link", "</a>"), status=103))
    peer.answer(1)
    assert client.receives_head() == b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n"
    assert body_of(client)[1] == b"ok"


def test_a_large_answer_keeps_within_the_window_and_reaches_a_slow_client(two):
    s = two()
    client = s.client(tcp=True, receive_buffer=4096, send_buffer=4096).send(get())
    peer = accept(s)
    peer.request()
    big = bytes(range(256)) * 8000
    peer.send(peer.head(1))
    room, at, got = 262144, 0, bytearray()
    client.receives_head()
    while at < len(big):
        piece = big[at : at + min(room, 16384)]
        assert piece or client.pull_all() is not None
        if piece:
            peer.send(peer.data(1, piece))
            at, room = at + len(piece), room - len(piece)
        s.advance(0.1)
        room += sum(sent.payload for sent in peer.take() if sent.kind == "WINDOW_UPDATE" and sent.stream == 1)
        got += client.pull()
        client.received.clear()
    peer.send(peer.data(1, end=True))
    s.until(lambda: got.extend(client.take()) or got.endswith(b"0\r\n\r\n"), "the end")
    body, wire = b"", bytes(got)
    while True:
        size, _, rest = wire.partition(b"\r\n")
        if not int(size, 16):
            break
        body, wire = body + rest[: int(size, 16)], rest[int(size, 16) + 2 :]
    assert body == big


def test_trailers_follow_a_chunked_body_where_they_are_asked_for(two):
    s = two("proxy_pass_trailers = true")
    client = ask(s)
    peer = accept(s)
    peer.request()
    peer.send(peer.head(1), peer.data(1, b"x"), peer.trailers(1, ("x-sum", "7"), ("content-length", "9"), ("connection", "x")))
    client.receives_head()
    client.receives(b"1\r\nx\r\n0\r\nx-sum: 7\r\n\r\n")
    assert s.group().idle_count == 1


def test_the_length_of_a_response_counts_frames_as_in_nginx(two):
    s = two()
    client = ask(s)
    peer = accept(s)
    peer.request()
    peer.send(peer.head(1), frame("DATA", 1, b"\x02body\0\0", PADDED), peer.data(1, b"more", end=True))
    assert body_of(client)[1] == b"bodymore"
    assert s.last_access()["upstream_response_length"] == str(9 + 7 + 9 + 4)


def test_padding_counts_in_the_window_and_is_not_payload(two):
    s = two()
    client = ask(s)
    peer = accept(s)
    peer.request()
    peer.send(peer.head(1), frame("DATA", 1, b"\x03abc" + bytes(3), PADDED), peer.data(1, b"d", end=True))
    assert body_of(client)[1] == b"abcd"


def test_a_ping_is_answered_and_is_a_sign_of_life(two):
    s = two('proxy_read_timeout = "5s"')
    client = ask(s)
    peer = accept(s)
    peer.request()
    peer.send(peer.head(1))
    client.receives_head()
    for _ in range(3):
        s.advance(4)
        peer.send(frame("PING", 0, b"12345678"))
        assert peer.take() == [Sent("PING", 0, ACK, b"12345678")]
    peer.send(peer.data(1, b"late", end=True))
    client.receives(b"4\r\nlate\r\n0\r\n\r\n")


def test_what_means_nothing_is_ignored(two):
    s = two()
    client = ask(s)
    peer = accept(s)
    peer.request()
    peer.send(
        frame("10", 0, b"altsvc"),
        frame("200", 1, b"?"),
        frame("PING", 0, bytes(8), ACK),
        settings(),
        frame("PRIORITY", 1, bytes(5)),
    )
    peer.answer(1)
    assert body_of(client)[1] == b"ok"


# Faults.


def broken_head(name: bytes, value: bytes, *, status: bytes = b"200") -> bytes:
    fields = ((b":status", status), (name, value))
    block = b"".join(b"\x00%c%b%c%b" % (len(one), one, len(two), two) for one, two in fields)
    return frame("HEADERS", 1, block, END_HEADERS | 1)


HEADS = {
    "an upper-case name": broken_head(b"X-Up", b"1"),
    "a colon in a name": broken_head(b"x:y", b"1"),
    "a line break in a value": broken_head(b"x", b"a\r\nb"),
    "an unknown pseudo-header": broken_head(b":x", b"1"),
    "a second status": broken_head(b":status", b"200"),
    "a status that is none": broken_head(b"x", b"1", status=b"2x0"),
    "no status": frame("HEADERS", 1, b"\x00\x01x\x011", END_HEADERS | 1),
    "two lengths": broken_head(b"content-length", b"1,2"),
    "a 101": broken_head(b"x", b"1", status=b"101"),
    "a 100 that ends the stream": broken_head(b"x", b"1", status=b"100"),
    "a reset": frame("RST_STREAM", 1, (2).to_bytes(4, "big")),
}


@pytest.mark.parametrize("name", HEADS)
def test_a_broken_answer_is_a_502_and_the_connection_stays(two, name):
    s = two()
    client = ask(s)
    peer = accept(s)
    peer.request()
    peer.send(HEADS[name])
    assert client.receives_head().startswith(b"HTTP/1.1 502 ")
    assert s.group().idle_count == 1
    assert any("while reading response header from upstream" in line for line in s.error_log())


CONNECTIONS = {
    "HTTP/1": b"HTTP/1.1 400 Bad Request\r\n\r\n",
    "no SETTINGS first": frame("PING", 0, bytes(8)),
    "a frame that is too large": (b"\x00\x40\x01\x00\x00" + (1).to_bytes(4, "big")),
    "DATA before a head": frame("DATA", 1, b"x"),
    "HEADERS on a stream that nobody opened": frame("HEADERS", 3, b"\x88", END_HEADERS),
    "a pushed stream": frame("PUSH_PROMISE", 1, bytes(4), END_HEADERS),
    "an index that means nothing": frame("HEADERS", 1, b"\x80", END_HEADERS),
    "a table that we do not have": frame("HEADERS", 1, b"\x3f\xe1\x1f\x88", END_HEADERS),
    "a window of nothing": frame("WINDOW_UPDATE", 0, bytes(4)),
    "a window that is too large": frame("WINDOW_UPDATE", 0, (2**31 - 1).to_bytes(4, "big")),
    "too much of a window for a stream": frame("WINDOW_UPDATE", 1, (2**31 - 1).to_bytes(4, "big")),
    "an initial window that is too large": frame("SETTINGS", 0, struct.pack(">HI", 4, 2**31)),
    "pushes": frame("SETTINGS", 0, struct.pack(">HI", 2, 1)),
    "a CONTINUATION alone": frame("CONTINUATION", 1, b"\x88", END_HEADERS),
}


@pytest.mark.parametrize("name", CONNECTIONS)
def test_who_breaks_the_rules_of_a_connection_loses_it(two, name):
    s = two()
    client = ask(s)
    end = s.peers[0].accept()
    begins = b"" if name in ("HTTP/1", "no SETTINGS first") else settings()
    end.send(begins + CONNECTIONS[name])
    assert client.receives_head().startswith(b"HTTP/1.1 502 ")
    assert end.is_closed()
    assert s.group().idle_count == 0
    assert any("while reading response header from upstream" in line for line in s.error_log())


@pytest.mark.parametrize(
    "rest",
    [
        "a reset",
        "a close",
        "a body that is too long",
        "a body that is too short",
        "trailers that do not end",
        "data after the end",
    ],
)
def test_an_answer_that_breaks_later_is_cut(two, rest):
    s = two()
    client = ask(s)
    peer = accept(s)
    peer.request()
    peer.send(peer.head(1, ("content-length", "6")), peer.data(1, b"abc"))
    client.receives_head()
    client.receives(b"abc")
    if rest == "a reset":
        peer.send(frame("RST_STREAM", 1, (2).to_bytes(4, "big")))
    elif rest == "a close":
        peer.end.close()
    elif rest == "a body that is too long":
        peer.send(peer.data(1, b"defg", end=True))
    elif rest == "a body that is too short":
        peer.send(peer.data(1, b"d", end=True))
    elif rest == "trailers that do not end":
        peer.send(peer.trailers(1, ("x", "1"), end=False))
    else:
        peer.send(peer.data(1, b"d", end=True), peer.data(1, b"e"))
    assert client.is_closed()
    assert b"def" not in client.received
    assert any("while reading upstream" in line for line in s.error_log())


def test_a_request_that_was_refused_is_sent_to_another_peer_whatever_its_method(two):
    s = two(peers=2)
    client = s.client().send(post(b"body"))
    first = next(number for number in (0, 1) if (s.settle(), s.peers[number].sock)[1] and pending(s, number))
    peer = accept(s, first)
    peer.take()
    peer.send(frame("RST_STREAM", 1, (7).to_bytes(4, "big")))
    other = accept(s, 1 - first)
    assert [sent.kind for sent in other.take()] == ["HEADERS", "DATA"]
    other.answer(1)
    assert body_of(client)[1] == b"ok"
    assert s.last_access()["upstream_status"] == "502, 200"


def pending(s: Stage, number: int) -> bool:
    import select

    s.settle()
    return bool(select.select([s.peers[number].sock], [], [], 0)[0])


def test_a_post_that_the_upstream_did_not_begin_before_it_left_is_sent_again(two):
    s = two()
    client = ask(s)
    peer = accept(s)
    peer.request()
    peer.answer(1)
    body_of(client)
    client.send(post(b"body"))
    peer.end.stage.until(peer._has_frames, "no request")
    peer.take()
    peer.send(frame("GOAWAY", 0, struct.pack(">II", 1, 0)))
    again = accept(s)
    assert [sent.kind for sent in again.take()] == ["HEADERS", "DATA"]
    again.answer(1)
    assert body_of(client)[1] == b"ok"
    assert peer.end.is_closed(), "nothing is left to do on it"


@pytest.mark.parametrize("closes", [False, True])
def test_a_post_at_the_moment_in_which_the_upstream_leaves_is_answered_by_another_connection(two, closes):
    """No look at the socket is taken so soon after an answer: what the upstream says of its end is enough."""
    s = two()
    client = ask(s)
    peer = accept(s)
    peer.request()
    peer.answer(1)
    body_of(client)
    client.sock.sendall(post(b"body"))
    peer.end.sock.sendall(frame("GOAWAY", 0, struct.pack(">II", 1, 0)))
    if closes:
        peer.end.close()
    again = accept(s)
    assert [sent.kind for sent in again.take()] == ["HEADERS", "DATA"]
    again.answer(1)
    assert body_of(client)[1] == b"ok"


def test_a_post_to_an_upstream_that_left_long_ago_goes_to_a_new_connection(two):
    s = two()
    client = ask(s)
    peer = accept(s)
    peer.request()
    peer.answer(1)
    body_of(client)
    s.advance(1)
    client.sock.sendall(post(b"body"))
    peer.end.close()
    again = accept(s)
    assert [sent.kind for sent in again.take()] == ["HEADERS", "DATA"]
    again.answer(1)
    assert body_of(client)[1] == b"ok"


def test_an_answer_goes_on_after_a_goaway_and_the_connection_is_not_used_again(two):
    s = two()
    client = ask(s)
    peer = accept(s)
    peer.request()
    peer.send(peer.head(1), frame("GOAWAY", 0, struct.pack(">II", 1, 0)), peer.data(1, b"all"))
    client.receives_head()
    client.receives(b"3\r\nall\r\n")
    peer.send(peer.data(1, end=True))
    client.receives(b"0\r\n\r\n")
    assert peer.end.is_closed()
    assert s.group().idle_count == 0


def test_a_goaway_on_an_idle_connection_closes_it(two):
    s = two()
    client = ask(s)
    peer = accept(s)
    peer.request()
    peer.answer(1)
    body_of(client)
    peer.send(frame("GOAWAY", 0, struct.pack(">II", 1, 0)))
    assert peer.end.is_closed()
    assert s.group().idle_count == 0


def test_a_client_that_leaves_resets_its_stream_and_the_connection_stays(two):
    s = two()
    client = ask(s)
    peer = accept(s)
    peer.request()
    client.close()
    assert peer.take() == [Sent("RST_STREAM", 1, 0, 8)]
    peer.answer(1, b"nobody wants it")
    assert s.group().idle_count == 1
    client = ask(s)
    assert peer.request()[0] == 3
    peer.answer(3)
    assert body_of(client)[1] == b"ok"


def test_a_flood_of_pings_is_not_answered_forever(two):
    s = two()
    client = ask(s)
    peer = accept(s)
    peer.request()
    peer.send(frame("PING", 0, bytes(8)) * 1100)
    assert client.receives_head().startswith(b"HTTP/1.1 502 ")
    assert peer.end.is_closed()


def test_a_head_is_limited_by_proxy_buffer_size(two):
    s = two()
    client = ask(s)
    peer = accept(s)
    peer.request()
    peer.send(peer.head(1, ("x-long", "x" * 5000), end=True))
    assert client.receives_head().startswith(b"HTTP/1.1 502 ")
    assert any("too big header" in line and "proxy_buffer_size" in line for line in s.error_log())


def test_a_head_that_comes_again_is_read_once_and_has_the_limit_of_each_location(two):
    location = '[http.server.location."/small"]\nproxy_http_version = "2"\nproxy_pass = "http://app"\nproxy_buffer_size = "1k"\n'
    s = two(locations=location)
    client = s.client()
    peer, value = None, "a value of this test alone " + "x" * 1500
    for number, path, status in ((1, b"/", b"200"), (3, b"/", b"200"), (5, b"/small", b"502"), (7, b"/", b"200")):
        client.send(get(path))
        peer = peer or accept(s)
        peer.request()
        peer.answer(number, b"ok", ("x-long", value))
        assert client.receives_head()[9:12] == status
        client.take()
    known = [block for block in answer_block.KNOWN_BLOCKS.values() if (b"x-long", value.encode()) in block.fields]
    assert len(known) == 2, "the first one begins with the size of the table"


def test_the_error_log_has_the_path_of_the_request(two):
    s = two('proxy_read_timeout = "1s"')
    client = ask(s, b"/the/path")
    peer = accept(s)
    peer.request()
    s.advance(2)
    assert client.receives_head().startswith(b"HTTP/1.1 504 ")
    assert any(f'upstream: "http://{s.peers[0].name}/the/path"' in line for line in s.error_log())


# Over TLS, and with a real server.


def test_over_tls_it_is_agreed_on(two, tmp_path):
    peer = TlsPeer(authority().issue("app.example", ["app.example"]).write(tmp_path / "peer", "peer"))
    peer.context.set_alpn_protocols(["http/1.1", "h2"])
    s = two(locations='[http.server.location."/tls"]\nproxy_http_version = "2"\nproxy_pass = "https://app"\n', peers=[peer])
    client = ask(s, b"/tls")
    end = peer.accept()
    assert end.sock.tls.selected_alpn_protocol() == "h2"
    far = Http2Peer(end)
    assert far.request() == (
        1,
        [(b":method", b"GET"), (b":scheme", b"https"), (b":path", b"/tls"), (b":authority", b"app")],
    )
    far.send(far.head(1), *[far.data(1, bytes(16_384)) for _ in range(6)], far.data(1, end=True))
    assert body_of(client)[1] == bytes(6 * 16_384)
    assert s.group().idle_count == 1


@pytest.fixture
def nginx(tmp_path):
    """The port of a real nginx that speaks HTTP/2 in clear."""
    port = free_port()
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "big").write_bytes(bytes(range(256)) * 8000)
    (tmp_path / "nginx.conf").write_text(
        f"daemon off; master_process off; pid {tmp_path}/pid; error_log {tmp_path}/nginx.log; events {{ }} http {{"
        f"access_log off; client_body_temp_path {tmp_path}/t; proxy_temp_path {tmp_path}/t; fastcgi_temp_path {tmp_path}/t;"
        f"uwsgi_temp_path {tmp_path}/t; scgi_temp_path {tmp_path}/t; client_max_body_size 0;"
        f"server {{ listen 127.0.0.1:{port} http2; root {tmp_path}/data; location /echo {{ "
        'return 200 "$request_method $server_protocol $host $http_x_one"; } '
        f"location /up {{ client_body_in_file_only clean; proxy_pass http://127.0.0.1:{port}; }} }} }}"
    )
    process = subprocess.Popen([NGINX, "-c", str(tmp_path / "nginx.conf"), "-e", str(tmp_path / "nginx.log")])
    yield port
    process.terminate()
    process.wait(10)


@pytest.mark.skipif(not shutil.which(NGINX), reason="the real nginx is not installed")
def test_nginx_is_an_upstream(two, nginx):
    def listens() -> bool:
        with socket.socket() as sock:
            return sock.connect_ex(("127.0.0.1", nginx)) == 0

    settings = 'proxy_http_version = "2"\nproxy_max_streams = 10\nproxy_set_header = { Host = "$host" }\n'
    s = two(locations=f'[http.server.location."/real/"]\n{settings}proxy_pass = "http://127.0.0.1:{nginx}/"\n')
    s.until(listens, "nginx does not listen")
    for method in (b"GET", b"POST"):
        client = s.client().send(get(b"/real/echo", b"X-One: 1", b"Content-Length: 3", method=method) + b"abc")
        client.receives_head()
        client.receives(method + b" HTTP/2.0 h 1")
    clients = [s.client().send(get(b"/real/big")) for _ in range(5)]
    big = bytes(range(256)) * 8000
    for client in clients:
        assert client.receives_head().startswith(b"HTTP/1.1 200 OK\r\n")
        s.until(lambda client=client: len(client.pull_all()) >= len(big), "the rest of the body")
        assert client.take() == big
    group = next(group for name, group in s.worker.groups.items() if name != "app")
    assert group.peers[0].counters.requests == 7
    assert not any("upstream" in line for line in s.error_log())
