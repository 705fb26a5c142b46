"""Every variable, read from a request that the worker's own parsers made (routing.md §4)."""

from __future__ import annotations

import os
import re
import time

import pytest
from made_requests import MadeBody

from worker.http1.request import HeadLimits, HeadMemo, take_request_head
from worker.http1.response import parse_response_head
from wproxy.address import Address
from wproxy.config.load import load_text
from wproxy.http import Attempt, Client, Clock, FixedEndpoint, Process, Request, ResponseFields
from wproxy.identity import NGINX, WPROXY
from wproxy.variables import (
    BLOCK,
    CAPTURES,
    FAMILIES,
    REQUEST,
    VARIABLES,
    assigner,
    error_log_time,
    find_variable,
    hear_complaints,
    is_assignable,
)

CONFIGURATION = b"""
[[http.server]]
listen = 8080
server_name = [["front.example", "other.example"]]

[http.server.location]
"/app/" = { proxy_pass = "http://backend.example:3000/x" }
"/plain/" = { proxy_pass = "http://backend.example" }
"/socket/" = { proxy_pass = "http://unix:/run/app.sock" }
"""

THEN = 1_795_356_000.25  # 2026-11-22T14:00:00.25Z


@pytest.fixture(scope="module")
def server():
    configuration = load_text(CONFIGURATION, "wproxy.toml", "/", lambda host, port: [Address("192.0.2.80", port)])
    return configuration.listeners[0].servers.default


def process_named(identity):
    return Process(identity, lambda: (4, 1, 2, 1))


class Story:
    """A client and what it sends: makes requests, and reads variables from them."""

    def __init__(self, server, listening=Address("192.0.2.1", 8080), remote=(b"192.0.2.7", 40000)):
        self.server = server
        self.clock = Clock(now=1000.0, offset=THEN - 1000.0)
        listener = type("Listener", (), {"address": listening})()
        self.client = Client(process_named(WPROXY), listener, self.clock, *remote, 5, FixedEndpoint(Address("192.0.2.99", 8080)))
        self.client.requests = 3

    def request(
        self, *fields: bytes, line: bytes = b"GET /app/a%20b?x=1&y=2 HTTP/1.1", host: bytes | None = b"Host: Front.example:8080"
    ):
        head = b"\r\n".join([line, *([host] if host else []), *fields]) + b"\r\n\r\n"
        taken = take_request_head(head, HeadLimits(), HeadMemo())
        assert taken is not None
        request = Request(self.client, taken[0], taken[1], self.clock.now)
        request.request_length = taken[2]
        request.server = self.server
        request.location = self.server.locations.find(request.path, request)
        return request


@pytest.fixture
def story(server):
    yield Story(server)
    hear_complaints(lambda request, level, text: None)


def read(name: str, request: Request) -> bytes | None:
    variable = find_variable(name)
    assert variable is not None, name
    return variable.read(request)


# The connection


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("remote_addr", b"192.0.2.7"),
        ("remote_port", b"40000"),
        ("server_addr", b"192.0.2.1"),
        ("server_port", b"8080"),
        ("scheme", b"http"),
        ("https", b""),
        ("connection", b"5"),
        ("connection_requests", b"3"),
        ("connection_time", b"0.000"),
        pytest.param("pid", b"%d" % os.getpid(), id="pid"),  # by this name in all processes of one test run
        ("hostname", os.uname().nodename.lower().encode()),
    ],
)
def test_of_the_connection(story, name, value):
    assert read(name, story.request()) == value


@pytest.mark.parametrize("identity", [WPROXY, NGINX])
def test_the_version_is_the_one_that_goes_with_our_name(story, identity):
    story.client.process = process_named(identity)
    assert read("nginx_version", story.request()) == identity.version.encode()


def test_https_is_on_where_the_scheme_is_https(story):
    story.client.scheme = b"https"
    assert read("https", story.request()) == b"on"
    assert read("scheme", story.request()) == b"https"


def test_on_a_wildcard_listener_the_address_connected_to_is_asked_for(server):
    assert read("server_addr", Story(server, Address("0.0.0.0", 8080)).request()) == b"192.0.2.99"
    assert read("server_addr", Story(server, Address("::", 8080)).request()) == b"192.0.2.99"


def test_a_unix_socket_has_a_path_and_no_port(server):
    request = Story(server, Address("/run/front.sock", -1), (b"unix:", 0)).request()
    names = ("server_addr", "server_port", "remote_addr", "remote_port")
    assert [read(name, request) for name in names] == [b"unix:/run/front.sock", b"", b"unix:", b""]


def test_the_age_of_a_connection_grows(story):
    request = story.request()
    story.clock.now += 2.5
    assert read("connection_time", request) == b"2.500"


# The request line


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("request", b"GET /app/a%20b?x=1&y=2 HTTP/1.1"),
        ("request_method", b"GET"),
        ("request_uri", b"/app/a%20b?x=1&y=2"),
        ("uri", b"/app/a b"),
        ("document_uri", b"/app/a b"),
        ("args", b"x=1&y=2"),
        ("query_string", b"x=1&y=2"),
        ("is_args", b"?"),
        ("server_protocol", b"HTTP/1.1"),
        ("arg_x", b"1"),
        ("arg_y", b"2"),
        ("arg_z", None),
    ],
)
def test_of_the_request_line(story, name, value):
    assert read(name, story.request()) == value


@pytest.mark.parametrize(
    ("target", "uri", "args", "is_args"),
    [(b"/", b"/", None, b""), (b"/?", b"/", None, b""), (b"/??", b"/", b"?", b"?"), (b"/a//../b", b"/b", None, b"")],
)
def test_a_target_is_taken_apart(story, target, uri, args, is_args):
    request = story.request(line=b"GET " + target + b" HTTP/1.1")
    assert read("uri", request) == uri
    assert read("args", request) == args
    assert read("is_args", request) == is_args


@pytest.mark.parametrize(
    ("query", "name", "value"),
    [
        (b"a=1&a=2", "arg_a", b"1"),
        (b"A=1", "arg_a", b"1"),
        (b"b=0&a=%20+", "arg_a", b"%20+"),
        (b"a=b=c", "arg_a", b"b=c"),
        (b"a=", "arg_a", b""),
        (b"a", "arg_a", None),
        (b"aa=1&ba=2", "arg_a", None),
        (b"long_name=1", "arg_long_name", b"1"),
    ],
)
def test_an_argument_is_raw_and_the_first_of_its_name(story, query, name, value):
    assert read(name, story.request(line=b"GET /?" + query + b" HTTP/1.1")) == value


def test_the_uri_may_change_but_not_what_was_asked_for(story):
    request = story.request()
    request.path, request.args = b"/new", None
    names = ("uri", "args", "is_args", "request_uri", "request")
    assert [read(name, request) for name in names] == [
        b"/new",
        None,
        b"",
        b"/app/a%20b?x=1&y=2",
        b"GET /app/a%20b?x=1&y=2 HTTP/1.1",
    ]


def test_the_length_of_a_request_is_in_bytes(story):
    assert read("request_length", story.request(line=b"GET / HTTP/1.1", host=b"Host: a")) == b"27"


def test_the_id_of_a_request_is_random_and_stays(story):
    first, second = story.request(), story.request()
    value = read("request_id", first)
    assert re.fullmatch(rb"[0-9a-f]{32}", value or b"")
    assert read("request_id", first) == value != read("request_id", second)


# The header block


@pytest.mark.parametrize(
    ("line", "host", "value"),
    [
        (b"GET / HTTP/1.1", b"Host: Other.Example:8080", b"other.example"),
        (b"GET / HTTP/1.1", b"Host: other.example.", b"other.example"),
        (b"GET / HTTP/1.1", b"Host: [::1]:80", b"[::1]"),
        (b"GET http://Line.example:80/ HTTP/1.1", b"Host: other.example", b"line.example"),
        (b"GET / HTTP/1.0", None, b"front.example"),
    ],
)
def test_the_host_is_the_lines_else_the_fields_else_the_servers(story, line, host, value):
    assert read("host", story.request(line=line, host=host)) == value


@pytest.mark.parametrize(
    ("fields", "name", "value"),
    [
        ([], "server_name", b"front.example"),
        ([], "http_host", b"Front.example:8080"),
        ([b"User-Agent: curl"], "http_user_agent", b"curl"),
        ([b"X-A: 1", b"x-a: 2"], "http_x_a", b"1, 2"),
        ([], "http_x_a", None),
        ([b"X-A:"], "http_x_a", b""),
        ([b"Content-Length: 007"], "content_length", b"7"),
        ([b"Content-Length: 0"], "content_length", b"0"),
        ([], "content_length", None),
        ([b"Content-Type: text/html; charset=utf-8"], "content_type", b"text/html; charset=utf-8"),
        ([], "content_type", None),
        ([], "proxy_add_x_forwarded_for", b"192.0.2.7"),
        ([b"X-Forwarded-For: 10.0.0.1"], "proxy_add_x_forwarded_for", b"10.0.0.1, 192.0.2.7"),
        ([b"X-Forwarded-For: a", b"X-Forwarded-For: b"], "proxy_add_x_forwarded_for", b"a, b, 192.0.2.7"),
        ([b"X-Forwarded-For:"], "proxy_add_x_forwarded_for", b", 192.0.2.7"),
        ([b"Cookie: a=1; b=2"], "cookie_b", b"2"),
        ([b"Cookie: A=1"], "cookie_a", b"1"),
        ([b"Cookie: a=1; a=2"], "cookie_a", b"1"),
        ([b"Cookie: a=1", b"Cookie: b=2"], "cookie_b", b"2"),
        ([b"Cookie: a=b=c"], "cookie_a", b"b=c"),
        ([b"Cookie: aa=1; a"], "cookie_a", None),
        ([], "cookie_a", None),
        ([b"Connection: Upgrade", b"Upgrade: websocket"], "wproxy_connection_upgrade", b"upgrade"),
        ([], "wproxy_connection_upgrade", b""),
    ],
)
def test_of_the_header_block(story, fields, name, value):
    assert read(name, story.request(*fields)) == value


@pytest.mark.parametrize(
    ("credentials", "user"),
    [
        (b"Basic YWxpY2U6c2VjcmV0", b"alice"),
        (b"basic YWxpY2U6c2VjcmV0", b"alice"),
        (b"Basic   YWxpY2U6", b"alice"),
        (b"Basic YTpiOmM=", b"a"),
        (b"Basic YWxpY2U=", None),
        (b"Basic !", None),
        (b"Basic YWxpY2U", None),
        (b"Basic", None),
        (b"Bearer YWxpY2U6c2VjcmV0", None),
        (b"Basic OnNlY3JldA==", None),
    ],
)
def test_the_user_is_that_of_basic_credentials(story, credentials, user):
    assert read("remote_user", story.request(b"Authorization: " + credentials)) == user


def test_without_credentials_there_is_no_user(story):
    assert read("remote_user", story.request()) is None


# The upstream


@pytest.mark.parametrize(
    ("target", "host", "port"),
    [
        (b"/app/x", b"backend.example:3000", b"3000"),
        (b"/plain/x", b"backend.example", b"80"),
        (b"/socket/x", b"localhost", None),
        (b"/nowhere", None, None),
    ],
)
def test_the_name_of_the_upstream(story, target, host, port):
    request = story.request(line=b"GET " + target + b" HTTP/1.1")
    assert read("proxy_host", request) == host
    assert read("proxy_port", request) == port


UPSTREAM_VARIABLES = (
    "upstream_addr",
    "upstream_status",
    "upstream_connect_time",
    "upstream_header_time",
    "upstream_response_time",
    "upstream_response_length",
    "upstream_bytes_received",
    "upstream_bytes_sent",
)


@pytest.mark.parametrize("name", [*UPSTREAM_VARIABLES, "upstream_http_server"])
def test_without_an_upstream_there_is_nothing_to_tell(story, name):
    assert read(name, story.request()) is None


def test_every_attempt_has_its_say(story):
    """As after a refused connection and a good answer (proxy.md §8)."""
    request = story.request()
    refused, answered = Attempt("192.0.2.80:3001", 0.0), Attempt("unix:/run/b.sock", 0.0)
    refused.status, refused.response_time, refused.connect_time = 502, 0.0, None
    answered.status, answered.connect_time, answered.header_time, answered.response_time = 200, 0.0014, 0.25, 1.0
    answered.response_length, answered.bytes_received = 10, 110
    request.attempts = [refused, answered]
    assert [read(name, request) for name in UPSTREAM_VARIABLES] == [
        b"192.0.2.80:3001, unix:/run/b.sock",
        b"502, 200",
        b"-, 0.001",
        b"-, 0.250",
        b"0.000, 1.000",
        b"0, 10",
        b"0, 110",
        b"0, 0",
    ]


def test_an_attempt_that_is_not_over_has_dashes(story):
    request = story.request()
    attempt = Attempt("a:80", 0.0)
    attempt.connect_time = None  # it is connecting
    request.attempts = [attempt]
    assert [read(name, request) for name in UPSTREAM_VARIABLES] == [b"a:80", b"-", b"-", b"-", b"-", b"0", b"0", b"0"]


def test_a_field_of_the_upstreams_answer(story):
    request = story.request()
    request.upstream_head = parse_response_head(b"HTTP/1.1 200 OK\r\nX-A: 1\r\nx-a: 2\r\nServer: s\r\nX-Empty:\r\n\r\n")
    names = ("upstream_http_x_a", "upstream_http_server", "upstream_http_x_empty", "upstream_http_missing")
    assert [read(name, request) for name in names] == [b"1, 2", b"s", b"", None]


# The end of the request


def test_of_the_response(story):
    request = story.request()
    request.status, request.bytes_sent, request.body_bytes_sent = 200, 350, 100
    assert [read(name, request) for name in ("status", "bytes_sent", "body_bytes_sent")] == [b"200", b"350", b"100"]


def test_a_status_has_three_digits(story):
    assert read("status", story.request()) == b"000"


def test_a_request_is_complete_when_it_was_replied_and_nothing_cut_it_short(story):
    request = story.request()
    assert read("request_completion", request) == b""
    request.replied = True
    assert read("request_completion", request) == b"OK"
    assert read("wproxy_end_cause", request) == read("wproxy_end_code", request) == b""
    request.ends("cl_left_late", "client closed")
    request.is_cut = True
    assert read("request_completion", request) == b""
    assert read("wproxy_end_cause", request) == b"client closed"
    assert read("wproxy_end_code", request) == b"cl_left_late"


def test_the_time_of_a_request(story):
    request = story.request()
    story.clock.now += 1.2345
    assert read("request_time", request) in (b"1.234", b"1.235")
    assert read("msec", request) in (b"%.3f" % (THEN + 1.2345), b"1795356001.484", b"1795356001.485")


def test_a_request_never_took_less_than_no_time(story):
    request = story.request()
    story.clock.now -= 1
    assert read("request_time", request) == b"0.000"


@pytest.fixture
def in_zone(monkeypatch):
    def enter(zone: str) -> None:
        monkeypatch.setenv("TZ", zone)
        time.tzset()

    yield enter
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize(
    ("zone", "offset", "local", "iso8601", "error_log"),
    [
        ("UTC0", 10, b"22/Nov/2026:14:00:10 +0000", b"2026-11-22T14:00:10+00:00", "2026/11/22 14:00:10"),
        ("IST-5:30", 11, b"22/Nov/2026:19:30:11 +0530", b"2026-11-22T19:30:11+05:30", "2026/11/22 19:30:11"),
        ("NST+3:30", 12, b"22/Nov/2026:10:30:12 -0330", b"2026-11-22T10:30:12-03:30", "2026/11/22 10:30:12"),
    ],
)
def test_the_time_of_day_in_three_forms(story, in_zone, zone, offset, local, iso8601, error_log):
    """Each zone has a second of its own: the text is made once a second."""
    in_zone(zone)
    request = story.request()
    story.clock.now += offset
    assert read("time_local", request) == local
    assert read("time_iso8601", request) == iso8601
    assert error_log_time(int(THEN) + offset) == error_log


# The response, as sent


def test_before_there_is_a_response_nothing_was_sent(story):
    assert read("sent_http_content_type", story.request()) is None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("sent_http_content_type", b"text/html"),
        ("sent_http_content_length", b"5"),
        ("sent_http_location", b"/there"),
        ("sent_http_x_a", b"1, 2"),
        ("sent_http_x_empty", b""),
        ("sent_http_server", None),
        ("sent_http_date", None),
        ("sent_http_connection", b"keep-alive"),
        ("sent_http_keep_alive", None),
        ("sent_http_transfer_encoding", None),
    ],
)
def test_a_field_of_the_response(story, name, value):
    request = story.request()
    lines = ((b"X-A", b"1"), (b"x-a", b"2"), (b"X-Empty", b""))
    request.response_fields = ResponseFields(200, lines, content_type=b"text/html", content_length=5, location=b"/there")
    assert read(name, request) == value


def test_how_the_end_of_a_response_is_told(story):
    request = story.request()
    request.response_fields = ResponseFields(200)
    request.keepalive = False
    assert read("sent_http_transfer_encoding", request) == b"chunked"
    assert read("sent_http_content_length", request) is None
    assert read("sent_http_connection", request) == b"close"
    request.response_fields = ResponseFields(101)
    assert read("sent_http_connection", request) == b"upgrade"
    assert read("sent_http_transfer_encoding", request) is None
    old = story.request(line=b"GET / HTTP/1.0")
    old.response_fields = ResponseFields(200)
    assert read("sent_http_transfer_encoding", old) is None


def test_a_trailer_of_either_side(story):
    request = story.request()
    assert read("sent_trailer_x_sum", request) is read("upstream_trailer_x_sum", request) is None
    request.response_trailers = ((b"X-Sum", b"1"), (b"x-sum", b"2"))
    request.upstream_trailers = ((b"x-sum", b"X-Sum", b"3"),)
    assert read("sent_trailer_x_sum", request) == b"1, 2"
    assert read("upstream_trailer_x_sum", request) == b"3"


# Cookies, as nginx 1.22.1 read them


@pytest.mark.parametrize(
    ("field", "a", "b"),
    [
        (b"a=1; b=2", b"1", b"2"),
        (b"a=1,b=2", b"1,b=2", b"2"),
        (b"a = 1 ; b=2", b"1 ", b"2"),
        (b"a; a=2", None, None),
        (b"a=1;a=2", b"1", None),
        (b'x=1 a=5;b="q;r"', None, b'"q'),
        (b'a="1"', b'"1"', None),
        (b"a=", b"", None),
        (b"x=y,a=7", b"7", None),
        (b"aa=1; b", None, None),
        (b";;a=1", b"1", None),
        (b"a", None, None),
        (b",", None, None),
    ],
)
def test_a_list_of_cookies(story, field, a, b):
    request = story.request(b"Cookie: " + field)
    assert [read("cookie_a", request), read("cookie_b", request)] == [a, b]


@pytest.mark.parametrize(
    ("lines", "value"),
    [
        (b"Set-Cookie: SID=1; Path=/\r\n", b"1"),
        (b"Set-Cookie: sid = 1\r\n", b"1"),
        (b"Set-Cookie: x=0\r\nSet-Cookie: sid=1\r\nSet-Cookie: sid=2\r\n", b"1"),
        (b"Set-Cookie: x=0; sid=1\r\n", None),
        (b"Set-Cookie: sid\r\n", None),
        (b"", None),
    ],
)
def test_a_cookie_that_the_upstream_sets(story, lines, value):
    request = story.request()
    request.upstream_head = parse_response_head(b"HTTP/1.1 200 OK\r\n" + lines + b"\r\n")
    assert read("upstream_cookie_sid", request) == value


# The upstream, once more


def test_a_further_proxied_handling_stands_behind_a_colon(story):
    request = story.request()
    attempts = [Attempt("a:80", 0.0), Attempt("b:80", 0.0), Attempt("c:80", 0.0)]
    attempts[2].begins_group = True
    attempts[1].bytes_sent = 7
    request.attempts = attempts
    assert read("upstream_addr", request) == b"a:80, b:80 : c:80"
    assert read("upstream_bytes_sent", request) == b"0, 7 : 0"


# Captures


def captured(story, pattern: bytes, subject: bytes, target: bytes = b"/"):
    request = story.request(line=b"GET " + target + b" HTTP/1.1")
    match = re.search(pattern, subject)
    if match:
        request.capture(match)
    return request


def test_a_capture_that_there_is_not_is_empty(story):
    request = captured(story, rb"(a)(b)?", b"a")
    assert [capture.read(request) for capture in CAPTURES] == [b"a", *[b""] * 8]
    assert CAPTURES[0].read(story.request()) == b""


def test_captures_are_pieces_of_text_and_no_variables():
    """nginx: `unknown "1" variable` in an `if`."""
    assert find_variable("1") is None
    assert CAPTURES[0].number == 1


@pytest.mark.parametrize(
    ("target", "value"),
    [
        (b"/cap/f%20o+o", b"f%20o%2Bo"),
        (b"/cap/f+", b"f%20o%2Bo"),
        (b"/cap/f?+%20", b"f o+o"),
    ],
)
def test_a_capture_is_escaped_where_the_path_had_something_to_escape(story, target, value):
    request = captured(story, rb"^/cap/(.*)", b"/cap/f o+o", target)
    assert read("wproxy_escaped_capture_1", request) == value
    assert read("wproxy_escaped_capture_2", request) == b""


# What can be assigned


def test_args_can_be_set(story):
    request = story.request()
    assigner("args")(request, b"new=1")
    assert [read(name, request) for name in ("args", "query_string", "arg_new", "is_args")] == [b"new=1", b"new=1", b"1", b"?"]
    assert not request.origin_stands, "the upstream gets the new ones"


@pytest.mark.parametrize(
    ("value", "rate", "complaints"), [(b"10k", b"10240", 0), (b"0", b"0", 0), (b"bad", b"0", 1), (b"\xff", b"0", 1)]
)
def test_limit_rate_can_be_set(story, value, rate, complaints):
    heard = []
    hear_complaints(lambda request, level, text: heard.append((level, text)))
    request = story.request()
    assert read("limit_rate", request) == b"0"
    assigner("limit_rate")(request, value)
    assert read("limit_rate", request) == rate
    assert heard == [("error", f'invalid $limit_rate "{value.decode("latin-1")}"')] * complaints


def test_everything_else_that_is_set_is_a_value_of_the_request(story):
    request = story.request()
    assigner("Mine")(request, b"1")
    assert request.values == {"mine": b"1"}
    assert [is_assignable(name) for name in ("args", "ARGS", "limit_rate", "mine", "uri")] == [True, True, True, False, False]


# Ports, files, the body, the connection


@pytest.mark.parametrize(
    ("line", "host", "port", "colon"),
    [
        (b"GET / HTTP/1.1", b"Host: a:8080", b"8080", b":"),
        (b"GET / HTTP/1.1", b"Host: a", b"", b""),
        (b"GET http://b:81/ HTTP/1.1", b"Host: a:8080", b"81", b":"),
        (b"GET http://b/ HTTP/1.1", b"Host: a:8080", b"", b""),
    ],
)
def test_the_port_that_the_client_names(story, line, host, port, colon):
    request = story.request(line=line, host=host)
    assert [read("request_port", request), read("is_request_port", request)] == [port, colon]


def test_a_field_spelled_with_underscores_is_found_where_there_is_none_with_dashes(story):
    taken = take_request_head(
        b"GET / HTTP/1.1\r\nHost: a\r\nX_A: 1\r\nX_B: 2\r\nX-B: 3\r\n\r\n", HeadLimits(underscores_in_headers=True), HeadMemo()
    )
    request = story.request()
    request.fields = taken[1]
    assert [read(name, request) for name in ("http_x_a", "http_x_b", "http_x_c")] == [b"1", b"3", None]


def test_the_address_in_bytes(server):
    for remote, packed in ((b"192.0.2.7", b"\xc0\x00\x02\x07"), (b"::1", b"\0" * 15 + b"\1"), (b"unix:", b"unix:")):
        assert read("binary_remote_addr", Story(server, remote=(remote, 1)).request()) == packed


def test_the_length_of_a_chunked_body_is_known_when_it_has_been_read(story):
    request = story.request(b"Transfer-Encoding: chunked")
    request.body = MadeBody(3, is_finished=False)
    assert read("content_length", request) is None
    request.body = MadeBody(12)
    assert read("content_length", request) == b"12"


def test_the_body_is_told_once_it_has_been_read(story):
    request = story.request()
    assert read("request_body", request) is None
    request.body = MadeBody(3)
    request.body.data = b"a=1"
    assert read("request_body", request) == b"a=1"


def test_what_the_worker_and_the_system_know(story):
    request = story.request()
    names = [f"connections_{name}" for name in ("active", "reading", "writing", "waiting")]
    assert [read(name, request) for name in names] == [b"4", b"1", b"2", b"1"]
    assert read("tcpinfo_rtt", request) is None
    assert read("pipe", request) == b"."
    request.pipelined = True
    assert read("pipe", request) == b"p"


# The registry


def test_every_variable_can_be_read_from_a_bare_request(story):
    request = story.request()
    for name, variable in VARIABLES.items():
        assert isinstance(variable.read(request), bytes | None), name


def test_families_of_variables():
    assert sorted(FAMILIES) == [
        "arg_",
        "cookie_",
        "http_",
        "jwt_claim_",
        "jwt_header_",
        "proxy_protocol_tlv_",
        "sent_http_",
        "sent_trailer_",
        "upstream_cookie_",
        "upstream_http_",
        "upstream_trailer_",
        "wproxy_escaped_capture_",
    ]
    for prefix in FAMILIES:
        assert find_variable(prefix + "x") is not None


def test_the_rest_of_a_name_may_be_empty(story):
    """As nginx has it: a cookie may have an empty name, an argument is never found by one."""
    request = story.request()
    for prefix in FAMILIES:
        variable = find_variable(prefix)
        assert variable is not None
        assert not variable.read(request), prefix


def test_a_name_that_is_none_is_not_found():
    assert find_variable("nope") is None
    assert find_variable("") is None
    assert REQUEST > BLOCK, "the longer of two is the smaller: templates take the maximum"
