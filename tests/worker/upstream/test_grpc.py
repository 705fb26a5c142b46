"""gRPC: calls of every kind, what is sent and what passes, and errors as statuses of gRPC (protocols.md §3).

The client speaks HTTP/1 here, which changes nothing on the way up; calls of real gRPC clients are in `tests/whole`.
"""

from __future__ import annotations

import pytest
from conversation import End, Stage, chunks, get, post
from http2_peer import Http2Peer, Sent, frame

CALL = (b"Content-Type: application/grpc", b"TE: trailers")


@pytest.fixture
def called(stage):
    """A stage whose location /svc/ passes calls on."""

    def make(settings: str = "", upstream: str = "app", **more) -> Stage:
        location = f'[http.server.location."/svc/"]\ngrpc_pass = "grpc://{upstream}"\n{settings}\n'
        return stage(locations=location + more.pop("others", ""), **more)

    return make


def message(data: bytes) -> bytes:
    return b"\0" + len(data).to_bytes(4, "big") + data


def call(s: Stage, body: bytes = message(b"hi"), *fields: bytes) -> End:
    return s.client().send(post(body, b"/svc/Say", *CALL, *fields))


def accept(s: Stage, number: int = 0, **own: int) -> Http2Peer:
    return Http2Peer(s.peers[number].accept(), **own)


def begin(s: Stage, *fields: bytes) -> tuple[End, Http2Peer]:
    """A call whose request and answer go on."""
    client = s.client().send(get(b"/svc/Say", b"Transfer-Encoding: chunked", *CALL, *fields, method=b"POST"))
    peer = accept(s)
    (head,) = peer.take()
    assert head.kind == "HEADERS" and not head.ends
    return client, peer


def ended(client: End) -> bytes:
    """The fields after a body that is there to its end."""
    client.stage.until(lambda: client.pull_all().endswith(b"\r\n\r\n"), "the end does not come")
    return client.take().partition(b"0\r\n")[2]


def test_a_unary_call(called):
    s = called()
    client = call(s, message(b"hi"), b"grpc-timeout: 5S", b"X-Bin: AAE=")
    peer = accept(s)
    head, data = peer.take()
    assert [tuple(field) for field in head.payload] == [
        (b":method", b"POST"),
        (b":scheme", b"http"),
        (b":path", b"/svc/Say"),
        (b":authority", b"app"),
        (b"content-length", b"7"),
        (b"te", b"trailers"),
        (b"content-type", b"application/grpc"),
        (b"grpc-timeout", b"5S"),
        (b"x-bin", b"AAE="),
    ]
    assert data == Sent("DATA", 1, 1, message(b"hi"))
    peer.send(
        peer.head(1, ("content-type", "application/grpc"), ("server", "them"), ("date", "then")),
        peer.data(1, message(b"hello")),
        peer.trailers(1, ("grpc-status", "0"), ("grpc-message", ""), ("x-own", "1")),
    )
    got = client.receives_head()
    assert b"Content-Type: application/grpc\r\n" in got and b"them" not in got and b"then" not in got
    assert client.take() == b"a\r\n" + message(b"hello") + b"\r\n0\r\ngrpc-status: 0\r\ngrpc-message: \r\nx-own: 1\r\n\r\n"
    assert s.group().idle_count == 1


def test_trailers_only(called):
    s = called()
    client = call(s)
    peer = accept(s)
    peer.take()
    peer.send(peer.head(1, ("content-type", "application/grpc"), ("grpc-status", "12"), ("grpc-message", "no"), end=True))
    head = client.receives_head()
    assert b"\r\ngrpc-status: 12\r\ngrpc-message: no\r\n" in head
    assert s.group().idle_count == 1


def test_a_server_streams_as_it_has_messages(called):
    s = called()
    client = call(s)
    peer = accept(s)
    peer.take()
    peer.send(peer.head(1))
    client.receives_head()
    for number in range(3):
        peer.send(peer.data(1, message(b"%d" % number)))
        client.receives(b"6\r\n" + message(b"%d" % number) + b"\r\n")
    peer.send(peer.trailers(1, ("grpc-status", "0")))
    assert ended(client) == b"grpc-status: 0\r\n\r\n"


def test_a_client_streams_and_both_do(called):
    s = called()
    client, peer = begin(s)
    peer.send(peer.head(1))
    client.receives_head()
    for number in range(3):
        client.send(chunks(message(b"%d" % number), last=False))
        assert peer.take() == [Sent("DATA", 1, 0, message(b"%d" % number))]
        peer.send(peer.data(1, message(b"re")))
        client.receives(b"7\r\n" + message(b"re") + b"\r\n")
    client.send(b"0\r\n\r\n")
    assert peer.take() == [Sent("DATA", 1, 1, b"")]
    peer.send(peer.trailers(1, ("grpc-status", "0")))
    assert ended(client) == b"grpc-status: 0\r\n\r\n"
    assert s.group().idle_count == 1


def test_a_server_may_answer_before_the_client_has_ended(called):
    s = called()
    client, peer = begin(s)
    peer.send(peer.head(1, ("grpc-status", "8"), end=True), frame("RST_STREAM", 1, bytes(4)))
    assert b"\r\ngrpc-status: 8\r\n" in client.receives_head()


def test_a_call_that_is_cancelled_resets_its_stream(called):
    s = called()
    client = call(s)
    peer = accept(s)
    peer.take()
    client.close()
    assert peer.take() == [Sent("RST_STREAM", 1, 0, 8)]
    assert s.last_access()["status"] == "499"
    assert s.group().idle_count == 1


def test_a_call_that_is_cancelled_while_it_sends_resets_its_stream(called):
    s = called()
    client, peer = begin(s)
    client.close()
    assert peer.take() == [Sent("RST_STREAM", 1, 0, 8)]
    assert s.group().idle_count == 1


def test_a_silent_call_times_out_and_a_ping_keeps_it(called):
    s = called('grpc_read_timeout = "5s"')
    client, peer = begin(s)
    peer.send(peer.head(1))
    client.receives_head()
    for _ in range(3):
        s.advance(4)
        peer.send(frame("PING", 0, bytes(8)))
    peer.take()
    s.advance(6)
    assert client.is_closed()
    assert peer.take() == [Sent("RST_STREAM", 1, 0, 8)]
    assert any('upstream: "grpc://127.0.0.1:' in line and "(grpc_read_timeout 5" in line for line in s.error_log())


def test_fields_that_are_set_hidden_and_passed(called):
    s = called(
        'grpc_set_header = { Host = "own.example", X-Real-IP = "$remote_addr", Content-Type = "" }\n'
        'grpc_hide_header = "x-secret"\ngrpc_pass_header = "server"'
    )
    client = call(s)
    peer = accept(s)
    head, _ = peer.take()
    fields = dict(head.payload)
    assert fields[b":authority"] == b"own.example" and fields[b"x-real-ip"] == b"127.0.0.1" and b"content-type" not in fields
    peer.send(peer.head(1, ("server", "them"), ("x-secret", "1")), peer.trailers(1, ("grpc-status", "0"), ("x-secret", "1")))
    assert b"\r\nserver: them\r\n" in client.receives_head()
    assert ended(client) == b"grpc-status: 0\r\n\r\n"


def test_te_is_sent_only_if_the_client_sends_it(called):
    s = called()
    client = s.client().send(post(message(b""), b"/svc/Say", b"Content-Type: application/grpc", b"TE: gzip"))
    peer = accept(s)
    assert b"te" not in dict(peer.take()[0].payload)
    peer.answer(1)
    client.receives_head()


def test_calls_share_a_connection_if_they_may(called):
    s = called("grpc_max_streams = 8")
    first = call(s)
    peer = accept(s)
    peer.take()
    others = [call(s) for _ in range(3)]
    assert [sent.stream for sent in peer.take() if sent.kind == "HEADERS"] == [3, 5, 7]
    for number, client in zip((7, 5, 3, 1), reversed([first, *others])):
        peer.answer(number, b"%d" % number)
        client.receives_head()
        client.receives(b"1\r\n%d\r\n0\r\n\r\n" % number)


def test_another_peer_is_asked_where_the_words_say_so(called):
    s = called('grpc_next_upstream = ["http_503", "non_idempotent"]', peers=2)
    client = call(s)
    end = s.until(lambda: next(filter(None, (peer._try_accept() for peer in s.peers)), None), "no peer is asked")
    first = Http2Peer(End(s, end, "first"))
    first.take()
    first.send(first.head(1, status=503, end=True))
    end = s.until(lambda: next(filter(None, (peer._try_accept() for peer in s.peers)), None), "no other peer is asked")
    second = Http2Peer(End(s, end, "second"))
    assert second.take()[1].payload == message(b"hi")
    second.answer(1)
    assert client.receives_head().startswith(b"HTTP/1.1 200 ")
    assert s.last_access()["upstream_status"] == "503, 200"


@pytest.mark.parametrize(
    ("settings", "shown"),
    [
        ("", b"502 Bad Gateway"),
        ("grpc_errors = true", b"grpc-status: 14\r\ngrpc-message: Bad Gateway\r\n"),
    ],
)
def test_an_upstream_that_is_away(called, settings, shown):
    s = called(settings, upstream="127.0.0.1:9")
    client = call(s)
    assert shown in client.receives_head()


def test_errors_are_statuses_of_grpc_for_calls_only(called):
    s = called("grpc_errors = true\nclient_max_body_size = 3\ndeny = 'all'", upstream="127.0.0.1:9")
    assert b"\r\ngrpc-status: 7\r\n" in s.client().send(post(b"", b"/svc/Say", *CALL)).receives_head()
    assert b"\r\ngrpc-status: 8\r\n" in call(s).receives_head()
    assert s.client().send(get(b"/svc/Say")).receives_head().startswith(b"HTTP/1.1 403 ")


def test_errors_of_the_upstream_may_be_replaced(called):
    s = called(
        'grpc_intercept_errors = true\nerror_page = [["503", "/other"]]',
        others='[http.server.location."/other"]\nreturn = [[200, "own"]]\n',
    )
    client = call(s)
    peer = accept(s)
    peer.take()
    peer.send(peer.head(1, status=503, end=True))
    head = client.receives_head()
    assert head.startswith(b"HTTP/1.1 503 ")
    client.receives(b"own")


def test_a_call_over_a_target_with_variables(called, stage):
    s = stage(locations='[http.server.location."/svc/"]\ngrpc_pass = "grpc://$arg_to"\n')
    client = s.client().send(post(message(b"hi"), b"/svc/Say?to=app", *CALL))
    peer = accept(s)
    assert dict(peer.take()[0].payload)[b":path"] == b"/svc/Say?to=app"
    peer.answer(1)
    assert client.receives_head().startswith(b"HTTP/1.1 200 ")


def test_the_limit_of_a_body_is_that_of_a_whole_stream(called):
    s = called("client_max_body_size = 10")
    client, peer = begin(s)
    client.send(chunks(message(b"hi"), last=False))
    assert peer.take() == [Sent("DATA", 1, 0, message(b"hi"))]
    client.send(chunks(message(b"ho"), last=False))
    assert client.receives_head().startswith(b"HTTP/1.1 413 ")
    assert peer.take() == [Sent("RST_STREAM", 1, 0, 8)]
