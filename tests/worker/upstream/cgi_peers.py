"""Servers that speak FastCGI, uwsgi, SCGI and memcached, scripted: each on a unix socket, in threads.

A request is answered by the script that its parameter ANSWER names; without one by an echo, whose body is all parameters, a line
each and sorted, and then the body of the request. What a server got stays in `requests`.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple


class Asked(NamedTuple):
    """What a server got. head: the bytes before the body, as they came."""

    parameters: list[tuple[bytes, bytes]]
    body: bytes
    head: bytes


Script = bytes | Callable[[socket.socket, Asked], None]


class ScriptedServer:
    """One server. Its subclass reads requests, and frames an echo."""

    def __init__(self, path: Path, scripts: dict[str, Script]) -> None:
        self.path = str(path)
        self.scripts = scripts
        self.requests: list[Asked] = []
        self._listening = socket.socket(socket.AF_UNIX)
        self._listening.bind(self.path)
        os.chmod(self.path, 0o777)
        self._listening.listen()
        threading.Thread(target=self._accept, daemon=True).start()

    def read(self, sock: socket.socket) -> Asked | None:
        raise NotImplementedError

    def framed(self, output: bytes) -> bytes:
        raise NotImplementedError

    def is_kept(self, asked: Asked) -> bool:
        return False

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listening.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        with sock:
            while True:
                try:
                    asked = self.read(sock)
                    if asked is None:
                        return
                    self.requests.append(asked)
                    script = self.scripts.get(dict(asked.parameters).get(b"ANSWER", b"").decode())
                    if callable(script):
                        script(sock, asked)
                    else:
                        sock.sendall(self.framed(echo(asked)) if script is None else script)
                except OSError:
                    return
                if not self.is_kept(asked):
                    return

    def close(self) -> None:
        if self._listening.fileno() >= 0:
            self._listening.shutdown(socket.SHUT_RDWR)
            self._listening.close()


def echo(asked: Asked) -> bytes:
    """A CGI response with all that was asked. Repeated ones are joined, as nginx itself does since 1.23."""
    joined: dict[bytes, bytes] = {}
    for name, value in asked.parameters:
        if name in joined and name.startswith(b"HTTP_"):
            value = joined[name] + (b"; " if name == b"HTTP_COOKIE" else b", ") + value
        joined[name] = value
    body = b"".join(sorted(b"%b=%b\n" % pair for pair in joined.items() if pair[0] != b"HTTP_HOST")) + asked.body
    return b"Status: 201 Made\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)


def exactly(sock: socket.socket, count: int) -> bytes:
    """So many bytes; OSError when there are fewer."""
    data = b""
    while len(data) < count:
        piece = sock.recv(count - len(data))
        if not piece:
            raise OSError("the other side has closed")
        data += piece
    return data


# FastCGI


def record(kind: int, content: bytes = b"", *, padding: int = 0, number: int = 1, version: int = 1) -> bytes:
    header = bytes((version, kind, number >> 8, number & 255, len(content) >> 8, len(content) & 255, padding, 0))
    return header + content + b"\xaa" * padding


def out(content: bytes, padding: int = 0) -> bytes:
    return record(6, content, padding=padding)


def err(content: bytes) -> bytes:
    return record(7, content)


END = record(3, bytes(8))


def fastcgi_pairs(data: bytes) -> list[tuple[bytes, bytes]]:
    pairs = []
    while data:
        sizes = []
        for _ in range(2):
            if data[0] < 128:
                sizes.append(data[0])
                data = data[1:]
            else:
                sizes.append(int.from_bytes(data[:4], "big") & 0x7FFFFFFF)
                data = data[4:]
        pairs.append((data[: sizes[0]], data[sizes[0] : sum(sizes)]))
        data = data[sum(sizes) :]
    return pairs


class FastcgiServer(ScriptedServer):
    """Keeps a connection when BEGIN asks for it."""

    def read(self, sock: socket.socket) -> Asked | None:
        head = parameters = body = b""
        self.keeps = False
        while True:
            if not head:
                first = sock.recv(1)
                if not first:
                    return None
                header = first + exactly(sock, 7)
            else:
                header = exactly(sock, 8)
            kind, length, padding = header[1], header[4] << 8 | header[5], header[6]
            content = exactly(sock, length + padding)[:length]
            if kind == 5:
                if not length:
                    return Asked(fastcgi_pairs(parameters), body, head)
                body += content
                continue
            head += header + content
            if kind == 1:
                self.keeps = bool(content[2])
            else:
                parameters += content

    def framed(self, output: bytes) -> bytes:
        return b"".join(out(output[begin : begin + 60_000]) for begin in range(0, len(output), 60_000)) + END

    def is_kept(self, asked: Asked) -> bool:
        return self.keeps


# uwsgi and SCGI


class UwsgiServer(ScriptedServer):
    def read(self, sock: socket.socket) -> Asked | None:
        header = exactly(sock, 4)
        data = left = exactly(sock, int.from_bytes(header[1:3], "little"))
        pairs: list[tuple[bytes, bytes]] = []
        while left:
            size = int.from_bytes(left[:2], "little")
            name, left = left[2 : 2 + size], left[2 + size :]
            size = int.from_bytes(left[:2], "little")
            value, left = left[2 : 2 + size], left[2 + size :]
            pairs.append((name, value))
        return Asked(pairs, exactly(sock, int(dict(pairs).get(b"CONTENT_LENGTH") or 0)), header + data)

    def framed(self, output: bytes) -> bytes:
        return output


class ScgiServer(ScriptedServer):
    def read(self, sock: socket.socket) -> Asked | None:
        size = b""
        while not size.endswith(b":"):
            size += exactly(sock, 1)
        data = exactly(sock, int(size[:-1]))
        assert exactly(sock, 1) == b","
        items = data.split(b"\0")
        pairs = list(zip(items[::2], items[1::2]))
        return Asked(pairs, exactly(sock, int(pairs[0][1])), size + data + b",")

    def framed(self, output: bytes) -> bytes:
        return output


# memcached


class MemcachedServer(ScriptedServer):
    """Scripts are by key; any other key is not there."""

    def read(self, sock: socket.socket) -> Asked | None:
        line = b""
        while not line.endswith(b"\n"):
            line += exactly(sock, 1)
        return Asked([(b"ANSWER", line.removeprefix(b"get ").strip())], b"", line)

    def _serve(self, sock: socket.socket) -> None:
        with sock:
            while True:
                try:
                    asked = self.read(sock)
                    assert asked is not None
                    self.requests.append(asked)
                    script = self.scripts.get(asked.parameters[0][1].decode(), b"END\r\n")
                    assert isinstance(script, bytes)
                    sock.sendall(script)
                except OSError:
                    return
                if not script.endswith(b"END\r\n"):
                    return
