"""WebSocket clients that wait for their messages to come back: `python -m bench.echo PORT PATH CONNECTIONS SECONDS`.

It prints the totals as wrk does: `N requests in Ss, NB read`, where a request is a message that came back. The messages are all
alike, so that this side costs little; the application sends back the bytes it gets, and no proxy looks at them.
"""

from __future__ import annotations

import base64
import os
import selectors
import socket
import sys
import time

from bench.load import report

PAYLOAD = 64
UPGRADE = "Connection: Upgrade\r\nUpgrade: websocket\r\n"


def masked_message(payload: bytes) -> bytes:
    """Return a text frame as clients send it (RFC 6455, 5.2); payload: up to 125 bytes."""
    mask = os.urandom(4)
    return bytes((0x81, 0x80 | len(payload))) + mask + bytes(byte ^ mask[i % 4] for i, byte in enumerate(payload))


def open_websocket(port: int, path: str) -> socket.socket:
    """Return a connection that has been upgraded; raises OSError when it is not."""
    sock = socket.create_connection(("127.0.0.1", port), timeout=5)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    key = base64.b64encode(os.urandom(16)).decode()
    request = f"GET {path} HTTP/1.1\r\nHost: bench\r\n{UPGRADE}Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n"
    sock.sendall(request.encode())
    answer = b""
    while b"\r\n\r\n" not in answer:
        piece = sock.recv(65536)
        if not piece:
            break
        answer += piece
    if not answer.startswith(b"HTTP/1.1 101 ") or not answer.endswith(b"\r\n\r\n"):
        sock.close()
        raise OSError(f"not upgraded: {answer[:200]!r}")
    return sock


def run(port: int, path: str, connections: int, seconds: float) -> tuple[int, int, float, list[float]]:
    """Return the number of messages that came back, their bytes, the time it took, and how long each was under way."""
    message = masked_message(b"m" * PAYLOAD)
    selector = selectors.DefaultSelector()
    sockets = [open_websocket(port, path) for _ in range(connections)]
    arrived = dict.fromkeys(sockets, 0)
    for sock in sockets:
        selector.register(sock, selectors.EVENT_READ)
    began = time.monotonic()
    sent = dict.fromkeys(sockets, began)
    latencies: list[float] = []
    for sock in sockets:
        sock.send(message)
    count, now = 0, began
    while now - began < seconds:
        for key, _ in selector.select(1.0):
            sock = key.fileobj  # type: ignore[assignment]
            data = sock.recv(65536)
            if not data:
                raise OSError("the proxy closed the connection")
            arrived[sock] += len(data)
            if arrived[sock] >= len(message):
                arrived[sock] -= len(message)
                count += 1
                moment = time.monotonic()
                latencies.append(moment - sent[sock])
                sent[sock] = moment
                sock.send(message)
        now = time.monotonic()
    for sock in sockets:
        sock.close()
    selector.close()
    return count, count * len(message), now - began, latencies


if __name__ == "__main__":
    done, size, took, each = run(int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), float(sys.argv[4]))
    print(report(done, took, size, each))
