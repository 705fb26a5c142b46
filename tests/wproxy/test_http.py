"""The values that a request is made of."""

from __future__ import annotations

import email.utils
import locale
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_requests import make_client, make_request

from worker.http1.write import make_head
from wproxy.address import Address
from wproxy.http import REASONS, Attempt, Client, Clock, Request, Response, ResponseFields, http_date

# Time


def test_a_clock_adds_what_is_missing_to_unix_time():
    clock = Clock(now=50.0, offset=1_000_000.0)
    assert clock.wall == 1_000_050.0
    clock.now = 51.5
    assert clock.wall == 1_000_051.5


def test_setting_the_wall_moves_the_date_and_leaves_now_alone():
    clock = Clock(now=50.0)
    clock.set_wall(784_111_777.9)
    assert clock.now == 50.0
    assert clock.wall == pytest.approx(784_111_777.9)
    assert clock.date_line == b"Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n"


def test_a_fresh_clock_has_a_date():
    assert Clock().date_line == b"Date: Thu, 01 Jan 1970 00:00:00 GMT\r\n"


@given(st.integers(0, 4_102_444_800))
def test_a_date_is_the_one_email_has(second):
    assert http_date(second) == email.utils.formatdate(second, usegmt=True)


@pytest.mark.parametrize("second", [0, 951_782_399, 951_782_400, 1_709_164_800, 1_735_689_599, 1_735_689_600, 2_147_483_648])
def test_dates_at_the_edges_of_days_and_years(second):
    assert http_date(second) == email.utils.formatdate(second, usegmt=True)


def test_a_date_is_in_english_whatever_the_locale():
    before = locale.setlocale(locale.LC_TIME)
    try:
        locale.setlocale(locale.LC_TIME, "")
        assert http_date(784_111_777) == "Sun, 06 Nov 1994 08:49:37 GMT"
    finally:
        locale.setlocale(locale.LC_TIME, before)


# Status lines


@pytest.mark.parametrize(
    ("status", "line"),
    [
        (200, b"HTTP/1.1 200 OK\r\n"),
        (302, b"HTTP/1.1 302 Moved Temporarily\r\n"),
        (405, b"HTTP/1.1 405 Not Allowed\r\n"),
        (408, b"HTTP/1.1 408 Request Time-out\r\n"),
        (413, b"HTTP/1.1 413 Request Entity Too Large\r\n"),
        (414, b"HTTP/1.1 414 Request-URI Too Large\r\n"),
        (416, b"HTTP/1.1 416 Requested Range Not Satisfiable\r\n"),
        (503, b"HTTP/1.1 503 Service Temporarily Unavailable\r\n"),
        (504, b"HTTP/1.1 504 Gateway Time-out\r\n"),
        (299, b"HTTP/1.1 299 \r\n"),
        (999, b"HTTP/1.1 999 \r\n"),
    ],
)
def test_a_status_line_has_nginx_reason(status, line):
    assert make_head(ResponseFields(status), 0, None, b"").startswith(line)


def test_reasons_are_for_statuses_of_three_digits():
    assert set(REASONS) <= set(range(100, 1000))


# Client, request, response


def client(listening: Address = Address("192.0.2.1", 80)) -> tuple[Client, list[str]]:
    """A client, and a list that grows whenever somebody looks up the address it connected to."""
    asked: list[str] = []

    class Wondering:
        def address(self) -> Address:
            asked.append("asked")
            return Address("192.0.2.99", 80)

        def tcp_info(self) -> None:
            return None

    listener = type("Listener", (), {"address": listening})()
    return make_client(Clock(now=7.0), listener=listener, endpoint=Wondering()), asked


def test_the_address_connected_to_is_the_listeners_unless_that_is_a_wildcard():
    specific, asked = client()
    assert specific.server_address == Address("192.0.2.1", 80)
    assert asked == []


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_behind_a_wildcard_the_address_is_asked_for_once(host):
    anywhere, asked = client(Address(host, 80))
    assert asked == []
    assert anywhere.server_address == anywhere.server_address == Address("192.0.2.99", 80)
    assert asked == ["asked"]


def test_a_client_is_new_when_it_comes():
    new, _ = client()
    assert (new.requests, new.scheme, new.started) == (0, b"http", 7.0)


def request_of(path: bytes = b"/a", args: bytes | None = b"b") -> Request:
    request = make_request("/a?b", client=client()[0])
    request.path, request.args = path, args
    return request


def test_a_match_gives_captures_and_variables_by_lower_case_name():
    request = request_of()
    assert (request.captures, request.values) == (None, None)
    match = re.match(rb"/(?P<First>.)(?P<none>x)?", b"/a")
    assert match
    request.capture(match)
    assert request.captures is match
    assert request.values == {"first": b"a", "none": b""}


def test_a_match_without_names_leaves_the_variables_alone():
    request = request_of()
    request.values = {"kept": b"1"}
    match = re.match(rb"/(.)", b"/a")
    assert match
    request.capture(match)
    assert request.captures is match
    assert request.values == {"kept": b"1"}


def test_requests_share_nothing_that_they_write_to():
    first, second = request_of(), request_of()
    first.attempts = [Attempt("a:80", 0.0)]
    first.status = 200
    assert second.attempts == ()
    assert second.status == 0


def test_fields_of_a_response_know_little_unless_told():
    fields = ResponseFields(404)
    assert (fields.status, fields.lines, fields.content_type, fields.content_length) == (404, (), None, -1)
    assert (fields.reason, fields.location, fields.server, fields.wire) == (None, None, b"wproxy", {})


def test_fields_of_responses_do_not_share_their_wire():
    first, second = ResponseFields(200), ResponseFields(200)
    first.wire[1] = b"HTTP/1.1 200 OK\r\n", b""
    assert second.wire == {}


def test_values_tell_their_state():
    attempt = Attempt("192.0.2.80:3000", 0.0)
    assert repr(attempt) == "<attempt 192.0.2.80:3000 ->"
    attempt.status = 200
    request = request_of()
    assert repr(request) == "<request 'GET /a?b HTTP/1.1' in progress attempts=[]>"
    request.attempts, request.status = [attempt], 200
    assert repr(request) == "<request 'GET /a?b HTTP/1.1' 200 attempts=[<attempt 192.0.2.80:3000 200>]>"
    assert repr(request.client) == "<client *5 192.0.2.7:40000>"
    assert repr(ResponseFields(200, content_length=5)) == "<response fields 200 5>"
    assert repr(Response(ResponseFields(200))) == "<response 200>"
    assert repr(Response(ResponseFields(200), b"a", source=object())) == "<response 200 and more to come>"
