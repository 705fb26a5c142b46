"""`map`: what nginx 1.22.1 answered to the same maps and values, and its words for what is wrong."""

from __future__ import annotations

import pytest
from map_reading import entries, read_variable, request

from wproxy.config.tree import ConfigurationError
from wproxy.directives.map import map_block
from wproxy.regex import RegexTimedOut
from wproxy.template import compile_template
from wproxy.variables import BLOCK, REQUEST, Namespace, hear_complaints, use_namespace

EVERYTHING = r"""
default D;
a A;
\default esc;
\~x tilde;
\y bs;
'' empty;
'~^r(\d+)$' 'R$1';
'~*^ci(?<nm>.)$' 'C$nm-$nm';
~^r R;
~^$ never;
exact '$arg_w!';
volatile;
"""

HOSTS = """
hostnames;
default D;
.example.com dot;
*.example.org head;
example.* tail;
mail.* tail2;
a.example.org exact;
*.b.example.org headb;
www.example.net. trail;
"""

CASES = "~^ABC$ up;\n~*^abc$ any;\nabc exact;\nXyZ xyz;"


@pytest.fixture
def namespace():
    made = Namespace()
    with use_namespace(made):
        yield made


def declare(text: str, source: str = "$arg_v", name: str = "$m"):
    return map_block(source, name, entries(text))


def looked_up(namespace: Namespace, value: bytes) -> bytes | None:
    return read_variable("m", request(b"w=W&v=" + value), namespace)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"a", b"A"),
        (b"A", b"A"),
        (b"default", b"esc"),
        (b"~x", b"tilde"),
        (b"y", b"bs"),
        (b"\\y", b"D"),
        (b"", b"empty"),
        (b"r12", b"R12"),
        (b"ciX", b"CX-X"),
        (b"r", b"R"),
        (b"exact", b"W!"),
        (b"EXACT", b"W!"),
        (b"other", b"D"),
    ],
)
def test_keys_come_first_then_regexes_in_order_then_the_default(namespace, value, expected):
    namespace.declare_capture("nm")
    declare(EVERYTHING)
    assert looked_up(namespace, value) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"example.com", b"dot"),
        (b"www.example.com", b"dot"),
        (b"Www.Example.COM", b"dot"),
        (b"example.com.", b"dot"),
        (b"a.example.org", b"exact"),
        (b"x.a.example.org", b"head"),
        (b"example.org", b"tail"),
        (b"b.example.org", b"head"),
        (b"z.b.example.org", b"headb"),
        (b"example.de", b"tail"),
        (b"mail.x", b"tail2"),
        (b"mail.x.y", b"tail2"),
        (b"www.example.net", b"D"),
        (b"www.example.net.", b"D"),
        (b"exampleXcom", b"D"),
    ],
)
def test_hostnames_match_as_server_names_do(namespace, value, expected):
    declare(HOSTS)
    assert looked_up(namespace, value) == expected


@pytest.mark.parametrize(("value", "expected"), [(b"ABC", b"exact"), (b"abc", b"exact"), (b"aBc", b"exact"), (b"XYZ", b"xyz")])
def test_a_key_has_no_case_and_goes_before_a_regex(namespace, value, expected):
    declare(CASES)
    assert looked_up(namespace, value) == expected


def test_without_a_default_the_value_is_empty_and_not_missing(namespace):
    declare("a 1;")
    assert looked_up(namespace, b"a") == b"1"
    assert looked_up(namespace, b"b") == b""


def test_the_map_of_every_websocket_configuration(namespace):
    declare("default upgrade;\n'' close;", "$http_upgrade", "$connection_upgrade")
    assert read_variable("connection_upgrade", request(upgrade=b"websocket"), namespace) == b"upgrade"
    assert read_variable("connection_upgrade", request(), namespace) == b"close"
    assert compile_template("$connection_upgrade").varies == BLOCK


def test_a_value_is_looked_up_once_for_a_request_unless_volatile(namespace):
    declare("default $uri;", name="$once")
    declare("default $uri;\nvolatile;", name="$always")
    made = request(b"v=")
    first = [read_variable(name, made, namespace) for name in ("once", "always")]
    made.path = b"/moved"
    assert first == [b"/", b"/"]
    assert [read_variable(name, made, namespace) for name in ("once", "always")] == [b"/", b"/moved"]


def test_a_regex_that_matches_leaves_its_captures_and_one_that_does_not_leaves_those_before(namespace):
    declare("~^(z)z$ 1;\n~^y$ 2;")
    digits = compile_template("$1")
    made = request(b"v=no")
    with_z, with_y = request(b"v=zz"), request(b"v=y")
    read_variable("m", with_z, namespace)
    made.captures = with_y.captures = with_z.captures
    assert digits.evaluate(with_z) == b"z"
    read_variable("m", made, namespace)
    assert digits.evaluate(made) == b"z"
    read_variable("m", with_y, namespace)
    assert digits.evaluate(with_y) == b""


def test_a_map_that_leads_to_itself_ends_at_a_depth_of_100(namespace):
    """nginx's answer: the innermost finds nothing, and 100 maps work on it."""
    heard = []
    hear_complaints(lambda made, level, text: heard.append((level, text)))
    namespace.promise("m")
    declare("default x;\nx y;", source="$m")
    made = request()
    assert read_variable("m", made, namespace) == b"y"
    assert heard == [("error", 'cycle while evaluating variable "m"')]
    assert compile_template("$m").varies == REQUEST


def test_a_volatile_map_that_leads_to_itself_twice_ends_at_once(namespace):
    namespace.promise("m")
    declare("default 'a$m';\nvolatile;", source="$m$m")
    assert read_variable("m", request(), namespace)


def test_a_map_may_be_used_above_its_declaration(namespace):
    namespace.promise("m")
    above = compile_template("<$M>")
    assert namespace.unkept == ["m"]
    declare("a 1;", source="$http_x")
    assert above.evaluate(request(x=b"a")) == b"<1>"
    assert above.varies == BLOCK
    assert namespace.unkept == []


def test_of_two_maps_for_one_variable_the_later_counts(namespace):
    declare("a 1;")
    declare("a 2;")
    assert looked_up(namespace, b"a") == b"2"


def test_what_set_gives_goes_before_the_map(namespace):
    namespace.declare_value("m")
    declare("a 1;", source="$http_x")
    made = request(x=b"a")
    made.values = {"m": b"set"}
    assert read_variable("m", made, namespace) == b"set"
    assert read_variable("m", request(x=b"a"), namespace) == b"1"
    assert compile_template("$m").varies == REQUEST


@pytest.mark.parametrize(
    ("text", "source", "varies"),
    [
        ("a 1;", "$http_x", BLOCK),
        ("a 1;", "$http_x$uri", REQUEST),
        ("a $uri;", "$http_x", REQUEST),
        ("default $uri;", "$http_x", REQUEST),
        ("~^a 1;", "$http_x", BLOCK),
        ("'~^(a)' 1;", "$http_x", BLOCK),
        ("'~^(a)' $1;", "$http_x", REQUEST),
        ("'~^(?<named>a)' 1;", "$http_x", REQUEST),
    ],
)
def test_a_map_holds_as_long_as_what_it_is_made_of(namespace, text, source, varies):
    declare(text, source=source)
    assert compile_template("$m").varies == varies


def test_captures_that_are_read_elsewhere_make_a_map_with_a_regex_run_for_every_request(namespace):
    declare("~^a 1;", source="$http_x")
    compile_template("$1")
    assert compile_template("$m").varies == REQUEST


def test_a_regex_that_takes_too_long_gives_the_default(namespace):
    heard = []
    hear_complaints(lambda made, level, text: heard.append((level, text)))
    made = declare("default D;\n~^a$ 1;")
    regex, choice = made.regexes[0]
    assert regex.origin == "nginx.conf:2"

    class Slow:
        names = ()

        def search(self, value: bytes) -> None:
            raise RegexTimedOut(regex, value, 0.1)

    made.regexes[0] = (Slow(), choice)
    assert looked_up(namespace, b"aaaa") == b"D"
    assert [level for level, _ in heard] == ["error"]


@pytest.mark.parametrize(
    ("text", "problem", "line"),
    [
        ("a 1;\nA 2;", 'conflicting parameter "a"', 2),
        ("'' 1;\n'' 2;", 'conflicting parameter ""', 2),
        ("a;", "invalid number of the map parameters", 1),
        ("a 1 2;", "invalid number of the map parameters", 1),
        ("default 1;\ndefault 2;", "duplicate default map parameter", 2),
        ("b 1;\na $nope;", 'unknown "nope" variable', 2),
        ("hostnames;\n*.a.* 1;", 'invalid hostname or wildcard "*.a.*"', 2),
        ("hostnames;\na..b 1;", 'invalid hostname or wildcard "a..b"', 2),
        ("hostnames;\na*b 1;", 'invalid hostname or wildcard "a*b"', 2),
        ("hostnames;\n* 1;", 'invalid hostname or wildcard "*"', 2),
        ("hostnames;\n.a.b 1;\na.b 2;", 'conflicting parameter "a.b"', 3),
        ("hostnames;\n.a.b 1;\n*.a.b 2;", 'conflicting parameter "*.a.b"', 3),
        ("hostnames;\na.* 1;\na.* 2;", 'conflicting parameter "a.*"', 3),
        ("'~(' 1;", 'pcre2_compile() failed: missing closing parenthesis in "("', 1),
    ],
)
def test_an_entry_that_is_wrong_is_named_with_its_line(namespace, text, problem, line):
    with pytest.raises(ConfigurationError) as refusal:
        declare(text)
    assert [(found.text, found.position.line) for found in refusal.value.problems] == [(problem, line)]


def test_all_entries_that_are_wrong_are_named_at_once(namespace):
    with pytest.raises(ConfigurationError) as refusal:
        declare("a;\nb $nope;\nc 1;")
    assert len(refusal.value.problems) == 2


@pytest.mark.parametrize(
    "text", ["hostnames;\n. 1;", "hostnames x;", "a.* 1;\nhostnames;\nb.* 1;", "hostnames;\nwww.a. 1;\n'' 2;"]
)
def test_what_nginx_takes_is_taken(namespace, text):
    declare(text)


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("m", 'invalid variable name "m"'),
        ("$", 'invalid variable name "$"'),
        ("$uri", 'the duplicate "uri" variable'),
        ("$http_user_agent", 'the duplicate "http_user_agent" variable'),
    ],
)
def test_a_name_that_cannot_be_declared_is_refused_in_nginx_words(namespace, name, problem):
    with pytest.raises(ValueError) as refusal:
        declare("a 1;", name=name)
    assert str(refusal.value) == problem


@pytest.fixture(autouse=True)
def nobody_listens_afterwards():
    yield
    hear_complaints(lambda made, level, text: None)
