"""The body of a file by itself: pieces in order, never more at once than sendfile_max_chunk."""

from __future__ import annotations

import socket
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.made_requests import make_request
from worker.content.file_body import FileBody
from worker.content.open_files import OpenFile
from worker.loop import FAIR_SHARE, WRITE, Loop
from worker.stream import Stream
from wproxy.config.load import load_text
from wproxy.error_log import ErrorLog
from wproxy.route import Route

CONTENT = bytes(range(256)) * 1000


@pytest.fixture
def body(tmp_path: Path) -> Iterator[Any]:
    """Makes bodies of a file."""
    (tmp_path / "file").write_bytes(CONTENT)
    made = []

    def make(*pieces: Any, limit: int = 0) -> FileBody:
        text = f"events {{ }} http {{ server {{ listen 127.0.0.1:80; sendfile on; sendfile_max_chunk {limit}; }} }}"
        (server,) = load_text(text.encode(), "nginx.conf", "/", lambda *_: []).servers
        request = make_request()
        request.location = next(server.each_location())
        request.route = Route(request.location, b"wproxy", ErrorLog((), lambda: 0.0))
        made.append(FileBody(request, OpenFile(str(tmp_path / "file").encode()), pieces))
        return made[-1]

    yield make
    for one in made:
        one.close()


class Far:
    """A stream, and what has arrived at its other end."""

    def __init__(self) -> None:
        near, self.far = socket.socketpair()
        near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)
        near.setblocking(False)
        self.near = near
        self.loop = Loop()
        self.stream = Stream(self.loop, near)

    def take(self) -> bytes:
        return self.far.recv(1 << 20)


@pytest.fixture
def far() -> Iterator[Far]:
    made = Far()
    yield made
    made.near.close()
    made.far.close()
    made.loop.close()


def result(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """What it returns; it must not wait, but for letting others have their turn."""
    with pytest.raises(StopIteration) as stopped:
        while coroutine.send(None)[0] is None:
            pass
    return stopped.value.value


def test_no_more_than_sendfile_max_chunk_is_sent_at_once(body, far):
    source = body((0, 100_000), limit=4096)
    assert [result(source.send(far.stream, None, 1, FAIR_SHARE)) for _ in range(3)] == [4096] * 3
    assert far.take() == CONTENT[: 3 * 4096]
    assert source.send(far.stream, None, 1, FAIR_SHARE).send(None) == (None, 0, 0.0), "others have their turn before the next one"


def test_a_full_socket_is_waited_for_and_then_it_goes_on(body, far):
    source = body((5, len(CONTENT)))
    sent = result(source.send(far.stream, None, 1, FAIR_SHARE))
    assert sent < len(CONTENT) - 5
    waiting = source.send(far.stream, None, 7, FAIR_SHARE)
    stream, events, seconds = waiting.send(None)
    assert (stream, events, seconds) == (far.stream, WRITE, 7)
    received = far.take()
    with pytest.raises(StopIteration) as stopped:
        waiting.send(None)
    sent += stopped.value.value
    while len(received) < sent:
        received += far.take()
    assert received == CONTENT[5 : 5 + sent]


@pytest.mark.parametrize("by", ["send", "read"])
def test_texts_and_stretches_come_in_order_and_then_the_end(body, far, by):
    source = body(b"one", (1000, 1000), (3, 6), b"two", (0, 2), b"three")
    expected = b"one" + CONTENT[3:6] + b"two" + CONTENT[:2] + b"three"
    if by == "send":
        while result(source.send(far.stream, None, 1, FAIR_SHARE)):
            pass
        assert far.take() == expected
    else:
        assert b"".join(iter(lambda: result(source.read()), b"")) == expected


def test_reading_takes_pieces_of_64_kilobytes(body):
    source = body((0, len(CONTENT)))
    pieces = list(iter(lambda: result(source.read()), b""))
    assert b"".join(pieces) == CONTENT
    assert {len(piece) for piece in pieces[:-1]} == {65536}


def test_closing_twice_is_allowed(body):
    source = body((0, 1))
    source.close()
    source.close()
    assert source.file.fd == -1
