"""Repeated requests: whatever happens to one, it is as if each had been looked at for itself.

Each scenario is performed twice, by a worker that learns exchanges and by one that does not. What the clients and the upstreams
receive, both logs and all counts must be the same; and the first one must have repeated what the scenario wants it to.
"""

from __future__ import annotations

import os
import random
import socket
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from conversation import _CONFIGURATION as CONFIGURATION
from conversation import Stage, get, ok, post
from performance import Performance

from worker.client.http1.connection import Connection
from worker.client.http1.repeated_answer import RepeatedAnswer
from worker.stream import SMALL_CHUNK


class Play(Performance):
    """One performance: a client that has asked a few times, and the upstream that has answered."""

    warm_up = 3

    def __init__(self, stage: Stage, learns: bool, request: bytes, answer: bytes, buffers: int) -> None:
        """buffers: the size of those between the client and the worker, over TCP; 0: they are connected by unix sockets."""
        super().__init__(stage, request, answer, learns)
        self.repetitions = 0
        self.client = stage.client(tcp=buffers > 0, receive_buffer=buffers, send_buffer=buffers)
        for _ in range(self.warm_up):
            self.ask()
            self.reply()
        self.see()

    def connection(self) -> Connection:
        """Return the worker's side of the client's connection."""
        return min(self.stage.worker.clients.connections, key=lambda one: one.client.serial)

    def repeats(self, connection: Connection) -> bool:
        """Whether a connection repeats a request now."""
        return connection.repeating is not None or isinstance(connection.repetition, RepeatedAnswer)

    def ask(self, request: bytes | None = None) -> None:
        """Send a request, unless the connection has ended, and see who gets it."""
        if self.client.is_open():
            self.client.send(self.request if request is None else request)
        self.look()

    def look(self) -> None:
        """See what has come to whom."""
        self.stage.settle()
        if self.stage.worker.clients.connections:
            self.repetitions += self.repeats(self.connection())
        self.look_at_upstreams()
        self.seen.append(("client", self.client.take() if not self.client.over else b""))

    def reply(self, answer: bytes | None = None) -> None:
        self.send_answer(answer)
        self.look()

    def see(self) -> None:
        """Look at everything that others can look at."""
        self.look_at_counts()

    def end(self) -> list[str]:
        self.look()
        self.see()
        self.stage.settle()
        if self.client.over or self.client.saw_end:
            self.seen.append("the client's connection is closed")
        self.look_at_logs()
        if "/metrics" in self.stage.text:
            self.seen.extend(self.metrics())
        return self.lines()

    def metrics(self) -> list[str]:
        """Return the lines about requests and upstreams on the page of metrics."""
        asking = self.stage.client().send(get(b"/metrics", b"Connection: close"))
        self.stage.until(lambda: asking.pull_all() is not None and asking.saw_end, "no metrics")
        lines = asking.take().decode().split("\n")
        return [line for line in lines if line.startswith(("wproxy_http_", "wproxy_upstream_"))]


Act = Callable[[Play], None]


def repeat(p: Play) -> None:
    p.ask()
    p.see()
    p.reply()


def again_and_again(p: Play) -> None:
    for _ in range(5):
        repeat(p)


def cut_at(*places: int) -> Act:
    """The request in two pieces, for each place where it may be cut."""

    def act(p: Play) -> None:
        for place in places:
            p.ask(p.request[:place])
            p.ask(p.request[place:])
            p.reply()
            repeat(p)

    return act


def answered(answer: bytes) -> Act:
    """One more request, with this answer; then the usual ones."""

    def act(p: Play) -> None:
        p.ask()
        p.reply(answer)
        p.ask()
        p.reply()
        p.ask()
        p.reply()

    return act


def in_turns(*answers: bytes) -> Act:
    """These answers, again and again, each three times between usual ones: each has a head that is known from the second time on."""

    def act(p: Play) -> None:
        for _ in range(2):
            for answer in answers:
                for one in (answer, answer, answer, None, None):
                    p.ask()
                    p.reply(one)
                    p.see()

    return act


def as_large_as_a_read() -> bytes:
    """An answer that fills the small read of a connection whose first answer was small."""
    return ok(b"x" * (SMALL_CHUNK - len(ok(b"x" * 100)) + 100))


def found_nowhere(p: Play) -> None:
    """Each server is asked in turn, where one that finds nothing has another one asked."""
    for _ in range(3):
        p.ask()
        for _ in range(len(p.stage.peers)):
            p.reply(ok(b"gone", status=b"404 Not Found"))
        p.stage.advance(1.5)  # turns are written down anew
        p.look()
        for _ in range(3):
            p.ask()
            p.reply()


def connections_end_one_after_the_other(p: Play) -> None:
    """Several connections are kept, and with each answer one of them ends."""
    others = [p.stage.client() for _ in range(8)]
    for other in others:
        other.send(get(b"/other"))
    p.look()
    for upstream in p.upstreams[-len(others) :]:
        upstream.send(ok(b"other"))
    p.look()
    for _ in range(6):
        p.ask()
        p.reply(ok(b"a", b"Connection: close"))
        p.see()


def in_pieces(*cuts: int) -> Act:
    def act(p: Play) -> None:
        p.ask()
        p.upstream.send_slowly(p.answer, list(cuts) or None)
        p.look()
        repeat(p)

    return act


def closed_by_upstream(begun: bytes = b"") -> Act:
    def act(p: Play) -> None:
        p.ask()
        if begun:
            p.upstream.send(begun)
        p.upstream.close()
        p.look()
        p.look()
        if not p.upstream.over:
            p.reply()
            repeat(p)

    return act


def reset_by_upstream(p: Play) -> None:
    p.ask()
    p.upstream.reset()
    p.look()
    if not p.upstream.over:
        p.reply()


def closed_while_idle(p: Play) -> None:
    p.upstream.close()
    p.look()
    p.ask()
    p.reply()
    repeat(p)


def silent(p: Play) -> None:
    p.ask()
    p.stage.advance(6)
    p.look()


def later(seconds: float) -> Act:
    def act(p: Play) -> None:
        p.stage.advance(seconds)
        p.look()
        if not p.client.saw_end:
            p.ask()
            p.reply()
            repeat(p)

    return act


def slow_answer(p: Play) -> None:
    p.ask()
    p.stage.advance(1.5)
    p.reply()
    repeat(p)


def client_closes(p: Play) -> None:
    p.ask()
    p.client.close()
    p.look()


def client_resets(p: Play) -> None:
    p.ask()
    p.client.reset()
    p.look()


def client_resets_before_the_answer_is_read(p: Play) -> None:
    p.ask()
    p.upstream.sock.send(p.answer)
    p.client.sock.close()
    p.client.over = True
    p.look()


def client_ends_sending(p: Play) -> None:
    p.ask()
    p.client.end_sending()
    p.look()


def client_leaves_while_idle(p: Play) -> None:
    p.client.close()
    p.look()


def client_times_out_while_idle(p: Play) -> None:
    p.stage.advance(76)
    p.look()


def pipelined(p: Play) -> None:
    p.ask(p.request * 3)
    for _ in range(3):
        p.reply()
    repeat(p)


def pipelined_while_waiting(p: Play) -> None:
    p.ask()
    p.client.send(p.request)
    p.look()
    p.reply()
    p.look()
    p.reply()
    repeat(p)


def another_request(request: bytes) -> Act:
    def act(p: Play) -> None:
        p.ask(request)
        if not p.client.saw_end:
            p.reply()
        p.look()
        if not p.client.saw_end:
            for _ in range(4):
                p.ask()
                p.reply()

    return act


def request_in_pieces(p: Play) -> None:
    p.client.send_slowly(p.request)
    p.look()
    p.reply()
    repeat(p)


def half_a_request(p: Play) -> None:
    p.ask(p.request[:20])
    p.see()
    p.stage.advance(61)
    p.look()


def drained_while_waiting(p: Play) -> None:
    p.ask()
    p.stage.worker.clients.drain(p.stage.loop.clock.now)
    p.look()
    p.reply()


def drained_while_idle(p: Play) -> None:
    p.stage.worker.clients.drain(p.stage.loop.clock.now)
    p.look()


def drained_with_a_request_on_its_way(p: Play) -> None:
    p.client.sock.send(p.request)
    p.stage.worker.clients.drain(p.stage.loop.clock.now)
    p.look()
    p.reply()


def cut(p: Play) -> None:
    p.ask()
    p.stage.worker.clients.cut("the worker ends")
    p.look()


def looked_at(p: Play) -> None:
    p.ask()
    (request,) = p.connection().under_way
    (attempt,) = request.attempts
    p.seen.append(
        (request.path, request.started, attempt.peer, attempt.doing, attempt.url, attempt.bytes_sent, request.keepalive)
    )
    p.look()
    p.reply()
    for _ in range(3):
        p.ask()
        p.reply()


def connection_to_the_upstream_taken_by_another(p: Play) -> None:
    other = p.stage.client()
    other.send(get(b"/other"))
    p.look()
    p.ask()
    p.look()
    p.reply()
    p.upstreams[0].send(ok(b"other"))
    p.look()
    p.seen.append(other.take())
    repeat(p)


def a_server_becomes_ill(p: Play) -> None:
    for _ in range(2):
        p.ask()
        p.upstream.close()
        p.look()
        if not p.upstream.over:
            p.upstream.close()
            p.look()
    for _ in range(3):
        p.ask()
        if not p.upstream.over:
            p.reply()


PATIENT = 'proxy_read_timeout = "5s"\n'
RETRIES = 'proxy_next_upstream = ["error", "timeout", "http_503", "http_404", "non_idempotent"]'
PAGE = '[http.server.location."/page"]\nadd_header = [["X-Page", "yes", "always"]]\nreturn = [200, "page"]'
METRICS = '[http.server.location."/metrics"]\nmetrics = "zones=locations"'
BODY = b"one body" * 20
SCENARIOS: dict[str, Act] = {
    "the same": again_and_again,
    "another body": answered(ok(b"no")),
    "a longer body": answered(ok(b"longer body")),
    "an empty body": answered(ok(b"")),
    "another field": answered(ok(b"ok", b"X-A: b")),
    "a field for us": answered(ok(b"ok", b"X-Accel-Limit-Rate: 100")),
    "not found": answered(ok(status=b"404 Not Found")),
    "a failure": answered(ok(status=b"503 Service Unavailable")),
    "no content": answered(b"HTTP/1.1 204 No Content\r\n\r\n"),
    "a redirect": answered(ok(b"ok", b"Location: http://app/x", status=b"302 Found")),
    "the connection ends": answered(ok(b"ok", b"Connection: close")),
    "chunked": answered(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"),
    "an old version": answered(ok(version=b"1.0")),
    "an early hint": answered(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + ok()),
    "to be continued": answered(b"HTTP/1.1 100 Continue\r\n\r\n" + ok()),
    "too much": answered(ok() + b"more"),
    "two answers": answered(ok() * 2),
    "garbage": answered(b"garbage\r\n\r\n"),
    "two lengths": answered(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok"),
    "a large body": answered(ok(b"x" * 100_000)),
    "a large head": answered(ok(b"ok", b"X-A: " + b"a" * 20_000)),
    "answers in turns": in_turns(ok(b""), ok(b"no"), ok(b"longer"), ok(b"created", status=b"201 Created")),
    "unusual answers in turns": in_turns(
        ok(b"gone", status=b"404 Not Found"),
        ok(b"a", b"Connection: close"),
        ok(b"b", version=b"1.0"),
        ok(b"c", b"Location: http://app/x", status=b"302 Found"),
        ok(b"d", b"X-Accel-Limit-Rate: 100"),
        ok(b"ill", status=b"503 Service Unavailable"),
        b"HTTP/1.1 204 No Content\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + ok(b"late"),
        ok(b"e", b"Server: a", b"Server: b"),
    ),
    "known answers that do not end": in_turns(ok(b"more"), ok(b"more") + b"surplus", ok() + b"surplus", ok(b"more") * 2),
    "answers that fill a read": in_turns(as_large_as_a_read(), as_large_as_a_read() + b"surplus"),
    "found nowhere": found_nowhere,
    "connections end one after the other": connections_end_one_after_the_other,
    "large answers in turns": in_turns(ok(b"x" * 3000), ok(b"x" * 16_000), ok(b"y" * 30_000), ok(b"ok", b"X-A: " + b"a" * 6000)),
    "byte by byte": in_pieces(),
    "the body later": in_pieces(len(ok()) - 2),
    "half the head": in_pieces(10),
    "most of the body": in_pieces(len(ok()) - 1),
    "closed without an answer": closed_by_upstream(),
    "closed within the head": closed_by_upstream(b"HTTP/1.1 200 OK\r\nCont"),
    "closed within the body": closed_by_upstream(ok()[:-1]),
    "closed after the answer": closed_by_upstream(ok()),
    "reset": reset_by_upstream,
    "closed while idle": closed_while_idle,
    "silent": silent,
    "a second later": later(1.2),
    "a minute later": later(61),
    "an hour later": later(3601),
    "slow answer": slow_answer,
    "client closes": client_closes,
    "client resets": client_resets,
    "client resets before the answer is read": client_resets_before_the_answer_is_read,
    "client ends sending": client_ends_sending,
    "client leaves while idle": client_leaves_while_idle,
    "client times out while idle": client_times_out_while_idle,
    "pipelined": pipelined,
    "pipelined while waiting": pipelined_while_waiting,
    "another path": another_request(get(b"/other")),
    "another field of the request": another_request(get(b"/", b"X-A: b")),
    "another host": another_request(get(host=b"other")),
    "another method": another_request(get(method=b"PUT")),
    "HEAD": another_request(get(method=b"HEAD")),
    "close": another_request(get(b"/", b"Connection: close")),
    "version 1.0": another_request(get(version=b"1.0")),
    "a body": another_request(post(b"body")),
    "a bad request": another_request(b"GET / HTTP/1.1\r\n\r\n"),
    "no request": another_request(b"\x16\x03\x01\r\n\r\n"),
    "request in pieces": request_in_pieces,
    "half a request": half_a_request,
    "drained while waiting": drained_while_waiting,
    "drained while idle": drained_while_idle,
    "drained with a request on its way": drained_with_a_request_on_its_way,
    "cut": cut,
    "looked at": looked_at,
    "connection to the upstream taken by another": connection_to_the_upstream_taken_by_another,
    "a server becomes ill": a_server_becomes_ill,
}
POSTED: dict[str, Act] = {
    "the same": SCENARIOS["the same"],
    "another body": another_request(post(b"another!" * 20)),
    "a longer body": another_request(post(b"longer" * 40)),
    "an empty body": another_request(post(b"")),
    "the body later": cut_at(-3, len(post(BODY)) - len(BODY), len(post(BODY)) - len(BODY) + 1, len(post(BODY)) - len(BODY) - 1),
    "a body with more after it": another_request(post(BODY) + b"GET"),
    "pipelined": pipelined,
    "closed without an answer": closed_by_upstream(),
    "closed within the head": closed_by_upstream(b"HTTP/1.1 200 OK\r\nCont"),
    "reset": reset_by_upstream,
    "closed while idle": closed_while_idle,
    "silent": silent,
    "another answer": answered(ok(b"longer body")),
    "not found": answered(ok(status=b"404 Not Found")),
    "client closes": client_closes,
    "looked at": looked_at,
    "drained while waiting": drained_while_waiting,
    "a server becomes ill": a_server_becomes_ill,
}
SETTINGS: dict[str, dict[str, object]] = {
    "logged, with error pages": {
        "location": PATIENT + 'proxy_intercept_errors = true\nerror_page = [["404", "/page"]]',
        "locations": PAGE,
    },
    "unlogged, two servers": {"peers": 2, "server": 'access_log = "off"', "location": PATIENT + RETRIES, "locations": METRICS},
    "few requests": {"server": "keepalive_requests = 6", "location": PATIENT},
}


def performed(
    directory: Path,
    learns: bool,
    act: Act,
    request: bytes,
    answer: bytes = b"",
    buffers: int = 0,
    play_of: type[Play] = Play,
    **more,
) -> Play:
    directory.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        stage = Stage(patch, str(directory), **more)
        try:
            play = play_of(stage, learns, request, answer or ok(), buffers)
            act(play)
            play.result = play.end()
        except BaseException:
            stage.close(sweep=False)
            raise
        stage.close()
    return play


def both(directory: Path, act: Act, request: bytes, **more) -> Play:
    learned = performed(directory / "learned", True, act, request, **more)
    usual = performed(directory / "usual", False, act, request, **more)
    assert usual.repetitions == 0
    assert learned.result == usual.result
    return learned


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("name", SCENARIOS)
def test_a_repeated_request_is_like_any_other(tmp_path: Path, name: str, settings: str):
    assert both(tmp_path, SCENARIOS[name], get(), **SETTINGS[settings]).repetitions


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("name", POSTED)
def test_a_repeated_request_with_a_body_is_like_any_other(tmp_path: Path, name: str, settings: str):
    assert both(tmp_path, POSTED[name], post(BODY), **SETTINGS[settings]).repetitions


OTHERS = (get(b"/other"), get(b"/", b"X-A: b"), get(method=b"HEAD"), post(b"body"), get(host=b"other"))
ANSWERS = (
    ok(b"no"),
    ok(b"longer body"),
    ok(b"ok", b"Connection: close"),
    ok(b"ok", b"X-A: b"),
    ok(status=b"503 Service Unavailable"),
)


def anything(seed: int, answers: tuple[bytes, ...] = ANSWERS, others: tuple[bytes, ...] = OTHERS) -> Act:
    """A sequence of acts that nobody would write. answers, others: those answers and requests that are not the usual ones."""

    def other_request(p: Play, chance: random.Random) -> None:
        p.ask(chance.choice(others))
        p.reply()

    def two_at_once(p: Play, chance: random.Random) -> None:
        p.ask(p.request * 2)
        p.reply()
        p.reply()

    def another_answer(p: Play, chance: random.Random) -> None:
        p.ask()
        p.reply(chance.choice(answers))

    def answer_in_two(p: Play, chance: random.Random) -> None:
        p.ask()
        answer = chance.choice((p.answer, *answers))
        place = chance.randrange(1, len(answer))
        p.reply(answer[:place])
        p.stage.advance(chance.choice((0, 1.5)))
        p.reply(answer[place:])

    def no_answer(p: Play, chance: random.Random) -> None:
        p.ask()
        p.upstream.close()
        p.look()
        p.reply()

    def idle_connection_closed(p: Play, chance: random.Random) -> None:
        p.upstream.close()
        p.look()

    kinds: list[Callable[[Play, random.Random], None]] = [
        *[lambda p, chance: repeat(p)] * 6,
        other_request,
        another_answer,
        answer_in_two,
        lambda p, chance: p.stage.advance(chance.choice((0.1, 1.5, 4))),
        idle_connection_closed,
        no_answer,
        lambda p, chance: cut_at(chance.randrange(1, len(p.request)))(p),
        two_at_once,
    ]

    def act(p: Play) -> None:
        chance = random.Random(seed)
        for _ in range(12):
            chance.choice(kinds)(p, chance)

    return act


@pytest.mark.parametrize("seed", range(24))
def test_whatever_comes_between_repeated_requests(tmp_path: Path, seed: int):
    settings = list(SETTINGS.values())[seed % 2]
    both(tmp_path, anything(seed), post(BODY) if seed % 3 == 0 else get(), **settings)


def until_the_client_is_full(p: Play) -> None:
    """Send requests and answers until an answer finds no room, then let the client read."""
    for _ in range(60):
        p.client.sock.send(p.request)
        p.stage.settle()
        p.upstream.pull_all()
        if not p.upstream.received:
            break  # the answer before this one has not gone out
        p.seen.append(bytes(p.upstream.received))
        p.upstream.received.clear()
        p.upstream.sock.send(p.answer)
        p.stage.settle()
    else:
        raise AssertionError("all of it found room")
    p.look()
    p.reply()


def test_a_client_that_does_not_read_gets_all_answers(tmp_path: Path):
    """An answer of which the socket takes only a part is sent to its end."""

    assert both(tmp_path, until_the_client_is_full, get(), answer=ok(b"x" * 2000), buffers=4096).repetitions


# Answers that are always the same.


ANSWERED_HERE: dict[str, Act] = {
    "the same": again_and_again,
    "pipelined": pipelined,
    "a second later": later(1.2),
    "an hour later": later(3601),
    "client closes": client_closes,
    "client leaves while idle": client_leaves_while_idle,
    "client times out while idle": client_times_out_while_idle,
    "another path": another_request(get(b"/other")),
    "HEAD": another_request(get(method=b"HEAD")),
    "close": another_request(get(b"/", b"Connection: close")),
    "a condition": another_request(get(b"/", b"If-None-Match: *")),
    "a body": another_request(post(b"body")),
    "a bad request": another_request(b"GET / HTTP/1.1\r\n\r\n"),
    "request in pieces": request_in_pieces,
    "half a request": half_a_request,
    "drained while idle": drained_while_idle,
    "drained with a request on its way": drained_with_a_request_on_its_way,
}
RETURNS: dict[str, dict[str, object]] = {
    "a text": {"location": 'return = [200, "text"]'},
    "a number, unlogged": {"server": 'access_log = "off"', "location": 'return = [299, "text"]', "locations": METRICS},
    "few requests": {"server": "keepalive_requests = 6", "location": 'return = [200, ""]'},
}


@pytest.mark.parametrize("settings", RETURNS)
@pytest.mark.parametrize("name", ANSWERED_HERE)
def test_a_repeated_request_for_the_same_answer_is_like_any_other(tmp_path: Path, name: str, settings: str):
    text = CONFIGURATION.replace('proxy_pass = "{scheme}://app"\n', "")
    assert both(tmp_path, ANSWERED_HERE[name], get(), text=text, **RETURNS[settings]).repetitions


def test_the_head_of_a_file_is_not_kept_back_when_nothing_of_the_file_follows_it(tmp_path: Path):
    """The kernel is told that more follows the head; if it does not, the head goes out all the same."""
    (tmp_path / "file").write_bytes(b"x" * 100_000)

    def act(p: Play) -> None:
        real, calls = os.sendfile, 0

        def sendfile(target: int, source: int, offset: int, count: int) -> int:
            nonlocal calls
            calls += 1
            if calls == 1:
                raise BlockingIOError
            if calls == 2:
                with suppress(BlockingIOError):
                    p.seen.append(p.client.sock.recv(4096, socket.MSG_PEEK)[:15])
            return real(target, source, offset, count)

        os.sendfile = sendfile
        try:
            p.ask()
        finally:
            os.sendfile = real
        p.seen.append(calls > 1)
        p.ask()

    text = CONFIGURATION.replace('proxy_pass = "{scheme}://app"\n', f'root = "{tmp_path}"\n')
    play = performed(tmp_path / "it", True, act, get(b"/file"), text=text, buffers=1 << 20)
    assert b"HTTP/1.1 200 OK" in play.seen and True in play.seen and play.repetitions
