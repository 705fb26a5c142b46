"""Rules of proxy.md §4 to §6 and §8 that no other file has a test for; rules.py says where each one is."""

from __future__ import annotations

import errno
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from conversation import End, Peer, SilentPeer, Stage, error_page, get, ok, sent_up, to_client

from wproxy.address import Address


def exchange(s: Stage, client: End, peer: int = 0, reply: bytes | None = None) -> End:
    """A request that goes to this peer on a new connection, and its answer."""
    client.send(get())
    upstream = s.peers[peer].accept()
    upstream.receives(sent_up())
    upstream.send(ok() if reply is None else reply)
    return upstream


def refused(s: Stage, client: End) -> None:
    client.send(get())
    client.receives(error_page(502))


# Outcomes (§4.1).


@contextmanager
def no_descriptor_left() -> Iterator[None]:
    """This process may open nothing."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = max(map(int, os.listdir("/proc/self/fd"))) + 1
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, before[1]))
    taken = []
    try:
        while True:
            try:
                taken.append(os.dup(0))
            except OSError as error:
                assert error.errno == errno.EMFILE
                break
        yield
    finally:
        for fileno in taken:
            os.close(fileno)
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_without_a_descriptor_it_is_a_500_and_no_peer_is_to_blame(stage):
    s = stage(peers=2)
    client = s.client()
    with no_descriptor_left():
        client.send(get())
        s.settle()
    assert client.take().startswith(b"HTTP/1.1 500 ")
    (line,) = s.error_log()
    assert "[alert]" in line
    assert "socket() failed (24: Too many open files) while connecting to upstream, client: 127.0.0.1" in line
    assert not any(peer.health.fails or peer.connections for peer in s.group().peers)
    assert s.last_access()["upstream_status"] == "-"
    client = s.client()
    exchange(s, client, 1)
    client.receives(to_client())


def test_no_live_upstream_is_a_502_whatever_was_before(stage):
    """Also when the try before was a timeout, which alone would be a 504."""
    s = stage(peers=2, location='proxy_read_timeout = "3s"')
    s.group().peers[1].health.count_failure(int(s.now) + 2)  # in another worker: it still rests when the first one fails
    client = s.client()
    client.send(get())
    s.peers[0].accept().receives(sent_up())
    s.advance(3)
    client.receives(error_page(502))
    access = s.last_access()
    assert (access["status"], access["upstream_addr"], access["upstream_status"]) == (
        "502",
        f"{s.peers[0].name}, app",
        "504, 502",
    )


@pytest.mark.parametrize("when", ["connecting", "waiting", "after a retry"])
def test_a_client_that_has_left_gets_no_further_try(stage, when):
    s = stage(peers=[SilentPeer(), Peer()] if when == "connecting" else 2)
    client = s.client()
    client.send(get())
    expected = "-"
    if when == "waiting":
        s.peers[0].accept().receives(sent_up())
    elif when == "after a retry":
        s.peers[0].accept().close()
        s.peers[1].accept().receives(sent_up())
        expected = "502, -"
    client.close()
    s.advance(120)
    if when != "after a retry":
        s.peers[1].is_unvisited()
    access = s.last_access()
    assert (access["status"], access["upstream_status"]) == ("499", expected)
    fails = [peer.health.fails for peer in s.group().peers]
    assert fails == ([1, 0] if when == "after a retry" else [0, 0]), "a client that leaves speaks against no peer"


def test_mkcol_and_the_like_are_retried(stage):
    s = stage(peers=2)
    client = s.client()
    client.send(get(method=b"MKCOL"))
    s.peers[0].accept().close()
    s.peers[1].accept().receives(sent_up(method=b"MKCOL"))


def test_a_head_that_has_gone_out_is_never_followed_by_another_try(stage):
    s = stage(peers=2, location='proxy_next_upstream = ["error", "timeout", "invalid_header", "non_idempotent"]')
    client = s.client()
    exchange(s, client, 0, b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf").reset()
    assert client.is_closed()
    assert client.take() == to_client(b"half", length=10)
    s.peers[1].is_unvisited()
    assert s.last_access()["upstream_status"] == "200"


def test_a_request_of_non_idempotent_method_is_sent_again_on_a_fresh_connection_where_that_is_allowed(stage):
    s = stage(location='proxy_next_upstream = ["error", "non_idempotent"]')
    client = s.client()
    upstream = exchange(s, client)
    client.receives(to_client())
    client.send(get(method=b"POST"))
    upstream.receives(sent_up(method=b"POST"))
    upstream.close()
    fresh = s.peers[0].accept()
    fresh.receives(sent_up(method=b"POST"))
    fresh.send(ok())
    client.receives(to_client())


def test_backups_count_as_tries_and_peers_that_are_down_do_not(stage):
    s = stage(
        peers=4, peer_parameters=("max_fails = 0", "down = true", "max_fails = 0, backup = true", "max_fails = 0, backup = true")
    )
    for peer in s.peers:
        peer.refuse()
    client = s.client()
    refused(s, client)
    assert s.group().tries == 3
    assert s.last_access()["upstream_status"] == "502, 502, 502"


# Passive health (§4.2).


@pytest.mark.parametrize("status", [b"500", b"502", b"503", b"504", b"429", b"403", b"404"])
def test_an_answer_counts_as_a_failure_only_when_it_is_passed_on_and_403_and_404_never(stage, status):
    s = stage(peers=2, location=f'proxy_next_upstream = "http_{status.decode()}"')
    client = s.client()
    exchange(s, client, 0, ok(b"no", status=status + b" No"))
    second = s.peers[1].accept()
    second.receives(sent_up())
    second.send(ok(b"no", status=status + b" No"))
    client.receives(to_client(b"no", status=status + b" No"))
    counted = 0 if status in (b"403", b"404") else 1
    assert [peer.health.fails for peer in s.group().peers] == [counted, 0]


@pytest.mark.parametrize("end", ["200", "404 passed on", "503 of the last try", "499", "cut body"])
def test_a_probe_that_ends_without_a_failure_brings_the_peer_back(stage, end):
    s = stage(
        peers=2,
        peer_parameters=("", "down = true"),
        location='proxy_next_upstream = ["error", "http_404"]' if end == "404 passed on" else 'proxy_next_upstream = "http_503"',
    )
    s.group().peers[0].health.count_failure(int(s.now))
    client = s.client()
    refused(s, client)
    s.advance(12)
    if end == "499":
        client.send(get())
        s.peers[0].accept().receives(sent_up())
        client.close()
        s.settle()
    else:
        status = {"404 passed on": b"404 No", "503 of the last try": b"503 No"}.get(end, b"200 OK")
        answer = ok(b"fine", status=status)
        upstream = exchange(s, client, 0, answer[:-1] if end == "cut body" else answer)
        if end == "cut body":
            upstream.close()
        client.take()
    assert s.group().peers[0].health.fails == 0
    assert s.group().peers[0].health.may_serve(int(s.now))


def test_without_max_fails_the_weight_stays_what_it_is(stage):
    s = stage(peers=2, peer_parameters=("weight = 4, max_fails = 0", ""))
    s.peers[0].refuse()
    client = s.client()
    exchange(s, client, 1)
    client.receives(to_client())
    assert s.group().peers[0].effective_weight == 4


def test_a_name_of_two_addresses_is_not_a_single_peer(stage, monkeypatch):
    monkeypatch.setattr("conversation._look_up", lambda host, port: [Address("127.0.0.1", port), Address("::1", port)])
    s = stage(locations='[http.server.location."/two"]\nproxy_pass = "http://two.test:9"')
    assert not s.group("two.test:9").is_single
    assert s.group().is_single


@pytest.mark.parametrize("parameters", ["down = true", "drain = true"])
def test_of_a_single_peer_only_down_drain_and_max_conns_count(stage, parameters):
    s = stage(peer_parameters=(parameters,))
    refused(s, s.client())
    s.peers[0].is_unvisited()
    assert "no live upstreams" in s.error_log()[0]


def test_idle_connections_take_no_room(stage):
    s = stage(peer_parameters=("max_conns = 1",))
    client = s.client()
    upstream = exchange(s, client)
    client.receives(to_client())
    assert s.group().idle_count == 1
    assert s.group().peers[0].connections == 0
    client.send(get())
    upstream.receives(sent_up())


# Messages (§4.3).


def test_the_line_of_a_failure_has_all_that_nginx_says(stage):
    s = stage()
    client = s.client()
    client.send(get(b"/x?y", b"Referer: http://r/", host=b"h:8080"))
    s.peers[0].accept().reset()
    client.receives(error_page(502))
    (line,) = s.error_log()
    assert line.split("*1 ")[1] == (
        "recv() failed (104: Connection reset by peer) while reading response header from upstream, client: 127.0.0.1, "
        f'server: front, request: "GET /x?y HTTP/1.1", upstream: "http://{s.peers[0].name}/x?y", host: "h:8080", '
        'referrer: "http://r/"'
    )


@pytest.mark.parametrize(
    ("end", "message"),
    [
        ("close", "upstream prematurely closed connection while reading upstream"),
        ("reset", "recv() failed (104: Connection reset by peer) while reading upstream"),
    ],
)
def test_a_body_that_breaks_off_is_named(stage, end, message):
    s = stage()
    client = s.client()
    upstream = exchange(s, client, 0, b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
    upstream.close() if end == "close" else upstream.reset()
    assert client.is_closed()
    (line,) = s.error_log()
    assert "[error] " in line and f" {message}, client: " in line
    assert s.last_access()["wproxy_end_cause"] == f"upstream: {message}"
    assert s.last_access()["wproxy_end_code"] == "up_cut"


# Keepalive (§6).


@pytest.mark.parametrize(
    ("reply", "kept"),
    [
        (ok(), True),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", True),
        (b"HTTP/1.1 204 No Content\r\n\r\n", True),
        (ok(b"ok", b"Connection: keep-alive"), True),
        (ok(b"ok", b"Connection: close"), False),
        (ok(b"ok", b"Connection: x, Close"), False),
        (ok(b"ok", b"Connection: disclosed"), False),
        (ok(version=b"1.0"), False),
        (ok(b"ok", b"Connection: keep-alive", version=b"1.0"), False),
        (ok() + b"surplus", False),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\nx", False),
    ],
)
def test_which_answers_leave_a_connection_that_is_kept(stage, reply, kept):
    s = stage()
    client = s.client()
    upstream = exchange(s, client, 0, reply)
    client.take()
    assert upstream.is_open() if kept else upstream.is_closed()
    assert s.group().idle_count == int(kept)


@pytest.mark.parametrize("location", ["proxy_http_version = 1.0", 'proxy_set_header = { Connection = "close" }'])
def test_what_we_said_ourselves_does_not_matter(stage, location):
    s = stage(location=location.replace("1.0", '"1.0"'))
    client = s.client()
    client.send(get())
    upstream = s.peers[0].accept()
    upstream.receives_head()
    upstream.send(ok())
    client.receives(to_client())
    assert upstream.is_open()
    assert s.group().idle_count == 1


def test_a_worker_that_leaves_keeps_no_connection(stage):
    s = stage()
    client = s.client()
    client.send(get())
    upstream = s.peers[0].accept()
    upstream.receives(sent_up())
    s.group().close_idle()  # as Worker does when it drains
    upstream.send(ok())
    client.take()
    assert upstream.is_closed()


# Variables (§8).


def test_without_an_upstream_variables_are_empty_outside_of_logs(stage):
    s = stage(locations='[http.server.location."/r"]\nreturn = [200, "[$upstream_addr$upstream_status$upstream_response_time]"]')
    client = s.client()
    client.send(get(b"/r"))
    assert client.take().endswith(b"\r\n\r\n[]")
    assert s.last_access()["upstream_addr"] == "-"


def test_fields_and_cookies_of_the_last_answer(stage):
    text = "[$upstream_http_x_many|$upstream_http_none|$upstream_cookie_sid|$upstream_cookie_SID|$upstream_cookie_no]"
    s = stage(location=f"add_header = [['X-Seen', '{text}']]")
    client = s.client()
    lines = (b"X-Many: a", b"x-many: b", b"Set-Cookie: other=1", b"Set-Cookie: Sid=first; Path=/", b"Set-Cookie: sid=second")
    exchange(s, client, 0, ok(b"ok", *lines))
    assert b"\r\nX-Seen: [a, b||first|first|]\r\n" in client.take()
