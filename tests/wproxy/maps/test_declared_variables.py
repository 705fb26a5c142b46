"""Variables that a configuration declares."""

from __future__ import annotations

import pytest
from map_reading import read_variable, request

from wproxy.template import compile_template
from wproxy.variables import (
    BLOCK,
    REQUEST,
    VARIABLES,
    Namespace,
    Variable,
    check_definable,
    find_variable,
    hear_complaints,
    use_namespace,
    variable_name,
)


@pytest.fixture
def namespace():
    made = Namespace()
    with use_namespace(made):
        yield made


@pytest.fixture
def heard():
    lines: list[tuple[str, str]] = []
    hear_complaints(lambda made, level, text: lines.append((level, text)))
    yield lines
    hear_complaints(lambda made, level, text: None)


def test_a_name_is_known_in_its_namespace_only():
    inner = Namespace()
    inner.declare_value("mine")
    assert find_variable("mine") is None
    with use_namespace(inner):
        assert find_variable("mine") is not None
        with use_namespace(Namespace()):
            assert find_variable("mine") is None
    assert find_variable("mine") is None


def test_what_was_never_set_is_empty_and_said_once_in_a_request(namespace, heard):
    namespace.declare_value("Mine")
    made = request()
    template = compile_template("<$mine$mine>")
    assert template.evaluate(made) == b"<>"
    assert read_variable("mine", made, namespace) == b"", "not missing: nothing in a log, not a dash"
    assert heard == [("warn", 'using uninitialized "Mine" variable')]
    assert template.varies == REQUEST


def test_uninitialized_variable_warn_off_keeps_it_quiet(namespace, heard):
    namespace.declare_value("mine")
    made = request()
    made.location.uninitialized_variable_warn = False
    assert read_variable("mine", made, namespace) == b""
    assert heard == []


def test_a_named_capture_that_did_not_match_is_missing_without_a_word(namespace, heard):
    namespace.declare_capture("part")
    assert read_variable("part", request(), namespace) is None
    namespace.declare_value("part")
    assert read_variable("part", request(), namespace) is None
    assert heard == []


def test_a_capture_takes_the_place_of_what_set_says_of_it(namespace, heard):
    namespace.declare_value("part")
    namespace.declare_capture("part")
    assert read_variable("part", request(), namespace) is None
    assert heard == []


def test_what_is_promised_and_not_declared_is_missing(namespace):
    namespace.promise("later")
    assert compile_template("<$later>").evaluate(request()) == b"<>"
    assert namespace.unkept == ["later"]
    namespace.declare("later", Variable(lambda made: b"now", BLOCK))
    assert namespace.unkept == []


def test_a_promise_after_the_declaration_takes_nothing_away(namespace):
    namespace.declare("later", Variable(lambda made: b"now", BLOCK))
    namespace.promise("later")
    assert namespace.unkept == []
    assert read_variable("later", request(), namespace) == b"now"


def test_a_declared_name_goes_before_a_family(namespace):
    namespace.declare_value("arg_mine")
    made = request(b"mine=asked")
    made.values = {"arg_mine": b"set"}
    assert read_variable("arg_mine", made, namespace) == b"set"


def test_a_variable_of_nginx_that_may_be_set_keeps_its_own_value_until_then(namespace, heard):
    namespace.declare_value("msie")
    made = request(user_agent=b"Mozilla (MSIE 6.0)")
    assert read_variable("msie", made, namespace) == b"1"
    made.values = {"msie": b"no"}
    assert read_variable("msie", made, namespace) == b"no"
    assert heard == []


def test_a_name_of_nginx_is_never_covered(namespace):
    for declare in (namespace.promise, namespace.declare_value, namespace.declare_capture):
        declare("uri")
        declare("args")
    namespace.declare("uri", Variable(lambda made: b"mine", BLOCK))
    assert find_variable("uri") is VARIABLES["uri"]
    assert find_variable("args") is VARIABLES["args"]


# `set $NAME 1;` given to nginx 1.22.1.


@pytest.mark.parametrize(
    "name",
    [
        *("uri", "URI", "host", "https", "http_host", "http_user_agent", "http_cookie", "sent_http_location", "remote_addr"),
        *("proxy_add_x_forwarded_for", "upstream_addr", "request_id", "gzip_ratio", "uid_set", "fastcgi_script_name"),
    ],
)
def test_what_nginx_does_not_let_us_declare(name):
    with pytest.raises(ValueError) as refusal:
        check_definable(name)
    assert str(refusal.value) == f'the duplicate "{name}" variable'


@pytest.mark.parametrize(
    "name",
    [
        *("args", "limit_rate", "proxy_host", "proxy_port", "http_foo", "http_upgrade", "arg_a", "cookie_x", "sent_http_x"),
        *("upstream_http_x", "sent_trailer_x", "ssl_protocol", "ssl_client_verify", "invalid_referer", "msie", "uid_reset"),
        *("anything", "http_x_real_ip"),
    ],
)
def test_what_nginx_lets_us_declare(name):
    check_definable(name)


@pytest.mark.parametrize(
    ("text", "problem"),
    [("m", 'invalid variable name "m"'), ("$", 'invalid variable name "$"'), ("", 'invalid variable name ""')],
)
def test_the_name_of_a_variable_begins_with_a_dollar(text, problem):
    with pytest.raises(ValueError) as refusal:
        variable_name(text)
    assert str(refusal.value) == problem
    assert variable_name("$Mine") == "mine"


def test_two_that_hold_as_long_as_each_other_hold_for_a_request(namespace):
    namespace.promise("a")
    namespace.promise("b")
    of_a, of_b = compile_template("$a"), compile_template("$b")
    namespace.declare("a", Variable(of_b.evaluate, lambda: of_b.varies))
    namespace.declare("b", Variable(of_a.evaluate, lambda: of_a.varies))
    assert of_a.varies == of_b.varies == REQUEST
