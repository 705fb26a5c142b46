"""The encrypted stream by itself: its handshake as server and as client, its failures, its end, and what it keeps in memory."""

from __future__ import annotations

import contextlib
import gc
import random
import socket
import ssl
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from openssl_texts import BAD_RECORD, OLD_ALERT

from tests.authority import authority
from worker.loop import READ, Loop, park
from worker.tls.failures import TlsFailure
from worker.tls.stream import _INCOMING, _OUTGOING, MOST_PUT_ASIDE, PIECE, TlsStream
from wproxy.failures import TimedOut

CLOSE_NOTIFY_SIZE = 5 + 1 + 2 + 16  # a record of TLS 1.3


def trusting(pem: bytes) -> ssl.SSLContext:
    """A client that trusts an authority."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=pem.decode())
    return context


@pytest.fixture(autouse=True)
def _shared_buffers_are_empty_between_calls() -> Iterator[None]:
    """Whatever a test does: what one connection leaves in them another one would meet."""
    yield
    assert not _INCOMING.pending and not _OUTGOING.pending


def serving(loop: Loop, sock: socket.socket, context: ssl.SSLContext) -> TlsStream:
    """The server's end of a connection, before its handshake."""
    stream = TlsStream(loop, sock)
    stream.begin(context, server_side=True)
    return stream


class Room:
    """A loop with a clock that the test sets, and contexts for both sides."""

    def __init__(self, directory: Path) -> None:
        self.now = 1000.0
        self.loop = Loop(read_clock=lambda: self.now)
        self.authority = authority()
        self.server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.server.load_cert_chain(*self.authority.issue("localhost", ["localhost"]).write(directory, "localhost"))
        self.client = trusting(self.authority.pem)
        self.results: dict[str, Any] = {}
        self.wires: list[socket.socket] = []

    def pair(self, **of_client: Any) -> tuple[TlsStream, TlsStream]:
        """A server and a client that are connected, before their handshake."""
        left, right = (self._ready(sock) for sock in socket.socketpair())
        server = serving(self.loop, left, self.server)
        client = TlsStream(self.loop, right, self.client, **{"server_hostname": "localhost", **of_client})
        self.loop.add(server)
        self.loop.add(client)
        return server, client

    def server_and_wire(self) -> tuple[TlsStream, socket.socket]:
        """A server, and the bare socket on its other side."""
        left, right = (self._ready(sock) for sock in socket.socketpair())
        server = serving(self.loop, left, self.server)
        self.loop.add(server)
        self.wires.append(right)
        return server, right

    @staticmethod
    def _ready(sock: socket.socket) -> socket.socket:
        sock.setblocking(False)
        return sock

    def start(self, name: str, coroutine: Coroutine[Any, Any, Any]) -> None:
        async def run() -> None:
            try:
                self.results[name] = await coroutine
            except (OSError, TimedOut) as error:
                self.results[name] = error

        self.loop.spawn(run(), name)

    def settle(self) -> None:
        for _ in range(1000):
            if not self.loop.turn(0):
                return
        raise AssertionError("the loop does not come to rest")

    def agreed(self, **of_client: Any) -> tuple[TlsStream, TlsStream]:
        """A server and a client after their handshake."""
        server, client = self.pair(**of_client)
        self.shake(server, client)
        assert self.results == {"server": None, "client": None}
        return server, client

    def shake(self, server: TlsStream, client: TlsStream) -> None:
        self.results.clear()
        self.start("server", server.handshake(60))
        self.start("client", client.handshake(60))
        self.settle()


@pytest.fixture
def room(tmp_path: Path) -> Iterator[Room]:
    made = Room(tmp_path)
    yield made
    for stream in list(made.loop._streams.values()):
        stream.close()  # type: ignore[attr-defined]
    made.loop.close()
    for wire in made.wires:
        wire.close()


def read_all(stream: TlsStream, most: int = 65536) -> bytes:
    data = b""
    while True:
        try:
            piece = stream.recv(most)
        except BlockingIOError:
            return data
        if not piece:
            return data
        data += piece


def ends(stream: TlsStream) -> bool:
    """Whether the other side's end is all that comes."""
    return stream.recv(10) == b""


def test_bytes_go_both_ways_after_a_handshake(room: Room):
    server, client = room.agreed()
    assert client.send(b"hello") == 5
    assert server.recv(100) == b"hello"
    assert server.send(b"x" * 100_000) == PIECE
    assert read_all(client) == b"x" * PIECE
    assert server.tls.version() == "TLSv1.3" and server.kernel_fd == client.kernel_fd == -1


def test_what_a_read_leaves_is_held_and_reported(room: Room):
    server, client = room.agreed()
    client.send(b"abc" * 1000)
    assert server.recv(10) == b"abcabcabca" and server.holds
    room.start("rest", read_when_told(server))
    room.settle()
    assert room.results["rest"] == (b"abc" * 1000)[10:20]


async def read_when_told(stream: TlsStream) -> bytes:
    await park(stream, READ, 5)
    return stream.recv(10)


def test_records_that_came_in_one_go_are_held_until_they_are_read(room: Room):
    server, client = room.agreed()
    for number in range(5):
        client.send(b"%d" % number * 1000)
    assert server.recv(1000) == b"0" * 1000
    assert server.holds and server.has_unread() and not server.is_quiet()
    assert read_all(server) == b"".join(b"%d" % number * 1000 for number in range(1, 5))
    assert not server.holds and not server.has_unread() and server.is_quiet()


@pytest.mark.parametrize("size", [1, 4, 5, 6, 100])
def test_a_handshake_and_a_record_that_dribble_in_are_one(room: Room, size: int):
    server, wire = room.server_and_wire()
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = room.client.wrap_bio(incoming, outgoing, server_hostname="localhost")
    room.start("server", server.handshake(60))

    def dribble() -> None:
        data = outgoing.read()
        for begin in range(0, len(data), size):
            wire.sendall(data[begin : begin + size])
            room.settle()
        try:
            incoming.write(wire.recv(65536))
        except BlockingIOError:
            pass

    for _ in range(3):
        try:
            client.do_handshake()
        except ssl.SSLWantReadError:
            pass
        dribble()
    assert room.results == {"server": None}
    client.write(b"hello")
    data = outgoing.read()
    for byte in data[:-1]:
        wire.sendall(bytes([byte]))
        assert not server.has_unread() and server.is_quiet() and not server.has_departed()
        with pytest.raises(BlockingIOError):
            server.recv(100)
    wire.sendall(data[-1:])
    assert server.has_unread() and server.recv(100) == b"hello"


def fails(room: Room, name: str) -> TlsFailure:
    failure = room.results[name]
    assert isinstance(failure, TlsFailure), failure
    return failure


def test_a_handshake_without_a_common_cipher_fails_on_both_sides(room: Room):
    room.server.maximum_version = room.client.maximum_version = ssl.TLSVersion.TLSv1_2
    room.server.set_ciphers("ECDHE-ECDSA-AES128-GCM-SHA256")
    room.client.set_ciphers("ECDHE-ECDSA-AES256-GCM-SHA384")
    room.shake(*room.pair())
    failure = fails(room, "server")
    assert failure.text == "SSL_do_handshake() failed (SSL: error:0A0000C1:SSL routines::no shared cipher)"
    assert (failure.reason, failure.level) == ("NO_SHARED_CIPHER", "info")
    text = f"SSL_do_handshake() failed (SSL: error:0A000410:SSL routines::{OLD_ALERT} handshake failure:SSL alert number 40)"
    assert fails(room, "client").text == text


def test_a_certificate_that_is_not_trusted_is_told_with_its_reason(room: Room):
    room.client = trusting(authority("Another").pem)
    room.shake(*room.pair())
    failure = fails(room, "client")
    assert (failure.verify_code, failure.verify_message) == (20, "unable to get local issuer certificate")
    assert fails(room, "server").text.endswith("tlsv1 alert unknown ca:SSL alert number 48)")


@pytest.mark.parametrize(
    ("garbage", "reason"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", "HTTP_REQUEST"),
        (b"\x16\x03\x01\x00\x00" * 40, ""),
        (b"\x16\x03\x01\x40\x01" + b"x" * 0x4001, ""),
        (b"\x15\x03\x01\x00\x02\x02\x28", ""),
        (bytes(range(256)), "WRONG_VERSION_NUMBER"),
        (b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00", ""),
    ],
)
def test_garbage_ends_a_handshake(room: Room, garbage: bytes, reason: str):
    server, wire = room.server_and_wire()
    room.start("server", server.handshake(60))
    wire.sendall(garbage)
    room.settle()
    assert reason in fails(room, "server").reason
    assert fails(room, "server").level == "info"


def test_the_numbers_of_failures_are_openssls_where_python_has_no_table_of_them(monkeypatch):
    from worker.tls import failures

    monkeypatch.setattr(failures, "_ssl", object())
    for reason, code in (("NO_SHARED_CIPHER", 193), ("TLSV1_ALERT_UNKNOWN_CA", 1048), ("NONSENSE", 0)):
        assert failures.code_of("SSL", reason) == (20, code)
    assert failures.code_of("X509", "KEY_VALUES_MISMATCH") == (0, 0)


@given(st.data())
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_bytes_of_a_client_raise_anything_but_a_failure(room: Room, data: st.DataObject):
    """What a real client sends, with some of it changed, left out or put in, and then something else."""
    server, wire = room.server_and_wire()
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = room.client.wrap_bio(incoming, outgoing, server_hostname="localhost")
    room.results.clear()
    room.start("server", server.handshake(60))
    for _ in range(2):
        try:
            client.do_handshake()
            client.write(b"hello")
        except ssl.SSLError:
            pass
        said = bytearray(outgoing.read())
        for _ in range(data.draw(st.integers(0, 2))):
            place = data.draw(st.integers(0, max(0, len(said) - 1)))
            said[place : place + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
        try:
            wire.sendall(said)
            room.settle()
            incoming.write(wire.recv(65536))
        except OSError:
            pass
    result = room.results.get("server")
    assert result is None or isinstance(result, TlsFailure), result
    if "server" in room.results and result is None:
        try:
            read_all(server)
        except TlsFailure:
            pass
    server.close()
    for task in list(room.loop.tasks):
        room.loop.cancel(task)


def test_a_side_that_leaves_amid_the_handshake_is_told(room: Room):
    server, wire = room.server_and_wire()
    room.start("server", server.handshake(60))
    room.settle()
    wire.close()
    room.settle()
    assert str(fails(room, "server")) == "peer closed connection in SSL handshake"


def test_a_handshake_has_its_time(room: Room):
    server, wire = room.server_and_wire()
    room.start("server", server.handshake(60))
    room.settle()
    for _ in range(5):
        room.now += 11
        wire.sendall(b"\x16")
        room.settle()
        break
    room.now += 50
    room.settle()
    room.now += 0.1
    room.settle()
    assert isinstance(room.results["server"], TimedOut)


def test_a_changed_byte_is_a_failure_that_stays(room: Room):
    server, client = room.agreed()
    client.send(b"first")
    client.sock.send(b"\x17\x03\x03\x00\x20" + b"x" * 32)
    assert server.recv(100) == b"first"
    for _ in range(2):
        with pytest.raises(TlsFailure, match=rf"SSL_read\(\) failed \(SSL: error:{BAD_RECORD}"):
            server.recv(100)
    with pytest.raises(TlsFailure):
        server.send(b"x")
    assert server.has_departed() and server.has_ended() and not server.is_quiet() and not server.has_unread()
    with pytest.raises(TlsFailure, match="alert bad record mac:SSL alert number 20"):
        read_all(client)


def test_the_end_is_said_once_and_before_the_sockets(room: Room):
    server, client = room.agreed()
    read_all(client)
    server.send(b"last")
    server.end_sending()
    server.end_sending()
    server.close()
    assert client.recv(100) == b"last"
    assert ends(client) and ends(client)
    assert client.has_departed() and client.has_ended() and not client.is_quiet()


def test_close_says_the_end(room: Room):
    server, client = room.agreed()
    read_all(client)
    server.close()
    server.close()
    wire = client.sock.recv(1000)
    assert len(wire) == CLOSE_NOTIFY_SIZE and client.sock.recv(1000) == b""


def test_the_last_bytes_and_the_end_go_together(room: Room):
    server, client = room.agreed()
    read_all(client)
    assert server.send_last(b"answer") == 6
    wire = client.sock.recv(1000)
    client._undecrypted = wire
    client._hold(True)
    assert len(wire) > CLOSE_NOTIFY_SIZE + 6 and client.recv(100) == b"answer" and ends(client)
    client.send(b"more")
    server.end_sending()
    assert client.sock.recv(1000) == b""
    assert b"more" not in server.recv(1000)  # it is read away, as it came
    server.close()


def test_the_end_does_not_go_with_the_last_bytes_while_there_are_others_to_be_read(room: Room):
    server, client = room.agreed()
    read_all(client)
    client.send(b"x" * 100)
    assert server.recv(10) == b"x" * 10
    server.send_last(b"answer")
    assert client.recv(100) == b"answer"
    with pytest.raises(BlockingIOError):
        client.recv(100)
    server.close()
    assert ends(client)


def test_a_ticket_goes_out_at_once_for_a_client_that_waits_for_an_acknowledgement(room: Room):
    server, client = room.agreed()
    assert not server._kept_back and client.sock.recv(1, socket.MSG_PEEK)
    read_all(client)
    assert client.tls.session.has_ticket


def test_a_ticket_goes_with_the_answer_where_the_request_came_with_the_end_of_the_handshake(room: Room):
    server, wire = room.server_and_wire()
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = room.client.wrap_bio(incoming, outgoing, server_hostname="localhost")
    room.start("server", server.handshake(60))
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    wire.send(outgoing.read())
    room.settle()
    incoming.write(wire.recv(65536))
    client.do_handshake()
    client.write(b"question")
    wire.send(outgoing.read())
    room.settle()
    assert room.results == {"server": None} and server._kept_back
    assert server.recv(100) == b"question"
    with pytest.raises(BlockingIOError):
        wire.recv(1, socket.MSG_PEEK)
    server.send(b"answer")
    incoming.write(wire.recv(65536))
    assert client.read(100) == b"answer" and not server._kept_back
    assert client.session.has_ticket


def test_a_reset_does_not(room: Room):
    server, client = room.agreed()
    read_all(client)
    server.reset_on_close()
    server.close()
    assert client.sock.recv(1000) == b""


def test_an_end_without_its_word_is_an_end(room: Room):
    server, client = room.agreed()
    client.send(b"request")
    client.sock.shutdown(socket.SHUT_WR)
    assert server.recv(100) == b"request"
    assert ends(server)


def test_a_side_that_has_only_said_its_end_may_wait_for_an_answer(room: Room):
    server, client = room.agreed()
    client.send(b"request")
    client._say_end()
    client._send_out()
    assert server.recv(100) == b"request" and ends(server)
    assert server.has_departed() and not server.has_ended()
    server.send(b"answer")
    assert client.recv(100) == b"answer"


def test_ciphertext_without_room_is_put_aside_and_flushed(room: Room):
    server, client = room.agreed()
    read_all(client)
    sent = 0
    while True:
        try:
            sent += server.send(b"y" * 100_000)
        except BlockingIOError:
            break
    assert 0 < len(server._put_aside) <= PIECE + 1000 and server.flush is not None
    room.start("drained", server.drained(60))
    received = b""
    for _ in range(100):
        room.settle()
        received += read_all(client)
    assert received == b"y" * sent
    assert "drained" in room.results and server.flush is None and not server._put_aside


class FullOnce:
    """A socket that has no room when it is asked for the first time."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._is_full = True

    def send(self, data: bytes) -> int:
        if self._is_full:
            self._is_full = False
            raise BlockingIOError
        return self._sock.send(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)


def test_the_words_of_the_end_wait_for_room(room: Room):
    server, client = room.agreed()
    read_all(client)
    server.sock = FullOnce(server.sock)  # type: ignore[assignment]
    room.start("finished", server.finished(60))
    room.settle()
    assert room.results["finished"] is None and server.flush is None
    server.close()
    wire = client.sock.recv(1000)
    assert len(wire) == CLOSE_NOTIFY_SIZE and client.sock.recv(1000) == b""


def test_one_who_asks_for_answers_and_reads_none_is_not_served_without_end(room: Room):
    server, _ = room.agreed()
    while server.flush is None:
        server.send(b"y" * 100_000)
    for _ in range(20):
        _OUTGOING.write(b"z" * 10_000)
        server._send_out()
    assert len(server._put_aside) <= MOST_PUT_ASIDE + 10_000
    with pytest.raises(TlsFailure, match="too much is to be sent"):
        server.send(b"x")


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_client_resumes_its_session(room: Room, version: ssl.TLSVersion):
    room.client.maximum_version = version
    server, client = room.agreed()
    server.send(b"x")
    assert client.recv(10) == b"x" and not client.tls.session_reused
    session = client.session
    server, client = room.agreed(session=session)
    assert client.tls.session_reused and server.tls.session_reused


def test_application_protocols_are_agreed_on(room: Room):
    room.server.set_alpn_protocols(["h2", "http/1.1"])
    server, client = room.agreed()
    assert server.alpn is client.alpn is None
    room.client.set_alpn_protocols(["http/1.1", "h2"])
    server, client = room.agreed()
    assert server.alpn == client.alpn == "h2"


def ends_after_a_failure(server: TlsStream, client: TlsStream) -> None:
    """Do to the server's side what a handler does whose client has gone."""
    client.reset_on_close()
    client.close()
    try:
        for _ in range(3):
            server.send(b"x")
        server.end_sending()
    except OSError:
        pass
    finally:
        server.close()


def ends_with_nobody_there(server: TlsStream, client: TlsStream) -> None:
    """Say the end to a client that has gone."""
    client.reset_on_close()
    client.close()
    try:
        server.end_sending()
    except OSError:
        pass
    finally:
        server.close()


def is_refused(server: TlsStream, client: TlsStream) -> None:
    """Receive what is no record."""
    client.sock.send(b"\x17\x03\x03\x00\x20" + b"z" * 32)
    with pytest.raises(TlsFailure):
        server.recv(10)
    server.close()
    client.close()


def is_closed(server: TlsStream, client: TlsStream) -> None:
    """End in peace."""
    server.send(b"x" * 100_000)
    server.close()
    client.close()


@pytest.mark.parametrize("deed", [is_closed, ends_after_a_failure, ends_with_nobody_there, is_refused])
def test_a_closed_stream_waits_for_no_collector(room: Room, deed: Callable[[TlsStream, TlsStream], None]):
    gc.collect()
    already = [thing for thing in gc.get_objects() if isinstance(thing, TlsStream)]  # of other tests
    gc.disable()
    try:
        server, client = room.agreed()
        deed(server, client)
        del server, client
        held = {id(stream) for stream in already}
        assert not any(isinstance(thing, TlsStream) and id(thing) not in held for thing in gc.get_objects())
    finally:
        gc.enable()


def test_a_stream_is_clear_until_it_begins(room: Room):
    left, right = (room._ready(sock) for sock in socket.socketpair())
    server = TlsStream(room.loop, left)
    other = TlsStream(room.loop, right, room.client, "localhost")
    room.loop.add(server)
    room.loop.add(other)
    assert server.kernel_fd == server.fd
    room.start("client", other.handshake(60))
    room.settle()
    server.begin(room.server, server_side=True, received=server.recv(65536))
    room.start("server", server.handshake(60))
    room.settle()
    assert room.results == {"client": None, "server": None} and server.kernel_fd == -1
    other.send(b"hello")
    assert server.recv(100) == b"hello"


def test_a_stream_that_has_not_begun_says_nothing_when_it_is_closed(room: Room):
    left, right = (room._ready(sock) for sock in socket.socketpair())
    server = TlsStream(room.loop, left)
    room.loop.add(server)
    server.close()
    assert right.recv(100) == b""
    right.close()


def test_one_that_is_closed_in_the_middle_of_a_call_for_another_one_takes_none_of_its_bytes(room: Room):
    """The collector may close a stream wherever it runs."""
    server, client = room.agreed()
    _OUTGOING.write(b"of another connection")
    server.close()
    assert _OUTGOING.read() == b"of another connection"
    read_all(client)
    assert ends(client)


def test_nothing_is_left_to_do_before_the_close_once_the_end_has_gone_with_the_last_bytes(room: Room):
    server, client = room.agreed()
    assert not server.has_finished()
    server.send(b"hello")
    assert not server.has_finished()
    server.send_last(b" and goodbye")
    assert server.has_finished()
    room.settle()
    assert client.recv(100) == b"hello" and client.recv(100) == b" and goodbye" and client.recv(100) == b""
    server.close()
    client.close()


@pytest.mark.parametrize("seed", range(12))
def test_whatever_becomes_of_one_connection_the_others_carry_their_bytes(room: Room, seed: int):
    """Handshakes, records in pieces, garbage, ends, resets and closes of several connections in turns: their buffers are shared."""
    turns = random.Random(seed)
    pairs = [room.agreed() for _ in range(4)]
    others = [room.server_and_wire() for _ in range(2)]  # these never agree
    for number, (server, _wire) in enumerate(others):
        room.start(f"other {number}", server.handshake(60))
    said: dict[TlsStream, bytes] = {stream: b"" for pair in pairs for stream in pair}
    heard = dict(said)
    spoilt: set[TlsStream] = set()
    ended: set[TlsStream] = set()  # these read what comes as it comes, to throw it away

    def listen(stream: TlsStream, most: int) -> None:
        try:
            heard[stream] += stream.recv(most) if stream not in ended else b""
        except BlockingIOError:
            pass
        except OSError:
            assert stream in spoilt

    def speak(stream: TlsStream) -> None:
        data = turns.randbytes(turns.choice([1, 100, 20_000, 60_000]))
        try:
            said[stream] += data[: stream.send(data)]
        except BlockingIOError:
            pass
        except OSError:
            assert stream in spoilt

    for _ in range(150):
        pair = turns.choice(pairs)
        stream, other = pair if turns.random() < 0.5 else pair[::-1]
        match turns.randrange(12):
            case 0 if pair is not pairs[0]:
                spoilt.update(pair)
                with contextlib.suppress(OSError):
                    stream.sock.send(
                        turns.choice([b"garbage!", turns.randbytes(300), b"\x17\x03\x03\x00\x20" + turns.randbytes(32)])
                    )
            case 1 if pair is not pairs[0]:
                spoilt.update(pair)
                ended.add(stream)
                with contextlib.suppress(OSError):
                    turns.choice([stream.close, stream.reset_on_close, stream.end_sending])()
            case 2:
                with contextlib.suppress(OSError):
                    turns.choice(others)[1].send(turns.randbytes(turns.randrange(1, 60)))
            case 3 | 4:
                room.settle()
            case 5 | 6 | 7:
                listen(stream, turns.choice([1, 1000, 65536]))
            case 8 if stream.fd >= 0:
                turns.choice([stream.is_quiet, stream.has_unread, stream.has_departed])()
            case _ if stream.fd >= 0:
                speak(stream)
        assert not _INCOMING.pending and not _OUTGOING.pending
    for _ in range(200):
        room.settle()
        for stream in heard:
            if stream not in spoilt:
                listen(stream, 65536)
    for pair in pairs:
        for stream, other in (pair, pair[::-1]):
            assert said[stream].startswith(heard[other])
            assert heard[other] == said[stream] or spoilt >= set(pair)
