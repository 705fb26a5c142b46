"""Bodies both ways at once: an exchange is two directions, each ended by its own end (worker/upstream/upload.py).

Beside nginx 1.22 with `proxy_request_buffering off`, buffered and not: the echo, an early refusal and a bad chunk come out alike.
Different on purpose: after an early answer that is complete nginx says keep-alive and closes the client's connection; here the
rest of the body is read past, and the connection goes on.
"""

from __future__ import annotations

import itertools
import random
import socket
import tracemalloc

import pytest
from conversation import End, Peer, Stage, chunks, get, ok, sent_up, to_client

STREAMED = "proxy_request_buffering = false\nclient_max_body_size = 0\n"
CHUNKED = b"Transfer-Encoding: chunked"
LAST_CHUNK = b"0\r\n\r\n"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
BIG = random.Random(7).randbytes(3_000_000)


def post(*fields: bytes) -> bytes:
    return get(b"/", *fields, method=b"POST")


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def halfway(s: Stage, *fields: bytes) -> tuple[End, End]:
    """A client that has sent the head of a POST with 10 bytes, and the upstream that has got it."""
    client = s.client()
    client.send(post(b"Content-Length: 10", *fields))
    upstream = s.peers[0].accept()
    upstream.receives(sent_up(b"/", b"Content-Length: 10", *fields, method=b"POST"))
    return client, upstream


def answered(s: Stage, *fields: bytes) -> tuple[End, End]:
    """The same, when the upstream has begun a chunked answer with `hi`."""
    client, upstream = halfway(s, *fields)
    upstream.send(b"HTTP/1.1 200 OK\r\n" + CHUNKED + b"\r\n\r\n" + chunk(b"hi"))
    head = client.receives_head()
    assert b"Transfer-Encoding: chunked" in head
    client.receives(chunk(b"hi"))
    return client, upstream


def is_kept(s: Stage, client: End, upstream: End) -> None:
    """Both connections serve another request."""
    client.send(get())
    upstream.receives(sent_up())
    upstream.send(ok())
    client.receives(to_client())


def upstream_is_given_up(s: Stage, client: End, upstream: End) -> None:
    """The client's connection serves another request, and the upstream's has been closed."""
    assert upstream.is_closed()
    client.send(get())
    other = s.peers[0].accept()
    other.receives(sent_up())
    other.send(ok())
    client.receives(to_client())


# Every pair of orders.


ORDERS = sorted(set(itertools.permutations(["up", "up", "up end", "down", "down", "down end"])))
ORDERS = [order for order in ORDERS if order.index("up end") == max(n for n, e in enumerate(order) if e.startswith("up"))]
ORDERS = [order for order in ORDERS if order.index("down end") == max(n for n, e in enumerate(order) if e.startswith("down"))]


@pytest.mark.parametrize("order", ORDERS, ids=["-".join(word.replace(" ", "_") for word in order) for order in ORDERS])
@pytest.mark.parametrize(("buffering", "up"), [("on", "length"), ("off", "chunked")])
@pytest.mark.parametrize("down", ["length", "chunked", "close"])
def test_each_direction_goes_on_until_its_own_end(stage, order, buffering, up, down):
    """What has been sent by one side is at the other one before anything else happens, whatever the order."""
    s = stage(location=STREAMED + f'proxy_buffering = "{buffering}"')
    client = s.client()
    framing = b"Content-Length: 15" if up == "length" else CHUNKED
    client.send(post(framing))
    upstream = s.peers[0].accept()
    upstream.receives(sent_up(b"/", framing, method=b"POST"))
    sent, taken, is_begun = {"up": 0, "down": 0}, {"up": b"", "down": b""}, False
    is_over = {"up": False, "down": False}
    for event in order:
        way = event.split()[0]
        source, target = (client, upstream) if way == "up" else (upstream, client)
        sent[way] += 1
        data = b"%b%d" % (b"up__" if way == "up" else b"down", sent[way])
        is_chunked = (up if way == "up" else down) == "chunked"
        wire = chunk(data) if is_chunked else data
        if event.endswith("end") and is_chunked:
            wire += LAST_CHUNK
        if way == "down" and not is_begun:
            lines = {"length": b"Content-Length: 15\r\n", "chunked": CHUNKED + b"\r\n", "close": b""}[down]
            wire = b"HTTP/1.1 200 OK\r\n" + lines + b"\r\n" + wire
        if way == "up" and is_over["down"]:
            client.send(wire)  # nobody wants it any more
            continue
        source.send(wire)
        if event == "down end" and down == "close":
            upstream.close()
        if way == "down" and not is_begun:
            is_begun = True
            client.receives_head()
        taken[way] = target.take()
        expected = data
        if is_chunked if way == "up" else down != "length":
            expected = chunk(data) + (LAST_CHUNK if event.endswith("end") else b"")
        assert taken[way] == expected
        is_over[way] = event.endswith("end")
    if is_over["up"]:
        if down == "close":
            client.send(get())
            s.peers[0].accept().receives(sent_up())
        else:
            is_kept(s, client, upstream)
    elif down == "close":
        client.send(get())
        s.peers[0].accept().receives(sent_up())
    else:
        upstream_is_given_up(s, client, upstream)


def test_what_is_echoed_is_passed_on_piece_by_piece(stage):
    """A POST whose answer begins at once: each piece comes back before the next is sent."""
    s = stage(location=STREAMED)
    client, upstream = answered(s)
    for piece in (b"12345", b"67890"):
        s.advance(0.4)
        client.send(piece)
        upstream.receives(piece)
        upstream.send(chunk(piece))
        client.receives(chunk(piece))
    upstream.send(LAST_CHUNK)
    client.receives(LAST_CHUNK)
    is_kept(s, client, upstream)
    line = s.access_log()[0]
    assert (line["status"], line["upstream_bytes_sent"]) == (
        "200",
        str(len(sent_up(b"/", b"Content-Length: 10", method=b"POST")) + 10),
    )


@pytest.mark.parametrize("mode", ["streamed", "kept in a file", "kept, chunked", "streamed, chunked"])
def test_a_large_upload_with_progress_lines_comes_whole(stage, mode):
    """3 MB up, and a line down for each 100 KB that the upstream has got."""
    s = stage(location=STREAMED if "streamed" in mode else 'client_max_body_size = 0\nclient_body_buffer_size = "16k"')
    client = s.client()
    wire = chunks(*[BIG[n : n + 65536] for n in range(0, len(BIG), 65536)]) if "chunked" in mode else BIG
    left = memoryview(post(CHUNKED if "chunked" in mode else b"Content-Length: %d" % len(BIG)) + wire)
    upstream = None
    got, told, received = bytearray(), 0, bytearray()
    while told < 30:
        left = left[client.send_some(left) :]
        if upstream is None:
            if "kept" in mode and left:
                continue
            upstream = s.peers[0].accept()
            upstream.receives_head()
            upstream.send(b"HTTP/1.1 200 OK\r\n" + CHUNKED + b"\r\n\r\n")
        got += upstream.pull(1 << 16)
        upstream.received.clear()
        while told < 30 and len(got) >= (told + 1) * 100_000:
            told += 1
            upstream.send(chunk(b"line %02d" % told))
    got += upstream.take()
    received += client.take()
    assert [b"line %02d" % number in received for number in range(1, 31)] == [True] * 30
    if mode == "streamed, chunked":
        assert got.endswith(LAST_CHUNK)
    else:
        assert got == BIG
    upstream.send(LAST_CHUNK)
    client.receives(LAST_CHUNK)
    is_kept(s, client, upstream)


# One side ends early.


@pytest.mark.parametrize("connection", ["keep-alive", "close"])
@pytest.mark.parametrize("follows", [True, False])
def test_an_early_refusal_ends_the_sending(stage, connection, follows):
    """A complete 413: the upstream gets no more. The rest of the body is the client's to send; then its connection goes on."""
    s = stage(location=STREAMED)
    client, upstream = halfway(s)
    client.send(b"123")
    upstream.receives(b"123")
    refusal = b"HTTP/1.1 413 Too Large\r\nContent-Length: 4\r\nConnection: %b\r\n\r\nmuch" % connection.encode()
    upstream.send(refusal)
    if connection == "close":
        upstream.end_sending()
    assert client.receives_head().startswith(b"HTTP/1.1 413 ")
    client.receives(b"much")
    assert upstream.is_closed()
    if follows:
        client.send(b"4567890")
        client.send(get())
        other = s.peers[0].accept()
        other.receives(sent_up())
        other.send(ok())
        client.receives(to_client())
    else:
        client.close()
    assert s.access_log()[0]["status"] == "413"


def test_a_refusal_whose_body_goes_on_lets_the_request_go_on(stage):
    s = stage(location=STREAMED)
    client, upstream = halfway(s)
    upstream.send(b"HTTP/1.1 400 Bad\r\n" + CHUNKED + b"\r\n\r\n" + chunk(b"no"))
    client.receives_head()
    client.send(b"1234567890")
    upstream.receives(b"1234567890")
    upstream.send(LAST_CHUNK)
    client.receives(chunk(b"no") + LAST_CHUNK)
    is_kept(s, client, upstream)


def test_an_upstream_that_takes_no_more_may_finish_its_answer(stage):
    """It has answered and does not read: proxy_send_timeout ends the sending, not the answer."""
    s = stage(location=STREAMED + 'proxy_send_timeout = "5s"\nproxy_read_timeout = "1h"')
    client = s.client(tcp=True)
    client.send(post(b"Content-Length: %d" % (8 * len(BIG))))
    upstream = s.peers[0].accept()
    upstream.receives_head()
    upstream.send(b"HTTP/1.1 200 OK\r\n" + CHUNKED + b"\r\n\r\n" + chunk(b"hi"))
    client.receives_head()
    client.receives(chunk(b"hi"))
    assert client.send_some(8 * BIG) < 8 * len(BIG)
    s.advance(6)
    upstream.send(chunk(b"more") + LAST_CHUNK)
    client.receives(chunk(b"more") + LAST_CHUNK)
    assert not [line for line in s.error_log() if "timed out" in line]


def test_an_upstream_that_takes_no_more_and_says_nothing_is_a_504(stage):
    s = stage(location=STREAMED + 'proxy_send_timeout = "5s"\nproxy_read_timeout = "1h"')
    client = s.client(tcp=True)
    client.send(post(b"Content-Length: %d" % (8 * len(BIG))))
    s.peers[0].accept()
    assert client.send_some(8 * BIG) < 8 * len(BIG)
    s.advance(6)
    assert client.receives_head().startswith(b"HTTP/1.1 504 ")
    where = s.position("proxy_send_timeout")
    (line,) = [line for line in s.error_log() if "while sending request to upstream" in line]
    assert f"(proxy_send_timeout 5: {where})" in line


def test_the_time_for_the_answer_runs_from_the_end_of_the_request(stage):
    s = stage(location=STREAMED + 'proxy_read_timeout = "5s"\nclient_body_timeout = "1h"')
    client, _upstream = halfway(s)
    for _ in range(3):
        s.advance(60)
        client.send(b"12")
    s.advance(60)
    client.receives_nothing()
    client.send(b"3456")
    s.advance(4)
    client.receives_nothing()
    s.advance(2)
    assert client.receives_head().startswith(b"HTTP/1.1 504 ")


def test_the_time_for_more_of_the_answer_runs_while_the_request_is_sent(stage):
    s = stage(location=STREAMED + 'proxy_read_timeout = "5s"\nclient_body_timeout = "1h"')
    client, upstream = answered(s)
    for _ in range(2):
        s.advance(2)
        client.send(b"12")
    s.advance(2)
    assert client.is_closed()
    assert upstream.is_closed()
    assert any("upstream timed out" in line and "while reading upstream" in line for line in s.error_log())


# Either side is cut.


@pytest.mark.parametrize("end", ["close", "reset"])
def test_an_upstream_that_breaks_off_cuts_the_answer(stage, end):
    s = stage(location=STREAMED)
    client, upstream = answered(s)
    client.send(b"123")
    upstream.receives(b"123")
    getattr(upstream, end)()
    assert client.is_closed()
    client.receives_nothing()
    assert any("while reading upstream" in line for line in s.error_log())


def test_an_upstream_that_closes_before_it_answers_is_a_502(stage):
    s = stage(location=STREAMED)
    client, upstream = halfway(s)
    client.send(b"123")
    upstream.receives(b"123")
    upstream.close()
    assert client.receives_head().startswith(b"HTTP/1.1 502 ")


@pytest.mark.parametrize("end", ["close", "reset", "end_sending"])
def test_a_client_that_leaves_ends_both_directions(stage, end):
    s = stage(location=STREAMED)
    client, upstream = answered(s)
    client.send(b"123")
    upstream.receives(b"123")
    getattr(client, end)()
    assert upstream.is_closed()
    upstream.receives_nothing()
    assert s.last_access()["status"] == "200"


def test_a_chunk_that_is_none_ends_both_directions(stage):
    s = stage(location=STREAMED)
    client = s.client()
    client.send(post(CHUNKED) + chunk(b"good"))
    upstream = s.peers[0].accept()
    upstream.receives(sent_up(b"/", CHUNKED, method=b"POST") + chunk(b"good"))
    upstream.send(b"HTTP/1.1 200 OK\r\n" + CHUNKED + b"\r\n\r\n" + chunk(b"hi"))
    client.receives_head()
    client.send(b"bad\r\r\n")
    client.receives(chunk(b"hi"))
    assert client.is_closed()
    assert upstream.is_closed()
    assert any("client sent invalid chunked body" in line for line in s.error_log())


def test_a_body_beyond_the_limit_ends_both_directions(stage):
    s = stage(location='proxy_request_buffering = false\nclient_max_body_size = "10"')
    client = s.client()
    client.send(post(CHUNKED) + chunk(b"12345"))
    upstream = s.peers[0].accept()
    upstream.receives_head()
    upstream.send(b"HTTP/1.1 200 OK\r\n" + CHUNKED + b"\r\n\r\n" + chunk(b"hi"))
    client.receives_head()
    client.send(chunk(b"6789012"))
    client.receives(chunk(b"hi"))
    assert client.is_closed()
    assert upstream.is_closed()
    assert any("client intended to send too large chunked body" in line for line in s.error_log())


def test_a_pause_of_the_client_ends_both_directions(stage):
    s = stage(location=STREAMED + 'client_body_timeout = "5s"')
    client, upstream = answered(s)
    s.advance(6)
    assert client.is_closed()
    assert upstream.is_closed()
    assert "client_body_timeout" in s.last_access()["wproxy_end_cause"]
    assert s.last_access()["wproxy_end_code"] == "cl_body_timeout"


# Expect.


def test_who_waits_for_100_gets_it_before_the_answer_and_may_be_answered_before_the_body(stage):
    s = stage(location=STREAMED)
    client = s.client()
    client.send(post(b"Content-Length: 10", b"Expect: 100-continue"))
    client.receives(CONTINUE)
    upstream = s.peers[0].accept()
    upstream.receives(sent_up(b"/", b"Content-Length: 10", method=b"POST"))
    upstream.send(b"HTTP/1.1 200 OK\r\n" + CHUNKED + b"\r\n\r\n" + chunk(b"hi"))
    client.receives_head()
    client.send(b"1234567890")
    upstream.receives(b"1234567890")
    upstream.send(LAST_CHUNK)
    client.receives(chunk(b"hi") + LAST_CHUNK)
    is_kept(s, client, upstream)


# One side is slow.

# What four buffers of loopback connections take at most; a worker that kept what it cannot pass on would take all.
MOST_IN_THE_KERNEL = 24_000_000


def filled(end: End, data: bytes) -> int:
    """Send until nobody takes more."""
    total = 0
    for _ in range(200):
        sent = end.send_some(data)
        total += sent
        if sent < len(data):
            return total
    raise AssertionError(f"the worker has taken {total} bytes without end")


@pytest.mark.parametrize("buffering", ["on", "off"])
def test_a_client_that_does_not_read_may_go_on_sending(stage, buffering):
    s = stage(location=STREAMED + f'proxy_buffering = "{buffering}"\nproxy_max_temp_file_size = 0\nproxy_buffers = ["8", "4k"]')
    client = s.client(tcp=True, receive_buffer=4096, send_buffer=4096)
    client.send(post(b"Content-Length: %d" % len(BIG)))
    upstream = s.peers[0].accept()
    upstream.receives_head()
    upstream.send(b"HTTP/1.1 200 OK\r\n" + CHUNKED + b"\r\n\r\n")
    assert filled(upstream, chunk(b"x" * 65530)) < MOST_IN_THE_KERNEL, "the kernel's buffers, and no more"
    got, left = bytearray(), memoryview(BIG)
    while left:
        left = left[client.send_some(left) :]
        got += upstream.take()
    got += upstream.take()
    assert got == BIG


def test_an_upstream_that_does_not_read_may_go_on_answering(stage):
    s = stage(location=STREAMED)
    client = s.client(tcp=True)
    client.send(post(b"Content-Length: %d" % (20 * len(BIG))))
    upstream = s.peers[0].accept()
    upstream.receives_head()
    assert filled(client, BIG) < MOST_IN_THE_KERNEL, "the kernel's buffers, and no more"
    upstream.send(b"HTTP/1.1 200 OK\r\n" + CHUNKED + b"\r\n\r\n")
    client.receives_head()
    for number in range(50):
        piece = chunk(b"%05d" % number * 2000)
        upstream.send(piece)
        client.receives(piece)
    upstream.send(LAST_CHUNK)
    client.receives(LAST_CHUNK)
    assert upstream.is_closed()


@pytest.mark.parametrize("buffering", ["on", "off"])
@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_memory_is_flat_however_much_is_echoed(stage, buffering, framing):
    s = stage(location=STREAMED + f'proxy_buffering = "{buffering}"')
    client = s.client()
    size, each = 12_000_000, 60_000
    client.send(post(b"Content-Length: %d" % size if framing == "length" else CHUNKED))
    upstream = s.peers[0].accept()
    upstream.receives_head()
    upstream.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
    client.receives_head()
    piece = b"x" * each
    wire = piece if framing == "length" else chunk(piece)
    tracemalloc.start()
    try:
        for _ in range(size // each):
            client.send(wire)
            assert upstream.take().count(b"x") == each
            upstream.send(piece)
            assert len(client.take()) == each
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert most < 1_500_000
    if framing == "chunked":
        client.send(LAST_CHUNK)  # the answer is over, and nobody waits for it
        assert upstream.is_closed()
    else:
        is_kept(s, client, upstream)


# What stands around an exchange.


def test_a_kept_body_that_is_being_sent_goes_to_another_peer_when_the_first_refuses(stage):
    s = stage(peers=2, location='proxy_next_upstream = ["http_503", "non_idempotent"]\nclient_max_body_size = 0')
    client = s.client()
    body = BIG
    client.send(get(b"/", b"Content-Length: %d" % len(body), method=b"PUT"))
    client.send(body)
    first = next(end for peer in s.peers if (end := accepted(s, peer)) is not None)
    first.receives_head()
    first.send(ok(status=b"503 Busy"))
    assert first.is_closed()
    second = next(end for peer in s.peers if (end := accepted(s, peer)) is not None)
    second.receives_head()
    got = bytearray()
    while len(got) < len(body):
        got += second.take()
    assert got == body
    second.send(ok())
    client.receives(to_client())
    assert s.group().idle_count == 1


def accepted(s: Stage, peer) -> End | None:
    s.settle()
    sock = peer._try_accept()
    return None if sock is None else End(s, sock, peer.name)


def test_an_upload_under_way_leaves_no_task_behind(stage):
    s = stage(location=STREAMED)
    before = len(s.loop.tasks)
    for _ in range(5):
        client, upstream = answered(s)
        upstream.send(LAST_CHUNK)
        client.receives(LAST_CHUNK)
        client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        client.close()
        s.settle()
    assert len(s.loop.tasks) == before


# The same with a request that is buffered: all of it is here, in memory or in a file, when the first byte goes up.

KEPT = {
    "in memory": 'client_max_body_size = 0\nclient_body_buffer_size = "2m"\n',
    "in a file": 'client_max_body_size = 0\nclient_body_buffer_size = "16k"\n',
}


@pytest.fixture
def to_a_socket(stage, tmp_path):
    """Makes stages whose peer is a unix socket: it has small buffers."""
    return lambda location: stage(location=location, peers=[Peer(str(tmp_path / "peer"))])


def being_sent(s: Stage) -> tuple[End, End]:
    """A client whose body is kept, and the upstream, which has got the head and does not read on."""
    client = s.client()
    client.send(post(b"Content-Length: %d" % len(HUGE)) + HUGE)
    upstream = s.peers[0].accept()
    s.until(lambda: b"\r\n\r\n" in upstream.pull(1000), "no head comes")
    del upstream.received[: upstream.received.index(b"\r\n\r\n") + 4]
    return client, upstream


# More than the buffers of two unix sockets.
HUGE = BIG[:1_000_000]
kept = pytest.mark.parametrize("where", KEPT)


@kept
@pytest.mark.parametrize("buffering", ["on", "off"])
def test_the_answer_to_a_kept_body_begins_before_the_body_is_sent(to_a_socket, where, buffering):
    s = to_a_socket(location=KEPT[where] + f'proxy_buffering = "{buffering}"')
    client, upstream = being_sent(s)
    upstream.send(b"HTTP/1.1 200 OK\r\n" + CHUNKED + b"\r\n\r\n" + chunk(b"early"))
    client.receives_head()
    client.receives(chunk(b"early"))
    s.until(lambda: len(upstream.pull_all()) >= len(HUGE), "the rest of the body does not come")
    is_whole = upstream.take() == HUGE
    assert is_whole
    upstream.send(chunk(b"late") + LAST_CHUNK)
    client.receives(chunk(b"late") + LAST_CHUNK)
    is_kept(s, client, upstream)


@kept
def test_an_early_refusal_ends_the_sending_of_a_kept_body_and_keeps_its_client(to_a_socket, where):
    s = to_a_socket(location=KEPT[where])
    client, upstream = being_sent(s)
    upstream.send(b"HTTP/1.1 413 Too Large\r\nContent-Length: 4\r\n\r\nmuch")
    assert client.receives_head().startswith(b"HTTP/1.1 413 ")
    client.receives(b"much")
    s.until(lambda: upstream.pull_all() and upstream.saw_end, "the upstream is not given up")
    client.send(get())
    other = s.peers[0].accept()
    other.receives(sent_up())
    other.send(ok())
    client.receives(to_client())


@kept
def test_an_upstream_that_takes_no_more_of_a_kept_body_may_finish_its_answer(to_a_socket, where):
    s = to_a_socket(location=KEPT[where] + 'proxy_send_timeout = "5s"\nproxy_read_timeout = "1h"')
    client, upstream = being_sent(s)
    upstream.send(b"HTTP/1.1 200 OK\r\n" + CHUNKED + b"\r\n\r\n" + chunk(b"hi"))
    client.receives_head()
    client.receives(chunk(b"hi"))
    s.advance(6)
    upstream.send(chunk(b"more") + LAST_CHUNK)
    client.receives(chunk(b"more") + LAST_CHUNK)
    assert not [line for line in s.error_log() if "timed out" in line]


@kept
@pytest.mark.parametrize("end", ["close", "reset"])
def test_a_client_that_leaves_ends_the_sending_of_its_kept_body(to_a_socket, where, end):
    s = to_a_socket(location=KEPT[where])
    client, upstream = being_sent(s)
    getattr(client, end)()
    s.until(lambda: upstream.pull_all() and upstream.saw_end, "the upstream is not given up")
    assert s.last_access()["status"] == "499"


@kept
def test_an_upstream_that_breaks_off_cuts_the_answer_to_a_kept_body(to_a_socket, where):
    s = to_a_socket(location=KEPT[where])
    client, upstream = being_sent(s)
    upstream.send(b"HTTP/1.1 200 OK\r\n" + CHUNKED + b"\r\n\r\n" + chunk(b"hi"))
    client.receives_head()
    upstream.close()
    assert client.is_closed()
    assert client.received == chunk(b"hi")


@kept
def test_an_upstream_that_takes_nothing_of_a_kept_body_is_a_504(to_a_socket, where):
    s = to_a_socket(location=KEPT[where] + 'proxy_send_timeout = "5s"')
    client, _ = being_sent(s)
    s.advance(6)
    assert client.receives_head().startswith(b"HTTP/1.1 504 ")
