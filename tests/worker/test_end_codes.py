"""$wproxy_end_code: each way to end badly, caused on the wire (those with a test elsewhere have their word there)."""

from __future__ import annotations

import json

import pytest
from conversation import SilentPeer, Stage, get, ok, post

from wproxy.why.causes import cause_of
from wproxy.why.lines import read_line

RETURNING = """
[http.server.location."/444"]
return = 444
[http.server.location."/own"]
return = 503
[http.server.location."/round"]
rewrite = ["^", "/round"]
[http.server.location."/denied"]
deny = "all"
"""


@pytest.mark.parametrize(
    ("request_bytes", "status", "code"),
    [
        (get(b"/444"), "444", "closed_444"),
        (get(b"/own"), "503", ""),
        (get(b"/none", b"Connection: close"), "404", ""),
        (get(b"/denied"), "403", "deny_rule"),
        (get(b"/round"), "500", "conf_cycle"),
        (b"GET / HTTP/1.1\r\n\r\n", "400", "cl_bad_request"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 40_000 + b"\r\n\r\n", "400", "cl_head_too_big"),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nwhat\r\n", "400", "cl_bad_body"),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2000000\r\n\r\n", "413", "cl_body_too_big"),
    ],
)
def test_ends_without_an_upstream(stage, request_bytes, status, code):
    s = stage(locations=RETURNING + '[http.server.location."/none"]\nroot = "/nowhere"\n')
    s.client().send(request_bytes)
    s.settle()
    access = s.last_access()
    assert (access["status"].replace("494", "400"), access["wproxy_end_code"]) == (status, code)
    assert bool(access["wproxy_end_cause"]) == (code not in ("", "closed_444"))
    if access["wproxy_end_cause"]:
        is_understood(s, code)


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (b"", "up_closed"),
        (b"HTTP/1.1 200", "up_closed"),
        (b"what\r\n\r\n", "up_bad_head"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 9_000 + b"\r\n\r\n", "up_head_too_big"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nwhat\r\n", "up_bad_body"),
        (b"HTTP/1.1 500 Own\r\nContent-Length: 0\r\n\r\n", "up_said"),
        (b"HTTP/1.1 404 Own\r\nContent-Length: 0\r\n\r\n", ""),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", ""),
    ],
)
def test_ends_of_an_answer(stage, answer, code):
    s = stage()
    s.client().send(get())
    upstream = s.peers[0].accept()
    upstream.receives_head()
    if answer:
        upstream.send(answer)
    upstream.close()
    s.settle()
    assert s.last_access()["wproxy_end_code"] == code
    is_understood(s, code)


def is_understood(s: Stage, code: str) -> None:
    """`wproxy why` finds the same word in the line of the error log, where there is one."""
    read = [line for line in map(read_line, s.error_log()) if line is not None and "client" in line.details]
    assert [cause_of(line) for line in read] in ([code], [] if code in ("", "up_said") else [code])


def test_a_peer_that_resets_or_refuses_or_is_not_there(stage):
    s = stage(peers=1)
    client = s.client().send(get())
    upstream = s.peers[0].accept()
    upstream.receives_head()
    upstream.reset()
    client.receives_head()
    # A unix socket has no reset.
    assert s.last_access()["wproxy_end_code"] in ("up_reset", "up_closed")
    s.peers[0].refuse()
    s.client().send(get()).receives_head()
    assert s.last_access()["wproxy_end_code"] == "up_refused"


@pytest.mark.parametrize(("queue", "code"), [("", "up_full"), ("queue = [1, 'timeout=5s']", "up_queue_timeout")])
def test_peers_without_room(stage, queue, code):
    s = stage(peer_parameters=("max_conns = 1",), upstream=queue)
    s.client().send(get())
    s.peers[0].accept().receives_head()
    second = s.client().send(get())
    if queue:
        s.client().send(get()).receives_head()
        assert s.last_access()["wproxy_end_code"] == "up_queue_full"
        s.advance(6)
    second.receives_head()
    assert s.last_access()["wproxy_end_code"] == code


def test_a_peer_that_does_not_take_a_connection(stage):
    s = stage(peers=[SilentPeer()], location='proxy_connect_timeout = "5s"')
    client = s.client().send(get())
    s.advance(6)
    client.receives_head()
    assert s.last_access()["wproxy_end_code"] == "up_connect_timeout"
    is_understood(s, "up_connect_timeout")


def test_a_peer_that_does_not_read(stage):
    s = stage(
        location='proxy_send_timeout = "5s"\nclient_max_body_size = 0\nclient_body_buffer_size = "16m"\nproxy_http_version = "1.1"'
    )
    client = s.client().send(post(b"x" * 8_000_000))
    s.peers[0].accept()
    s.advance(6)
    client.receives_head()
    assert s.last_access()["wproxy_end_code"] == "up_send_timeout"
    is_understood(s, "up_send_timeout")


ELSEWHERE = """
[http.server.location."/gone"]
proxy_pass = "http://unix:/nowhere/at/all.sock:/"
[http.server.location."/secure"]
proxy_pass = "https://app"
[http.server.location."/to"]
proxy_pass = "http://$arg_to"
resolver = "127.0.0.1:1"
resolver_timeout = "5s"
"""


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        (b"/gone", "502", "up_unreachable"),
        (b"/secure", "502", "up_tls"),
        (b"/to?to=", "500", "conf_value"),
        (b"/to?to=name.test:x", "500", "conf_value"),
        (b"/to?to=unix:", "500", "conf_value"),
        (b"/to?to=[::1", "500", "conf_value"),
        (b"/to?to=name.test", "502", "dns_timeout"),
    ],
)
def test_ways_that_lead_nowhere(stage, path, status, code):
    s = stage(locations=ELSEWHERE)
    client = s.client().send(get(path))
    if code == "up_tls":
        s.peers[0].accept().send(b"HTTP/1.1 400 This is plain\r\n\r\n")
    elif code == "dns_timeout":
        s.advance(40)
    client.receives_head()
    assert (s.last_access()["status"], s.last_access()["wproxy_end_code"]) == (status, code)
    is_understood(s, code)


def test_a_retry_that_succeeds_leaves_no_word(stage):
    s = stage(peers=2)
    s.peers[0].refuse()
    client = s.client().send(get())
    upstream = s.peers[1].accept()
    upstream.receives_head()
    upstream.send(ok())
    client.receives_head()
    assert (s.last_access()["status"], s.last_access()["wproxy_end_code"]) == ("200", "")


@pytest.mark.parametrize("sent", [post(b"hello"), get()])
def test_a_bug_has_a_word_and_its_request_a_line_in_the_log(stage, monkeypatch, sent):
    s = stage()

    def fail(request):
        raise ZeroDivisionError("a bug")

    for location in s.configuration.servers[0].each_location():
        monkeypatch.setattr(location.route, "answer", fail)
    client = s.client().send(sent)
    assert client.is_closed()
    access = s.last_access()
    assert (access["status"], access["wproxy_end_code"]) == ("500", "bug")
    assert s.bugs
    s.bugs.clear()


def test_an_error_log_as_json_says_the_same_with_its_parts(stage, tmp_path):
    s = stage(
        server=f'error_log = [["{tmp_path}/error.json", "info", "format=json"]]\naccess_log = [["{tmp_path}/access.json", "wproxy_json"]]\n',
        location="proxy_read_timeout = 7\n",
    )
    client = s.client().send(get(b'/a"b?c', b"User-Agent: x"))
    s.peers[0].accept().receives_head()
    s.advance(7)
    client.receives_head()
    s.worker.access_logs.flush()
    shown = json.loads((tmp_path / "error.json").read_text("utf-8"))
    place = s.position("proxy_read_timeout")
    assert shown["msg"] == "upstream timed out"
    assert (shown["errno"], shown["errtext"], shown["doing"]) == (
        110,
        "Connection timed out",
        "reading response header from upstream",
    )
    assert (shown["code"], shown["setting"]) == ("up_head_timeout", {"name": "proxy_read_timeout", "value": "7", "at": place})
    assert (shown["request"], shown["server"], shown["host"]) == ('GET /a"b?c HTTP/1.1', "front", "h")
    line = read_line(json.dumps(shown))
    assert line is not None
    assert cause_of(line) == "up_head_timeout"
    access = json.loads((tmp_path / "access.json").read_text("utf-8"))
    assert access["request_id"] == shown["request_id"]
    assert (access["status"], access["end_code"], access["user_agent"], access["referer"]) == (504, "up_head_timeout", "x", None)
    assert access["request_time"] == 7.0
    (attempt,) = access["attempts"]
    assert (attempt["status"], attempt["code"], attempt["header_time"]) == (504, "up_head_timeout", None)
