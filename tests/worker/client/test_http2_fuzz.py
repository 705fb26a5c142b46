"""Conversations in HTTP/2 that went wrong: whatever a client sends, the worker has no bug, forgets the client, and serves others.

Each conversation is a mixture of frames that belong together, cut, repeated, exchanged, and with bytes changed. The same seed makes
the same conversations.
"""

from __future__ import annotations

import random

import pytest
from conversation import ok
from speaking import (
    CONTINUATION,
    DATA,
    EH,
    ES,
    GOAWAY,
    H2,
    HEADERS,
    PADDED,
    PING,
    PREFACE,
    PRIO,
    PRIORITY,
    RST,
    WINDOW,
    block,
    fields_of,
    frame,
    http2,
    number,
    settings,
)

LOCATIONS = """
[http.server.location."/ready"]
return = [200, "ready"]
[http.server.location."/file"]
root = "DIRECTORY"
[http.server.location."/streamed"]
proxy_pass = "http://app"
proxy_request_buffering = false
"""


def some_frame(choose: random.Random, stream: int) -> bytes:
    """A frame that makes sense somewhere."""
    path = choose.choice((b"/", b"/ready", b"/file", b"/streamed", b"/nothing"))
    head = block(fields_of(path, method=choose.choice((b"GET", b"POST", b"HEAD"))))
    ends = choose.choice((0, ES))
    return choose.choice(
        (
            lambda: frame(HEADERS, EH | ends, stream, head),
            lambda: frame(HEADERS, EH | ends | PADDED | PRIO, stream, b"\3" + bytes(5) + head + bytes(3)),
            lambda: frame(HEADERS, ends, stream, head[:7]) + frame(CONTINUATION, EH, stream, head[7:]),
            lambda: frame(HEADERS, EH | ES, stream, block([(b"x-trailer", b"1")])),
            lambda: frame(DATA, ends, stream, bytes(choose.choice((0, 1, 1000, 16384)))),
            lambda: frame(DATA, ends | PADDED, stream, b"\4abc" + bytes(4)),
            lambda: frame(RST, 0, stream, number(choose.choice((0, 8)))),
            lambda: frame(WINDOW, 0, choose.choice((0, stream)), number(choose.choice((1, 1000, 1 << 20, 0x7FFFFFFF)))),
            lambda: settings((choose.choice((1, 3, 4, 5, 6, 77)), choose.choice((0, 1, 100, 16384, 65535, 1 << 20)))),
            lambda: frame(PING, choose.choice((0, 1)), 0, bytes(8)),
            lambda: frame(PRIORITY, 0, stream, bytes(5)),
            lambda: frame(GOAWAY, 0, 0, bytes(8)),
            lambda: frame(choose.randrange(256), choose.randrange(256), stream, bytes(choose.randrange(20))),
        )
    )()


def conversation(choose: random.Random) -> bytes:
    """The bytes of a client that is not quite right."""
    stream, frames = -1, []
    for _ in range(choose.randrange(1, 12)):
        stream += choose.choice((0, 2, 2, 2)) if stream > 0 else 2
        frames.append(some_frame(choose, max(1, stream - choose.choice((0, 0, 0, 2)))))
    wire = bytearray(b"".join(frames))
    for _ in range(choose.choice((0, 0, 0, 1, 3))):
        wire[choose.randrange(len(wire))] = choose.randrange(256)
    return PREFACE + settings() + bytes(wire[: choose.choice((len(wire), len(wire), choose.randrange(len(wire) + 1)))])


@pytest.mark.parametrize("seed", range(6))
def test_whatever_a_client_sends_the_worker_goes_on(stage, tmp_path, seed):
    (tmp_path / "file").write_bytes(bytes(50_000))
    s = http2(stage, peer_parameters=("max_fails = 0",), locations=LOCATIONS.replace("DIRECTORY", str(tmp_path)))
    choose = random.Random(seed)
    for round_number in range(60):
        h2 = H2(s, begins=False)
        wire = conversation(choose)
        if choose.random() < 0.2:
            h2.end.send_slowly(wire[:400])
        else:
            h2.end.send_some(wire)
        while (accepted := s.peers[0]._try_accept()) is not None:
            accepted.settimeout(0)
            try:
                accepted.send(ok(b"answer"))
            except OSError:
                pass
            s.settle()
            accepted.close()
        h2.hear_anything()
        how = choose.randrange(3)
        if how == 0:
            h2.end.end_sending()
        elif how == 1:
            s.advance(choose.choice((0.5, 80)))
        h2.end.close()
        s.settle()
        s.advance(200)  # answers and bodies that were waited for
        assert not s.bugs, (seed, round_number, wire, s.bugs)
        assert not s.worker.clients.connections, (seed, round_number, wire)
    last = H2(s)
    last.ask(1, b"/ready")
    assert last.answer() == (200, b"ready")
