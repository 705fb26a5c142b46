"""Readers of arguments: what they take, and nginx's words for what they do not (routing.md §1.3 and §1.5)."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wproxy.address import Address
from wproxy.directives.core import log_target, pid_path, user_and_group, worker_count
from wproxy.directives.error_page import KEPT, TARGETS, error_page
from wproxy.directives.http_core import all_or_any, header_buffers, keepalive, limit_except, memory, tokens
from wproxy.directives.listen import KeepaliveProbes, Listen, SocketOptions, listen, names
from wproxy.directives.log import AccessLog, access_log, log_format
from wproxy.directives.proxy import header, http_version, proxy_target
from wproxy.directives.rewrite import assignment, condition, return_value, rewrite
from wproxy.directives.upstream import UpstreamServer, upstream_server
from wproxy.directives.values import flag, number, parse_time, size, text, time, word, words

DAY = 86400


def refusal(read, *arguments: str) -> str:
    with pytest.raises(ValueError) as error:
        read(*arguments)
    return str(error.value)


def test_text_is_taken_as_it_is():
    assert text(" $any \u00e9 ") == " $any \u00e9 "


# Flags


@pytest.mark.parametrize(
    ("written", "value"), [("on", True), ("ON", True), ("On", True), ("off", False), ("OFF", False), ("oFf", False)]
)
def test_a_flag_is_on_or_off_in_any_case(written, value):
    assert flag(written) is value


@pytest.mark.parametrize("written", ["", "yes", "true", "1", "0", "on ", " off", "onn"])
def test_a_flag_is_nothing_else(written):
    assert refusal(flag, written) == f'invalid value "{written}" in "%s" directive, it must be "on" or "off"'


# Numbers


@pytest.mark.parametrize(("written", "value"), [("0", 0), ("7", 7), ("007", 7), ("2147483647", 2**31 - 1)])
def test_a_number_is_digits(written, value):
    assert number()(written) == value


@pytest.mark.parametrize(
    "written", ["", "-1", "+1", "1.5", "1k", "0x10", " 1", "1 ", "1_000", "one", "\u0661", "\u00b2", "1" * 12, "9" * 5000]
)
def test_what_is_not_digits_is_no_number(written):
    assert refusal(number(), written) == '"%s" directive invalid number'


@pytest.mark.parametrize(("least", "most", "written"), [(1, 9, "0"), (1, 9, "10"), (0, 2**31 - 1, "2147483648"), (5, 5, "4")])
def test_a_number_stays_within_its_bounds(least, most, written):
    assert refusal(number(least, most), written) == f"value must be between {least} and {most}"


# Sizes


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("0", 0),
        ("1", 1),
        ("1024", 1024),
        ("1k", 1024),
        ("1K", 1024),
        ("8k", 8192),
        ("1m", 2**20),
        ("2M", 2**21),
        ("1g", 2**30),
        ("3G", 3 * 2**30),
    ],
)
def test_a_size_is_bytes_with_a_unit(written, value):
    assert size(written) == value


@pytest.mark.parametrize("written", ["", "k", "-1", "+1k", "1.5m", "1 k", "1kb", "1t", " 1", "1k ", "0x1", "\u0661k", "1" * 16])
def test_what_has_another_unit_is_no_size(written):
    assert refusal(size, written) == '"%s" directive invalid value'


# Times


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ("0", 0),
        ("60", 60),
        ("60s", 60),
        ("5m", 300),
        ("1h", 3600),
        ("1d", DAY),
        ("2w", 14 * DAY),
        ("500ms", 0.5),
        ("0ms", 0),
        ("1s500ms", 1.5),
        ("1h30m", 5400),
        ("1h 30m", 5400),
        ("1h  30m 5s", 5405),
        ("1w2d3h4m5s6ms", 9 * DAY + 3 * 3600 + 245.006),
        ("90m", 5400),
        ("1h 30", 3630),
        ("1m 1ms", 60.001),
    ],
)
def test_a_time_is_units_in_descending_order(written, seconds):
    assert time(written) == pytest.approx(seconds)
    assert parse_time(written) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "written",
    [
        "",
        "s",
        "-1",
        "+1s",
        "1.5s",
        "1m1h",
        "1s1s",
        "1ms1s",
        "1m1m",
        "30 1h",
        "10 5m",
        "1 h",
        " 1h",
        "1H",
        "1S",
        "1sec",
        "1us",
        "1x",
        "off",
        "\u0661s",
        "1" * 13,
    ],
)
def test_what_is_out_of_order_is_no_time(written):
    assert parse_time(written) is None
    assert refusal(time, written) == '"%s" directive invalid value'


@pytest.mark.parametrize(("written", "days"), [("1M", 30), ("1y", 365), ("1y 2M 3w", 365 + 60 + 21)])
def test_months_and_years_are_for_times_of_the_second_kind(written, days):
    assert parse_time(written) == days * DAY
    assert refusal(time, written) == '"%s" directive invalid value'


@given(st.lists(st.tuples(st.sampled_from(["w", "d", "h", "m", "s", "ms"]), st.integers(0, 999)), min_size=1, max_size=6))
def test_a_time_is_the_sum_of_its_pieces_or_no_time(pieces):
    units = [unit for unit, _ in pieces]
    written = "".join(f"{count}{unit}" for unit, count in pieces)
    order = ["w", "d", "h", "m", "s", "ms"]
    if units != sorted(set(units), key=order.index):
        assert parse_time(written) is None
    else:
        worth = {"w": 7 * DAY, "d": DAY, "h": 3600, "m": 60, "s": 1, "ms": 0.001}
        assert parse_time(written) == pytest.approx(sum(count * worth[unit] for unit, count in pieces))


@given(st.text(max_size=12))
def test_any_text_is_a_value_or_a_value_error(written):
    for read in (flag, number(), size, time, worker_count, proxy_target, listen, upstream_server, return_value):
        try:
            read(written)
        except ValueError:
            continue


# Words


def test_one_word_out_of_several():
    read = word(("a", "b"))
    assert read("a") == "a"
    assert refusal(read, "c") == 'invalid value "c"'


def test_a_set_of_words():
    read = words(("a", "b"))
    assert read("a", "b", "a") == frozenset("ab")
    assert refusal(read, "a", "c") == 'invalid value "c"'


# Process directives


@pytest.mark.parametrize(("written", "count"), [("auto", None), ("0", 0), ("1", 1), ("512", 512)])
def test_a_number_of_workers(written, count):
    assert worker_count(written) == count


def test_there_is_an_end_to_the_number_of_workers():
    assert refusal(worker_count, "513") == "value must be between 0 and 512"
    assert refusal(worker_count, "Auto") == '"%s" directive invalid value'


def test_a_log_is_a_file_and_a_level():
    assert log_target("logs/error.log") == ("logs/error.log", "error")
    assert log_target("stderr", "debug") == ("stderr", "debug")
    assert refusal(log_target, "a", "loud") == 'invalid log level "loud"'
    assert "is a level, not a file" in refusal(log_target, "notice")


def test_a_user_may_come_with_a_group():
    assert user_and_group("www") == ("www", "")
    assert user_and_group("www", "data") == ("www", "data")


def test_a_pid_file_may_be_off():
    assert pid_path("off") == ""
    assert pid_path("run/a.pid") == "run/a.pid"


# listen

ANY_8080 = Address("0.0.0.0", 8080)


@pytest.mark.parametrize(
    ("arguments", "value"),
    [
        (["8080"], Listen("8080", (ANY_8080,))),
        (["localhost:90"], Listen("localhost:90", (Address("localhost", 90),))),
        (["8080", "default_server"], Listen("8080", (ANY_8080,), True)),
        (["8080", "default"], Listen("8080", (ANY_8080,), True)),
        (["8080", "ssl", "http2"], Listen("8080", (ANY_8080,), protocols=("ssl", "http2"))),
        (
            ["8080", "backlog=1024", "reuseport", "bind"],
            Listen("8080", (ANY_8080,), options=SocketOptions(backlog=1024), has_options=True),
        ),
        (["127.0.0.1:8000-8002"], Listen("127.0.0.1:8000-8002", tuple(Address("127.0.0.1", 8000 + n) for n in range(3)))),
        (
            ["[::]:80", "ipv6only=off"],
            Listen("[::]:80", (Address("::", 80),), options=SocketOptions(ipv6only=False), has_options=True),
        ),
        (["80", "ipv6only=on"], Listen("80", (Address("0.0.0.0", 80),), has_options=True)),
        (["*"], Listen("*", (Address("0.0.0.0", 80),))),
        (["127.0.0.1"], Listen("127.0.0.1", (Address("127.0.0.1", 80),))),
        (["[::1]"], Listen("[::1]", (Address("::1", 80),))),
        (["unix:/run/a.sock"], Listen("unix:/run/a.sock", (Address("/run/a.sock", -1),))),
        (["8001-8001"], Listen("8001-8001", (Address("0.0.0.0", 8001),))),
        (["*:8000-8001"], Listen("*:8000-8001", (Address("0.0.0.0", 8000), Address("0.0.0.0", 8001)))),
        (
            ["80", "so_keepalive=on"],
            Listen("80", (Address("0.0.0.0", 80),), options=SocketOptions(keepalive=KeepaliveProbes()), has_options=True),
        ),
        (
            ["80", "so_keepalive=off"],
            Listen("80", (Address("0.0.0.0", 80),), options=SocketOptions(keepalive=KeepaliveProbes(False)), has_options=True),
        ),
        (
            ["80", "fastopen=0", "multipath"],
            Listen("80", (Address("0.0.0.0", 80),), options=SocketOptions(fastopen=0, multipath=True), has_options=True),
        ),
        (["80", "quic", "proxy_protocol"], Listen("80", (Address("0.0.0.0", 80),), protocols=("quic", "proxy_protocol"))),
        (
            ["80", "so_keepalive=30m::10", "rcvbuf=8k", "sndbuf=16k", "fastopen=5", "deferred"],
            Listen(
                "80",
                (Address("0.0.0.0", 80),),
                options=SocketOptions(
                    receive_buffer=8192,
                    send_buffer=16384,
                    fastopen=5,
                    deferred=True,
                    keepalive=KeepaliveProbes(True, 1800, None, 10),
                ),
                has_options=True,
            ),
        ),
    ],
)
def test_a_listener_has_an_address_and_parameters(arguments, value):
    assert listen(*arguments) == value


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["99999"], 'invalid port in "99999" of the "listen" directive'),
        (["0"], 'invalid port in "0" of the "listen" directive'),
        (["a:b"], 'invalid port in "a:b" of the "listen" directive'),
        ([":80"], 'no host in ":80" of the "listen" directive'),
        ([""], 'no host in "" of the "listen" directive'),
        (["a b:80"], 'host not found in "a b:80" of the "listen" directive'),
        (["[::1"], 'invalid host in "[::1" of the "listen" directive'),
        (["unix:"], 'no path in the unix domain socket in "unix:" of the "listen" directive'),
        (["8000-70000"], 'invalid port in "8000-70000" of the "listen" directive'),
        (["8002-8000"], 'invalid port range in "8002-8000" of the "listen" directive'),
        (["80", "ipv6only=x"], 'invalid parameter "ipv6only=x"'),
        (["80", "ipv6only=of"], 'invalid ipv6only flags "of"'),
        (["80", "so_keepalive=x"], 'invalid so_keepalive value: "x"'),
        (["80", "so_keepalive=::"], 'invalid so_keepalive value: "::"'),
        (["80", "rcvbuf=x"], 'invalid rcvbuf "rcvbuf=x"'),
        (["80", "sndbuf="], 'invalid sndbuf "sndbuf="'),
        (["80", "fastopen=x"], 'invalid fastopen "fastopen=x"'),
        (["80", "tls"], 'invalid parameter "tls"'),
        (["80", "SSL"], 'invalid parameter "SSL"'),
        (["80", "backlog"], 'invalid parameter "backlog"'),
        (["80", "backlog="], 'invalid backlog "backlog="'),
        (["80", "backlog=0"], 'invalid backlog "backlog=0"'),
        (["80", "backlog=-1"], 'invalid backlog "backlog=-1"'),
        (["80", "reuseport=on"], 'invalid parameter "reuseport=on"'),
        (["80", "backlog=99999999999"], 'invalid backlog "backlog=99999999999"'),
    ],
)
def test_a_listener_that_makes_no_sense_is_refused(arguments, problem):
    assert refusal(listen, *arguments) == problem


def test_buffers_are_a_number_and_a_size():
    assert header_buffers("4", "8k") == (4, 8192)
    for arguments in (("0", "8k"), ("8k", "4"), ("4", "0"), ("4", "1g"), ("x", "8k"), ("4", "x")):
        assert refusal(header_buffers, *arguments) == '"%s" directive invalid value'


def test_what_is_held_in_memory_is_not_gigabytes():
    assert memory("8M") == 8 << 20
    assert refusal(memory, "1g") == refusal(memory, "1G") == '"%s" directive invalid value'


@pytest.mark.parametrize(("written", "value"), [("on", True), ("OFF", False), ("build", True), ("Build", True)])
def test_the_version_is_told_or_not(written, value):
    assert tokens(written) is value


def test_the_version_is_told_in_no_other_way():
    assert refusal(tokens, "yes") == 'invalid value "yes"'


def test_rules_are_satisfied_all_or_any_in_any_case():
    assert (all_or_any("ALL"), all_or_any("any")) == ("all", "any")
    assert refusal(all_or_any, "some") == 'invalid value "some"'


def test_keepalive_may_announce_another_time():
    assert keepalive("75s") == (75.0, None)
    assert keepalive("75s", "60") == (75.0, 60.0)
    assert refusal(keepalive, "75s", "x") == '"%s" directive invalid value'


# Logs


def test_an_access_log_has_a_format():
    assert access_log("a.log") == AccessLog("a.log", "combined")
    assert access_log("a.log", "json") == AccessLog("a.log", "json")


def test_a_format_is_its_pieces_joined():
    assert log_format("a", "$host ", "$uri")[:3] == ("a", "default", "$host $uri")
    assert log_format("a", "escape=json", "$host")[:3] == ("a", "json", "$host")
    assert refusal(log_format, "a", "escape=xml", "b") == 'unknown log format escaping "xml"'
    assert refusal(log_format, "a", "escape=none") == 'the log format "a" has no text'


# proxy_pass


@pytest.mark.parametrize(
    ("url", "address", "has_port", "uri_part", "host_header"),
    [
        ("http://app", ("app", 80), False, b"", b"app"),
        ("HTTP://app", ("app", 80), False, b"", b"app"),
        ("http://app/", ("app", 80), False, b"/", b"app"),
        ("http://app:80/x", ("app", 80), True, b"/x", b"app"),
        ("http://app:8080/x?y=1", ("app", 8080), True, b"/x?y=1", b"app:8080"),
        ("http://app?y=/1", ("app", 80), False, b"/?y=/1", b"app"),
        ("http://App.Example", ("App.Example", 80), False, b"", b"App.Example"),
        ("http://127.0.0.1:3000", ("127.0.0.1", 3000), True, b"", b"127.0.0.1:3000"),
        ("http://[::1]", ("::1", 80), False, b"", b"[::1]"),
        ("http://[::1]:3000/a", ("::1", 3000), True, b"/a", b"[::1]:3000"),
        ("http://unix:/run/a.sock", ("/run/a.sock", -1), True, b"", b"localhost"),
        ("http://unix:/run/a.sock:/uu/", ("/run/a.sock", -1), True, b"/uu/", b"localhost"),
        ("http://app/caf\u00e9", ("app", 80), False, b"/caf\xc3\xa9", b"app"),
    ],
)
def test_a_proxy_pass_is_taken_apart(url, address, has_port, uri_part, host_header):
    target = proxy_target(url)
    assert (target.address, target.has_port, target.uri_part, target.host_header) == (address, has_port, uri_part, host_header)
    assert target.text == url
    assert target.port == address[1]


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("", "invalid URL prefix"),
        ("app", "invalid URL prefix"),
        ("app:80", "invalid URL prefix"),
        ("ftp://app", "invalid URL prefix"),
        ("http:/app", "invalid URL prefix"),
        ("http://$nope", 'unknown "nope" variable'),
        ("http://", 'no host in upstream ""'),
        ("http:///x", 'no host in upstream ""'),
        ("http://:80", 'no host in upstream ":80"'),
        ("http://app:0", 'invalid port in upstream "app:0"'),
        ("http://app:99999/x", 'invalid port in upstream "app:99999"'),
        ("https://app:99999", 'invalid port in upstream "app:99999"'),
        ("http://a b", 'host not found in upstream "a b"'),
        ("http://user@app", 'host not found in upstream "user@app"'),
        ("http://[::1", 'invalid host in upstream "[::1"'),
        ("http://unix:", 'no path in the unix domain socket in upstream "unix:"'),
        ("http://app/a b", "invalid URI"),
        ("http://app/a\r\nX: y", "invalid URI"),
        ("http://unix:/a.sock:/b c", "invalid URI"),
    ],
)
def test_a_proxy_pass_that_makes_no_sense_is_refused(url, problem):
    assert problem in refusal(proxy_target, url)


@pytest.mark.parametrize(
    ("url", "address", "host_header"),
    [
        ("https://app", ("app", 443), b"app"),
        ("HTTPS://app:443/x", ("app", 443), b"app"),
        ("https://app:80", ("app", 80), b"app:80"),
    ],
)
def test_a_secure_proxy_pass_has_a_port_of_its_own(url, address, host_header):
    target = proxy_target(url)
    assert (target.address, target.host_header, target.is_secure) == (address, host_header, True)


@pytest.mark.parametrize(("url", "is_secure"), [("http://$host", False), ("$scheme://a/$uri", False), ("https://$host", True)])
def test_a_proxy_pass_with_variables_is_taken_apart_later(url, is_secure):
    target = proxy_target(url)
    assert (target.address, target.uri_part, target.is_secure) == (None, b"", is_secure)
    assert target.template and target.template.text == url


def test_a_header_is_a_name_and_a_template():
    name, template = header("X-Real-IP", "$remote_addr")
    assert (name, template.text) == (b"X-Real-IP", "$remote_addr")
    assert header("Connection", "")[1].constant == b""


@pytest.mark.parametrize("name", ["", "X Y", "X:", "X\r\nY", "X\tY", "(X)", "X\u00e9", 'X"'])
def test_a_header_name_is_a_token(name):
    assert refusal(header, name, "x") == f'invalid header name "{name}"'


@pytest.mark.parametrize("value", ["a\r\nX-Evil: 1", "a\nb", "a\rb", "a\0b"])
def test_a_header_value_is_one_line(value):
    assert refusal(header, "X-A", value) == 'the value of "X-A" has a line break'


def test_a_header_value_has_known_variables():
    assert refusal(header, "X-A", "$nope") == 'unknown "nope" variable'


def test_three_versions_of_http_are_spoken():
    assert [http_version("1.0"), http_version("1.1"), http_version("2")] == [10, 11, 20]
    assert refusal(http_version, "3") == 'invalid value "3"'


# return


@pytest.mark.parametrize(
    ("arguments", "status", "content"),
    [
        (["404"], 404, None),
        (["0"], 0, None),
        (["444"], 444, None),
        (["999"], 999, None),
        (["200", ""], 200, ""),
        (["200", "ok\n"], 200, "ok\n"),
        (["301", "https://$host$request_uri"], 301, "https://$host$request_uri"),
        (["http://a/"], 302, "http://a/"),
        (["https://a/"], 302, "https://a/"),
        (["$scheme://a/"], 302, "$scheme://a/"),
    ],
)
def test_return_is_a_status_with_a_text_or_a_url(arguments, status, content):
    value = return_value(*arguments)
    assert value.status == status
    assert (value.text and value.text.text) == (content or None) if content != "" else value.text.text == ""


@pytest.mark.parametrize("code", ["", "abc", "1000", "-1", "20x", "/path", "\u0662\u0660\u0660", "ftp://a"])
def test_a_return_code_has_up_to_three_digits(code):
    assert refusal(return_value, code) == f'invalid return code "{code}"'


# rewrite, set, if


@pytest.mark.parametrize(
    ("arguments", "path", "args", "adds_args", "redirect", "flag"),
    [
        (["^/a", "/b"], "/b", None, True, 0, ""),
        (["^/a", "/b", "last"], "/b", None, True, 0, "last"),
        (["^/a", "/b", "break"], "/b", None, True, 0, "break"),
        (["^/a", "/b?x=1"], "/b", "x=1", True, 0, ""),
        (["^/a", "/b?"], "/b", None, False, 0, ""),
        (["^/a", "/b?x=1?"], "/b", "x=1", False, 0, ""),
        (["^/a", "/b", "redirect"], "/b", None, True, 302, ""),
        (["^/a", "/b", "permanent"], "/b", None, True, 301, ""),
        (["^/a", "http://b"], "http://b", None, True, 302, ""),
        (["^/a", "https://b"], "https://b", None, True, 302, ""),
        (["^/a", "$scheme://b"], "$scheme://b", None, True, 302, ""),
        (["^/a", "http://b", "permanent"], "http://b", None, True, 301, ""),
    ],
)
def test_a_rewrite_is_a_regex_and_what_becomes_of_the_uri(arguments, path, args, adds_args, redirect, flag):
    value = rewrite(*arguments)
    assert value.regex.text == "^/a"
    assert (value.replacement.text, value.args and value.args.text) == (path, args)
    assert (value.adds_args, value.redirect, value.flag) == (adds_args, redirect, flag)


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["(", "/b"], 'pcre2_compile() failed: missing closing parenthesis in "("'),
        (["a", "/b", "final"], 'invalid parameter "final"'),
        (["a", "$nope"], 'unknown "nope" variable'),
        (["a", "/b?$nope"], 'unknown "nope" variable'),
    ],
)
def test_a_rewrite_that_makes_no_sense_is_refused(arguments, problem):
    assert refusal(rewrite, *arguments) == problem


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["a", "b"], 'invalid variable name "a"'),
        (["$", "b"], 'invalid variable name "$"'),
        (["", "b"], "invalid variable name"),
        (["$uri", "b"], 'the duplicate "uri" variable'),
        (["$URI", "b"], 'the duplicate "uri" variable'),
        (["$a", "$nope"], 'unknown "nope" variable'),
    ],
)
def test_an_assignment_that_makes_no_sense_is_refused(arguments, problem):
    assert refusal(assignment, *arguments) == problem


@pytest.mark.parametrize(
    ("words_", "kind", "negated", "tested", "against"),
    [
        ("($host)", "is set", False, "$host", None),
        ("( $host )", "is set", False, "$host", None),
        ("(${host})", "is set", False, "${host}", None),
        ("($host = a)", "=", False, "$host", "a"),
        ("($host != a)", "=", True, "$host", "a"),
        ("( $host = a )", "=", False, "$host", "a"),
        ("($host = $uri)", "=", False, "$host", "$uri"),
        ("($host ~ ^a)", "~", False, "$host", "^a"),
        ("($host !~ ^a)", "~", True, "$host", "^a"),
        ("($host ~* ^A)", "~", False, "$host", "^A"),
        ("($host !~* ^A)", "~", True, "$host", "^A"),
        ("(-f $uri)", "-f", False, "$uri", None),
        ("(!-f $uri)", "-f", True, "$uri", None),
        ("(-d /a)", "-d", False, "/a", None),
        ("(!-e /a)", "-e", True, "/a", None),
        ("( -x /a )", "-x", False, "/a", None),
    ],
)
def test_a_condition_is_taken_apart(words_, kind, negated, tested, against):
    value = condition(*words_.split())
    assert (value.kind, value.negated, value.value.text) == (kind, negated, tested)
    other = value.against.text if value.against else value.regex.text if value.regex else None
    assert other == against
    if value.regex:
        assert value.regex.caseless is ("*" in words_)
    assert value.text == words_


def test_an_empty_text_may_be_compared_with():
    """`if ($host = "")`: a quote ends a word, and the parenthesis is one of its own."""
    value = condition("($host", "=", "", ")")
    assert value.against and value.against.text == ""


@pytest.mark.parametrize(
    ("words_", "problem"),
    [
        (["$host"], 'invalid condition "$host"'),
        (["($host"], 'invalid condition "$host"'),
        (["($host", "=", "a"], 'invalid condition "a"'),
        (["()"], 'invalid condition ")"'),
        (["(a", "=", "b)"], 'invalid condition "a"'),
        (["($host", "==", "b)"], 'unexpected "==" in condition'),
        (["($host", "=", "b", "c)"], 'invalid condition "$host"'),
        (["($host", "b)"], 'invalid condition "$host"'),
        (["(-f)"], 'invalid condition "-f"'),
        (["(-z", "a)"], 'invalid condition "-z"'),
        (["(-f", "a", "b)"], 'invalid condition "-f"'),
        (["($1)"], 'unknown "1" variable'),
        (["($nope)"], 'unknown "nope" variable'),
        (["($host", "~", "()"], 'pcre2_compile() failed: missing closing parenthesis in "("'),
    ],
)
def test_a_condition_that_makes_no_sense_is_refused(words_, problem):
    assert refusal(condition, *words_) == problem


# error_page, server_name, limit_except


@pytest.mark.parametrize(
    ("arguments", "value"),
    [
        (["404", "/a"], ((404,), KEPT, "/a")),
        (["404", "502", "@a"], ((404, 502), KEPT, "@a")),
        (["404", "=200", "/a"], ((404,), 200, "/a")),
        (["404", "=", "/a"], ((404,), TARGETS, "/a")),
        (["404", "=200"], ((404,), KEPT, "=200")),
        (["300", "599", "=301", "http://a/$uri"], ((300, 599), 301, "http://a/$uri")),
    ],
)
def test_an_error_page_is_for_statuses_and_may_have_another(arguments, value):
    read = error_page(*arguments)
    assert (read.statuses, read.status, read.target.text) == value


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["299", "/a"], 'value "299" must be between 300 and 599'),
        (["600", "/a"], 'value "600" must be between 300 and 599'),
        (["499", "/a"], 'invalid value "499"'),
        (["x", "/a"], 'invalid value "x"'),
        (["404", "=x", "/a"], 'invalid value "=x"'),
        (["=200", "/a"], 'invalid value "=200"'),
    ],
)
def test_an_error_page_that_makes_no_sense_is_refused(arguments, problem):
    assert refusal(error_page, *arguments) == problem


def test_a_name_with_an_upper_case_letter_in_its_regex_ignores_case():
    lower, upper = names("~^a$", "~^A$")
    assert (lower.text, lower.regex and lower.regex.caseless) == ("~^a$", False)
    assert (upper.text, upper.regex and upper.regex.caseless) == ("~^A$", True)


def test_a_server_may_have_the_name_of_the_machine():
    assert [name.text for name in names("$hostname", "$host")] == [os.uname().nodename.lower(), "$host"]


@pytest.mark.parametrize("name", ["*", "*.", ".", "*a.b", "**"])
def test_a_name_that_is_no_name_is_refused_where_it_stands(name):
    assert refusal(names, "a", name) == f'server name "{name}" is invalid'


def test_an_empty_regex_is_no_name():
    assert refusal(names, "~") == 'empty regex in server name "~"'


def test_methods_are_known_and_get_brings_head():
    assert limit_except("get", "POST").methods == frozenset((b"GET", b"HEAD", b"POST"))
    assert limit_except("POST").methods == frozenset((b"POST",))
    assert refusal(limit_except, "BREW") == 'invalid method "BREW"'


def test_a_returned_text_has_known_variables():
    assert refusal(return_value, "200", "$nope") == 'unknown "nope" variable'


# server, in an upstream


@pytest.mark.parametrize(
    ("arguments", "values"),
    [
        (["127.0.0.1:3000"], {"address": ("127.0.0.1", 3000)}),
        (["app"], {"address": ("app", 80)}),
        (["unix:/a.sock"], {"address": ("/a.sock", -1)}),
        (["a", "weight=5"], {"weight": 5}),
        (["a", "max_fails=0"], {"max_fails": 0}),
        (["a", "max_conns=100"], {"max_conns": 100}),
        (["a", "fail_timeout=30"], {"fail_timeout": 30.0}),
        (["a", "fail_timeout=1m 30s"], {"fail_timeout": 90.0}),
        (["a", "backup"], {"backup": True}),
        (["a", "down"], {"down": True}),
        (["a", "weight=2", "max_fails=3", "down"], {"weight": 2, "max_fails": 3, "down": True}),
    ],
)
def test_a_server_has_an_address_and_parameters(arguments, values):
    server = upstream_server(*arguments)
    assert server == UpstreamServer(arguments[0], server.address)._replace(**values)


@pytest.mark.parametrize(
    "parameter",
    [
        "weight=0",
        "weight=-1",
        "weight=",
        "weight",
        "weight=x",
        "weight=1.5",
        "weight=9999999999",
        "max_fails=-1",
        "fail_timeout",
        "fail_timeout=",
        "fail_timeout=soon",
        "max_conns=many",
        "backup=1",
        "down=yes",
        "slow_start=soon",
        "",
    ],
)
def test_a_parameter_that_makes_no_sense_is_refused(parameter):
    assert refusal(upstream_server, "a", parameter) == f'invalid parameter "{parameter}"'


def test_a_server_is_an_address():
    assert refusal(upstream_server, "a:99999") == 'invalid port in upstream "a:99999"'
