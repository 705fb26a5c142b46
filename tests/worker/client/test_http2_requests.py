"""Requests and responses over HTTP/2: fields, bodies both ways, and what becomes of them on the way to an HTTP/1 upstream.

The rows of http2-rules.md: "Request fields", "Responses", "Downgrade smuggling". A malformed request gets 400 and a reset, and
no byte of it reaches an upstream.
"""

from __future__ import annotations

import contextlib
import gzip
import random
import tracemalloc

import pytest
from conversation import SERVER, End, chunks, get, ok, sent_up
from speaking import (
    DATA,
    EH,
    ES,
    GOAWAY,
    H2,
    HEADERS,
    OPENED,
    PADDED,
    READY,
    RST,
    WINDOW,
    block,
    fields_of,
    frame,
    http2,
    number,
    settings,
)

from worker.client.http2.body import HTTP2RequestBody
from worker.loop import Loop

UNBUFFERED = "proxy_request_buffering = false\nclient_max_body_size = 0\n"
BIG = random.Random(5).randbytes(300_000)


def put_file(directory, data: bytes, name: str = "file") -> str:
    (directory / name).write_bytes(data)
    return f'[http.server.location."/{name}"]\nroot = "{directory}"\n'


def proxied(stage, location: str = "", **more) -> H2:
    return H2(http2(stage, location=location, **more))


# What goes upstream.


def test_a_request_goes_upstream_as_one_of_http_1(stage):
    h2 = proxied(stage)
    more = ((b"cookie", b"a=1"), (b"accept", b"*/*"), (b"cookie", b""), (b"te", b"trailers"), (b"cookie", b"b=2"), (b"x-y", b"z"))
    h2.ask(1, b"/p?q=1#f", *more)
    upstream = h2.stage.peers[0].accept()
    upstream.receives(sent_up(b"/p?q=1", b"accept: */*", b"x-y: z", b"cookie: a=1; b=2"))
    upstream.send(ok(b"body", b"X-Up: 1", b"Connection: X-Gone", b"X-Gone: 1", b"Keep-Alive: timeout=5", b"Upgrade: h2c"))
    assert h2.answer() == (200, b"body")
    names = [name for name, _ in h2.lines[1]]
    assert names == [b":status", b"server", b"date", b"content-length", b"x-up"]
    access = h2.stage.last_access()
    assert (access["request"], access["status"], access["body_bytes_sent"]) == ("GET /p?q=1#f HTTP/2.0", "200", "4")
    assert int(access["bytes_sent"]) > 4 + 9 + 9


def test_the_host_of_a_request_chooses_its_server(stage):
    s = stage(text=SERVERS, peers=0)
    h2 = H2(s)
    for stream, host, body in (
        (1, b"one.test", b"one"),
        (3, b"two.test", b"two"),
        (5, b"ONE.test:80", b"one"),
        (7, b"else", b"one"),
    ):
        h2.ask(stream, authority=host)
        assert h2.answer(stream) == (200, body)
    h2.ask(9, b"/", (b"host", b"two.test"), authority=None)
    assert h2.answer(9) == (200, b"two")
    h2.ask(11, b"/", (b"host", b"TWO.test:80"), authority=b"two.test")
    assert h2.answer(11) == (200, b"two")
    h2.ask(13, authority=b"three.test")
    assert h2.answer(13)[0] == 421


SERVERS = """\
error_log = [["{directory}/error.log", "info"]]
[http]
access_log = [["{directory}/access.log", "test"]]
[http.log_format]
test = '{log_format}'
[[http.server]]
listen = "127.0.0.1:8080"
server_name = "one.test"
http2 = true
[http.server.location."/"]
return = [200, "one"]
[[http.server]]
listen = "127.0.0.1:8080"
server_name = "two.test"
http2 = true
[http.server.location."/"]
return = [200, "two"]
[[http.server]]
listen = "127.0.0.1:8080"
server_name = "three.test"
[http.server.location."/"]
return = [200, "three"]
"""


MALFORMED = {
    "a Transfer-Encoding": ((b"transfer-encoding", b"chunked"),),
    "a Transfer-Encoding of nothing": ((b"transfer-encoding", b"identity"),),
    "a Connection": ((b"connection", b"content-length"),),
    "an Upgrade": ((b"upgrade", b"h2c"),),
    "a Keep-Alive": ((b"keep-alive", b"5"),),
    "a Proxy-Connection": ((b"proxy-connection", b"close"),),
    "another TE": ((b"te", b"chunked"),),
    "a line end in a value": ((b"x", b"a\r\nHost: evil"),),
    "a line feed in a value": ((b"x", b"a\nb"),),
    "a NUL in a value": ((b"x", b"a\0b"),),
    "a line end in a cookie": ((b"cookie", b"a\r\n\r\nGET / HTTP/1.1"),),
    "a space before a value": ((b"x", b" a"),),
    "a tab after a value": ((b"x", b"a\t"),),
    "a line end in a name": ((b"x: y\r\ntransfer-encoding", b"chunked"),),
    "a colon in a name": ((b"x:y", b"a"),),
    "a space in a name": ((b"x y", b"a"),),
    "an upper-case name": ((b"X-Y", b"a"),),
    "a name of no character": ((b"", b"a"),),
    "a name with a high byte": ((b"x\xe2", b"a"),),
    "two lengths": ((b"content-length", b"1"), (b"content-length", b"1")),
    "a list of lengths": ((b"content-length", b"5,5"),),
    "a signed length": ((b"content-length", b"+5"),),
    "a length without a body": ((b"content-length", b"5"),),
    "another Host": ((b"host", b"evil"),),
    "two Hosts": ((b"host", b"front"), (b"host", b"front")),
    "a pseudo-header after a field": ((b"x", b"a"), (b":path", b"/evil")),
    "an unknown pseudo-header": ((b":x", b"a"),),
    "a second path": ((b":path", b"/evil"),),
    "an extended CONNECT that is not offered": ((b":protocol", b"websocket"),),
}
MALFORMED_STARTS = {
    "no authority": fields_of(authority=None),
    "an authority with a line end": fields_of(authority=b"front\r\nX: y"),
    "an authority with a user": fields_of(authority=b"a@front"),
    "two authorities": fields_of(authority=b"front,evil"),
    "an empty path": fields_of(b""),
    "a path without a slash": fields_of(b"echo"),
    "a path with a space": fields_of(b"/a HTTP/1.1"),
    "a path with a line end": fields_of(b"/a\r\nHost: evil"),
    "a path that is a URL": fields_of(b"http://evil/"),
    "a path that leads out": fields_of(b"/../../etc/passwd"),
    "a method with a space": fields_of(method=b"GET /x HTTP/1.1\r\nX:"),
    "a lower-case method": fields_of(method=b"get"),
    "a scheme with a line end": fields_of(scheme=b"http\r\n"),
    "a scheme that is a URL": fields_of(scheme=b"http://evil/?"),
    "no method": fields_of()[1:],
    "no fields": [],
}


@pytest.mark.parametrize("row", [*MALFORMED, *MALFORMED_STARTS])
@pytest.mark.parametrize("location", ["", UNBUFFERED], ids=["buffered", "unbuffered"])
def test_a_malformed_request_is_answered_and_reset_and_nothing_goes_upstream(stage, row, location):
    h2 = proxied(stage, location)
    fields = MALFORMED_STARTS[row] if row in MALFORMED_STARTS else fields_of(b"/", *MALFORMED[row])
    h2.send(frame(HEADERS, EH | ES, 1, block(fields)))
    said = h2.news()
    assert [word for word in said if "+" not in word] == ["1: 400", "1: RST PROTOCOL_ERROR"]
    assert said[-2].endswith(".")
    assert h2.is_alive()
    assert h2.stage.peers[0].is_unvisited()
    assert h2.stage.statuses() == ["400"]
    assert any("client sent" in line for line in h2.stage.error_log())


def test_connect_and_trace_are_not_served(stage):
    h2 = proxied(stage)
    h2.ask(1, method=b"TRACE")
    h2.send(frame(HEADERS, EH | ES, 3, block([(b":method", b"CONNECT"), (b":authority", b"x:80")])))
    assert h2.answer(1)[0] == 405 and h2.answer(3)[0] == 405


def test_a_field_list_that_is_too_large_is_refused_and_the_client_told_to_calm_down(stage):
    h2 = proxied(stage)
    whole = block(fields_of(b"/", *((b"x-%d" % n, b"v" * 4000) for n in range(9))))
    rest = [whole[at : at + 16384] for at in range(16384, len(whole), 16384)]
    h2.send(frame(HEADERS, ES, 1, whole[:16384]), *(frame(9, EH if piece is rest[-1] else 0, 1, piece) for piece in rest))
    said = h2.news()
    assert said[0] == "1: 400" and said[-2:] == ["GOAWAY 1 ENHANCE_YOUR_CALM", "end"]
    assert b"Request Header Or Cookie Too Large" in h2.bodies[1]
    assert h2.stage.statuses() == ["400"]
    h2.end.close()


def test_a_list_that_grows_out_of_a_table_is_counted_while_it_is_decoded(stage):
    h2 = proxied(stage)
    bomb = block(fields_of()) + b"\x40\1x\x7f\xa1\x1e" + b"v" * 4000 + b"\xbe" * 60
    h2.send(frame(HEADERS, EH | ES, 1, bomb))
    assert h2.news() == ["GOAWAY 1 ENHANCE_YOUR_CALM", "end"]
    h2.end.close()


# Bodies of requests.


@pytest.mark.parametrize("location", ["", UNBUFFERED], ids=["buffered", "unbuffered"])
@pytest.mark.parametrize("size", [0, 1, 5, 70_000, 300_000])
@pytest.mark.parametrize("says", [True, False], ids=["length", "no length"])
def test_a_body_reaches_the_upstream_as_it_is(stage, location, size, says):
    h2 = proxied(stage, location)
    body = BIG[:size]
    h2.ask(1, b"/", *([(b"content-length", b"%d" % size)] if says else []), method=b"POST", end=False)
    h2.stage.settle()
    sent = 0
    upstream: End | None = None
    while True:
        piece = body[sent : sent + 10_000]
        sent += len(piece)
        h2.send(frame(DATA, ES if sent >= size else 0, 1, piece))
        if location and upstream is None:
            upstream = h2.stage.peers[0].accept()
        if upstream is not None:
            upstream.pull_all()
        if sent >= size:
            break
    upstream = upstream or h2.stage.peers[0].accept()
    h2.stage.until(lambda: is_whole(upstream), "no whole request")
    head, _, payload = bytes(upstream.received).partition(b"\r\n\r\n")
    if says or not location:
        assert b"\r\nContent-Length: %d" % size in head and payload == body
    else:
        assert b"\r\nTransfer-Encoding: chunked" in head and unchunked(payload) == body
    upstream.send(ok(b"done"))
    assert h2.answer() == (200, b"done")
    assert not any("RST" in word for word in h2.said)
    assert int(h2.stage.last_access()["request_length"]) >= size


def is_whole(upstream: End) -> bool:
    head, end, payload = bytes(upstream.pull_all()).partition(b"\r\n\r\n")
    if not end:
        return False
    if b"Transfer-Encoding" in head:
        return payload.endswith(b"0\r\n\r\n")
    length = int(head.partition(b"Content-Length: ")[2].partition(b"\r\n")[0] or 0)
    return len(payload) >= length


def unchunked(payload: bytes) -> bytes:
    body = b""
    while True:
        size, _, payload = payload.partition(b"\r\n")
        if not int(size, 16):
            assert payload == b"\r\n"
            return body
        body += payload[: int(size, 16)]
        payload = payload[int(size, 16) + 2 :]


def test_the_window_of_an_unbuffered_body_opens_only_as_the_upstream_takes_it(stage):
    h2 = proxied(stage, UNBUFFERED)
    h2.ask(1, method=b"POST", end=False)
    upstream = h2.stage.peers[0].accept()
    sent = given = 0
    window = 65536
    for _ in range(5000):
        if window - sent < 16384:
            break
        h2.send(frame(DATA, 0, 1, bytes(16384)))
        sent += 16384
        given = sum(int(word.split()[2]) for word in h2.hear() if word.startswith("1: WINDOW"))
        window = 65536 + given
    assert window - sent < 16384, "an upstream that does not read stops the client"
    (connection,) = h2.stage.worker.clients.connections
    held = connection.streams.live[1].body
    assert sum(map(len, held._pieces)) <= 65536
    before = given
    upstream.pull_all()
    h2.stage.until(lambda: upstream.pull_all() and sum(int(w.split()[2]) for w in h2.hear() if "1: WINDOW" in w) > before, "shut")
    h2.send(frame(RST, 0, 1, number(8)))


class Widened:
    """A stream that notes the room that its client was given."""

    def __init__(self) -> None:
        self.room = 0

    def widen(self, increment: int) -> None:
        self.room += increment


def test_a_body_that_waits_in_tiny_frames_takes_little_more_memory_than_its_bytes():
    stream = Widened()
    loop = Loop()
    body = HTTP2RequestBody(loop, stream, -1, False, 1 << 16)
    tracemalloc.start()
    try:
        for _ in range(30_000):
            body.feed(bytes(2), 2, 1)
        assert tracemalloc.get_traced_memory()[0] < 3 * 60_000
    finally:
        tracemalloc.stop()
        loop.close()
    assert body.take_at_hand() == bytes(60_000)
    assert stream.room == 60_000


LENGTHS = [(b"0", b"GET /evil HTTP/1.1\r\n\r\n"), (b"3", b"abcGET /evil HTTP/1.1\r\n\r\n"), (b"30", b"abc")]


@pytest.mark.parametrize("location", ["", UNBUFFERED], ids=["buffered", "unbuffered"])
@pytest.mark.parametrize(("length", "body"), LENGTHS)
def test_a_body_of_another_length_than_announced_smuggles_nothing(stage, location, length, body):
    h2 = proxied(stage, location)
    h2.ask(1, b"/", (b"content-length", length), method=b"POST", end=False)
    h2.stage.settle()
    h2.data(1, body, end=True)
    said = h2.news()
    assert "1: 400" in said and "1: RST PROTOCOL_ERROR" in said
    assert h2.is_alive()
    assert h2.stage.statuses() == ["400"]
    if not location:
        assert h2.stage.peers[0].is_unvisited()
    else:
        try:
            upstream = h2.stage.peers[0].accept()
        except AssertionError:
            return
        assert upstream.is_closed(), "a connection with half a request is never used again"
        assert len(bytes(upstream.received).partition(b"\r\n\r\n")[2]) <= int(length)
        assert b"evil" not in upstream.received


def test_a_wrong_length_of_a_body_that_nobody_reads_resets_the_stream(stage):
    h2 = H2(http2(stage, location=READY))
    h2.send(frame(HEADERS, EH, 1, block(fields_of(b"/", (b"content-length", b"5")))), frame(DATA, ES, 1, b"toolong"))
    said = h2.news()
    assert said[0] in ("1: 200", "1: 400") and said[-1] == "1: RST PROTOCOL_ERROR"
    assert h2.is_alive()


def test_a_body_without_a_length_that_looks_like_requests_is_one_body(stage):
    evil = b"0\r\n\r\nGET /evil HTTP/1.1\r\nHost: x\r\n\r\n"
    h2 = proxied(stage, UNBUFFERED)
    h2.ask(1, method=b"POST", end=False)
    upstream = h2.stage.peers[0].accept()
    h2.data(1, evil, end=True)
    h2.stage.until(lambda: is_whole(upstream), "no whole request")
    assert unchunked(bytes(upstream.received).partition(b"\r\n\r\n")[2]) == evil


@pytest.mark.parametrize("location", ["", UNBUFFERED], ids=["buffered", "unbuffered"])
def test_trailers_of_a_request_end_it_and_are_dropped(stage, location):
    h2 = proxied(stage, location)
    h2.ask(1, method=b"POST", end=False)
    h2.data(1, b"abc")
    h2.send(frame(HEADERS, EH | ES, 1, block([(b"x-sum", b"1"), (b"content-length", b"99"), (b"host", b"evil")])))
    upstream = h2.stage.peers[0].accept()
    h2.stage.until(lambda: is_whole(upstream), "no whole request")
    assert b"evil" not in upstream.received and b"x-sum" not in upstream.received
    upstream.send(ok())
    assert h2.answer() == (200, b"ok")


@pytest.mark.parametrize(
    ("flags", "fields"),
    [(EH, [(b"x", b"y")]), (EH | ES, [(b":path", b"/")]), (EH | ES, [(b"connection", b"x")]), (EH | ES, [(b"x", b"a\r\nb")])],
    ids=["no end", "pseudo", "connection", "line end"],
)
def test_malformed_trailers_make_the_request_malformed(stage, flags, fields):
    h2 = proxied(stage)
    h2.ask(1, method=b"POST", end=False)
    h2.data(1, b"abc")
    h2.send(frame(HEADERS, flags, 1, block(fields)))
    assert [word for word in h2.news() if "+" not in word and "WINDOW" not in word] == ["1: 400", "1: RST PROTOCOL_ERROR"]
    assert h2.stage.peers[0].is_unvisited()


def test_trailers_on_a_stream_that_was_answered_early_are_dropped(stage):
    h2 = H2(http2(stage, location=READY))
    h2.ask(1, end=False)
    assert h2.news() == [f"1: {OPENED}", "1: 200", "1: +5."]
    h2.send(frame(HEADERS, EH | ES, 1, block([(b"x", b"y")])))
    assert h2.is_alive() and h2.news() == []
    h2.ask(3, end=False)
    h2.stage.advance(0.3)
    assert h2.news() == [f"3: {OPENED}", "3: 200", "3: +5.", "3: RST NO_ERROR"]
    h2.send(frame(HEADERS, EH | ES, 3, block([(b"x", b"y")])))
    assert h2.is_alive() and h2.news() == []


def test_a_stream_that_is_answered_before_its_body_is_reset_a_moment_later_and_only_if_the_body_goes_on(stage):
    h2 = H2(http2(stage, location=READY))
    h2.ask(1, end=False).data(1, b"abc")
    h2.ask(3, end=False)
    h2.ask(5, end=False)
    assert [word for word in h2.news() if "RST" in word] == []
    h2.data(1, b"def", end=True)  # the client has sent it all
    h2.send(frame(RST, 0, 3, number(8)))  # it has understood by itself
    h2.data(5, bytes(20_000))
    h2.send(frame(WINDOW, 0, 5, number(100)))
    h2.stage.advance(0.2)
    assert h2.news() == []
    h2.stage.advance(0.2)
    assert h2.news() == ["5: RST NO_ERROR"]
    h2.data(5, b"still under way")
    h2.ask(7)
    assert h2.news() == ["7: 200", "7: +5."]
    assert h2.stage.statuses() == ["200"] * 4


def test_a_client_that_sends_all_it_has_before_it_reads_on_has_room_for_it(stage):
    """As curl 7.88 does after an answer that is no refusal: the room is there before the end of the answer, and what comes is dropped."""
    h2 = H2(http2(stage, location=READY))
    h2.ask(1, b"/", (b"content-length", b"65535"), method=b"POST", end=False)
    h2.ask(3, b"/", (b"content-length", b"1000000"), method=b"POST", end=False)
    assert h2.news() == ["1: 200", "1: +5.", f"3: {OPENED}", "3: 200", "3: +5."]
    h2.data(3, bytes(400_000))
    h2.stage.advance(0.3)
    h2.data(3, bytes(600_000), end=True)
    assert h2.is_alive() and h2.news() == ["1: RST NO_ERROR", "3: RST NO_ERROR"]
    assert h2.stage.statuses() == ["200", "200"]


def test_few_answered_streams_may_go_on_at_a_time(stage):
    h2 = H2(http2(stage, location=READY))
    for stream in range(1, 101, 2):
        h2.ask(stream, end=False)
    resets = [word for word in h2.news() if "RST" in word]
    assert resets == [f"{stream}: RST NO_ERROR" for stream in range(1, 37, 2)]
    h2.stage.advance(0.3)
    assert [word for word in h2.news() if "RST" in word] == [f"{stream}: RST NO_ERROR" for stream in range(37, 101, 2)]


def test_a_connection_that_ends_resets_its_answered_streams_first(stage):
    h2 = H2(http2(stage, location=READY))
    h2.ask(1, end=False)
    h2.news()
    h2.send(frame(GOAWAY, 0, 0, bytes(8)))
    assert h2.news() == []
    h2.stage.advance(0.3)
    assert h2.news() == ["1: RST NO_ERROR", "end"]
    h2.end.close()


def test_padding_counts_in_the_window_and_is_given_back_at_once(stage):
    h2 = proxied(stage, UNBUFFERED)
    h2.ask(1, method=b"POST", end=False)
    for _ in range(600):
        h2.send(frame(DATA, PADDED, 1, b"\xff" + b"x" + bytes(255)))
    assert h2.is_alive()
    h2.send(frame(RST, 0, 1, number(8)))


def test_100_continue_is_sent_when_the_body_is_wanted_and_only_then(stage):
    expects = (b"expect", b"100-continue")
    h2 = proxied(stage, locations=f'[http.server.location."/ready"]\n{READY}')
    h2.ask(1, b"/", expects, method=b"POST", end=False)
    assert [word for word in h2.news() if "WINDOW" not in word] == ["1: 100"]
    h2.data(1, b"abc", end=True)
    upstream = h2.stage.peers[0].accept()
    upstream.receives(sent_up(b"/", b"Content-Length: 3", method=b"POST") + b"abc")
    upstream.send(ok())
    assert h2.answer() == (200, b"ok")
    h2.news()
    h2.ask(3, b"/ready", expects, method=b"POST", end=False)
    h2.stage.advance(0.3)
    assert h2.news() == [f"3: {OPENED}", "3: 200", "3: +5.", "3: RST NO_ERROR"]


def test_a_body_over_the_limit_is_413_whether_its_length_is_known_or_not(stage):
    h2 = proxied(stage, "client_max_body_size = 10")
    h2.ask(1, b"/", (b"content-length", b"11"), method=b"POST", end=False)
    assert h2.answer(1)[0] == 413
    h2.ask(3, method=b"POST", end=False).data(3, b"x" * 11)
    assert h2.answer(3)[0] == 413
    h2.ask(5, method=b"POST", end=False).data(5, b"x" * 11, end=True)
    assert h2.answer(5)[0] == 413
    assert h2.stage.peers[0].is_unvisited()
    h2.stage.advance(0.3)
    assert [word for word in h2.hear() if "RST" in word] == ["1: RST NO_ERROR", "3: RST NO_ERROR"]


def test_a_client_that_pauses_too_long_in_its_body_loses_its_stream_only(stage):
    h2 = proxied(stage, "client_body_timeout = 5")
    h2.ask(1, method=b"POST", end=False).data(1, b"abc")
    h2.stage.advance(4)
    h2.data(1, b"d")
    h2.stage.advance(4)
    assert not [word for word in h2.hear() if "RST" in word]
    h2.stage.advance(2)
    assert [word for word in h2.news() if "RST" in word] == ["1: RST CANCEL"]
    assert h2.stage.statuses() == ["408"]
    assert h2.is_alive()


def test_a_body_that_dribbles_in_loses_its_stream_after_a_minute(stage):
    h2 = proxied(stage, "client_body_timeout = 20")
    h2.ask(1, method=b"POST", end=False)
    for _ in range(8):
        h2.stage.advance(10)
        if any("RST" in word for word in h2.hear()):
            break
        h2.send(frame(DATA, 0, 1, b"x"))
    assert "1: RST CANCEL" in h2.hear() and h2.stage.statuses() == ["408"]


def test_a_client_that_leaves_in_the_middle_of_a_body_ends_its_upstream(stage):
    h2 = proxied(stage, UNBUFFERED)
    h2.ask(1, method=b"POST", end=False).data(1, b"abc")
    upstream = h2.stage.peers[0].accept()
    upstream.receives_head()
    h2.end.close()
    assert upstream.is_closed()
    assert h2.stage.statuses() == ["499"]


# Responses.


@pytest.mark.parametrize("method", [b"GET", b"HEAD"])
def test_responses_without_a_body_end_with_their_head(stage, method):
    h2 = proxied(stage, locations='[http.server.location."/204"]\nreturn = 204\n')
    h2.ask(1, b"/204", method=method)
    assert h2.news() == ["1: 204."]
    h2.ask(3, method=b"HEAD")
    upstream = h2.stage.peers[0].accept()
    upstream.receives_head()
    upstream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n")
    h2.stage.until(lambda: "3: 200." in h2.hear(), "no end")
    assert h2.heads[3][0]["content-length"] == "5"
    assert "content-length" not in h2.heads[1][0]


def test_early_hints_and_no_other_interim_heads_are_passed_on(stage):
    h2 = proxied(stage, "early_hints = '1'")
    h2.ask()
    upstream = h2.stage.peers[0].accept()
    upstream.receives_head()
    upstream.send(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + ok())
    assert h2.answer() == (200, b"ok")
    assert [head[":status"] for head in h2.heads[1]] == ["103", "200"]
    assert h2.heads[1][0]["link"] == "</x>"


def test_a_101_that_nobody_asked_for_is_a_502(stage):
    h2 = proxied(stage)
    h2.ask()
    h2.stage.peers[0].accept().send(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n")
    assert h2.answer()[0] == 502


def test_trailers_of_an_upstream_follow_the_body_if_the_location_passes_them(stage):
    h2 = proxied(stage, "proxy_pass_trailers = true")
    h2.ask()
    upstream = h2.stage.peers[0].accept()
    upstream.receives_head()
    end = b"0\r\nX-Sum: 7\r\nContent-Length: 99\r\nConnection: x\r\n\r\n"
    upstream.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks(b"body", last=False) + end)
    assert h2.answer() == (200, b"body")
    assert h2.lines[1] == [(b"x-sum", b"7")]
    assert [word for word in h2.said if word != "1: +4"] == ["1: 200", "1: trailers."]


def test_trailers_of_the_location_follow_a_body_of_known_length(stage):
    h2 = H2(http2(stage, location=READY + 'add_trailer = [["X-Done", "$status"]]'))
    h2.ask()
    assert h2.news() == ["1: 200", "1: +5", "1: trailers."]
    assert h2.lines[1] == [(b"x-done", b"200")] and h2.heads[1][0]["content-length"] == "5"


@pytest.mark.parametrize(
    "wire",
    [b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nzz"],
)
def test_an_answer_that_is_cut_resets_its_stream_and_no_other(stage, wire):
    h2 = proxied(stage, peer_parameters=("max_fails = 0",))
    h2.ask(1).ask(3)
    upstreams = [h2.stage.peers[0].accept() for _ in range(2)]
    upstreams[0].send(wire[:-2])
    h2.stage.until(lambda: "1: 200" in h2.hear(), "no head")
    upstreams[0].send(wire[-2:]).close()
    upstreams[1].send(ok(b"whole"))
    assert h2.answer(3) == (200, b"whole")
    h2.stage.until(lambda: "1: RST INTERNAL_ERROR" in h2.hear(), "no reset")
    assert h2.bodies[1] == b"abc"


def test_return_444_resets_the_stream(stage):
    h2 = H2(http2(stage, location="return = 444"))
    h2.ask()
    assert h2.news() == ["1: RST INTERNAL_ERROR"] and h2.stage.statuses() == ["444"]
    assert h2.is_alive()


def test_an_error_page_and_filters_as_in_http_1(stage, tmp_path):
    (tmp_path / "page.html").write_bytes(b"<p>one</p>" * 400)
    h2 = H2(
        http2(
            stage,
            f'root = "{tmp_path}"\nerror_page = [[404, "/page.html"]]\ngzip = true\ngzip_min_length = 0\n',
            locations='[http.server.location."/x"]\n[http.server.location."= /page.html"]\nsub_filter = [["one", "two"]]\n',
        )
    )
    h2.ask(1, b"/x", (b"accept-encoding", b"gzip"))
    status, body = h2.answer(1)
    assert status == 404 and gzip.decompress(body).startswith(b"<p>two</p>")


@pytest.mark.parametrize("size", [1, 16384, 16385, 200_000])
def test_a_file_comes_in_frames_that_the_client_takes_and_the_last_one_says_so(stage, tmp_path, size):
    h2 = H2(http2(stage, locations=put_file(tmp_path, BIG[:size])), (5, 16384))
    h2.ask(1, b"/file")
    if size > 65535:
        h2.open_windows(1)
    assert h2.answer() == (200, BIG[:size])
    pieces = [word for word in h2.said if "+" in word]
    assert all(int(word[4:].rstrip(".")) <= 16384 for word in pieces)
    assert pieces[-1].endswith(".") and not pieces[-1].endswith("+0.")
    assert h2.stage.last_access()["body_bytes_sent"] == str(size)


def test_http2_chunk_size_is_the_largest_frame(stage, tmp_path):
    h2 = H2(http2(stage, "http2_chunk_size = 1000", locations=put_file(tmp_path, BIG[:2500])))
    h2.ask(1, b"/file")
    assert h2.news() == ["1: 200", "1: +1000", "1: +1000", "1: +500."]


def test_answers_share_a_connection_at_the_pace_of_a_slow_client(stage, tmp_path):
    h2 = H2(http2(stage, locations=put_file(tmp_path, BIG)), tcp=True, receive_buffer=32768, send_buffer=32768)
    h2.ask(1, b"/file").ask(3).ask(5, b"/file").open_windows(1, 3, 5)
    upstream = h2.stage.peers[0].accept()
    wire = ok(BIG)
    order: list[str] = []
    for _ in range(4000):
        wire = wire[upstream.send_some(wire[:50_000]) :]
        h2.end.pull(20_000)
        order += [word for word in h2.hear() if "+" in word]
        h2.said.clear()
        if all(len(h2.bodies.get(stream, b"")) == len(BIG) for stream in (1, 3, 5)):
            break
    assert all(h2.bodies[stream] == BIG for stream in (1, 3, 5))
    streams = [int(word.partition(":")[0]) for word in order]
    first = [streams.index(stream) for stream in (1, 3, 5)]
    last = [len(streams) - 1 - streams[::-1].index(stream) for stream in (1, 3, 5)]
    assert max(first) < min(last), "each began before any ended"


def test_streams_without_a_window_wait_and_hold_little(stage):
    h2 = proxied(stage, peers=1)
    h2.send(settings((4, 0)))
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for stream in range(1, 41, 2):
            h2.ask(stream)
        upstreams = [h2.stage.peers[0].accept() for _ in range(20)]
        wire = ok(bytes(50_000_000))[:400_000]
        for upstream in upstreams:
            upstream.send_some(wire)
        h2.stage.advance(0.5)
        for upstream in upstreams:
            upstream.send_some(wire)
        held = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert held < 20 * 200_000, held
    assert h2.is_alive()
    for stream in range(1, 41, 2):
        h2.send(frame(RST, 0, stream, number(8)))
    assert all(upstream.is_closed() for upstream in upstreams)


def test_streams_that_wait_for_long_share_a_megabyte_and_give_it_back(stage):
    # In memory alone each would keep 128 KB.
    h2 = proxied(stage, 'proxy_buffers = [16, "8k"]\nproxy_max_temp_file_size = 0')
    h2.send(settings((4, 0)))
    numbers = range(1, 49, 2)
    for stream in numbers:
        h2.ask(stream)
    upstreams = [h2.stage.peers[0].accept() for _ in numbers]
    (connection,) = h2.stage.worker.clients.connections
    wire = ok(bytes(50_000_000))[:200_000]
    before = connection.memory
    for upstream in upstreams:
        upstream.send_some(wire)
    h2.stage.advance(2)
    assert before == 1 << 20 and 0 < connection.memory < 100_000
    for stream in numbers:
        h2.send(frame(RST, 0, stream, number(8)))
    assert h2.is_alive() and connection.memory == before


def test_a_client_that_opens_no_window_loses_its_stream_after_send_timeout(stage, tmp_path):
    h2 = H2(http2(stage, "send_timeout = 5", locations=put_file(tmp_path, BIG)))
    h2.open_windows().ask(1, b"/file")
    h2.stage.advance(4)
    h2.send(frame(WINDOW, 0, 1, number(2000)))
    h2.stage.advance(4)
    assert not [word for word in h2.hear() if "RST" in word]
    h2.stage.advance(5)
    assert [word for word in h2.news() if "RST" in word] == ["1: RST CANCEL"]
    assert h2.stage.last_access()["wproxy_end_cause"].startswith("client: it did not take the response (send_timeout")
    assert h2.stage.last_access()["wproxy_end_code"] == "cl_stalled"
    assert h2.is_alive()


def test_a_window_that_opens_by_a_byte_at_a_time_gets_no_frame_of_a_byte(stage, tmp_path):
    h2 = H2(http2(stage, "send_timeout = 30", locations=put_file(tmp_path, BIG)), (4, 1))
    h2.ask(1, b"/file")
    assert h2.news() == ["1: 200"]
    for _ in range(3):
        h2.stage.advance(1)
        h2.send(frame(WINDOW, 0, 1, number(1)))
    assert h2.news() == []
    h2.stage.advance(3)
    assert h2.news() == ["1: +4"]
    for _ in range(40):
        h2.stage.advance(3)
        h2.send(frame(WINDOW, 0, 1, number(1)))
        if any("RST" in word for word in h2.hear()):
            break
    assert "1: RST CANCEL" in h2.hear(), "500 bytes a second are the least"


def test_limit_rate_is_that_of_each_request(stage, tmp_path):
    h2 = H2(
        http2(stage, locations=put_file(tmp_path, BIG[:5000]) + f'limit_rate = 1000\n[http.server.location."/quick"]\n{READY}')
    )
    h2.ask(1, b"/file").ask(3, b"/quick")
    assert h2.answer(3) == (200, b"ready")
    h2.stage.advance(1)
    assert len((h2.hear(), h2.bodies.get(1, b""))[1]) < 4000
    for _ in range(8):
        h2.stage.advance(1)
    assert h2.answer(1) == (200, BIG[:5000])


def test_a_thousand_streams_on_one_connection(stage, tmp_path):
    h2 = H2(
        http2(stage, "http2_max_concurrent_streams = 1000\nkeepalive_requests = 5000", locations=put_file(tmp_path, BIG[:3000]))
    )
    h2.open_windows()
    for stream in range(1, 2001, 2):
        h2.ask(stream, b"/file").hear()
    h2.stage.until(lambda: len([w for w in h2.hear() if w.endswith(".")]) == 1000, "not all answered")
    assert all(h2.bodies[stream] == BIG[:3000] for stream in range(1, 2001, 2))
    assert len(h2.stage.access_log()) == 1000


# Websockets (RFC 8441).

PASSES = 'proxy_set_header = { Upgrade = "$http_upgrade", Connection = "$wproxy_connection_upgrade" }\n'
CONNECT = [
    (b":method", b"CONNECT"),
    (b":protocol", b"websocket"),
    (b":scheme", b"http"),
    (b":path", b"/chat?x=1"),
    (b":authority", b"front"),
    (b"sec-websocket-version", b"13"),
    (b"sec-websocket-protocol", b"chat"),
]
SWITCH = (
    b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: x\r\nX-Y: z\r\n\r\n"
)


def websocket(stage, location: str = PASSES, early: bytes = b"") -> tuple[H2, End]:
    h2 = H2(http2(stage, "http2_extended_connect = true", location=location))
    h2.send(frame(HEADERS, EH, 1, block(CONNECT)))
    upstream = h2.stage.peers[0].accept()
    head = upstream.receives_head()
    assert head.startswith(b"GET /chat?x=1 HTTP/1.1\r\n")
    assert b"\r\nUpgrade: websocket\r\nConnection: upgrade\r\n" in head and b"\r\nsec-websocket-key: " in head
    assert b"content-length" not in head.lower() and b"chunked" not in head
    upstream.send(SWITCH + early)
    assert h2.news()[0] == "1: 200"
    assert h2.lines[1][-1] == (b"x-y", b"z")
    return h2, upstream


def test_a_websocket_over_a_stream_carries_bytes_both_ways(stage):
    h2, upstream = websocket(stage, early=b"early")
    h2.stage.until(lambda: (h2.hear(), h2.bodies.get(1) == b"early")[1], "no early bytes")
    h2.data(1, b"up")
    upstream.receives(b"up")
    upstream.send(b"down")
    h2.stage.until(lambda: (h2.hear(), h2.bodies[1] == b"earlydown")[1], "nothing came down")
    h2.data(1, BIG[:60_000])
    h2.stage.until(lambda: len(upstream.pull_all()) == 60_000, "not all went up")
    h2.ask(3, b"/", method=b"HEAD")
    h2.stage.settle()
    upstream.close()
    h2.stage.until(lambda: "1: +0." in h2.hear(), "no end")
    assert h2.stage.statuses() == ["101"]
    h2.send(frame(RST, 0, 3, number(8)))


@pytest.mark.parametrize("how", ["end", "reset", "leave"])
def test_a_client_ends_a_websocket(stage, how):
    h2, upstream = websocket(stage)
    if how == "end":
        h2.data(1, b"", end=True)
    elif how == "reset":
        h2.send(frame(RST, 0, 1, number(8)))
    else:
        h2.end.close()
    assert upstream.is_closed()
    assert len(h2.stage.access_log()) == 1


@pytest.mark.parametrize("is_reset", [False, True])
def test_a_reset_of_a_websocket_is_a_reset_on_its_other_side_too(stage, is_reset):
    h2, upstream = websocket(stage)
    if is_reset:
        h2.send(frame(RST, 0, 1, number(8)))
    else:
        h2.data(1, b"", end=True)
    upstream.sock.settimeout(3)
    with pytest.raises(ConnectionResetError) if is_reset else contextlib.nullcontext():
        assert upstream.sock.recv(1) == b""
    h2, upstream = websocket(stage)
    if is_reset:
        upstream.reset()
    else:
        upstream.close()
    h2.stage.until(lambda: h2.hear()[-1] == ("1: RST CANCEL" if is_reset else "1: +0."), "no end")
    assert h2.is_alive()


def test_a_websocket_that_the_upstream_refuses_is_an_ordinary_answer(stage):
    h2 = H2(http2(stage, "http2_extended_connect = true", location=PASSES))
    h2.send(frame(HEADERS, EH, 1, block(CONNECT)))
    h2.stage.peers[0].accept().send(ok(b"no", status=b"403 Forbidden"))
    assert h2.answer() == (403, b"no")


def test_extended_connect_is_offered_only_if_it_is_on(stage):
    for line, offered in (("", False), ("http2_extended_connect = true", True)):
        s = http2(stage, line, location=READY)
        client = H2(s, begins=False)
        client.end.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + settings())
        assert (b"\0\x08\0\0\0\1" in client.end.pull_all()) is offered
        client.end.close()


def test_another_protocol_than_websocket_is_501(stage):
    h2 = H2(http2(stage, "http2_extended_connect = true", location=PASSES))
    fields = [(name, b"connect-udp" if name == b":protocol" else value) for name, value in CONNECT]
    h2.send(frame(HEADERS, EH, 1, block(fields)))
    assert h2.answer()[0] == 501


# Leaving.


def test_a_worker_that_leaves_says_so_twice_and_loses_no_request(stage):
    h2 = proxied(stage)
    h2.ask(1)
    upstream = h2.stage.peers[0].accept()
    h2.stage.worker.clients.drain(h2.stage.loop.clock.now)
    h2.stage.settle()
    assert h2.news() == ["GOAWAY 2147483647 NO_ERROR", f"PING {b'leaving'.hex()}00"]
    h2.ask(3)  # sent before the client has heard
    second = h2.stage.peers[0].accept()
    h2.send(frame(6, 1, 0, b"leaving\0"))
    assert h2.news() == ["GOAWAY 3 NO_ERROR"]
    h2.ask(5)
    assert h2.news() == [] and h2.stage.peers[0].is_unvisited()
    for stream, end in ((1, upstream), (3, second)):
        end.receives_head()
        end.send(ok(b"late"))
        assert h2.answer(stream) == (200, b"late")
    assert h2.is_closed()
    assert h2.stage.statuses() == ["200", "200"]


def test_an_idle_connection_leaves_after_a_second_at_most(stage):
    h2 = H2(http2(stage, location=READY))
    h2.ask()
    h2.answer()
    h2.news()
    h2.stage.worker.clients.drain(h2.stage.loop.clock.now)
    h2.stage.advance(1.1)
    assert h2.news() == ["GOAWAY 2147483647 NO_ERROR", f"PING {b'leaving'.hex()}00", "GOAWAY 1 NO_ERROR", "end"]
    h2.end.close()


def test_keepalive_requests_and_time_end_a_connection_in_the_same_way(stage):
    for line, wait in (("keepalive_requests = 2", 0), ("keepalive_time = 10", 11)):
        h2 = H2(http2(stage, line, location=READY))
        h2.ask(1)
        h2.answer(1)
        h2.stage.advance(wait)
        h2.ask(3)
        h2.answer(3)
        h2.send(frame(6, 1, 0, b"leaving\0"))
        assert [word for word in h2.hear() if "GOAWAY" in word] == ["GOAWAY 2147483647 NO_ERROR", "GOAWAY 3 NO_ERROR"]
        assert h2.is_closed()


def test_where_room_is_needed_the_idle_connection_leaves(stage):
    busy = proxied(stage)
    s = busy.stage
    busy.ask()
    idle = H2(s)
    s.worker.room.close_idle()
    assert idle.news() == ["GOAWAY 0 NO_ERROR", "end"] and busy.end.is_open()
    s.peers[0].accept().send(ok())
    assert busy.answer() == (200, b"ok")


def test_a_connection_that_is_reset_ends_all_of_its_requests(stage):
    s = http2(stage)
    h2 = H2(s, tcp=True)
    h2.ask(1).ask(3)
    upstreams = [s.peers[0].accept() for _ in range(2)]
    h2.end.reset()
    assert all(upstream.is_closed() for upstream in upstreams)
    assert s.statuses() == ["499", "499"]


def test_variables_and_logs(stage):
    text = "return = [200, '$http2 $server_protocol $connection_requests $request_method $scheme $host']\n"
    h2 = H2(http2(stage, location=text))
    h2.ask(1)
    assert h2.answer(1) == (200, b"h2c HTTP/2.0 1 GET http front")
    h2.ask(3)
    assert h2.answer(3) == (200, b"h2c HTTP/2.0 2 GET http front")
    client = h2.stage.client()
    client.send(get())
    assert client.take().endswith(b"\r\n\r\n HTTP/1.1 1 GET http h")
    assert h2.heads[1][0]["server"] == SERVER.decode()


def test_a_connection_that_waits_keeps_nothing_of_what_it_has_read(stage):
    h2 = proxied(stage, "client_body_buffer_size = '1m'")
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        upstream: End | None = None
        for stream in (1, 3, 5):
            h2.ask(stream, method=b"POST", end=False).data(stream, BIG, end=True)
            upstream = upstream or h2.stage.peers[0].accept()
            h2.stage.until(lambda: is_whole(upstream), "no whole request")
            upstream.received.clear()
            upstream.send(ok())
            assert h2.answer(stream) == (200, b"ok")
        h2.news()
        h2.stage.advance(1)
        assert tracemalloc.get_traced_memory()[0] - before < 60_000
    finally:
        tracemalloc.stop()


def test_a_connection_that_waits_keeps_nothing_of_what_it_has_sent(stage):
    h2 = H2(http2(stage, location=f"return = [200, '{'x' * 30_000}']\n"))
    h2.ask()
    assert h2.answer() == (200, b"x" * 30_000)
    (connection,) = h2.stage.worker.clients.connections
    assert not connection.sender._begun.obj
