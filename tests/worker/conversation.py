"""One worker in this process, its clock in the test's hand, and both of its neighbours scripted.

A test reads like a conversation: the client sends X; the upstream must receive exactly Y; the upstream sends Z; the client
receives exactly W; then the connection is kept or closed. Client and upstream are real sockets, driven in the test's own
thread between the turns of the worker's loop, so nothing runs while a test looks.

Rule 1. `Stage.settle` turns the loop until nothing is left to do at this instant: no event waits in epoll, no task is
runnable. A loop that never comes to rest is a busy loop, and an error.

Rule 2. Time passes only in `Stage.advance`. No test sleeps; the few milliseconds of real time in `_breathe` are for a kernel
that delivers loopback packets late, and are spent only where something is expected that has not arrived.

Rule 3. At the end of every test the stage is swept (`Stage.close`): no bug was reported, no peer counts a connection that is
over, and after the idle ones are closed no descriptor is left in the loop.
"""

from __future__ import annotations

import mmap
import os
import re
import resource
import select
import signal
import socket
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import worker.run
from worker.client.http1.serve import serve_connection
from worker.client.plan import ListenerPlan
from worker.loop import Loop
from worker.stream import Stream
from wproxy.address import Address
from wproxy.assignment import Assignment
from wproxy.config.load import load_text
from wproxy.http import Client, FixedEndpoint
from wproxy.shared import PRIVATE_BYTES, TOTAL_BYTES, SharedWords
from wproxy.version import VERSION

SERVER = f"wproxy/{VERSION}".encode()
MOST_TURNS = 20_000
PATIENCE = 10.0  # seconds of real time for what is expected and not there yet
MOST_CALLS_IN_VAIN = 1000  # before a test that takes what has come, over and over, is taken for one that does not end
_DATE = re.compile(rb"\r\nDate: \w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT\r\n")

LOG_FIELDS = (
    "status",
    "upstream_addr",
    "upstream_status",
    "upstream_connect_time",
    "upstream_header_time",
    "upstream_response_time",
    "upstream_response_length",
    "upstream_bytes_received",
    "upstream_bytes_sent",
    "request_body",
    "body_bytes_sent",
    "bytes_sent",
    "request_length",
    "request_time",
    "request_completion",
    "wproxy_end_cause",
    "wproxy_end_code",
    "request",
)

_CONFIGURATION = """\
worker_processes = 1
error_log = [["{directory}/error.log", "info"]]
[http]
access_log = [["{directory}/access.log", "test"]]
{http}
[http.log_format]
test = '{log_format}'
{upstreams}
[[http.server]]
listen = "127.0.0.1:8080"
server_name = "front"
{server}
[http.server.location."/"]
proxy_pass = "{scheme}://app"
{location}
{locations}
"""


class Mismatch(AssertionError):
    """What came is not what should have come."""


class Stage:
    """A worker and everybody it talks to."""

    def __init__(
        self,
        monkeypatch: Any,
        directory: str,
        *,
        peers: int | list[Peer] = 1,
        peer_parameters: tuple[str, ...] = (),
        http: str = "",
        upstream: str = "",
        server: str = "",
        location: str = "",
        locations: str = "",
        scheme: str = "http",
        text: str | None = None,
        is_shared: bool = False,
    ) -> None:
        """peer_parameters: for each peer the TOML of what follows its address, `weight = 5`. scheme: that of its proxy_pass.
        text: a whole configuration.

        is_shared: with all of the shared memory, as if there were other workers.
        """
        self.now = 1_000_000.0
        self.directory = directory
        self.bugs: list[str] = []
        self.ends: list[End] = []
        self.peers = [Peer() for _ in range(peers)] if isinstance(peers, int) else peers
        for peer in self.peers:
            peer.stage = self
        lines = []
        for index, peer in enumerate(self.peers):
            parameters = peer_parameters[index] if index < len(peer_parameters) else ""
            lines.append(f'"{peer.name}" = {{ {parameters} }}')
        upstreams = ""
        if lines:
            upstreams = f"[http.upstream.app]\n{upstream}\n[http.upstream.app.server]\n" + "\n".join(lines)
        self.log_format = "|".join(f"${name}" for name in LOG_FIELDS)
        self.text = (text or _CONFIGURATION).format(
            directory=directory,
            http=http,
            upstreams=upstreams,
            server=server,
            location=location,
            locations=locations,
            scheme=scheme,
            log_format=self.log_format,
            peers=[peer.name for peer in self.peers],
        )
        self.configuration = load_text(self.text.encode(), "test.toml", directory, _look_up)
        records = 0
        for group in self.configuration.upstreams:  # every peer has its own record, as the master gives them out
            for peer_model in group.peers:
                object.__setattr__(peer_model, "record", records)
                records += 1
        self.fileno, self.bell = -1, None
        if is_shared:
            self.fileno, self.bell = os.memfd_create("stage"), os.eventfd(0, os.EFD_NONBLOCK)
            os.truncate(self.fileno, TOTAL_BYTES)
            self.words = memoryview(mmap.mmap(self.fileno, TOTAL_BYTES)).cast("Q")
        else:
            self.words = memoryview(bytearray(PRIVATE_BYTES)).cast("Q")
        assignment = Assignment(self.configuration, 0, 0, 1, (), SharedWords(self.words), self.fileno, -1, bell=self.bell)
        monkeypatch.setattr(worker.run, "Loop", self._make_loop)
        self.worker = worker.run.Worker(assignment)
        self.loop: Loop = self.worker.loop
        self.loop.spawn(self.worker._tick(), "tick")
        if is_shared:
            self.worker.edits.heed()
            self.worker.bell.start()
        self.serial = 0
        self.plans: dict[int, ListenerPlan] = {}  # of each listener one, as a worker has it
        self.settle()

    def _make_loop(self, report: Callable[..., None]) -> Loop:
        def note(task: Any, error: BaseException) -> None:
            self.bugs.append(f"{task.name}: {type(error).__name__}: {error}")
            report(task, error)

        return Loop(note, read_clock=lambda: self.now)

    # Time.

    def is_busy(self) -> bool:
        """Whether the loop has something to do at this instant."""
        if self.loop._ready or any(not task.parked for task in self.loop.tasks):
            return True
        return has_events(self.loop)

    def settle(self) -> None:
        """Turn until there is nothing left to do."""
        for _ in range(MOST_TURNS):
            self.loop.turn(0)
            if not self.is_busy():
                self.loop.turn(0)
                if not self.is_busy():
                    return
        raise AssertionError(f"the loop does not come to rest: {self.loop.tasks}")

    def advance(self, seconds: float) -> None:
        """Let so much time pass, and what is due happen."""
        self.settle()
        self.now += seconds
        self.settle()
        self.now += 0.03  # deadlines are swept every 20 ms
        self.settle()

    def _breathe(self) -> None:
        """Give the kernel a moment."""
        select.select([self.loop._selector.fileno(), *[end.sock for end in self.ends if not end.over]], [], [], 0.002)

    def until(self, condition: Callable[[], Any], what: str) -> Any:
        """Turn until the condition holds; AssertionError when it does not within PATIENCE."""
        self.settle()
        if result := condition():
            return result
        limit = time.monotonic() + PATIENCE
        while time.monotonic() < limit:
            self._breathe()
            self.settle()
            if result := condition():
                return result
        raise Mismatch(what)

    # Players.

    def client(
        self,
        tcp: bool = False,
        receive_buffer: int = 0,
        send_buffer: int = 0,
        listener: int = 0,
        serve: Callable[..., Any] = serve_connection,
        address: bytes = b"127.0.0.1",
    ) -> End:
        """A new client connection, over a pair of unix sockets or over loopback. serve: what the listener's protocol chooses.

        address: that of the client.
        """
        ours, theirs = tcp_pair(receive_buffer, send_buffer) if tcp else socket.socketpair()
        if send_buffer and not tcp:
            theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer)
        theirs.setblocking(False)
        self.serial += 1
        model = self.configuration.listeners[listener]
        where = Address("127.0.0.1", 8080)
        client = Client(self.worker.process, model, self.loop.clock, address, 40000, self.serial, FixedEndpoint(where))
        stream = Stream(self.loop, theirs)
        self.loop.add(stream)
        assert model.servers.default is not None
        plan = self.plans.get(listener)
        if plan is None:
            plan = self.plans[listener] = ListenerPlan(model.servers.default, self.worker.clients)
        coroutine = serve(stream, client, plan)
        self.loop.spawn(coroutine, f"client *{self.serial}")
        end = End(self, ours, "client")
        self.settle()
        return end

    def group(self, name: str = "app") -> Any:
        return self.worker.groups[name]

    def position(self, directive: str) -> str:
        """Where the configuration sets it, as end causes and error lines name it."""
        return f"test.toml:{1 + self.text[: self.text.index(chr(10) + directive + ' =') + 1].count(chr(10))}:1"

    # Logs.

    def access_log(self) -> list[dict[str, str]]:
        """The lines of the access log, as dictionaries."""
        self.worker.access_logs.flush()
        with open(f"{self.directory}/access.log", encoding="latin-1") as file:
            return [dict(zip(LOG_FIELDS, line.rstrip("\n").split("|", len(LOG_FIELDS) - 1))) for line in file]

    def last_access(self) -> dict[str, str]:
        return self.access_log()[-1]

    def statuses(self) -> list[str]:
        return [line["status"] for line in self.access_log()]

    def error_log(self) -> list[str]:
        with open(f"{self.directory}/error.log", encoding="latin-1") as file:
            return file.read().split("\n")[:-1]

    # The end.

    def close(self, sweep: bool = True) -> None:
        """End everything and look whether anything was left behind."""
        try:
            for end in self.ends:
                end.sock.close()
                end.over = True
            if sweep:
                self.settle()
                for _ in range(4):
                    self.advance(3700)  # every deadline of every test
                assert not self.bugs, self.bugs
                for group in self.worker.groups.values():
                    counts = {peer.name: peer.connections for peer in group.peers}
                    assert not any(counts.values()), f"connections never released: {counts}"
                    group.close_idle()
                self.settle()
                assert not self.worker.clients.connections
                if self.bell is not None:
                    (bell,) = (one for one in self.loop._streams.values() if one.unexpected == self.worker.bell.hear)
                    bell.close()
                assert not self.loop._streams, f"streams left in the loop: {self.loop._streams}"
        finally:
            for stream in list(self.loop._streams.values()):
                stream.close()
            self.loop.close()
            for peer in self.peers:
                peer.close()
            for file in self.worker.access_logs._files.values():
                close_quietly(file.fileno)
            for fileno in self.worker.error_log._filenos:
                close_quietly(fileno)
            if self.bell is not None:
                close_quietly(self.bell)
                close_quietly(self.fileno)


class End:
    """The far end of one connection: a client's, or a peer's after `accept`."""

    def __init__(self, stage: Stage, sock: socket.socket, name: str) -> None:
        sock.setblocking(False)
        self.stage = stage
        self.sock = sock
        self.name = name
        self.received = bytearray()
        self.saw_end = False  # end of file
        self.saw_reset = False
        self.over = False
        self._calls_in_vain = 0
        self._silent_since = 0.0
        stage.ends.append(self)

    # Sending.

    def send(self, data: bytes) -> End:
        """Send all of this; the worker must take it."""
        left = memoryview(data)
        while left:
            sent = self.send_some(left)
            left = left[sent:]
            if left and not sent:
                self.stage.until(self._is_writable, f"the worker does not read from the {self.name}: {len(left)} bytes left")
        self.stage.settle()
        return self

    def send_some(self, data: bytes | memoryview) -> int:
        """Send what can be sent until nobody takes more; how much."""
        total = 0
        view = memoryview(data)
        while view:
            try:
                sent = self.sock.send(view)
            except BlockingIOError:
                self.stage.settle()
                if not self._is_writable():
                    break
                continue
            view = view[sent:]
            total += sent
        self.stage.settle()
        return total

    def send_slowly(self, data: bytes, cuts: list[int] | None = None) -> End:
        """Send it byte by byte, or cut at these places; everything settles after each piece."""
        places = range(1, len(data)) if cuts is None else sorted(cuts)
        for begin, end in zip([0, *places], [*places, len(data)]):
            if end > begin:
                self.send(data[begin:end])
        return self

    def _is_writable(self) -> bool:
        return bool(select.select([], [self.sock], [], 0)[1])

    def may_send(self) -> bool:
        """Whether the other side still takes bytes: no reset, no broken pipe."""
        try:
            self.sock.send(b"x")
            self.stage.settle()
            self.sock.send(b"x")
        except OSError:
            return False
        self.stage.settle()
        return True

    def end_sending(self) -> End:
        self.sock.shutdown(socket.SHUT_WR)
        self.stage.settle()
        return self

    def close(self) -> None:
        self.over = True
        self.sock.close()
        self.stage.settle()

    def reset(self) -> None:
        """Close with a RST."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()

    # Receiving.

    def pull(self, most: int = 1 << 30) -> bytearray:
        """Take in what has arrived, at most so much; all that was received and not yet looked at.

        A test that waits for more by calling this fails when nothing has come for long.
        """
        size = len(self.received)
        while not self.over and not self.saw_end and len(self.received) < most:
            try:
                data = self.sock.recv(min(65536, most - len(self.received)))
            except BlockingIOError:
                break
            except ConnectionError:
                self.saw_reset = self.saw_end = True
                break
            if not data:
                self.saw_end = True
                break
            self.received += data
        if len(self.received) > size or len(self.received) >= most:
            self._calls_in_vain = 0
        elif not self._calls_in_vain:
            self._calls_in_vain, self._silent_since = 1, time.monotonic()
        else:
            self._calls_in_vain += 1
            if self._calls_in_vain > MOST_CALLS_IN_VAIN and time.monotonic() > self._silent_since + 2 * PATIENCE:
                raise Mismatch(f"nothing comes to the {self.name} any more{', which has ended' if self.saw_end else ''}")
        return self.received

    def pull_all(self) -> bytearray:
        """The same, letting the worker go on until no more comes."""
        size = -1
        while len(self.received) != size:
            size = len(self.received)
            self.stage.settle()
            self.pull()
        return self.received

    def take(self) -> bytes:
        """All that has come by now, with the Date made the same for all."""
        self.pull_all()
        data, self.received = bytes(self.received), bytearray()
        return _DATE.sub(b"\r\nDate: now\r\n", data)

    def receives(self, expected: bytes) -> End:
        """Exactly this has come and nothing else. `Date: now` stands for any date."""
        loose = len(expected) - 4

        def is_there() -> bool:
            return len(_DATE.sub(b"\r\nDate: now\r\n", self.pull_all())) >= max(loose + 4, 1) or self.saw_end

        if expected:
            self.stage.until(is_there, f"the {self.name} received {bytes(self.received)!r} instead of {expected!r}")
        assert self.take() == expected
        return self

    def receives_head(self) -> bytes:
        """A complete head, whatever it says; what follows it stays to be received."""
        what = f"the {self.name} received no head but {bytes(self.received)!r}"
        self.stage.until(lambda: b"\r\n\r\n" in self.pull_all(), what)
        end = self.received.index(b"\r\n\r\n") + 4
        head = bytes(self.received[:end])
        del self.received[:end]
        return _DATE.sub(b"\r\nDate: now\r\n", head)

    def receives_nothing(self) -> End:
        assert self.take() == b""
        return self

    def is_closed(self) -> bool:
        """The worker has closed, after all that was received; AssertionError when it has not."""
        self.stage.until(self._ended, f"the connection to the {self.name} is open")
        return True

    def _ended(self) -> bool:
        self.pull_all()
        return self.saw_end

    def is_open(self) -> bool:
        self.pull_all()
        return not self.saw_end


class Peer:
    """An upstream server: a listening socket on loopback, or a unix socket."""

    def __init__(self, path: str = "", backlog: int = 128) -> None:
        self.stage: Stage
        if path:
            self.sock = socket.socket(socket.AF_UNIX)
            self.sock.bind(path)
            self.name = f"unix:{path}"
        else:
            self.sock = socket.socket()
            self.sock.bind(("127.0.0.1", 0))
            self.name = f"127.0.0.1:{self.sock.getsockname()[1]}"
        self.sock.listen(backlog)
        self.sock.setblocking(False)

    def accept(self) -> End:
        """The next connection of the worker's."""
        accepted = self.stage.until(self._try_accept, f"nobody connected to {self.name}")
        return End(self.stage, accepted, f"upstream {self.name}")

    def _try_accept(self) -> socket.socket | None:
        try:
            accepted = self.sock.accept()[0]
        except BlockingIOError:
            return None
        if accepted.family == socket.AF_INET:
            accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # every piece of ours arrives on its own and at once
        return accepted

    def is_unvisited(self) -> bool:
        """No connection waits to be accepted; AssertionError otherwise."""
        self.stage.settle()
        accepted = self._try_accept()
        if accepted is not None:
            with accepted:
                accepted.setblocking(False)
                try:
                    said = accepted.recv(65536)
                except OSError:
                    said = b""
            raise Mismatch(f"somebody connected to {self.name} and sent {said!r}")
        return True

    def refuse(self) -> None:
        """Stop listening: whoever connects is refused."""
        self.sock.close()

    def listen_again(self) -> None:
        host, _, port = self.name.rpartition(":")
        self.sock = socket.socket()
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.sock.bind((host, int(port)))
        self.sock.listen(128)
        self.sock.setblocking(False)

    def close(self) -> None:
        self.sock.close()


class SilentPeer(Peer):
    """A peer whose queue is full: connecting to it never comes to an end."""

    def __init__(self) -> None:
        super().__init__(backlog=0)
        self.fillers = []
        address = self.sock.getsockname()
        for _ in range(3):
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex(address)
            self.fillers.append(filler)

    def close(self) -> None:
        for filler in self.fillers:
            filler.close()
        super().close()


def has_events(loop: Loop) -> bool:
    """Whether the loop's epoll has something to tell: an epoll descriptor is itself readable then."""
    return bool(select.select([loop._selector.fileno()], [], [], 0)[0])


def tcp_pair(receive_buffer: int = 0, send_buffer: int = 0) -> tuple[socket.socket, socket.socket]:
    """Two ends of a loopback connection; the first has this receive buffer, the second this send buffer."""
    with socket.socket() as listening:
        if send_buffer:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer)
        listening.bind(("127.0.0.1", 0))
        listening.listen(1)
        ours = socket.socket()
        if receive_buffer:
            ours.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        ours.connect(listening.getsockname())
        theirs, _ = listening.accept()
    theirs.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    ours.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return ours, theirs


def close_quietly(fileno: int) -> None:
    import os

    if fileno > 2:
        try:
            os.close(fileno)
        except OSError:
            pass


def _look_up(host: str, port: int) -> list[Address]:
    raise OSError("tests use addresses")


# Bytes that many tests expect.


def get(target: bytes = b"/", *fields: bytes, host: bytes = b"h", method: bytes = b"GET", version: bytes = b"1.1") -> bytes:
    """A request head: `GET / HTTP/1.1`, Host, these fields."""
    lines = [method + b" " + target + b" HTTP/" + version, b"Host: " + host, *fields]
    return b"\r\n".join(lines) + b"\r\n\r\n"


def post(body: bytes, target: bytes = b"/", *fields: bytes, method: bytes = b"POST") -> bytes:
    """A request with a body of known length."""
    return get(target, b"Content-Length: %d" % len(body), *fields, method=method) + body


def sent_up(target: bytes = b"/", *fields: bytes, host: bytes = b"app", method: bytes = b"GET", version: bytes = b"1.1") -> bytes:
    """What a request becomes on its way upstream with a plain proxy_pass."""
    return get(target, *fields, host=host, method=method, version=version)


def ok(body: bytes = b"ok", *fields: bytes, status: bytes = b"200 OK", version: bytes = b"1.1") -> bytes:
    """An upstream's answer with a length."""
    lines = [b"HTTP/" + version + b" " + status, b"Content-Length: %d" % len(body), *fields]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def to_client(
    body: bytes | None = b"ok",
    *fields: bytes,
    status: bytes = b"200 OK",
    kept: bool = True,
    length: int | None = None,
    chunked: bool = False,
    content_type: bytes = b"",
) -> bytes:
    """What a client gets: the worker's own lines in nginx's order, then these fields and the body.

    length: what Content-Length says when it is not the length of the body; -1: no Content-Length. body None: nothing follows.
    """
    lines = [b"HTTP/1.1 " + status, b"Server: " + SERVER, b"Date: now"]
    if content_type:
        lines.append(b"Content-Type: " + content_type)
    if chunked:
        lines.append(b"Transfer-Encoding: chunked")
    elif length != -1:
        lines.append(b"Content-Length: %d" % (len(body or b"") if length is None else length))
    lines.append(b"Connection: keep-alive" if kept else b"Connection: close")
    lines.extend(fields)
    return b"\r\n".join(lines) + b"\r\n\r\n" + (body or b"")


PHRASES = {
    400: "Bad Request",
    404: "Not Found",
    405: "Not Allowed",
    413: "Request Entity Too Large",
    414: "Request-URI Too Large",
    500: "Internal Server Error",
    501: "Not Implemented",
    502: "Bad Gateway",
    504: "Gateway Time-out",
    505: "HTTP Version Not Supported",
}


def error_page(status: int, kept: bool = True) -> bytes:
    """The whole of a built-in error response; 494 is what the log says of a 400 with a page of its own."""
    phrase = PHRASES[400 if status == 494 else status]
    shown = 400 if status == 494 else status
    title = f"{shown} Request Header Or Cookie Too Large" if status == 494 else f"{status} {phrase}"
    heading = f"{shown} {phrase}"
    more = "<center>Request Header Or Cookie Too Large</center>\r\n" if status == 494 else ""
    body = (
        f"<html>\r\n<head><title>{title}</title></head>\r\n<body>\r\n<center><h1>{heading}</h1></center>\r\n{more}"
        f"<hr><center>{SERVER.decode()}</center>\r\n</body>\r\n</html>\r\n"
    ).encode()
    return to_client(body, status=f"{shown} {phrase}".encode(), kept=kept, content_type=b"text/html")


def refusal(status: int) -> bytes:
    """The built-in error response after which the connection is closed."""
    return error_page(status, kept=False)


def chunks(*pieces: bytes, last: bool = True) -> bytes:
    """Pieces in the chunked coding."""
    wire = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
    return wire + b"0\r\n\r\n" if last else wire


@contextmanager
def small_disk(most: int) -> Iterator[None]:
    """No file can grow beyond so many bytes: writing fails as on a full disk, with an errno. For the inside of a test only: what
    pytest itself writes is a file too, perhaps."""
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, old[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
        signal.signal(signal.SIGXFSZ, handler)
