"""Limits, and the client behind a proxy, on a connection that carries several requests at once: each stream is a request."""

from __future__ import annotations

from collections.abc import Callable

from conversation import Stage, ok
from speaking import H2, http2


def test_each_stream_counts_against_limit_conn_until_it_ends(stage: Callable[..., Stage]):
    s = http2(
        stage,
        http='limit_conn_zone = [["$binary_remote_addr", "zone=streams:32k"]]',
        location='limit_conn = [["streams", "2"]]',
    )
    h2 = H2(s)
    for stream in (1, 3, 5):
        h2.ask(stream)
    assert h2.answer(5)[0] == 503
    first, second = s.peers[0].accept(), s.peers[0].accept()
    first.receives_head()
    first.send(ok())
    assert h2.answer(1) == (200, b"ok")
    h2.ask(7)
    first.receives_head()
    first.send(ok())
    assert h2.answer(7) == (200, b"ok")
    second.receives_head()
    second.send(ok())
    assert h2.answer(3) == (200, b"ok")


def test_streams_of_one_connection_have_different_clients(stage: Callable[..., Stage]):
    s = http2(
        stage,
        location='set_real_ip_from = "127.0.0.1"\nproxy_set_header = { X-Seen = "$remote_addr $realip_remote_addr" }',
    )
    h2 = H2(s)
    h2.ask(1, b"/", (b"x-real-ip", b"192.0.2.1"))
    h2.ask(3, b"/", (b"x-real-ip", b"192.0.2.2"))
    h2.ask(5)
    for seen in (b"192.0.2.1", b"192.0.2.2", b"127.0.0.1"):
        upstream = s.peers[0].accept()
        assert b"\r\nX-Seen: %b 127.0.0.1\r\n" % seen in upstream.receives_head()
        upstream.send(ok())
    assert [h2.answer(stream)[0] for stream in (1, 3, 5)] == [200] * 3
