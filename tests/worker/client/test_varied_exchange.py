"""Requests that differ and are of one form: whatever happens to one, it is as if each had been looked at for itself.

The scenarios are those of requests that repeat themselves, with a client whose path, query, referer and cookie are others each
time, and some of their own: what may follow each other on a connection, and lead elsewhere.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from conversation import _CONFIGURATION as CONFIGURATION
from conversation import get, ok, post
from test_repeated_exchange import (
    ANSWERS,
    METRICS,
    PATIENT,
    RETRIES,
    SCENARIOS,
    Act,
    Play,
    again_and_again,
    anything,
    both,
    repeat,
    until_the_client_is_full,
)

from worker.client.http1.connection import Connection
from worker.client.http1.varied_exchange import VariedExchange
from worker.stream import SMALL_CHUNK

FIELDS = (b"User-Agent: test", b"Accept: */*", b"Accept-Language: en")


def varied(number: int, target: bytes = b"/a/N?n=N", method: bytes = b"GET", version: bytes = b"1.1", *more: bytes) -> bytes:
    """One of the requests of a client, all of which have one form."""
    own = b"Referer: http://h/%06d" % number, b"Cookie: id=%06d; theme=dark" % number
    return get(target.replace(b"N", b"%06d" % number), *FIELDS, *own, *more, method=method, version=version)


class Varied(Play):
    """One performance: a client that has sent so many requests of one form that others are expected."""

    warm_up = 8
    number = 0

    @property
    def request(self) -> bytes:
        """The next request."""
        self.number += 1
        return varied(self.number)

    @request.setter
    def request(self, request: bytes) -> None:
        """The next one is another one in any case."""

    def repeats(self, connection: Connection) -> bool:
        return isinstance(connection.repeating, VariedExchange)


def followed_by(*requests: bytes) -> Act:
    """These requests, then the usual ones."""

    def act(p: Play) -> None:
        for request in requests:
            p.ask(request)
            if not p.client.saw_end:
                p.reply()
                p.look()
        for _ in range(4):
            if not p.client.saw_end:
                repeat(p)

    return act


def alternating(*requests: bytes) -> Act:
    """Each of these requests between usual ones."""

    def act(p: Play) -> None:
        for request in requests:
            p.ask(request)
            p.reply()
            for _ in range(3):
                repeat(p)

    return act


def another_client(p: Play) -> None:
    """Another client's requests of the same form, with values of its own, between those of the first one."""
    other = p.stage.client()
    for number in range(6):
        other.send(varied(900_000 + number))
        p.look()
        p.reply()
        p.seen.append(other.take())
        repeat(p)


def twice_each(p: Play) -> None:
    """Each request comes twice."""
    for number in range(500, 504):
        for _ in range(2):
            p.ask(varied(number))
            p.see()
            p.reply()


def earlier_ones_again(p: Play) -> None:
    """Requests come again that came before others, and each answer comes in pieces, so that the usual way goes on with it."""
    for number in (*range(1, 9), 3, 2, 3, 1):
        p.ask(varied(number))
        if not p.client.saw_end:
            p.upstream.send_slowly(p.answer, [10])
            p.look()
    repeat(p)


def with_answers_of_their_own(p: Play) -> None:
    """Each request has another answer: the usual way is left to it."""
    for number in range(8):
        p.ask()
        p.reply(ok(b"x" * number, b"ETag: %d" % number))
    repeat(p)


def as_large_as_a_read(number: int) -> bytes:
    """A request that fills the small read of a connection whose first request was small."""
    request = varied(number)
    return request.replace(b"dark", b"dark" + b"x" * (SMALL_CHUNK - len(request)))


OWN: dict[str, Act] = {
    "another client": another_client,
    "twice each": twice_each,
    "earlier ones again": earlier_ones_again,
    "answers of their own": with_answers_of_their_own,
    "only the path differs": followed_by(*[varied(7, b"/a/otherN") for number in range(4)]),
    "only the cookie differs": followed_by(*[varied(number, b"/a/b") for number in range(4)]),
    "values of other lengths": followed_by(*[varied(10**number) for number in range(12)]),
    "a path with an escape": alternating(varied(1, b"/a%20b/%C3%A4"), varied(2, b"/%61/x")),
    "a path to be normalised": alternating(varied(1, b"/a/../b"), varied(2, b"/a//b"), varied(3, b"/a/./c?x=/../")),
    "a path out of the root": followed_by(varied(1, b"/../x")),
    "no query, an empty one, several": alternating(varied(1, b"/a"), varied(2, b"/a?"), varied(3, b"/a?b?c")),
    "a fragment": alternating(varied(1, b"/a#b"), varied(2, b"/a")),
    "an absolute URI": alternating(varied(1, b"http://h/a"), varied(2, b"http://elsewhere/a"), varied(3, b"http://h")),
    "another method": alternating(*[varied(1, method=method) for method in (b"HEAD", b"PUT", b"DELETE", b"OPTIONS", b"POST")]),
    "TRACE": followed_by(varied(1, method=b"TRACE")),
    "version 1.0": followed_by(varied(1, version=b"1.0")),
    "version 1.2": alternating(varied(1, version=b"1.2")),
    "version 2.0": followed_by(varied(1, version=b"2.0")),
    "a field more": alternating(varied(1, b"/a", b"GET", b"1.1", b"X-A: b"), varied(2, b"/a", b"GET", b"1.1", b"X-A: c")),
    "a field that we set": alternating(varied(1, b"/a", b"GET", b"1.1", b"X-Real-IP: 1.2.3.4")),
    "close": followed_by(varied(1, b"/a", b"GET", b"1.1", b"Connection: close")),
    "a hop-by-hop field": alternating(varied(1, b"/a", b"GET", b"1.1", b"Connection: X-A", b"X-A: b")),
    "an upgrade": alternating(varied(1, b"/a", b"GET", b"1.1", b"Connection: upgrade", b"Upgrade: x")),
    "a body": alternating(varied(1, b"/a", b"POST", b"1.1", b"Content-Length: 4") + b"body"),
    "a GET with a body": alternating(varied(1, b"/a", b"GET", b"1.1", b"Content-Length: 4") + b"body"),
    "an empty body": alternating(varied(1, b"/a", b"GET", b"1.1", b"Content-Length: 0")),
    "a chunked body": alternating(varied(1, b"/a", b"POST", b"1.1", b"Transfer-Encoding: chunked") + b"4\r\nbody\r\n0\r\n\r\n"),
    "a post": alternating(post(b"body", b"/a")),
    "another host": alternating(varied(1).replace(b"Host: h", b"Host: other"), varied(2).replace(b"Host: h", b"Host: second")),
    "a host in other letters": alternating(varied(1).replace(b"Host: h", b"Host: H")),
    "no host": followed_by(varied(1).replace(b"Host: h\r\n", b"")),
    "a control character in a value": followed_by(varied(1).replace(b"theme", b"the\x01me")),
    "a line end in a value": followed_by(varied(1).replace(b"theme", b"the\nme")),
    "a line in a value": alternating(varied(1).replace(b"; theme", b"\r\nX-A: b")),
    "a value with spaces around it": alternating(varied(1).replace(b"dark", b"dark \t"), varied(2).replace(b"Cookie: ", b"Cookie:")),
    "an empty value": alternating(varied(1).replace(b"id=000001; theme=dark", b"")),
    "bytes beyond ASCII in a value": alternating(varied(1).replace(b"dark", b"d\xe4rk")),
    "a name in other letters": alternating(varied(1).replace(b"Cookie", b"cookie")),
    "lines in another order": alternating(varied(1).replace(FIELDS[0] + b"\r\n", b"") .replace(FIELDS[1], FIELDS[1] + b"\r\n" + FIELDS[0])),
    "bare line ends": alternating(varied(1).replace(b"\r\n", b"\n")),
    "a long path": alternating(varied(1, b"/" + b"a" * 5000), varied(2, b"/" + b"b" * 7000)),
    "too long a path": followed_by(varied(1, b"/" + b"a" * 9000)),
    "too long a value": followed_by(varied(1).replace(b"dark", b"d" * 9000)),
    "garbage": followed_by(b"garbage\r\n\r\n"),
    "two at once": alternating(varied(1) + varied(2)),
    "one and the beginning of another": alternating(varied(1) + b"GET ", varied(2)[4:]),
    "a full read": alternating(as_large_as_a_read(1), as_large_as_a_read(2), as_large_as_a_read(3)[:-1]),
    "a full read and more": alternating(as_large_as_a_read(1) + varied(2), as_large_as_a_read(3) + b"GET ", varied(4)[4:]),
    "a full read and a close": alternating(as_large_as_a_read(1) + varied(2, b"/a", b"GET", b"1.1", b"Connection: close")),
    "another location": alternating(*[varied(number, b"/pageN") for number in range(3)]),
    "to another upstream": alternating(*[varied(number, b"/elsewhere/N") for number in range(3)]),
    "to and fro": followed_by(*[varied(number, (b"/elsewhere/N", b"/a/N")[number % 2]) for number in range(8)]),
    "several in another location": followed_by(*[varied(number, b"/elsewhere/N") for number in range(8)]),
    "a rewrite": alternating(varied(1, b"/old/N"), varied(2, b"/old/N")),
    "captures of a regex": alternating(varied(1, b"/x-N.php"), varied(2, b"/a/x-N.php")),
    "several with captures": followed_by(*[varied(number, b"/x-N.php") for number in range(8)]),
    "an exact location": alternating(varied(1, b"/exact"), varied(2, b"/exact?a"), varied(3, b"/exactly")),
    "only inside": alternating(varied(1, b"/inside")),
    "an error page of its own": followed_by(varied(1, b"/missing")),
}  # fmt: skip
FORWARDED = (
    '[http.server.location."/".proxy_set_header]\n'
    'Host = "$host"\nX-Real-IP = "$remote_addr"\nX-Forwarded-For = "$proxy_add_x_forwarded_for"\nX-Forwarded-Proto = "$scheme"\n'
)
OTHER = '[http.server.location."/elsewhere/"]\nproxy_pass = "http://app/under/"\n'
EXACT = '[http.server.location."= /exact"]\nproxy_pass = "http://app/exact/"\n'
INSIDE = '[http.server.location."/inside"]\ninternal = true\nproxy_pass = "http://app"\n'
OLD = '[http.server.location."/old/"]\nrewrite = [["^/old/(.*)", "/a/$1", "last"]]\n'
PAGE = '[http.server.location."/page"]\nadd_header = [["X-Page", "yes", "always"]]\nreturn = [200, "page"]\n'
MISSING = '[http.server.location."/missing"]\nreturn = [404, ""]\nerror_page = [["404", "/a/instead"]]\n'
REGEX = """[http.server.location.'~ -(?<part>[0-9]+)\\.php$']\nproxy_pass = "http://app"\nproxy_set_header = [["X-Part", "$part $1"]]\n"""
SECOND = '[[http.server]]\nlisten = "127.0.0.1:8080"\nserver_name = "second"\n[http.server.location."/"]\nproxy_pass = "http://app/second/"\n'
PLACES = OTHER + EXACT + INSIDE + OLD + PAGE + MISSING
LOGGED = CONFIGURATION.replace(
    "test = '{log_format}'",
    "test = '{log_format}|$request|$uri|$args|$http_cookie|$http_referer|$http_user_agent|$host|$status|$pipe'",
)
SETTINGS: dict[str, dict[str, object]] = {
    "logged, with error pages": {
        "text": LOGGED,
        "location": PATIENT + 'proxy_intercept_errors = true\nerror_page = [["404", "/page"]]\n' + FORWARDED,
        "locations": PLACES + SECOND,
    },
    "logged, with regexes and a part of the URI": {
        "text": LOGGED.replace('"{scheme}://app"', '"{scheme}://app/base/"'),
        "location": PATIENT,
        "locations": PLACES + REGEX + SECOND,
    },
    "unlogged, two servers": {
        "peers": 2,
        "server": 'access_log = "off"',
        "location": PATIENT + RETRIES + "\n" + FORWARDED,
        "locations": PLACES + METRICS,
    },
    "few requests": {"server": "keepalive_requests = 12", "location": PATIENT, "locations": PLACES + REGEX},
}


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("name", SCENARIOS)
def test_a_varied_request_is_like_any_other(tmp_path: Path, name: str, settings: str):
    assert both(tmp_path, SCENARIOS[name], b"", play_of=Varied, **SETTINGS[settings]).repetitions


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("name", OWN)
def test_what_follows_varied_requests_is_like_any_other(tmp_path: Path, name: str, settings: str):
    assert both(tmp_path, OWN[name], b"", play_of=Varied, **SETTINGS[settings]).repetitions


OTHERS = (
    varied(1, b"/elsewhere/1"),
    varied(2, b"/page"),
    varied(3, b"/x-3.php"),
    varied(4, b"/old/4"),
    varied(5, b"/a%20b"),
    varied(6, method=b"HEAD"),
    varied(7, b"/a", b"GET", b"1.1", b"X-A: b"),
    varied(8).replace(b"Host: h", b"Host: second"),
    get(b"/other"),
    post(b"body"),
)


@pytest.mark.parametrize("seed", range(40))
def test_whatever_comes_between_varied_requests(tmp_path: Path, seed: int):
    settings = list(SETTINGS.values())[seed % 3]
    assert both(tmp_path, anything(seed, ANSWERS, OTHERS), b"", play_of=Varied, **settings).repetitions


VALUES = {
    "a field that varies": 'proxy_set_header = [["X-Id", "$cookie_id"]]',
    "the URI": 'proxy_set_header = [["X-Uri", "$request_uri"]]',
    "the number of the request": 'proxy_set_header = [["X-Number", "$connection_requests"]]',
    "a header of answers": 'add_header = [["X-Uri", "$request_uri"]]',
    "a redirect": 'proxy_redirect = [["/x", "$request_uri"]]',
    "a cookie's path": 'proxy_cookie_path = [["/x", "$uri"]]',
    "a method": 'proxy_method = "PUT"',
    "a body of ours": 'proxy_set_body = "$request_uri"',
    "a rate": 'limit_rate = "$arg_n"',
}


@pytest.mark.parametrize("name", VALUES)
def test_what_varies_with_the_request_varies(tmp_path: Path, name: str):
    def act(p: Play) -> None:
        for answer in (ok(), ok(b"ok", b"Location: /x", status=b"302 Found"), ok(b"ok", b"Set-Cookie: a=b; Path=/x")):
            for _ in range(4):
                p.ask()
                p.see()
                p.reply(answer)

    both(tmp_path, act, b"", play_of=Varied, text=LOGGED, location=VALUES[name])


class WithBodies(Varied):
    """One performance: each request has a body, which comes after its head."""

    @property
    def request(self) -> bytes:
        self.number += 1
        return varied(self.number, b"/a/N", b"GET", b"1.1", b"Content-Length: 4")

    @request.setter
    def request(self, request: bytes) -> None: ...

    def ask(self, request: bytes | None = None) -> None:
        super().ask(request)
        self.client.send(b"body")
        self.look()


def test_heads_of_one_form_wait_for_their_bodies(tmp_path: Path):
    assert not both(tmp_path, again_and_again, b"", play_of=WithBodies, text=LOGGED).repetitions


def test_a_client_that_does_not_read_gets_all_answers(tmp_path: Path):
    """An answer of which the socket takes only a part is sent to its end."""

    assert both(tmp_path, until_the_client_is_full, b"", answer=ok(b"x" * 2000), buffers=4096, play_of=Varied).repetitions


def test_answers_that_differ_each_time_are_not_expected_to_be_the_same(tmp_path: Path):
    def act(p: Play) -> None:
        p.repetitions = 0
        with_answers_of_their_own(p)

    play = both(tmp_path, act, b"", play_of=Varied, text=LOGGED)
    assert play.repetitions == 1, "the first of them finds that the answer has changed, no other one is tried"


def test_answers_that_have_come_before_are_expected(tmp_path: Path):
    def act(p: Play) -> None:
        for number in range(3):
            p.ask()
            p.reply(ok(b"x" * number))
        repeat(p)
        p.repetitions = 0
        for number in range(9):
            p.ask()
            p.reply(ok(b"y" * (number % 3)))

    assert both(tmp_path, act, b"", play_of=Varied, text=LOGGED).repetitions == 9
