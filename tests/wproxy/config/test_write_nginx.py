"""The writer of nginx.conf: what it writes is read back as the same tree, and is good to look at."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from trees import HERE, TREES, shape

from wproxy.config.nginx import parse_nginx, read_nginx
from wproxy.config.tree import ConfigurationError, Node
from wproxy.config.write_nginx import quote_word, write_directives, write_nginx


@settings(deadline=None)
@given(TREES)
def test_what_is_written_is_read_back(root):
    assert shape(parse_nginx(write_nginx(root).encode(), "f").children) == shape(root.children)


@given(st.text(st.sampled_from("ab {}$#;\"'\\\t\n\r)tn")))
def test_a_word_is_read_back(word):
    (node,) = parse_nginx(f"a {quote_word(word)};".encode("utf-8", "surrogateescape"), "f").children
    assert node.arguments == (word,)


@pytest.mark.parametrize(
    ("word", "written"),
    [
        ("a", "a"),
        ("$uri", "$uri"),
        ("${uri}x", "${uri}x"),
        (r"\.php$", r"\.php$"),
        (r"^/a\d{2}", r'"^/a\d{2}"'),
        ("a b", '"a b"'),
        ('say "hi"', "'say \"hi\"'"),
        ("ok\n", '"ok\\n"'),
        ("", '""'),
        (r"a\nb", r'"a\\nb"'),
        ("a#b", "a#b"),
        ("#b", '"#b"'),
        ("a}", "a}"),
        ("}", '"}"'),
    ],
)
def test_quotes_stand_only_where_they_must(word, written):
    assert quote_word(word) == written


def test_bytes_that_are_not_utf_8_are_written_back():
    text = b"a \xff\xe9;\n"
    assert write_nginx(parse_nginx(text, "f")).encode("utf-8", "surrogateescape") == text


def test_the_layout():
    text = """\
# what this is
user www-data;

http {
    # the app
    upstream app {
        server 127.0.0.1:3000;
    }

    server {}
    # end of http
}
# end
"""
    document = read_nginx(text.encode(), "f")
    assert write_nginx(document.root, document.comments) == text
    assert write_directives([Node("a", ("b",), HERE), Node("c", (), HERE, [])]) == "a b;\n\nc {}\n"
    assert write_directives([]) == ""


def test_a_word_that_nginx_could_not_read_is_refused():
    with pytest.raises(ConfigurationError, match=r'a parameter of "a" is too long for nginx.conf in f:1'):
        write_directives([Node("a", ("x" * 4096,), HERE)])
