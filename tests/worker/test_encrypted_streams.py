"""Streams whose bytes are not those of their sockets, as TLS has them: whatever the body and whichever side is encrypted, it
arrives, and no clear byte is ever on the wire. The cipher is an XOR; what is tested is that nothing goes round it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from conversation import End, Stage, chunks, get, ok, post

import worker.upstream.connect
from worker.stream import Stream

KEY = 0x5A
TABLE = bytes(byte ^ KEY for byte in range(256))
SIDES = ("client", "upstream", "both")


def encrypted(stream: Stream) -> Stream:
    """The stream, from now on with a cipher between it and its socket."""
    recv, send = stream.sock.recv, stream.sock.send
    stream.kernel_fd = -1
    stream.recv = lambda most: recv(most).translate(TABLE)
    stream.send = lambda data: send(bytes(data).translate(TABLE))
    return stream


class Cipher:
    """The far end's socket, with the same cipher."""

    def __init__(self, sock: Any) -> None:
        self._sock = sock

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)

    def recv(self, most: int) -> bytes:
        data: bytes = self._sock.recv(most)
        return data.translate(TABLE)

    def send(self, data: bytes | memoryview) -> int:
        sent: int = self._sock.send(bytes(data).translate(TABLE))
        return sent


class Talk:
    """A client and an upstream of a stage, one of them or both behind a cipher."""

    def __init__(self, s: Stage, side: str) -> None:
        self.s, self.side = s, side
        before = set(s.worker.clients.connections)
        self.client = s.client(tcp=True, receive_buffer=65536, send_buffer=65536)
        (connection,) = set(s.worker.clients.connections) - before
        if side != "upstream":
            encrypted(connection.stream)  # type: ignore[attr-defined]
            self.client.sock = Cipher(self.client.sock)

    def upstream(self) -> End:
        end = self.s.peers[0].accept()
        if self.side != "client":
            end.sock = Cipher(end.sock)
        return end


@pytest.fixture(params=SIDES)
def talk(request: Any, stage: Callable[..., Stage], monkeypatch: Any) -> Callable[..., Talk]:
    """Makes a stage, and a talk on it."""
    side = request.param

    class Encrypted(Stream):
        __slots__ = ()

        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            encrypted(self)

    if side != "client":
        monkeypatch.setattr(worker.upstream.connect, "Stream", Encrypted)
    return lambda **settings: Talk(stage(**settings), side)


def received(end: End, size: int) -> bytes:
    """So many bytes, taken while the worker and whoever sends go on."""
    end.stage.until(lambda: len(end.pull_all()) >= size, f"the {end.name} received only {len(end.received)} of {size}")
    data = bytes(end.received[:size])
    del end.received[:size]
    return data


BIG = bytes(range(256)) * 8192  # 2 MB


@pytest.mark.parametrize("settings", ["", "proxy_buffering = false", "proxy_limit_rate = 0\nlimit_rate = 0", "gunzip = true"])
def test_a_proxied_body_with_a_length(talk, settings):
    t = talk(location=settings)
    t.client.send(get())
    upstream = t.upstream()
    upstream.receives_head()
    upstream.send_some(ok(BIG)[:200_000])
    assert b"Content-Length: %d" % len(BIG) in t.client.receives_head()
    left, got = ok(BIG)[200_000:], b""
    while left:
        left = left[upstream.send_some(left[:300_000]) :]
        got += bytes(t.client.pull_all())
        t.client.received.clear()
    got += received(t.client, len(BIG) - len(got))
    assert got == BIG


def test_a_proxied_body_in_chunks(talk):
    t = talk()
    t.client.send(get())
    upstream = t.upstream()
    upstream.receives_head()
    body = BIG[:300_000]
    upstream.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks(body[:1000]).removesuffix(b"0\r\n\r\n"))
    t.client.receives_head()
    upstream.send(chunks(body[1000:]))
    wire = bytes(t.client.take())
    t.s.until(lambda: t.client.pull_all().endswith(b"0\r\n\r\n") or wire.endswith(b"0\r\n\r\n"), "no end")
    wire += bytes(t.client.received)
    got = b""
    while wire:
        size, _, wire = wire.partition(b"\r\n")
        got += wire[: int(size, 16)]
        wire = wire[int(size, 16) + 2 :]
    assert got == body


def test_a_slow_client_and_a_temporary_file(talk):
    t = talk(location="proxy_buffers = [8, 4096]\nproxy_max_temp_file_size = 4194304")
    t.client.send(get())
    upstream = t.upstream()
    upstream.receives_head()
    wire = ok(BIG)
    sent = upstream.send_some(wire)
    t.s.advance(2)
    sent += upstream.send_some(wire[sent:])
    for _ in range(20):
        t.s.advance(0.2)
        sent += upstream.send_some(wire[sent:])
    assert sent == len(wire), "all of it is read ahead of the client"
    assert any("temporary file" in line for line in t.s.error_log())
    t.client.receives_head()
    assert received(t.client, len(BIG)) == BIG


@pytest.mark.parametrize("settings", ["", "proxy_request_buffering = false", "client_body_in_file_only = 'clean'"])
def test_an_upload(talk, settings):
    t = talk(location=settings, server="client_max_body_size = 0\n")
    wire = post(BIG)
    sent = t.client.send_some(wire)
    upstream, got = None, b""
    for _ in range(500):
        sent += t.client.send_some(wire[sent:])
        if upstream is None and t.s.group().peers[0].connections:
            upstream = t.upstream()
        if upstream is not None:
            got += bytes(upstream.pull_all())
            upstream.received.clear()
        if got.endswith(BIG[-1000:]) and len(got) > len(BIG):
            break
    assert upstream is not None and got.partition(b"\r\n\r\n")[2] == BIG
    upstream.send(ok())
    assert t.client.receives_head().startswith(b"HTTP/1.1 200 OK")


def test_an_upload_after_100_continue(talk):
    t = talk()
    t.client.send(get(b"/", b"Content-Length: 5", b"Expect: 100-continue", method=b"POST"))
    assert t.client.receives_head() == b"HTTP/1.1 100 Continue\r\n\r\n"
    t.client.send(b"hello")
    upstream = t.upstream()
    upstream.receives_head()
    assert upstream.take() == b"hello"
    upstream.send(ok())
    assert t.client.receives_head().startswith(b"HTTP/1.1 200 OK")


@pytest.mark.parametrize("settings", ["", "sendfile = false", "limit_rate = 104857600", "gzip_static = true"])
def test_a_file(talk, tmp_path, settings):
    (tmp_path / "big").write_bytes(BIG)
    t = talk(locations=f'[http.server.location."/big"]\nroot = "{tmp_path}"\n{settings}\n')
    t.client.send(get(b"/big"))
    t.client.receives_head()
    assert received(t.client, len(BIG)) == BIG


def test_parts_of_a_file(talk, tmp_path):
    (tmp_path / "big").write_bytes(BIG)
    t = talk(locations=f'[http.server.location."/big"]\nroot = "{tmp_path}"\n')
    t.client.send(get(b"/big", b"Range: bytes=0-199999,300000-499999"))
    t.client.receives_head()
    wire = received(t.client, 400_000)
    assert BIG[:200_000] in wire


def test_a_tunnel(talk):
    t = talk(location='proxy_set_header = { Upgrade = "$http_upgrade", Connection = "upgrade" }')
    t.client.send(get(b"/", b"Upgrade: x", b"Connection: upgrade"))
    upstream = t.upstream()
    upstream.receives_head()
    upstream.send(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n")
    assert t.client.receives_head().startswith(b"HTTP/1.1 101 ")
    for sender, receiver in ((t.client, upstream), (upstream, t.client)):
        sender.send(b"ping")
        assert receiver.take() == b"ping"
        left, got = BIG[:1_000_000], b""
        while left:
            left = left[sender.send_some(left) :]
            got += bytes(receiver.pull_all())
            receiver.received.clear()
        got += received(receiver, 1_000_000 - len(got))
        assert got == BIG[:1_000_000]
