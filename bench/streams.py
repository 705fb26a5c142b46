"""An application for large request bodies and upgraded connections: `python -m bench.streams PORT`.

It costs next to nothing, so that the measurement is about the proxy: the kernel throws a body away (MSG_TRUNC) and the answer is
the small body, after 101 every byte is sent back as it came, what asks for /streams/hold is never answered, and any other
request gets the small body too.
"""

from __future__ import annotations

import base64
import hashlib
import re
import selectors
import socket
import sys
from collections.abc import Generator

from bench.configurations import SMALL_BODY

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)
_UPGRADE = re.compile(rb"\r\nupgrade: *(\S+)\r\n", re.IGNORECASE)
_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(SMALL_BODY), SMALL_BODY.encode())
_SWITCHED = b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: %b\r\nSec-WebSocket-Accept: %b\r\n\r\n"
_KEY = re.compile(rb"\r\nsec-websocket-key: *(\S+)\r\n", re.IGNORECASE)
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, 1.3
_NOWHERE = bytearray(1 << 20)  # the nominal target of discarded data; nothing is written to it


def converse(sock: socket.socket) -> Generator[None, None, None]:
    """Serve one connection; each step is taken when there is something to read."""
    data = b""
    while True:
        while b"\r\n\r\n" not in data:
            yield
            piece = sock.recv(65536)
            if not piece:
                return
            data += piece
        head, data = data.split(b"\r\n\r\n", 1)
        head += b"\r\n"
        if b" /streams/hold " in head.partition(b"\r\n")[0]:
            yield
            return  # the proxy has left
        upgrade = _UPGRADE.search(head)
        if upgrade:
            key = _KEY.search(head)
            accept = base64.b64encode(
                hashlib.sha1((key[1] if key else b"") + _GUID).digest()
            )  # HAProxy looks whether it is right
            sock.sendall(_SWITCHED % (upgrade[1], accept) + data)
            break
        length = _LENGTH.search(head)
        left = int(length[1]) if length else 0
        data, left = data[left:], left - len(data)
        while left > 0:
            yield
            taken = sock.recv_into(_NOWHERE, min(left, len(_NOWHERE)), socket.MSG_TRUNC)
            if not taken:
                return
            left -= taken
        sock.sendall(_ANSWER)
    while True:
        yield
        data = sock.recv(65536)
        if not data:
            return
        sock.sendall(data)


def serve(port: int) -> None:
    """Serve until the process is ended."""
    listener = socket.create_server(("127.0.0.1", port), backlog=1024)
    selector = selectors.DefaultSelector()
    selector.register(listener, selectors.EVENT_READ)
    while True:
        for key, _ in selector.select():
            if key.data is None:
                sock = listener.accept()[0]
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                conversation = converse(sock)
                next(conversation)
                selector.register(sock, selectors.EVENT_READ, (sock, conversation))
                continue
            sock, conversation = key.data
            try:
                next(conversation)
            except (StopIteration, OSError):
                selector.unregister(sock)
                sock.close()


if __name__ == "__main__":
    serve(int(sys.argv[1]))
