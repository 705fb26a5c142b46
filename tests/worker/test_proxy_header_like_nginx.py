"""`listen ... proxy_protocol`, by the real nginx: what a header says, what is refused, and when the client's address changes."""

from __future__ import annotations

import re
import socket
import struct
from collections.abc import Callable

import like_nginx
import pytest
from conversation import Stage, get, ok
from like_nginx import Comparison, LogReader, ask, needs_nginx, same_as_nginx

from worker.client.http1.serve import serve_connection
from worker.client.proxy_header import after_proxy_header

__all__ = ["same_as_nginx"]

RULES = """
map $remote_port $port { default $remote_port; "~^[0-9]{5}$" peer; }
add_header X-Header "$proxy_protocol_addr|$proxy_protocol_port|$proxy_protocol_server_addr|$proxy_protocol_server_port" always;
add_header X-Seen "$remote_addr|$port|$proxy_add_x_forwarded_for|$server_addr" always;
server {
    listen 127.0.0.1:PORT proxy_protocol;
    location / { proxy_pass http://BACK; }
    location /real { set_real_ip_from 127.0.0.1; real_ip_header proxy_protocol; proxy_pass http://BACK; }
    location /deny { set_real_ip_from 127.0.0.1; real_ip_header proxy_protocol; deny 192.0.2.1; proxy_pass http://BACK; }
    location /stranger { set_real_ip_from 192.0.2.1; real_ip_header proxy_protocol; proxy_pass http://BACK; }
    location /field { set_real_ip_from 127.0.0.1; proxy_pass http://BACK; }
}
"""


def binary(body: bytes, family: int = 0x11, command: int = 0x21) -> bytes:
    return b"\r\n\r\n\0\r\nQUIT\n" + bytes([command, family]) + struct.pack(">H", len(body)) + body


V4 = socket.inet_aton("192.0.2.1") + socket.inet_aton("198.51.100.2") + struct.pack(">HH", 5000, 443)
V6 = (
    socket.inet_pton(socket.AF_INET6, "2001:db8::1")
    + socket.inet_pton(socket.AF_INET6, "::ffff:1.2.3.4")
    + struct.pack(">HH", 0, 443)
)

HEADERS = [
    b"PROXY TCP4 192.0.2.1 198.51.100.2 5000 443\r\n",
    b"PROXY TCP6 2001:db8::1 2001:db8::2 5000 443\r\n",
    b"PROXY TCP4 abc def 1 2\r\n",
    b"PROXY TCP4 192.0.2.1 198.51.100.2 0 0\r\n",
    b"PROXY UNKNOWN\r\n",
    b"PROXY UNKNOWN 192.0.2.1 198.51.100.2 0 0\r\n",
    binary(V4),
    binary(V6, 0x21),
    binary(V4 + b"\x02\0\x03abc"),
    binary(b"", 0, 0x20),
    binary(V4, 0x12),
    binary(V4, 0x11, 0x20),
    binary(bytes(216), 0x31),
    # Not accepted.
    b"PROXY TCP4 192.0.2.1 198.51.100.2 65536 443\r\n",
    b"PROXY TCP4 192.0.2.1 198.51.100.2 x 443\r\n",
    b"PROXY TCP4 192.0.2.1 5000 443\r\n",
    b"PROXY UDP4 192.0.2.1 198.51.100.2 5000 443\r\n",
    b"PROXY TCP4 g 198.51.100.2 5000 443\r\n",
    b"proxy TCP4 192.0.2.1 198.51.100.2 5000 443\r\n",
    b"",
    binary(V4, 0x11, 0x31),
    binary(V4[:-1]),
    binary(V4, 0x21),
]


class ConnectionLog(LogReader):
    """It keeps what is said about connections too, up to the client's address, and the server's."""

    def new_lines(self) -> list[str]:
        data = self.path.read_bytes()[self.offset :]
        self.offset += len(data)
        lines = data.decode("utf-8", "backslashreplace").split("\n")
        matches = [re.search(r"(\[\w+\]) \S+ \*\d+ (.*?)(, request.*)?$", line) for line in lines]
        found = [re.sub(r"127\.0\.0\.1:\d+", "PORT", f"{match[1]} {match[2]}") for match in matches if match]
        # Debian's nginx 1.22 writes all bytes there are, line ends and all; later ones only the first line, as we do.
        return [re.sub(r'(broken header: "[^"\r]*).*', r"\1", line) for line in found]


@pytest.fixture(autouse=True)
def header_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients of stages are served as those of such a listener."""
    client, serve = Stage.client, after_proxy_header(serve_connection)
    monkeypatch.setattr(Stage, "client", lambda self, **more: client(self, **{"serve": serve, **more}))
    monkeypatch.setattr(like_nginx, "LogReader", ConnectionLog)


@needs_nginx
def test_headers_and_what_they_change(same_as_nginx: Comparison):
    cases = [header + ask(path) for header in HEADERS for path in ("/", "/real")]
    cases += [header + ask(path, "X-Real-IP: 203.0.113.9") for header in HEADERS[:7] for path in ("/deny", "/stranger", "/field")]
    same_as_nginx(
        RULES.replace("127.0.0.1:PORT proxy", "PORT proxy").replace("listen ", "listen 127.0.0.1:"), cases, level="error"
    )


def one(stage: Callable[..., Stage], **settings: str) -> Stage:
    return stage(location='add_header = [["X-Seen", "$proxy_protocol_addr $proxy_protocol_tlv_authority", "always"]]', **settings)


@pytest.mark.parametrize("header", [HEADERS[0], HEADERS[8]])
@pytest.mark.parametrize("cut", [1, 5, 11, 13, 20, None])
def test_a_header_may_come_in_pieces_unlike_in_nginx(stage: Callable[..., Stage], header: bytes, cut: int | None):
    s = one(stage)
    client = s.client()
    client.send_slowly(header + get(), [cut] if cut else None)
    upstream = s.peers[0].accept()
    upstream.receives_head()
    upstream.send(ok())
    assert b"\r\nX-Seen: 192.0.2.1 " in client.receives_head()
    client.pull_all()
    client.received.clear()
    client.send(get())  # only the first request has a header before it
    upstream.receives_head()
    upstream.send(ok())
    assert b"\r\nX-Seen: 192.0.2.1 " in client.receives_head()


def test_a_client_that_says_nothing_is_closed_after_client_header_timeout(stage: Callable[..., Stage]):
    s = one(stage, server='client_header_timeout = "5s"')
    silent, slow = s.client(), s.client().send(b"PROXY TCP4 192.0.2.1 ")
    s.advance(4)
    assert silent.is_open() and slow.is_open()
    slow.send(b"1")
    s.advance(1)
    assert silent.is_closed() and slow.is_closed()
    assert (
        len([line for line in s.error_log() if "client timed out" in line and "while reading PROXY protocol, client: " in line])
        == 2
    )


def test_a_client_that_leaves_first_leaves_nothing(stage: Callable[..., Stage]):
    s = one(stage)
    for sent in (b"", b"PROXY ", HEADERS[0], HEADERS[8][:13]):
        client = s.client().send(sent) if sent else s.client()
        client.close()
    s.settle()
    assert not s.worker.clients.connections


def test_a_worker_that_leaves_takes_waiting_connections_along(stage: Callable[..., Stage]):
    s = one(stage)
    client = s.client().send(b"PROXY ")
    s.worker.drain()
    s.advance(61)
    assert client.is_closed()
