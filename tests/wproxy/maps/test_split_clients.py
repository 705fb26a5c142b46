"""`split_clients`: what nginx 1.22.1 gave the same clients, and its words for what is wrong."""

from __future__ import annotations

import pytest
from map_reading import entries, read_variable, request

from wproxy.config.tree import ConfigurationError
from wproxy.directives.split_clients import split_clients_block
from wproxy.maps.split_clients import murmur_hash2
from wproxy.template import compile_template
from wproxy.variables import BLOCK, Namespace, use_namespace

FOUR = "0.5% a;\n20% b;\n33.33% c;\n* d;"


def chosen(text: str, value: bytes) -> bytes | None:
    with use_namespace(Namespace()) as namespace:
        split_clients_block("$arg_v", "$s", entries(text))
        return read_variable("s", request(b"v=" + value), namespace)


@pytest.mark.parametrize(
    ("value", "of_four", "of_halves", "of_one_half"),
    [
        (b"", b"a", b"a", b"a"),
        (b"a", b"d", b"b", b""),
        (b"b", b"c", b"b", b""),
        (b"c", b"b", b"a", b"a"),
        (b"ab", b"b", b"a", b"a"),
        (b"abc", b"b", b"a", b"a"),
        (b"abcd", b"b", b"a", b"a"),
        (b"abcde", b"c", b"a", b"a"),
        (b"user1", b"b", b"a", b"a"),
        (b"user2", b"c", b"a", b"a"),
        (b"192.168.0.1", b"d", b"b", b""),
        (b"lorem-ipsum-dolor", b"c", b"b", b""),
        (b"0123456789abcdef", b"d", b"b", b""),
    ],
)
def test_clients_get_what_nginx_gives_them(value, of_four, of_halves, of_one_half):
    assert chosen(FOUR, value) == of_four
    assert chosen("50% a;\n50% b;", value) == of_halves
    assert chosen("50% a;", value) == of_one_half


@pytest.mark.parametrize(
    ("data", "hashed"),
    # The algorithm in C, compiled and run.
    [
        (b"", 0),
        (b"a", 2456313694),
        (b"ab", 446775395),
        (b"abc", 324500635),
        (b"abcd", 646393889),
        (b"abcde", 1594468574),
        (b"192.168.0.1", 4099956943),
        (b"\xff\xfe\xfd", 1029784976),
    ],
)
def test_the_hash_is_murmur_2_with_the_length_for_a_seed(data, hashed):
    assert murmur_hash2(data) == hashed


def test_limits_add_up_from_whole_numbers():
    with use_namespace(Namespace()):
        made = split_clients_block("$arg_v", "$s", entries("0.01% a;\n33.33% b;\n66.65% c;\n0.01% d;"))
    first = 0xFFFFFFFF // 10000
    second = first + 3333 * 0xFFFFFFFF // 10000
    assert [limit for limit, _ in made.parts] == [first, second, second + 6665 * 0xFFFFFFFF // 10000, 0]


def test_shares_come_out_as_asked_for():
    with use_namespace(Namespace()):
        made = split_clients_block("$arg_v", "$s", entries("10% a;\n30% b;\n* c;"))
    counts = {b"a": 0, b"b": 0, b"c": 0}
    for number in range(20000):
        counts[made.choose(b"client-%d" % number)] += 1
    assert counts[b"a"] == pytest.approx(2000, rel=0.1)
    assert counts[b"b"] == pytest.approx(6000, rel=0.1)


def test_a_value_is_text_and_no_template():
    assert chosen("100% x$arg_w;", b"a") == b"x$arg_w"


def test_it_holds_as_long_as_its_source():
    with use_namespace(Namespace()):
        split_clients_block("${remote_addr}x", "$s", entries("* a;"))
        assert compile_template("$s").varies == BLOCK


@pytest.mark.parametrize("text", [".5% a;", "5.% a;", "* a;\n* b;", "100% a;\n* b;", "0.01% a;\n99.99% b;"])
def test_what_nginx_takes_is_taken(text):
    assert chosen(text, b"x") is not None


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("60% a;\n50% b;", "percent total is greater than 100%"),
        ("* a;\n10% b;", "percent total is greater than 100%"),
        ("100% a;\n0.01% b;", "percent total is greater than 100%"),
        ("x a;", 'invalid percent value "x"'),
        ("0% a;", 'invalid percent value "0%"'),
        ("1.234% a;", 'invalid percent value "1.234%"'),
        ("% a;", 'invalid percent value "%"'),
        ("'' a;", 'invalid percent value ""'),
        ("10%;", "invalid number of the split_clients parameters"),
    ],
)
def test_a_share_that_is_wrong_is_refused(text, problem):
    with pytest.raises(ConfigurationError) as refusal:
        chosen(text, b"")
    assert [found.text for found in refusal.value.problems] == [problem]
