"""The states that outlive a stream (the tables of HPACK), and what HTTP/1 makes of a request or response: rows of http2-rules.md."""

from __future__ import annotations

import hpack
import pytest
from conversation import End, chunks, ok, sent_up
from http2_peer import Http2Peer
from speaking import (
    CONTINUATION,
    DATA,
    EH,
    ES,
    H2,
    HEADERS,
    OPENED,
    PING,
    READY,
    RST,
    WINDOW,
    block,
    fields_of,
    frame,
    get,
    http2,
    number,
    settings,
)

UNBUFFERED = "proxy_request_buffering = false\nclient_max_body_size = 0\n"
BOTH_WAYS = pytest.mark.parametrize("location", ["", UNBUFFERED], ids=["buffered", "unbuffered"])
CANCEL = number(8)


class Compressing:
    """A client's encoder with a table: each block is the first to have a certain field, which the next ones only refer to."""

    def __init__(self, h2: H2) -> None:
        self.h2 = h2
        self.encoder = hpack.Encoder()
        self.made = 0

    def ask(self, stream: int, *more: tuple[bytes, bytes], end: bool = True) -> None:
        self.made += 1
        fields = fields_of(b"/", *more, (b"x-kept", b"number %d" % self.made))
        self.h2.send(frame(HEADERS, EH | (ES if end else 0), stream, self.encoder.encode(fields)))

    def says_what_it_has_said(self, stream: int) -> None:
        """Send a request all of whose fields are in the table by now."""
        fields = fields_of(b"/", *((b"x-kept", b"number %d" % made) for made in range(1, self.made + 1)))
        encoded = self.encoder.encode(fields)
        assert len(encoded) == len(fields), "each field is one byte"
        self.h2.send(frame(HEADERS, EH | ES, stream, encoded))


def test_the_fields_of_every_stream_are_decoded_whatever_becomes_of_it(stage):
    """Policy 3: of a malformed, a refused and a reset stream; in trailers that nobody wants."""
    h2 = H2(http2(stage, "http2_max_concurrent_streams = 1", locations=f'[http.server.location."/ready"]\n{READY}'))
    client = Compressing(h2)
    client.ask(1, (b"te", b"chunked"))
    assert h2.answer(1)[0] == 400
    client.ask(3)
    upstream = h2.stage.peers[0].accept()
    upstream.receives_head()
    client.ask(5)
    h2.send(frame(RST, 0, 3, CANCEL))
    assert upstream.is_closed()
    h2.news()
    h2.ask(7, b"/ready", end=False)
    client.made += 1
    h2.send(frame(HEADERS, EH | ES, 7, client.encoder.encode([(b"x-kept", b"number %d" % client.made)])))
    assert h2.news() == [f"7: {OPENED}", "7: 200", "7: +5."]
    client.says_what_it_has_said(9)
    again = h2.stage.peers[0].accept()
    again.receives(sent_up(b"/", *(b"x-kept: number %d" % made for made in (1, 2, 3, 4))))
    again.send(ok())
    assert h2.answer(9) == (200, b"ok")


def test_the_fields_of_streams_after_the_last_goaway_are_decoded(stage):
    """nginx does not, and drops the connection with all running answers (nginx bug c)."""
    h2 = H2(http2(stage))
    client = Compressing(h2)
    client.ask(1, end=False)
    h2.stage.worker.clients.drain(h2.stage.loop.clock.now)
    h2.send(frame(PING, 1, 0, b"leaving\0"))
    client.ask(3)
    h2.send(frame(HEADERS, ES, 5, b""), frame(CONTINUATION, EH, 5, client.encoder.encode(fields_of())))
    h2.send(frame(HEADERS, EH | ES, 1, client.encoder.encode([(b"x-kept", b"number 2")])))
    upstream = h2.stage.peers[0].accept()
    upstream.receives_head()
    upstream.send(ok())
    assert h2.answer(1) == (200, b"ok")
    assert "GOAWAY 1 NO_ERROR" in h2.said
    assert h2.is_closed()


def test_a_head_larger_than_a_frame_goes_on_in_continuations(stage):
    h2 = H2(http2(stage, location="proxy_buffer_size = '64k'\nproxy_buffers = [8, '64k']"), (5, 1 << 20))
    h2.ask()
    upstream = h2.stage.peers[0].accept()
    upstream.receives_head()
    upstream.send(ok(b"body", b"X-Long: " + b"v" * 40_000))
    h2.stage.until(lambda: b"body" in h2.end.pull_all(), "no body")
    wire, sizes, whole = bytes(h2.end.received), [], b""
    while wire:
        size, kind, flags = int.from_bytes(wire[:3], "big"), wire[3], wire[4]
        sizes.append((kind, flags, size))
        if kind != DATA:
            whole += wire[9 : 9 + size]
        wire = wire[9 + size :]
    assert [row[:2] for row in sizes] == [(HEADERS, 0), (CONTINUATION, 0), (CONTINUATION, EH), (DATA, ES)]
    assert max(size for _, _, size in sizes) == 16384
    assert dict(hpack.Decoder(max_header_list_size=100_000).decode(whole, raw=True))[b"x-long"] == b"v" * 40_000
    h2.end.received.clear()


def test_what_must_never_be_indexed_is_not_on_the_next_hop_either(stage):
    """RFC 7541, 6.2.3; also where the same values came before without that mark."""
    h2 = H2(http2(stage, location="proxy_http_version = '2'"))
    secret = (b"authorization", b"secret")
    encoder = hpack.Encoder()
    encoder.header_table_size = 0
    peer: Http2Peer | None = None
    for stream, marked in ((1, ()), (3, (b"authorization", b"x-a")), (5, (b"authorization", b"x-a")), (7, (b"x-a",))):
        fields = [*fields_of(), secret, (b"x-a", b"b")]
        sensitive = [hpack.NeverIndexedHeaderTuple(*field) if field[0] in marked else field for field in fields]
        h2.send(frame(HEADERS, EH | ES, stream, encoder.encode(sensitive)))
        peer = peer or Http2Peer(h2.stage.peers[0].accept())
        (sent,) = peer.take()
        assert {field[0] for field in sent.payload if not field.indexable} == set(marked)
        assert secret in [tuple(field) for field in sent.payload]
        peer.answer(sent.stream)
        assert h2.answer(stream) == (200, b"ok")


def test_what_an_upstream_wants_indexed_on_no_hop_stays_so(stage):
    """RFC 7541 7.1.3, in a head, after a body and in a hint; an answer with the same fields and without the mark is not confused."""
    hop = 'proxy_http_version = "2"\nproxy_pass_trailers = true\nearly_hints = ["1"]\n'
    h2 = H2(http2(stage, location=hop))
    h2.ask(1)
    peer = Http2Peer(h2.stage.peers[0].accept())

    def unmarked(stream: int) -> set[bytes]:
        return {field[0] for field in h2.lines[stream] if field.indexable}

    def marked(stream: int) -> set[bytes]:
        return {field[0] for field in h2.lines[stream] if not field.indexable}

    for stream, marks in ((1, ()), (3, ("set-cookie", "content-type")), (5, ("set-cookie",)), (7, ())):
        if stream > 1:
            h2.ask(stream)
        (sent,) = peer.take()
        head = [("content-type", "text/plain"), ("set-cookie", "a=secret"), ("x-a", "b")]
        fields = [hpack.NeverIndexedHeaderTuple(*field) if field[0] in marks else field for field in head]
        peer.answer(sent.stream, b"ok", *fields)
        assert h2.answer(stream) == (200, b"ok")
        assert marked(stream) == {name.encode() for name in marks}
        assert unmarked(stream) >= {b":status", b"x-a"}

    for stream in (9, 11):
        h2.ask(stream)
        (sent,) = peer.take()
        hint, last = ("link", "</a>"), ("x-sum", "7")
        mark = hpack.NeverIndexedHeaderTuple if stream == 9 else lambda *field: field
        peer.send(peer.head(sent.stream, mark(*hint), status=103))
        h2.stage.until(lambda stream=stream: f"{stream}: 103" in h2.hear(), "no hint")
        assert marked(stream) == ({b"link"} if stream == 9 else set())
        peer.send(peer.head(sent.stream), peer.data(sent.stream, b"x"), peer.trailers(sent.stream, mark(*last)))
        h2.stage.until(lambda stream=stream: f"{stream}: trailers." in h2.hear(), "no trailers")
        assert h2.lines[stream] == [(b"x-sum", b"7")]
        assert marked(stream) == ({b"x-sum"} if stream == 9 else set())


@BOTH_WAYS
@pytest.mark.parametrize("method", [b"GET", b"DELETE", b"POST"])
@pytest.mark.parametrize("body", [b"", b"GET /evil HTTP/1.1\r\n\r\n"])
def test_a_body_that_is_there_has_its_length_whatever_the_method(stage, location, method, body):
    h2 = H2(http2(stage, location=location))
    h2.send(frame(HEADERS, EH, 1, block(fields_of(method=method))) + frame(DATA, ES, 1, body))
    upstream = h2.stage.peers[0].accept()
    upstream.receives(sent_up(b"/", b"Content-Length: %d" % len(body), method=method) + body)
    upstream.send(ok())
    assert h2.answer() == (200, b"ok")


def test_a_head_request_with_a_body_is_one_request(stage):
    h2 = H2(http2(stage))
    h2.send(frame(HEADERS, EH, 1, block(fields_of(method=b"HEAD"))) + frame(DATA, ES, 1, b"GET /evil"))
    upstream = h2.stage.peers[0].accept()
    upstream.receives(sent_up(b"/", b"Content-Length: 9", method=b"HEAD") + b"GET /evil")
    upstream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n")
    assert h2.answer() == (200, b"")


def test_a_client_that_resets_amid_an_unbuffered_body_closes_the_upstream(stage):
    h2 = H2(http2(stage, location=UNBUFFERED))
    h2.ask(1, b"/", (b"content-length", b"100"), method=b"POST", end=False).data(1, b"half")
    upstream = h2.stage.peers[0].accept()
    assert upstream.receives_head()
    h2.send(frame(RST, 0, 1, CANCEL))
    assert upstream.is_closed()
    assert h2.stage.group().idle_count == 0
    assert h2.stage.statuses() == ["499"] and h2.is_alive()


def test_fields_that_belong_to_a_connection_do_not_go_upstream_and_escapes_stay_as_they_are(stage):
    h2 = H2(http2(stage))
    more = (
        (b"http2-settings", b"AAMAAABk"),
        (b"expect", b"foo"),
        (b"te", b"Trailers"),
        (b"priority", b"u=1"),
        (b"trailer", b"x"),
    )
    h2.ask(1, b"/%0d%0aX:%20y?%0d%0a", *more)
    upstream = h2.stage.peers[0].accept()
    upstream.receives(sent_up(b"/%0d%0aX:%20y?%0d%0a", b"priority: u=1", b"trailer: x"))
    upstream.send(ok())
    assert h2.answer() == (200, b"ok")


def test_a_304_keeps_its_length_and_a_204_loses_it(stage):
    h2 = H2(http2(stage))
    upstream: End | None = None
    for stream, status, length in ((1, b"304 Not Modified", "7"), (3, b"204 No Content", None)):
        h2.ask(stream)
        upstream = upstream or h2.stage.peers[0].accept()
        upstream.receives_head()
        upstream.send(b"HTTP/1.1 %b\r\nContent-Length: %b\r\n\r\n" % (status, b"7" if length else b"0"))
        h2.stage.until(lambda stream=stream: f"{stream}: {h2.heads.get(stream, [{}])[-1].get(':status')}." in h2.hear(), "no end")
        assert h2.heads[stream][0].get("content-length") == length


def test_what_http_2_forbids_in_responses_is_dropped_and_values_are_stripped(stage):
    h2 = H2(http2(stage))
    h2.ask()
    upstream = h2.stage.peers[0].accept()
    upstream.receives_head()
    dropped = (b"Proxy-Connection: close", b"TE: trailers", b"Keep-Alive: 5", b"HTTP2-Settings: AA", b"Sec-WebSocket-Accept: x")
    upstream.send(ok(b"ok", *dropped, b"X-Tab: a\t b \t", b"X-Empty:  \t"))
    assert h2.answer() == (200, b"ok")
    assert h2.lines[1][4:] == [(b"x-tab", b"a\t b"), (b"x-empty", b"")]


REFUSED_ANSWERS = {
    "a pseudo-header": ok(b"ok", b":status: 500"),
    "a NUL": ok(b"ok", b"X: a\0b"),
    "a bare CR": ok(b"ok", b"X: a\rb"),
    "a fold": ok(b"ok", b"X: a\r\n b"),
    "a space in a name": ok(b"ok", b"X Y: a"),
    "two ways of framing": ok(b"ok", b"Transfer-Encoding: chunked"),
    "two lengths": ok(b"ok", b"Content-Length: 3"),
}


@pytest.mark.parametrize("row", REFUSED_ANSWERS)
def test_a_response_that_http_2_cannot_carry_is_a_502(stage, row):
    h2 = H2(http2(stage, peer_parameters=("max_fails = 0",)))
    h2.ask()
    h2.stage.peers[0].accept().send(REFUSED_ANSWERS[row])
    assert h2.answer()[0] == 502


def test_a_pseudo_header_among_trailers_of_an_upstream_cuts_the_answer(stage):
    h2 = H2(http2(stage, location="proxy_pass_trailers = true"))
    h2.ask()
    upstream = h2.stage.peers[0].accept()
    upstream.receives_head()
    upstream.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks(b"body", last=False))
    h2.stage.until(lambda: "1: 200" in h2.hear(), "no head")
    upstream.send(b"0\r\n:x: 1\r\n\r\n")
    h2.stage.until(lambda: "1: RST INTERNAL_ERROR" in h2.hear(), "no reset")
    assert h2.is_alive()


def test_a_ping_is_answered_before_the_data_that_waits(stage, tmp_path):
    (tmp_path / "file").write_bytes(bytes(60_000))
    h2 = H2(http2(stage, locations=f'[http.server.location."/file"]\nroot = "{tmp_path}"\n'))
    h2.send(frame(HEADERS, EH | ES, 1, block(fields_of(b"/file"))) + frame(PING, 0, 0, bytes(8)))
    said = h2.news()
    assert said.index(f"PING ACK {bytes(8).hex()}") < said.index("1: +16384")


# Floods of frames that cost nothing to send.

FLOODS = {
    "window updates by a byte": frame(WINDOW, 0, 0, number(1)),
    "resets of a stream that has ended": frame(RST, 0, 1, CANCEL),
    "window updates of a stream that has ended": frame(WINDOW, 0, 1, number(1000)),
}


@pytest.mark.parametrize("row", FLOODS)
def test_frames_that_bring_nothing_are_counted_together(stage, row):
    h2 = H2(http2(stage, location=READY))
    h2.send(get())
    h2.news()
    for _ in range(11):
        h2.end.send_some(FLOODS[row] * 1000)
    assert h2.news()[-2:] == ["GOAWAY 1 ENHANCE_YOUR_CALM", "end"]
    assert any("client sent too many frames that bring nothing" in line for line in h2.stage.error_log())
    h2.end.close()


def test_settings_of_many_pairs_and_flips_of_the_window_use_the_same_budget(stage):
    for wire, many in ((settings(*((0x99, n) for n in range(300))), 4), (settings((4, 1)) + settings((4, 0)), 101)):
        h2 = H2(http2(stage, location=READY))
        h2.end.send_some(wire * many)
        assert h2.news()[-2:] == ["GOAWAY 0 ENHANCE_YOUR_CALM", "end"]
        assert any("client sent too many SETTINGS frames" in line for line in h2.stage.error_log())
        h2.end.close()


def test_many_names_of_nothing_are_one_malformed_request(stage):
    h2 = H2(http2(stage, location=READY))
    h2.send(frame(HEADERS, EH | ES, 1, block(fields_of()) + b"\0\0\0" * 500))
    assert [word for word in h2.news() if "+" not in word] == ["1: 400", "1: RST PROTOCOL_ERROR"]
    h2.send(frame(HEADERS, EH | ES, 3, block(fields_of()) + b"\x60\x00" * 1200))
    said = h2.news()
    assert said[0] == "3: 400" and said[-2:] == ["GOAWAY 3 ENHANCE_YOUR_CALM", "end"], "more than max_headers, crumbs or not"
    h2.end.close()
