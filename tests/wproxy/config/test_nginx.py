"""nginx.conf and the directive tree: tokens, includes, comments, and what is said when the text makes no sense, checked against
the real nginx where there is one.
"""

from __future__ import annotations

import shutil
import subprocess
from fnmatch import fnmatch
from pathlib import Path

import crossplane
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.quickest import quickest
from wproxy.config.nginx import parse_main_arguments, parse_nginx, read_nginx, split_words
from wproxy.config.tree import BrokenShape, ConfigurationError, Node, Position, Problem

NGINX = shutil.which("nginx", path="/usr/sbin:/usr/bin:/usr/local/sbin")
EXAMPLES = sorted(
    file
    for file in (Path(__file__).parents[2] / "examples").glob("*/nginx.conf")
    if "{{" not in file.read_text("utf-8", "surrogateescape")
)


def read(text: str | bytes, **files: str) -> Node:
    return parse_nginx(text if isinstance(text, bytes) else text.encode(), "f", *in_memory(files))


def in_memory(files: dict[str, str]):
    """What the reader gets to open files, relative to `/etc`: `a_conf` is `/etc/a.conf`."""
    known = {f"/etc/{name.replace('_', '.')}": text.encode() for name, text in files.items()}

    def open_file(name: str) -> bytes:
        if name in known:
            return known[name]
        raise ConfigurationError(Problem(f'open() "{name}" failed (2: No such file or directory)'))

    return open_file, "/etc/", lambda pattern: sorted(name for name in known if fnmatch(name, pattern))


def words(text: str) -> list[str]:
    """The words of the only directive of a text."""
    (node,) = read(text).children or ()
    return [node.name, *node.arguments]


def problems(text: str | bytes, **files: str) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        read(text, **files)
    return [str(problem) for problem in caught.value.problems]


def plain(nodes: list[Node] | None):
    return None if nodes is None else [(node.name, node.arguments, plain(node.children)) for node in nodes]


# Tokens


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a;", ["a"]),
        ("a b\tc\r\nd;", ["a", "b", "c", "d"]),
        ("a b ;", ["a", "b"]),
        ("a#b x}y;", ["a#b", "x}y"]),
        ("a # b ;\n c;", ["a", "c"]),
        ("a#b#;", ["a#b#"]),
        ("a ${b}c;", ["a", "${b}c"]),
        ("a ${{{b;", ["a", "${{{b"]),
        ("a $$b;", ["a", "$$b"]),
        ('a "";', ["a", ""]),
        ("a 'b c' \"d 'e'\";", ["a", "b c", "d 'e'"]),
        ('a b"c d"e;', ["a", 'b"c', 'd"e']),
        ('a "b\nc";', ["a", "b\nc"]),
        ('a "b";', ["a", "b"]),
        ('"a" b;', ["a", "b"]),
        ('if ($a = "b") c;', ["if", "($a", "=", "b", ")", "c"]),
        (r'a "\"" \'b \\c;', ["a", '"', "'b", r"\c"]),
        (r"a \t\r\n \; \$b \.php$;", ["a", "\t\r\n", r"\;", r"\$b", r"\.php$"]),
        ("a b\\ c;", ["a", "b\\ c"]),
        (r'a "\d\\\n";', ["a", "\\d\\\n"]),
        (r"a \{b;", ["a", r"\{b"]),
        ("a $\\{b;", ["a", r"$\{b"]),
        ("a \u00e9\x00;", ["a", "\u00e9\x00"]),
        ("a \u00a0b;", ["a", "\u00a0b"]),
    ],
)  # fmt: skip
def test_words(text, expected):
    assert words(text) == expected


def test_blocks():
    root = read("a b { c; d { } }e{}\n# end")
    assert (root.name, root.arguments, root.position) == ("", (), Position("f", 1))
    assert plain(root.children) == [("a", ("b",), [("c", (), None), ("d", (), [])]), ("e", (), [])]


def test_a_node_stands_at_the_line_that_ends_it():
    root = read("a\n b\n ;\n\nc\n{\n  d 'x\n y';\n}\r\ne;")
    places = [(node.name, node.position) for node in [*root.children, *root.children[1].children]]
    assert places == [
        ("a", Position("f", 3)),
        ("c", Position("f", 6)),
        ("e", Position("f", 10)),
        ("d", Position("f", 8)),
    ]
    assert str(places[0][1]) == "f:3"


def test_bytes_that_are_not_utf_8_survive():
    (node,) = read(b"a \xff\xe9;").children
    assert node.arguments[0].encode("utf-8", "surrogateescape") == b"\xff\xe9"


def test_a_byte_order_mark_belongs_to_the_first_word():
    assert words("\ufeffevents;") == ["\ufeffevents"]  # which nobody knows then, in nginx's words


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.parent.name)
def test_crossplane_agrees_on_the_examples(file):
    """But for escapes, which it keeps, and conditions of `if`, whose brackets it takes away."""

    def shape(name, arguments, inside):
        words = () if name == "if" else tuple(word.replace("\\", "").replace("\n", "n") for word in arguments)
        return name.replace("\\", ""), words, inside

    def theirs(found):
        kept = (one for one in found if one["directive"] not in ("#", "include"))
        return [shape(one["directive"], one["args"], theirs(one["block"]) if "block" in one else None) for one in kept]

    def ours(nodes):
        return [shape(node.name, node.arguments, None if node.children is None else ours(node.children)) for node in nodes]

    found = crossplane.parse(str(file), single=True, check_ctx=False, check_args=False)
    assert found["status"] == "ok", found["errors"]
    root = parse_nginx(file.read_bytes(), "f", lambda name: b"", "", lambda pattern: ())
    assert ours(root.children) == theirs(found["config"][0]["parsed"])


# Includes


def test_an_include_is_replaced_by_what_it_names():
    root = read("a; b { include x.conf; include *.d; } c;", x_conf="d;\n\ne { include y.conf; }", y_conf="f;", q_d="q;", p_d="p;")
    inside = [("d", (), None), ("e", (), [("f", (), None)]), ("p", (), None), ("q", (), None)]
    assert plain(root.children) == [("a", (), None), ("b", (), inside), ("c", (), None)]
    assert root.children[1].children[1].position == Position("/etc/x.conf", 3)


def test_the_files_are_remembered_once_in_order():
    text = b"include b.conf; include a.conf; include b.conf;"
    found = read_nginx(text, "f", *in_memory({"a_conf": "a;", "b_conf": "b;"})).files
    here = Position("f", 1)
    assert found == [("f", text, None), ("/etc/b.conf", b"b;", here), ("/etc/a.conf", b"a;", here)]


def test_a_pattern_may_match_nothing():
    assert read("include none/*.conf;").children == []


def test_in_split_clients_include_is_a_word_like_any_other():
    assert plain(read("split_clients a b { include c; }").children) == [
        ("split_clients", ("a", "b"), [("include", ("c",), None)])
    ]
    assert plain(read("types { include c.d; }", c_d="t a;").children) == [("types", (), [("t", ("a",), None)])]


@pytest.mark.parametrize(
    ("text", "files", "expected"),
    [
        ("\ninclude\nno.conf\n;", {}, ['open() "/etc/no.conf" failed (2: No such file or directory) in f:4']),
        ("include /no;", {}, ['open() "/no" failed (2: No such file or directory) in f:1']),
        ("include;", {}, ['invalid number of arguments in "include" directive in f:1']),
        ("include a b;", {}, ['invalid number of arguments in "include" directive in f:1']),
        ("include a { b; }", {}, ['directive "include" is not terminated by ";" in f:1']),
        ("include a.b;", {"a_b": "}\n\n}"}, ['unexpected "}" in /etc/a.b:1', 'unexpected "}" in /etc/a.b:3']),
        ("include a.b;", {"a_b": "x {"}, ['unexpected end of file, expecting "}", "x" was opened in line 1 and is not closed in /etc/a.b:1']),
        ("include a.toml;", {"a_toml": ""}, ['"include" of "/etc/a.toml" is not possible: it is TOML, and an nginx.conf includes its own syntax only in f:1']),
        (
            "include a.b;",
            {"a_b": "include c.d;", "c_d": "x;\ninclude *.*;"},
            ['a file includes itself: "f" includes "/etc/a.b" includes "/etc/c.d" includes "/etc/a.b" in /etc/c.d:2'],
        ),
    ],
)  # fmt: skip
def test_an_include_that_does_not_work(text, files, expected):
    assert problems(text, **files) == expected


def test_a_chain_of_includes_ends():
    files = {f"n{number}_c": f"include n{number + 1}.c;" for number in range(2000)}
    assert [text for text in problems("include n0.c;", **files) if "nested too deeply" in text]


def test_blocks_nested_beyond_reason_are_refused():
    assert problems("a{" * 5000) == ["blocks are nested too deeply in f:1"]


# Comments


def test_comments_are_kept_beside_the_tree():
    document = read_nginx(
        b"# top\n#two\na b; # beside a\n# over c\nc {\n  # over d\n  d # in d\n  x;\n  # end of c\n}\n# end\n", "f"
    )
    a, c = document.root.children
    comments = document.comments
    assert comments.of(a) == [" top", "two", " beside a"]
    assert comments.of(c) == [" over c"]
    assert comments.of(c.children[0]) == [" over d", " in d"]
    assert comments.at_end_of(c) == [" end of c"]
    assert comments.at_end_of(document.root) == [" end"]


def test_a_comment_over_an_include_goes_to_what_it_brings():
    document = read_nginx(b"# about\ninclude a.b;", "f", *in_memory({"a_b": "# first\nx;"}))
    assert document.comments.of(document.root.children[0]) == [" about", " first"]


# What makes no sense, in nginx's words

LONG = "*"
MISTAKES = {
    "a brace too many": ("events{}\n}\n", 'unexpected "}" in f:2'),
    "a brace in a directive": ("events{}\nhttp { server { listen 80 }\n}\n", 'unexpected "}" in f:2'),
    "a semicolon too many": ("events{};\n", 'unexpected ";" in f:1'),
    "a block without a name": ("events{}\n{ }\n", 'unexpected "{" in f:2'),
    "something behind a quote": ('events{}\nhttp { server_tokens "on"x; }\n', 'unexpected "x" in f:2'),
    "a quote behind a quote": ("events{}\nhttp { server_tokens 'on''x'; }\n", "unexpected \"'\" in f:2"),
    "a comment behind a quote": ("events{}\nhttp { server_tokens 'on'#\n; }\n", 'unexpected "#" in f:2'),
    "an open block": ("events{}\nhttp {\n", 'unexpected end of file, expecting "}" in f:3'),
    "an open directive": ("events{}\nhttp {\n server_tokens on", 'unexpected end of file, expecting ";" or "}" in f:3'),
    "an open directive on its own": ("events{}\nuser", 'unexpected end of file, expecting ";" or "}" in f:2'),
    "a backslash at the end": ("events{}\nfoo \\", 'unexpected end of file, expecting ";" or "}" in f:2'),
    "an open quote": ('events{}\nhttp {\n server_tokens "on;\n}\n', 'unexpected end of file, expecting ";" or "}" in f:5'),
    "a word of 4096": (f"events{{}}\nhttp {{ include {LONG * 4096};}}\n", 'too long parameter "**********..." started in f:2'),
    "a word of 4095": (f"events{{}}\nhttp {{ include {LONG * 4095} ;}}\n", 'too long parameter "**********..." started in f:2'),
    "a quoted word of 4095": (f"events{{}}\nhttp {{ include '{LONG * 4095}';}}\n", 'too long parameter "**********..." started in f:2'),
    "a quoted word of 4096": (
        f"events{{}}\nhttp {{ include '\n{LONG * 4096}';}}\n",
        "too long parameter, probably missing terminating \"'\" character in f:2",
    ),
    "a quote open for long": (
        f"events{{}}\nhttp {{ include \"\n{LONG * 9000}\n",
        'too long parameter, probably missing terminating """ character in f:2',
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", MISTAKES)
def test_the_first_problem_has_the_words_of_nginx(name):
    text, expected = MISTAKES[name]
    first = problems(text)[0]
    words, _, place = expected.rpartition(" in ")
    assert first.startswith(words)
    assert first.endswith(f" in {place}")


@pytest.mark.skipif(NGINX is None, reason="nginx is not installed")
@pytest.mark.parametrize("name", MISTAKES)
def test_nginx_itself_says_so(name, tmp_path):
    text, expected = MISTAKES[name]
    (tmp_path / "f").write_text(text)
    command = [NGINX, "-t", "-q", "-p", f"{tmp_path}/", "-c", "f", "-e", "stderr"]
    said = subprocess.run(command, capture_output=True, text=True).stderr.splitlines()[0]
    assert said.partition(": ")[2].replace(f"{tmp_path}/", "") == expected


@pytest.mark.parametrize("word", [f"{LONG * 4095};", f"{LONG * 4094} ;", f"'{LONG * 4094}';"])
def test_a_word_just_short_enough(word, tmp_path):
    text = f"events {{}}\nhttp {{ include {word} }}\n"
    assert read(text.replace(LONG, "a").replace("include", "x")).children
    if NGINX:
        (tmp_path / "f").write_text(text)
        command = [NGINX, "-t", "-q", "-p", f"{tmp_path}/", "-c", "f", "-e", "stderr"]
        assert "too long" not in subprocess.run(command, capture_output=True, text=True).stderr


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a {\n b;\n", ['unexpected end of file, expecting "}", "a" was opened in line 1 and is not closed in f:3']),
        (
            "http { types { text/html html; server { listen 80; } }\n",
            ['unexpected end of file, expecting "}", "types" was opened in line 1 and is not closed in f:2'],
        ),
        (
            "a { events { x 1;\n b { c; }\n}\n",
            ['unexpected end of file, expecting "}", "events" was opened in line 1 and is not closed in f:4'],
        ),
        # The brace that is missing is the one of the location, though it is `http` that is left open at the end.
        (
            "http {\n    server {\n        location / {\n            return 200;\n    }\n}\n",
            ['unexpected end of file, expecting "}", "location" was opened in line 3 and is not closed in f:7'],
        ),
        (
            "a 'b;\nc d;\n",
            ['unexpected end of file, expecting ";" or "}", the quote \' opened in line 1 is not closed in f:3'],
        ),
        ("a 'b;\nc 'd';\n", ['unexpected "d", after the quote \' that was opened in line 1 in f:2']),
        # Each mistake once, in one run.
        (
            '}\na "b"c;\n;\n{ x; }\nd "e\n;f 1 }\n',
            [
                'unexpected "}" in f:1',
                'unexpected "c" in f:2',
                'unexpected ";" in f:3',
                'unexpected "{" in f:4',
                'unexpected end of file, expecting ";" or "}", the quote " opened in line 5 is not closed in f:7',
                'unexpected ";" in f:6',
                'unexpected "}" in f:6',
            ],
        ),
    ],
)
def test_all_problems_are_found_and_what_is_open_is_named_where_it_was_opened(text, expected):
    assert problems(text) == expected


# The argument of -g


def test_main_arguments():
    nodes = parse_main_arguments('pid x.pid; env "A=b c";', *in_memory({}))
    assert [(node.name, node.arguments, str(node.position)) for node in nodes] == [
        ("pid", ("x.pid",), "command line"),
        ("env", ("A=b c",), "command line"),
    ]
    assert parse_main_arguments("") == []
    assert [node.name for node in parse_main_arguments("include a.b;", *in_memory({"a_b": "user x;"}))] == ["user"]


ARGUMENTS = {
    "pid": 'unexpected end of parameter, expecting ";" in command line',
    "pid x;}": 'unexpected "}" in command line',
    "events {}": "block directives are not supported in -g option in command line",
    '"a"b;': 'unexpected "b" in command line',
    ";": 'unexpected ";" in command line',
    'pid "x': 'unexpected end of parameter, expecting ";" in command line',
    "include none;": 'open() "/etc/none" failed (2: No such file or directory) in command line',
}


@pytest.mark.parametrize("text", ARGUMENTS)
def test_a_mistake_in_the_main_arguments(text, tmp_path):
    with pytest.raises(ConfigurationError) as caught:
        parse_main_arguments(text, *in_memory({}))
    assert str(caught.value.problems[0]) == ARGUMENTS[text]
    if NGINX:
        (tmp_path / "f").write_text("")
        command = [NGINX, "-t", "-q", "-p", f"{tmp_path}/", "-c", "f", "-e", "stderr", "-g", text]
        said = subprocess.run(command, capture_output=True, text=True).stderr.splitlines()[0]
        assert said.partition(": ")[2].replace(str(tmp_path), "/etc") == ARGUMENTS[text]


# The key of a block in TOML


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("$a $b", ("$a", "$b")),
        (" \t$a\n$b ", ("$a", "$b")),
        ("'$a $b' \"c d\"", ("$a $b", "c d")),
        ('($a ~ "x y")', ("($a", "~", "x y", ")")),
        ("($a ~ ^x{2};#}$)", ("($a", "~", "^x{2};#}$)")),
        (r"~ \.php$ \\ \"", ("~", r"\.php$", "\\", '"')),
        ("''", ("",)),
        ("a\\", ("a\\",)),
        ("", ()),
    ],
)
def test_the_words_of_a_key(text, expected):
    assert split_words(text) == expected


@pytest.mark.parametrize("text", ['"a', "a 'b", "'a'b", '"a"{'])
def test_a_key_whose_quotes_make_no_sense(text):
    with pytest.raises(ValueError, match=r"the quote . is not closed, or has something after it"):
        split_words(text)


# Anything


@given(st.text(st.sampled_from("ab \n\t\r;{}#\"'\\$)\u00e9")) | st.text() | st.binary().map(lambda text: text.decode("latin-1")))
@example('a "b\n')
@example("a '\n'x")
@example("\\")
def test_any_text_is_a_tree_or_has_problems(text):
    try:
        root = read(text)
    except ConfigurationError as error:
        assert error.problems
        assert all(problem.position and 0 < problem.position.line <= text.count("\n") + 1 for problem in error.problems)
    else:
        lines = [node.position.line for node in root.children]
        assert lines == sorted(lines)


@given(st.text(st.sampled_from("ab \n;{}#\"'\\$)")))
def test_any_main_arguments_are_directives_or_have_problems(text):
    try:
        nodes = parse_main_arguments(text)
    except ConfigurationError as error:
        assert {problem.position for problem in error.problems} == {Position("command line", 0)}
    else:
        assert all(node.children is None for node in nodes)


@pytest.mark.slow
def test_a_thousand_servers_are_read_at_once():
    location = (
        "        location /l%d/ {\n            proxy_pass http://app;\n            proxy_set_header Host $host;\n        }\n"
    )
    server = "    server {\n        listen 8080;\n        server_name s%d.example.com;\n%s    }\n"
    locations = "".join(location % number for number in range(10))
    text = "http {\n" + "".join(server % (number, locations) for number in range(1000)) + "}\n"
    seconds, root = quickest(0.8, lambda: read(text))
    assert len(root.children[0].children) == 1000
    assert seconds < 0.8


# What misleads


@pytest.mark.parametrize(
    ("text", "problem", "words"),
    [
        (
            "location ~ ^/[a-z]{8,}$ { a b; } c;",
            'unknown directive "8,}$", the brace in "^/[a-z]{8,}$" begins a block: write the regex in quotes',
            ("~", "^/[a-z]{8,}$"),
        ),
        (
            "location ~ ^/a{2}b{3,4}/c { a b; } c;",
            'unknown directive "2}b", the brace in "^/a{2}b{3,4}/c" begins a block: write the regex in quotes',
            ("~", "^/a{2}b{3,4}/c"),
        ),
        (
            "if ($uri ~ a{2}) { a b; } c;",
            'unknown directive "2})", the brace in "a{2})" begins a block: write the regex in quotes',
            ("($uri", "~", "a{2})"),
        ),
        (
            "rewrite a{2} b; c;",
            'unknown directive "2}", the brace in "a{2}" begins a block: write the regex in quotes',
            ("a{2}", "b"),
        ),
    ],
)
def test_a_brace_of_a_regex_without_quotes_is_the_one_problem(text, problem, words):
    """nginx opens a block there; then nothing behind it has its brace, and what is said of that only misleads."""
    with pytest.raises(BrokenShape) as caught:
        parse_nginx(f"x;\n{text}\n".encode(), "f")
    assert caught.value.problems == (Problem(problem, Position("f", 2)),)
    first = (caught.value.root.children or [])[1]
    assert first.arguments == words
    assert [node.name for node in caught.value.root.children or ()] == ["x", first.name, "c"]


@pytest.mark.parametrize(
    "text", ["map a b { 8} x; }", "a {8 b;}", "a{b c;}", "a '^/[a-z]{8,}$' { b; }", "a x {2 b;}", "a ${b}{2 c; }"]
)
def test_other_braces_begin_blocks(text):
    assert read(text)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
def test_a_file_in_utf_16_is_said_to_be_one(encoding):
    with pytest.raises(ConfigurationError) as caught:
        parse_nginx("events {}\nhttp {\n}\n".encode(encoding), "f")
    assert caught.value.problems == (Problem("the file is UTF-16: save it as UTF-8", Position("f", 1)),)
