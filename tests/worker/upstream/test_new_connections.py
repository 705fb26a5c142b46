"""Opening a connection to a peer: what is known at once, and what is asked of the kernel."""

from __future__ import annotations

import socket

import pytest
from conversation import get, ok, sent_up, to_client
from test_balance import Balancer

from worker.loop import Loop
from worker.stream import Stream
from worker.upstream.connect import begin_to_connect
from worker.upstream.live_peer import LivePeer


@pytest.fixture
def loop():
    made = Loop()
    yield made
    made.close()


@pytest.fixture
def listener():
    with socket.create_server(("127.0.0.1", 0), backlog=1) as made:
        yield made


def peer_at(port: int, is_near: bool = True) -> LivePeer:
    peer = Balancer(f"server 127.0.0.1:{port};").group.peers[0]
    assert peer.is_near
    peer.is_near = is_near
    return peer


def test_over_loopback_a_connection_is_there_at_once(loop, listener):
    stream, is_there = begin_to_connect(loop, peer_at(listener.getsockname()[1]), None, Stream)
    assert is_there
    assert stream.send(b"x") == 1
    stream.close()


def test_elsewhere_it_has_to_be_waited_for(loop, listener):
    stream, is_there = begin_to_connect(loop, peer_at(listener.getsockname()[1], is_near=False), None, Stream)
    assert not is_there
    stream.close()


def test_over_loopback_it_is_waited_for_as_well_while_the_peer_has_no_room(loop, listener):
    port = listener.getsockname()[1]
    waiting = [begin_to_connect(loop, peer_at(port), None, Stream) for _ in range(4)]
    assert [is_there for _, is_there in waiting] == [True, True, False, False]
    for stream, _ in waiting:
        stream.close()


def sends_without_delay(stage) -> bool:
    """Whether small pieces go out at once on the only connection to a peer."""
    (stream,) = (one for one in stage.loop._streams.values() if isinstance(one, Stream) and is_to_a_peer(stage, one))
    return bool(stream.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))


def is_to_a_peer(stage, stream: Stream) -> bool:
    try:
        return stream.sock.getpeername() == stage.peers[0].sock.getsockname()
    except OSError:
        return False


def test_a_request_in_one_piece_asks_nothing_of_tcp(stage):
    s = stage()
    client = s.client().send(get())
    upstream = s.peers[0].accept()
    upstream.receives(sent_up())
    assert not sends_without_delay(s)
    upstream.send(ok())
    client.receives(to_client())


def test_pieces_of_an_upload_are_not_held_back_until_the_one_before_is_acknowledged(stage):
    s = stage(location="proxy_request_buffering = false")
    client = s.client().send(b"POST / HTTP/1.1\r\nHost: front\r\nContent-Length: 4\r\n\r\nab")
    upstream = s.peers[0].accept()
    assert upstream.receives_head().startswith(b"POST / ")
    assert sends_without_delay(s)
    client.send(b"cd")
    assert upstream.take() == b"abcd"
    upstream.send(ok())
    client.receives(to_client())


def test_neither_are_those_of_a_tunnel(stage):
    s = stage(location='proxy_set_header = { Upgrade = "$http_upgrade", Connection = "upgrade" }')
    client = s.client().send(b"GET / HTTP/1.1\r\nHost: front\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n")
    upstream = s.peers[0].accept()
    upstream.receives_head()
    upstream.send(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n")
    client.receives_head()
    assert sends_without_delay(s)
    upstream.close()
