"""All that is wrong with a file is said in one run, also where its syntax is wrong."""

from __future__ import annotations

import pytest

from wproxy.address import Address
from wproxy.config.load import load_text
from wproxy.config.tree import ConfigurationError, Position, Problem


def problems(text: str, file: str = "nginx.conf") -> list[str]:
    """What is said of a file, in the order in which it is said."""
    with pytest.raises(ConfigurationError) as raised:
        load_text(text.encode(), file, "/", lambda host, port: [Address(host, port)])
    return [str(problem) for problem in raised.value.problems]


def test_a_misspelt_directive_is_named_beside_a_lost_brace_and_before_it():
    text = "worker_procesess 1;\nevents {}\nhttp {\n    server {\n        listen 80;\n    location / { retrun 200; }\n}\n"
    assert problems(text) == [
        'unknown directive "worker_procesess", did you mean "worker_processes"? in nginx.conf:1',
        'unknown directive "retrun", did you mean "return"? in nginx.conf:6',
        'unexpected end of file, expecting "}", "server" was opened in line 4 and is not closed in nginx.conf:8',
    ]


def test_where_the_braces_are_right_a_misplaced_directive_and_a_wrong_number_are_named_too():
    text = 'events {}\nhttp {\n    proxy_pass http://a;\n    etag on off;\n    server { listen 80; root "/x"y; }\n}\n'
    assert problems(text) == [
        '"proxy_pass" directive is not allowed here in nginx.conf:3',
        'invalid number of arguments in "etag" directive in nginx.conf:4',
        'unexpected "y" in nginx.conf:5',
    ]


def test_a_lost_brace_does_not_misplace_what_follows():
    text = "events {}\nhttp {\n    server {\n        location / { return 200;\n    }\n    server { listen 81; }\n    map $a $b { x y; }\n}\n"
    (only,) = problems(text)
    assert only.startswith('unexpected end of file, expecting "}", "location" was opened in line 4')


def test_a_brace_too_many_does_not_misplace_what_follows():
    text = "events {}\nhttp {\n    server { listen 80; } }\n    server { listen 81; root a b; }\n}\n"
    assert problems(text) == ['unexpected "}" in nginx.conf:5']


def test_a_lost_semicolon_before_a_block_is_named_whatever_the_braces():
    text = "events {}\nhttp {\n    server {\n        listen 80\n        location / { return 200; }\n    }\n} }\n"
    assert problems(text) == [
        'directive "listen" is not terminated by ";" in nginx.conf:5',
        'unexpected "}" in nginx.conf:7',
    ]


def test_entries_and_the_inside_of_unknown_blocks_are_no_directives():
    text = "events {}\nhttp {\n map $a $b { zork 1; } types { a b; } strange { listen 80; } }\n}\n"
    assert problems(text) == ['unknown directive "strange" in nginx.conf:3', 'unexpected "}" in nginx.conf:4']


def test_a_line_that_is_blamed_is_not_blamed_twice():
    assert problems('events {}\nhttp { zork "a"b; }\n') == ['unexpected "b" in nginx.conf:2']


def test_in_toml_the_lines_that_cannot_be_read_and_the_directives_that_are_wrong_are_named_together():
    text = 'procesess = 1\nuser = "x\n[http]\nsrver_tokens = true\n[[http.server]]\nlisten = 80 81\n\nindex = [[["a"]]]\nreturn = 200 201\n'
    said = problems(text, "wproxy.toml")
    assert [line.rpartition("toml:")[2] for line in said] == ["1:1", "2:10", "4:1", "6:13", "8:11", "9:14"]
    assert said[2] == 'unknown directive "srver_tokens", did you mean "server_tokens"? in wproxy.toml:4:1'


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("x = [\n1,\n2\ny = 3\nz = 4\n", "Unclosed array, [ was opened in line 1 and is not closed in wproxy.toml:4:1"),
        ('a = 1\nb = """\n[x]\ny = 1\n', 'Unterminated string, """ was opened in line 2 and is not closed in wproxy.toml:5:1'),
        (
            "a = '''b''' # [\nb = { c = '''\n",
            "Expected \"'''\", ''' was opened in line 2 and is not closed in wproxy.toml:3:1",
        ),
        ("a = '['\nb = 'x\nc = 1\n", "Expected \"'\", ' was opened in line 2 and is not closed in wproxy.toml:4:1"),
    ],
)
def test_in_toml_what_is_left_open_is_named_where_it_was_opened_and_alone(text, said):
    assert problems(text, "wproxy.toml") == [said]


def test_a_file_of_nothing_but_mistakes_ends_soon():
    said = problems("".join(f"a{index} = = \n\n" for index in range(500)), "wproxy.toml")
    assert len(said) == 21


def test_a_part_given_as_the_whole_is_told_where_it_belongs():
    first, *_ = problems("server { listen 80; }\n")
    assert first == (
        '"server" directive is not allowed here, it belongs inside "http":'
        " put that around it, or include this file there in nginx.conf:1"
    )
    first, *_ = problems("location / { return 200; }\n")
    assert first.startswith('"location" directive is not allowed here, it belongs inside "http" and "server":')


def test_a_problem_is_one_line_whatever_it_quotes():
    assert (
        str(Problem('unknown directive "a\nb\x1b[1m\u2028"', Position("x", 1)))
        == 'unknown directive "a\\nb\\x1b[1m\\x2028" in x:1'
    )
    assert str(Problem('unknown directive "café"', Position("x", 1))) == 'unknown directive "café" in x:1'


def test_a_zero_byte_in_the_pattern_of_an_include_is_an_error_of_that_line():
    said = problems("events {}\ninclude /nowhere/\0*.conf;\nhttp {}\n")
    assert said == ['open() "/nowhere/\\x00*.conf" failed (22: embedded null byte) in nginx.conf:2']


@pytest.mark.parametrize(
    ("main", "file", "included"),
    [
        ("events {}\nzork 1;\ninclude INCLUDED;\nfrob 2;\n", "nginx.conf", {"a.conf": "; ;\n"}),
        (
            "events {}\nzork 1;\ninclude INCLUDED;\nfrob 2;\n",
            "nginx.conf",
            {"a.conf": "include b.conf;\n", "b.conf": "# no more\n; ;\n"},
        ),
        ("zork = 1\ninclude = 'INCLUDED'\nfrob = 2\n", "wproxy.toml", {"a.conf": "; ;\n"}),
        ("zork = 1\ninclude = 'INCLUDED'\nfrob = 2\n", "wproxy.toml", {"a.toml": "==\n"}),
    ],
)
def test_an_included_file_without_a_directive_is_blamed_where_it_is_included(tmp_path, main, file, included):
    for name, content in included.items():
        (tmp_path / name).write_text(content.replace("b.conf", str(tmp_path / "b.conf")))
    first, *wrong, last = problems(main.replace("INCLUDED", str(tmp_path / next(iter(included)))), file)
    assert first.startswith('unknown directive "zork"')
    assert last.startswith('unknown directive "frob"')
    assert wrong
    assert all(str(tmp_path / list(included)[-1]) in problem for problem in wrong)
