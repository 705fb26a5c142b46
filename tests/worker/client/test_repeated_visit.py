"""Clients that connect for one request, one after the other: each is served as if it were the first one.

Each scenario is performed twice, by a worker that notes visits and by one that does not. What the clients and the upstreams
receive, both logs and all counts must be the same; and the first worker must have repeated what the scenario wants it to.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conversation import End, Stage, get, ok, post
from performance import Performance

CLOSE = get(b"/", b"Connection: close")


class Visits(Performance):
    """One performance: the clients that have come, one after the other."""

    def __init__(self, stage: Stage, notes: bool, request: bytes, answer: bytes, tcp: bool) -> None:
        super().__init__(stage, request, answer, notes)
        self.tcp = tcp
        self.repeated = 0
        for _ in range(3):
            self.visit()

    def come(self, request: bytes | None = None, address: bytes = b"127.0.0.1") -> End:
        """Connect and ask."""
        client = self.stage.client(tcp=self.tcp, address=address)
        client.send(self.request if request is None else request)
        self.look(client)
        return client

    def visit(self, request: bytes | None = None, answer: bytes | None = None) -> End:
        """Connect, ask, and be answered."""
        client = self.come(request)
        self.reply(client, answer)
        return client

    def reply(self, client: End, answer: bytes | None = None) -> None:
        self.send_answer(answer)
        self.look(client)

    def look(self, client: End) -> None:
        """See what has come to whom."""
        self.stage.settle()
        self.repeated += sum(getattr(one, "repeating", None) is not None for one in self.stage.worker.clients.connections)
        self.look_at_upstreams()
        if not client.over:
            self.seen.append(("client", client.take(), client.saw_end, client.saw_reset))
        self.look_at_counts()

    def end(self) -> list[str]:
        self.stage.settle()
        self.look_at_logs()
        return self.lines()


Act = Callable[[Visits], None]


def again(v: Visits) -> None:
    for _ in range(3):
        v.visit()


def with_answer(answer: bytes) -> Act:
    def act(v: Visits) -> None:
        v.visit(answer=answer)
        again(v)

    return act


def with_request(request: bytes) -> Act:
    def act(v: Visits) -> None:
        v.visit()
        v.visit(request)
        again(v)

    return act


def request_in_pieces(v: Visits) -> None:
    client = v.stage.client(tcp=v.tcp)
    client.send_slowly(v.request, [10])
    v.look(client)
    v.reply(client)
    again(v)


def answer_in_pieces(v: Visits) -> None:
    client = v.come()
    v.upstream.send_slowly(v.answer)
    v.look(client)
    again(v)


def upstream_closes(begun: bytes) -> Act:
    def act(v: Visits) -> None:
        client = v.come()
        if begun:
            v.upstream.send(begun)
        v.upstream.close()
        v.look(client)
        if not v.upstream.over:
            v.reply(client)
        again(v)

    return act


def upstream_closes_while_idle(v: Visits) -> None:
    v.visit()
    v.upstream.close()
    again(v)


def two_at_once(v: Visits) -> None:
    one, other = v.come(), v.come()
    for _ in range(2):
        for upstream in list(v.upstreams):
            if not upstream.over:
                upstream.send(v.answer)
    v.look(one)
    v.look(other)
    again(v)


def silent(v: Visits) -> None:
    client = v.come()
    v.stage.advance(6)
    v.look(client)


def later(v: Visits) -> None:
    v.stage.advance(1.2)
    again(v)


def leaves(v: Visits) -> None:
    client = v.come()
    client.close()
    v.look(client)


def resets(v: Visits) -> None:
    client = v.come()
    client.reset()
    v.look(client)


def sends_more(v: Visits) -> None:
    client = v.come()
    client.send(b"more")
    v.look(client)
    v.reply(client)
    v.look(client)


def drained(v: Visits) -> None:
    client = v.come()
    v.stage.worker.clients.drain(v.stage.loop.clock.now)
    v.look(client)
    v.reply(client)


def cut(v: Visits) -> None:
    client = v.come()
    v.stage.worker.clients.cut("the worker ends")
    v.look(client)


def looked_at(v: Visits) -> None:
    client = v.come()
    (connection,) = v.stage.worker.clients.connections
    (request,) = connection.under_way
    v.seen.append((request.path, request.keepalive, request.started, request.request_length))
    v.reply(client)
    again(v)


SCENARIOS: dict[str, Act] = {
    "the same": again,
    "another body": with_answer(ok(b"no")),
    "a longer body": with_answer(ok(b"longer body")),
    "another field": with_answer(ok(b"ok", b"X-A: b")),
    "a failure": with_answer(ok(status=b"503 Service Unavailable")),
    "not found": with_answer(ok(status=b"404 Not Found")),
    "chunked": with_answer(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"),
    "a large body": with_answer(ok(b"x" * 100_000)),
    "garbage": with_answer(b"garbage\r\n\r\n"),
    "too much": with_answer(ok() + b"more"),
    "another path": with_request(get(b"/other", b"Connection: close")),
    "another field of the request": with_request(get(b"/", b"X-A: b", b"Connection: close")),
    "HEAD": with_request(get(b"/", b"Connection: close", method=b"HEAD")),
    "a body": with_request(post(b"body", b"/", b"Connection: close")),
    "more after the head": with_request(CLOSE + b"more"),
    "two requests": with_request(CLOSE * 2),
    "keepalive": with_request(get()),
    "a bad request": with_request(b"GET / HTTP/1.1\r\n\r\n"),
    "request in pieces": request_in_pieces,
    "answer in pieces": answer_in_pieces,
    "closed without an answer": upstream_closes(b""),
    "closed within the head": upstream_closes(b"HTTP/1.1 200"),
    "closed within the body": upstream_closes(ok()[:-1]),
    "closed while idle": upstream_closes_while_idle,
    "two at once": two_at_once,
    "silent": silent,
    "later": later,
    "leaves": leaves,
    "resets": resets,
    "sends more": sends_more,
    "drained": drained,
    "cut": cut,
    "looked at": looked_at,
}
FORWARDED = 'proxy_read_timeout = "5s"\nproxy_set_header = { X-Forwarded-For = "$proxy_add_x_forwarded_for", Connection = "" }\n'
SETTINGS: dict[str, dict[str, Any]] = {
    "logged": {"location": FORWARDED + 'proxy_intercept_errors = true\nerror_page = [["404", "500", "/page"]]'},
    "unlogged, two servers": {
        "peers": 2,
        "server": 'access_log = "off"',
        "location": FORWARDED + 'proxy_next_upstream = ["error", "timeout", "http_503"]',
    },
    "over TCP": {"server": 'access_log = "off"', "location": FORWARDED},
}


def performed(directory: Path, notes: bool, act: Act, request: bytes, answer: bytes, tcp: bool, **more: Any) -> Any:
    directory.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        stage = Stage(patch, str(directory), **more)
        try:
            visits: Any = Visits(stage, notes, request, answer, tcp)
            act(visits)
            visits.result = visits.end()
        except BaseException:
            stage.close(sweep=False)
            raise
        stage.close()
    return visits


def both(directory: Path, act: Act, request: bytes = CLOSE, tcp: bool = False, **more: Any) -> Any:
    noted = performed(directory / "noted", True, act, request, ok(), tcp, **more)
    usual = performed(directory / "usual", False, act, request, ok(), tcp, **more)
    assert usual.repeated == 0
    assert noted.result == usual.result
    return noted


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("name", SCENARIOS)
def test_a_visit_like_one_before_is_like_any_other(tmp_path: Path, name: str, settings: str):
    assert both(tmp_path, SCENARIOS[name], tcp=settings == "over TCP", **SETTINGS[settings]).repeated


def test_a_client_from_elsewhere_is_told_apart(tmp_path: Path):
    def act(v: Visits) -> None:
        for address in (b"127.0.0.2", b"127.0.0.1", b"127.0.0.2", b"127.0.0.2"):
            v.reply(v.come(address=address))
        assert any(
            b"X-Forwarded-For: 127.0.0.2" in seen[1] for seen in v.seen if isinstance(seen, tuple) and seen[0] == "upstream 0"
        )

    assert both(tmp_path, act, location=FORWARDED).repeated


@pytest.mark.parametrize("value", ["$remote_port", "$connection", "$request_id", "$msec"])
def test_what_differs_between_connections_is_not_repeated(tmp_path: Path, value: str):
    visits = performed(tmp_path / "noted", True, again, CLOSE, ok(), False, location=f'proxy_set_header = {{ X-A = "{value}" }}')
    assert not visits.repeated


def test_a_client_whose_end_is_awaited_is_looked_at_for_itself(tmp_path: Path):
    assert not both(tmp_path, again, server='lingering_close = "always"').repeated


def test_clients_of_the_old_version_need_not_ask_for_the_close(tmp_path: Path):
    assert both(tmp_path, again, get(version=b"1.0")).repeated
