"""Requests to be counted: a real worker, clients and upstreams on real sockets, and a meter that runs only while the worker does.

Everything is in one thread, the clock stands still, and the worker is given its turn only when all that was sent to it has arrived:
so it does the same from run to run, to the instruction. CLIENTS of them ask at once, which spreads the cost of a turn as load does.
"""

from __future__ import annotations

import os
import select
import socket
import ssl
import struct
import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Protocol

from conversation import Stage
from hpack.huffman import HuffmanEncoder
from hpack.huffman_constants import REQUEST_CODES, REQUEST_CODES_LENGTH

from worker.client.http1.serve import serve_connection
from worker.client.preface import serve_clear
from worker.loop import Loop
from wproxy.assignment import ListeningSocket
from wproxy.tls.contexts import make_contexts

CLIENTS = 8
PEERS = 3
PATIENCE = 10.0

CONFIGURATION = """
worker_processes = 1
error_log = [["{directory}/error.log", "info"]]
[http]
HTTP
access_log = ACCESS_LOG
keepalive_requests = 1000000
upstream.app = {{ server = ["{peers[0]}", "{peers[1]}", "{peers[2]}"], keepalive = 64 }}
upstream.roomy = {{ server = ["{peers[0]}", "{peers[1]}", "{peers[2]}"], keepalive = 64 }}
upstream.once = {{ server = ["{peers[0]}", "{peers[1]}", "{peers[2]}"], keepalive = 0 }}
upstream.calls = {{ server = ["{peers[0]}", "{peers[1]}", "{peers[2]}"], keepalive = 64 }}
[[http.server]]
listen = LISTEN
server_name = "www.example.com"
SERVER
[http.server.location."/"]
proxy_pass = "http://app"
proxy_http_version = "1.1"
[http.server.location."/".proxy_set_header]
Host = "$host"
X-Real-IP = "$remote_addr"
X-Forwarded-For = "$proxy_add_x_forwarded_for"
X-Forwarded-Proto = "$scheme"
Connection = ""
[http.server.location."/roomy"]
proxy_pass = "http://roomy"
proxy_socket_rcvbuf = "1m"
[http.server.location."/packed"]
proxy_pass = "http://roomy"
proxy_socket_rcvbuf = "1m"
gzip = "on"
gzip_types = "text/plain"
[http.server.location."/tunnel"]
proxy_pass = "http://app"
proxy_set_header = [["Upgrade", "$http_upgrade"], ["Connection", "upgrade"]]
[http.server.location."/static/"]
root = "{directory}"
[http.server.location."= /return"]
return = [200, "ok"]
[http.server.location."/once"]
proxy_pass = "http://once"
[http.server.location."/php/"]
root = "{directory}"
include = "fastcgi.conf"
fastcgi_pass = "unix:{directory}/fpm.sock"
[http.server.location."/rpc/"]
grpc_pass = "grpc://calls"
"""
ZONES = """
limit_req_zone = [["$binary_remote_addr", "zone=often:1m", "rate=1000000r/s"], ["$server_name", "zone=all:1m", "rate=1000000r/s"]]
limit_conn_zone = [["$binary_remote_addr", "zone=busy:1m"]]
"""
LIMITS = """
limit_req = [["zone=often", "burst=1000", "nodelay"], ["zone=all", "burst=1000", "nodelay"]]
limit_conn = [["busy", 1000]]
allow = "127.0.0.0/8"
deny = "all"
"""
BROWSER = (
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36",
    "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8",
    "Accept-Language: en-US,en;q=0.9",
    "Accept-Encoding: gzip, deflate, br, zstd",
    "Cache-Control: max-age=0",
    "Upgrade-Insecure-Requests: 1",
    "Sec-Fetch-Dest: document",
    "Sec-Fetch-Mode: navigate",
    "Sec-Fetch-Site: same-origin",
)


def answer_of(size: int) -> bytes:
    """An upstream's answer with so many bytes of text, which compress as pages do."""
    words = b"".join(b"%x " % (number * number) for number in range(size // 2))
    lines = b"Server: app", b"Date: Sun, 29 Nov 2026 15:36:08 GMT", b"Content-Type: text/plain", b"Content-Length: %d" % size
    return b"\r\n".join([b"HTTP/1.1 200 OK", *lines, b"Connection: keep-alive", b"", words[:size]])


ANSWER = answer_of(40)
# The records of PHP-FPM's answer: a CGI response, and the end.
CGI_ANSWER = b"X-Powered-By: PHP/8.2.31\r\nContent-type: text/html; charset=UTF-8\r\n\r\nhello"
FASTCGI_ANSWER = (
    b"\1\6\0\1\0" + bytes([len(CGI_ANSWER), -len(CGI_ANSWER) % 8, 0]) + CGI_ANSWER + bytes(-len(CGI_ANSWER) % 8)
    + b"\1\3\0\1\0\x08\0\0" + bytes(8)
)  # fmt: skip
H2_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


class Meter(Protocol):
    """Counts between `begin` and `end`."""

    def begin(self) -> None: ...
    def end(self) -> None: ...


def head(path: str, *lines: str, method: str = "GET") -> bytes:
    """A request head."""
    return "".join(f"{line}\r\n" for line in (f"{method} {path} HTTP/1.1", "Host: www.example.com", *lines, "")).encode()


def small(number: int) -> bytes:
    return head("/")


def varied(number: int) -> bytes:
    """Another path, referer and cookie in every request."""
    number += 10_000_000
    own = f"Referer: http://www.example.com/from/{number}", f"Cookie: session=0123456789abcdef{number}; theme=dark"
    return head(f"/articles/{number}", *BROWSER, *own)


def post(number: int) -> bytes:
    return head("/form", "Content-Type: application/octet-stream", "Content-Length: 1024", method="POST") + b"x" * 1024


def returned(number: int) -> bytes:
    return head("/return")


def static(number: int) -> bytes:
    return head("/static/1k")


def browsed(number: int) -> bytes:
    """A file for a browser, that comes from another page each time: no head of a file is repeated."""
    return head("/static/1k", *BROWSER, f"Referer: http://www.example.com/from/{10_000_000 + number}")


def roomy(number: int) -> bytes:
    return head("/roomy")


def packed(number: int) -> bytes:
    return head("/packed", "Accept-Encoding: gzip")


def sent_file(number: int) -> bytes:
    return head("/static/100k")


def upgrade(number: int) -> bytes:
    return head("/tunnel", "Connection: upgrade", "Upgrade: echo")


def unkept(number: int) -> bytes:
    return head("/once")


def php(number: int) -> bytes:
    return head("/php/hello.php")


def only_one(number: int) -> bytes:
    return head("/", "Connection: close")


class Conversation:
    """One workload: its worker and its neighbours. `round` has each client ask once, and counts what the worker does.

    answer: that of the upstreams.
    """

    answer = ANSWER

    def __init__(self, directory: str, meter: Meter, request: Callable[[int], bytes], **settings: str) -> None:
        self.meter = meter
        self.request = request
        self.asked = 0
        self.answered = 0
        text = CONFIGURATION
        for name in ("HTTP", "LISTEN", "SERVER", "ACCESS_LOG"):
            text = text.replace(name, settings.get(name, {"LISTEN": '"127.0.0.1:8080"', "ACCESS_LOG": '"off"'}.get(name, "")))
        os.makedirs(f"{directory}/static")
        with open(f"{directory}/static/1k", "wb") as file:
            file.write(b"0123456789abcdef" * 64)
        self.stage = Stage(SimpleNamespace(setattr=setattr), directory, peers=PEERS, text=text)
        self.upstreams: list[socket.socket] = []
        self.clients: list[socket.socket] = []
        self.prepare()

    def prepare(self) -> None:
        """Make the clients that stay connected."""
        self.clients = [self.stage.client(tcp=True, serve=serve_connection).sock for _ in range(CLIENTS)]
        for client in self.clients:
            client.setblocking(True)

    def round(self) -> None:
        """Have each client ask and be answered."""
        for client in self.clients:
            client.sendall(self.request(self.asked))
            self.asked += 1
        self.worker_works(CLIENTS)
        self.upstreams_answer()
        for client in self.clients:
            self.expect_answer(client.recv(65536))

    def expect_answer(self, data: bytes) -> None:
        """Look whether an answer is what it has to be: figures of failures would be worth nothing."""
        assert data.startswith(b"HTTP/1.1 200 OK\r\n"), data
        self.answered += 1

    # The worker.

    def worker_works(self, events: int) -> None:
        """Wait until there are so many events for the worker, then let it do all that it can, and count that."""
        loop, stage, meter = self.stage.loop, self.stage, self.meter
        wait_until(lambda: waiting_events(loop) >= events)
        while stage.is_busy():
            meter.begin()
            loop.turn(0.0)
            meter.end()
        assert not stage.bugs, stage.bugs

    # The other side.

    def upstreams_answer(self) -> None:
        """Answer every request that the worker has passed on; where it has to connect first, let it."""
        missing = self.asked - self.answered if self.passes_on else 0
        while missing:
            for peer in self.stage.peers:
                while (accepted := peer._try_accept()) is not None:
                    accepted.setblocking(False)
                    self.upstreams.append(accepted)
            answered = 0
            for upstream in self.upstreams:
                try:
                    data = upstream.recv(65536)
                except BlockingIOError:
                    continue
                if not data:
                    upstream.close()
                    continue
                upstream.sendall(self.answer)
                answered += 1
            self.upstreams = [upstream for upstream in self.upstreams if upstream.fileno() >= 0]
            missing -= answered
            self.worker_works(answered)

    @property
    def passes_on(self) -> bool:
        """Whether the requests go upstream."""
        return self.request not in (returned, static, browsed, sent_file)

    def close(self) -> None:
        for sock in (*self.clients, *self.upstreams):
            sock.close()
        self.stage.close(sweep=False)


class Bodies(Conversation):
    """Answers whose bodies do not come with their heads. The buffers are so large that each is under way at once."""

    def __init__(self, directory: str, meter: Meter, request: Callable[[int], bytes], size: int) -> None:
        self.answer = answer_of(size)
        super().__init__(directory, meter, request)

    def prepare(self) -> None:
        self.clients = [self.stage.client(tcp=True, receive_buffer=1 << 20, send_buffer=1 << 20).sock for _ in range(CLIENTS)]
        for client in self.clients:
            client.setblocking(True)

    def expect_answer(self, data: bytes) -> None:
        super().expect_answer(data)
        client = self.clients[self.answered % CLIENTS - 1]
        end = b"\r\n0\r\n\r\n" if b"\r\nTransfer-Encoding: chunked\r\n" in data else self.answer[-100:]
        while not data.endswith(end):
            data += client.recv(1 << 20)


class Files(Bodies):
    """Files that the kernel sends."""

    def prepare(self) -> None:
        with open(f"{self.stage.directory}/static/100k", "wb") as file:
            file.write(self.answer.partition(b"\r\n\r\n")[2])
        super().prepare()


class Tunnels(Conversation):
    """Messages of 64 bytes through tunnels, there and back again."""

    def prepare(self) -> None:
        super().prepare()
        for number, client in enumerate(self.clients):
            client.sendall(self.request(number))
        self.worker_works(CLIENTS)
        while len(self.upstreams) < CLIENTS:
            for peer in self.stage.peers:
                while (accepted := peer._try_accept()) is not None:
                    self.upstreams.append(accepted)
            self.worker_works(0)
        for upstream in self.upstreams:
            upstream.setblocking(True)
            assert upstream.recv(65536).endswith(b"\r\n\r\n")
            upstream.sendall(b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n")
        self.worker_works(CLIENTS)
        for client in self.clients:
            assert client.recv(65536).startswith(b"HTTP/1.1 101 ")

    def round(self) -> None:
        message = b"0123456789abcdef" * 4
        for senders, receivers in ((self.clients, self.upstreams), (self.upstreams, self.clients)):
            for sock in senders:
                sock.sendall(message)
            self.worker_works(CLIENTS)
            for sock in receivers:
                assert sock.recv(65536) == message
        self.asked += CLIENTS
        self.answered += CLIENTS


class Connections(Conversation):
    """A new connection for each request: the worker accepts, answers and closes."""

    def prepare(self) -> None:
        self.listening = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.listening.setblocking(False)
        acceptors = self.stage.worker.acceptors
        acceptors.listen(ListeningSocket(self.stage.configuration.listeners[0], os.dup(self.listening.fileno())))
        self.stage.settle()

    def round(self) -> None:
        """Have clients connect and ask: as with a busy worker, their requests are there when it accepts."""
        self.clients = self.connect(asking=True)
        self.upstreams_answer()
        for client in self.clients:
            self.expect_answer(client.recv(65536))
        self.leave()

    def connect(self, asking: bool = False) -> list[socket.socket]:
        """Have clients connect and the worker accept. asking: each sends its request."""
        expected = self.stage.worker.clients.accepted + CLIENTS
        found = [socket.create_connection(self.listening.getsockname()) for _ in range(CLIENTS)]
        if asking:
            for client in found:
                client.sendall(self.request(self.asked))
                self.asked += 1
        while self.stage.worker.clients.accepted < expected:
            self.worker_works(1)
        return found

    def leave(self) -> None:
        """Close the clients, which the worker has told that it closes, and let it."""
        for client in self.clients:
            assert client.recv(1) == b"", "the worker ends its side"
            client.close()
        self.clients = []
        wait_until(self.all_have_left)

    def all_have_left(self) -> bool:
        """Whether the worker has closed all of its clients."""
        self.worker_works(0)
        return not self.stage.worker.clients.connections

    def close(self) -> None:
        self.stage.worker.acceptors.close()
        self.listening.close()
        super().close()


class Encrypted(Connections):
    """Clients that stay connected, over TLS."""

    def prepare(self) -> None:
        contexts, problems = make_contexts(self.stage.configuration)
        assert not problems, problems
        self.stage.worker.acceptors._tls = contexts
        super().prepare()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        self.clients = []
        for sock in self.connect():
            tls = TlsClient(sock, context)
            while not tls.shake():
                self.worker_works(1)
            self.clients.append(tls)  # type: ignore[arg-type]
        self.worker_works(1)  # the last one's end of the handshake

    def round(self) -> None:
        Conversation.round(self)


class Handshakes(Encrypted):
    """A new connection over TLS for each request, with a full handshake (TLS 1.3)."""

    def prepare(self) -> None:
        super().prepare()
        for client in self.clients:
            client.close()
        wait_until(self.all_have_left)
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self.context.check_hostname, self.context.verify_mode = False, ssl.CERT_NONE

    def round(self) -> None:
        socks = [socket.create_connection(self.listening.getsockname()) for _ in range(CLIENTS)]
        self.clients = clients = [TlsClient(sock, self.context) for sock in socks]  # type: ignore[assignment]
        for client in clients:
            client.shake()
        expected = self.stage.worker.clients.accepted + CLIENTS
        while self.stage.worker.clients.accepted < expected:
            self.worker_works(1)
        for client in clients:
            # The client's end of the handshake and its request come one after the other, but mostly together.
            assert client.shake(self.request(self.asked))
            self.asked += 1
        self.worker_works(CLIENTS)
        self.upstreams_answer()
        for client in clients:
            self.expect_answer(client.recv(65536))
        self.leave()


class TlsClient:
    """The client's end of an encrypted connection."""

    def __init__(self, sock: socket.socket, context: ssl.SSLContext) -> None:
        self.sock = sock
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_hostname="www.example.com")
        self.began = False

    def shake(self, data: bytes = b"") -> bool:
        """Take a step of the handshake; return whether it was the last. data: is sent with the last one."""
        if self.began:
            self.incoming.write(self.sock.recv(65536))
        self.began = True
        try:
            self.tls.do_handshake()
        except ssl.SSLWantReadError:
            self.sock.sendall(self.outgoing.read())
            return False
        if data:
            self.tls.write(data)
        self.sock.sendall(self.outgoing.read())
        return True

    def sendall(self, data: bytes) -> None:
        self.tls.write(data)
        self.sock.sendall(self.outgoing.read())

    def recv(self, most: int) -> bytes:
        while True:  # tickets come before the first answer
            try:
                return self.tls.read(most)
            except ssl.SSLWantReadError:
                self.incoming.write(self.sock.recv(65536))
            except ssl.SSLZeroReturnError:
                return b""

    def close(self) -> None:
        self.sock.close()


class Fastcgi(Conversation):
    """PHP-FPM on a unix socket: it closes after each answer, so each request has a connection of its own."""

    def prepare(self) -> None:
        super().prepare()
        self.listening = socket.socket(socket.AF_UNIX)
        self.listening.bind(f"{self.stage.directory}/fpm.sock")
        self.listening.listen(64)

    def upstreams_answer(self) -> None:
        """Answer every request on its connection, and close that."""
        for _ in range(CLIENTS):
            connection, _ = self.listening.accept()
            assert connection.recv(65536).startswith(b"\1\1\0\1")
            connection.sendall(FASTCGI_ANSWER)
            connection.close()
        self.worker_works(CLIENTS)

    def close(self) -> None:
        self.listening.close()
        super().close()


class Streams(Conversation):
    """One HTTP/2 connection with CLIENTS requests at once."""

    # :method GET, :scheme http, :path /, :authority www.example.com, in static and literal fields that touch no table (RFC 7541).
    BLOCK = b"\x82\x86\x84\x01\x0fwww.example.com"
    BODY = b""

    def prepare(self) -> None:
        self.clients = [self.stage.client(tcp=True, serve=serve_clear).sock]
        self.clients[0].setblocking(True)
        self.clients[0].sendall(
            H2_PREFACE + h2_frame(4, 0, 0) + h2_frame(8, 0, 0, struct.pack(">I", 1 << 30)) + h2_frame(4, 1, 0)
        )
        self.worker_works(1)
        self.stream = 1
        self.received = b""

    def round(self) -> None:
        (client,) = self.clients
        wire = b""
        for number in range(CLIENTS):
            wire += h2_frame(1, 4 if self.BODY else 5, self.stream, self.block(self.asked + number))
            if self.BODY:
                wire += h2_frame(0, 1, self.stream, self.BODY)
            self.stream += 2
        client.sendall(wire)
        self.asked += CLIENTS
        self.worker_works(1)
        self.upstreams_answer()
        while self.answered < self.asked:
            self.received += client.recv(65536)
            self.read_frames()

    def block(self, number: int) -> bytes:
        """The field block of a request."""
        return self.BLOCK

    def read_frames(self) -> None:
        """Count the streams that have ended with a body."""
        frames, self.received = h2_frames(self.received)
        for kind, flags, _, payload in frames:
            assert kind in (0, 1, 4, 6, 8), (kind, payload)
            self.answered += self.ends_answer(kind, flags, payload)

    def ends_answer(self, kind: int, flags: int, payload: bytes) -> bool:
        """Whether a frame ends an answer as it has to end."""
        return kind == 0 and bool(flags & 1)


class Posts(Streams):
    """The same with a body of 1 KB in each request."""

    # :method POST, content-length 1024.
    BLOCK = b"\x83\x86\x04\x05/form\x01\x0fwww.example.com\x0f\x0d\x041024"
    BODY = b"x" * 1024


class Browsed(Streams):
    """A browser's requests for other pages: all fields but :path come from the table of the connection after the first."""

    def prepare(self) -> None:
        super().prepare()
        self.huffman = HuffmanEncoder(REQUEST_CODES, REQUEST_CODES_LENGTH)
        lines = (
            line.partition(": ")
            for line in (*BROWSER, "Referer: http://www.example.com/from/1", "Cookie: session=0123; theme=dark")
        )
        fields = ((":authority", "www.example.com"), *((name.lower(), value) for name, _, value in lines))
        self.first = b"".join(b"\x40" + self.string(name) + self.string(value) for name, value in fields)
        # The last entry of the table is 62.
        self.others = bytes(0x80 | (61 + len(fields) - number) for number in range(len(fields)))

    def string(self, text: str) -> bytes:
        """A string of HPACK, of at most 126 bytes or letters."""
        data = self.huffman.encode(text.encode())
        assert len(data) < 127
        return bytes([0x80 | len(data)]) + data

    def block(self, number: int) -> bytes:
        path = b"\x04" + self.string(f"/articles/{10_000_000 + number}")
        return path + b"\x86\x82" + (self.others if number else self.first)


class Calls(Streams):
    """Unary gRPC calls with a message of 1 KB, to upstreams that speak HTTP/2."""

    BLOCK = b"".join((
        b"\x83\x86\x04\x0f/rpc/shop/order\x01\x0fwww.example.com",
        b"\x0f\x10\x10application/grpc",
        b"\x00\x02te\x08trailers",
        b"\x0f\x2b\x18grpc-python/1.66 (linux)",
        b"\x00\x14grpc-accept-encoding\x08identity",
    ))  # fmt: skip
    BODY = b"\0\0\0\3\xfb" + b"x" * 1019
    # :status 200, content-type application/grpc; the trailer grpc-status 0.
    HEAD, TRAILERS = b"\x88\x0f\x10\x10application/grpc", b"\x00\x0bgrpc-status\x010"

    def prepare(self) -> None:
        super().prepare()
        self.unread: dict[socket.socket, bytes] = {}

    def upstreams_answer(self) -> None:
        """Answer every call whose message has come; settings first."""
        missing = self.asked - self.answered
        while missing:
            spoke = set()
            for peer in self.stage.peers:
                while (accepted := peer._try_accept()) is not None:
                    accepted.setblocking(False)
                    accepted.sendall(h2_frame(4, 0, 0) + h2_frame(4, 1, 0))
                    self.upstreams.append(accepted)
                    self.unread[accepted] = b""
                    spoke.add(accepted)
            for upstream in self.upstreams:
                try:
                    data = upstream.recv(65536)
                except BlockingIOError:
                    continue
                assert data, "the worker keeps its connections"
                frames, self.unread[upstream] = h2_frames((self.unread[upstream] + data).removeprefix(H2_PREFACE))
                ended = [stream for kind, flags, stream, _ in frames if kind == 0 and flags & 1]
                for stream in ended:
                    message = h2_frame(0, 0, stream, b"\0\0\0\0\x23" + b"y" * 35)
                    upstream.sendall(h2_frame(1, 4, stream, self.HEAD) + message + h2_frame(1, 5, stream, self.TRAILERS))
                    spoke.add(upstream)
                missing -= len(ended)
            self.worker_works(len(spoke))

    def ends_answer(self, kind: int, flags: int, payload: bytes) -> bool:
        return kind == 1 and flags & 1 and payload == self.TRAILERS


def h2_frames(data: bytes) -> tuple[list[tuple[int, int, int, bytes]], bytes]:
    """Return the whole frames in this, as (type, flags, stream, payload), and the rest."""
    frames = []
    while len(data) >= 9 and len(data) >= (end := 9 + int.from_bytes(data[:3], "big")):
        frames.append((data[3], data[4], int.from_bytes(data[5:9], "big"), data[9:end]))
        data = data[end:]
    return frames, data


def h2_frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return struct.pack(">I", len(payload))[1:] + bytes((kind, flags)) + struct.pack(">I", stream) + payload


def waiting_events(loop: Loop) -> int:
    """How many descriptors the loop will be told of. They are not asked of its epoll instance, which tells of an arrival once."""
    look = select.poll()
    for stream in loop._streams.values():
        look.register(stream.fd, stream.armed & (select.POLLIN | select.POLLOUT))
    return len(look.poll(0))


def wait_until(condition: Callable[[], object]) -> None:
    """Give the kernel as long as it needs to deliver over loopback what has been sent."""
    limit = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < limit, "it does not come"
        select.select([], [], [], 0.0005)


def conversations(directory: str, meter: Meter, certificate: str, key: str) -> Iterator[tuple[str, Conversation]]:
    """Return all workloads, each with a worker of its own. certificate, key: the files of the server that speaks TLS."""

    def place(name: str) -> str:
        path = f"{directory}/{name}"
        os.mkdir(path)
        return path

    for request in (small, varied, post, unkept, returned, static, browsed):
        name = {"returned": "return"}.get(request.__name__, request.__name__)
        yield name, Conversation(place(name), meter, request)
    yield "100k", Bodies(place("100k"), meter, roomy, 102400)
    yield "gzip", Bodies(place("gzip"), meter, packed, 16384)
    yield "file", Files(place("file"), meter, sent_file, 102400)
    yield "tunnel", Tunnels(place("tunnel"), meter, upgrade)
    yield "logged", Conversation(place("logged"), meter, small, ACCESS_LOG='"{directory}/access.log"')
    yield "counted", Conversation(place("counted"), meter, small, SERVER='status_zone = "site"')
    yield "limited", Conversation(place("limited"), meter, small, HTTP=ZONES, SERVER=LIMITS)
    yield "fastcgi", Fastcgi(place("fastcgi"), meter, php)
    yield "connection", Connections(place("connection"), meter, only_one)
    tls = f'ssl_certificate = "{certificate}"\nssl_certificate_key = "{key}"'
    yield "tls", Encrypted(place("tls"), meter, small, LISTEN='[["127.0.0.1:8080", "ssl"]]', SERVER=tls)
    yield "handshake", Handshakes(place("handshake"), meter, only_one, LISTEN='[["127.0.0.1:8080", "ssl"]]', SERVER=tls)
    for name, kind in (("h2", Streams), ("h2-varied", Browsed), ("h2-post", Posts), ("grpc", Calls)):
        yield name, kind(place(name), meter, small, LISTEN='[["127.0.0.1:8080", "http2"]]')
