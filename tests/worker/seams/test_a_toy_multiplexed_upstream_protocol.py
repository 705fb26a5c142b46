"""An upstream protocol whose connections carry several requests at once: it is made here, in one file and one row.

A frame is the number of a request, a letter and a length, of one byte, one byte and two bytes, and so much of payload. A request
is a frame `H` of `METHOD PATH`, frames `D` of its body and an empty one `E`; an answer is `H` with its status, `D`, `E`. `X` gives
up a request.
"""

from __future__ import annotations

import dataclasses

import pytest
from conversation import End, Stage, chunks, get

from worker.http1.response import ResponseHead
from worker.loop import READ, park
from worker.upstream.failing import READING_HEAD, failure_of
from worker.upstream.passing import UpstreamProtocol
from worker.upstream.protocols import PROTOCOLS
from worker.upstream.proxied_body import PATIENCE
from worker.upstream.shared import SharedConnection, Use
from wproxy.config.model import Location
from wproxy.failures import TimedOut, UpstreamFailure
from wproxy.request_body import NO_BODY

MOST = 3


def frame(number: int, kind: bytes, payload: bytes = b"") -> bytes:
    return bytes((number,)) + kind + len(payload).to_bytes(2, "big") + payload


class Plan:
    is_stable = sends_unknown_length = keeps_connections = True

    def head(self, request, length):
        return b"%b %b" % (request.method, request.path)

    def asks_to_upgrade(self, request):
        return False


class Connection(SharedConnection):
    __slots__ = ("buffer", "by_number")

    def __init__(self, stream):
        super().__init__(stream, MOST, 60.0)
        self.buffer, self.by_number = b"", {}

    def begin(self):
        return Request(self)

    def receive(self, data):
        self.buffer += data
        while len(self.buffer) >= 4 and len(self.buffer) >= (end := 4 + int.from_bytes(self.buffer[2:4], "big")):
            number, kind, payload, self.buffer = self.buffer[0], self.buffer[1:2], self.buffer[4:end], self.buffer[end:]
            if kind == b"!":
                raise failure_of("invalid_header", "upstream broke the rules", READING_HEAD)
            if number in self.by_number:
                self.by_number[number].arrived.append((kind, payload))
                self.by_number[number].channel.may_read()


class Request(Use):
    """One request, and the body of its answer."""

    __slots__ = ("arrived", "at_hand", "finished", "is_sent", "number", "received", "timeout", "wire_bytes")

    spoiled, surplus, trailers, unframed = False, "", (), 0

    def __init__(self, shared):
        super().__init__(shared)
        self.arrived, self.finished, self.is_sent, self.number = [], False, False, shared.requests
        self.received = self.wire_bytes = 0
        shared.by_number[self.number] = self

    def start(self, attempt):
        self.is_sent = attempt.outgoing.length == NO_BODY
        self.shared.send(frame(self.number, b"H", attempt.request_head) + (frame(self.number, b"E") if self.is_sent else b""))
        return self.is_sent

    async def finish(self, attempt):
        outgoing = attempt.outgoing
        self.shared.send(frame(self.number, b"D", outgoing.at_hand))
        while outgoing.rest is not None and not outgoing.rest.finished:
            self.shared.send(frame(self.number, b"D", await outgoing.rest.read()))
            await self.wait_to_send(attempt.passing.send_timeout)
        self.shared.send(frame(self.number, b"E"))
        self.is_sent = True

    def next(self):
        if not self.arrived:
            self.shared.check()
            self.channel.holds = False
            raise BlockingIOError
        return self.arrived.pop(0)

    def receive_head(self, attempt):
        try:
            _, status = self.next()
        except BlockingIOError:
            return None
        attempt.bytes_received += len(status)
        return ResponseHead(status, int(status), b"", 11, (), {}, -1, False)

    def body(self, attempt):
        self.timeout, self.at_hand = attempt.passing.read_timeout, b""
        return self

    def receive(self, most):
        kind, piece = self.next()
        self.finished = kind == b"E"
        self.received += len(piece)
        self.wire_bytes += len(piece)
        return piece

    async def wait(self, seconds=None):
        try:
            await park(self.channel, READ, self.timeout if seconds is None else seconds)
        except TimedOut:
            raise UpstreamFailure("timeout", "upstream timed out (110: Connection timed out)") from None

    def close(self):
        if self in self.shared.uses:
            del self.shared.by_number[self.number]
            if not (self.finished and self.is_sent) and self.shared.failure is None:
                self.shared.send(frame(self.number, b"X"))
        super().close()


TOY = UpstreamProtocol("toy", "toy://", Connection, lambda location: Plan(), is_shared=True)


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


def asks(s: Stage, path: bytes, *fields: bytes, **more) -> End:
    """A new client that has sent a request."""
    return s.client(**more).send(get(path, *fields))


def asked(number: int, path: bytes) -> bytes:
    return frame(number, b"H", b"GET " + path) + frame(number, b"E")


def answered(number: int, payload: bytes) -> bytes:
    return frame(number, b"H", b"200") + frame(number, b"D", payload) + frame(number, b"E")


def body_of(client: End) -> bytes:
    """The decoded body of a chunked response that is there to its end."""
    client.receives_head()
    wire, body = client.take(), b""
    while wire:
        size, _, rest = wire.partition(b"\r\n")
        body, wire = body + rest[: int(size, 16)], rest[int(size, 16) + 2 :]
    return body


def two_at_once(s: Stage) -> tuple[End, End, End]:
    """A connection that two clients' requests share: they are numbers 2 and 3."""
    first = asks(s, b"/0")
    upstream = s.peers[0].accept()
    upstream.receives(asked(1, b"/0")).send(answered(1, b"0"))
    assert body_of(first) == b"0"
    clients = asks(s, b"/1"), asks(s, b"/2")
    upstream.receives(asked(2, b"/1") + asked(3, b"/2"))
    return upstream, *clients


def test_several_requests_are_on_one_connection_and_each_gets_its_own_answer(toy):
    s = toy()
    upstream, one, two = two_at_once(s)
    (shared,) = s.group().peers[0].shared
    assert (shared.users, shared.room, s.group().idle_count) == (2, 1, 0)
    upstream.send(frame(3, b"H", b"200") + frame(2, b"H", b"404"))
    assert one.receives_head().startswith(b"HTTP/1.1 404 ")
    assert two.receives_head().startswith(b"HTTP/1.1 200 ")
    upstream.send(frame(2, b"D", b"one") + frame(3, b"D", b"two") + frame(2, b"E"))
    one.receives(b"3\r\none\r\n0\r\n\r\n")
    two.receives(b"3\r\ntwo\r\n")
    assert s.group().idle_count == 0 and shared.users == 1
    upstream.send(frame(3, b"E"))
    two.receives(b"0\r\n\r\n")
    assert s.group().idle_count == 1 and s.group().peers[0].shared == []
    assert s.group().peers[0].connections == 0


def test_a_connection_without_room_is_followed_by_another(toy):
    s = toy()
    upstream, *clients = two_at_once(s)
    clients.append(asks(s, b"/3"))
    upstream.receives(asked(4, b"/3"))
    clients.append(asks(s, b"/4"))
    other = s.peers[0].accept()
    other.receives(asked(1, b"/4"))
    for number, client in enumerate(clients[:3], 2):
        upstream.send(answered(number, b"%d" % number))
        assert body_of(client) == b"%d" % number
    other.send(answered(1, b"other"))
    assert body_of(clients[3]) == b"other"
    assert s.group().idle_count == 2


def test_a_client_that_leaves_gives_up_its_request_only(toy):
    s = toy()
    upstream, one, two = two_at_once(s)
    one.close()
    upstream.receives(frame(2, b"X"))
    upstream.send(answered(2, b"nobody wants it") + answered(3, b"two"))
    assert body_of(two) == b"two"
    assert s.group().idle_count == 1


def test_a_connection_that_breaks_takes_all_its_requests_and_they_are_sent_again(toy):
    s = toy()
    upstream, one, two = two_at_once(s)
    upstream.close()
    again = s.peers[0].accept()
    again.receives(asked(1, b"/1") + asked(2, b"/2"))
    for number, client, path in ((1, one, b"/1"), (2, two, b"/2")):
        again.send(answered(number, path))
        assert body_of(client) == path
    assert s.group().peers[0].counters.requests == 3
    assert s.group().idle_count == 1


def test_a_peer_that_breaks_the_rules_ends_all_answers_on_the_connection(toy):
    s = toy()
    upstream, one, two = two_at_once(s)
    upstream.send(frame(2, b"H", b"200") + frame(2, b"D", b"half") + frame(9, b"!"))
    one.receives_head()
    one.receives(b"4\r\nhalf\r\n")
    assert one.is_closed() and upstream.is_closed()
    assert two.receives_head().startswith(b"HTTP/1.1 502 ")
    assert (s.group().idle_count, s.group().peers[0].shared) == (0, [])


def test_a_request_that_times_out_leaves_the_others_alone(toy):
    s = toy(location='proxy_read_timeout = "5s"')
    upstream, one, two = two_at_once(s)
    s.advance(3)
    upstream.send(frame(3, b"H", b"200"))
    two.receives_head()
    s.advance(3)
    assert one.receives_head().startswith(b"HTTP/1.1 504 ")
    upstream.receives(frame(2, b"X")).send(frame(3, b"D", b"late") + frame(3, b"E"))
    two.receives(b"4\r\nlate\r\n0\r\n\r\n")
    assert s.group().idle_count == 1


def test_a_slow_client_holds_neither_the_upstream_nor_the_other_requests(toy):
    s = toy()
    upstream, one, _ = two_at_once(s)
    slow = s.client(tcp=True, receive_buffer=4096, send_buffer=4096).send(get(b"/slow"))
    upstream.receives(asked(4, b"/slow"))
    upstream.send(frame(4, b"H", b"200"))
    big = bytes(range(256)) * 200
    for _ in range(100):
        upstream.send(frame(4, b"D", big))
    s.advance(PATIENCE)
    upstream.send(answered(2, b"one"))
    assert body_of(one) == b"one"
    upstream.send(frame(4, b"E"))
    assert s.group().peers[0].connections == 1, "the upstream is done with the slow one"
    assert body_of(slow) == big * 100


def test_bodies_go_both_ways_at_once_on_a_shared_connection(toy):
    s = toy(location="proxy_request_buffering = false")
    upstream, one, two = two_at_once(s)
    client = s.client().send(get(b"/up", b"Transfer-Encoding: chunked", method=b"POST"))
    upstream.receives(frame(4, b"H", b"POST /up") + frame(4, b"D"))
    upstream.send(frame(4, b"H", b"200") + frame(4, b"D", b"early"))
    client.receives_head()
    client.receives(b"5\r\nearly\r\n")
    client.send(chunks(b"late"))
    upstream.receives(frame(4, b"D", b"late") + frame(4, b"E"))
    upstream.send(frame(4, b"E") + answered(2, b"one") + answered(3, b"two"))
    client.receives(b"0\r\n\r\n")
    assert (body_of(one), body_of(two)) == (b"one", b"two")
    assert s.group().idle_count == 1


def test_a_peer_that_does_not_read_makes_uploads_wait_and_is_given_up(toy):
    s = toy(location="proxy_request_buffering = false\nclient_max_body_size = 0")
    client = s.client().send(get(b"/", b"Content-Length: 100000000", method=b"POST"))
    upstream = s.peers[0].accept()
    assert upstream.pull(1)
    sent, piece = 0, bytes(60_000)
    while client.send_some(piece) == len(piece):
        sent += len(piece)
        assert sent < 50_000_000, "an upload does not wait"
    s.advance(61)
    assert client.receives_head().startswith(b"HTTP/1.1 504 ")
    assert s.group().peers[0].connections == 0


def test_a_peer_that_speaks_before_it_is_spoken_to_is_heard(toy, monkeypatch):
    """What arrives together with the end of connecting finds nobody who listens yet, and the loop disarms its event."""

    def connection_of(stream):
        stream.loop._disarm(stream, READ)
        return Connection(stream)

    monkeypatch.setitem(PROTOCOLS, "toy", lambda settings: dataclasses.replace(TOY, connection=connection_of))
    s = toy()
    client = asks(s, b"/")
    s.peers[0].accept().receives(asked(1, b"/")).send(answered(1, b"x"))
    assert body_of(client) == b"x"


def test_an_idle_connection_that_ends_is_forgotten(toy):
    s = toy()
    client = asks(s, b"/")
    upstream = s.peers[0].accept()
    upstream.receives(asked(1, b"/")).send(answered(1, b"x"))
    body_of(client)
    assert s.group().idle_count == 1
    upstream.close()
    assert s.group().idle_count == 0


def test_idle_connections_expire_and_worn_ones_take_no_more(toy):
    s = toy(upstream="keepalive_requests = 2\nkeepalive = 4")
    upstream, one, two = (None,) * 3
    first = asks(s, b"/0")
    upstream = s.peers[0].accept()
    upstream.receives(asked(1, b"/0"))
    one = asks(s, b"/1")
    upstream.receives(asked(2, b"/1"))
    two = asks(s, b"/2")
    other = s.peers[0].accept()
    other.receives(asked(1, b"/2"))
    upstream.send(answered(1, b"0") + answered(2, b"1"))
    assert (body_of(first), body_of(one)) == (b"0", b"1")
    assert upstream.is_closed()
    other.send(answered(1, b"2"))
    assert body_of(two) == b"2"
    assert s.group().idle_count == 1
    s.advance(61)
    s.group().close_expired()
    assert other.is_closed() and s.group().idle_count == 0
