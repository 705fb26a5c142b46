"""What ends is freed at once: no cycle of references waits for the collector, which takes long to come.

Until it comes such a cycle keeps all that its request and its connection had: over TLS 60 KB for each client that left early.
"""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Callable

import pytest
from conversation import get, ok
from speaking import EH, H2, HEADERS, RST, block, fields_of, frame, number

from worker.client.clients import Clients

OURS = ("worker.", "wproxy.")


def left_by(deed: Callable[[], None]) -> Counter[str]:
    """The objects of ours that only the collector frees after this."""
    gc.collect()
    gc.disable()
    try:
        deed()
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        return Counter(type(one).__name__ for one in gc.garbage if type(one).__module__.startswith(OURS))
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()


def asks_and_leaves(s):
    client = s.client().send(get())
    s.peers[0].accept().receives_head()
    client.close()


def asks_over_http2_and_leaves(s):
    client = H2(s).ask(1).ask(3)
    for _ in range(2):
        s.peers[0].accept().receives_head()
    client.end.close()


def asks_over_http2_and_resets(s):
    client = H2(s, tcp=True).ask(1)
    s.peers[0].accept().receives_head()
    client.end.reset()
    s.until(lambda: not s.worker.clients.connections, "the reset comes")


def is_answered_over_http2_and_leaves(s):
    client = H2(s).ask(1)
    upstream = s.peers[0].accept()
    upstream.receives_head()
    upstream.send(ok())
    assert "1: 200" in client.hear()
    client.end.close()
    upstream.close()


def leaves_while_a_subrequest_is_under_way(s):
    client = s.client().send(get(b"/asked"))
    assert s.peers[0].accept().receives_head().startswith(b"GET /auth ")
    client.close()


def upstream_breaks_off(s):
    client = s.client().send(get())
    upstream = s.peers[0].accept()
    upstream.receives_head()
    upstream.close()
    assert b" 502 " in client.receives_head()
    client.close()


def upstream_refuses(s):
    s.peers[0].refuse()
    client = s.client().send(get())
    assert b" 502 " in client.receives_head()
    client.close()


def upstream_is_silent(s):
    client = s.client().send(get())
    s.peers[0].accept().receives_head()
    s.advance(61)
    assert b" 504 " in client.receives_head()
    client.close()


def another_peer_answers(s):
    client = s.client().send(get())
    for peer, answer in zip(s.peers, (ok(status=b"503 Busy"), ok())):
        upstream = peer.accept()
        upstream.receives_head()
        upstream.send(answer)
        upstream.close()
    assert b" 200 " in client.receives_head()
    client.close()


def asks_wrongly(s):
    client = s.client().send(b"GET / HTTP/1.1\r\n\r\n")
    assert b" 400 " in client.receives_head()
    client.close()


@pytest.mark.parametrize(
    "deed",
    [
        asks_and_leaves,
        asks_over_http2_and_leaves,
        asks_over_http2_and_resets,
        is_answered_over_http2_and_leaves,
        leaves_while_a_subrequest_is_under_way,
        upstream_breaks_off,
        upstream_refuses,
        upstream_is_silent,
        another_peer_answers,
        asks_wrongly,
    ],
    ids=lambda deed: deed.__name__,
)
def test_nothing_waits_for_the_collector(stage, deed):
    peers = 2 if deed is another_peer_answers else 1
    s = stage(
        peers=peers,
        server="http2 = true",
        location='proxy_next_upstream = ["error", "timeout", "http_503"]',
        locations='location."/asked" = { auth_request = "/auth", proxy_pass = "http://app" }\n'
        'location."= /auth" = { proxy_pass = "http://app" }',
    )
    assert left_by(lambda: deed(s)) == {}


POST = b"POST / HTTP/1.1\r\nHost: h\r\n"
BEGUN = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 100000\r\n\r\n" + bytes(5000)
CANCEL = number(8)


def sends_a_whole_body(s):
    client = s.client().send(POST + b"Content-Length: 30000\r\n\r\n" + bytes(10_000)).send(bytes(20_000))
    upstream = s.peers[0].accept()
    upstream.receives_head()
    upstream.pull_all()
    upstream.send(ok())
    client.receives_head()
    client.close()
    upstream.close()


def leaves_amid_a_body(s):
    s.client().send(POST + b"Content-Length: 30000\r\n\r\n" + bytes(10_000)).close()


def pauses_amid_a_body(s):
    client = s.client().send(POST + b"Content-Length: 30000\r\n\r\n" + bytes(10_000))
    s.advance(61)
    client.close()


def sends_a_wrong_chunk(s):
    client = s.client().send(POST + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n").send(b"zz\r\n")
    client.pull_all()
    client.close()


def resets_a_stream_at_once(s):
    client = H2(s).send(frame(HEADERS, EH, 1, block(fields_of())) + frame(RST, 0, 1, CANCEL))
    client.end.close()


def resets_a_stream_amid_its_body(s):
    client = H2(s).ask(1, end=False).data(1, bytes(10_000)).send(frame(RST, 0, 1, CANCEL))
    client.end.close()


def sends_more_than_announced(s):
    client = H2(s).ask(1, b"/", (b"content-length", b"3"), end=False).data(1, bytes(10_000))
    client.end.close()


def pauses_amid_the_body_of_a_stream(s):
    client = H2(s).ask(1, end=False).data(1, bytes(10_000))
    s.advance(61)
    client.end.close()


@pytest.mark.parametrize("location", ["", "proxy_request_buffering = false\nclient_max_body_size = 0"])
def test_nothing_of_a_body_waits_for_the_collector(stage, location):
    s = stage(server="http2 = true", location=location, peer_parameters=("max_fails = 0",))

    def deeds() -> None:
        if location:  # others have this upstream in the queue
            sends_a_whole_body(s)
        leaves_amid_a_body(s)
        pauses_amid_a_body(s)
        sends_a_wrong_chunk(s)
        resets_a_stream_at_once(s)
        resets_a_stream_amid_its_body(s)
        sends_more_than_announced(s)
        pauses_amid_the_body_of_a_stream(s)

    assert left_by(deeds) == {}


def is_cut(s):
    client = s.client().send(get(b"/", b"Accept-Encoding: gzip"))
    upstream = s.peers[0].accept()
    upstream.receives_head()
    upstream.send(BEGUN)
    s.settle()
    upstream.close()
    client.pull_all()
    client.close()


def leaves_amid_the_answer(s):
    client = H2(s).ask(1, b"/", (b"accept-encoding", b"gzip"))
    upstream = s.peers[0].accept()
    upstream.receives_head()
    upstream.send(BEGUN)
    s.settle()
    client.end.close()
    upstream.close()


@pytest.mark.parametrize("location", ["gzip = true\nsub_filter = [['x', 'y']]", "proxy_cache = 'stored'"])
def test_nothing_of_an_answer_that_is_changed_or_stored_waits_for_the_collector(stage, location, tmp_path):
    path = f"proxy_cache_path = [['{tmp_path}/cache', 'keys_zone=stored:1m']]\n"
    s = stage(server="http2 = true", location=location, http=path, peer_parameters=("max_fails = 0",))

    def deeds() -> None:
        is_cut(s)
        leaves_amid_the_answer(s)
        upstream_is_silent(s)

    assert left_by(deeds) == {}


def test_a_cycle_would_be_seen():
    def deed() -> None:
        clients = Clients()
        clients.on_last = clients.count

    assert left_by(deed) == {"Clients": 1}
