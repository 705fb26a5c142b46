"""Repeated requests that FastCGI answers: whatever happens to one, it is as if each had been looked at for itself."""

from __future__ import annotations

from pathlib import Path

import pytest
from conversation import get, post
from test_repeated_exchange import (
    SCENARIOS,
    Act,
    Play,
    a_server_becomes_ill,
    again_and_again,
    another_request,
    answered,
    anything,
    both,
    client_closes,
    client_ends_sending,
    client_resets,
    client_resets_before_the_answer_is_read,
    closed_by_upstream,
    cut,
    drained_while_idle,
    drained_while_waiting,
    drained_with_a_request_on_its_way,
    in_pieces,
    later,
    looked_at,
    performed,
    repeat,
    silent,
    slow_answer,
)

from worker.fastcgi.records import END, STDERR, STDOUT, record

HEAD = b"Content-Type: text/plain\r\n\r\n"
ENDED = record(END, bytes(8))


def said(body: bytes = b"ok", head: bytes = HEAD) -> bytes:
    """The records of an answer that comes whole."""
    return record(STDOUT, head + body) + ENDED


def repeated_before(act: Act) -> Act:
    """The same after one more request: an answer has to come twice before it is expected again."""

    def after(p: Play) -> None:
        repeat(p)
        act(p)

    return after


def refused(p: Play) -> None:
    """A server does not listen any more, then it does again."""
    for upstream in p.upstreams:
        if not upstream.over:
            upstream.close()
    p.stage.peers[0].refuse()
    p.client.send(p.request)
    p.stage.peers[0].listen_again()
    p.look()
    if len(p.stage.peers) > 1:
        p.reply()
    for _ in range(4):
        p.ask()
        p.reply()


def without_a_descriptor(p: Play) -> None:
    """The worker has no room for a connection to the server, then it has again."""
    loop = p.stage.loop
    before = loop.roomy, loop.lacks_room
    loop.roomy, loop.lacks_room = -1, lambda: "no room"
    p.ask()
    loop.roomy, loop.lacks_room = before
    for _ in range(4):
        p.ask()
        p.reply()


CONVERSATIONS: dict[str, Act] = {
    "the same": again_and_again,
    "another body": answered(said(b"another body")),
    "an empty body": answered(said(b"")),
    "a large body": answered(said(b"x" * 30_000)),
    "a body in two records": answered(record(STDOUT, HEAD + b"o") + record(STDOUT, b"k") + ENDED),
    "another field": answered(said(head=b"X-A: b\r\n" + HEAD)),
    "the length told": answered(said(head=b"Content-Length: 2\r\n" + HEAD)),
    "too long for its length": answered(said(b"more", b"Content-Length: 2\r\n" + HEAD)),
    "too short for its length": answered(said(b"x", b"Content-Length: 2\r\n" + HEAD)),
    "not found": answered(said(head=b"Status: 404 Not Found\r\n" + HEAD)),
    "a failure": answered(said(head=b"Status: 503 Service Unavailable\r\n" + HEAD)),
    "no content": answered(said(b"", b"Status: 204 No Content\r\n" + HEAD)),
    "a redirect": answered(said(head=b"Location: http://app/x\r\n" + HEAD)),
    "a message": answered(record(STDERR, b"PHP message") + said()),
    "a message after it": answered(record(STDOUT, HEAD + b"ok") + record(STDERR, b"late") + ENDED),
    "more after the end": answered(said() + b"more"),
    "no head": answered(record(STDOUT, b"no head") + ENDED),
    "garbage": answered(b"garbage, and more of it than a header has"),
    "byte by byte": in_pieces(),
    "the end later": in_pieces(len(said()) - 16),
    "half the head": in_pieces(20),
    "closed without an answer": closed_by_upstream(),
    "closed within the head": closed_by_upstream(said()[:20]),
    "closed before the end": closed_by_upstream(said()[:-16]),
    "closed after the answer": closed_by_upstream(said()),
    "refused": refused,
    "no room": without_a_descriptor,
    "silent": silent,
    "a second later": later(1.2),
    "an hour later": later(3601),
    "slow answer": slow_answer,
    "client closes": client_closes,
    "client resets": client_resets,
    "client resets before the answer is read": client_resets_before_the_answer_is_read,
    "client ends sending": client_ends_sending,
    "another path": another_request(get(b"/other")),
    "HEAD": another_request(get(method=b"HEAD")),
    "close": another_request(get(b"/", b"Connection: close")),
    "a body": another_request(post(b"body")),
    "drained while waiting": drained_while_waiting,
    "drained while idle": drained_while_idle,
    "drained with a request on its way": drained_with_a_request_on_its_way,
    "cut": cut,
    "looked at": looked_at,
    "pipelined": SCENARIOS["pipelined"],
    "request in pieces": SCENARIOS["request in pieces"],
    "a server becomes ill": a_server_becomes_ill,
}
PASS = 'fastcgi_pass = "app"\nfastcgi_read_timeout = "5s"\nfastcgi_param = { METHOD = "$request_method", PATH = "$uri" }\n'
SETTINGS: dict[str, dict[str, object]] = {
    "logged, with error pages": {"location": PASS + 'fastcgi_intercept_errors = true\nerror_page = [["404", "500", "/page"]]'},
    "unlogged, two servers": {
        "peers": 2,
        "server": 'access_log = "off"',
        "location": PASS + 'fastcgi_next_upstream = ["error", "timeout", "http_503", "http_404", "invalid_header"]',
    },
}


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("name", CONVERSATIONS)
def test_a_repeated_request_is_like_any_other(tmp_path: Path, name: str, settings: str):
    assert both(tmp_path, repeated_before(CONVERSATIONS[name]), get(), answer=said(), **SETTINGS[settings]).repetitions


def test_an_answer_with_its_length_repeats(tmp_path: Path):
    answer = said(head=b"Content-Length: 2\r\n" + HEAD)
    act = answered(said(b"three", b"Content-Length: 2\r\n" + HEAD))
    assert both(tmp_path, repeated_before(act), get(), answer=answer, **SETTINGS["logged, with error pages"]).repetitions


def test_an_answer_whose_head_differs_each_time_is_not_expected_again(tmp_path: Path):
    def act(p: Play) -> None:
        p.repetitions = 0  # the usual head may have come in earlier tests
        for number in range(8):
            p.ask()
            p.reply(said(head=b"X-Id: %d\r\n" % number + HEAD))

    play = both(tmp_path, act, get(), answer=said(), **SETTINGS["logged, with error pages"])
    assert play.repetitions == 1, "the first of them finds that the answer has changed"


@pytest.mark.parametrize("is_cached", [False, True])
def test_a_cache_of_another_location_changes_nothing_and_one_of_its_own_keeps_answers(tmp_path: Path, is_cached: bool):
    cache = f'fastcgi_cache_path = [["{tmp_path}/cache", "levels=1:2", "keys_zone=z:1m"]]'
    location = PASS + ('fastcgi_cache = "z"\nfastcgi_cache_key = "$uri"\nfastcgi_cache_valid = "1m"' if is_cached else "")
    play = performed(tmp_path / "learned", True, again_and_again, get(), said(), http=cache, location=location)
    assert bool(play.repetitions) == (not is_cached)


ANSWERS = (said(b"no"), said(b"x" * 600), said(head=b"X-A: b\r\n" + HEAD), record(STDERR, b"oh") + said())


@pytest.mark.parametrize("seed", range(12))
def test_whatever_comes_between_repeated_requests(tmp_path: Path, seed: int):
    both(tmp_path, anything(seed, ANSWERS), get(), answer=said(), **list(SETTINGS.values())[seed % 2])
