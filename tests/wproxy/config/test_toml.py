"""wproxy.toml and the directive tree: what each shape of value becomes, where it stands, and what is said when it makes no
sense.

The rows are the test's own, one for each kind of directive, so that the registry may grow without touching these tests.
"""

from __future__ import annotations

import json
import re
import textwrap

import pytest

from wproxy.config.registry import (
    EVENTS,
    GATHER,
    GEO,
    HTTP,
    LOCATION,
    LOCATION_IF,
    MAIN,
    MAP,
    OPAQUE,
    OWN_GATHER,
    SERVER,
    STEP,
    UPSTREAM,
    Directive,
    directive,
)
from wproxy.config.toml import parse_toml, read_toml
from wproxy.config.tree import ConfigurationError, Node, Position, Problem

ANYWHERE = MAIN | HTTP | SERVER | LOCATION


def row(name: str, contexts: int, **columns: object) -> Directive:
    made: Directive = directive(str, contexts, doc="", **columns)  # type: ignore[arg-type]
    made.name = name
    return made


ROWS = [
    row("events", MAIN, arity=0, block=EVENTS),
    row("http", MAIN, arity=0, block=HTTP),
    row("server", HTTP, arity=0, inherit=OWN_GATHER, block=SERVER),
    row("upstream", HTTP, inherit=OWN_GATHER, block=UPSTREAM, named=True),
    row("map", HTTP, arity=2, inherit=OWN_GATHER, block=MAP, named=True),
    row("geo", HTTP, arity=(1, 2), inherit=OWN_GATHER, block=GEO, named=True),
    row("stream", MAIN, arity=0, block=OPAQUE),
    row("if", LOCATION, arity=(1, 99), inherit=STEP, block=LOCATION_IF, named=True),
    row("set", LOCATION | LOCATION_IF, arity=2, inherit=STEP),
    row("return", LOCATION | LOCATION_IF, arity=(1, 2), inherit=STEP),
    row("break", LOCATION | LOCATION_IF, arity=0, inherit=STEP),
    row("location", SERVER | LOCATION, arity=(1, 2), inherit=OWN_GATHER, block=LOCATION, named=True),
    row("server", UPSTREAM, arity=(1, 9), inherit=OWN_GATHER, named=True),
    row("ip_hash", UPSTREAM, arity=0),
    row("keepalive", UPSTREAM),
    row("listen", SERVER, arity=(1, 9), inherit=OWN_GATHER),
    row("sendfile", ANYWHERE),
    row("keepalive_timeout", ANYWHERE, arity=(1, 2)),
    row("error_page", ANYWHERE, arity=(2, 99), inherit=GATHER),
    row("proxy_hide_header", ANYWHERE, inherit=GATHER),
    row("proxy_set_header", ANYWHERE, arity=2, inherit=GATHER, named=True),
    row("add_header", ANYWHERE, arity=(2, 3), inherit=GATHER, named=True),
    row("allow", ANYWHERE, inherit=GATHER, named=True),
    row("deny", ANYWHERE, inherit=GATHER, named=True),
]


def lookup(name: str, context: int) -> Directive | None:
    return next((row for row in ROWS if row.name == name and row.contexts & context), None)


def read(text: str) -> Node:
    return parse_toml(textwrap.dedent(text).encode(), "wproxy.toml", lookup)


def outline(nodes: list[Node] | None) -> list[str]:
    """Nodes as nginx.conf would have them, arguments between `<>` where they are not plain words."""
    lines = []
    for node in nodes or ():
        words = [word if re.fullmatch(r"[^\s<>]+", word) else f"<{word}>" for word in node.arguments]
        head = " ".join([node.name, *words])
        if node.children is None:
            lines.append(head + ";")
        else:
            lines += [head + " {", *("  " + line for line in outline(node.children)), "}"]
    return lines


def tree(text: str) -> list[str]:
    return outline(read(text).children)


def block(text: str, *names: str) -> Node:
    """The first block of these names, one inside the other."""
    node = read(text)
    for name in names:
        node = next(node.named(name))
    return node


def inside(context: str, text: str) -> list[str]:
    """What a text becomes in a block, `[context]` being its header."""
    return outline(block(f"[{context}]\n{text}", *context.split(".")[:2]).children)


def problems(text: str) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        read(text)
    return [str(problem) for problem in caught.value.problems]


def test_a_whole_file() -> None:
    assert tree("""
        sendfile = true
        [events]
        worker_connections = 1024

        [http]
        keepalive_timeout = 75

        [http.upstream.app]
        keepalive = 32
        ip_hash = true
        [http.upstream.app.server]
        "127.0.0.1:3000" = { weight = 3, max_fails = 2, backup = true, down = false }
        "127.0.0.1:3001" = {}

        [[http.server]]
        listen = [8080, ["8443", "default_server"]]
        [http.server.location."/api/"]
        proxy_pass = "http://app/"
        proxy_set_header = { Host = "$host", X-A = 1 }
        [http.server.location."= /x"]
        return = [200, "yes\\n"]

        [[http.server]]
        listen = 8081

        [http.map."$http_upgrade $connection_upgrade"]
        default = "upgrade"
        "" = "close"
    """) == [
        "sendfile on;",
        "events {",
        "  worker_connections 1024;",
        "}",
        "http {",
        "  keepalive_timeout 75;",
        "  upstream app {",
        "    keepalive 32;",
        "    ip_hash;",
        "    server 127.0.0.1:3000 weight=3 max_fails=2 backup;",
        "    server 127.0.0.1:3001;",
        "  }",
        "  server {",
        "    listen 8080;",
        "    listen 8443 default_server;",
        "    location /api/ {",
        "      proxy_pass http://app/;",
        "      proxy_set_header Host $host;",
        "      proxy_set_header X-A 1;",
        "    }",
        "    location = /x {",
        "      return 200 <yes\n>;",
        "    }",
        "  }",
        "  server {",
        "    listen 8081;",
        "  }",
        "  map $http_upgrade $connection_upgrade {",
        "    default upgrade;",
        "     close;",  # its name is empty
        "  }",
        "}",
    ]


def test_the_root_has_no_name_and_stands_at_the_start() -> None:
    assert read("") == Node("", (), Position("wproxy.toml", 1, 1), [])


@pytest.mark.parametrize(
    ("value", "argument"),
    [
        ('"a b"', "a b"),
        ('""', ""),
        ("true", "on"),
        ("false", "off"),
        ("0", "0"),
        ("-5", "-5"),
        ("0x10", "16"),
        ("1_000", "1000"),
        ("1.1", "1.1"),
        ("1.0", "1.0"),
        ("9223372036854775807", "9223372036854775807"),
    ],
)
def test_a_scalar_is_one_argument(value: str, argument: str) -> None:
    root = read(f"sendfile = {value}")
    assert root.children == [Node("sendfile", (argument,), Position("wproxy.toml", 1, 1))]


@pytest.mark.parametrize(
    ("context", "text", "lines"),
    [
        # does not repeat: an array is its arguments
        ("http", "keepalive_timeout = [75, '60s']", ["keepalive_timeout 75 60s;"]),
        ("http", "keepalive_timeout = []", ["keepalive_timeout;"]),
        ("http.upstream.a", "ip_hash = true", ["ip_hash;"]),
        ("http.upstream.a", "ip_hash = []", ["ip_hash;"]),
        ("http.upstream.a", "ip_hash = false", []),
        # repeats: an array is its occurrences
        ("http", "proxy_hide_header = 'X-A'", ["proxy_hide_header X-A;"]),
        ("http", "proxy_hide_header = ['X-A', 'X-B']", ["proxy_hide_header X-A;", "proxy_hide_header X-B;"]),
        (
            "http",
            "error_page = [[404, '/404'], [502, 503, '/50x']]",
            ["error_page 404 /404;", "error_page 502 503 /50x;"],
        ),
        ("http.server", "listen = [[], 80]", ["listen;", "listen 80;"]),
        # named: the first argument is a key
        ("http", "proxy_set_header.Host = '$host'", ["proxy_set_header Host $host;"]),
        ("http", "add_header.A = ['b c', 'always']", ["add_header A <b c> always;"]),
        ("http", "add_header.A = [['b'], ['c', 'always']]", ["add_header A b;", "add_header A c always;"]),
        ("http.upstream.a", "server.b = [{ weight = 1 }, { down = true }]", ["server b weight=1;", "server b down;"]),
        ("http.upstream.a", "server.b = 'weight=2'", ["server b weight=2;"]),
        ("http.upstream.a", "server.b = []", ["server b;"]),
        (
            "http.upstream.a",
            "server.b = { fail_timeout = '5s', weight = 1.5 }",
            ["server b fail_timeout=5s weight=1.5;"],
        ),
        ("http.upstream.a", "server = ['b', ['c', 'down']]", ["server b;", "server c down;"]),
        ("http", "proxy_set_header = [['A', 'b']]", ["proxy_set_header A b;"]),
    ],
)
def test_simple_directives(context: str, text: str, lines: list[str]) -> None:
    assert inside(context, text) == lines


@pytest.mark.parametrize(
    ("key", "arguments"),
    [
        ("/", ("/",)),
        ("/a b", ("/a b",)),
        ("", ("",)),
        ("@back", ("@back",)),
        ("= /x", ("=", "/x")),
        (r"~ \.php$", ("~", r"\.php$")),
        ("~*  /a b", ("~*", "/a b")),
        ("^~\t/x", ("^~", "/x")),
        ("=/x", ("=/x",)),
        ("~~ /x", ("~~ /x",)),
    ],
)
def test_the_key_of_a_location_is_split_after_a_modifier_only(key: str, arguments: tuple[str, ...]) -> None:
    location = block(f"[[http.server]]\n[http.server.location.'{key}']", "http", "server", "location")
    assert location.arguments == arguments


def test_a_block_with_one_argument_takes_its_key_whole() -> None:
    assert tree("[http.upstream.'a b']") == ["http {", "  upstream <a b> {", "  }", "}"]


def test_several_blocks_with_the_same_arguments_are_an_array_of_tables() -> None:
    text = "[[http.server]]\n[[http.server.location.'/a']]\nsendfile = true\n[[http.server.location.'/a']]"
    assert outline(block(text, "http", "server").children) == [
        "location /a {",
        "  sendfile on;",
        "}",
        "location /a {",
        "}",
    ]


def test_inline_tables_are_blocks_too() -> None:
    assert tree("http = { server = [{ listen = 1 }, { location = { '/' = { sendfile = true } } }] }") == tree(
        "[[http.server]]\nlisten = 1\n[[http.server]]\n[http.server.location.'/']\nsendfile = true"
    )


def test_a_name_means_what_it_means_in_its_context() -> None:
    assert inside("http.upstream.a", "server = { b = {} }") == ["server b;"]
    assert tree("[http]\nserver = { listen = 80 }") == ["http {", "  server {", "    listen 80;", "  }", "}"]


def test_the_children_of_a_block_are_looked_up_in_its_context() -> None:
    asked = []

    def note(name: str, context: int) -> Directive | None:
        asked.append((name, context))
        return lookup(name, context)

    parse_toml(b"http.server.location.'/'.sendfile = true\nhttp.upstream.a.keepalive = 1\nodd.even = 1", "f", note)
    assert asked == [
        ("http", MAIN),
        ("server", HTTP),
        ("location", SERVER),
        ("sendfile", LOCATION),
        ("upstream", HTTP),
        ("keepalive", UPSTREAM),
        ("odd", MAIN),
        ("even", 0),
    ]


def test_the_registry_is_asked_unless_told_otherwise() -> None:
    import wproxy.config.model  # noqa: F401  # registers the rows

    root = parse_toml(b"[http.upstream.a.server]\n'127.0.0.1:80' = { weight = 2 }", "f")
    assert outline(root.children) == ["http {", "  upstream a {", "    server 127.0.0.1:80 weight=2;", "  }", "}"]


# Order and positions


def test_nodes_stand_in_the_order_of_the_file_even_where_a_key_is_torn() -> None:
    assert inside("http", "deny.'10.0.0.1' = []\nallow.'10.0.0.0/8' = []\ndeny.all = []") == [
        "deny 10.0.0.1;",
        "allow 10.0.0.0/8;",
        "deny all;",
    ]
    text = "[[http.server]]\nlisten = 1\n[http.upstream.a]\n[[http.server]]\nlisten = 2\n[http.upstream.b]"
    assert [node.name for node in block(text, "http").children or ()] == ["server", "upstream", "server", "upstream"]


def test_a_node_stands_at_its_key_element_or_header() -> None:
    root = read("""\
        sendfile = true
        [http]
          proxy_set_header = { Host = "h",
                               X-A = "a" }
          add_header.X-B = [["1"],
                            ["2"]]
        [http.upstream.app]
        server = { "a:1" = { weight = 1 } }
        [[http.server]]
        listen = [80, ["443",
                  "ssl"], 81]
        keepalive_timeout = [1,
                             2]
        [[http.server.location."/"]]
        [[http.server.location."/"]]
        [[http.server]]
    """)

    def places(nodes: list[Node] | None) -> list[tuple[str, int, int]]:
        return [
            place
            for node in nodes or ()
            for place in [(node.name, node.position.line, node.position.column), *places(node.children)]
        ]

    assert places(root.children) == [
        ("sendfile", 1, 1),
        ("http", 2, 2),
        ("proxy_set_header", 3, 24),
        ("proxy_set_header", 4, 24),
        ("add_header", 5, 21),
        ("add_header", 6, 21),
        ("upstream", 7, 16),
        ("server", 8, 12),
        ("server", 9, 8),
        ("listen", 10, 11),
        ("listen", 10, 15),
        ("listen", 11, 19),
        ("keepalive_timeout", 12, 1),
        ("location", 14, 24),
        ("location", 15, 24),
        ("server", 16, 8),
    ]
    assert {node.position.file for node in root.children or ()} == {"wproxy.toml"}


# Names that nobody knows


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("odd = 1", ["odd 1;"]),
        ("odd = true", ["odd on;"]),
        ("odd = [1, 'a']", ["odd 1 a;"]),
        ("odd = []", ["odd;"]),
        ("odd = [[1, 2], [3]]", ["odd 1 2;", "odd 3;"]),
        ("odd = {}", ["odd {", "}"]),
        ("odd = { a = 1 }", ["odd {", "  a 1;", "}"]),
        ("[[odd]]\n[[odd]]\na.b = 1", ["odd {", "}", "odd {", "  a {", "    b 1;", "  }", "}"]),
    ],
)
def test_an_unknown_name_becomes_a_node_that_the_check_can_report(text: str, lines: list[str]) -> None:
    assert tree(text) == lines


# What makes no sense


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("sendfile = {}", '"sendfile" takes a value, not a table in wproxy.toml:1:1'),
        ("[sendfile]", '"sendfile" takes a value, not a table in wproxy.toml:1:2'),
        ("[[sendfile]]", '"sendfile" takes a value, not a table inside an array in wproxy.toml:1:3'),
        ("sendfile = [1, [2]]", '"sendfile" takes a value, not an array inside an array in wproxy.toml:1:16'),
        (
            "keepalive_timeout = { a = 1 }",
            '"keepalive_timeout" takes a value or an array of values, not a table in wproxy.toml:1:1',
        ),
        ("sendfile = 1979-05-27", '"sendfile" takes a value, not a date or time (put it in quotes) in wproxy.toml:1:1'),
        ("sendfile = 07:32:00", '"sendfile" takes a value, not a date or time (put it in quotes) in wproxy.toml:1:1'),
        (
            "sendfile = 9223372036854775808",
            '"sendfile" takes a value, not a number of more than 64 bits in wproxy.toml:1:1',
        ),
        (
            "odd = 1979-05-27",
            '"odd" takes a value or an array of values, not a date or time (put it in quotes) in wproxy.toml:1:1',
        ),
        ("odd = [{}, 1]", '"odd" is a block and takes a table, not a value in wproxy.toml:1:12'),
        ("proxy_hide_header = {}", '"proxy_hide_header" takes a value or an array, not a table in wproxy.toml:1:1'),
        (
            "[http.server]\nlisten = [{}]",
            '"listen" takes a value or an array of values and arrays, not a table inside an array in wproxy.toml:2:11',
        ),
        (
            "[http.server]\nlisten = [[[1]]]",
            '"listen" takes a value or an array of values and arrays, not an array inside an array in wproxy.toml:2:12',
        ),
        (
            "error_page = [404, '/404']",
            '"error_page" takes at least 2 arguments: write error_page = [[..., ...]] in wproxy.toml:1:15',
        ),
        (
            "proxy_set_header = ['A', 'b']",
            '"proxy_set_header" takes at least 2 arguments: write proxy_set_header = { FIRST = ... } in wproxy.toml:1:21',
        ),
        (
            "proxy_set_header = [{ A = 'b' }]",
            '"proxy_set_header" takes a table with its first arguments as keys, not a table inside an array in wproxy.toml:1:21',
        ),
        (
            "add_header.A = [1, ['always']]",
            '"add_header" takes a value, an array of values or a table of parameters, not an array inside an array in wproxy.toml:1:20',
        ),
        ("[http.upstream.a]\nip_hash = {}", '"ip_hash" takes true or false, not a table in wproxy.toml:2:1'),
        (
            "[http.upstream.a.server]\nb = { weight = [1] }",
            'parameter "weight" of "server" takes a value, not an array in wproxy.toml:2:7',
        ),
        ("http = 1", '"http" is a block and takes a table, not a value in wproxy.toml:1:1'),
        ("http = ['a']", '"http" is a block and takes a table, not a value in wproxy.toml:1:9'),
        (
            "[[http.upstream]]",
            '"upstream" takes a table for each name, as in [upstream.NAME], not an array of tables in wproxy.toml:1:8',
        ),
        (
            "http.upstream = 'a'",
            '"upstream" takes a table for each name, as in [upstream.NAME], not a value in wproxy.toml:1:6',
        ),
        (
            "[http.server.location]\nproxy_pass = 'http://a'",
            '"proxy_pass" is where "location" has its name, as in [location.NAME]: it takes a table, not a value in wproxy.toml:2:1',
        ),
    ],
)
def test_a_shape_that_makes_no_sense_is_a_problem(text: str, problem: str) -> None:
    assert problems(text) == [problem]


def test_all_problems_are_reported_in_the_order_of_the_file() -> None:
    text = "[http]\nserver = 1\n[http.upstream.a]\nkeepalive = {}\nip_hash = 1979-05-27\n[sendfile]\n"
    found = problems(text)
    assert [problem.rpartition(" in ")[2] for problem in found] == [
        f"wproxy.toml:{place}" for place in ("2:1", "4:1", "5:1", "6:2")
    ]


# What is not TOML


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (b"a = 1\nb = \n", Problem("Invalid value", Position("f", 2, 5))),
        (b"a = 1\na = 2\n", Problem('Cannot overwrite "a", it was given in line 1', Position("f", 2, 1))),
        (b"a = '\n", Problem("Expected \"'\", ' was opened in line 1 and is not closed", Position("f", 2, 1))),
        (b"a = 1\n\0", Problem("Invalid statement", Position("f", 2, 1))),
        (b"a = [1,", Problem("Invalid value", Position("f", 1, 8))),
        (b"\xff", Problem("not UTF-8: byte 0xff", Position("f", 1, 1))),
        ("a = 1\r\n# é".encode() + b"\xe9", Problem("not UTF-8: byte 0xe9", Position("f", 2, 4))),
    ],
)
def test_what_is_not_toml_is_refused_with_its_place(text: bytes, problem: Problem) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse_toml(text, "f", lookup)
    assert caught.value.problems == (problem,)


@pytest.mark.parametrize(
    "text",
    [b"a = " + b"[" * 390 + b"]" * 390, b"a = " + b"[" * 9000, b"a." * 990 + b"a = 1", b"a." * 9000 + b"a = 1"],
    ids=["arrays", "more arrays", "keys", "more keys"],
)
def test_a_file_nested_beyond_reason_is_refused(text: bytes) -> None:
    with pytest.raises(ConfigurationError):
        parse_toml(text, "f", lookup)


def test_an_integer_that_python_will_not_read_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="4300 digits"):
        parse_toml(b"a = " + b"1" * 5000, "f", lookup)


def test_a_place_that_is_not_known_falls_back_on_what_is_around_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wproxy.config.toml.locate", lambda text: {("http",): (3, 2)})
    text = "events = {}\n\n[http]\nsendfile = 1"
    assert block(text, "events").position == Position("wproxy.toml", 1, 1)
    assert block(text, "http", "sendfile").position == Position("wproxy.toml", 3, 2)


# Keys with several arguments


@pytest.mark.parametrize(
    ("key", "arguments"),
    [
        ("$a $b", ("$a", "$b")),
        (" $a\t $b", ("$a", "$b")),
        ('"$a $b" $c', ("$a $b", "$c")),
        ('""  $c', ("", "$c")),
        (r"~\.php \\", (r"~\.php", "\\")),
        ("a;{}# b", ("a;{}#", "b")),
        ("a", ("a",)),
    ],
)
def test_a_key_with_several_arguments_is_read_as_nginx_reads_words(key: str, arguments: tuple[str, ...]) -> None:
    assert block(f"[http.map.{json.dumps(key)}]", "http", "map").arguments == arguments


def test_the_condition_of_an_if_is_a_key() -> None:
    text = """
        [http.server.location."/".if.'($http_user_agent ~* "a b{2}")']
        return = [301, "/x"]
    """
    (found,) = block(text, "http", "server", "location").named("if")
    assert outline([found]) == ["if ($http_user_agent ~* <a b{2}> ) {", "  return 301 /x;", "}"]


@pytest.mark.parametrize(("key", "sign"), [('"$a', '"'), ("$a 'b'c", "'"), ("'b'c", "'")])
def test_a_key_whose_quotes_make_no_sense_is_refused(key: str, sign: str) -> None:
    text = f'the quote {sign} is not closed, or has something after it, in the name of "map" in wproxy.toml:1:11'
    assert problems(f"[http.map.{json.dumps(key)}]") == [text]


# Entries


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("default = 'a b'", ["default <a b>;"]),
        ("'' = 1\n'~x' = 'off'", [" 1;", "~x off;"]),
        ("'text/html' = ['html', 'htm']", ["text/html html htm;"]),
        ("hostnames = true\nvolatile = false", ["hostnames;"]),
        ("a = [['x'], ['y', 'z']]\nb = []", ["a x;", "a y z;", "b;"]),
        ("steps = 'x'\nsendfile = 'y'\nhttp = 'z'", ["steps x;", "sendfile y;", "http z;"]),
    ],
)
def test_entries_are_words_and_nothing_is_looked_up(text: str, lines: list[str]) -> None:
    assert outline(block(f"[http.map.'a b']\n{text}", "http", "map").children) == lines


def test_entries_in_an_order_that_tables_cannot_keep_are_statements() -> None:
    text = "[http.geo]\n'$x' = [['delete', '10.0.0.0/8'], ['10.0.0.1', 'y'], ['delete', '10.0.0.2']]"
    assert outline(block(text, "http", "geo").children) == ["delete 10.0.0.0/8;", "10.0.0.1 y;", "delete 10.0.0.2;"]


def test_a_block_that_is_not_looked_at_may_hold_blocks() -> None:
    text = "[stream]\na = 1\n[[stream.server]]\nlisten = 53\n[stream.deep.er]"
    assert outline(block(text, "stream").children) == ["a 1;", "server {", "  listen 53;", "}", "deep {", "  er {", "  }", "}"]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[http.map.'a b'.c]", '"c" takes a value or an array of values, not a table'),
        ("[http.map.'a b']\nc = 1979-05-27", '"c" takes a value or an array of values, not a date or time'),
        ("[stream]\na = [{}, 1]", '"a" is a block and takes a table, not a value'),
    ],
)
def test_an_entry_that_makes_no_sense(text: str, problem: str) -> None:
    (found,) = problems(text)
    assert found.startswith(problem)


# Steps


def test_steps_keep_their_order() -> None:
    text = """
        sendfile = true
        steps = [
            ["set", "$a", 1],
            ["if", "($b)", "c d", [["set", "$a", 2], ["break"]]],
            ["set", "$c", true],
            ["if", "x", { return = 403 }],
            ["if", []],
        ]
        set = ["$d", 4]
    """
    assert outline(block("[http.server.location.'/']\n" + textwrap.dedent(text), "http", "server", "location").children) == [
        "sendfile on;",
        "set $a 1;",
        "if ($b) <c d> {",
        "  set $a 2;",
        "  break;",
        "}",
        "set $c on;",
        "if x {",
        "  return 403;",
        "}",
        "if {",
        "}",
        "set $d 4;",
    ]


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("return = 204", ["return 204;"]),
        ("return = [200, 'x']", ["return 200 x;"]),
        ("set = [['$a', 1], ['$b', 2]]", ["set $a 1;", "set $b 2;"]),
        ("break = true", ["break;"]),
        ("break = false", []),
    ],
)
def test_an_array_is_the_arguments_of_one_step(text: str, lines: list[str]) -> None:
    assert outline(block(f"[http.server.location.'/']\n{text}", "http", "server", "location").children) == lines


def test_a_statement_stands_at_its_bracket() -> None:
    places = [node.position[1:] for node in read("steps = [['a'],\n  ['b', {c = 1}]]").children or ()]
    assert places == [(1, 10), (2, 3)]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("steps = 1", '"steps" takes an array of statements, as in [["set", "$a", "1"]], not a value in wproxy.toml:1:1'),
        ("steps = [1]", 'a statement is an array of words, as in ["set", "$a", "1"], not a value in wproxy.toml:1:10'),
        ("steps = [[]]", 'a statement is an array of words, as in ["set", "$a", "1"], not an array in wproxy.toml:1:10'),
        ("steps = [[1]]", 'a statement is an array of words, as in ["set", "$a", "1"], not an array in wproxy.toml:1:10'),
        ("steps = [['a', [['b']], 'c']]", '"a" takes a value in a statement, not an array in wproxy.toml:1:16'),
        ("steps = [['a', [1]]]", 'a statement is an array of words, as in ["set", "$a", "1"], not a value in wproxy.toml:1:17'),
    ],
)
def test_steps_that_make_no_sense(text: str, problem: str) -> None:
    assert problems(text) == [problem]


# Includes

FILES = {
    "/etc/a.toml": b"sendfile = true\n[server]\nlisten = 1",
    "/etc/b.conf": b"allow 10.0.0.1;\ndeny all;",
    "/etc/mime": b"text/html html;\ntext/css css;",
    "/etc/more.toml": b"'text/plain' = 'txt'",
    "/etc/wrong.toml": b"a = \n",
    "/etc/wrong.conf": b"\n}",
    "/etc/self.toml": b"include = 'self.toml'",
}


def with_files(text: str) -> Node:
    return read_toml(text.encode(), "f", lookup, open_file, "/etc/", matching).root


def open_file(name: str) -> bytes:
    if name in FILES:
        return FILES[name]
    raise ConfigurationError(Problem(f'open() "{name}" failed (2: No such file or directory)'))


def matching(pattern: str) -> list[str]:
    return sorted(name for name in FILES if re.fullmatch(pattern.replace("*", ".*"), name))


def test_an_include_is_replaced_where_it_stands() -> None:
    text = "[http]\nerror_page = [[404, '/x']]\ninclude = ['b.conf', 'a.to*']\nproxy_hide_header = 'X'\n[http.types]\n"
    (http,) = with_files(text).children or ()
    assert outline(http.children) == [
        "error_page 404 /x;",
        "allow 10.0.0.1;",
        "deny all;",
        "sendfile on;",
        "server {",
        "  listen 1;",
        "}",
        "proxy_hide_header X;",
        "types {",
        "}",
    ]
    assert http.children and http.children[2].position == Position("/etc/b.conf", 2)
    assert http.children[3].position == Position("/etc/a.toml", 1, 1)


def test_entries_and_steps_can_be_included() -> None:
    (http,) = with_files("[http.map.'a b']\ninclude = ['mime', 'more.toml']\nx = 'y'").children or ()
    assert outline(http.children) == ["map a b {", "  text/html html;", "  text/css css;", "  text/plain txt;", "  x y;", "}"]
    assert outline(with_files("steps = [['a'], ['include', 'b.conf'], ['b']]").children) == [
        "a;",
        "allow 10.0.0.1;",
        "deny all;",
        "b;",
    ]


def test_the_files_are_remembered_once_in_order() -> None:
    document = read_toml(b"include = ['mime', 'more.toml', 'mime']", "f", lookup, open_file, "/etc/", matching)
    assert [source.name for source in document.files] == ["f", "/etc/mime", "/etc/more.toml"]


def test_a_pattern_may_match_nothing() -> None:
    assert with_files("include = 'none/*.toml'").children == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("\ninclude = 'none'", ['open() "/etc/none" failed (2: No such file or directory) in f:2:1']),
        ("include = ['mime', 'none']", ['open() "/etc/none" failed (2: No such file or directory) in f:1:20']),
        ("include = 1", ['"include" takes the name of a file or an array of names, not a value in f:1:1']),
        ("include = 'wrong.conf'", ['unexpected "}" in /etc/wrong.conf:2']),
        ("include = 'self.toml'", ['a file includes itself: "f" includes "/etc/self.toml" includes "/etc/self.toml" in /etc/self.toml:1:1']),
    ],
)  # fmt: skip
def test_an_include_that_does_not_work(text: str, expected: list[str]) -> None:
    with pytest.raises(ConfigurationError) as caught:
        with_files(text)
    assert [str(problem) for problem in caught.value.problems] == expected


def test_an_included_file_that_is_no_toml_is_named() -> None:
    with pytest.raises(ConfigurationError) as caught:
        with_files("include = 'wrong.toml'\nsendfile = {}")
    assert [str(problem.position) for problem in caught.value.problems] == ["/etc/wrong.toml:1:5", "f:2:1"]


# Comments


def test_comments_are_kept_beside_the_tree() -> None:
    text = b"# top\na = '#' # beside\n[http] # block\n# over b\nsendfile = true\n# end\n"
    document = read_toml(text, "f", lookup, with_comments=True)
    a, http = document.root.children or ()
    assert document.comments.of(a) == [" top", " beside"]
    assert document.comments.of(http) == [" block"]
    assert document.comments.of((http.children or [])[0]) == [" over b"]
    assert document.comments.at_end_of(document.root) == [" end"]
    assert not read_toml(text, "f", lookup).comments.above


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[a]\nb = 1\n[[c]]\nb = 1\nb = 2", 'Cannot overwrite "c.b", it was given in line 4 in f:5:1'),
        ("[a]\nb = 1\nb.c = 2", 'Cannot overwrite "a.b.c", it was given in line 2 in f:3:3'),
        ("a = [\n1,\n]\na = [\n2,\n]", 'Cannot overwrite "a", it was given in line 1 in f:4:1'),
        ("[a]\nb = 1\n[a.b]\nc = 1", 'Cannot overwrite "a.b", it was given in line 2 in f:3:1'),
        ("[a.'x y']\n[b]\n[a.'x y']", 'Cannot declare [a."x y"] twice, it was given in line 1 in f:3:1'),
        ("[[a]]\n[a]", 'Cannot declare "a" twice, it was given in line 1 in f:2:1'),
        ("a = {b = 1}\n[a.c]", 'Cannot declare "a.c" twice, it was given in line 1 in f:2:1'),
    ],
)
def test_what_is_said_twice_is_named_with_both_of_its_lines(text, told):
    with pytest.raises(ConfigurationError) as caught:
        parse_toml(text.encode(), "f", lookup)
    assert str(caught.value.problems[0]) == told


def test_a_byte_order_mark_is_named():
    with pytest.raises(ConfigurationError, match="begins with a byte order mark: save it as UTF-8 without one in f:1:1"):
        parse_toml("\ufeff[a]".encode(), "f", lookup)
