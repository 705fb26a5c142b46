"""A client protocol that serves several requests at once on one connection, in this file alone: chosen where clients are accepted,
it gets the phases, proxying, filters, error pages, logs, the limits of idle clients and the end of a worker like HTTP/1.

A client sends lines, `ID PATH`. It is answered by frames, `ID STATUS LENGTH` and so many bytes: with a status the fields of a head,
with the status 0 a piece of the body, of length 0 at its end, and with -1 the news that no more of it comes.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import Any

import pytest
from conversation import End, Stage, chunks, ok

import worker.client.accept
from worker.client.accept import ClientProtocol
from worker.client.clients import Clients
from worker.client.plan import ListenerPlan
from worker.client.requests import attend, find_way
from worker.loop import READ, WRITE, Event, Task, give_way, park
from worker.outlet import send_all, send_body
from worker.stream import HEAD_CHUNK, Stream
from wproxy.assignment import ListeningSocket
from wproxy.failures import ClientError, ClientGone, TimedOut
from wproxy.http import NOTHING_DERIVED, Client, FieldsLike, Request, RequestLineLike, Response
from wproxy.uri import normalise_path

PIECE = 4096
CUT, BODY = -1, 0


class Line(RequestLineLike):
    """The line of a request (RequestLineLike). is_good: its path is one."""

    def __init__(self, line: bytes, target: bytes) -> None:
        path, mark, args = target.partition(b"?")
        self.line, self.method, self.target, self.origin = line, b"GET", target, target
        self.is_good = path.startswith(b"/")
        try:
            self.path = normalise_path(path)
        except ValueError:
            self.path, self.is_good = path, False
        self.args = args if mark else None
        self.version = 20
        self.authority = self.authority_port = None
        self.has_escapes = b"%" in path
        self.raw_ok = True


class Fields(FieldsLike):
    """The fields of a request (FieldsLike): there are none."""

    lines = ()

    def __init__(self) -> None:
        self.form = None
        self.host = self.host_port = self.upgrade = self.difference = self.composed = None
        self.content_length = -1
        self.chunked = False
        self.connection_options = frozenset()
        self.cache = NOTHING_DERIVED

    def get(self, name: bytes) -> bytes | None:
        return None


class ToyConnection:
    """One client (ClientConnection): its task reads lines and sends what its socket did not take; each request has its own task.

    waiting: the number of requests that wait for room. last: the one that sent last.
    """

    def __init__(self, stream: Stream, client: Client, plan: ListenerPlan) -> None:
        self.stream, self.client, self.plan = stream, client, plan
        self.clients: Clients = plan.clients
        self.loop = stream.loop
        self.task = self.loop.current()
        self.buffer = self.unsent = b""
        self.has_room = Event(self.loop)
        self.has_finished = Event(self.loop)
        self.waiting = 0
        self.last: ToyExchange | None = None
        self.running: dict[bytes, Task] = {}
        self.idle = True
        self.idle_since = self.loop.clock.now
        self.patience = plan.header_timeout
        self.is_leaving = False

    @property
    def is_reading(self) -> bool:
        return bool(self.buffer)

    @property
    def waits(self) -> bool:
        return self.idle

    @property
    def begun(self) -> int:
        return len(self.under_way)

    @property
    def under_way(self) -> tuple[Request, ...]:
        return ()

    def may_leave(self, now: float) -> bool:
        return self.idle and self.task.parked

    def drain(self, now: float) -> None:
        self.is_leaving = True
        self.loop.wake(self.task)

    def cut(self, reason: ClientGone) -> None:
        self.loop.interrupt(self.task, reason)

    async def serve(self) -> None:
        """Serve the client until one side is done."""
        self.clients.connections.add(self)
        try:
            while not self.is_leaving or self.running or self.unsent:
                self.send_on()
                self.read()
                seconds = self.idle_since + self.patience - self.loop.clock.now if self.idle else float("inf")
                await park(self.stream, READ | WRITE if self.unsent else READ, seconds)
        except TimedOut:
            pass  # nobody minds
        except (ClientGone, OSError):
            await self.end_requests()
        finally:
            self.clients.before_close()
            self.stream.close()
            self.clients.ended(self)

    def read(self) -> None:
        """Read what there is, and start its requests. Raises ClientGone, OSError."""
        try:
            data = self.stream.recv(HEAD_CHUNK)
        except BlockingIOError:
            return
        if not data:
            raise ClientGone("client prematurely closed connection")
        *lines, self.buffer = (self.buffer + data).split(b"\n")
        for line in () if self.is_leaving else lines:
            exchange = ToyExchange(self, line)
            self.running[exchange.id] = self.loop.spawn(exchange.serve(), f"request {exchange.id!r}")
        self.idle = not self.running and not self.buffer

    async def end_requests(self) -> None:
        """End what is under way for a client that has left."""
        for task in self.running.values():
            self.loop.interrupt(task, ClientGone("client prematurely closed connection"))
        while self.running:
            self.has_finished = Event(self.loop)
            await self.has_finished.wait()

    def ended(self, number: bytes) -> None:
        """Take note of the end of a request."""
        del self.running[number]
        self.has_finished.set()
        self.idle = not self.running and not self.buffer
        self.idle_since = self.loop.clock.now
        self.patience = self.plan.default.locations.fallback.route.keepalive_timeout[0]
        self.loop.wake(self.task)

    def send(self, frame: bytes) -> None:
        """Send a frame, or put by what the socket does not take. Raises OSError."""
        self.unsent += frame
        self.send_on()
        if self.unsent:
            self.has_room = Event(self.loop)
            self.loop.wake(self.task)

    def send_on(self) -> None:
        """Send what was put by, as far as the socket takes it. Raises OSError."""
        try:
            while self.unsent:
                self.unsent = self.unsent[self.stream.send(self.unsent) :]
        except BlockingIOError:
            return
        self.has_room.set()


class ToyExchange:
    """One request and its way back (Exchange, Outlet)."""

    kernel_fd = -1

    def __init__(self, connection: ToyConnection, line: bytes) -> None:
        self.connection = connection
        self.line = line
        self.id = line.partition(b" ")[0]

    @property
    def outlet(self) -> ToyExchange:
        return self

    def reserve(self, wanted: int) -> int:
        return wanted

    def moved(self, request: Request) -> None:
        pass

    def interim(self, status: int, lines: tuple[tuple[bytes, bytes], ...]) -> int:
        return self.send_frame(status, lines_of(lines))

    async def push_frame(self, status: int, data: bytes, seconds: float) -> int:
        """Send a frame as soon as there is room; return its size. Raises TimedOut, OSError."""
        while True:
            try:
                return self.send_frame(status, data)
            except BlockingIOError:
                await self.room(seconds)  # and another request may be there first

    def send_frame(self, status: int, data: bytes) -> int:
        """Send a frame; return its size. Raises BlockingIOError, OSError."""
        connection = self.connection
        if connection.unsent or (connection.waiting and connection.last is self):
            raise BlockingIOError  # the others have their turn
        connection.last = self
        frame = b"%b %d %d\n" % (self.id, status, len(data)) + data
        connection.send(frame)
        return len(frame)

    def send(self, data: bytes | memoryview) -> int:
        piece = bytes(data[:PIECE])
        self.send_frame(BODY, piece)
        return len(piece)

    async def room(self, seconds: float) -> None:
        connection = self.connection
        connection.waiting += 1
        try:
            if not connection.unsent:
                await give_way()
            elif not await connection.has_room.wait(seconds):
                raise TimedOut
        finally:
            connection.waiting -= 1

    async def serve(self) -> None:
        """Answer the request."""
        line = Line(self.line, self.line.partition(b" ")[2])
        client = self.connection.client
        client.requests += 1
        request = Request(client, line, Fields(), client.clock.now)
        request.exchange = self
        request.request_length = len(self.line) + 1
        request.location, request.route = find_way(client, None, request.path, request)
        request.server = request.location.server
        self.is_good = line.is_good
        await attend(self.connection.clients, request, self)

    def begin(self) -> None:
        if not self.is_good:
            raise ClientError(400, "client sent invalid request")

    def end(self) -> None:
        self.connection.ended(self.id)

    def cut(self, request: Request, error: Exception) -> None:
        """Tell the client that no more comes of this answer."""
        with suppress(OSError):
            self.connection.send(b"%b %d 0\n" % (self.id, CUT))

    async def reply(self, request: Request, response: Response) -> None:
        """Send a response. Raises ClientGone, OSError, TimedOut, UpstreamFailure."""
        fields, seconds = response.fields, request.location.send_timeout
        request.status, request.response_fields = fields.status, fields
        try:
            lines = [(b"Server", fields.server), *fields.lines, *fields.last_lines]
            if fields.content_type is not None:
                lines.append((b"Content-Type", fields.content_type))
            if fields.location is not None:
                lines.append((b"Location", fields.location))
            request.bytes_sent = await self.push_frame(fields.status, lines_of(lines), seconds)
            request.replied = True
            if not response.bodiless:
                request.body_bytes_sent = len(response.body)
                request.bytes_sent += len(response.body)
                await send_all(self, response.body, seconds)
                if response.source is not None:
                    await send_body(self, request, response.source, None)
            await self.push_frame(BODY, b"", seconds)
        finally:
            response.close()


def lines_of(lines: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Return the fields of a head as they are sent."""
    return b"".join(b"%b: %b\n" % line for line in lines)


async def serve_toy(stream: Stream, client: Client, plan: ListenerPlan) -> None:
    """Serve one client; closes the stream."""
    await ToyConnection(stream, client, plan).serve()


# The tests.


class Toy:
    """A client of the protocol. answers: what has come, by the number of the request: status, fields, body, whether it has ended."""

    def __init__(self, end: End) -> None:
        self.end = end
        self.order: list[bytes] = []  # of frames
        self.heads: dict[bytes, list[tuple[int, bytes]]] = {}
        self.bodies: dict[bytes, bytes] = {}
        self.ended: dict[bytes, str] = {}

    def ask(self, *lines: bytes) -> None:
        self.end.send(b"".join(line + b"\n" for line in lines))

    def pull(self, most: int = 1 << 30) -> None:
        """Read the frames that have come."""
        received = self.end.pull_all() if most == 1 << 30 else self.end.pull(most)
        while b"\n" in received:
            line, _, rest = bytes(received).partition(b"\n")
            number, status, length = line.split(b" ")
            if len(rest) < int(length):
                break
            data = rest[: int(length)]
            del received[: len(line) + 1 + int(length)]
            self.order.append(number)
            assert number not in self.ended, "nothing comes after the end"
            if int(status) > 0:
                self.heads.setdefault(number, []).append((int(status), data))
            elif int(status) == CUT:
                self.ended[number] = "cut"
            elif data:
                self.bodies[number] = self.bodies.get(number, b"") + data
            else:
                self.ended[number] = "whole"

    def answer(self, number: bytes) -> tuple[int, bytes]:
        """Return the status and the body of an answer that has come in full."""

        def has_ended() -> bool:
            self.pull()
            return number in self.ended

        self.end.stage.until(has_ended, f"no answer to {number!r}: {self.heads}, {self.ended}")
        assert self.ended[number] == "whole"
        return self.heads[number][-1][0], self.bodies.get(number, b"")


@pytest.fixture
def toy(stage: Callable[..., Stage], monkeypatch: Any) -> Iterator[Callable[..., Toy]]:
    """Makes a client of a worker whose listener speaks the protocol."""
    monkeypatch.setattr(worker.client.accept, "HTTP1", ClientProtocol(Stream, serve_toy))
    listening: list[tuple[Stage, socket.socket]] = []

    def make(**settings: Any) -> Toy:
        s = stage(**settings)
        sock = socket.create_server(("127.0.0.1", 0))
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 32768)
        s.worker.acceptors.listen(ListeningSocket(s.configuration.listeners[0], sock.fileno()))
        listening.append((s, sock))
        return another(s)

    def another(s: Stage) -> Toy:
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32768)
        client.connect(listening[-1][1].getsockname())
        end = End(s, client, "client")
        s.settle()
        return Toy(end)

    make.another = another  # type: ignore[attr-defined]
    yield make
    for s, sock in listening:
        s.worker.acceptors.close()
        sock.detach()


BIG = bytes(range(256)) * 2000


def test_two_requests_are_under_way_at_once_and_the_second_is_answered_first(toy):
    t = toy(location="return = [200, 'ready']\n", locations='[http.server.location."/slow"]\nproxy_pass = "http://app"\n')
    t.ask(b"1 /slow?x=1", b"2 /now")
    assert t.answer(b"2") == (200, b"ready")
    upstream = t.end.stage.peers[0].accept()
    assert upstream.receives_head().startswith(b"GET /slow?x=1 HTTP/1.")
    assert b"1" not in t.heads
    upstream.send(ok(b"slow"))
    assert t.answer(b"1") == (200, b"slow")
    assert [line["status"] for line in t.end.stage.access_log()] == ["200", "200"]
    assert t.end.stage.last_access()["request"] == "1 /slow?x=1"
    assert t.end.stage.last_access()["body_bytes_sent"] == "4"


def test_large_answers_share_the_connection_at_the_pace_of_a_slow_client(toy, tmp_path):
    (tmp_path / "file").write_bytes(BIG)
    t = toy(locations=f'[http.server.location."/file"]\nroot = "{tmp_path}"\n')
    s = t.end.stage
    t.ask(b"1 /", b"2 /file", b"3 /")
    upstreams = [s.peers[0].accept(), s.peers[0].accept()]
    heads = [upstream.receives_head() for upstream in upstreams]
    assert all(head.startswith(b"GET / HTTP/1.") for head in heads)
    left = [ok(BIG), b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks(BIG[:100], BIG[100:])]
    for _ in range(400):
        left = [wire[upstream.send_some(wire[:50_000]) :] for wire, upstream in zip(left, upstreams)]
        t.pull(20_000)
        s.settle()
        if not any(left):
            break
    for number in (b"1", b"2", b"3"):
        assert t.answer(number) == (200, BIG)
    first, last = ([order.index(number) for number in (b"1", b"2", b"3")] for order in (t.order, t.order[::-1]))
    ends = [len(t.order) - 1 - place for place in last]
    assert max(first) < min(ends), "each began before any ended"


def test_the_phases_filters_and_error_pages_of_a_location(toy, tmp_path):
    (tmp_path / "index.html").write_bytes(b"<p>one two</p>")
    (tmp_path / "sorry.html").write_bytes(b"sorry")
    t = toy(
        server=f'root = "{tmp_path}"\nrewrite = [["^/old/(.*)", "/files/$1", "last"]]\nerror_page = [[404, "/sorry.html"]]\n',
        locations="""
[http.server.location."/files/"]
alias = "DIRECTORY/"
sub_filter = [["one", "1"]]
add_header = [["X-Id", "$connection_requests"]]
[http.server.location."/secret"]
deny = "all"
[http.server.location."= /sorry.html"]
[http.server.location."/nothing"]
[http.server.location."/tried"]
try_files = ["/none", "/index.html"]
[http.server.location."= /index.html"]
[http.server.location."/gone"]
return = [301, "/there"]
""".replace("DIRECTORY", str(tmp_path)),
    )
    t.ask(b"1 /files/", b"2 /old/", b"3 /secret", b"4 /nothing", b"5 /tried", b"6 /gone")
    assert t.answer(b"1") == (200, b"<p>1 two</p>")
    assert b"X-Id: " in t.heads[b"1"][0][1]
    assert t.answer(b"2") == (200, b"<p>1 two</p>")
    assert t.answer(b"3")[0] == 403
    assert t.answer(b"4") == (404, b"sorry")
    assert t.answer(b"5") == (200, b"<p>one two</p>")
    assert t.answer(b"6")[0] == 301 and b"/there\n" in t.heads[b"6"][0][1]
    assert sorted(t.end.stage.statuses()) == ["200", "200", "200", "301", "403", "404"]


def test_another_peer_is_asked_and_its_hints_are_passed_on(toy):
    t = toy(peers=2, location="early_hints = '1'")
    s = t.end.stage
    t.ask(b"7 /")
    first = s.peers[0].accept()
    first.receives_head()
    first.close()
    upstream = s.peers[1].accept()
    upstream.receives_head()
    upstream.send(b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + ok(b"second"))
    assert t.answer(b"7") == (200, b"second")
    assert t.heads[b"7"][0] == (103, b"Link: </x>\n")
    assert s.last_access()["upstream_status"] == "502, 200"
    assert any("while reading response header from upstream" in line and "7 /" in line for line in s.error_log()), s.error_log()


def test_an_answer_that_is_cut_says_so_and_leaves_the_others_alone(toy):
    t = toy(peer_parameters=("max_fails = 0",))
    s = t.end.stage
    t.ask(b"1 /", b"2 /")
    upstreams = [s.peers[0].accept(), s.peers[0].accept()]
    upstreams[0].send(ok(BIG)[:1000]).close()
    upstreams[1].send(ok(b"whole"))
    assert t.answer(b"2") == (200, b"whole")
    s.until(lambda: t.pull() or b"1" in t.ended, "no end")
    assert t.ended[b"1"] == "cut" and BIG.startswith(t.bodies[b"1"])
    t.ask(b"3 /")
    upstreams[1].send(ok(b"again"))
    assert t.answer(b"3") == (200, b"again")


def test_a_bad_line_is_refused_and_logged(toy):
    t = toy(server="error_page = [[400, 403, '/told']]", location="return = [200, 'x']", locations=TOLD)
    t.ask(b"1 /../etc", b"2", b"3 /told")
    assert t.answer(b"1") == (400, b"told") and t.answer(b"2") == (400, b"told")
    assert t.answer(b"3") == (200, b"told")
    assert any("client sent invalid request" in line and 'request: "1 /../etc"' in line for line in t.end.stage.error_log())


TOLD = "[http.server.location.\"= /told\"]\nreturn = [200, 'told']\n"


def test_a_client_that_does_not_read_is_not_waited_for(toy, tmp_path):
    (tmp_path / "file").write_bytes(BIG * 8)
    t = toy(locations=f'[http.server.location."/file"]\nroot = "{tmp_path}"\nsend_timeout = 7\n')
    t.ask(b"1 /file")
    t.end.stage.advance(6)
    assert t.end.stage.access_log() == []
    t.end.stage.advance(2)
    (line,) = t.end.stage.access_log()
    assert line["wproxy_end_cause"].startswith("client: it did not take the response (send_timeout")


def test_no_live_upstream_is_a_502(toy):
    t = toy()
    t.end.stage.peers[0].refuse()
    t.ask(b"1 /")
    assert t.answer(b"1")[0] == 502


def test_a_client_that_leaves_ends_all_of_its_requests(toy):
    t = toy()
    s = t.end.stage
    t.ask(b"1 /", b"2 /")
    upstreams = [s.peers[0].accept(), s.peers[0].accept()]
    t.end.close()
    assert all(upstream.is_closed() for upstream in upstreams)
    assert s.statuses() == ["499", "499"]
    assert not s.worker.clients.connections and not s.worker.clients.open


def test_an_idle_client_is_closed_in_time_and_one_that_waits_for_an_answer_is_not(toy):
    t = toy(server="keepalive_timeout = 5\n")
    s = t.end.stage
    t.ask(b"1 /")
    upstream = s.peers[0].accept()
    s.advance(30)
    assert t.end.is_open()
    upstream.send(ok())
    assert t.answer(b"1") == (200, b"ok")
    s.advance(4)
    assert t.end.is_open()
    s.advance(2)
    assert t.end.is_closed()


def test_where_room_is_needed_the_idle_one_leaves(toy):
    busy = toy()
    s = busy.end.stage
    busy.ask(b"1 /")
    idle = toy.another(s)
    assert s.worker.clients.count() == (2, 0, 1, 1)
    s.worker.room.close_idle()
    assert idle.end.is_closed() and busy.end.is_open()
    s.peers[0].accept().send(ok())
    assert busy.answer(b"1") == (200, b"ok")


def test_a_worker_that_leaves_lets_requests_end_and_takes_no_more(toy):
    t = toy()
    s = t.end.stage
    t.ask(b"1 /", b"2 /")
    idle = toy.another(s)
    upstreams = [s.peers[0].accept(), s.peers[0].accept()]
    s.worker.clients.drain(s.loop.clock.now)
    assert idle.end.is_closed() and t.end.is_open()
    t.ask(b"3 /")
    upstreams[0].send(ok(b"one"))
    assert t.answer(b"1") == (200, b"one") and t.end.is_open()
    upstreams[1].send(ok(b"two"))
    assert t.answer(b"2") == (200, b"two")
    s.until(lambda: not s.worker.clients.connections, "the client is still connected")
    assert b"3" not in t.heads and s.peers[0].is_unvisited()


@pytest.mark.parametrize("rate", ["limit_rate = 1000"])
def test_a_rate_is_that_of_each_request(toy, tmp_path, rate):
    (tmp_path / "file").write_bytes(BIG[:5000])
    t = toy(
        locations=f'[http.server.location."/file"]\nroot = "{tmp_path}"\n{rate}\n[http.server.location."/quick"]\nreturn = [200, "at once"]\n'
    )
    t.ask(b"1 /file", b"2 /quick")
    assert t.answer(b"2")[1] == b"at once"
    t.end.stage.advance(1)
    t.pull()
    assert len(t.bodies[b"1"]) < 4000
    for _ in range(8):
        t.end.stage.advance(1)
    assert t.answer(b"1") == (200, BIG[:5000])
