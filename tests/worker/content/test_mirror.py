"""mirror: copies go their own way, and whatever becomes of them, the client does not notice (subrequests.md §3)."""

from __future__ import annotations

import pytest
from conversation import Peer, get, ok, to_client

from worker import background

MIRROR = """
mirror = ["/copy"]
[http.server.location."= /copy"]
proxy_pass = "http://app2"
proxy_read_timeout = "5s"
"""


@pytest.fixture
def mirrored(stage):
    """Makes a worker with an upstream, peers[0], and one for copies, peers[1]."""

    def make(location=MIRROR, **settings):
        text = (
            'worker_processes = 1\nerror_log = [["{directory}/error.log", "info"]]\n[http]\n'
            'access_log = [["{directory}/access.log", "test"]]\n[http.log_format]\ntest = \'{log_format}\'\n'
            '[http.upstream.app.server]\n"{peers[0]}" = {{ }}\n[http.upstream.app2.server]\n"{peers[1]}" = {{ }}\n'
            '[[http.server]]\nlisten = "127.0.0.1:8080"\nserver_name = "front"\n[http.server.location."/"]\n'
            'proxy_pass = "http://app"\n{location}'
        )
        return stage(peers=[Peer(), Peer()], text=text, location=location, **settings)

    return make


def test_a_copy_has_method_arguments_fields_and_body_and_its_answer_is_dropped(mirrored):
    s = mirrored()
    client = s.client().send(b"POST /a%20b?c=d HTTP/1.1\r\nHost: h\r\nX-A: b\r\nContent-Length: 5\r\n\r\nhello")
    upstream, copied = s.peers[0].accept(), s.peers[1].accept()
    assert upstream.receives_head().startswith(b"POST /a%20b?c=d HTTP/1.1\r\n")
    upstream.receives(b"hello")
    head = copied.receives_head()
    assert head.startswith(b"POST /copy?c=d HTTP/1.1\r\n")
    assert b"\r\nX-A: b\r\n" in head and b"\r\nContent-Length: 5\r\n" in head
    copied.receives(b"hello")
    copied.send(b"HTTP/1.1 500 No\r\nX-Not: seen\r\nContent-Length: 4\r\n\r\noops")
    client.receives_nothing()
    upstream.send(ok())
    client.receives(to_client())
    assert s.statuses() == ["200"]
    # Both connections are used again.
    client.send(get())
    upstream.receives_head()
    copied.receives_head()


def test_the_next_request_does_not_wait_for_a_slow_copy(mirrored):
    s = mirrored()
    client = s.client()
    upstream = None
    for _ in range(2):
        client.send(get())
        upstream = upstream or s.peers[0].accept()
        upstream.receives_head()
        upstream.send(ok())
        client.receives(to_client())
    assert s.statuses() == ["200", "200"]
    first, second = s.peers[1].accept(), s.peers[1].accept()
    first.receives_head()
    second.receives_head()
    s.advance(6)
    assert first.is_closed() and second.is_closed()
    assert len([line for line in s.error_log() if "timed out" in line and 'subrequest: "/copy"' in line]) == 2


def test_a_copy_survives_its_client_with_a_body_in_a_file(mirrored):
    body = b"0123456789abcdef" * 4096
    s = mirrored(location='client_body_buffer_size = "1k"\n' + MIRROR)
    client = s.client().send(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
    upstream = s.peers[0].accept()
    upstream.receives_head()
    client.close()
    copied = s.peers[1].accept()
    copied.receives_head()
    copied.receives(body)
    copied.send(ok())
    assert s.statuses() == ["499"]


def test_a_dead_mirror_costs_the_client_nothing(mirrored):
    s = mirrored()
    s.peers[1].refuse()
    client = s.client().send(get())
    upstream = s.peers[0].accept()
    upstream.receives_head()
    upstream.send(ok())
    client.receives(to_client())
    assert any("Connection refused" in line and 'subrequest: "/copy"' in line for line in s.error_log())


def test_too_many_copies_are_dropped_and_said_once(mirrored, monkeypatch):
    monkeypatch.setattr(background, "MOST", 2)
    s = mirrored()
    client = s.client()
    upstream = None
    for _ in range(4):
        client.send(get())
        upstream = upstream or s.peers[0].accept()
        upstream.receives_head()
        upstream.send(ok())
        client.receives(to_client())
    copies = [s.peers[1].accept(), s.peers[1].accept()]
    for copied in copies:
        copied.receives_head()
    assert s.peers[1].is_unvisited()
    assert len([line for line in s.error_log() if "further ones are dropped" in line]) == 1
    for copied in copies:
        copied.send(ok())
    client.send(get())
    upstream.receives_head()
    copies[-1].receives_head()


def test_without_the_body_a_copy_announces_none_and_the_body_streams(mirrored):
    settings = 'mirror_request_body = "off"\nproxy_request_buffering = "off"\n'
    s = mirrored(location=settings + MIRROR)
    s.client().send(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhe")
    upstream, copied = s.peers[0].accept(), s.peers[1].accept()
    head = copied.receives_head()
    assert head.startswith(b"POST /copy ") and b"ontent-Length" not in head
    upstream.receives_head()
    upstream.receives(b"he")


def test_a_refused_request_is_not_copied(mirrored):
    s = mirrored(location='deny = ["all"]\n' + MIRROR)
    client = s.client().send(get())
    assert client.receives_head().startswith(b"HTTP/1.1 403 ")
    assert s.peers[1].is_unvisited()


def test_a_worker_that_drains_waits_for_copies(mirrored):
    s = mirrored()
    s.worker.clients.open += 1  # nobody accepts the client of a stage
    client = s.client().send(get())
    upstream, copied = s.peers[0].accept(), s.peers[1].accept()
    upstream.receives_head()
    upstream.send(ok())
    client.receives(to_client())
    client.close()
    s.loop.running = True
    s.worker.clients.drain(s.loop.clock.now)
    assert s.loop.running
    copied.receives_head()
    copied.send(ok())
    s.until(lambda: not s.loop.running, "the worker goes on")
