"""Large bodies from upstream to client: moved by the kernel, read ahead of slow clients, at a rate (proxy.md §3.3)."""

from __future__ import annotations

import gzip
import hashlib
import math
import os
import random
import re
import select
import socket
import struct

import pytest
from conversation import End, Stage, get, small_disk
from hypothesis import given, settings
from hypothesis import strategies as st

import worker.pipes
from worker.pipes import PipePool, pool
from worker.upstream import incoming
from worker.upstream.backlog import Backlog
from worker.upstream.proxied_body import PATIENCE, ProxiedBody

LENGTH, CHUNKED, CLOSE = "length", "chunked", "close"
SIZES = [0, 1, 4095, 4096, 4097, 65535, 65536, 65537, 1_048_575, 1_048_577, 5_000_000]


@pytest.fixture(autouse=True)
def _nothing_is_told_yet(monkeypatch):
    """Each test has a worker of its own, though all are one process."""
    monkeypatch.setattr(Backlog, "told_at", -math.inf)


@pytest.fixture(autouse=True)
def _no_pipe_is_lost():
    pool.close_idle()
    assert not pool.made
    yield
    assert all(not pipe.held for pipe in pool.idle)
    pool.close_idle()
    assert not pool.made, "a pipe was never given back"


def head(framing: str, size: int, *lines: bytes) -> bytes:
    """The head of an answer whose body ends like this."""
    said = {LENGTH: b"Content-Length: %d\r\n" % size, CHUNKED: b"Transfer-Encoding: chunked\r\n", CLOSE: b""}[framing]
    return b"HTTP/1.1 200 OK\r\n" + said + b"".join(line + b"\r\n" for line in lines) + b"\r\n"


def framed(framing: str, body: bytes, source: random.Random) -> bytes:
    """A body on the wire, in chunks of any size where that is its framing."""
    if framing != CHUNKED:
        return body
    wire, position = b"", 0
    while position < len(body):
        size = source.choice((1, 100, 4096, 70_000, 300_000))
        piece = body[position : position + size]
        wire += b"%x\r\n%b\r\n" % (len(piece), piece)
        position += size
    return wire + b"0\r\n\r\n"


def unframed(answer: bytes) -> bytes:
    """The body of a whole answer, by its own framing."""
    said, body = answer.split(b"\r\n\r\n", 1)
    if b"chunked" not in said:
        return body
    out, position = [], 0
    while True:
        line_end = body.index(b"\r\n", position)
        size = int(body[position:line_end], 16)
        position = line_end + 2
        if not size:
            assert body[position:] == b"\r\n"
            return b"".join(out)
        out.append(body[position : position + size])
        assert body[position + size : position + size + 2] == b"\r\n"
        position += size + 2


def request(s: Stage, wire: bytes = get(), **options: int) -> tuple[End, End]:
    """A client that has asked, and the upstream connection that was asked."""
    client = s.client(**options)
    client.send(wire)
    upstream = s.peers[0].accept()
    upstream.receives_head()
    return client, upstream


def pull_until(s: Stage, client: End, size: int) -> bytes:
    """So many bytes for the client, as they come."""
    s.until(lambda: len(client.pull_all()) >= size or client.saw_end, f"only {len(client.received)} of {size} bytes came")
    return bytes(client.received)


def transfer(client: End, upstream: End, wire: bytes, source: random.Random, most: int = 400_000) -> None:
    """Send this from the upstream in pieces of any size, while the client takes what has come."""
    position = 0
    while position < len(wire):
        size = source.randint(1, most)
        piece = wire[position : position + size]
        while piece:
            piece = piece[upstream.send_some(piece) :]
            client.pull_all()
        position += size


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("framing", [LENGTH, CHUNKED, CLOSE])
@pytest.mark.parametrize("buffering", ["true", "false"])
def test_a_body_arrives_as_it_was_sent(stage, framing, size, buffering):
    source = random.Random(f"{framing} {size}")
    body = source.randbytes(size)
    s = stage(location=f"proxy_buffering = {buffering}")
    client, upstream = request(s)
    upstream.send(head(framing, size))
    wire = framed(framing, body, source)
    transfer(client, upstream, wire, source)
    if framing == CLOSE:
        upstream.close()
    s.until(lambda: client.pull_all() and s.access_log(), "the request does not end")
    answer = bytes(client.pull_all())
    assert hashlib.sha256(unframed(answer)).digest() == hashlib.sha256(body).digest()
    access = s.last_access()
    assert access["status"] == "200"
    assert int(access["bytes_sent"]) == len(answer)
    assert int(access["upstream_response_length"]) == len(wire)
    assert int(access["upstream_bytes_received"]) == len(wire) + len(head(framing, size))
    assert client.is_open()
    if framing != CLOSE:
        assert s.group().idle_count == 1


# A first read takes 16,384 bytes, a second one as much as proxy_buffers hold: 32,768.
FIRST = 16_384 - len(head(LENGTH, 20_000))


@pytest.mark.interpreted_only("which way a body goes is told by a class that is replaced")
@pytest.mark.parametrize(
    ("size", "location", "is_at_once"),
    [
        (FIRST, "", True),
        (FIRST + 1, "", True),
        (FIRST + 32_768, "", True),
        (FIRST + 32_769, "", False),
        (FIRST + 8193, 'proxy_buffers = [2, "4k"]\nproxy_busy_buffers_size = "4k"', False),
        (FIRST + 1, "proxy_buffering = false", False),
        (FIRST + 1, 'proxy_limit_rate = "500m"', False),
    ],
)
def test_a_body_that_a_second_read_completes_goes_out_with_its_head(stage, monkeypatch, size, location, is_at_once):
    made = []
    monkeypatch.setattr(incoming, "ProxiedBody", lambda *arguments: made.append(arguments) or ProxiedBody(*arguments))
    s = stage(location=location)
    client, upstream = request(s)
    body = random.Random(size).randbytes(size)
    upstream.sock.setblocking(True)
    upstream.sock.sendall(head(LENGTH, size) + body)  # all of it has come before the worker looks
    s.until(lambda: s.access_log(), "the request does not end")
    assert bytes(client.pull_all()).endswith(b"\r\n\r\n" + body)
    assert (not made, s.group().idle_count) == (is_at_once, 1)
    assert s.last_access()["upstream_bytes_received"] == str(len(head(LENGTH, size)) + size)


@pytest.mark.parametrize("size", [FIRST + 1, FIRST + 30_000, FIRST + 40_000, 100_000, 300_000])
@pytest.mark.parametrize("surplus", [b"x", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"], ids=["a byte", "a response"])
def test_surplus_after_a_large_body_is_seen(stage, size, surplus):
    s = stage()
    client, upstream = request(s)
    body = random.Random(size).randbytes(size)
    upstream.send(head(LENGTH, size) + body + surplus)
    s.until(lambda: client.pull_all() and s.access_log(), "the request does not end")
    assert bytes(client.pull_all()).endswith(b"\r\n\r\n" + body)
    assert s.group().idle_count == 0
    client.send(get())
    assert s.peers[0].accept().receives_head(), "the next request has another connection"


@pytest.mark.parametrize("size", [FIRST + 20_000, 300_000])
def test_a_reset_where_the_first_read_ended_is_told_once_the_beginning_is_out(stage, size):
    s = stage()
    client, upstream = request(s)
    wire = head(LENGTH, size)
    wire += b"x" * (16_384 - len(wire))
    upstream.sock.sendall(wire)
    upstream.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    upstream.sock.close()
    upstream.over = True
    s.until(lambda: s.access_log(), "the request does not end")
    client.pull_all()
    assert client.received.startswith(b"HTTP/1.1 200 OK\r\n") and client.saw_end
    assert "104: Connection reset by peer" in s.error_log()[0] and "while reading upstream" in s.error_log()[0]


@pytest.mark.parametrize("framing", [LENGTH, CHUNKED, CLOSE])
@pytest.mark.parametrize("seed", range(6))
def test_a_client_that_reads_in_fits_gets_it_all(stage, framing, seed):
    """Time passes, so that it falls behind and catches up again; the file is small, so that it is used more than once."""
    source = random.Random(seed)
    size = source.randint(500_000, 3_000_000)
    body = source.randbytes(size)
    s = stage(
        location='proxy_max_temp_file_size = "200k"\nproxy_buffers = [8, "4k"]\nsend_timeout = "1h"\nproxy_read_timeout = "1h"'
    )
    client, upstream = request(s, send_buffer=4096)
    wire = head(framing, size) + framed(framing, body, source)
    for _ in range(10_000):
        if wire:
            wire = wire[upstream.send_some(wire[: source.randint(1, 500_000)]) :]
            if not wire and framing == CLOSE:
                upstream.close()
        if source.random() < 0.6:
            s.advance(source.choice((0.3, 1.5)))
        client.pull(len(client.received) + source.randint(1, 300_000))
        s.settle()
        if not wire and s.access_log():
            break
    answer = bytes(client.pull_all())
    assert unframed(answer) == body
    assert any("buffered to a temporary file" in line for line in s.error_log())


EDGES = (0, 1, 4095, 4096, 4097, 32_767, 32_768, 32_769, 65_535, 65_536, 65_537, 400_000)


def test_every_body_arrives_as_it_was_however_it_is_sent_and_read(stage):
    """Any size, any chunks, any cuts, and a client that is quick, slow, or so slow that it is read ahead of."""
    place = '[http.server.location."/%s"]\nproxy_pass = "http://app"\nproxy_max_temp_file_size = "100k"\nproxy_buffering = %s\n'
    timers = 'send_timeout = "1h"\nproxy_read_timeout = "1h"'
    changed = place % ("changed", "true") + "sub_filter = [['no such thing', 'x']]\nsub_filter_types = '*'\n"
    zipped = place % ("zipped", "true") + "gzip = true\ngzip_types = '*'\nsub_filter = [['no such thing', 'x']]\n"
    s = stage(server=timers, locations=place % ("ahead", "true") + place % ("along", "false") + changed + zipped)

    @settings(max_examples=50, deadline=None)
    @given(
        target=st.sampled_from((b"/ahead", b"/along", b"/changed", b"/zipped")),
        framing=st.sampled_from((LENGTH, CHUNKED, CLOSE)),
        size=st.sampled_from(EDGES),
        cuts=st.lists(st.integers(1000, 200_000), min_size=1, max_size=5),
        pulls=st.lists(st.integers(1000, 200_000), min_size=1, max_size=5),
        pause=st.sampled_from((0.0, 0.0, 1.5)),
        seed=st.integers(0, 1000),
    )
    def transfer(target: bytes, framing: str, size: int, cuts: list[int], pulls: list[int], pause: float, seed: int) -> None:
        body = random.Random(seed).randbytes(size)
        client, upstream = request(s, get(target, b"Connection: close", b"Accept-Encoding: gzip"), send_buffer=4096)
        wire = head(framing, size, b"Content-Type: text/x") + framed(framing, body, random.Random(seed))
        for step in range(10_000):
            if wire:
                wire = wire[upstream.send_some(wire[: cuts[step % len(cuts)]]) :]
                if not wire and framing == CLOSE:
                    upstream.close()
            if pause:
                s.advance(pause)
            before = len(client.received)
            client.pull(before + pulls[step % len(pulls)])
            s.settle()
            if client.saw_end:
                break
            if len(client.received) == before and not wire:
                select.select([client.sock], [], [], 0.01)  # a system short of memory for sockets may take its time
        whole = unframed(bytes(client.received))
        assert (gzip.decompress(whole) if b"Content-Encoding: gzip" in client.received[:500] else whole) == body
        client.close()
        for idle in [end for end in s.ends if end.name != "client" and not end.over]:
            idle.close()

    transfer()


def test_http_10_gets_a_body_without_length_as_it_is(stage):
    body = random.Random(1).randbytes(2_000_000)
    s = stage()
    client, upstream = request(s, b"GET / HTTP/1.0\r\nHost: front\r\n\r\n")
    upstream.send(head(CLOSE, 0))
    transfer(client, upstream, body, random.Random(1))
    upstream.close()
    assert client.is_closed()
    assert bytes(client.received).split(b"\r\n\r\n", 1)[1] == body


def test_what_comes_after_the_body_is_not_sent_and_the_connection_not_kept(stage):
    s = stage()
    client, upstream = request(s)
    upstream.send(head(LENGTH, 300_000) + b"x" * 300_000 + b"HTTP/1.1 200 OK\r\n\r\n")
    answer = pull_until(s, client, 300_000)
    assert answer.endswith(b"\r\n\r\n" + b"x" * 300_000)
    assert upstream.is_closed()
    assert client.is_open()


def test_an_upstream_that_breaks_off_cuts_the_client(stage):
    s = stage()
    client, upstream = request(s)
    upstream.send(head(LENGTH, 3_000_000) + b"x" * 1_000_000)
    upstream.close()
    assert client.is_closed()
    assert len(client.received) > 1_000_000
    assert "upstream prematurely closed connection while reading upstream" in s.last_access()["wproxy_end_cause"]
    assert s.last_access()["wproxy_end_code"] == "up_cut"
    assert "upstream prematurely closed connection while reading upstream" in s.error_log()[-1]


def test_a_silent_upstream_is_blamed_in_mid_body(stage):
    s = stage(location='proxy_read_timeout = "7s"')
    client, upstream = request(s)
    upstream.send(head(LENGTH, 3_000_000) + b"x" * 1_000_000)
    client.pull_all()
    s.advance(6.9)
    assert not s.access_log()
    s.advance(0.2)
    assert client.is_closed()
    assert f"(proxy_read_timeout 7: {s.position('proxy_read_timeout')})" in s.last_access()["wproxy_end_cause"]
    assert s.last_access()["wproxy_end_code"] == "up_body_timeout"


@pytest.mark.parametrize("is_behind", [False, True])
def test_a_client_that_leaves_frees_the_upstream_at_once(stage, is_behind):
    s = stage()
    client, upstream = request(s, tcp=True, receive_buffer=65536, send_buffer=65536)
    upstream.send_some(head(LENGTH, 1 << 30) + b"x" * 3_000_000)
    if is_behind:
        s.advance(PATIENCE)
        s.advance(0)
        assert upstream.send_some(b"x" * 3_000_000) == 3_000_000
    client.reset()
    assert upstream.is_closed()
    assert s.last_access()["wproxy_end_cause"] == "client: closed the connection"
    assert s.last_access()["wproxy_end_code"] == "cl_left_late"


# Read ahead.


def test_a_client_is_waited_for_before_anything_is_read_ahead(stage):
    s = stage()
    _, upstream = request(s, send_buffer=4096)
    sent = upstream.send_some(head(LENGTH, 1 << 30) + b"x" * 9_000_000)
    assert sent < 6_000_000
    s.advance(PATIENCE / 2)
    assert upstream.send_some(b"x" * 9_000_000) < 1_000_000
    s.advance(PATIENCE / 2)
    assert upstream.send_some(b"x" * 9_000_000) == 9_000_000
    assert "an upstream response is buffered to a temporary file" in s.error_log()[-1]


def test_an_upstream_is_done_early_however_slow_the_client(stage):
    body = random.Random(2).randbytes(6_000_000)
    s = stage(location='send_timeout = "1000s"')
    client, upstream = request(s, send_buffer=4096)
    wire = head(LENGTH, len(body)) + body
    sent = upstream.send_some(wire)
    s.advance(PATIENCE)
    upstream.send(wire[sent:])
    assert s.group().idle_count == 1
    assert not s.access_log()
    s.advance(100)
    assert pull_until(s, client, len(body)).endswith(body)
    access = s.last_access()
    assert float(access["upstream_response_time"]) < 2
    assert float(access["request_time"]) > 100


CHANGING = {
    "sub_filter": "sub_filter = [['no such thing', 'x']]",
    "gzip": "gzip = true",
    "both": "gzip = true\nsub_filter = [['no such thing', 'x']]",
    "stored": "proxy_store = '{directory}/stored'",
    "in memory": "gzip = true\nproxy_buffers = [8, '1m']\nproxy_busy_buffers_size = '1m'",
    "limit_rate": "gzip = true\nlimit_rate = '100k'",
}


@pytest.mark.parametrize("framing", [LENGTH, CHUNKED])
@pytest.mark.parametrize("setting", CHANGING)
def test_an_upstream_is_done_early_where_its_body_is_changed_on_its_way(stage, setting, framing):
    body = random.Random(3).randbytes(6_000_000)
    s = stage(location='send_timeout = "1000s"\n' + CHANGING[setting])
    client, upstream = request(s, get(b"/", b"Accept-Encoding: gzip"), send_buffer=4096)
    wire = head(framing, len(body), b"Content-Type: text/html") + framed(framing, body, random.Random(4))
    sent = upstream.send_some(wire)
    assert sent < 5_000_000
    s.advance(PATIENCE)
    s.advance(0)
    upstream.send(wire[sent:])
    assert s.group().idle_count == 1
    assert bool([line for line in s.error_log() if "buffered to a temporary file" in line]) is (setting != "in memory")
    assert not s.access_log()
    s.advance(100)
    s.until(lambda: client.pull_all() and s.access_log(), "the client does not get it all")
    answer = bytes(client.pull_all())
    assert b"Content-Encoding: gzip" not in answer[:1000] or unframed(answer).startswith(b"\x1f\x8b")
    whole = unframed(answer)
    assert (gzip.decompress(whole) if whole.startswith(b"\x1f\x8b") else whole) == body


@pytest.mark.parametrize("setting", ["gzip = true", "proxy_store = '{directory}/stored'"])
def test_events_that_were_read_ahead_are_followed_by_those_that_come_later(stage, setting):
    """What a filter was about to wait for comes while the client takes nothing, and more when it has taken all."""
    s = stage(location='send_timeout = "1000s"\ngzip_types = "*"\n' + setting)
    client, upstream = request(s, get(b"/", b"Accept-Encoding: gzip"), send_buffer=4096)
    pieces = [random.Random(seed).randbytes(1_000_000) for seed in range(5)]
    upstream.send(head(CHUNKED, 0))
    for number, piece in enumerate(pieces):
        upstream.send(b"%x\r\n%b\r\n" % (len(piece), piece))
        if number in (1, 3):
            s.advance(PATIENCE)
            s.advance(0)
        if number == 2:
            client.pull_all()
            s.advance(0)
            client.pull_all()
    upstream.send(b"0\r\n\r\n")
    s.until(lambda: client.pull_all() and s.access_log(), "the client does not get it all")
    whole = unframed(bytes(client.pull_all()))
    assert (gzip.decompress(whole) if "gzip" in setting else whole) == b"".join(pieces)
    # It fell behind twice, and that is said once.
    assert len([line for line in s.error_log() if "buffered to a temporary file" in line]) == 1


def test_a_small_rest_is_read_ahead_into_memory(stage):
    s = stage(location='proxy_buffers = [8, "16k"]')
    client, upstream = request(s, send_buffer=4096)
    upstream.send(head(LENGTH, 90_000) + b"a" * 60_000)
    s.advance(PATIENCE)
    upstream.send(b"b" * 30_000)
    assert s.group().idle_count == 1
    assert pull_until(s, client, 90_000).endswith(b"a" * 60_000 + b"b" * 30_000)
    assert not [line for line in s.error_log() if "temporary" in line]


@pytest.mark.parametrize(
    "setting",
    ["proxy_buffering = false", "proxy_max_temp_file_size = 0\nproxy_buffers = [2, '8k']\nproxy_busy_buffers_size = '8k'"],
)
@pytest.mark.parametrize("framing", [LENGTH, CHUNKED, CLOSE])
def test_what_may_not_be_read_ahead_stays_with_the_upstream(stage, setting, framing):
    s = stage(location=setting + '\nsend_timeout = "1h"\nproxy_read_timeout = "1h"')
    client, upstream = request(s, send_buffer=4096)
    body = random.Random(3).randbytes(12_000_000)
    wire = head(framing, len(body)) + framed(framing, body, random.Random(3))
    sent = upstream.send_some(wire)
    for _ in range(3):
        s.advance(10)
        sent += upstream.send_some(wire[sent:])
    assert sent < 6_000_000
    transfer(client, upstream, wire[sent:], random.Random(3), 2_000_000)
    if framing == CLOSE:
        upstream.close()
    s.until(lambda: client.pull_all() and s.access_log(), "the request does not end")
    assert unframed(bytes(client.pull_all())) == body
    assert not [line for line in s.error_log() if "temporary" in line]


@pytest.mark.parametrize(
    ("setting", "answer", "is_ahead"),
    [("true", b"no", False), ("false", b"yes", True), ("true", b"NO", False), ("true", b"maybe", True)],
)
def test_x_accel_buffering_is_for_one_response(stage, setting, answer, is_ahead):
    s = stage(location=f"proxy_buffering = {setting}")
    client, upstream = request(s, send_buffer=4096)
    upstream.send_some(head(LENGTH, 1 << 30, b"X-Accel-Buffering: " + answer) + b"x" * 8_000_000)
    s.advance(PATIENCE)
    assert (upstream.send_some(b"x" * 8_000_000) == 8_000_000) == is_ahead
    assert b"X-Accel" not in client.pull(1000)


def test_what_an_upstream_asks_for_may_be_ignored(stage):
    s = stage(location="proxy_ignore_headers = ['X-Accel-Buffering', 'X-Accel-Limit-Rate']")
    client, upstream = request(s, send_buffer=4096)
    upstream.send_some(head(LENGTH, 1 << 30, b"X-Accel-Buffering: no", b"X-Accel-Limit-Rate: 10") + b"x" * 8_000_000)
    s.advance(PATIENCE)
    assert upstream.send_some(b"x" * 8_000_000) == 8_000_000
    assert len(pull_until(s, client, 3_000_000)) >= 3_000_000


def test_the_file_does_not_grow_past_its_limit(stage):
    s = stage(location='proxy_max_temp_file_size = "1m"\nsend_timeout = "1h"')
    _, upstream = request(s, send_buffer=4096)
    upstream.send_some(head(LENGTH, 1 << 30) + b"x" * 9_000_000)
    for _ in range(3):
        s.advance(PATIENCE)
        upstream.send_some(b"x" * 9_000_000)
    sizes = [os.fstat(int(name)).st_size for name in os.listdir("/proc/self/fd") if is_temporary(int(name))]
    assert len(sizes) == 1
    assert 0 < sizes[0] <= 1 << 20


def is_temporary(fileno: int) -> bool:
    """Whether the descriptor is a file without a name, in the directory of temporary files."""
    try:
        return bool(re.match(r"/var/tmp/.*\(deleted\)$", os.readlink(f"/proc/self/fd/{fileno}")))
    except OSError:
        return False


def test_an_upstream_that_breaks_off_while_the_client_is_behind(stage):
    """What came before is sent, then the connection is cut."""
    s = stage(location='send_timeout = "1h"')
    client, upstream = request(s, send_buffer=4096)
    sent = upstream.send_some(head(LENGTH, 1 << 30) + b"x" * 2_000_000)
    s.advance(PATIENCE)
    sent += upstream.send_some(b"x" * 2_000_000)
    upstream.close()
    s.settle()
    assert not s.access_log()
    assert client.is_closed()
    assert client.received.count(b"x") > 3_900_000
    assert "upstream prematurely closed connection" in s.last_access()["wproxy_end_cause"]
    assert s.last_access()["wproxy_end_code"] == "up_cut"


def test_a_disk_that_is_full_holds_the_upstream_back(stage, tmp_path):
    (tmp_path / "not-a-directory").write_text("")
    s = stage(location=f'proxy_temp_path = "{tmp_path}/not-a-directory"\nsend_timeout = "1h"')
    client, upstream = request(s, send_buffer=4096)
    body = random.Random(4).randbytes(9_000_000)
    wire = head(LENGTH, len(body)) + body
    sent = upstream.send_some(wire)
    s.advance(PATIENCE)
    assert any("[crit]" in line and "temporary file" in line for line in s.error_log())
    transfer(client, upstream, wire[sent:], random.Random(4), 2_000_000)
    assert pull_until(s, client, len(body)).endswith(body)


@pytest.mark.parametrize("framing", [LENGTH, CHUNKED])
def test_a_disk_that_fills_up_loses_nothing(stage, framing):
    """What is in the file by then is sent from there; then the upstream has to wait as if there were no file."""
    s = stage(location='send_timeout = "1h"\nproxy_read_timeout = "1h"')
    client, upstream = request(s, send_buffer=4096)
    body = random.Random(7).randbytes(9_000_000)
    wire = head(framing, len(body)) + framed(framing, body, random.Random(7))
    sent = upstream.send_some(wire)
    with small_disk(100_000):
        s.advance(PATIENCE)
        sent += upstream.send_some(wire[sent:])
    assert sent < len(wire)
    complaints = [line for line in s.error_log() if "[crit]" in line]
    assert len(complaints) == 1
    assert "failed (27: File too large) while reading upstream" in complaints[0]
    # When the client has caught up and is behind once more, the disk is not tried again.
    client.pull_all()
    with small_disk(100_000):
        for _ in range(3):
            sent += upstream.send_some(wire[sent : sent + 1_500_000])
            s.advance(PATIENCE)
            s.advance(0)
            client.pull_all()
    assert len([line for line in s.error_log() if "[crit]" in line]) == 1
    transfer(client, upstream, wire[sent:], random.Random(4), 2_000_000)
    s.until(lambda: client.pull_all() and s.access_log(), "the request does not end")
    assert unframed(bytes(client.pull_all())) == body


@pytest.mark.parametrize("setting", ["proxy_buffering = false", "proxy_max_temp_file_size = 0"])
def test_an_upstream_that_is_held_back_does_not_time_out(stage, setting):
    s = stage(location=f'{setting}\nproxy_read_timeout = "5s"\nsend_timeout = "1h"')
    client, upstream = request(s, send_buffer=4096)
    wire = head(LENGTH, 9_000_000) + b"x" * 9_000_000
    sent = upstream.send_some(wire)
    assert sent < len(wire)
    s.advance(600)
    assert not s.access_log()
    transfer(client, upstream, wire[sent:], random.Random(4), 2_000_000)
    assert pull_until(s, client, 9_000_000).endswith(b"x" * 9_000_000)
    assert s.last_access()["status"] == "200"


def test_files_lie_in_the_directory_that_is_named(stage, tmp_path):
    s = stage(location='proxy_temp_path = "temporary/files"')
    _, upstream = request(s, send_buffer=4096)
    upstream.send_some(head(LENGTH, 1 << 30) + b"x" * 9_000_000)
    s.advance(PATIENCE)
    links = [
        os.readlink(f"/proc/self/fd/{name}") for name in os.listdir("/proc/self/fd") if os.path.exists(f"/proc/self/fd/{name}")
    ]
    assert any(link.startswith(f"{s.configuration.prefix}temporary/files/") for link in links)


# Pipes.


def test_without_pipes_bytes_are_copied(stage, monkeypatch):
    monkeypatch.setattr(pool, "most", 0)
    body = random.Random(5).randbytes(3_000_000)
    s = stage()
    client, upstream = request(s)
    upstream.send(head(LENGTH, len(body)))
    transfer(client, upstream, body, random.Random(5))
    assert pull_until(s, client, len(body)).endswith(body)


def test_a_pipe_that_is_not_empty_is_not_lent_again():
    pipes = PipePool()
    pipe = pipes.take()
    assert pipe is not None
    os.write(pipe.write_end, b"somebody's")
    pipe.held = 10
    pipes.give_back(pipe)
    assert not pipes.idle
    assert pipes.made == 0


def test_pipes_are_lent_again_and_bounded():
    pipes = PipePool(most=2, most_idle=1)
    first, second = pipes.take(), pipes.take()
    assert first is not None and second is not None
    assert pipes.take() is None
    pipes.give_back(first)
    assert pipes.take() is first
    pipes.give_back(first)
    pipes.give_back(second)
    assert pipes.made == 1
    pipes.close_idle()
    assert pipes.made == 0


def test_pipes_that_a_crowd_has_left_are_closed_and_those_in_use_are_kept():
    pipes = PipePool()
    crowd = [pipe for pipe in (pipes.take() for _ in range(4)) if pipe is not None]
    for pipe in crowd:
        pipes.give_back(pipe)
    pipes.close_spare()
    assert pipes.made == 4  # they have just been used
    one = pipes.take()
    assert one is not None
    pipes.give_back(one)
    pipes.close_spare()
    assert (pipes.made, pipes.idle) == (1, [one])
    pipes.close_spare()
    assert pipes.made == 0


def test_a_pipe_too_small_is_none(monkeypatch):
    """Beyond /proc/sys/fs/pipe-user-pages-soft a pipe has a page or two and cannot be enlarged."""

    def refuse(fileno: int, command: int, wanted: int = 0) -> int:
        if command == worker.pipes.fcntl.F_SETPIPE_SZ:
            raise PermissionError(1, "Operation not permitted")
        return 8192

    monkeypatch.setattr(worker.pipes.fcntl, "fcntl", refuse)
    before = len(os.listdir("/proc/self/fd"))
    assert PipePool().take() is None
    assert len(os.listdir("/proc/self/fd")) == before


def test_the_system_is_not_asked_for_pipes_again_and_again(monkeypatch):
    """An ordinary user gets 64 of them: who waits beyond that is as many as beyond our own limit, and costs little memory."""
    asked = []
    made = [worker.pipes.make_pipe() for _ in range(2)]

    def make_pipe() -> worker.pipes.Pipe | None:
        asked.append(len(asked))
        return made.pop() if made else None

    monkeypatch.setattr(worker.pipes, "make_pipe", make_pipe)
    pipes = PipePool()
    first, second = pipes.take(), pipes.take()
    assert first is not None and second is not None
    assert not pipes.is_exhausted
    assert pipes.take() is pipes.take() is None
    assert pipes.is_exhausted and len(asked) == 3
    # One that is given back is lent again, and nobody is asked.
    pipes.give_back(first)
    assert not pipes.is_exhausted
    assert pipes.take() is first
    assert pipes.take() is None and len(asked) == 3
    # When one is closed there may be room for another; and others may have closed theirs.
    os.write(second.write_end, b"somebody's")
    second.held = 10
    pipes.give_back(second)
    assert pipes.take() is pipes.take() is None
    assert len(asked) == 4
    pipes.close_spare()
    assert pipes.take() is pipes.take() is None
    assert len(asked) == 5
    pipes.give_back(first)
    pipes.close_idle()


# Rates.


def rate_of_client(s: Stage, client: End, seconds: int) -> float:
    """Bytes a second that come in so many seconds, after the first."""
    s.advance(1)
    client.take()
    received = 0
    for _ in range(seconds * 5):
        s.advance(0.17)  # and 0.03 more
        received += len(client.take())
    return received / seconds


@pytest.mark.parametrize("framing", [LENGTH, CHUNKED, CLOSE])
def test_limit_rate_is_kept_and_the_upstream_is_done_early(stage, framing):
    body = random.Random(6).randbytes(1_000_000)
    s = stage(location='limit_rate = "50k"')
    client, upstream = request(s)
    upstream.send(head(framing, len(body)) + framed(framing, body, random.Random(6)))
    if framing == CLOSE:
        upstream.close()
    else:
        assert s.group().idle_count == 1
    assert rate_of_client(s, client, 5) == pytest.approx(51_200, rel=0.1)


def test_limit_rate_after(stage):
    s = stage(location='limit_rate = 10000\nlimit_rate_after = "300k"')
    client, upstream = request(s)
    upstream.send(head(LENGTH, 1_000_000) + b"x" * 1_000_000)
    assert 300_000 < len(client.pull_all()) < 340_000
    assert rate_of_client(s, client, 5) == pytest.approx(10_000, rel=0.1)


def test_limit_rate_from_a_variable_from_set_and_from_the_upstream(stage):
    s = stage(location='limit_rate = "$arg_rate"')
    client, upstream = request(s, get(b"/?rate=20k"))
    upstream.send(head(LENGTH, 1_000_000) + b"x" * 1_000_000)
    assert rate_of_client(s, client, 5) == pytest.approx(20_480, rel=0.1)
    client.close()
    client = s.client()
    client.send(get(b"/?rate=20k"))
    upstream.receives_head()
    upstream.send(head(LENGTH, 1_000_000, b"X-Accel-Limit-Rate: 40000") + b"x" * 1_000_000)
    assert rate_of_client(s, client, 5) == pytest.approx(40_000, rel=0.1)


def test_an_unbuffered_response_has_no_rate(stage):
    """As nginx has it (ngx_http_upstream_send_response)."""
    s = stage(location="limit_rate = 1000\nproxy_buffering = false")
    client, upstream = request(s)
    upstream.send(head(LENGTH, 1_000_000) + b"x" * 1_000_000)
    pull_until(s, client, 1_000_000)


def test_limit_rate_of_a_file(stage, tmp_path):
    (tmp_path / "big").write_bytes(b"f" * 1_000_000)
    s = stage(locations=f'[http.server.location."/big"]\nroot = "{tmp_path}"\nlimit_rate = "100k"')
    client = s.client()
    client.send(get(b"/big"))
    assert rate_of_client(s, client, 5) == pytest.approx(102_400, rel=0.1)


def test_proxy_limit_rate_is_for_the_upstream(stage):
    s = stage(location='proxy_limit_rate = "100k"')
    client, upstream = request(s)
    upstream.send_some(head(LENGTH, 1 << 30) + b"x" * 9_000_000)
    assert rate_of_client(s, client, 5) == pytest.approx(102_400, rel=0.2)


def test_pieces_of_a_stream_are_sent_at_once(stage):
    s = stage()
    client, upstream = request(s)
    upstream.send(head(CHUNKED, 0, b"Content-Type: text/event-stream"))
    client.take()
    for number in range(5):
        upstream.send(b"9\r\ndata: %d\n\n\r\n" % number)
        assert client.take() == b"9\r\ndata: %d\n\n\r\n" % number


@pytest.mark.parametrize("kind", ["file", "upstream"])
def test_who_has_got_all_at_its_rate_need_not_wait_for_the_end(stage, tmp_path, kind):
    """The rate is for bytes: there is no pause after the last."""
    (tmp_path / "big").write_bytes(b"f" * 160_000)
    s = stage(
        location="limit_rate = 100000", locations=f'[http.server.location."/big"]\nroot = "{tmp_path}"\nlimit_rate = 100000'
    )
    if kind == "file":
        client = s.client()
        client.send(get(b"/big"))
    else:
        client, upstream = request(s)
        upstream.send(head(LENGTH, 160_000) + b"x" * 160_000)
    received = client.take()
    while len(received.partition(b"\r\n\r\n")[2]) < 160_000:
        assert not client.saw_end
        s.advance(0.05)
        received += client.take()
    client.send(get(b"/big"))
    assert client.take().startswith(b"HTTP/1.1 200 OK\r\n")
