"""A worker that is told to leave, client by client: the table of nginx/process.md §7."""

from __future__ import annotations

from conversation import Stage, get, ok, post, sent_up, to_client
from test_tunnel import tunnel

PAGE = '[http.server.location."/page"]\nreturn = [200, "here"]\n'


def leaving(s: Stage) -> Stage:
    """The worker, told to leave."""
    s.loop.running = True
    s.worker.clients.open = len(s.worker.clients.connections)  # the acceptor counts them, and there is none on a stage
    s.worker.drain()
    s.settle()
    return s


def has_left(s: Stage) -> bool:
    s.settle()
    return not s.loop.running


def asked(s: Stage):
    """A client that has been answered."""
    client = s.client().send(get(b"/page"))
    client.receives_head()
    assert client.take() == b"here"
    return client


def test_an_idle_client_gets_an_end_at_once(stage):
    s = stage(locations=PAGE)
    client = asked(s)
    leaving(s)
    assert client.is_closed()
    assert has_left(s)


def test_a_client_that_has_sent_nothing_may_still_ask_until_client_header_timeout(stage):
    s = stage(locations=PAGE, server='client_header_timeout = "20s"')
    talks, silent = s.client(), s.client()
    leaving(s)
    talks.send(get(b"/page"))
    assert b"\r\nConnection: close\r\n" in talks.receives_head()
    assert talks.take() == b"here"
    assert talks.is_closed()
    s.advance(19)
    assert silent.is_open() and not has_left(s)
    s.advance(1)
    assert silent.is_closed() and has_left(s)


def test_who_has_begun_another_request_is_served(stage):
    s = stage(locations=PAGE)
    client = asked(s).send(get(b"/page")[:-7])
    leaving(s)
    client.send(get(b"/page")[-7:])
    assert b"\r\nConnection: close\r\n" in client.receives_head()
    assert client.take() == b"here"
    assert client.is_closed() and has_left(s)


def test_a_request_that_waits_for_its_upstream_is_answered(stage):
    s = stage()
    client = s.client().send(get())
    upstream = s.peers[0].accept()
    upstream.receives(sent_up())
    leaving(s)
    assert client.is_open() and not has_left(s)
    upstream.send(ok())
    client.receives(to_client(kept=False))
    assert client.is_closed() and has_left(s)


def test_a_body_that_is_on_its_way_up_arrives(stage):
    body = b"b" * 100_000
    s = stage(location='client_body_buffer_size = "1k"\nproxy_request_buffering = "off"')
    request = post(body)
    client = s.client(tcp=True).send(request[:50_000])
    upstream = s.peers[0].accept()
    upstream.receives_head()
    leaving(s)
    client.send(request[50_000:])
    s.until(lambda: len(upstream.pull_all()) == len(body), "the whole body")
    upstream.send(ok())
    client.receives(to_client(kept=False))
    client.close()
    assert has_left(s)


def test_an_answer_on_its_way_down_arrives(stage):
    size = 3_000_000
    s = stage()
    client = s.client(send_buffer=4096).send(get())
    upstream = s.peers[0].accept()
    upstream.receives(sent_up())
    upstream.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
    sent = upstream.send_some(b"y" * size)
    leaving(s)
    assert not has_left(s)
    client.receives_head()
    received = 0
    while received < size:
        received += len(client.take())
        sent += upstream.send_some(b"y" * (size - sent))
    assert client.is_closed() and has_left(s)


def test_a_client_that_goes_on_sending_after_its_refusal_delays_it_for_lingering_timeout(stage):
    s = stage(server='lingering_timeout = "5s"\nclient_max_body_size = 10')
    client = s.client(tcp=True).send(get(b"/", b"Content-Length: 1000", method=b"POST") + b"x" * 100)
    assert client.receives_head().startswith(b"HTTP/1.1 413 ")
    leaving(s)
    client.take()
    assert not has_left(s)
    s.advance(5)
    assert has_left(s)


def test_a_tunnel_stays_until_somebody_closes_it(stage):
    s, client, upstream = tunnel(stage)
    leaving(s)
    s.advance(30)
    client.send(b"still")
    upstream.receives(b"still")
    assert not has_left(s)
    upstream.close()
    assert client.is_closed() and has_left(s)


def test_worker_shutdown_timeout_ends_tunnels_too(stage):
    s, client, _ = tunnel(stage)
    s.configuration.worker_shutdown_timeout = 10.0
    leaving(s)
    s.advance(9)
    assert client.is_open() and not has_left(s)
    s.advance(1)
    assert has_left(s)
    assert any("1 connections closed by worker_shutdown_timeout 10" in line for line in s.error_log())
    assert s.last_access()["wproxy_end_code"] == "drained"
    assert s.last_access()["wproxy_end_cause"].startswith("worker_shutdown_timeout 10 is over (")


def test_idle_connections_to_upstreams_are_closed_and_none_is_kept_from_now_on(stage):
    s = stage()
    first, second = s.client().send(get()), s.client().send(get())
    early, late = s.peers[0].accept(), s.peers[0].accept()
    early.send(ok())
    first.receives(to_client())
    leaving(s)
    assert early.is_closed()
    late.send(ok())
    second.receives(to_client(kept=False))
    assert late.is_closed() and has_left(s)


def test_who_is_told_twice_leaves_once(stage):
    s = stage(locations=PAGE)
    silent = s.client()
    leaving(s).worker.drain()
    silent.close()
    assert has_left(s)
