"""The fields of an upstream's answer: those for the client, and those for us (proxy.md §3.1, §3.2)."""

from __future__ import annotations

import socket

import pytest
from conversation import chunks, get, ok, sent_up, to_client

from wproxy.config.load import load_text
from wproxy.config.tree import ConfigurationError
from wproxy.directives.proxy_headers import parse_local_address

HINT = b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\nX-Accel-Expires: 5\r\n\r\n"
PASSED_HINT = b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n"


def asked(s, client, request=get(), upstream=None):
    """The upstream's side after this request."""
    client.send(request)
    if upstream is None:
        upstream = s.peers[0].accept()
    upstream.receives_head()
    return upstream


def test_a_content_type_without_a_value_is_none(stage):
    s = stage()
    client = s.client()
    asked(s, client).send(b"HTTP/1.1 200 OK\r\nContent-Type: \r\nContent-Length: 2\r\n\r\nhi")
    answer = client.take()
    assert answer.endswith(b"\r\n\r\nhi")
    assert b"Content-Type" not in answer


# Early hints.


def test_early_hints_are_dropped_unless_asked_for(stage):
    s = stage()
    client = s.client()
    asked(s, client).send(HINT + ok())
    client.receives(to_client())


def test_early_hints_are_passed_on_when_a_value_says_so(stage):
    s = stage(location='early_hints = ["$http_x_hints", "0"]')
    client = s.client()
    upstream = asked(s, client, get(b"/", b"X-Hints: 1"))
    upstream.send(HINT + HINT)
    client.receives(PASSED_HINT + PASSED_HINT)
    upstream.send(ok())
    client.receives(to_client())
    assert s.last_access()["status"] == "200"
    asked(s, client, get(b"/", b"X-Hints: 0"), upstream).send(HINT + ok())
    client.receives(to_client())


def test_early_hints_are_not_for_http_1_0(stage):
    s = stage(location='early_hints = "1"')
    client = s.client()
    asked(s, client, get(version=b"1.0")).send(HINT + ok())
    client.receives(to_client(kept=False))


def test_early_hints_of_an_upstream_that_speaks_http_1_0_are_a_502(stage):
    s = stage()
    client = s.client()
    client.send(get())
    upstream = s.peers[0].accept()
    upstream.receives_head()
    upstream.send(HINT.replace(b"HTTP/1.1", b"HTTP/1.0") + ok())
    assert client.take().startswith(b"HTTP/1.1 502 ")
    assert "upstream sent HTTP/1.0 response with early hints" in s.error_log()[-1]


def test_a_head_after_early_hints_may_still_be_retried(stage):
    s = stage(peers=2, location='early_hints = "1"')
    client = s.client()
    first = asked(s, client)
    first.send(HINT)
    client.receives(PASSED_HINT)
    first.close()
    second = s.peers[1].accept()
    second.receives_head()
    second.send(ok())
    client.receives(to_client())


# Trailers.

TRAILED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
TRAILER = b"0\r\nX-Sum: 5\r\nX-Hidden: 1\r\n\r\n"


@pytest.mark.parametrize("at_once", [True, False])
def test_trailers_are_passed_on_when_asked_for(stage, at_once):
    s = stage(location='proxy_pass_trailers = true\nproxy_hide_header = "X-Hidden"')
    client = s.client()
    upstream = asked(s, client)
    if at_once:
        upstream.send(TRAILED + chunks(b"abc", last=False) + TRAILER)
    else:
        upstream.send(TRAILED + chunks(b"abc", last=False)).send(TRAILER)
    client.receives(to_client(None, chunked=True) + chunks(b"abc", last=False) + b"0\r\nX-Sum: 5\r\n\r\n")
    asked(s, client, upstream=upstream).send(ok())
    client.receives(to_client())


def test_trailers_are_dropped_unless_asked_for(stage):
    s = stage()
    client = s.client()
    asked(s, client).send(TRAILED + chunks(b"abc", last=False) + TRAILER)
    client.receives(to_client(None, chunked=True) + chunks(b"abc"))


# What is for us.


def test_a_head_that_is_remembered_still_tells_us_what_it_says(stage):
    """The second of two equal heads takes the short way, and must not lose X-Accel-Charset there."""
    s = stage()
    client = s.client()
    upstream = None
    for _ in range(2):
        upstream = asked(s, client, upstream=upstream)
        upstream.send(ok(b"ok", b"X-Accel-Charset: koi8-r", b"Content-Type: text/html"))
        client.receives(to_client(content_type=b"text/html; charset=koi8-r"))


def test_cookies_that_depend_on_the_request_are_made_anew(stage):
    s = stage(location='proxy_cookie_path = [["/", "/$arg_a/"]]')
    client = s.client()
    upstream = None
    for letter in (b"x", b"y"):
        upstream = asked(s, client, get(b"/?a=" + letter), upstream)
        upstream.send(ok(b"ok", b"Set-Cookie: n=v; Path=/up"))
        client.receives(to_client(b"ok", b"Set-Cookie: n=v; Path=/" + letter + b"/up"))


def test_a_line_break_from_a_variable_never_reaches_a_cookie(stage):
    s = stage(
        location='proxy_cookie_path = [["/", "/$uri/"]]',
    )
    client = s.client()
    asked(s, client, get(b"/a%0d%0aX-Evil:%201")).send(ok(b"ok", b"Set-Cookie: n=v; Path=/up"))
    answer = client.take()
    assert answer.startswith(b"HTTP/1.1 500 ")
    assert b"X-Evil" not in answer


def test_x_accel_redirect_keeps_the_upstream_connection_out_of_the_pool_and_the_log_tells_both(stage):
    s = stage(locations='[http.server.location."/inner/"]\ninternal = true\nproxy_pass = "http://app"')
    client = s.client()
    first = asked(s, client)
    first.send(b"HTTP/1.1 200 OK\r\nX-Accel-Redirect: /inner/x?y\r\nSet-Cookie: a=1\r\nContent-Length: 100000\r\n\r\nbeginning")
    second = s.peers[0].accept()
    second.receives(sent_up(b"/inner/x?y"))
    assert first.is_closed()
    second.send(ok())
    client.receives(to_client(b"ok", b"Set-Cookie: a=1"))
    assert s.last_access()["upstream_status"] == "200 : 200"


def test_a_circle_of_x_accel_redirects_ends(stage):
    s = stage()
    client = s.client()
    client.send(get())
    for _ in range(11):
        upstream = s.peers[0].accept()
        upstream.receives_head()
        upstream.send(b"HTTP/1.1 200 OK\r\nX-Accel-Redirect: /again\r\nContent-Length: 0\r\n\r\n")
    assert client.take().startswith(b"HTTP/1.1 500 ")
    s.peers[0].is_unvisited()


# Leaving.


def test_a_client_that_leaves_costs_the_upstream_connection_within_a_turn(stage):
    s = stage()
    client = s.client(tcp=True)
    upstream = asked(s, client)
    client.sock.close()
    client.over = True
    before = s.loop.turns
    s.until(lambda: not s.worker.clients.connections, "the connection stays")
    assert s.loop.turns - before <= 3
    assert upstream.is_closed()
    assert s.statuses() == ["499"]


# Where connections come from.


def test_proxy_bind_chooses_the_address(stage):
    s = stage(location='proxy_bind = "$arg_from"')
    for place, expected in ((b"127.0.0.9", "127.0.0.9"), (b"", "127.0.0.1"), (b"nonsense", "127.0.0.1")):
        client = s.client()
        client.send(get(b"/?from=" + place, b"Connection: close"))
        upstream = s.peers[0].accept()
        assert upstream.sock.getpeername()[0] == expected
        upstream.receives_head()
        upstream.send(ok(b"ok", b"Connection: close"))
        client.receives(to_client(kept=False))
    assert [line for line in s.error_log() if 'invalid local address "nonsense"' in line]


def test_an_address_that_is_not_ours_is_a_500_and_no_peer_s_fault(stage):
    s = stage(peers=2, location='proxy_bind = "192.0.2.1"')
    client = s.client()
    client.send(get())
    assert client.take().startswith(b"HTTP/1.1 500 ")
    assert [line for line in s.error_log() if "[crit]" in line and "bind(192.0.2.1:0) failed (99: " in line]
    assert not any(peer.health.fails for peer in s.group().peers)


def test_proxy_socket_keepalive(stage):
    for value, expected in (("true", 1), ("false", 0)):
        s = stage(location=f"proxy_socket_keepalive = {value}")
        client = s.client()
        asked(s, client)
        (connection,) = s.worker.clients.connections
        (stream,) = [stream for stream in s.loop._streams.values() if stream is not connection.stream]
        assert stream.sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == expected


@pytest.mark.parametrize("option", ["rcvbuf", "sndbuf"])
def test_the_buffers_of_the_system_have_the_size_that_is_asked_for(stage, option):
    number = {"rcvbuf": socket.SO_RCVBUF, "sndbuf": socket.SO_SNDBUF}[option]
    s = stage(location=f'proxy_socket_{option} = "8k"')
    client = s.client()
    asked(s, client)
    (connection,) = s.worker.clients.connections
    (stream,) = [stream for stream in s.loop._streams.values() if stream is not connection.stream]
    assert stream.sock.getsockopt(socket.SOL_SOCKET, number) == 2 * 8192, "Linux doubles it"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("127.0.0.1", ("127.0.0.1", 0)),
        ("127.0.0.1:80", ("127.0.0.1", 80)),
        ("::1", ("::1", 0)),
        ("[::1]", ("::1", 0)),
        ("[::1]:80", ("::1", 80)),
        ("127.0.0.1:", None),
        ("127.0.0.1:0", None),
        ("127.0.0.1:65536", None),
        ("[::1", None),
        ("[::1]80", None),
        ("localhost", None),
        ("", None),
    ],
)
def test_a_local_address_is_an_ip_address_and_perhaps_a_port(text, found):
    assert parse_local_address(text) == found


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('proxy_bind = ["127.0.0.1", "opaque"]', 'invalid parameter "opaque"'),
        ('proxy_bind = ["off", "transparent"]', 'invalid address "off"'),
        ('proxy_bind = "localhost"', 'invalid address "localhost"'),
        ('proxy_redirect = "on"', 'invalid parameter "on"'),
        ('proxy_cookie_path = "on"', 'invalid parameter "on"'),
        ('proxy_cookie_flags = [["a", "sekure"]]', 'invalid parameter "sekure"'),
        ('proxy_ignore_headers = "X-Accel"', 'invalid value "X-Accel"'),
        ('client_body_temp_path = ["/tmp/x", "0"]', '"client_body_temp_path" directive invalid value'),
        ('client_body_in_file_only = "yes"', 'invalid value "yes"'),
    ],
)
def test_what_makes_no_sense_is_said_at_load(line, message):
    text = f'[http]\n[[http.server]]\nlisten = "127.0.0.1:8080"\n[http.server.location."/"]\n{line}\n'
    with pytest.raises(ConfigurationError) as refusal:
        load_text(text.encode(), "test.toml", "/", lambda host, port: [])
    assert message in str(refusal.value)


FILES = """
[http.server.location."/file"]
internal = true
root = "{directory}"
default_type = "text/plain"
[http.server.location."/hop"]
internal = true
proxy_pass = "http://app"
"""


def leads(target: bytes, *fields: bytes) -> bytes:
    """An answer that leads elsewhere."""
    return ok(b"", b"X-Accel-Redirect: " + target, *fields)


def test_a_304_of_the_file_that_an_upstream_leads_to_says_nothing_of_a_body(stage, tmp_path):
    (tmp_path / "file").write_bytes(b"the file")
    s = stage(locations=FILES.replace("{directory}", str(tmp_path)))
    client = s.client().send(get(b"/"))
    upstream = s.peers[0].accept()
    upstream.send(leads(b"/file", b"Content-Type: image/png", b"Accept-Ranges: bytes", b"Cache-Control: no-cache"))
    head = client.receives_head()
    assert b"\r\nContent-Type: image/png\r\n" in head
    client.receives(b"the file")
    etag = next(line for line in head.split(b"\r\n") if line.startswith(b"ETag: "))[6:]
    client.send(get(b"/", b"If-None-Match: " + etag))
    s.peers[0].accept().send(leads(b"/file", b"Content-Type: image/png", b"Accept-Ranges: bytes", b"Cache-Control: no-cache"))
    head = client.receives_head()
    assert head.startswith(b"HTTP/1.1 304 ")
    assert b"\r\nCache-Control: no-cache\r\n" in head
    assert b"Content-Type" not in head
    assert b"Accept-Ranges" not in head


@pytest.mark.parametrize(
    ("first", "second", "found"),
    [
        ((b"Content-Type: image/png",), (), b"image/png"),
        ((b"Content-Type: image/png",), (b"Content-Type: image/gif",), b"image/gif"),
        ((), (b"Content-Type: image/gif",), b"image/gif"),
        ((), (), b"text/plain"),
    ],
)
def test_the_last_upstream_that_names_a_type_on_the_way_to_a_file_is_believed(stage, tmp_path, first, second, found):
    (tmp_path / "file").write_bytes(b"the file")
    s = stage(locations=FILES.replace("{directory}", str(tmp_path)))
    client = s.client().send(get(b"/"))
    s.peers[0].accept().send(leads(b"/hop", *first))
    s.peers[0].accept().send(leads(b"/file", *second))
    head = client.receives_head()
    assert head.count(b"Content-Type: ") == 1
    assert b"\r\nContent-Type: " + found + b"\r\n" in head


@pytest.mark.parametrize(("fields", "found"), [((b"Content-Type: image/gif",), b"image/gif"), ((), b"image/png")])
def test_an_upstream_that_answers_itself_after_another_led_to_it_has_its_own_type(stage, fields, found):
    s = stage(locations=FILES)
    client = s.client().send(get(b"/"))
    s.peers[0].accept().send(leads(b"/hop", b"Content-Type: image/png"))
    s.peers[0].accept().send(ok(b"", *fields))
    assert b"\r\nContent-Type: " + found + b"\r\n" in client.receives_head()
