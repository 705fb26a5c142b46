"""Filters in a worker: events that are not held back, upstreams that fail halfway, what the logs say of it."""

from __future__ import annotations

import gzip
import zlib

import pytest
from conversation import End, Stage, chunks, get, ok

from worker.http1.chunked import ChunkedDecoder

EVENTS = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
TAKES = b"Accept-Encoding: gzip"
GZIP = "gzip = true\ngzip_types = 'text/event-stream'\n"


class Reader:
    """A client that reads a chunked body in gzip as it comes."""

    def __init__(self, client: End) -> None:
        self.client = client
        self.chunks = ChunkedDecoder()
        self.inflater = zlib.decompressobj(31)

    def take(self) -> bytes:
        """What can be read by now."""
        return self.inflater.decompress(self.chunks.feed(self.client.take()))

    @property
    def is_whole(self) -> bool:
        return self.chunks.finished and self.inflater.eof


def asked(s: Stage, *fields: bytes, target: bytes = b"/", version: bytes = b"1.1") -> tuple[End, End]:
    """A client that has asked, and the connection to the upstream that was asked then."""
    client = s.client().send(get(target, *fields, version=version))
    upstream = s.peers[0].accept()
    upstream.receives_head()
    return client, upstream


@pytest.mark.parametrize("settings", ["", "sub_filter = [['never', 'x']]\nsub_filter_types = '*'\n"])
def test_an_event_goes_out_when_it_comes(stage, settings):
    s = stage(location=GZIP + settings)
    client, upstream = asked(s, TAKES)
    upstream.send(EVENTS + chunks(b"data: 0\n\n", last=False))
    head = client.receives_head()
    assert b"Content-Encoding: gzip" in head
    assert b"Transfer-Encoding: chunked" in head
    reader = Reader(client)
    assert reader.take() == b"data: 0\n\n"
    for number in range(1, 20):
        upstream.send(chunks(b"data: %d\n\n" % number, last=False))
        assert reader.take() == b"data: %d\n\n" % number
        s.advance(20)
        assert client.take() == b""
    upstream.send(b"0\r\n\r\n")
    assert reader.take() == b""
    assert reader.is_whole
    client.send(get(b"/", TAKES))
    upstream.receives_head()
    upstream.send(ok(b"x" * 100, b"Content-Type: text/html"))
    assert b"Content-Encoding: gzip" in client.receives_head()
    again = Reader(client)
    assert again.take() == b"x" * 100
    assert again.is_whole


def test_an_upstream_that_breaks_off_cuts_the_response(stage):
    s = stage(location=GZIP)
    client, upstream = asked(s, TAKES)
    upstream.send(EVENTS + chunks(b"data: 0\n\n", last=False))
    client.receives_head()
    upstream.close()
    assert client.is_closed()
    reader = Reader(client)
    reader.take()
    assert not reader.is_whole
    assert "upstream prematurely closed connection" in s.error_log()[-1]


def test_an_upstream_that_falls_silent_times_out(stage):
    s = stage(location=GZIP + 'proxy_read_timeout = "5s"\n')
    client, upstream = asked(s, TAKES)
    upstream.send(EVENTS + chunks(b"data: 0\n\n", last=False))
    client.receives_head()
    s.advance(4)
    assert client.is_open()
    s.advance(2)
    assert client.is_closed()
    assert "upstream timed out" in s.error_log()[-1]


def test_a_client_that_leaves_lets_the_upstream_go(stage):
    s = stage(location=GZIP)
    client, upstream = asked(s, TAKES)
    upstream.send(EVENTS + chunks(b"data: 0\n\n", last=False))
    client.receives_head()
    client.close()
    assert upstream.is_closed()


def test_a_client_of_http_1_0_gets_a_body_that_ends_with_its_connection(stage):
    s = stage(location=GZIP + "gzip_http_version = '1.0'\n")
    client, upstream = asked(s, TAKES, b"Connection: keep-alive", version=b"1.0")
    upstream.send(ok(b"x" * 100, b"Content-Type: text/html"))
    head = client.receives_head()
    assert b"Connection: close" in head
    assert b"Transfer-Encoding" not in head
    assert client.is_closed()
    assert gzip.decompress(client.take()) == b"x" * 100


def test_a_body_that_is_no_gzip_cuts_the_response(stage):
    s = stage(location="gunzip = true\n")
    client, upstream = asked(s)
    upstream.send(ok(b"no gzip", b"Content-Type: text/html", b"Content-Encoding: gzip"))
    client.receives_head()
    assert client.is_closed()
    assert "inflate() failed" in s.error_log()[-1]


def test_without_chunks_the_end_of_the_connection_ends_the_body(stage):
    s = stage(location="chunked_transfer_encoding = false\n")
    client, upstream = asked(s)
    upstream.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks(b"one", b"two"))
    head = client.receives_head()
    assert b"Transfer-Encoding" not in head
    assert b"Connection: close" in head
    assert client.is_closed()
    assert client.take() == b"onetwo"


def test_a_location_without_filters_has_none(stage):
    s = stage()
    location = s.configuration.servers[0].locations.fallback
    assert location.route.filter is None
    assert location.route.unchanged is None


@pytest.mark.parametrize(
    ("accepted", "expected"),
    [
        (b"br, zstd, gzip", b"br"),
        (b"gzip, zstd", b"zstd"),
        (b"gzip, deflate, zstd;q=0", b"gzip"),
        (b"gzip;q=1, br;q=0.1", b"br"),
        (b"deflate", b""),
    ],
)
def test_the_first_coding_that_the_client_takes_is_used(stage, accepted, expected):
    import brotli
    import zstandard

    s = stage(location="gzip = true\nbrotli = true\nzstd = true\ngzip_vary = true\n")
    client, upstream = asked(s, b"Accept-Encoding: " + accepted)
    upstream.send(ok(b"x" * 100, b"Content-Type: text/html", b'ETag: "e"', b"Accept-Ranges: bytes"))
    head = client.receives_head()
    assert head.count(b"Vary: Accept-Encoding") == 1
    if not expected:
        assert b"Content-Encoding" not in head
        assert client.take() == b"x" * 100
        return
    assert b'\r\nETag: W/"e"\r\nContent-Encoding: ' + expected + b"\r\n\r\n" in head
    body = ChunkedDecoder().feed(client.take())
    restored = {
        b"br": brotli.decompress,
        b"zstd": lambda data: zstandard.ZstdDecompressor().decompressobj().decompress(data),
        b"gzip": gzip.decompress,
    }
    assert restored[expected](body) == b"x" * 100


def test_gzip_ratio_is_what_went_in_by_what_came_out(stage):
    text = "error_log {directory}/error.log; events {{}} http {{ log_format test '$gzip_ratio $sent_http_content_encoding'; access_log {directory}/access.log test;"
    text += " server {{ listen 127.0.0.1:8080; gzip on; location / {{ default_type text/html; return 200 " + "x" * 1000 + "; }}"
    text += " location /short {{ return 200 x; }} }} }}"
    import conversation

    from wproxy.config.nginx import parse_nginx
    from wproxy.config.resolve import resolve

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            conversation, "load_text", lambda text, file, prefix, look_up: resolve(parse_nginx(text, file), file, prefix, look_up)
        )
        s = stage(peers=0, text=text)
    client = s.client()
    for target in (b"/", b"/short"):
        client.send(get(target, TAKES)).receives_head()
        client.take()
    s.worker.access_logs.flush()
    with open(f"{s.directory}/access.log") as file:
        ratio, plain = file.read().splitlines()
    assert plain == "- -"
    whole = len(gzip.compress(b"x" * 1000, 1))
    assert ratio.split() == [f"{1000 / whole:.2f}", "gzip"]


@pytest.mark.parametrize("settings", ['sub_filter = [["a", "b"]]', "gzip = true", 'charset = "x"\nsource_charset = "x"'])
@pytest.mark.parametrize("framed", [b"Content-Length: 100", b"Transfer-Encoding: chunked"])
def test_what_came_before_an_upstream_broke_off_goes_out(stage, settings, framed):
    """nginx passes on what it has, and cuts."""
    s = stage(location=settings)
    client = s.client().send(get(b"/", b"Accept-Encoding: gzip"))
    upstream = s.peers[0].accept()
    body = b"twelve bytes" if b"Length" in framed else chunks(b"twelve bytes", last=False)
    upstream.sock.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n" + framed + b"\r\n\r\n" + body)
    upstream.close()  # at once: nothing is flushed for the wait
    head = client.receives_head()
    assert client.is_closed()
    data = bytes(client.received)
    if b"chunked" in head:
        decoder = ChunkedDecoder()
        data = decoder.feed(data)
        assert not decoder.finished
    if b"gzip" in head:
        data = zlib.decompressobj(31).decompress(data)
    assert data == b"twelve bytes"
    assert s.last_access()["request_completion"] == ""
