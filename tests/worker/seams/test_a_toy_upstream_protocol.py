"""A new upstream protocol is one file and one row: this one is made here, and gets all that the house has for HTTP/1.

A request is a line `METHOD PATH` and records; an answer is a line with its status, and records. A record is a length of two bytes
and so many of payload; an empty one is the end. Its directives are called toy_: they say what proxy_ says in the file.
"""

from __future__ import annotations

import gzip
import inspect

import pytest
from conversation import End, chunks, get

from worker.http1.response import ResponseHead
from worker.stream import CHUNK
from worker.upstream.body import wait_for_answer
from worker.upstream.failing import READING_HEAD, failure_of
from worker.upstream.passing import PeerConnection, UpstreamProtocol
from worker.upstream.protocols import PROTOCOLS
from worker.upstream.proxied_body import PATIENCE
from worker.upstream.sending import push, push_outgoing, sending_failed
from wproxy.config.model import Location
from wproxy.failures import UpstreamFailure
from wproxy.request_body import NO_BODY

# The protocol: from here...


def records(data: bytes) -> bytes:
    pieces = [data[begin : begin + 60_000] for begin in range(0, len(data) or 1, 60_000)]
    return b"".join(len(piece).to_bytes(2, "big") + piece for piece in pieces)


END = records(b"")


class ToyPlan:
    is_stable = sends_unknown_length = keeps_connections = True

    def head(self, request, length):
        return b"%b %b\n" % (request.method, request.path)

    def asks_to_upgrade(self, request):
        return False


class ToyBody:
    spoiled, surplus, trailers, unframed = False, "", (), 0

    def __init__(self, stream, seconds, data):
        self.stream, self.channel, self.seconds, self.buffer = stream, stream, seconds, b""
        self.received, self.wire_bytes, self.finished = 0, 0, False
        self.at_hand = self.take(data)

    def take(self, data):
        self.wire_bytes += len(data)
        self.buffer, payload = self.buffer + data, b""
        while len(self.buffer) >= 2 and len(self.buffer) >= (end := 2 + int.from_bytes(self.buffer[:2], "big")):
            payload, self.buffer, self.finished = payload + self.buffer[2:end], self.buffer[end:], end == 2
        self.received += len(payload)
        return payload

    def receive(self, most):
        data = self.stream.recv(most)
        if not data:
            raise UpstreamFailure("error", "upstream prematurely closed connection")
        return self.take(data)

    async def wait(self, seconds=None):
        await wait_for_answer(self.stream, self.seconds if seconds is None else seconds)


class ToyConnection(PeerConnection):
    __slots__ = ("rest",)

    def start(self, attempt):
        self.requests, self.rest = self.requests + 1, b""
        is_all = attempt.outgoing.length == NO_BODY
        try:
            attempt.bytes_sent = self.stream.send(attempt.request_head + (END if is_all else b""))
        except OSError as error:
            raise sending_failed(error) from None
        return is_all

    async def finish(self, attempt):
        await push_outgoing(attempt, self.stream, records)
        await push(attempt, self.stream, END)

    def receive_head(self, attempt):
        try:
            data = self.stream.recv(CHUNK)
        except BlockingIOError:
            return None
        if not data:
            raise failure_of("error", "upstream prematurely closed connection", READING_HEAD)
        attempt.bytes_received += len(data)
        status, newline, rest = (self.rest + data).partition(b"\n")
        self.rest = rest if newline else status
        return ResponseHead(status, int(status), b"", 11, (), {}, -1, False) if newline else None

    def body(self, attempt):
        attempt.is_bodiless = attempt.request.method == b"HEAD"
        body = ToyBody(self.stream, attempt.passing.read_timeout, self.rest)
        return body.at_hand if body.finished else body


TOY = UpstreamProtocol("toy", "toy://", ToyConnection, lambda location: ToyPlan())
# ... to here.


@pytest.fixture
def toy(stage, monkeypatch):
    """A stage whose proxy_pass speaks toy: `toy_read_timeout` is what the file says in proxy_read_timeout."""

    def of_proxy(self, name):
        if not name.startswith("toy_"):
            raise AttributeError(name)
        return getattr(self, f"proxy_{name[4:]}")

    monkeypatch.setattr(Location, "__getattr__", of_proxy, raising=False)
    monkeypatch.setitem(PROTOCOLS, "toy", lambda settings: TOY)
    monkeypatch.delitem(PROTOCOLS, "proxy")
    return stage


def asked(upstream: End, *body: bytes, method: bytes = b"GET") -> None:
    upstream.receives(method + b" /\n" + b"".join(map(records, body)) + END)


def received(client: End) -> bytes:
    """The decoded body of a chunked response that is there to its end."""
    client.receives_head()
    wire, body = client.take(), b""
    while wire:
        size, _, rest = wire.partition(b"\r\n")
        body, wire = body + rest[: int(size, 16)], rest[int(size, 16) + 2 :]
    return body


def test_it_takes_less_than_sixty_lines():
    source = inspect.getsource(inspect.getmodule(ToyConnection))
    protocol = source[source.index("# The protocol: from here") : source.index("# ... to here")]
    assert len([line for line in protocol.splitlines()[1:] if line.strip()]) < 60


def test_connections_are_kept_and_may_carry_any_number_of_requests(toy):
    s = toy()
    client = s.client()
    client.send(get())
    upstream = s.peers[0].accept()
    for number in range(3):
        asked(upstream)
        upstream.send(b"200\n" + records(b"answer %d" % number) + END)
        assert received(client) == b"answer %d" % number
        client.send(get())
    assert s.group().peers[0].counters.requests == 3


def test_another_peer_is_asked_after_a_failure(toy):
    s = toy(peers=2, location='proxy_next_upstream = ["error", "http_503"]')
    client = s.client()
    for first_says in (b"503\n" + END, None):
        client.send(get())
        first = next(End(s, sock, "upstream") for peer in s.peers if (sock := accepted(s, peer)))
        asked(first)
        if first_says is None:
            first.close()
        else:
            first.send(first_says)
        second = next(End(s, sock, "upstream") for peer in s.peers if (sock := accepted(s, peer)))
        asked(second)
        second.send(b"200\n" + records(b"second") + END)
        assert received(client) == b"second"
        s.group().close_expired()
        s.advance(61)
        client = s.client()
    assert [line["upstream_status"] for line in s.access_log()] == ["503, 200", "502, 200"]


def accepted(s, peer):
    s.settle()
    return peer._try_accept()


def test_a_dead_idle_connection_is_replaced_and_blames_nobody(toy):
    s = toy()
    client = s.client()
    client.send(get())
    upstream = s.peers[0].accept()
    asked(upstream)
    upstream.send(b"200\n" + END)
    received(client)
    upstream.sock.close()
    upstream.over = True
    client.send(get())
    other = s.peers[0].accept()
    asked(other)
    other.send(b"200\n" + records(b"again") + END)
    assert received(client) == b"again"


def test_timers_are_told_by_the_names_of_its_directives(toy):
    s = toy(location='proxy_read_timeout = "5s"')
    client = s.client()
    client.send(get())
    asked(s.peers[0].accept())
    s.advance(6)
    assert client.receives_head().startswith(b"HTTP/1.1 504 ")
    (line,) = [line for line in s.error_log() if "timed out" in line]
    assert "while reading response header from upstream" in line
    assert "(toy_read_timeout 5: " in line
    assert f'upstream: "toy://{s.peers[0].name}' in line


def test_a_slow_client_does_not_hold_the_upstream(toy):
    s = toy()
    client = s.client(tcp=True, receive_buffer=4096, send_buffer=4096)
    client.send(get())
    upstream = s.peers[0].accept()
    asked(upstream)
    big = bytes(range(256)) * 20_000
    left = memoryview(b"200\n" + records(big) + END)
    left = left[upstream.send_some(left) :]
    assert left
    s.advance(PATIENCE)
    upstream.send(left)
    assert s.group().idle_count == 1, "the upstream is done"
    assert received(client) == big


@pytest.mark.parametrize("length", [2, 50_000])
def test_filters_change_what_it_says(toy, length):
    s = toy(location='gzip = "on"\ngzip_types = "*"\ngzip_min_length = 0\nsub_filter = [["a", "b"]]\nsub_filter_types = "*"')
    client = s.client()
    client.send(get(b"/", b"Accept-Encoding: gzip"))
    upstream = s.peers[0].accept()
    asked(upstream)
    upstream.send(b"200\n" + records(b"a" * length))
    upstream.send(records(b"a" * length) + END)
    assert gzip.decompress(received(client)) == b"b" + b"a" * (2 * length - 1)


@pytest.mark.parametrize("settings", ["", 'client_body_buffer_size = "1k"', "proxy_request_buffering = false"])
def test_bodies_go_up_from_memory_from_a_file_and_as_they_come(toy, settings):
    s = toy(location=settings)
    client = s.client()
    body = b"0123456789" * 5000
    client.send(get(b"/", b"Transfer-Encoding: chunked", method=b"PUT"))
    client.send(chunks(body[:30_000], body[30_000:]))
    upstream = s.peers[0].accept()
    wire = upstream.take()
    assert wire.startswith(b"PUT /\n") and wire.endswith(END)
    wire, got = wire[6:], b""
    while wire != END:
        size = int.from_bytes(wire[:2], "big")
        got, wire = got + wire[2 : 2 + size], wire[2 + size :]
    assert got == body
    upstream.send(b"200\n" + END)
    assert received(client) == b""
    assert s.group().idle_count == 1


def test_bodies_go_both_ways_at_once(toy):
    s = toy(location="proxy_request_buffering = false")
    client = s.client()
    client.send(get(b"/", b"Content-Length: 10", method=b"POST"))
    upstream = s.peers[0].accept()
    upstream.receives(b"POST /\n")
    upstream.send(b"200\n" + records(b"hi"))
    client.receives_head()
    for piece in (b"12345", b"67890"):
        client.take()
        client.send(piece)
        assert upstream.take().startswith(records(piece))
        upstream.send(records(piece))
        client.receives(b"5\r\n" + piece + b"\r\n")
    upstream.send(END)
    client.receives(b"0\r\n\r\n")
    assert s.group().idle_count == 1


def test_an_answer_that_breaks_off_is_cut(toy):
    s = toy()
    client = s.client()
    client.send(get())
    upstream = s.peers[0].accept()
    asked(upstream)
    upstream.send(b"200\n" + records(b"half"))
    upstream.close()
    client.receives_head()
    client.receives(b"4\r\nhalf\r\n")
    assert client.is_closed()
