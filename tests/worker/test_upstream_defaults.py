"""`compat = "1.28"` and least_time, seen by the peers."""

from __future__ import annotations

from conversation import get, to_client
from test_proxy import exchange

CLASSIC = """
error_log = [["{directory}/error.log", "info"]]
compat = "1.28"
[http]
access_log = [["{directory}/access.log", "test"]]
[http.log_format]
test = '{log_format}'
[http.upstream.app]
server = "{peers[0]}"
[[http.server]]
listen = "127.0.0.1:8080"
location."/".proxy_pass = "http://app"
location."/k".proxy_pass = "http://app"
location."/k".proxy_http_version = "1.1"
location."/k".proxy_set_header = {{ Connection = "" }}
"""


def test_compat_1_28_speaks_http_1_0_and_closes(stage):
    s = stage(text=CLASSIC)
    end = exchange(s, s.client(), None, get(b"/x"), b"GET /x HTTP/1.0\r\nHost: app\r\nConnection: close\r\n\r\n")
    assert end.is_closed()


def test_what_is_written_counts_with_compat_too(stage):
    s = stage(text=CLASSIC.replace("server = ", "keepalive = 4\nserver = ", 1))
    assert exchange(s, s.client(), None, get(b"/k"), b"GET /k HTTP/1.1\r\nHost: app\r\n\r\n").is_open()


def test_least_time_learns_both_times_of_an_answer(stage):
    s = stage(peers=2, upstream='least_time = "last_byte"')
    for peer, pause in zip(s.peers, (1.0, 0.1), strict=True):
        client = s.client().send(get())
        end = peer.accept()
        end.receives_head()
        s.advance(pause)
        end.send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n")
        s.advance(pause)
        end.send(b"body")
        client.receives(to_client(b"body"))
    slow, quick = (peer.times for peer in s.group().peers)
    assert 95 <= slow.last_byte <= 110 and 45 <= slow.header <= 60
    assert 5 <= quick.last_byte <= 20
