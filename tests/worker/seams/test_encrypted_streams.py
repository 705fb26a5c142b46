"""Streams that encrypt: on the client's side, on the upstream's and on both they carry whatever a clear one carries.

One cipher is TLS. The other is an XOR, but all the rest is as awkward as TLS: bytes travel in numbered records, so that a read may leave a rest
that has left the socket, or get half a record; ciphertext that the socket does not take is put by; the end is said in a record of
its own, before the socket's; and now and then a ticket comes that is nobody's data.

Each conversation is held four times. What was said must be the same as in clear, and on the wire nothing may be but whole records
in their order: a single byte that went round the cipher could not be read as one.
"""

from __future__ import annotations

import contextlib
import dataclasses
import gzip
import socket
import ssl
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conversation import End, Stage, chunks, get, ok, post

import worker.client.accept
from tests.authority import authority
from tests.handshakes import trusting_anybody
from worker.client.accept import ClientProtocol
from worker.client.http1.serve import serve_connection
from worker.loop import Loop
from worker.stream import CHUNK, Stream
from worker.tls.stream import TlsStream
from worker.upstream.protocols import PROTOCOLS
from wproxy.assignment import ListeningSocket

MARKER = b"in-clear"
DATA, END, TICKET = 1, 2, 3
RECORD = 16384
HEADER = struct.Struct(">BH")
# One for the number of each record: none can be left out, repeated or exchanged.
TABLES = [bytes(byte ^ (1 + 37 * number % 255) for byte in range(256)) for number in range(251)]


class Cipher:
    """One direction of a connection: records are numbered. raw: all that has been on the wire."""

    def __init__(self) -> None:
        self.number = 0
        self.begun = b""
        self.raw = bytearray()

    def seal(self, data: bytes, kind: int = DATA) -> bytes:
        """Return the next record."""
        wire = (HEADER.pack(kind, len(data)) + data).translate(TABLES[self.number % 251])
        self.number += 1
        return wire

    def open(self, wire: bytes) -> list[tuple[int, bytes]]:
        """Return the records that are complete now: their kinds and what is in them."""
        self.raw += wire
        begun, records = self.begun + wire, []
        while len(begun) >= 3:
            table = TABLES[self.number % 251]
            kind, size = HEADER.unpack(begun[:3].translate(table))
            assert kind in (DATA, END, TICKET) and size <= RECORD, f"no record: {begun[:100]!r}"
            if len(begun) < 3 + size:
                break
            records.append((kind, begun[3 : 3 + size].translate(table)))
            begun = begun[3 + size :]
            self.number += 1
        self.begun = begun
        return records


class EncryptedStream(Stream):
    """The worker's end: all that a stream has to bring that is not clear."""

    __slots__ = ("_failure", "_incoming", "_is_resetting", "_outgoing", "_plain", "_put_by", "_said_end", "_saw_end")

    def __init__(self, loop: Loop, sock: socket.socket) -> None:
        super().__init__(loop, sock)
        self.kernel_fd = -1
        self._incoming, self._outgoing = Cipher(), Cipher()
        self._plain = self._put_by = b""
        self._saw_end = self._said_end = self._is_resetting = False
        self._failure: OSError | None = None

    # Receiving.

    def _take_in(self) -> None:
        """Read what the socket has, up to the first data. Raises OSError."""
        while not self._plain and not self._saw_end:
            try:
                wire = self.sock.recv(CHUNK)
            except BlockingIOError:
                break
            records = self._incoming.open(wire)
            self._plain += b"".join(data for kind, data in records if kind == DATA)
            self._saw_end = not wire or any(kind == END for kind, _ in records)
        self._hold()

    def _hold(self) -> None:
        self.holds = bool(self._plain) or self._saw_end
        if self.holds:
            self.loop.ready(self)

    def recv(self, most: int) -> bytes:
        self._take_in()
        if not self._plain and not self._saw_end:
            raise BlockingIOError
        data, self._plain = self._plain[:most], self._plain[most:]
        self._hold()
        return data

    def _is_there(self) -> bool:
        """Whether the connection stands, after a look at what has come."""
        try:
            self._take_in()
        except OSError:
            return False
        return self.fd >= 0

    def has_unread(self) -> bool:
        return self._is_there() and bool(self._plain)

    def is_quiet(self) -> bool:
        return self._is_there() and not self.holds

    def has_departed(self) -> bool:
        return not self._is_there() or (self._saw_end and not self._plain)

    def has_ended(self) -> bool:
        return self._saw_end or super().has_ended()

    # Sending.

    def send(self, data: bytes | memoryview) -> int:
        if self._failure is not None:
            raise self._failure
        if self._put_by:
            raise BlockingIOError
        piece = bytes(data[:RECORD])
        self._put(self._outgoing.seal(piece))
        return len(piece)

    def _put(self, wire: bytes) -> None:
        """Send ciphertext, or put it by."""
        self._put_by += wire
        self._send_on()
        if self._failure is not None:
            raise self._failure

    def _send_on(self) -> bool:
        """Send what was put by, as far as the socket takes it (Waitable.flush)."""
        try:
            while self._put_by:
                self._put_by = self._put_by[self.sock.send(self._put_by) :]
            if self._said_end:
                self.sock.shutdown(socket.SHUT_WR)
        except BlockingIOError:
            self.flush = self._send_on
            self.loop.flush_soon(self)
            return False
        except OSError as error:
            self._failure, self._put_by = error, b""
        self.flush = None
        return True

    def end_sending(self) -> None:
        if not self._said_end:
            self._said_end = True
            self._put(self._outgoing.seal(b"", END))

    async def finished(self, seconds: float) -> None:
        """Say the end, and send all: `close` says it too, but cannot wait for room, which what was put by may just have filled."""
        await self.drained(seconds)
        if self.fd >= 0 and not self._is_resetting and self._failure is None:
            with contextlib.suppress(OSError):
                self.end_sending()
            await self.drained(seconds)

    def has_finished(self) -> bool:
        return self.flush is None and self._said_end

    def reset_on_close(self) -> None:
        self._is_resetting = True
        super().reset_on_close()

    def close(self) -> None:
        if self.fd >= 0 and not self._is_resetting and not self._put_by and self._failure is None:
            try:
                self.end_sending()
            except OSError:
                pass
        super().close()
        # As with `unexpected`: without the cycles.
        self.flush = None


class FarEnd:
    """The socket of somebody else, who speaks in clear or has the cipher too. It keeps whatever passes."""

    def __init__(self, sock: socket.socket, is_encrypted: bool) -> None:
        self._sock = sock
        self.is_encrypted = is_encrypted
        self._incoming, self._outgoing = Cipher(), Cipher()
        self._plain = self._put_by = b""
        self._is_to_end: int | None = None
        self.saw_end = False
        self.raw = bytearray()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)

    def recv(self, most: int) -> bytes:
        if not self.is_encrypted:
            return self._sock.recv(most)
        self._send_on()
        while not self._plain:
            wire = self._sock.recv(CHUNK)
            self.raw += wire
            for kind, data in self._incoming.open(wire):
                assert not self.saw_end, "nothing comes after the end"
                self._plain += data
                self.saw_end = kind == END
            if not wire:
                assert self.saw_end and not self._incoming.begun, "the end was not said"
                return b""
        data, self._plain = self._plain[:most], self._plain[most:]
        return data

    def send(self, data: bytes | memoryview) -> int:
        if not self.is_encrypted:
            return self._sock.send(data)
        self._send_on()
        if self._put_by:
            raise BlockingIOError
        piece = bytes(data[:RECORD])
        self._put(self._outgoing.seal(piece))
        return len(piece)

    def send_ticket(self) -> None:
        """Send what TLS sends now and then, and no application sees."""
        if self.is_encrypted:
            self._put(self._outgoing.seal(b"ticket", TICKET))

    def send_in_pieces(self, data: bytes, cut: int) -> bytes:
        """Send the beginning of this as it looks on the wire, up to the cut; return what is left to be put on the wire."""
        wire = self._outgoing.seal(data) if self.is_encrypted else data
        self._sock.sendall(wire[:cut])
        self.raw += wire
        return wire[cut:]

    def shutdown(self, how: int) -> None:
        """End the connection in one direction, once all that is put by has been sent, the word of the end among it."""
        self._is_to_end = how
        self._put(self._outgoing.seal(b"", END) if self.is_encrypted else b"")

    def has_sent_all(self) -> bool:
        """Send on; whether nothing is put by any more."""
        self._send_on()
        return not self._put_by

    def _put(self, wire: bytes) -> None:
        self.raw += wire
        self._put_by += wire
        self._send_on()

    def _send_on(self) -> None:
        try:
            while self._put_by:
                self._put_by = self._put_by[self._sock.send(self._put_by) :]
        except BlockingIOError:
            return
        if self._is_to_end is not None:
            how, self._is_to_end = self._is_to_end, None
            self._sock.shutdown(how)


class Tls:
    """Both sides of TLS, for both of the worker's ends."""

    def __init__(self, directory: Path) -> None:
        self.server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.server.load_cert_chain(*authority().issue("localhost").write(directory, "localhost"))
        self.server.options |= ssl.OP_IGNORE_UNEXPECTED_EOF
        self.client = trusting_anybody()

    def encrypts_clients(self) -> ClientProtocol:
        """The protocol of clients that begin with a handshake."""

        async def serve(stream: Stream, client: Any, plan: Any) -> None:
            assert isinstance(stream, TlsStream)
            stream.begin(self.server, server_side=True)
            await stream.handshake(60)
            await serve_connection(stream, client, plan, stream.take_at_hand())

        return ClientProtocol(TlsStream, serve)


class TlsFarEnd(FarEnd):
    """The same behind TLS: the client of our clients' side, the server of our upstream's."""

    def __init__(self, sock: socket.socket, context: ssl.SSLContext, is_server: bool) -> None:
        super().__init__(sock, True)
        self._from_wire, self._to_wire = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._from_wire, self._to_wire, server_side=is_server)
        self._wire_ended = False
        self._is_agreed = False

    def _agree(self) -> None:
        """Go on with the handshake. Raises BlockingIOError until it has ended."""
        while not self._is_agreed:
            try:
                self._tls.do_handshake()
                self._is_agreed = True
            except ssl.SSLWantReadError:
                self._put(self._to_wire.read())
                self._take()
        self._put(self._to_wire.read())

    def _take(self) -> None:
        wire = self._sock.recv(CHUNK)
        self.raw += wire
        self._wire_ended = not wire
        self._from_wire.write(wire)

    def recv(self, most: int) -> bytes:
        self._send_on()
        self._agree()
        while True:
            if not self.saw_end:
                try:
                    data = self._tls.read(most)
                    if data:
                        return data
                    self.saw_end = True
                except ssl.SSLWantReadError:
                    pass
            if self._wire_ended:
                assert self.saw_end and not self._from_wire.pending, "the end was not said"
                return b""
            self._take()

    def send(self, data: bytes | memoryview) -> int:
        self._agree()
        self._send_on()
        if self._put_by:
            raise BlockingIOError
        size = self._tls.write(bytes(data[:RECORD]))
        self._put(self._to_wire.read())
        return size

    def send_ticket(self) -> None:
        pass  # two have been sent at the end of the handshake

    def send_in_pieces(self, data: bytes, cut: int) -> bytes:
        while True:
            try:
                self._agree()
                break
            except BlockingIOError:
                self.settle()
        self._tls.write(data)
        wire = self._to_wire.read()
        self._sock.sendall(wire[:cut])
        self.raw += wire
        return wire[cut:]

    settle: Callable[[], None]

    def shutdown(self, how: int) -> None:
        try:
            self._tls.unwrap()
        except ssl.SSLError:
            pass
        self._is_to_end = how
        self._put(self._to_wire.read())


class Talk:
    """A worker that accepts clients and connects to peers, on one side or both with the cipher."""

    def __init__(self, make: Callable[..., Stage], side: str, tls: Tls | None, send_buffer: int = 65536, **settings: Any) -> None:
        """tls: None for the other cipher."""
        self.s = make(**settings)
        self.tls = tls
        self.side = side
        self.far_ends: list[FarEnd] = []
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer)
        self.listening.setblocking(False)
        descriptor = self.listening.fileno()
        self.s.worker.acceptors.listen(ListeningSocket(self.s.configuration.listeners[0], descriptor))
        self.client = self.another()

    def another(self) -> End:
        """Return a further client."""
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        sock.connect(self.listening.getsockname())
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return self._behind_cipher(End(self.s, sock, "client"), "client")

    def upstream(self) -> End:
        """Accept the next connection to the upstream."""
        return self._behind_cipher(self.s.peers[0].accept(), "upstream")

    def _behind_cipher(self, end: End, name: str) -> End:
        far = FarEnd(end.sock, self.side in (name, "both"))
        if far.is_encrypted and self.tls is not None:
            is_server = name == "upstream"
            far = TlsFarEnd(end.sock, self.tls.server if is_server else self.tls.client, is_server)
            far.settle = self.s.settle
        self.far_ends.append(far)
        end.sock = far  # type: ignore[assignment]
        return end

    def close(self) -> None:
        """Accept no more."""
        self.s.worker.acceptors.close()
        self.listening.detach()


@pytest.fixture(scope="module")
def tls(tmp_path_factory: Any) -> Tls:
    return Tls(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def talks(stage: Callable[..., Stage], tls: Tls, monkeypatch: Any) -> Any:
    """Makes talks; at the end of the test no clear byte may have been on a wire."""
    made: list[Talk] = []

    def make(side: str, cipher: str, settings: dict[str, Any]) -> Talk:
        speak = PROTOCOLS["proxy"]
        upstreams = EncryptedStream if cipher == "xor" and side in ("upstream", "both") else Stream
        clients = ClientProtocol(Stream, serve_connection)
        if side in ("client", "both"):
            clients = ClientProtocol(EncryptedStream, serve_connection) if cipher == "xor" else tls.encrypts_clients()
        monkeypatch.setitem(PROTOCOLS, "proxy", lambda settings: dataclasses.replace(speak(settings), stream=upstreams))
        monkeypatch.setattr(worker.client.accept, "HTTP1", clients)
        if cipher == "tls" and side in ("upstream", "both"):
            settings = {**settings, "scheme": "https"}
        made.append(Talk(stage, side, tls if cipher == "tls" else None, **settings))
        return made[-1]

    yield make
    for talk in made:
        talk.close()
    for far in (far for talk in made for far in talk.far_ends if far.is_encrypted):
        assert MARKER not in far.raw


Said = list[Any]
Conversation = Callable[[Talk], Said]
CONVERSATIONS: dict[str, tuple[Conversation, dict[str, Any]]] = {}


def conversation(*variants: str, **settings: Any) -> Callable[[Conversation], Conversation]:
    """Have this conversation held, once with each of these settings of the location."""

    def note(talk: Conversation) -> Conversation:
        for variant in variants or ("",):
            name = f"{talk.__name__}{' with ' if variant else ''}{variant.partition(chr(10))[0]}"
            CONVERSATIONS[name] = talk, {"location": variant, **settings}
        return talk

    return note


# What is said.

SIZE = 1_000_000
BIG = (MARKER + bytes(range(248))) * (SIZE // 256)
SIZE = len(BIG)
MARKED = b"X-Marker: " + MARKER
GZIP = "gzip = true\ngzip_types = ['*']"
SUBSTITUTE = "sub_filter = [['in-clear', 'replaced']]\nsub_filter_once = false\nsub_filter_types = ['*']"


def received(end: End, size: int) -> bytes:
    """Return so many bytes, taken while the worker and whoever sends go on."""
    end.stage.until(lambda: len(end.pull_all()) >= size, f"the {end.name} received only {len(end.received)} of {size}")
    data = bytes(end.received[:size])
    del end.received[:size]
    return data


def heard(end: End) -> tuple[bytes, bytes]:
    """Return the next head and its body, whether that has a length, comes in chunks or lasts as long as the connection."""
    head = end.receives_head()
    lowered = head.lower()
    if b"transfer-encoding: chunked" in lowered:
        body = b""
        while size := int(line_of(end), 16):
            body += received(end, size)
            received(end, 2)
        received(end, 2)
        return head, body
    if b"content-length: " in lowered:
        return head, received(end, int(lowered.partition(b"content-length: ")[2].partition(b"\r\n")[0]))
    return head, b""


def line_of(end: End) -> bytes:
    """Return the next line, without its end."""
    end.stage.until(lambda: b"\r\n" in end.pull_all(), f"the {end.name} received no line but {bytes(end.received)!r}")
    return received(end, end.received.index(b"\r\n") + 2)[:-2]


def deliver(sender: End, data: bytes, receiver: End) -> None:
    """Send all of it while the other end takes what comes."""
    left = memoryview(data)
    while left:
        left = left[sender.send_some(left[:300_000]) :]
        receiver.pull_all()


def request_to(upstream: End) -> tuple[bytes, bytes]:
    """Return what the upstream is asked, without its port."""
    head, body = heard(upstream)
    return head.replace(upstream.name.encode().partition(b" ")[2], b"app"), body


@conversation(
    "", "proxy_buffering = false", "proxy_limit_rate = 100000000", "limit_rate = 100000000", "proxy_buffers = [4, 4096]"
)
def a_response_with_a_length(t: Talk) -> Said:
    t.client.send(get(b"/", MARKED))
    upstream = t.upstream()
    asked = request_to(upstream)
    deliver(upstream, ok(BIG, MARKED), t.client)
    head, body = heard(t.client)
    assert body == BIG
    return [asked, head, body]


@conversation("", "proxy_buffering = false", GZIP, SUBSTITUTE)
def a_response_in_chunks(t: Talk) -> Said:
    t.client.send(get(b"/", MARKED, b"Accept-Encoding: gzip"))
    upstream = t.upstream()
    asked = request_to(upstream)
    upstream.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n")
    upstream.send(chunks(BIG[:1000], last=False))
    deliver(upstream, chunks(BIG[1000:300_000], BIG[300_000:500_000]), t.client)
    head, body = heard(t.client)
    if b"gzip" in head:
        body = gzip.decompress(body)
    replaced = b"replaced" in body
    assert body == (BIG[:500_000].replace(MARKER, b"replaced") if replaced else BIG[:500_000])
    return [asked, head, body]


@conversation("", "proxy_buffering = false")
def a_response_that_ends_with_its_connection(t: Talk) -> Said:
    t.client.send(get(b"/", MARKED, version=b"1.0"))
    upstream = t.upstream()
    asked = request_to(upstream)
    deliver(upstream, b"HTTP/1.0 200 OK\r\n\r\n" + BIG, t.client)
    upstream.end_sending()
    head = t.client.receives_head()
    body = received(t.client, SIZE)
    assert body == BIG and t.client.is_closed()
    return [asked, head, body]


@conversation("proxy_buffers = [8, 4096]\nproxy_max_temp_file_size = 4194304")
def a_slow_client_and_a_temporary_file(t: Talk) -> Said:
    t.client.send(get(b"/", MARKED))
    upstream = t.upstream()
    asked = request_to(upstream)
    wire = ok(BIG)
    sent = upstream.send_some(wire)
    t.s.advance(2)
    for _ in range(20):
        sent += upstream.send_some(wire[sent:])
        t.s.advance(0.2)
    assert sent == len(wire), "all of it is read ahead of the client"
    assert any("temporary file" in line for line in t.s.error_log())
    head, body = heard(t.client)
    assert body == BIG
    return [asked, head, body]


@conversation("", "proxy_request_buffering = false", "client_body_in_file_only = 'clean'", server="client_max_body_size = 0\n")
def an_upload_with_a_length(t: Talk) -> Said:
    return upload(t, post(BIG, b"/", MARKED))


@conversation("", "proxy_request_buffering = false\nproxy_http_version = '1.1'", server="client_max_body_size = 0\n")
def an_upload_in_chunks(t: Talk) -> Said:
    head = get(b"/", MARKED, b"Transfer-Encoding: chunked", method=b"POST")
    return upload(t, head + chunks(BIG[:1000], BIG[1000:200_000], BIG[200_000:]))


def upload(t: Talk, wire: bytes) -> Said:
    sent = t.client.send_some(wire)
    upstream = None
    for _ in range(500):
        sent += t.client.send_some(wire[sent:])
        if upstream is None and t.s.group().peers[0].connections:
            upstream = t.upstream()
        if upstream is not None:
            upstream.pull_all()
        if sent == len(wire) and upstream is not None:
            break
    assert upstream is not None
    head, body = request_to(upstream)
    assert body == BIG
    upstream.send(ok(MARKER))
    return [head, body, heard(t.client)]


@conversation("", "proxy_request_buffering = false")
def an_upload_after_100_continue(t: Talk) -> Said:
    t.client.send(get(b"/", MARKED, b"Content-Length: 8", b"Expect: 100-continue", method=b"POST"))
    upstream = None
    if t.s.group().peers[0].connections:
        upstream = t.upstream()
        upstream.pull_all()  # the handshake, where there is one
    go_on = t.client.receives_head()
    t.client.send(MARKER)
    upstream = upstream or t.upstream()
    asked = request_to(upstream)
    upstream.send(ok(MARKER))
    return [go_on, asked, heard(t.client)]


@conversation("proxy_request_buffering = false", server="client_max_body_size = 0\n")
def an_answer_before_the_upload_has_ended(t: Talk) -> Said:
    """The body goes on both ways at once."""
    wire = post(BIG, b"/", MARKED)[:-10]
    sent = t.client.send_some(wire)
    upstream = t.upstream()
    while sent < len(wire):
        upstream.pull_all()
        sent += t.client.send_some(wire[sent:])
    asked = upstream.receives_head().replace(upstream.name.encode().partition(b" ")[2], b"app")
    upstream.send(ok(BIG)[:100_000])
    head = t.client.receives_head()
    t.client.send(BIG[-10:])
    assert received(upstream, SIZE) == BIG
    deliver(upstream, ok(BIG)[100_000:], t.client)
    assert received(t.client, SIZE) == BIG
    return [asked, head]


@conversation("", "sendfile = false", "limit_rate = 100000000", "sendfile_max_chunk = 10000", GZIP)
def a_large_file(t: Talk) -> Said:
    t.client.send(get(b"/file/big", MARKED, b"Accept-Encoding: gzip"))
    head, body = heard(t.client)
    body = gzip.decompress(body) if b"gzip" in head else body
    assert body == BIG
    return [without_time(head), body]


@conversation()
def a_small_file_and_parts_of_a_large_one(t: Talk) -> Said:
    """On one connection, one after another."""
    said: Said = []
    for request in (
        get(b"/file/small", MARKED),
        get(b"/file/big", b"Range: bytes=5-400000"),
        get(b"/file/big", method=b"HEAD"),
        get(b"/file/nothing"),
        get(b"/file/big", b"Range: bytes=0-199999,300000-499999"),
    ):
        t.client.send(request)
        head, body = heard(t.client) if b"HEAD" not in request else (t.client.receives_head(), b"")
        if b"multipart" in head:
            boundary = head.partition(b"boundary=")[2].partition(b"\r\n")[0]
            head, body = head.replace(boundary, b"boundary"), body.replace(boundary, b"boundary")
            assert BIG[:200_000] in body and BIG[300_000:500_000] in body
        said.append((without_time(head), body))
    return said


def without_time(head: bytes) -> bytes:
    """Return a head without what depends on when the file was written."""
    return b"\r\n".join(line for line in head.split(b"\r\n") if not line.startswith((b"Last-Modified", b"ETag")))


@conversation("proxy_set_header = { Upgrade = '$http_upgrade', Connection = 'upgrade' }", send_buffer=4096)
def a_tunnel(t: Talk) -> Said:
    t.client.send(get(b"/", MARKED, b"Upgrade: websocket", b"Connection: upgrade"))
    upstream = t.upstream()
    said: Said = [request_to(upstream)]
    upstream.send(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n" + MARKER)
    said.append(t.client.receives_head())
    assert received(t.client, 8) == MARKER
    for sender, receiver in ((t.client, upstream), (upstream, t.client)):
        for size in (1, 100, 16384, 16385, 40_000, SIZE):
            deliver(sender, BIG[:size], receiver)
            assert received(receiver, size) == BIG[:size]
    # It is passed on to its end, though the client's socket never takes a whole record, and a part of the last one is put by.
    last = BIG[:200_000]
    sent = upstream.send_some(last)
    while sent < len(last):
        t.client.pull(20_000)
        sent += upstream.send_some(last[sent:])
    upstream.end_sending()
    while not t.client.saw_end:
        upstream.sock.has_sent_all()  # the end comes after a part that the far end has put by
        t.s.settle()
        t.client.pull(len(t.client.received) + 20_000)
    assert t.client.received == last
    return said


@conversation(server="client_max_body_size = 10\n")
def a_refusal_and_lingering(t: Talk) -> Said:
    """The client goes on to send after the answer, and nothing resets what it reads."""
    t.client.send(post(BIG, b"/", MARKED)[:100_000])
    answer = heard(t.client)
    assert t.client.is_closed() and not t.client.saw_reset
    t.client.send(BIG[:200_000])
    t.client.end_sending()
    assert len(t.s.worker.clients.connections) == 0
    return [answer]


@conversation("", "lingering_close = 'always'", "lingering_close = 'off'")
def a_last_answer(t: Talk) -> Said:
    """It is there in full before the end, though its last bytes were put by."""
    t.client.send(get(b"/file/big", MARKED, b"Connection: close"))
    t.s.settle()
    answer = heard(t.client)
    assert t.client.is_closed() and not t.client.saw_reset
    assert answer[1] == BIG
    said: Said = [without_time(answer[0])]
    # Where the socket never takes a whole record, a part of the last one is put by.
    t.listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    client = t.another()
    client.send(get(b"/file/big", b"Range: bytes=0-399999", b"Connection: close"))
    said.append(without_time(client.receives_head()))
    while not client.saw_end:
        t.s.settle()
        client.pull(len(client.received) + 20_000)
    assert client.received == BIG[:400_000]
    return said


@conversation(upstream="keepalive = 4")
def requests_that_share_their_connections(t: Talk) -> Said:
    said: Said = []
    upstream = None
    for number in range(5):
        t.client.send(get(b"/%d" % number, MARKED))
        upstream = upstream or t.upstream()
        said.append(request_to(upstream))
        body = BIG[:100_000] if number % 2 else MARKER
        deliver(upstream, ok(body), t.client)
        said.append(heard(t.client))
        assert said[-1][1] == body
        assert isinstance(upstream.sock, FarEnd)
        upstream.sock.send_ticket()
        t.s.settle()
        assert t.s.group().idle_count == 1, "a ticket is nobody's data"
    assert t.s.peers[0].is_unvisited()
    return said


@conversation(upstream="keepalive = 4")
def a_peer_that_leaves_in_idleness(t: Talk) -> Said:
    said: Said = []
    for method in (b"GET", b"POST"):
        t.client.send(get(b"/", MARKED, b"Content-Length: 0", method=method))
        upstream = t.upstream()
        said.append(request_to(upstream))
        upstream.send(ok(MARKER))
        said.append(heard(t.client))
        upstream.end_sending()
        t.s.until(lambda: not t.s.group().idle_count, "the connection is kept")
    return said


@conversation()
def requests_in_one_go(t: Talk) -> Said:
    """All that was read with the first head, or fit no read any more, is served."""
    requests = [get(b"/file/small?%d" % number, MARKED, b"X: " + b"x" * 900) for number in range(40)]
    t.client.send_some(b"".join(requests))
    said: Said = []
    for _ in requests:
        head, body = heard(t.client)
        said.append((without_time(head), body))
    return said


@conversation()
def requests_in_one_go_while_the_first_is_proxied(t: Talk) -> Said:
    """What lies unread meanwhile is read when its turn has come."""
    upload_head = get(b"/", MARKED, b"X: " + b"x" * 6000)
    t.client.send_some(upload_head + get(b"/file/small", b"X: " + b"x" * 6000) + get(b"/file/small", b"X: " + b"x" * 6000))
    upstream = t.upstream()
    said: Said = [request_to(upstream)]
    t.s.settle()
    upstream.send(ok(MARKER))
    said.append(heard(t.client))
    return [*said, *(without_time(heard(t.client)[0]) for _ in range(2))]


@conversation()
def heads_that_come_in_two_halves(t: Talk) -> Said:
    """Half a record is nothing to be read yet."""
    far = t.client.sock
    assert isinstance(far, FarEnd)
    said: Said = []
    for cut in (1, 2, 20):
        rest = far.send_in_pieces(get(b"/file/small", MARKED), cut)
        t.client.receives_nothing()
        far._sock.sendall(rest)
        head, body = heard(t.client)
        said.append((without_time(head), body))
    return said


@conversation()
def a_client_that_leaves_before_the_answer(t: Talk) -> Said:
    t.client.send(get(b"/", MARKED))
    upstream = t.upstream()
    asked = request_to(upstream)
    t.client.end_sending()
    assert upstream.is_closed()
    return [asked, t.s.last_access()["status"], t.s.last_access()["wproxy_end_cause"]]


@conversation("early_hints = '1'")
def hints_and_an_answer(t: Talk) -> Said:
    t.client.send(get(b"/", MARKED))
    upstream = t.upstream()
    asked = request_to(upstream)
    upstream.send(b"HTTP/1.1 103 Early Hints\r\nLink: " + MARKER + b"\r\n\r\n")
    deliver(upstream, ok(BIG, MARKED), t.client)
    said: Said = [asked]
    while not said[-1][0].startswith(b"HTTP/1.1 200"):
        said.append(heard(t.client))
    return said


@conversation()
def an_answer_that_is_cut(t: Talk) -> Said:
    t.client.send(get(b"/", MARKED))
    upstream = t.upstream()
    asked = request_to(upstream)
    upstream.send(ok(BIG)[:50_000])
    head = t.client.receives_head()
    upstream.end_sending()
    assert t.client.is_closed()
    return [asked, head, bytes(t.client.received), t.s.last_access()["status"]]


@pytest.mark.parametrize("cipher", ["xor", "tls"])
@pytest.mark.parametrize("name", CONVERSATIONS)
def test_a_conversation_is_the_same_behind_a_cipher(talks, tmp_path, name, cipher):
    talk, settings = CONVERSATIONS[name]
    (tmp_path / "file").mkdir()
    (tmp_path / "file" / "big").write_bytes(BIG)
    (tmp_path / "file" / "small").write_bytes(MARKER)
    files = f'[http.server.location."/file"]\nroot = "{tmp_path}"\n{settings["location"]}\n'
    said = {}
    for side in ("neither", "client", "upstream", "both"):
        said[side] = talk(talks(side, cipher, {**settings, "locations": files}))
    for side in ("client", "upstream", "both"):
        assert said[side] == said["neither"], side


def test_a_clear_byte_would_be_seen():
    cipher = Cipher()
    wire = cipher.seal(b"one") + cipher.seal(b"two")
    assert Cipher().open(wire) == [(DATA, b"one"), (DATA, b"two")]
    with pytest.raises(AssertionError, match="no record"):
        Cipher().open(cipher.seal(b"")[:0] + b"HTTP/1.1 200 OK\r\n")
