"""Connections on a TLS listener until their handshake has ended: their time, their place among the clients, and their end."""

from __future__ import annotations

import gc
import socket
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from conversation import End, Stage
from openssl_texts import BAD_RECORD

from tests.authority import authority
from tests.handshakes import trusting_anybody
from worker.tls.session import TlsSession
from worker.tls.stream import TlsStream
from wproxy.assignment import ListeningSocket
from wproxy.http import Client as HttpClient
from wproxy.http import FixedEndpoint
from wproxy.tls.contexts import make_contexts

CONFIGURATION = """
worker_processes = 1
error_log = [["{directory}/error.log", "info"]]
[http]
client_header_timeout = "10s"
access_log = [["{directory}/access.log", "test"]]
[http.log_format]
test = '{log_format}'
[[http.server]]
listen = [["127.0.0.1:8080", "ssl"]]
server_name = "site.test"
ssl_certificate = "CERTIFICATE"
ssl_certificate_key = "KEY"
location."/" = {{ return = [200, "$ssl_server_name $scheme"] }}
location."/up" = {{ proxy_pass = "http://127.0.0.1:9" }}
"""
HALF = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"


class Door:
    """A worker that listens, and clients before it."""

    def __init__(self, made: Stage) -> None:
        self.s = made
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.listening.setblocking(False)
        contexts, problems = make_contexts(made.configuration)
        assert not problems
        made.worker.acceptors._tls = contexts
        made.worker.acceptors.listen(ListeningSocket(made.configuration.listeners[0], self.listening.fileno()))

    def knock(self, first: bytes = b"") -> End:
        """A client that has sent so much."""
        sock = socket.create_connection(self.listening.getsockname())
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        end = End(self.s, sock, "client")
        before = self.s.worker.clients.accepted
        self.s.until(lambda: self.s.worker.clients.accepted > before or self.s.worker.clients.connections, "it is let in")
        if first:
            end.send(first)
        return end

    def close(self) -> None:
        self.s.worker.acceptors.close()
        self.listening.detach()


@pytest.fixture
def door(stage: Callable[..., Stage], tmp_path: Path) -> Iterator[Door]:
    certificate, key = authority().issue("site.test", ["site.test"]).write(tmp_path, "site")
    made = Door(stage(peers=0, text=CONFIGURATION.replace("CERTIFICATE", str(certificate)).replace("KEY", str(key))))
    yield made
    made.close()


class Tls:
    """A client's side of TLS on an end."""

    def __init__(self, end: End) -> None:
        self.end = end
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = trusting_anybody().wrap_bio(self.incoming, self.outgoing, server_hostname="site.test")

    def do(self, call: Callable[[], Any]) -> Any:
        """Do something that may have to wait for the other side."""

        def attempt() -> Any:
            try:
                done = call()
            except ssl.SSLWantReadError:
                done = None
            sent = self.outgoing.read()
            if sent:
                self.end.send(sent)
            self.incoming.write(bytes(self.end.pull_all()))
            self.end.received.clear()
            return True if done is None and call.__name__ == "do_handshake" and self.tls.version() else done

        return self.end.stage.until(attempt, "the other side does not answer")


def of_handshakes(s: Stage) -> list[str]:
    return [line.partition("*")[2].partition(" ")[2] for line in s.error_log() if "while SSL handshaking" in line]


@pytest.mark.parametrize("first", [b"", HALF[:1], HALF])
def test_a_handshake_has_client_header_timeout_from_the_beginning(door, first):
    end = door.knock(first[:1])
    door.s.advance(6)
    if first:
        end.send(first[1:] or b"\x03")
    assert end.is_open()
    door.s.advance(5)
    assert end.is_closed() and not end.received
    (line,) = of_handshakes(door.s)
    assert line.startswith("client timed out (110: Connection timed out) while SSL handshaking, client: 127.0.0.1, server: ")
    assert not door.s.worker.clients.connections and not door.s.worker.clients.open


def test_who_leaves_before_or_amid_the_handshake_is_logged(door):
    door.knock().close()
    door.knock(HALF).close()
    lines = door.s.until(lambda: len(found := of_handshakes(door.s)) == 2 and found, "two lines")
    assert [line.partition(" while")[0] for line in lines] == [
        "client closed connection",
        "peer closed connection in SSL handshake",
    ]
    assert not door.s.worker.clients.open


def test_where_room_is_scarce_only_who_has_said_nothing_goes(door):
    silent, half = door.knock(), door.knock(HALF)
    clients = door.s.worker.clients
    assert clients.count() == (2, 0, 0, 2)  # as in nginx both wait for a request
    door.s.worker.room.close_idle()
    door.s.settle()
    assert silent.is_closed() and half.is_open()
    assert clients.count() == (1, 0, 0, 1) and clients.open == 1
    half.close()


def test_who_is_amid_the_handshake_when_the_worker_leaves_is_served(door):
    client = Tls(door.knock(HALF[:0]))
    with pytest.raises(ssl.SSLWantReadError):
        client.tls.do_handshake()
    hello = client.outgoing.read()
    client.end.send(hello[:50])
    door.s.worker.clients.drain(door.s.now)
    client.end.send(hello[50:])
    client.do(client.tls.do_handshake)
    client.tls.write(b"GET / HTTP/1.1\r\nHost: site.test\r\n\r\n")
    answer = client.do(lambda: client.tls.read(65536))
    assert answer.startswith(b"HTTP/1.1 200") and b"Connection: close" in answer and answer.endswith(b"site.test https")
    assert client.end.is_closed()


def test_a_kept_connection_that_is_quiet_is_closed_with_a_word(door):
    client = Tls(door.knock())
    client.do(client.tls.do_handshake)
    client.tls.write(b"GET / HTTP/1.1\r\nHost: site.test\r\n\r\n")
    client.do(lambda: client.tls.read(65536))
    door.s.advance(76)
    door.s.until(lambda: client.end.pull_all(), "an alert")
    client.incoming.write(bytes(client.end.received))
    assert client.tls.read(10) == b"" and client.end.saw_end


@pytest.mark.parametrize(
    ("begun", "doing"),
    [
        (b"GET / HTTP/1.1\r\nHost: site.te", "while reading client request headers"),
        (b"GET / HT", "while reading client request line"),
        (b"POST /up HTTP/1.1\r\nHost: site.test\r\nContent-Length: 9\r\n\r\nhel", "while sending the request body"),
    ],
)
def test_a_broken_record_amid_a_request_is_told(door, begun, doing):
    client = Tls(door.knock())
    client.do(client.tls.do_handshake)
    client.tls.write(begun)
    client.end.send(client.outgoing.read())
    client.end.send(b"\x17\x03\x03\x00\x20" + b"x" * 32)
    assert client.end.is_closed()
    lines = [line for line in door.s.error_log() if f"SSL_read() failed (SSL: error:{BAD_RECORD}" in line]
    assert len(lines) == 1 and doing in lines[0], door.s.error_log()
    assert door.s.statuses() == ["400"]


KINDS = (TlsStream, TlsSession, HttpClient)


def test_no_connection_waits_for_the_collector(door):
    """Without cycles all of it goes when it is closed: OpenSSL's part of a connection is most of its memory."""
    gc.collect()
    already = [thing for thing in gc.get_objects() if isinstance(thing, KINDS)]  # of other tests
    gc.disable()
    try:
        for _ in range(3):
            client = Tls(door.knock())
            client.do(client.tls.do_handshake)
            client.tls.write(b"GET / HTTP/1.1\r\nHost: site.test\r\nConnection: close\r\n\r\n")
            client.do(lambda tls=client.tls: tls.read(65536))
            assert client.end.is_closed()
        half = door.knock(HALF)
        half.close()
        door.s.until(lambda: not door.s.worker.clients.open, "it is gone")
        held = {id(thing) for thing in already}
        kinds = [type(thing) for thing in gc.get_objects() if isinstance(thing, KINDS) and id(thing) not in held]
        assert kinds in ([], [HttpClient]), "the acceptor remembers the last one"
    finally:
        gc.enable()


def test_a_view_from_another_address_is_of_the_same_tls(door):
    """As set_real_ip_from makes it: the variables of TLS are those of the connection."""
    listener = door.s.configuration.listeners[0]
    client = HttpClient(door.s.worker.process, listener, door.s.loop.clock, b"127.0.0.1", 1, 1, FixedEndpoint(listener.address))
    client.scheme, client.tls, client.find_server = b"https", object(), object()
    view = client.seen_at(b"192.0.2.1", 0)
    assert (view.scheme, view.tls, view.find_server) == (b"https", client.tls, client.find_server)
