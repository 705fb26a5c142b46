"""Tunnels: 101 Switching Protocols, and what goes both ways after it (proxy.md §3.4)."""

from __future__ import annotations

import os
import random
import socket
from contextlib import suppress

import pytest
from conversation import SERVER, End, Stage, chunks, error_page, get, ok, sent_up, to_client

from worker.loop import Loop, Waitable
from worker.pipes import pool
from worker.stream import HEAD_CHUNK, SMALL_CHUNK

UPGRADE = (b"Connection: Upgrade", b"Upgrade: websocket")
SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-X: y\r\n\r\n"
SWITCHED = (
    b"HTTP/1.1 101 Switching Protocols\r\nServer: "
    + SERVER
    + b"\r\nDate: now\r\nConnection: upgrade\r\nUpgrade: websocket\r\nSec-X: y\r\n\r\n"
)
PASSES = 'proxy_set_header = { Upgrade = "$http_upgrade", Connection = "$wproxy_connection_upgrade" }\n'
SENT = sent_up(b"/", b"Upgrade: websocket", b"Connection: upgrade")


def tunnel(stage, settings: str = "", tcp: bool = False, early: bytes = b"", late: bytes = b"", **more) -> tuple[Stage, End, End]:
    """A stage with one tunnel; early: what the client sends behind its request; late: the upstream behind its head."""
    s = stage(location=PASSES + settings, **more)
    client = s.client(tcp=tcp)
    client.send(get(b"/", *UPGRADE) + early)
    upstream = s.peers[0].accept()
    upstream.receives(SENT)
    upstream.send(SWITCH + late)
    client.receives(SWITCHED + late)
    return s, client, upstream


def test_a_client_of_http_1_0_may_upgrade_too(stage):
    s = stage(location=PASSES)
    client = s.client()
    client.send(get(b"/", *UPGRADE, version=b"1.0"))
    upstream = s.peers[0].accept()
    upstream.receives(SENT)
    upstream.send(SWITCH + b"down")
    client.receives(SWITCHED + b"down")
    client.send(b"up")
    upstream.receives(b"up")


@pytest.mark.parametrize("streams", [False, True], ids=["buffered", "unbuffered"])
@pytest.mark.parametrize(
    ("framing", "body"), [(b"Content-Length: 2", b"{}"), (b"Transfer-Encoding: chunked", chunks(b"{}"))], ids=["length", "chunks"]
)
def test_what_follows_a_request_body_goes_into_the_tunnel(stage, framing, body, streams):
    s = stage(location=PASSES + ("proxy_request_buffering = false" if streams else ""))
    client = s.client().send(get(b"/", framing, *UPGRADE, method=b"POST") + body + b"EARLY")
    upstream = s.peers[0].accept()
    upstream.receives_head()
    upstream.received.clear()
    upstream.send(SWITCH)
    client.receives(SWITCHED)
    upstream.receives(b"EARLY")
    client.send(b"later")
    upstream.receives(b"later")


def test_bytes_go_both_ways_as_they_are(stage):
    s, client, upstream = tunnel(stage)
    for number in range(5):
        client.send(b"\x81\x05up %d" % number)
        upstream.receives(b"\x81\x05up %d" % number)
        upstream.send(b"\x81\x07down %d" % number)
        client.receives(b"\x81\x07down %d" % number)
    client.close()
    assert upstream.is_closed()
    access = s.last_access()
    assert access["status"] == access["upstream_status"] == "101"
    assert access["body_bytes_sent"] == str(5 * 8)
    assert s.error_log() == []


@pytest.mark.parametrize("slowly", [False, True])
def test_what_the_client_sent_too_early_goes_upstream_after_the_head(stage, slowly):
    s = stage(location=PASSES)
    client = s.client()
    client.send(get(b"/", *UPGRADE) + b"early ")
    upstream = s.peers[0].accept()
    upstream.receives(SENT)
    client.send(b"bird")
    upstream.receives_nothing()
    upstream.send_slowly(SWITCH) if slowly else upstream.send(SWITCH)
    client.receives(SWITCHED)
    upstream.receives(b"early bird")


def test_what_the_upstream_sent_with_its_head_goes_to_the_client(stage):
    _s, client, upstream = tunnel(stage, late=b"hello first")
    upstream.send(b"and more")
    client.receives(b"and more")


def test_a_request_that_was_pipelined_is_for_the_upstream_and_not_for_us(stage):
    """Whatever it looks like: after the switch these bytes are no HTTP of ours."""
    s, client, upstream = tunnel(stage, early=get(b"/smuggled"))
    upstream.receives(get(b"/smuggled"))
    s.peers[0].is_unvisited()
    client.close()
    assert upstream.is_closed()
    assert s.statuses() == ["101"]


def test_a_refused_upgrade_is_an_ordinary_answer(stage):
    """The connection stays HTTP: the next request is read by us, and the upstream's connection is reused."""
    s = stage(location=PASSES)
    client = s.client()
    client.send(get(b"/", *UPGRADE) + get(b"/next"))
    upstream = s.peers[0].accept()
    upstream.receives(SENT)
    upstream.send(ok(b"no", status=b"426 Upgrade Required"))
    client.receives(to_client(b"no", status=b"426 Upgrade Required"))
    upstream.receives(sent_up(b"/next"))
    upstream.send(ok())
    client.receives(to_client())


def test_101_without_upgrade_is_a_502(stage):
    s = stage(location=PASSES)
    client = s.client()
    client.send(get())
    upstream = s.peers[0].accept()
    upstream.receives(sent_up())
    upstream.send(SWITCH + b"tunnelled?")
    client.receives(error_page(502))
    assert upstream.is_closed()
    assert "upstream sent 101 to a request without Upgrade while reading response header from upstream" in s.error_log()[0]


@pytest.mark.parametrize("field", [b"Content-Length: 0", b"Content-Length: 5", b"Transfer-Encoding: chunked"], ids=repr)
@pytest.mark.parametrize("asked", [False, True])
def test_framing_in_a_101_means_nothing(stage, field, asked):
    s = stage(location=PASSES)
    client = s.client()
    client.send(get(b"/", *(UPGRADE if asked else ())))
    upstream = s.peers[0].accept()
    upstream.receives(SENT if asked else sent_up())
    upstream.send(SWITCH[:-2] + field + b"\r\n\r\n")
    if not asked:
        client.receives(error_page(502))
        assert upstream.is_closed()
        return
    assert client.receives_head().startswith(b"HTTP/1.1 101 ")
    client.send(b"raw")
    upstream.receives(b"raw")
    upstream.send(b"raw too")
    client.receives(b"raw too")


def test_interim_heads_before_the_switch(stage):
    s = stage(location=PASSES)
    client = s.client()
    client.send(get(b"/", *UPGRADE))
    upstream = s.peers[0].accept()
    upstream.receives(SENT)
    upstream.send(b"HTTP/1.1 103 Early Hints\r\n\r\n" + SWITCH)
    client.receives(SWITCHED)


# The end of a tunnel.


@pytest.mark.parametrize("tcp", [False, True])
@pytest.mark.parametrize("how", ["close", "end", "reset"])
def test_when_the_client_leaves_the_upstream_is_closed(stage, tcp, how):
    if how == "reset" and not tcp:
        pytest.skip("unix sockets have no RST")
    s, client, upstream = tunnel(stage, tcp=tcp)
    client.send(b"last words")
    {"close": client.close, "end": client.end_sending, "reset": client.reset}[how]()
    assert upstream.is_closed()
    assert upstream.take() == b"last words"
    assert not s.worker.clients.connections
    if how == "end":
        client.is_closed()


@pytest.mark.parametrize("how", ["close", "end", "reset"])
def test_when_the_upstream_leaves_the_client_is_closed(stage, how):
    s, client, upstream = tunnel(stage)
    upstream.send(b"last words")
    client.receives(b"last words")
    {"close": upstream.close, "end": upstream.end_sending, "reset": upstream.reset}[how]()
    client.is_closed()
    assert not s.worker.clients.connections
    if how == "end":
        assert upstream.is_closed()


@pytest.mark.parametrize("side", ["client", "upstream"])
def test_last_words_and_the_end_at_once_are_delivered(stage, side):
    s, client, upstream = tunnel(stage)
    first, second = (client, upstream) if side == "client" else (upstream, client)
    words = os.urandom(100_000)
    first.sock.setblocking(True)
    first.sock.sendall(words[:50_000])
    first.sock.setblocking(False)
    first.close()
    assert second.is_closed()
    assert second.take() == words[:50_000]
    assert len(s.access_log()) == 1


@pytest.mark.parametrize("size", [1, SMALL_CHUNK, SMALL_CHUNK + 1, HEAD_CHUNK])
@pytest.mark.parametrize("side", ["client", "upstream"])
def test_a_last_message_and_the_end_at_once_are_delivered(stage, side, size):
    """After others: then one event tells of both."""
    s, client, upstream = tunnel(stage)
    first, second = (client, upstream) if side == "client" else (upstream, client)
    first.send(b"not the last")
    second.receives(b"not the last")
    words = os.urandom(size)
    first.sock.sendall(words)
    first.sock.close()
    first.over = True
    s.settle()
    assert second.is_closed()
    assert second.take() == words
    assert len(s.access_log()) == 1


@pytest.mark.parametrize("side", ["client", "upstream"])
def test_what_follows_an_urgent_byte_is_delivered_at_once(stage, side):
    """A read ends before that byte, which itself is for nobody (as in nginx); more may have arrived behind it."""
    s, client, upstream = tunnel(stage, tcp=True)
    first, second = (client, upstream) if side == "client" else (upstream, client)
    for _ in range(2):
        first.send(b"as usual")
        second.receives(b"as usual")
        first.sock.sendall(b"before ")
        first.sock.send(b"!", socket.MSG_OOB)
        first.sock.sendall(b"behind")
        s.settle()
        assert second.take() == b"before behind"


def test_last_words_for_a_slow_client_are_delivered_before_the_end(stage):
    s = stage(location=PASSES)
    client = s.client(send_buffer=4096)
    client.send(get(b"/", *UPGRADE))
    upstream = s.peers[0].accept()
    upstream.receives(SENT)
    words = os.urandom(150_000)
    upstream.send(SWITCH + words)
    upstream.close()
    assert s.worker.clients.connections
    client.is_closed()
    assert client.take() == SWITCHED + words


def test_both_leave_at_once(stage):
    s, client, upstream = tunnel(stage)
    client.sock.close()
    upstream.sock.close()
    client.over = upstream.over = True
    s.settle()
    assert not s.worker.clients.connections
    assert s.statuses() == ["101"]


def test_a_client_that_is_gone_when_the_switch_comes(stage):
    s = stage(location=PASSES + "proxy_ignore_client_abort = true")
    client = s.client()
    client.send(get(b"/", *UPGRADE))
    upstream = s.peers[0].accept()
    upstream.receives(SENT)
    client.close()
    upstream.send(SWITCH)
    assert upstream.is_closed()
    assert not s.worker.clients.connections


# Timers.


def test_the_idle_time_is_proxy_read_timeout(stage):
    s, client, upstream = tunnel(stage, 'proxy_read_timeout = "10s"')
    s.advance(9.9)
    assert client.is_open()
    s.advance(0.2)
    client.is_closed()
    assert upstream.is_closed()
    access = s.last_access()
    where = f"proxy_read_timeout 10: {s.position('proxy_read_timeout')}"
    assert access["status"] == "101"
    assert access["wproxy_end_cause"] == f"upstream timed out (110: Connection timed out) ({where})"
    assert access["wproxy_end_code"] == "tun_idle"
    (line,) = s.error_log()
    assert "[info]" in line
    assert "upstream timed out (110: Connection timed out) while proxying upgraded connection, client: 127.0.0.1" in line


def test_proxy_tunnel_timeout_is_for_tunnels_only(stage):
    s, client, upstream = tunnel(stage, 'proxy_read_timeout = "10s"\nproxy_tunnel_timeout = "20s"')
    s.advance(19.9)
    assert client.is_open()
    s.advance(0.2)
    client.is_closed()
    assert upstream.is_closed()
    where = f"proxy_tunnel_timeout 20: {s.position('proxy_tunnel_timeout')}"
    assert s.last_access()["wproxy_end_cause"] == f"upstream timed out (110: Connection timed out) ({where})"
    assert s.last_access()["wproxy_end_code"] == "tun_idle"


@pytest.mark.parametrize("tcp", [False, True])
@pytest.mark.parametrize("has_pipes", [False, True])
def test_much_goes_both_ways_at_once(stage, monkeypatch, tcp, has_pipes):
    if not has_pipes:
        monkeypatch.setattr(pool, "most", 0)
        pool.close_idle()
    up, down = random.Random(1).randbytes(5_000_000), random.Random(2).randbytes(5_000_000)
    s, client, upstream = tunnel(stage, tcp=tcp)
    for begin in range(0, 5_000_000, 500_000):
        for sender, receiver, data in ((client, upstream, up), (upstream, client, down)):
            left = data[begin : begin + 500_000]
            while left:
                left = left[sender.send_some(left) :]
                receiver.pull_all()
    s.until(lambda: len(upstream.pull_all()) >= len(up) and len(client.pull_all()) >= len(down), "something is missing")
    assert upstream.received == up
    assert client.received == down
    upstream.close()
    assert client.is_closed()
    assert s.last_access()["body_bytes_sent"] == str(len(down))


@pytest.mark.parametrize("speaker", ["client", "upstream"])
def test_traffic_in_either_direction_keeps_both_alive(stage, speaker):
    s, client, upstream = tunnel(stage, 'proxy_read_timeout = "10s"')
    for _ in range(5):
        s.advance(9)
        if speaker == "client":
            client.send(b"ping")
            upstream.receives(b"ping")
        else:
            upstream.send(b"ping")
            client.receives(b"ping")
    s.advance(9)
    assert client.is_open()
    s.advance(1.2)
    client.is_closed()
    assert upstream.is_closed()


def test_a_client_that_takes_nothing_is_given_up(stage):
    s = stage(location=PASSES + 'proxy_send_timeout = "5s"\nsend_timeout = "5s"\nproxy_read_timeout = "1h"')
    client = s.client(send_buffer=4096)
    client.send(get(b"/", *UPGRADE))
    upstream = s.peers[0].accept()
    upstream.receives(SENT)
    upstream.send(SWITCH)
    assert upstream.send_some(b"x" * 20_000_000) < 20_000_000
    s.advance(5.1)
    assert not s.worker.clients.connections
    assert "client timed out" in s.last_access()["wproxy_end_cause"]
    assert s.last_access()["wproxy_end_code"] == "tun_cl_stalled"


def test_and_the_cause_names_the_timer_that_ran(stage):
    """proxy.md §3.4: write stalls: proxy_send_timeout towards the upstream, send_timeout towards the client."""
    s = stage(location=PASSES + 'proxy_send_timeout = "50s"\nsend_timeout = "5s"\nproxy_read_timeout = "1h"')
    client = s.client(send_buffer=4096)
    client.send(get(b"/", *UPGRADE))
    upstream = s.peers[0].accept()
    upstream.receives(SENT)
    upstream.send(SWITCH)
    upstream.send_some(b"x" * 20_000_000)
    s.advance(5.1)
    assert not s.worker.clients.connections
    assert f"(send_timeout 5: {s.position('send_timeout')})" in s.last_access()["wproxy_end_cause"]
    assert s.last_access()["wproxy_end_code"] == "tun_cl_stalled"


def test_an_upstream_that_takes_nothing_is_given_up(stage):
    s, client, _upstream = tunnel(stage, 'proxy_send_timeout = "5s"\nproxy_read_timeout = "1h"')
    client.send_some(b"x" * 50_000_000)
    s.advance(5.1)
    s.advance(0.1)  # the other direction hears of it in the next turn
    assert not s.worker.clients.connections
    assert f"(proxy_send_timeout 5: {s.position('proxy_send_timeout')})" in s.last_access()["wproxy_end_cause"]
    assert s.last_access()["wproxy_end_code"] == "tun_up_stalled"


# Much at once.


def test_a_stalled_direction_holds_its_sender_back_and_not_the_other(stage):
    _s, client, upstream = tunnel(stage, tcp=False)
    sent = client.send_some(b"u" * 50_000_000)
    assert sent < 30_000_000
    upstream.send(b"still here")
    client.receives(b"still here")
    total = 0
    while total < sent:
        size = len(upstream.pull_all())
        assert size
        total += size
        upstream.received.clear()
    assert total == sent


def test_megabytes_both_ways_arrive_whole(stage):
    s, client, upstream = tunnel(stage)
    up, down = os.urandom(3_000_000), os.urandom(3_000_000)
    left_up, left_down = up, down
    while left_up or left_down or len(upstream.received) < len(up) or len(client.received) < len(down):
        left_up = left_up[client.send_some(left_up) :]
        left_down = left_down[upstream.send_some(left_down) :]
        upstream.pull()
        client.pull()
        s.settle()
    assert upstream.take() == up
    assert client.take() == down


def test_a_tunnel_counts_as_a_connection_of_its_peer(stage):
    s, client, upstream = tunnel(stage, peer_parameters=("max_conns = 1",))
    other = s.client()
    other.send(get())
    other.receives(error_page(502))
    client.close()
    assert upstream.is_closed()
    other.send(get())
    s.peers[0].accept().receives(sent_up())


def test_messages_are_carried_while_the_other_way_is_full(stage):
    """A long download in a tunnel, and the client says something now and then."""
    s, client, upstream = tunnel(stage, tcp=True)
    wire = os.urandom(6_000_000)
    left, got, said = wire, b"", b""
    while len(got) < len(wire):
        left = left[upstream.send_some(left[:500_000]) :]
        client.send(b"go on ")
        said += b"go on "
        assert s.until(lambda: bytes(upstream.pull_all()) == said, "what the client says waits")
        got += client.take()
    assert got == wire
    client.close()
    assert upstream.is_closed()
    assert s.last_access()["body_bytes_sent"] == str(len(wire))


def test_small_messages_after_a_large_one_go_on_as_messages(stage):
    s, client, upstream = tunnel(stage)
    for _ in range(3):
        big = os.urandom(700_000)
        client.send(big)
        s.until(lambda: len(upstream.pull_all()) == len(big), "not all has come")
        assert upstream.take() == big
        for number in range(3):
            client.send(b"small %d" % number)
            upstream.receives(b"small %d" % number)
            upstream.send(b"and back")
            client.receives(b"and back")
    assert len([task for task in s.loop.tasks if task.name == "tunnel"]) == 0


@pytest.mark.parametrize("size", [SMALL_CHUNK - 1, SMALL_CHUNK, SMALL_CHUNK + 1, HEAD_CHUNK, HEAD_CHUNK + 1])
def test_a_message_of_the_size_of_a_read_arrives_whole(stage, size):
    _, client, upstream = tunnel(stage)
    for _ in range(3):
        message = os.urandom(size)
        client.send(message)
        upstream.receives(message)
        upstream.send(message)
        client.receives(message)


class Levels(Loop):
    """A loop that tells of unread bytes in each turn, also those who would be told of arrivals."""

    def listen_for_arrivals(self, stream: Waitable) -> None:
        self.listen(stream)


def talk(s: Stage, client: End, upstream: End, seed: int) -> tuple[object, ...]:
    """Both sides say and read this and that, and one of them leaves; return what could be seen of it."""
    chance = random.Random(seed)
    ends = (client, upstream)
    said, heard = (bytearray(), bytearray()), (bytearray(), bytearray())
    deaf = [chance.random() < 0.2 for _ in ends]
    for _ in range(chance.randrange(1, 60)):
        side = chance.randrange(2)
        size = chance.choice((1, 70, 70, 70, SMALL_CHUNK, SMALL_CHUNK + 1, HEAD_CHUNK, HEAD_CHUNK + 1, 100_000))
        message = chance.randbytes(size)
        with suppress(BlockingIOError):
            said[side].extend(message[: ends[side].sock.send(message)])
        if chance.random() < 0.7:
            s.settle()
        if not deaf[side]:
            heard[side].extend(ends[side].take())
    for end, words in ((client, heard[0]), (upstream, heard[1])):
        words.extend(end.take())
    assert heard == (said[1], said[0]), "all that was said, and nothing else"
    last = chance.randrange(2)
    words = chance.randbytes(chance.choice((0, 1, 70, SMALL_CHUNK, SMALL_CHUNK + 1, HEAD_CHUNK)))
    ends[last].sock.sendall(words)
    ends[last].sock.shutdown(socket.SHUT_WR)
    s.settle()
    for end in ends:
        s.until(lambda end=end: end.pull() is not None and end.saw_end, "it was not told of the end")
    assert ends[1 - last].take() == words
    return said, s.statuses(), [line["body_bytes_sent"] for line in s.access_log()], s.error_log()


@pytest.mark.parametrize("tcp", [False, True])
def test_a_tunnel_that_is_told_of_arrivals_carries_what_one_does_that_is_told_of_unread_bytes(stage, monkeypatch, tcp):
    for seed in range(12):
        seen = []
        for loop in (Loop, Levels):
            monkeypatch.setattr("conversation.Loop", loop)
            s, client, upstream = tunnel(stage, tcp=tcp)
            seen.append(talk(s, client, upstream, seed))
        assert seen[0] == seen[1], seed


REST = [
    (b"Content-Length: 10", b"hello", b"world"),
    (b"Transfer-Encoding: chunked", b"5\r\nhello\r\n", b"5\r\nworld\r\n0\r\n\r\n"),
]


@pytest.mark.parametrize(("framing", "begun", "rest"), REST, ids=["length", "chunks"])
@pytest.mark.parametrize("extra", [b"", b"EARLY"], ids=["alone", "with bytes for the tunnel"])
def test_a_101_in_the_middle_of_an_upload_opens_the_tunnel_and_the_body_goes_first(stage, framing, begun, rest, extra):
    s = stage(location=PASSES + "proxy_request_buffering = false")
    client = s.client().send(get(b"/", framing, *UPGRADE, method=b"POST") + begun)
    upstream = s.peers[0].accept()
    upstream.receives_head()
    upstream.receives(begun)
    upstream.send(SWITCH + b"first")
    client.receives(SWITCHED + b"first")
    upstream.send(b"second")
    client.receives(b"second")
    client.send(rest + extra)
    upstream.receives(rest + extra)
    client.send(b"up")
    upstream.receives(b"up")
    upstream.send(b"down").close()
    client.receives(b"down")
    assert client.is_closed()
    assert s.statuses() == ["101"]
    assert s.last_access()["upstream_status"] == "101"


def test_a_client_that_leaves_in_the_middle_of_an_upload_after_a_101_ends_the_tunnel(stage):
    s = stage(location=PASSES + "proxy_request_buffering = false")
    client = s.client().send(get(b"/", b"Content-Length: 10", *UPGRADE, method=b"POST") + b"hello")
    upstream = s.peers[0].accept()
    upstream.receives_head()
    upstream.receives(b"hello")
    upstream.send(SWITCH)
    client.receives(SWITCHED)
    client.close()
    assert upstream.is_closed()
    assert s.statuses() == ["101"]


def test_a_bad_chunk_in_the_middle_of_an_upload_after_a_101_ends_the_tunnel(stage):
    s = stage(location=PASSES + "proxy_request_buffering = false")
    client = s.client().send(get(b"/", b"Transfer-Encoding: chunked", *UPGRADE, method=b"POST") + b"5\r\nhello\r\n")
    upstream = s.peers[0].accept()
    upstream.receives_head()
    upstream.receives(b"5\r\nhello\r\n")
    upstream.send(SWITCH)
    client.receives(SWITCHED)
    client.send(b"zz\r\n")
    assert upstream.is_closed() and client.is_closed()
    assert s.statuses() == ["101"]
    assert any("client sent invalid chunked body" in line for line in s.error_log())


def test_an_upstream_that_takes_no_more_of_a_body_after_a_101_ends_the_tunnel(stage):
    s = stage(location=PASSES + "proxy_request_buffering = false\nproxy_send_timeout = 5\nclient_max_body_size = 0")
    client = s.client(tcp=True).send(get(b"/", b"Content-Length: 90000000", *UPGRADE, method=b"POST") + b"hello")
    upstream = s.peers[0].accept()
    upstream.receives_head()
    upstream.receives(b"hello")
    upstream.send(SWITCH)
    client.receives(SWITCHED)
    for _ in range(200):
        client.send_some(b"x" * 500_000)
        s.settle()
    s.advance(6)
    assert client.is_closed()
    assert s.statuses() == ["101"]
    assert any("upstream timed out" in line and "while sending request to upstream" in line for line in s.error_log())
