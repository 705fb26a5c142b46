"""`types`: extensions with two types, and blocks where there can be none."""

from __future__ import annotations

import pytest

from wproxy.address import Address
from wproxy.config.load import load_text
from wproxy.config.tree import ConfigurationError


def load(text: str):
    return load_text(
        f"events {{}}\nhttp {{\n{text}\nserver {{ listen 80; }}\n}}".encode(), "n.conf", "/", lambda h, p: [Address(h, p)]
    )


def test_an_extension_with_two_types_is_warned_of_in_nginx_words_and_the_later_counts():
    configuration = load("types { text/html html; text/plain html HTML; }")
    assert [str(warning) for warning in configuration.warnings] == [
        'duplicate extension "html", content type: "text/plain", previous content type: "text/html" in n.conf:3',
        'duplicate extension "html", content type: "text/plain", previous content type: "text/plain" in n.conf:3',
    ]
    (server,) = configuration.servers
    assert server.types[0]["html"] == "text/plain"


def test_two_blocks_beside_each_other_are_one():
    configuration = load("types { text/html html; }\ntypes { text/css html css; }")
    assert [str(warning) for warning in configuration.warnings] == [
        'duplicate extension "html", content type: "text/css", previous content type: "text/html" in n.conf:4'
    ]


def test_an_inner_block_replaces_the_outer_one_and_repeats_nothing():
    assert load("types { text/html html; }\nserver { listen 81; types { text/css html; } }").warnings == ()


def test_there_are_no_blocks_inside():
    with pytest.raises(ConfigurationError) as raised:
        load("types {\n a { b c; }\n d { } }")
    assert [str(problem) for problem in raised.value.problems] == ['unexpected "{" in n.conf:4', 'unexpected "{" in n.conf:5']
