"""Clients that make a new TLS connection for each request: `python -m bench.handshakes PORT PATH CONNECTIONS SECONDS`.

It prints the totals as wrk does: `N requests in Ss, NB read`. wrk gives each new connection the session of the one before, which
saves both sides a signature and the server a ticket; these clients never resume, as if each was new.
"""

from __future__ import annotations

import socket
import ssl
import sys
import threading
import time

from bench.load import report


class Clients:
    """Some clients, each in a thread of its own. requests, bytes_read: their totals. latencies: seconds of each request."""

    def __init__(self, port: int, path: str) -> None:
        self._address = ("127.0.0.1", port)
        self._request = f"GET {path} HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n".encode()
        self._context = context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        self._lock = threading.Lock()
        self._failure: Exception | None = None
        self.requests = self.bytes_read = 0
        self.latencies: list[float] = []

    def run(self, connections: int, seconds: float) -> float:
        """Let so many clients ask for so long; return the time that it took. Raises OSError."""
        began = time.monotonic()
        threads = [threading.Thread(target=self._repeat, args=(began + seconds,)) for _ in range(connections)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if self._failure is not None:
            raise self._failure
        return time.monotonic() - began

    def _repeat(self, end: float) -> None:
        """Ask again and again, until that time."""
        try:
            while time.monotonic() < end and self._failure is None:
                began = time.monotonic()
                size = self.ask()
                with self._lock:
                    self.latencies.append(time.monotonic() - began)
                    self.requests += 1
                    self.bytes_read += size
        except (OSError, ValueError) as error:
            self._failure = error

    def ask(self) -> int:
        """Make one request; return the length of the answer. Raises OSError, and ValueError for another status than 200."""
        with (
            socket.create_connection(self._address, timeout=10) as sock,
            self._context.wrap_socket(sock, server_hostname="localhost") as encrypted,
        ):
            encrypted.sendall(self._request)
            answer = b""
            while piece := encrypted.recv(65536):
                answer += piece
        if not answer.startswith(b"HTTP/1.1 200 "):
            raise ValueError(f"no answer: {answer[:200]!r}")
        return len(answer)


if __name__ == "__main__":
    clients = Clients(int(sys.argv[1]), sys.argv[2])
    took = clients.run(int(sys.argv[3]), float(sys.argv[4]))
    print(report(clients.requests, took, clients.bytes_read, clients.latencies))
