"""Conversations that nobody would write by hand: bytes cut anywhere, damaged bytes, and everything at any moment.

h11 is the oracle on both ends: what reaches an upstream must be requests to its strict server, what reaches a client must be
responses to its strict client.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import re
from collections.abc import Iterator

import h11
import pytest
from conversation import End, Stage, chunks, get, ok, post
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

few = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
quick = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
_numbers = itertools.count()


@contextlib.contextmanager
def performed(directory: str, **more) -> Iterator[Stage]:
    """A stage of its own for each example, swept at its end."""
    where = f"{directory}/{next(_numbers)}"
    os.mkdir(where)
    with pytest.MonkeyPatch.context() as patch:
        s = Stage(patch, where, **more)
        try:
            yield s
        except BaseException:
            s.close(sweep=False)
            raise
        s.close()


@pytest.fixture(scope="module")
def directory(tmp_path_factory) -> str:
    return str(tmp_path_factory.mktemp("fuzz"))


# What went over a wire, as h11 reads it.


# 8-bit bytes of old clients pass in a target, as in nginx; h11 would refuse the request for them.
PLAIN = bytes(byte if byte < 0x80 else ord("~") for byte in range(256))


def requests_in(wire: bytes) -> list[tuple]:
    """The complete requests in what an upstream received; raises h11.RemoteProtocolError when it is no HTTP."""
    found: list[tuple] = []
    if not wire:
        return found  # to h11 no bytes are the end of the connection
    connection = h11.Connection(h11.SERVER)
    connection.receive_data(wire.translate(PLAIN))
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA or event is h11.PAUSED:
            return found
        if isinstance(event, h11.Request):
            head, body = (event.method, event.target, tuple(event.headers)), b""
        elif isinstance(event, h11.Data):
            body += event.data
        elif isinstance(event, h11.EndOfMessage):
            found.append((head, body))
            connection.send(h11.Response(status_code=200, headers=[("Content-Length", "0")]))
            connection.send(h11.EndOfMessage())
            if connection.our_state is not h11.DONE or connection.their_state is not h11.DONE:
                return found
            connection.start_next_cycle()


# So do these in the names of an answer's fields, as in nginx, and h11 would refuse the answer.
FIELD_NAME = re.compile(rb"(?<=\r\n)[^\r\n:]+(?=:)")
OF_NAMES = bytes.maketrans(b"@[]", b"~~~")


def responses_in(wire: bytes, methods: list[bytes]) -> list[tuple]:
    """The responses in what a client received, in answer to these methods; the framing of bodies is taken off."""
    found = []
    rest = FIELD_NAME.sub(lambda name: name[0].translate(OF_NAMES), wire)
    for method in methods:
        if not rest:
            break
        connection = h11.Connection(h11.CLIENT)
        connection.send(h11.Request(method=method, target="/", headers=[("Host", "h")]))
        connection.send(h11.EndOfMessage())
        connection.receive_data(rest)
        body, head, whole = b"", None, False
        while True:
            event = connection.next_event()
            if isinstance(event, h11.InformationalResponse):
                continue
            if isinstance(event, h11.Response):
                fields = tuple(
                    (name, value)
                    for name, value in event.headers
                    if name not in (b"date", b"content-length", b"transfer-encoding")
                )
                head = (event.status_code, fields)
            elif isinstance(event, h11.Data):
                body += event.data
            else:
                whole = isinstance(event, h11.EndOfMessage)
                break
        found.append((head, body, whole))
        if not whole:
            break
        rest = connection.trailing_data[0]
    return found


# Cut anywhere.

EXCHANGES = [
    (get(b"/a", b"X: y"), ok(b"hello", b"Z: z")),
    (post(b"some body", b"/b"), b"HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks(b"one", b"two")),
    (get(b"/c", b"Transfer-Encoding: chunked", method=b"PUT") + chunks(b"chunk", b"ed"), b"HTTP/1.1 204 No Content\r\n\r\n"),
    (get(b"/d", method=b"HEAD"), b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n"),
    (b"GET http://x/e HTTP/1.1\nHost: h\n\n", b"HTTP/1.1 103 Hints\r\nLink: x\r\n\r\n" + ok(b"e" * 50)),
    (post(b"x" * 300, b"/f"), ok(b"f" * 300)),
    (get(b"/g", b"Transfer-Encoding: chunked", method=b"POST") + chunks(b"y" * 150, b"z" * 150), ok(b"")),
]
METHODS = [b"GET", b"POST", b"PUT", b"HEAD", b"GET", b"POST", b"POST"]


def converse(directory: str, order: list[int], client_cuts: list[int], upstream_cuts: list[int], pipelined: bool) -> tuple:
    """What both sides received, whatever the cuts."""
    with performed(directory, location='client_body_buffer_size = "100"\nproxy_set_header = { X-Uri = "$request_uri" }') as s:
        client = s.client()
        wire = b"".join(EXCHANGES[number][0] for number in order)
        methods = [METHODS[number] for number in order]
        upstream: End | None = None
        heard = b""
        if pipelined:
            client.send_slowly(wire, [cut % len(wire) for cut in client_cuts])
        for count, number in enumerate(order, 1):
            request, answer = EXCHANGES[number]
            if not pipelined:
                client.send_slowly(request, [cut % len(request) for cut in client_cuts])
            upstream = upstream or s.peers[0].accept()
            s.until(lambda: len(requests_in(bytes(upstream.pull_all()))) == 1, f"no request {number}")
            heard += bytes(upstream.received)
            upstream.received.clear()
            upstream.send_slowly(answer, [cut % len(answer) for cut in upstream_cuts])

            def is_answered(count: int = count) -> bool:
                responses = responses_in(bytes(client.pull_all()), methods)
                return len(responses) == count and responses[-1][2]

            s.until(is_answered, f"no answer to {number}")
        assert client.is_open()
        return requests_in(heard), responses_in(bytes(client.received), methods)


cuts = st.lists(st.integers(0, 1 << 16), max_size=12)


@few
@given(st.lists(st.integers(0, len(EXCHANGES) - 1), min_size=1, max_size=5), cuts, cuts, st.booleans())
def test_where_bytes_are_cut_makes_no_difference(directory, order, client_cuts, upstream_cuts, pipelined):
    whole = converse(directory, order, [], [], pipelined=False)
    assert len(whole[0]) == len(whole[1]) == len(order)
    assert all(response[2] for response in whole[1])
    split = converse(directory, order, client_cuts, upstream_cuts, pipelined)
    assert unframed(split[0]) == unframed(whole[0])
    assert split[1] == whole[1]


def unframed(requests: list[tuple]) -> list[tuple]:
    """Whether a body went up in chunks depends on how much of it had come; nothing else does."""
    return [
        ((method, target, tuple(field for field in fields if field[0] not in (b"content-length", b"transfer-encoding"))), body)
        for (method, target, fields), body in requests
    ]


@pytest.mark.parametrize("number", range(len(EXCHANGES)))
def test_byte_by_byte(directory, number):
    request, answer = EXCHANGES[number]
    whole = converse(directory, [number, 0], [], [], pipelined=False)
    split = converse(directory, [number, 0], list(range(len(request))), list(range(len(answer))), pipelined=False)
    assert unframed(split[0]) == unframed(whole[0])
    assert split[1] == whole[1]


# Damaged bytes.


@st.composite
def damaged(draw, wires: list[bytes]) -> bytes:
    """Good bytes with a few replaced, removed, doubled or put in."""
    wire = draw(st.sampled_from(wires))
    for _ in range(draw(st.integers(0, 3))):
        place = draw(st.integers(0, len(wire)))
        length = draw(st.integers(0, 8))
        piece = draw(
            st.one_of(
                st.binary(max_size=4),
                st.sampled_from(
                    [
                        b"\r\n",
                        b"\n",
                        b"\r",
                        b"\0",
                        b" ",
                        b"\t",
                        b":",
                        b"\r\n\r\n",
                        b"0\r\n\r\n",
                        b"Content-Length: 5\r\n",
                        b"chunked",
                    ]
                ),
                st.just(wire[place : place + length] * 2),
            )
        )
        wire = wire[:place] + piece + wire[place + length :]
    return wire


GOOD_REQUESTS = [request for request, _ in EXCHANGES] + [
    get(b"/u", b"Connection: Upgrade", b"Upgrade: x") + b"\x81\x00",
    get(b"/e", b"Content-Length: 3", b"Expect: 100-continue", method=b"POST") + b"abc",
    get(b"/o", b"Connection: close, X-Y", b"X-Y: z", version=b"1.0"),
]


class Answering:
    """Peers that answer every complete request with `ok`, and remember all they heard."""

    def __init__(self, s: Stage) -> None:
        self.s = s
        self.ends: list[tuple[End, bytearray]] = []

    def answer(self) -> None:
        """Go on until nobody asks any more."""
        while True:
            before = sum(len(heard) for _, heard in self.ends) + len(self.ends)
            self.s.settle()
            for peer in self.s.peers:
                while (accepted := peer._try_accept()) is not None:
                    self.ends.append((End(self.s, accepted, "upstream"), bytearray()))
            for end, heard in self.ends:
                done = len(requests_in(bytes(heard)))
                heard += end.pull()
                end.received.clear()
                for _ in range(len(requests_in(bytes(heard))) - done):
                    try:
                        end.send(ok())
                    except OSError:
                        break
            if sum(len(heard) for _, heard in self.ends) + len(self.ends) == before:
                return


@quick
@given(st.one_of(damaged(GOOD_REQUESTS), st.binary(max_size=100)), cuts)
def test_damaged_requests_reach_no_upstream_unless_they_are_requests(directory, wire, places):
    with performed(directory) as s:
        client = s.client()
        peers = Answering(s)
        for begin, end in zip([0, *sorted(places)], [*sorted(places), len(wire)]):
            try:
                client.sock.send(wire[begin:end])
            except OSError:
                break
            peers.answer()
        peers.answer()
        said = bytes(client.pull_all())
        # Everything that the client got is a response, to the method of its request or to none.
        assert said == b"" or said.startswith(b"HTTP/1.1 ")
        for _, heard in peers.ends:
            for (_, _, fields), _ in requests_in(bytes(heard)):
                assert dict(fields)[b"host"] == b"app"
        client.close()
        s.advance(100)
        assert s.bugs == []


GOOD_ANSWERS = [answer for _, answer in EXCHANGES] + [
    b"HTTP/1.1 200 OK\r\n\r\nuntil close",
    b"HTTP/1.1 100 Continue\r\n\r\n" + ok(),
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\nraw",
    b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok",
    ok(b"ok", b"Connection: X-A, close", b"X-A: b", b"Keep-Alive: timeout=3"),
]


@quick
@given(
    st.one_of(damaged(GOOD_ANSWERS), st.binary(max_size=100)), cuts, st.sampled_from([b"GET", b"HEAD", b"POST"]), st.booleans()
)
@example(wire=b"HTTP/1.1 200 OK\r\n[Content-Length: 5\r\nZ: z\r\n\r\nhello", places=[], method=b"GET", closes=False)
def test_damaged_answers_reach_no_client_unless_they_are_answers(directory, wire, places, method, closes):
    """And whatever an upstream says, the next request gets its own answer."""
    with performed(directory) as s:
        client = s.client()
        client.send(get(method=method))
        upstream = s.peers[0].accept()
        upstream.receives_head()
        for begin, end in zip([0, *sorted(places)], [*sorted(places), len(wire)]):
            try:
                upstream.sock.send(wire[begin:end])
            except OSError:
                break
            s.settle()
        if closes:
            upstream.close()
        first = bytes(client.pull_all())
        responses = responses_in(first, [method, method])
        assert len(responses) <= 1
        if client.is_open() and responses and responses[0][2]:
            client.received.clear()
            client.send(get(b"/second"))
            peers = Answering(s)
            peers.answer()
            if not upstream.over and upstream.pull():
                assert b"GET /second" in upstream.received
                upstream.send(ok())
            assert [(head[0], body, whole) for head, body, whole in responses_in(bytes(client.pull_all()), [b"GET"])] == [
                (200, b"ok", True)
            ]
        client.close()
        assert s.bugs == []


# Everything at any moment.

ACTIONS = st.one_of(
    st.tuples(st.sampled_from(["new client", "new tcp client", "hurry"]), st.just(0)),
    st.tuples(st.just("client sends"), st.integers(0, len(GOOD_REQUESTS) - 1)),
    st.tuples(st.just("client sends a part"), st.integers(0, 200)),
    st.tuples(st.sampled_from(["client closes", "client ends", "client resets", "client reads"]), st.integers(0, 5)),
    st.tuples(st.just("upstream sends"), st.integers(0, len(GOOD_ANSWERS) - 1)),
    st.tuples(st.just("upstream sends a part"), st.integers(0, 100)),
    st.tuples(st.sampled_from(["upstream closes", "upstream ends", "upstream resets", "upstream reads"]), st.integers(0, 5)),
    st.tuples(st.just("time passes"), st.sampled_from([0.05, 1, 6, 11, 61])),
    st.tuples(st.just("drain"), st.just(0)),
)


@settings(quick, max_examples=250)
@given(st.lists(ACTIONS, max_size=40), st.booleans(), st.booleans())
def test_whatever_happens_nothing_breaks_and_nothing_is_left_behind(directory, actions, ignores, passes):
    location = f'proxy_ignore_client_abort = {str(ignores).lower()}\nclient_body_buffer_size = "100"\nproxy_read_timeout = "5s"\n'
    if passes:
        location += 'proxy_set_header = { Upgrade = "$http_upgrade", Connection = "$wproxy_connection_upgrade" }\n'
    with performed(directory, peers=2, location=location, server='keepalive_timeout = "10s"', upstream="keepalive = 2") as s:
        clients, upstreams = [s.client()], []
        settles = True
        for action, number in actions:
            act(s, clients, upstreams, action, number)
            if action == "hurry":
                settles = not settles  # several things happen before the worker looks again
            if settles:
                s.settle()
            for peer in s.peers:
                while (accepted := peer._try_accept()) is not None:
                    upstreams.append(End(s, accepted, "upstream"))
        s.settle()
        assert s.bugs == []


def act(s: Stage, clients: list[End], upstreams: list[End], action: str, number: int) -> None:
    who, _, what = action.partition(" ")
    if action in ("new client", "new tcp client"):
        clients.append(s.client(tcp="tcp" in action))
        return
    if action == "time passes":
        s.advance(number)
        return
    if action == "drain":
        s.worker.drain()
        return
    ends = [end for end in (clients if who == "client" else upstreams) if not end.over]
    if not ends:
        return
    end = ends[-1 - number % len(ends)] if what in ("closes", "ends", "resets", "reads") else ends[-1]
    wires = GOOD_REQUESTS if who == "client" else GOOD_ANSWERS
    try:
        if what == "sends":
            end.sock.send(wires[number])
        elif what == "sends a part":
            end.sock.send(wires[number % len(wires)][: number or 1])
        elif what == "reads":
            end.pull()
        elif what == "ends":
            end.sock.shutdown(1)
        elif what == "closes":
            end.over = True
            end.sock.close()
        elif what == "resets" and end.sock.family != 1:
            import socket
            import struct

            end.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            end.over = True
            end.sock.close()
    except OSError:
        pass
