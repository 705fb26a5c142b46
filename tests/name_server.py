"""A name server inside the test, over UDP and TCP, which says what it is told to: answers, late ones, garbage, or nothing.

    server.zone["a.test", A] = records("10.0.0.1", "10.0.0.2", ttl=30)
    server.zone["slow.test", A] = Silence()

Messages are made here by hand, so that what reads them is tested against something else. `serve` answers what has arrived and
returns at once; `in_background` does it in a thread, for programs that run by themselves.
"""

from __future__ import annotations

import select
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from wproxy.dns import AAAA, CNAME, HOST_NOT_FOUND, SOA, SRV, A


def name_bytes(name: str) -> bytes:
    """A name as it travels, without pointers."""
    return b"".join(bytes([len(label)]) + label.encode() for label in name.split(".") if label) + b"\0"


def record(owner: str | bytes, kind: int, data: bytes, ttl: int = 60) -> bytes:
    """One record. owner: a name, or the bytes of a pointer."""
    encoded = owner if isinstance(owner, bytes) else name_bytes(owner)
    return encoded + struct.pack("!HHIH", kind, 1, ttl, len(data)) + data


def address_record(owner: str | bytes, address: str, ttl: int = 60) -> bytes:
    """An A or AAAA record."""
    if ":" in address:
        return record(owner, AAAA, socket.inet_pton(socket.AF_INET6, address), ttl)
    return record(owner, A, socket.inet_aton(address), ttl)


def alias_record(owner: str, target: str, ttl: int = 60) -> bytes:
    """A CNAME record."""
    return record(owner, CNAME, name_bytes(target), ttl)


def service_record(owner: str, priority: int, weight: int, port: int, target: str, ttl: int = 60) -> bytes:
    """A SRV record."""
    return record(owner, SRV, struct.pack("!HHH", priority, weight, port) + name_bytes(target), ttl)


def soa_record(owner: str, minimum: int, ttl: int = 3600) -> bytes:
    """A SOA record, for answers that there is nothing."""
    return record(
        owner, SOA, name_bytes("ns." + owner) + name_bytes("root." + owner) + struct.pack("!5I", 1, 2, 3, 4, minimum), ttl
    )


def message(query: bytes, answers: list[bytes] = [], authorities: list[bytes] = [], code: int = 0, flags: int = 0x8180) -> bytes:
    """The answer to a query, whose question it repeats."""
    head = query[:2] + struct.pack("!HHHHH", flags | code, 1, len(answers), len(authorities), 0)
    return head + query[12:] + b"".join(answers) + b"".join(authorities)


Say = Callable[[bytes, bool], list[bytes]]  # (query, over TCP) to the messages that go out


def answer(*found: bytes) -> Say:
    """These records."""
    return lambda query, over_tcp: [message(query, list(found))]


def addresses(owner: str, *found: str, ttl: int = 60) -> Say:
    """These addresses."""
    return answer(*(address_record(owner, address, ttl) for address in found))


def refusal(code: int) -> Say:
    """A code, and nothing else."""
    return lambda query, over_tcp: [message(query, code=code)]


def nothing(owner: str, minimum: int, code: int = HOST_NOT_FOUND) -> Say:
    """There is no such name, for so many seconds."""
    return lambda query, over_tcp: [message(query, [], [soa_record(owner, minimum)], code)]


def silence(query: bytes, over_tcp: bool) -> list[bytes]:
    """No answer at all."""
    return []


class NameServer:
    """zone: what is said, by name and type. queries: what was asked, with "udp" or "tcp". Unknown names do not exist."""

    def __init__(self) -> None:
        self.zone: dict[tuple[str, int], Say] = {}
        self.queries: list[tuple[str, int, str]] = []
        self.ports: list[int] = []  # of those who asked over UDP
        self.identifiers: list[int] = []
        while True:
            self.udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            self.udp.bind(("127.0.0.1", 0))
            self.port: int = self.udp.getsockname()[1]
            self.tcp = socket.socket()
            self.tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                self.tcp.bind(("127.0.0.1", self.port))
                break
            except OSError:
                self.udp.close()
                self.tcp.close()
        self.tcp.listen()
        self.udp.setblocking(False)
        self.tcp.setblocking(False)
        self.connections: dict[socket.socket, bytes] = {}

    def set_addresses(self, owner: str, *found: str, ttl: int = 60) -> None:
        """IPv4 addresses, and no others."""
        self.zone[owner, A] = addresses(owner, *found, ttl=ttl)
        self.zone[owner, AAAA] = answer()

    def asked(self, name: str, kind: int = A) -> int:
        """How often."""
        return sum(query[:2] == (name, kind) for query in self.queries)

    def reply(self, query: bytes, over_tcp: bool) -> list[bytes]:
        """What goes out for a query."""
        labels, position = [], 12
        while query[position]:
            labels.append(query[position + 1 : position + 1 + query[position]].decode())
            position += 1 + query[position]
        name = ".".join(labels)
        kind = struct.unpack_from("!H", query, position + 1)[0]
        self.queries.append((name, kind, "tcp" if over_tcp else "udp"))
        self.identifiers.append(int.from_bytes(query[:2], "big"))
        return self.zone.get((name, kind), refusal(HOST_NOT_FOUND))(query, over_tcp)

    def serve(self) -> None:
        """Answer what has arrived."""
        while True:
            try:
                query, peer = self.udp.recvfrom(4096)
            except BlockingIOError:
                break
            self.ports.append(peer[1])
            for reply in self.reply(query, over_tcp=False):
                self.udp.sendto(reply, peer)
        try:
            connection, _ = self.tcp.accept()
            connection.setblocking(False)
            self.connections[connection] = b""
        except BlockingIOError:
            pass
        for connection in list(self.connections):
            self.serve_connection(connection)

    def serve_connection(self, connection: socket.socket) -> None:
        try:
            data = connection.recv(4096)
        except BlockingIOError:
            return
        if not data:
            del self.connections[connection]
            connection.close()
            return
        received = self.connections[connection] + data
        length = int.from_bytes(received[:2], "big")
        if len(received) >= 2 + length:
            for reply in self.reply(received[2 : 2 + length], over_tcp=True):
                # Byte by byte at the beginning: the length and the message come in pieces.
                connection.send((len(reply).to_bytes(2, "big") + reply)[:1])
                connection.send((len(reply).to_bytes(2, "big") + reply)[1:])
            received = received[2 + length :]
        self.connections[connection] = received

    def close(self) -> None:
        for sock in (self.udp, self.tcp, *self.connections):
            sock.close()

    @contextmanager
    def in_background(self) -> Iterator[NameServer]:
        """Serve in a thread."""
        stop, stopped = socket.socketpair()

        def run() -> None:
            while stopped not in select.select([self.udp, self.tcp, stopped, *self.connections], [], [])[0]:
                self.serve()

        thread = threading.Thread(target=run)
        thread.start()
        try:
            yield self
        finally:
            stop.send(b"x")
            thread.join()
            stop.close()
            stopped.close()
            self.close()
