"""Repeated requests with long answers, which the kernel moves: whatever happens to one, it is as if each had been looked at for itself.

As in `test_repeated_exchange`; the buffers have room for a whole answer, so that it passes at once on the good day.
"""

from __future__ import annotations

import itertools
import os
import random
import socket
import stat
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from conversation import Stage, get, ok, post
from test_repeated_exchange import (
    METRICS,
    PATIENT,
    POSTED,
    RETRIES,
    SCENARIOS,
    Act,
    Play,
    again_and_again,
    answered,
    anything,
    both,
    closed_by_upstream,
    in_pieces,
    repeat,
)
from test_varied_exchange import Varied

from worker.client.http1.repeated_exchange import RepeatedExchange
from worker.pipes import pool
from worker.stream import HEAD_CHUNK

ROOM = 1 << 20
# Its bytes tell their places: none may be lost, or come twice.
BODY = b"".join(b"%06d " % place for place in range(0, 90_000, 7))
ANSWER = ok(BODY)
HEAD = len(ANSWER) - len(BODY)
LONG = "proxy_socket_rcvbuf = 1048576\n"


class LongPlay(Play):
    """One performance with long answers; what is seen of them are their beginnings, lengths and checksums, and the pipes."""

    def __init__(self, stage: Stage, learns: bool, request: bytes, answer: bytes, buffers: int) -> None:
        pool.close_idle()
        self.passages = 0
        super().__init__(stage, learns, request, answer, buffers)

    def look(self) -> None:
        super().look()
        for connection in self.stage.worker.clients.connections:
            repeating = getattr(connection, "repeating", None)
            self.passages += isinstance(repeating, RepeatedExchange) and repeating.passage is not None

    def look_at_upstreams(self) -> None:
        known = len(self.upstreams)
        super().look_at_upstreams()
        for upstream in self.upstreams[known:]:
            upstream.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, ROOM)

    def look_at_counts(self) -> None:
        super().look_at_counts()
        self.seen.append(("pipes", pool.made, len(pool.idle)))

    def lines(self) -> list[str]:
        self.seen = [in_short(one) for one in self.seen]
        return super().lines()


def in_short(seen: object) -> object:
    """Return what was seen, with the checksum of a long body in its place."""
    if isinstance(seen, tuple) and isinstance(seen[-1], bytes) and len(seen[-1]) > 2000:
        data = seen[-1]
        return (*seen[:-1], data[:300], len(data), zlib.crc32(data))
    return seen


def plainly_sent(p: Play, data: bytes) -> None:
    """Let the upstream send without giving the worker a turn in between."""
    sent = p.upstream.sock.send(data)
    assert sent == len(data), sent


def with_pauses(*cuts: int, seconds: float = 1.5) -> Act:
    """The answer in pieces, and after each so much time."""

    def act(p: Play) -> None:
        p.ask()
        places = [0, *cuts, len(p.answer)]
        for begin, end in itertools.pairwise(places):
            p.upstream.send(p.answer[begin:end])
            p.look()
            p.see()
            p.stage.advance(seconds)
        p.look()
        repeat(p)

    return act


def silent_after(place: int) -> Act:
    def act(p: Play) -> None:
        p.ask()
        p.upstream.send(p.answer[:place])
        p.see()
        p.stage.advance(6)
        p.look()

    return act


def reset_after(place: int) -> Act:
    """The upstream is reset right after so many bytes, which the worker has not read yet, or only some of them."""

    def act(p: Play) -> None:
        p.ask()
        plainly_sent(p, p.answer[:place])
        p.upstream.reset()
        p.look()

    return act


def reset_later(place: int) -> Act:
    def act(p: Play) -> None:
        p.ask()
        p.upstream.send(p.answer[:place])
        p.look()
        p.upstream.reset()
        p.look()

    return act


def closed_at_once(p: Play) -> None:
    """The upstream ends its connection with the answer."""
    p.ask()
    plainly_sent(p, p.answer)
    p.upstream.close()
    p.look()
    p.ask()
    p.reply()


def stuck(after: int, then: Callable[[Play], None]) -> Act:
    """The client takes so many bytes of the rest and does not read, until this happens. after: -1: it takes not even the head."""

    def act(p: Play) -> None:
        sock = p.connection().stream.sock
        real = os.splice

        def splice(source: int, target: int, count: int, **more: int) -> int:
            if target != sock.fileno():
                return real(source, target, count, **more)
            os.splice = real
            moved = real(source, target, min(count, after), **more) if after else 0
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
            if not moved:
                raise BlockingIOError
            return moved

        asks_without_reading(p)
        if after < 0:
            plainly_sent(p, p.answer)
            p.stage.settle()
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
            asks_without_reading(p)
        else:
            os.splice = splice
        try:
            plainly_sent(p, p.answer)
            p.stage.settle()
            assert os.splice is real
        finally:
            os.splice = real
        p.see()
        then(p)
        if sock.fileno() >= 0:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, ROOM)
            repeat(p)

    return act


def asks_without_reading(p: Play) -> None:
    p.client.sock.send(p.request)
    p.stage.settle()
    p.seen.append(("upstream", bytes(p.upstream.pull_all())))
    p.upstream.received.clear()


def read_largely(act: Act) -> Act:
    """The first read of an answer is large, and so the head goes to the client with more of the body."""

    def after(p: Play) -> None:
        for peer in p.stage.group().peers:
            for connection in peer.idle:
                connection.chunk = HEAD_CHUNK
        act(p)

    return after


def takes_a_part_of_the_head(p: Play) -> None:
    sock = p.connection().stream.sock
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
    asks_without_reading(p)
    plainly_sent(p, p.answer)
    p.stage.settle()
    p.see()
    reads_at_last(p)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, ROOM)
    repeat(p)


def reads_at_last(p: Play) -> None:
    p.look()
    p.reply()
    repeat(p)


def is_behind_and_reads(p: Play) -> None:
    for _ in range(3):
        p.stage.advance(0.7)
        p.see()
    reads_at_last(p)


def reads_a_little(p: Play) -> None:
    for _ in range(5):
        p.client.pull(len(p.client.received) + 30_000)
        p.stage.settle()
        p.see()
    reads_at_last(p)


def closes(p: Play) -> None:
    p.client.close()
    p.look()


def resets(p: Play) -> None:
    p.client.reset()
    p.look()


def takes_too_long(p: Play) -> None:
    p.stage.advance(61)
    p.look()


def is_cut(p: Play) -> None:
    p.stage.worker.clients.cut("the worker ends")
    p.look()


def is_drained(p: Play) -> None:
    p.stage.worker.clients.drain(p.stage.loop.clock.now)
    p.look()
    p.see()


def is_looked_at(p: Play) -> None:
    (connection,) = p.stage.worker.clients.connections
    for request in connection.under_way:
        (attempt,) = request.attempts
        p.seen.append((request.path, request.status, attempt.doing, attempt.bytes_received, attempt.status))
    reads_at_last(p)


def does_not_listen(p: Play) -> None:
    """A client that takes no more bytes at all: writing fails."""
    p.ask()
    p.client.sock.shutdown(socket.SHUT_RD)
    plainly_sent(p, p.answer)
    p.look()


def with_calls(change: Callable[[bool, Callable[[], int], int], int], times: int = 1) -> Act:
    """So many splices are different. change: gets whether it is one into a pipe, the call itself, and the length asked for."""

    def act(p: Play) -> None:
        real, left = os.splice, times

        def splice(source: int, target: int, count: int, **more: int) -> int:
            nonlocal left
            is_in = not stat.S_ISSOCK(os.fstat(target).st_mode)

            def call(most: int = count) -> int:
                return real(source, target, most, **more)

            if not left:
                return call()
            before = left
            left = -1
            result = change(is_in, call, count)
            left = before - 1
            return result

        def guarded(source: int, target: int, count: int, **more: int) -> int:
            nonlocal left
            try:
                return splice(source, target, count, **more)
            finally:
                left = max(left, 0)

        os.splice = guarded
        try:
            repeat(p)
        finally:
            os.splice = real
        assert not left, "the calls that were to be different were not made"
        if p.client.is_open():
            repeat(p)
        p.see()

    return act


def short_and_long(p: Play) -> None:
    """Answers with short bodies and known heads between long ones; at last one of them in two pieces."""
    short = ok(b"short")
    for answer in (short, ANSWER, ANSWER, short, ANSWER, ANSWER, ANSWER, short, short, ANSWER, ANSWER, ANSWER):
        p.ask()
        p.reply(answer)
    p.ask()
    p.reply(short)
    if p.client.saw_end:
        return
    p.ask()
    p.upstream.send(short[:-1])
    p.look()
    p.see()
    p.upstream.send(short[-1:])
    p.look()
    repeat(p)


def without_pipes(p: Play) -> None:
    pool.close_idle()
    most, pool.most = pool.most, 0
    try:
        again_and_again(p)
    finally:
        pool.most = most
    repeat(p)


PASSAGES: dict[str, Act] = {
    "another body": answered(ok(BODY[::-1])),
    "a longer body": answered(ok(BODY * 2)),
    "a shorter body": answered(ok(BODY[:70_000])),
    "one byte too many": answered(ANSWER + b"x"),
    "far too many bytes": answered(ANSWER + b"x" * 5000),
    "two answers": answered(ANSWER * 2),
    "no body": answered(ok(b"")),
    "short and long": short_and_long,
    "another field": answered(ok(BODY, b"X-A: b")),
    "unbuffered": answered(ok(BODY, b"X-Accel-Buffering: no")),
    "at a rate": answered(ok(BODY, b"X-Accel-Limit-Rate: 1000000")),
    "the connection ends": answered(ok(BODY, b"Connection: close")),
    "not found": answered(ok(BODY, status=b"404 Not Found")),
    "a failure": answered(ok(BODY, status=b"503 Service Unavailable")),
    "chunked": answered(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY)),
    "until the end": answered(b"HTTP/1.1 200 OK\r\n\r\n" + BODY),
    "half the head": in_pieces(10),
    "the body later": in_pieces(HEAD),
    "the first byte": in_pieces(HEAD + 1),
    "a part of the first read": in_pieces(1000),
    "the first read": in_pieces(2048),
    "a little more": in_pieces(2049),
    "half of it": in_pieces(45_000),
    "all but one byte": in_pieces(len(ANSWER) - 1),
    "many pieces": in_pieces(*range(5000, len(ANSWER), 7000)),
    "pauses": with_pauses(HEAD, 3000, 50_000),
    "a pause": with_pauses(60_000),
    "a pause after the first read": with_pauses(2048),
    "pauses before the first and the last byte": with_pauses(HEAD, HEAD + 1, len(ANSWER) - 1),
    "silent after the head": silent_after(HEAD),
    "silent after the first read": silent_after(2048),
    "silent within the body": silent_after(50_000),
    "closed within the head": closed_by_upstream(ANSWER[:10]),
    "closed after the head": closed_by_upstream(ANSWER[:HEAD]),
    "closed after the first read": closed_by_upstream(ANSWER[:2048]),
    "closed within the body": closed_by_upstream(ANSWER[:50_000]),
    "closed before the last byte": closed_by_upstream(ANSWER[:-1]),
    "closed after the answer": closed_by_upstream(ANSWER),
    "closed at once": closed_at_once,
    "reset after the head": reset_after(HEAD),
    "reset within the body": reset_after(50_000),
    "reset after the answer": reset_after(len(ANSWER)),
    "reset after the head was read": reset_later(HEAD),
    "reset after the first read was made": reset_later(2048),
    "reset after half was read": reset_later(50_000),
    "a client that does not listen": does_not_listen,
    "no pipes": without_pipes,
}


THINGS: dict[str, Callable[[Play], None]] = {
    "reads at last": reads_at_last,
    "is behind and reads": is_behind_and_reads,
    "reads a little": reads_a_little,
    "closes": closes,
    "resets": resets,
    "takes too long": takes_too_long,
    "is cut": is_cut,
    "is drained": is_drained,
    "is looked at": is_looked_at,
}
# Clients over unix sockets, whose buffers depend on nothing but the bytes in them.
UNREAD: dict[str, Act] = {
    f"a client that {name}, after {after} bytes": stuck(after, then)
    for name, then in THINGS.items()
    for after in (-1, 0, 1, 40_000)
} | {
    "a client that takes a part of the head": read_largely(takes_a_part_of_the_head),
    "a larger first read": read_largely(again_and_again),
    "a larger first read, and a client that is behind": read_largely(stuck(40_000, is_behind_and_reads)),
}


def refused(number: type[OSError], of_reads: bool) -> Callable[[bool, Callable[[], int], int], int]:
    """Splices from the upstream, or to the client, that fail."""

    def change(is_in: bool, call: Callable[[], int], count: int) -> int:
        if is_in is of_reads:
            raise number(5, "Input/output error") if number is OSError else number
        return call()

    return change


def shortened(most: int, of_reads: bool) -> Callable[[bool, Callable[..., int], int], int]:
    """Splices from the upstream, or to the client, that move only so much."""
    return lambda is_in, call, count: call(min(most, count)) if is_in is of_reads else call()


CALLS: dict[str, Act] = {
    "nothing has come": with_calls(refused(BlockingIOError, True)),
    "nothing has come for long": with_calls(refused(BlockingIOError, True), 3),
    "reading fails": with_calls(refused(ConnectionResetError, True)),
    "reading fails strangely": with_calls(refused(OSError, True)),
    "one byte has come": with_calls(shortened(1, True), 2),
    "some has come": with_calls(shortened(40_000, True), 2),
    "the client takes nothing": with_calls(refused(BlockingIOError, False), 2),
    "the client takes one byte": with_calls(shortened(1, False), 2),
    "the client takes some": with_calls(shortened(40_000, False), 2),
    "the client is gone": with_calls(refused(BrokenPipeError, False), 2),
    "the client has reset": with_calls(refused(ConnectionResetError, False), 2),
    "sending fails strangely": with_calls(refused(OSError, False), 2),
}
SETTINGS: dict[str, dict[str, object]] = {
    "logged": {"location": PATIENT + LONG},
    "unlogged, two servers": {
        "peers": 2,
        "server": 'access_log = "off"',
        "location": PATIENT + LONG + RETRIES,
        "locations": METRICS,
    },
    "unlogged": {"server": 'access_log = "off"', "location": PATIENT + LONG, "locations": METRICS},
    "few requests": {"upstream": "keepalive_requests = 4", "server": "keepalive_requests = 6", "location": PATIENT + LONG},
}
# "byte by byte" takes long, and the body is what "many pieces" has.
OTHERS = {name: act for name, act in SCENARIOS.items() if name not in PASSAGES and name != "byte by byte"}


def performed_twice(directory: Path, act: Act, request: bytes = b"", **more: object) -> LongPlay:
    """Perform with and without repetitions; both must be the same."""
    play = both(directory, act, request or get(), **{"answer": ANSWER, "buffers": ROOM, "play_of": LongPlay, **more})
    assert isinstance(play, LongPlay)
    return play


@pytest.mark.parametrize("settings", ["logged", "unlogged, two servers", "few requests"])
@pytest.mark.parametrize("name", PASSAGES)
def test_a_long_answer_is_like_any_other(tmp_path: Path, name: str, settings: str):
    assert performed_twice(tmp_path, PASSAGES[name], **SETTINGS[settings]).passages


@pytest.mark.parametrize("settings", ["logged", "unlogged"])
@pytest.mark.parametrize("name", UNREAD)
def test_an_answer_that_its_client_does_not_read(tmp_path: Path, name: str, settings: str):
    assert performed_twice(tmp_path, UNREAD[name], buffers=0, **SETTINGS[settings]).passages


@pytest.mark.parametrize("settings", ["logged", "unlogged, two servers"])
@pytest.mark.parametrize("name", CALLS)
def test_whatever_a_splice_does(tmp_path: Path, name: str, settings: str):
    assert performed_twice(tmp_path, CALLS[name], **SETTINGS[settings]).passages


@pytest.mark.parametrize("name", OTHERS)
def test_whatever_happens_to_other_requests_happens_to_those_with_long_answers(tmp_path: Path, name: str):
    settings = list(SETTINGS)[zlib.crc32(name.encode()) % 2]
    assert performed_twice(tmp_path, OTHERS[name], **SETTINGS[settings]).passages


@pytest.mark.parametrize("name", POSTED)
def test_a_request_with_a_body_and_a_long_answer(tmp_path: Path, name: str):
    settings = list(SETTINGS)[zlib.crc32(name.encode()) % 2]
    assert performed_twice(tmp_path, POSTED[name], post(b"one body" * 20), **SETTINGS[settings]).passages


class VariedLongPlay(Varied, LongPlay):
    """One performance of requests that differ."""


@pytest.mark.parametrize("name", [name for name in PASSAGES if name != "no pipes"])
def test_long_answers_to_requests_that_differ(tmp_path: Path, name: str):
    assert performed_twice(tmp_path, PASSAGES[name], b"-", play_of=VariedLongPlay, **SETTINGS["logged"]).passages


class BigPlay(LongPlay):
    """One performance with answers that do not fit into the buffers: of what the client gets, only all of it is seen."""

    def lines(self) -> list[str]:
        texts = [one[1] for one in self.seen if isinstance(one, tuple) and one[0] == "client"]
        self.seen = [one for one in self.seen if not isinstance(one, tuple) or one[0] != "client"]
        self.seen.append(("client", b"".join(texts)))
        return super().lines()


@pytest.mark.parametrize("name", ["no pipes", "half of it", "pauses", "closed within the body", "one byte too many"])
@pytest.mark.parametrize("size", [82_000, 1_000_000, 3_000_000])
def test_bodies_of_other_sizes(tmp_path: Path, name: str, size: int):
    """Those that do not fit into a pipe go the usual way from the beginning."""
    body = b"".join(b"%07d " % place for place in range(0, size, 8))
    act = PASSAGES[name] if name != "one byte too many" else answered(ok(body) + b"x")
    performed_twice(tmp_path, act, answer=ok(body), play_of=BigPlay, **SETTINGS["logged"])


USUAL: dict[str, dict[str, object]] = {
    "unbuffered": {"location": LONG + "proxy_buffering = false"},
    "read at a rate": {"location": LONG + 'proxy_limit_rate = "100m"'},
    "sent at a rate": {"location": LONG + 'limit_rate = "100m"'},
    "a small file": {"location": LONG + 'proxy_max_temp_file_size = "50k"\nproxy_temp_file_write_size = "16k"'},
    "compressed": {"location": LONG + 'gzip = true\ngzip_types = "*"'},
    "read with its head": {"location": LONG + 'proxy_buffers = [16, "16k"]'},
    "a field": {"location": LONG + 'add_header = [["X-Page", "yes", "always"]]'},
    "stored": {"location": LONG + 'proxy_store = "{directory}/stored"'},
}


@pytest.mark.parametrize("name", USUAL)
def test_answers_that_are_looked_at_are_not_passed_on_unseen(tmp_path: Path, name: str):
    assert not performed_twice(tmp_path, again_and_again, **USUAL[name]).passages


@pytest.mark.parametrize("files", ['proxy_max_temp_file_size = "0"', 'proxy_max_temp_file_size = "1m"'])
@pytest.mark.parametrize("name", [name for name in UNREAD if "is behind" in name or "reads a little" in name])
def test_a_client_that_is_behind_gets_what_its_location_keeps_for_it(tmp_path: Path, name: str, files: str):
    assert performed_twice(tmp_path, UNREAD[name], buffers=0, location=LONG + files).passages


OTHER_ANSWERS = (ANSWER + b"x", ok(BODY[::-1]), ok(BODY * 2), ok(b"no"), ok(BODY, b"X-A: b"), ok(BODY, b"Connection: close"))


@pytest.mark.parametrize("seed", range(24))
def test_whatever_comes_between_long_answers(tmp_path: Path, seed: int):
    settings = list(SETTINGS.values())[seed % 2]
    acts = [anything(seed, OTHER_ANSWERS), PASSAGES[random.Random(seed).choice(list(PASSAGES))]]

    def act(p: Play) -> None:
        for one in acts if seed % 2 else acts[:1]:
            if not p.client.saw_end and not p.client.over:
                one(p)

    performed_twice(tmp_path, act, post(b"one body" * 20) if seed % 3 == 0 else get(), **settings)
