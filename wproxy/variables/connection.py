"""Variables of the client's connection and of the worker that serves it."""

from __future__ import annotations

import os

from wproxy.http import Request
from wproxy.maps.addresses import packed as packed_address
from wproxy.variables.registry import REQUEST, VARIABLES, Reader, Variable, variable

_HOSTNAME = os.uname().nodename.lower().encode()


@variable("remote_addr", reads=(), by_address=True)
def remote_addr(request: Request) -> bytes:
    return request.client.remote_addr


@variable("remote_port", reads=())
def remote_port(request: Request) -> bytes:
    port = request.client.remote_port
    return b"%d" % port if port else b""


@variable("binary_remote_addr")
def binary_remote_addr(request: Request) -> bytes:
    """4 or 16 bytes; the text itself for a unix socket."""
    client = request.client
    packed = client.packed_addr
    if packed is None:
        packed = client.packed_addr = packed_address(client.remote_addr)
    return packed


# The other end of the connection, whatever client it named.


@variable("realip_remote_addr")
def realip_remote_addr(request: Request) -> bytes:
    return request.client.peer.remote_addr


@variable("realip_remote_port")
def realip_remote_port(request: Request) -> bytes:
    port = request.client.peer.remote_port
    return b"%d" % port if port else b""


@variable("server_addr", reads=())
def server_addr(request: Request) -> bytes:
    address = request.client.server_address
    return (str(address) if address.is_unix else address.host).encode()


@variable("server_port", reads=())
def server_port(request: Request) -> bytes:
    port = request.client.server_address.port
    return b"%d" % port if port > 0 else b""


@variable("scheme", reads=(), by_address=True)
def scheme(request: Request) -> bytes:
    return request.client.scheme


@variable("https", reads=(), by_address=True)
def https(request: Request) -> bytes:
    return b"on" if request.client.scheme == b"https" else b""


@variable("http2", REQUEST)
def http2(request: Request) -> bytes:
    """`h2` over TLS, `h2c` in clear, empty in any other protocol."""
    if request.version != 20:
        return b""
    return b"h2" if request.client.scheme == b"https" else b"h2c"


@variable("connection", reads=())
def connection(request: Request) -> bytes:
    return b"%d" % request.client.serial


@variable("connection_requests", REQUEST)
def connection_requests(request: Request) -> bytes:
    return b"%d" % request.client.requests


@variable("connection_time", REQUEST)
def connection_time(request: Request) -> bytes:
    return b"%.3f" % (request.client.clock.now - request.client.started)


@variable("pid")
def pid(request: Request) -> bytes:
    return b"%d" % os.getpid()


@variable("hostname")
def hostname(request: Request) -> bytes:
    return _HOSTNAME


@variable("nginx_version")
def nginx_version(request: Request) -> bytes:
    """The version that goes with the name under which the worker serves."""
    return request.client.process.identity.version.encode()


@variable("pipe", REQUEST)
def pipe(request: Request) -> bytes:
    """Whether the request had arrived before the previous one was answered."""
    return b"p" if request.pipelined else b"."


# The system's facts about the connection: (rtt, rttvar, snd_cwnd, rcv_space), times in microseconds.
_TCP_FACTS = ("tcpinfo_rtt", "tcpinfo_rttvar", "tcpinfo_snd_cwnd", "tcpinfo_rcv_space")


def tcp_fact(index: int) -> Reader:
    """Return a reader of one of the facts; not found when the client has no TCP connection."""

    def read(request: Request) -> bytes | None:
        facts = request.client.endpoint.tcp_info()
        return b"%d" % facts[index] if facts is not None else None

    return read


for _index, _name in enumerate(_TCP_FACTS):
    VARIABLES[_name] = Variable(tcp_fact(_index), REQUEST)


def connection_count(index: int) -> Reader:
    """Return a reader of one of the counts of client connections over all workers: (active, reading, writing, waiting)."""

    def read(request: Request) -> bytes:
        return b"%d" % request.client.process.count_connections()[index]

    return read


for _index, _name in enumerate(("connections_active", "connections_reading", "connections_writing", "connections_waiting")):
    VARIABLES[_name] = Variable(connection_count(_index), REQUEST)
