"""One exchange with an OCSP responder, whose side is scripted: what is asked, and which answers are no answers."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from worker.loop import Loop
from worker.stream import Stream
from worker.tls.responder import LONGEST_ANSWER, LONGEST_HEAD, exchange, question_line
from wproxy.address import Address
from wproxy.failures import TimedOut
from wproxy.tls.ocsp import BadAnswer, Responder

HEAD = b"HTTP/1.0 200 OK\r\nContent-Type: application/ocsp-response\r\n"


def asked(pieces: list[bytes], ends: bool = True) -> Any:
    """The result of an exchange in which the responder says this, piece by piece, or what was raised."""
    now = [1000.0]
    loop = Loop(read_clock=lambda: now[0])
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    stream = Stream(loop, ours)
    loop.add(stream)
    results: list[Any] = []

    async def run() -> None:
        try:
            results.append(await exchange(stream, b"GET / HTTP/1.0\r\n\r\n", now[0] + 60))
        except (BadAnswer, TimedOut, OSError) as error:
            results.append(error)

    loop.spawn(run())
    with ours, theirs:
        loop.turn(0)
        assert theirs.recv(100) == b"GET / HTTP/1.0\r\n\r\n"
        for piece in pieces:
            theirs.sendall(piece)
            loop.turn(0)
            loop.turn(0)
        if ends:
            theirs.shutdown(socket.SHUT_WR)
        for _ in range(5):
            loop.turn(0)
        if not results:
            now[0] += 61
            loop.turn(0)
            loop.turn(0)
    stream.close()
    loop.close()
    return results[0]


def test_a_question_is_a_get_with_nothing_that_a_path_may_not_have():
    responder = Responder(Address("ocsp.test", 8080), "ocsp.test:8080", "/a")
    assert question_line(responder, b"\xfb\xff\x00") == b"GET /a/%2B%2F8A HTTP/1.0\r\nHost: ocsp.test:8080\r\n\r\n"
    assert question_line(responder._replace(path="/"), b"\x00").startswith(b"GET /AA%3D%3D HTTP/1.0\r\n")


@pytest.mark.parametrize(
    "pieces",
    [
        [HEAD + b"Content-Length: 4\r\n\r\nabcd"],
        [HEAD + b"Content-Length: 4\r\n\r\n", b"ab", b"cd and more"],
        [HEAD + b"\r\nab", b"cd"],
        [HEAD[:20], HEAD[20:], b"\r\nabcd"],
        [HEAD.replace(b"response", b"Response; x=y") + b"\r\nabcd"],
    ],
)
def test_an_answer_comes_whole_however_it_arrives(pieces):
    assert asked(pieces) == b"abcd"


def test_an_answer_with_a_length_does_not_wait_for_the_end():
    assert asked([HEAD + b"Content-Length: 4\r\n\r\nabcd"], ends=False) == b"abcd"


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (b"", "prematurely closed"),
        (HEAD, "prematurely closed"),
        (HEAD + b"Content-Length: 5\r\n\r\nabcd", "prematurely closed"),
        (b"nonsense\r\n\r\n", "invalid response"),
        (HEAD.replace(b"200 OK", b"404 Not Found") + b"\r\nabcd", "invalid response, status 404"),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "invalid response"),
        (HEAD.replace(b"ocsp-response", b"html") + b"\r\nabcd", 'invalid "Content-Type" header: "application/html"'),
        (HEAD + b"\r\n" + b"x" * (LONGEST_HEAD + LONGEST_ANSWER), "too long"),
    ],
)
def test_anything_else_is_no_answer(said, reason):
    error = asked([said])
    assert isinstance(error, BadAnswer) and reason in str(error)


def test_a_responder_that_says_nothing_is_given_up():
    assert isinstance(asked([HEAD], ends=False), TimedOut)
