"""`match`: which answers pass which tests. Each test is read as a configuration writes it."""

from __future__ import annotations

import shlex

import pytest
from made_requests import make_request

from worker.http1.response import take_response_head
from wproxy.config.load import load_text
from wproxy.config.model import Match
from wproxy.directives.health_check import body, header, status
from wproxy.health_match import (
    BODY_LIMIT,
    CHECKING_BODY,
    CHECKING_HEADER,
    CHECKING_STATUS,
    CHECKING_VARIABLES,
    Verdict,
    judge_body,
    judge_head,
)
from wproxy.regex import RegexTimedOut, compile_regex, install_guard

LINES = (
    (b"content-type", b"Content-Type", b"text/html"),
    (b"connection", b"Connection", b"close"),
    (b"x-node", b"X-Node", b"a1"),
    (b"x-node", b"X-Node", b"b2"),
    (b"x-empty", b"X-Empty", b""),
)


def match_of(inside: str) -> Match:
    """A `match` block, found through a check that names it."""
    text = f"""
        events {{ }}
        http {{
            match m {{ {inside} }}
            server {{ listen 1; location / {{ proxy_pass http://127.0.0.1; health_check match=m; }} }}
        }}"""
    configuration = load_text(text.encode(), "test.conf", "/", None)  # type: ignore[arg-type]
    return configuration.upstreams[0].checks[0].match


@pytest.mark.parametrize(
    ("test", "passing", "failing"),
    [
        ("200", [200], [201, 100, 500]),
        ("! 500", [200, 501], [500]),
        ("200 204", [200, 204], [201, 203]),
        ("! 301 302", [200, 303], [301, 302]),
        ("200-399", [200, 399, 304], [199, 400]),
        ("! 400-599", [399, 600], [400, 404, 599]),
        ("301-303 307", [301, 302, 303, 307], [300, 304, 306, 308]),
        ("101", [101], [200]),
    ],
)
def test_a_status_is_one_of_codes_and_ranges_or_none_of_them(test, passing, failing):
    made = status(*test.split())
    assert [code for code in passing + failing if made.passes(code)] == passing


@pytest.mark.parametrize(
    ("test", "passes"),
    [
        ("Content-Type", True),
        ("content-TYPE", True),
        ("X-Empty", True),
        ("X-Missing", False),
        ("! X-Missing", True),
        ("! X-Node", False),
        ("Content-Type = text/html", True),
        ("Content-Type = text", False),
        ("Content-Type = TEXT/HTML", False),
        ("Content-Type != text/html", False),
        ("Content-Type != text/plain", True),
        ("X-Missing = x", False),
        ("X-Missing != x", False),
        ("X-Missing ~ x", False),
        ("X-Missing !~ x", False),
        ("X-Empty = ''", True),
        ("Connection ~ close", True),
        ("Connection ~ ^lose", False),
        ("Connection ~ CLOSE", False),
        ("Connection ~ (?i)CLOSE", True),
        ("Connection !~ close", False),
        ("Connection !~ keep", True),
        # One of several lines is enough to pass "=", and one is too many for "!=".
        ("X-Node = b2", True),
        ("X-Node = c3", False),
        ("X-Node != b2", False),
        ("X-Node != c3", True),
        ("X-Node ~ ^b", True),
        ("X-Node !~ ^b", False),
        ("X-Node !~ ^c", True),
    ],
)
def test_a_field_is_there_or_not_or_has_a_value(test, passes):
    assert header(*shlex.split(test)).passes(LINES) is passes


@pytest.mark.parametrize(
    ("test", "text", "passes"),
    [
        (("~", "Welcome to nginx!"), b"<h1>Welcome to nginx!</h1>", True),
        (("~", "^ok$"), b"nok", False),
        (("~", "x"), b"", False),
        (("!~", "error"), b"all is well", True),
        (("!~", "error"), b"an error", False),
        (("!~", "error"), b"", True),
        (("~", "sch\u00f6n"), "sch\u00f6n".encode(), True),
    ],
)
def test_a_regex_is_found_in_the_body_or_not(test, text, passes):
    assert body(*test).passes(text) is passes


def test_no_more_than_256_kilobytes_of_a_body_are_looked_at():
    end = b"x" * BODY_LIMIT + b"end"
    assert judge_body(match_of("body ~ end;"), end).passed is False
    assert judge_body(match_of("body ~ end;"), end[3:]).passed is True
    assert judge_body(match_of("body !~ end;"), end).passed is True


@pytest.mark.parametrize(
    ("inside", "code", "fields", "verdict"),
    [
        ("", 500, {}, Verdict(True, CHECKING_STATUS)),
        ("status 200;", 200, {}, Verdict(True, CHECKING_STATUS)),
        ("status 200;", 503, {}, Verdict(False, CHECKING_STATUS, "status 503")),
        ("status 200; header Connection ~ close;", 200, {}, Verdict(True, CHECKING_HEADER)),
        ("status 200; header Connection ~ x;", 200, {}, Verdict(False, CHECKING_HEADER, 'header "connection ~ x"')),
        ("header ! X-Node; header Nope;", 200, {}, Verdict(False, CHECKING_HEADER, 'header "! x-node"')),
        ("header X-Node; header Nope;", 200, {}, Verdict(False, CHECKING_HEADER, 'header "nope"')),
        ("status 200; header Nope;", 404, {}, Verdict(False, CHECKING_STATUS, "status 404")),
        ("require $upstream_http_r;", 200, {"r": "yes"}, Verdict(True, CHECKING_VARIABLES)),
        ("require $upstream_http_r;", 200, {"r": "0"}, Verdict(False, CHECKING_VARIABLES, 'require "$upstream_http_r"')),
        ("require $upstream_http_r;", 200, {"r": "00"}, Verdict(True, CHECKING_VARIABLES)),
        ("require $upstream_http_r;", 200, {}, Verdict(False, CHECKING_VARIABLES, 'require "$upstream_http_r"')),
        (
            "require $upstream_http_r $upstream_http_s;",
            200,
            {"r": "1"},
            Verdict(False, CHECKING_VARIABLES, 'require "$upstream_http_s"'),
        ),
        (
            "require $upstream_http_r; require $upstream_http_s;",
            200,
            {"s": "1"},
            Verdict(False, CHECKING_VARIABLES, 'require "$upstream_http_r"'),
        ),
    ],
)
def test_all_tests_of_a_block_have_to_agree_and_the_first_that_does_not_is_named(inside, code, fields, verdict):
    request = make_request()
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    taken = take_response_head(f"HTTP/1.1 200 OK\r\n{head}\r\n".encode(), 4096, None)
    assert taken is not None
    request.upstream_head = taken[0]
    assert judge_head(match_of(inside), code, LINES, request) == verdict


def test_a_body_that_fails_is_named_with_its_test():
    match = match_of("body ~ good; body !~ bad;")
    assert judge_body(match, b"good") == Verdict(True, CHECKING_BODY)
    assert judge_body(match, b"good and bad") == Verdict(False, CHECKING_BODY, 'body "!~ bad"')
    assert judge_body(match, b"bad") == Verdict(False, CHECKING_BODY, 'body "~ good"')


@pytest.mark.parametrize(("code", "passed"), [(199, False), (200, True), (204, True), (302, True), (399, True), (400, False)])
def test_without_a_match_the_status_has_to_be_2xx_or_3xx(code, passed):
    text = b"events {} http { server { listen 1; location / { proxy_pass http://127.0.0.1; health_check; } } }"
    configuration = load_text(text, "test.conf", "/", None)  # type: ignore[arg-type]
    request = make_request()
    match = configuration.upstreams[0].checks[0].match
    assert judge_head(match, code, (), request).passed is passed
    assert not match.body


def test_a_regex_that_takes_too_long_fails_the_check():
    def give_up(regex, search, value):
        raise RegexTimedOut(regex, value, 0.1)

    slow = r"^(a|a)*$"
    assert compile_regex(slow).unwatched < 1000, "the regex is one that is guarded"
    install_guard(give_up)
    try:
        verdict = judge_body(match_of(f"body ~ '{slow}';"), b"a" * 5000)
    finally:
        install_guard(None)
    assert not verdict.passed
    assert "took more than 100 ms" in verdict.reason
