"""Text with variables, compiled at load."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_requests import make_request

from wproxy.http import Request
from wproxy.template import compile_template, parse_pieces
from wproxy.variables import BLOCK, LINE, REQUEST, Variable, find_variable


def request(args: bytes = b"b") -> Request:
    """A request that asks for this."""
    made = make_request(f"/a?{args.decode()}", "Accept: */*", host="example.com")
    made.captures = re.match(b"(A)(B)", b"AB")
    return made


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", b""),
        ("plain", b"plain"),
        ("caf\u00e9", b"caf\xc3\xa9"),
        ("\udcff", b"\xff"),
        ("100%", b"100%"),
        ("{curly}", b"{curly}"),
        ("$host", b"example.com"),
        ("${host}", b"example.com"),
        ("$HOST$Host", b"example.comexample.com"),
        ("$scheme://$host$request_uri", b"http://example.com/a?b"),
        ("${scheme}s", b"https"),
        ("$host:80", b"example.com:80"),
        ("$host-$host", b"example.com-example.com"),
        ("$host.", b"example.com."),
        ("<$host>", b"<example.com>"),
        ("$uri$is_args$args", b"/a?b"),
        ("$http_accept", b"*/*"),
        ("$http_missing", b""),
        ("a${http_missing}b", b"ab"),
        ("$host}", b"example.com}"),
        ("$10", b"A0"),
        ("$2x$3", b"Bx"),
        ("$host$1-", b"example.comA-"),
        ("line\r\n$host", b"line\r\nexample.com"),
    ],
)
def test_a_template_is_filled_in(text, value):
    template = compile_template(text)
    assert template.evaluate(request()) == value
    assert template.text == text


@pytest.mark.parametrize("text", ["", "plain", "{}", "100%"])
def test_text_without_variables_is_a_constant(text):
    template = compile_template(text)
    assert template.constant == text.encode()
    assert template.varies == BLOCK


@pytest.mark.parametrize("text", ["$host", "$http_missing", "a$host"])
def test_text_with_a_variable_is_none(text):
    assert compile_template(text).constant is None


@pytest.mark.parametrize(
    ("text", "varies"),
    [
        ("$host", BLOCK),
        ("$remote_addr, $http_x", BLOCK),
        ("$uri", LINE),
        ("$host$uri", LINE),
        ("$uri$host", LINE),
        ("$arg_a", LINE),
        ("$uri$request_id", REQUEST),
    ],
)
def test_a_template_holds_as_long_as_the_shortest_of_its_variables(text, varies):
    assert compile_template(text).varies == varies


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("$nope", 'unknown "nope" variable'),
        ("${nope}", 'unknown "nope" variable'),
        ("$hostname_", 'unknown "hostname_" variable'),
        ("$Nope", 'unknown "Nope" variable'),
        ("$", "invalid variable name"),
        ("$$host", "invalid variable name"),
        ("cost: 5$", "invalid variable name"),
        ("$-", "invalid variable name"),
        ("$\u00e9", "invalid variable name"),
        ("${host", 'the closing bracket in "host" variable is missing'),
        ("${host:80", 'the closing bracket in "host" variable is missing'),
        ("${", "invalid variable name"),
        ("${}", "invalid variable name"),
        ("${-}", 'the closing bracket in "" variable is missing'),
        ("${\n", 'the closing bracket in "" variable is missing'),
        ("$0", 'unknown "0" variable'),
        ("${1}", 'unknown "1" variable'),
    ],
)
def test_a_template_that_makes_no_sense_is_refused_in_nginx_words(text, problem):
    with pytest.raises(ValueError) as refusal:
        compile_template(text)
    assert str(refusal.value) == problem


def test_pieces_are_bytes_and_variables_in_turn():
    assert parse_pieces("a$host$uri-") == [b"a", find_variable("host"), find_variable("uri"), b"-"]
    assert parse_pieces("") == []


def test_a_value_is_never_read_as_a_template_again():
    assert compile_template("$args").evaluate(request(args=b"$host")) == b"$host"


@given(st.text(max_size=30))
def test_any_text_is_a_template_or_a_value_error(text):
    try:
        pieces = parse_pieces(text)
    except ValueError:
        assert "$" in text
        return
    assert "$" not in text or any(isinstance(piece, Variable) for piece in pieces)
    if "$" not in text:
        assert compile_template(text).constant == text.encode("utf-8", "surrogateescape")
