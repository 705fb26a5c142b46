"""Conversations in HTTP/2 that went wrong: whatever a client sends, the worker has no bug, forgets the client, and serves others.

Each conversation is a mixture of frames that belong together, cut, repeated, exchanged, and with bytes changed. The same seed makes
the same conversations.
"""

from __future__ import annotations

import random
import re

import pytest
from conversation import End, ok
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
    SETTINGS,
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


BAD_FIELDS = (
    (b"transfer-encoding", b"chunked"),
    (b"te", b"gzip"),
    (b"X-Upper", b"1"),
    (b"x", b"a\r\nHost: evil"),
    (b"", b"1"),
    (b":path", b"/again"),
    (b"content-length", b"7"),
    (b"host", b"evil"),
    (b"x-long", b"v" * 9000),
)
# Index 0, an index beyond the tables, a string that goes on, wrong Huffman padding, a size at the end, a number without an end.
BAD_BLOCKS = (b"\x80", b"\xff\x80\x01", b"\0\x0aab", b"\0\1a\x82\x1f\xff", b"\x82\x20", b"\xff\x80\x80\x80\x80\1")


def request(choose: random.Random, stream: int) -> bytes:
    """The beginning of a request, mostly a good one."""
    path = choose.choice((b"/", b"/ready", b"/file", b"/streamed", b"/nothing"))
    fields = fields_of(path, method=choose.choice((b"GET", b"POST", b"HEAD")))
    ends = choose.choice((0, 0, ES))
    head = block(fields)
    return choose.choice(
        (
            lambda: frame(HEADERS, EH | ends, stream, head),
            lambda: frame(HEADERS, EH | ends, stream, head),
            lambda: frame(HEADERS, EH | ends | PADDED | PRIO, stream, b"\3" + bytes(5) + head + bytes(3)),
            lambda: frame(HEADERS, ends, stream, head[:7]) + frame(CONTINUATION, EH, stream, head[7:]),
            lambda: (
                frame(HEADERS, EH | ends, stream, head + block([(b"content-length", b"1000")])) + frame(DATA, ES, stream, b"x")
            ),
            lambda: frame(HEADERS, EH | ends, stream, block([*fields, choose.choice(BAD_FIELDS)])),
        )
    )()


def some_frame(choose: random.Random, stream: int) -> bytes:
    """A frame that makes sense somewhere."""
    ends = choose.choice((0, 0, ES))
    return choose.choice(
        (
            lambda: frame(HEADERS, EH | ES, stream, block([(b"x-trailer", b"1")])),
            lambda: frame(DATA, ends, stream, bytes(choose.choice((0, 1, 1000, 16384)))),
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


def fault(choose: random.Random, stream: int) -> bytes:
    """A frame that is wrong in itself, or a flood of frames that are not."""
    new = stream + 2
    head = block(fields_of(b"/ready"))
    return choose.choice(
        (
            lambda: frame(DATA, PADDED, stream, b"\xffabc"),
            lambda: frame(HEADERS, EH | PADDED, new, b"\x7f" + bytes(9)),
            lambda: frame(HEADERS, EH | PRIO, new, number(new) + b"\0" + head),
            lambda: frame(choose.choice((PRIORITY, RST, SETTINGS, PING, GOAWAY, WINDOW)), 0, 0, bytes(choose.randrange(9))),
            lambda: frame(HEADERS, EH | ES, new, choose.choice(BAD_BLOCKS)),
            lambda: frame(HEADERS, 0, new, head[:5]) + frame(CONTINUATION, 0, new) * 5,
            lambda: frame(HEADERS, 0, new, head[:5]) + frame(CONTINUATION, 0, new, head[5:6]) * 33,
            lambda: frame(HEADERS, 0, new) + frame(CONTINUATION, 0, new, bytes(16384)) * 9,
            lambda: frame(HEADERS, EH | ES, new, head + b"\x40\1x\x7f\xa1\x1e" + b"v" * 4000 + b"\xbe" * 60),
            lambda: frame(WINDOW, 0, stream, number(0x7FFFFFFF)) * 2,
            lambda: frame(DATA, 0, stream, bytes(16384)) * 20,
            lambda: choose.choice((frame(PING, 0, 0, bytes(8)), frame(PRIORITY, 0, 99, bytes(5)))) * 1001,
            lambda: settings((4, 0), (4, 1)) * 201,
            lambda: frame(DATA, 0, stream) * 10_001,
            lambda: b"".join(frame(HEADERS, EH, n, head) + frame(RST, 0, n, number(8)) for n in range(new, new + 500, 2)),
        )
    )()


def conversation(choose: random.Random) -> bytes:
    """The bytes of a client that is not quite right."""
    streams = [1]
    frames = [request(choose, 1)]
    for _ in range(choose.randrange(1, 12)):
        if choose.random() < 0.4:
            streams.append(streams[-1] + choose.choice((2, 2, 2, 4)))
            frames.append(request(choose, streams[-1]))
        else:
            frames.append(some_frame(choose, choose.choice((streams[-1], choose.choice(streams)))))
    if choose.random() < 0.5:
        frames.append(fault(choose, streams[-1]))
    wire = bytearray(b"".join(frames))
    for _ in range(choose.choice((0, 0, 0, 1, 3))):
        wire[choose.randrange(len(wire))] = choose.randrange(256)
    return PREFACE + settings() + bytes(wire[: choose.choice((len(wire), len(wire), choose.randrange(len(wire) + 1)))])


def faults_of(lines: list[str]) -> set[str]:
    """The kinds of faults of connections that a log tells of."""
    return {
        re.sub(r"\d+", "N", line.split("*", 1)[1].split(" while processing HTTP/2")[0]) for line in lines if "HTTP/2 conn" in line
    }


@pytest.mark.parametrize("seed", range(6))
def test_whatever_a_client_sends_the_worker_goes_on(stage, tmp_path, seed):
    (tmp_path / "file").write_bytes(bytes(50_000))
    s = http2(stage, peer_parameters=("max_fails = 0",), locations=LOCATIONS.replace("DIRECTORY", str(tmp_path)))
    choose = random.Random(seed)
    for round_number in range(70):
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
    assert len(faults_of(s.error_log())) >= 12, "the conversations do not go wrong in many ways"
    last = H2(s)
    last.ask(1, b"/ready")
    assert last.answer() == (200, b"ready")


NAMES = (
    b"x",
    b"cookie",
    b"host",
    b"te",
    b"content-length",
    b"expect",
    b"transfer-encoding",
    b"transfer_encoding",
    b"x:y",
    b"X",
    b"",
)
VALUES = (
    b"1",
    b"",
    b"0",
    b"trailers",
    b"chunked",
    b"100-continue",
    b"a\r\nEvil: 1",
    b"a\n",
    b"\0",
    b" 1",
    b"1\t",
    b"\xe5\x98\x8d\n",
    b"5",
)
PATHS = (
    b"/a",
    b"/a b",
    b"/a\r\nX: y",
    b"/%0d%0a",
    b"//x",
    b"/a#b",
    b"/\xff",
    b"*",
    b"@evil/",
    b"http://evil/",
    b"/a HTTP/1.1",
    b"/..",
)
METHODS = (b"GET", b"POST", b"DELETE", b"GET /x HTTP/1.1\r\nX:", b"get", b"", b"CONNECT", b"A_B")
AUTHORITIES = (b"front", b"front:80", b"a@b", b"a b", b"a\r\nX: y", b"a,b", None, b"")
SCHEMES = (b"http", b"http", b"https", b"http://evil/?", b"h\r\n")
BODIES = (b"", b"12345", b"0\r\n\r\nGET /evil HTTP/1.1\r\nHost: evil\r\n\r\n")
HEAD = re.compile(rb"[A-Z_-]+ /[!-~\x80-\xff]* HTTP/1\.1\r\n((?:[!#$%&'*+.^_`|~0-9A-Za-z-]+: ?[\t -~\x80-\xff]*\r\n)+)\r\n").match


def fields_that_deceive(choose: random.Random) -> list[tuple[bytes, bytes]]:
    """The fields of a request, of which most are as they should be."""

    def mostly(values):
        return values[0] if choose.random() < 0.7 else choose.choice(values)

    fields = fields_of(mostly(PATHS), method=mostly(METHODS), authority=mostly(AUTHORITIES), scheme=mostly(SCHEMES))
    fields += [(choose.choice(NAMES), choose.choice(VALUES)) for _ in range(choose.choice((0, 0, 1, 1, 2)))]
    return [(name + choose.choice(VALUES), value) if choose.random() < 0.02 else (name, value) for name, value in fields]


@pytest.mark.parametrize("location", ["", "proxy_request_buffering = false\nclient_max_body_size = 0"])
def test_whatever_fields_come_an_upstream_gets_one_whole_request_or_nothing(stage, location):
    s = http2(stage, "keepalive_requests = 10000\nkeepalive_time = '10h'", location=location, peer_parameters=("max_fails = 0",))
    choose = random.Random(7)
    h2, stream, served = H2(s), -1, 0
    for _ in range(300):
        stream += 2
        body = choose.choice(BODIES)
        head = block(fields_that_deceive(choose))
        h2.send(frame(HEADERS, EH, stream, head) + frame(DATA, ES, stream, body))
        sock = s.peers[0]._try_accept()
        if sock is None:
            assert f"{stream}: 400" in h2.hear() or f"{stream}: 405" in h2.hear(), (head, h2.hear())
        else:
            upstream = End(s, sock, "upstream")
            s.until(lambda upstream=upstream: HEAD(bytes(upstream.pull_all())) or upstream.saw_end, "neither a head nor an end")
            got = bytes(upstream.received)
            match = HEAD(got)
            assert match is not None, (head, got)
            lower = match[1].lower()
            assert b"transfer-encoding:" not in lower and b"evil:" not in lower and lower.count(b"host: ") == 1, (head, got)
            lengths = re.findall(rb"(?m)^content-length: (\d+)\r", lower)
            (length,) = map(int, lengths)
            payload = got[match.end() :]
            if length != len(body):  # only what is streamed has begun by then
                assert location and len(payload) <= length and upstream.is_closed(), (head, got)
                upstream.received.clear()
                assert h2.answer(stream)[0] == 400
                continue
            assert payload == body, (head, got)
            served += 1
            upstream.send(ok(b"answer", b"Connection: close"))
            upstream.received.clear()
            upstream.close()
            assert h2.answer(stream) == (200, b"answer")
        h2.said.clear()
        if "end" in h2.hear() or any("GOAWAY" in word for word in h2.said):
            h2.end.close()
            h2, stream = H2(s), -1
    assert 40 < served < 250
