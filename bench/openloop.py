"""Requests at fixed times, whatever becomes of those before: `python -m bench.openloop PORT PATH CONNECTIONS SECONDS RATE`.

A client that waits for an answer before it asks again (wrk) asks less while a proxy is slow, and so does not see how slow it is
for others. Here each request has its time, so many a second; one that finds all connections busy waits for one, and its latency
counts from its time. h2load's --rps does not count so, and wrk2 is no package of Debian's. It prints what wrk prints.

The generator may be late itself, as it shares its core with the backend: what it was late by counts too, and the share of
requests that were sent over half a millisecond after their time although a connection was free is printed as `Late`.
"""

from __future__ import annotations

import gc
import select
import socket
import sys
from collections import deque
from time import monotonic

from bench.load import report

LATE = 0.0005
END_PATIENCE = 2.0  # for the last answers


def run(port: int, path: str, connections: int, seconds: float, rate: float) -> str:
    """Send, and return the report. Raises OSError when the proxy closes a connection or answers with anything but 200."""
    request = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()
    epoll = select.epoll()
    sockets: dict[int, socket.socket] = {}
    for _ in range(connections):
        sock = socket.create_connection(("127.0.0.1", port), timeout=5)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setblocking(False)
        epoll.register(sock.fileno(), select.EPOLLIN)
        sockets[sock.fileno()] = sock
    free = deque(sockets)
    waiting: deque[float] = deque()
    begun: dict[int, float] = {}
    latencies: list[float] = []
    size = late = sent = 0
    pause = 1.0 / rate
    begin = monotonic()
    due, end = begin, begin + seconds
    now = begin
    while due < end or ((begun or waiting) and now < end + END_PATIENCE):
        while due <= now and due < end:
            if now - due > LATE and free:
                late += 1
            waiting.append(due)
            sent += 1
            due = begin + sent * pause
        while waiting and free:
            fd = free.popleft()
            begun[fd] = waiting.popleft()
            sockets[fd].send(request)
        # select takes microseconds, where epoll takes milliseconds.
        if select.select([epoll], [], [], max(0.0, due - monotonic()) if due < end else 0.1)[0]:
            for fd, _ in epoll.poll(0):
                data = sockets[fd].recv(65536)
                if not data.startswith(b"HTTP/1.1 200 "):
                    raise OSError(f"not 200: {data[:100]!r}")
                size += len(data)
                latencies.append(monotonic() - begun.pop(fd))
                free.append(fd)
        now = monotonic()
    took = monotonic() - begin
    for sock in sockets.values():
        sock.close()
    # What was never answered waited to the end.
    answered = len(latencies)
    latencies += [took - (asked - begin) for asked in (*begun.values(), *waiting)]
    return f"{report(answered, took, size, latencies)}\n  Late: {late / max(sent, 1):.4f}"


if __name__ == "__main__":
    gc.disable()  # it would make a request late
    print(run(int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), float(sys.argv[4]), float(sys.argv[5])))
