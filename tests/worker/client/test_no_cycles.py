"""What ends is freed at once: no cycle of references waits for the collector, which takes long to come.

Until it comes such a cycle keeps all that its request and its connection had: over TLS 60 KB for each client that left early.
"""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Callable

import pytest
from conversation import get, ok
from speaking import H2

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


def test_a_cycle_would_be_seen():
    def deed() -> None:
        clients = Clients()
        clients.on_last = clients.count

    assert left_by(deed) == {"Clients": 1}
