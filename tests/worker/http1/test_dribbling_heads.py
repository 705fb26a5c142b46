"""Heads that come a few bytes at a time: the same verdict at the same byte as when each piece is read from the beginning, for less."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from conversation import Stage, get, ok, to_client

from worker.client.http1 import serve
from worker.http1.request import HeadLimits, HeadMemo, is_still_begun, take_request_head
from wproxy.failures import ClientError

LIMITS = HeadLimits(line=64, field=40, total=160, count=6)
LINES = (
    b"Host: h",
    b"A: " + b"x" * 30,
    b"A: " + b"x" * 34,
    b"A: " + b"x" * 35,
    b"A: " + b"x" * 36,
    b"",
    b"a",
    b"no colon",
    b"B:",
    b"\rc: d",
)
ENDS = (b"\r\n", b"\n")


def verdict(pieces: list[bytes], looks: bool) -> tuple[int, int, str]:
    """(pieces needed, status or 0, reason or the bytes consumed). looks: whether is_still_begun is asked, as a connection does."""
    memo = HeadMemo()
    buffer = b""
    for number, piece in enumerate(pieces):
        begun, buffer = bool(buffer), buffer + piece
        if looks and begun and is_still_begun(buffer, LIMITS, memo):
            continue
        try:
            taken = take_request_head(buffer, LIMITS, memo)
        except ClientError as error:
            return number, error.status, error.reason
        if taken is not None:
            return number, 0, str(taken[2])
    return len(pieces), 0, ""


@pytest.mark.parametrize("seed", range(8))
def test_the_verdict_does_not_depend_on_what_is_skipped(seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(400):
        head = b"\r\n" * chance.randrange(2) + b"GET / HTTP/1.1" + chance.choice(ENDS)
        for _ in range(chance.randrange(9)):
            head += chance.choice(LINES) + chance.choice(ENDS)
        head += chance.choice(ENDS)
        pieces = []
        while head:
            size = 1 if seed % 2 else chance.randrange(1, 40)
            pieces.append(head[:size])
            head = head[size:]
        assert verdict(pieces, looks=True) == verdict(pieces, looks=False), pieces


@pytest.mark.interpreted_only("a function of a module is replaced to be counted")
def test_a_head_that_comes_byte_by_byte_is_not_read_for_each_byte(
    stage: Callable[..., Stage], monkeypatch: pytest.MonkeyPatch
) -> None:
    read = 0

    def count(buffer: bytes, limits: HeadLimits, memo: HeadMemo) -> object:
        nonlocal read
        read += 1
        return take_request_head(buffer, limits, memo)

    monkeypatch.setattr(serve, "take_request_head", count)
    s = stage()
    fields = [b"A: " + b"x" * 1000, *[b"B%d: c" % number for number in range(20)]]
    head = get(b"/", *fields)
    client = s.client()
    upstream = None
    for _ in range(2):  # a connection knows its last head, and this one all the same begins anew
        read = 0
        for at in range(len(head)):
            client.sock.send(head[at : at + 1])
            s.loop.turn(0)
        s.settle()
        assert 0 < read < 30  # for the request line, byte by byte, and for the end
        upstream = upstream or s.peers[0].accept()
        upstream.receives_head()
        upstream.send(ok())
        client.receives(to_client())
