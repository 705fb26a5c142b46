"""`geo`: what nginx 1.22.1 answered to the same networks and addresses, and its words for what is wrong or odd."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from map_reading import entries, read_variable, request

from wproxy.config.tree import ConfigurationError
from wproxy.directives.geo import GeoBlock, geo_block
from wproxy.maps.addresses import RangeTable, parse_ip_and_port
from wproxy.template import compile_template
from wproxy.variables import BLOCK, REQUEST, Namespace, use_namespace

NETWORKS = """
default D;
10.0.0.0/8 ten;
10.1.0.0/16 ten1;
10.1.2.3 one;
127.0.0.0/8 lo;
255.255.255.255 bad;
::1 lo6;
2001:db8::/32 db;
2001:db8:1::/48 db1;
192.168.0.0/16 priv;
delete 192.168.0.0/16;
10.2.0.1/16 low;
10.1.0.0/16 dup;
"""

RANGES = """
ranges;
default D;
10.0.0.0-10.255.255.255 ten;
10.1.0.5-10.1.0.9 in;
1.2.3.4-1.2.3.4 one;
20.0.0.0-20.1.2.3 tw;
20.0.1.0-20.0.1.0 x;
"""

PROXIED = "default D;\nproxy 127.0.0.0/8;\n1.2.3.0/24 a;\n5.6.7.8 b;\n127.0.0.1 lo;\n2001:db8::/32 six;"
RECURSIVE = (
    "default D;\nproxy 127.0.0.0/8;\nproxy 9.0.0.0/8;\nproxy_recursive;\n1.2.3.0/24 a;\n5.6.7.8 b;\n127.0.0.1 lo;\n9.1.1.1 nine;"
)


def looked_up(text: str, address: bytes) -> bytes | None:
    with use_namespace(Namespace()) as namespace:
        geo_block("$arg_v", "$g", entries(text))
        return read_variable("g", request(b"v=" + address), namespace)


def read_block(text: str) -> GeoBlock:
    with use_namespace(Namespace()):
        return geo_block("$g", entries(text))


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        (b"10.0.0.1", b"ten"),
        (b"10.1.0.1", b"dup"),
        (b"10.1.2.3", b"one"),
        (b"127.0.0.1", b"lo"),
        (b"::1", b"lo6"),
        (b"2001:db8::1", b"db"),
        (b"2001:db8:1::1", b"db1"),
        (b"2001:db9::1", b"D"),
        (b"192.168.1.1", b"D"),
        (b"10.2.9.9", b"low"),
        (b"::ffff:10.1.2.3", b"one"),
        (b"junk", b"bad"),
        (b"", b"bad"),
        (b"unix:", b"bad"),
        (b"255.255.255.255", b"bad"),
        (b"010.1.2.3", b"one"),
        (b"10.1", b"bad"),
        (b"[::1]", b"bad"),
    ],
)
def test_the_longest_prefix_counts(address, expected):
    assert looked_up(NETWORKS, address) == expected


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        (b"10.0.0.1", b"ten"),
        (b"10.1.0.5", b"in"),
        (b"10.1.0.9", b"in"),
        (b"10.1.0.10", b"ten"),
        (b"1.2.3.4", b"one"),
        (b"1.2.3.5", b"D"),
        (b"20.0.0.0", b"tw"),
        (b"20.1.2.3", b"tw"),
        (b"20.1.2.4", b"D"),
        (b"20.0.1.0", b"x"),
        (b"20.0.2.0", b"tw"),
        (b"junk", b"D"),
        (b"::1", b"D"),
        (b"::ffff:10.1.0.6", b"in"),
    ],
)
def test_the_innermost_range_counts(address, expected):
    assert looked_up(RANGES, address) == expected


@pytest.mark.parametrize(
    ("forwarded", "plain", "recursive"),
    [
        (b"1.2.3.4", b"a", b"a"),
        (b"5.6.7.8, 1.2.3.4", b"a", b"a"),
        (b"5.6.7.8, 9.0.0.1", b"D", b"b"),
        (b"1.2.3.4, 127.0.0.2", b"D", b"a"),
        (b"9.1.1.1", b"D", b"nine"),
        (b"junk", b"lo", b"lo"),
        (b"1.2.3.4:80", b"a", b"a"),
        (b"[2001:db8::1]:80", b"six", b"D"),
        (b"2001:db8::1", b"six", b"D"),
        (b"", b"lo", b"lo"),
        (b"127.0.0.1, 127.0.0.2", b"D", b"lo"),
        (b"junk, 127.0.0.9", b"D", b"D"),
        (b"1.2.3.4,", b"a", b"a"),
        (b"5.6.7.8, 127.0.0.2", b"D", b"b"),
    ],
)
def test_a_trusted_proxy_tells_the_address(forwarded, plain, recursive):
    with use_namespace(Namespace()) as namespace:
        geo_block("$plain", entries(PROXIED))
        geo_block("$recursive", entries(RECURSIVE))
        made = request(remote=b"127.0.0.1", x_forwarded_for=forwarded)
        assert [read_variable(name, made, namespace) for name in ("plain", "recursive")] == [plain, recursive]


def test_nobody_else_is_believed():
    with use_namespace(Namespace()) as namespace:
        geo_block("$g", entries(PROXIED))
        assert read_variable("g", request(remote=b"192.0.2.7", x_forwarded_for=b"1.2.3.4"), namespace) == b"D"


def test_without_a_default_the_value_is_empty_and_not_missing():
    assert looked_up("10.0.0.0/8 a;", b"11.0.0.1") == b""
    assert looked_up("10.0.0.0/8 a;", b"::1") == b""


def test_how_long_it_holds():
    with use_namespace(Namespace()):
        geo_block("$own", entries(PROXIED))
        geo_block("$http_x", "$of_field", entries("default 1;"))
        geo_block("$arg_x", "$of_argument", entries("default 1;\nvolatile;"))
        held = [compile_template(text).varies for text in ("$own", "$of_field", "$of_argument")]
    assert held == [BLOCK, BLOCK, REQUEST]


@pytest.mark.parametrize(
    ("text", "warnings"),
    [
        ("10.2.0.1/16 low;", ["low address bits of 10.2.0.1/16 are meaningless"]),
        ("proxy 10.0.0.1/8;", ["low address bits of 10.0.0.1/8 are meaningless"]),
        ("10.1.0.0/16 a;\n10.1.0.0/16 b;", ['duplicate network "10.1.0.0/16", value: "b", old value: "a"']),
        ("default a;\ndefault b;", ['duplicate network "default", value: "b", old value: "a"'] * 2),
        (
            "::/0 x;\n0.0.0.0/0 y;\ndefault z;",
            [
                'duplicate network "default", value: "z", old value: "y"',
                'duplicate network "default", value: "z", old value: "x"',
            ],
        ),
        ("delete 10.0.0.0/8;", ['no network "10.0.0.0/8" to delete']),
        ("ranges;\ndelete 1.2.3.4-1.2.3.5;", ['no address range "1.2.3.4-1.2.3.5" to delete']),
        (
            "ranges;\n10.0.0.0-10.0.0.5 a;\n10.0.0.0-10.0.0.5 b;\ndefault x;\ndefault y;",
            [
                'duplicate range "10.0.0.0-10.0.0.5", value: "b", old value: "a"',
                'duplicate default geo range value: "y", old value: "x"',
            ],
        ),
        (
            "ranges;\n10.0.0.0-10.0.0.5 a;\n10.0.0.1-10.0.0.3 b;\ndelete 10.0.0.0-10.0.0.5;\ndelete 10.0.0.1-10.0.0.3;",
            ['no address range "10.0.0.0-10.0.0.5" to delete'],
        ),
        (
            "ranges;\n1.0.0.0-1.0.3.0 a;\n1.0.1.0-1.0.1.5 b;\n1.0.1.0-1.0.1.3 c;\n1.0.1.4-1.0.1.5 d;",
            ['duplicate range "1.0.1.4-1.0.1.5", value: "d", old value: "b"'],
        ),
        ("ranges;\n0.0.0.0-255.255.255.254 a;", []),
        ("::ffff:10.0.0.0/104 a;", []),
        ("10.0.0.0/8 $nope;", []),
        ("10.0.0.0/08 a;", []),
    ],
)
def test_what_is_odd_is_warned_of_in_nginx_words(text, warnings):
    assert [warning.text for warning in read_block(text).warnings] == warnings


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("10.0.0.0/33 a;", 'invalid network "10.0.0.0/33"'),
        ("10.0.0.0/ a;", 'invalid network "10.0.0.0/"'),
        ("10/8 a;", 'invalid network "10/8"'),
        ("10.1/16 a;", 'invalid network "10.1/16"'),
        ("x a;", 'invalid network "x"'),
        ("proxy x;", 'invalid network "x"'),
        ("delete default;", 'invalid network "default"'),
        ("a;", "invalid number of the geo parameters"),
        ("10.0.0.0/8 a;\nranges;", 'the "ranges" directive must be the first directive inside "geo" block'),
        ("default a;\nranges;", 'the "ranges" directive must be the first directive inside "geo" block'),
        (
            "ranges;\n10.0.0.0-10.0.0.5 a;\n10.0.0.3-10.0.0.9 b;",
            'range "10.0.0.3-10.0.0.9" overlaps "10.0.0.0-10.0.0.5"',
        ),
        (
            "ranges;\n10.0.0.3-10.0.0.5 a;\n10.0.0.0-10.0.0.9 b;",
            'range "10.0.0.0-10.0.0.9" overlaps "10.0.0.3-10.0.0.5"',
        ),
        (
            "ranges;\n10.0.0.0-10.0.0.5 a;\n10.0.0.0-10.0.0.9 b;",
            'range "10.0.0.0-10.0.0.9" overlaps "10.0.0.0-10.0.0.5"',
        ),
        ("ranges;\n10.0.0.9-10.0.0.5 a;", 'invalid range "10.0.0.9-10.0.0.5"'),
        ("ranges;\n10.0.0.9/8 a;", 'invalid range "10.0.0.9/8"'),
        ("ranges;\n255.255.255.255-255.255.255.255 a;", 'invalid range "255.255.255.255-255.255.255.255"'),
    ],
)
def test_an_entry_that_is_wrong_is_refused_in_nginx_words(text, problem):
    with pytest.raises(ConfigurationError) as refusal:
        read_block(text)
    assert [found.text for found in refusal.value.problems] == [problem]


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (("g",), 'invalid variable name "g"'),
        (("x", "$g"), 'invalid variable name "x"'),
        (("$nope", "$g"), 'unknown "nope" variable'),
        (("$host",), 'the duplicate "host" variable'),
    ],
)
def test_a_name_that_is_wrong_is_refused_in_nginx_words(words, problem):
    with use_namespace(Namespace()), pytest.raises(ValueError) as refusal:
        geo_block(*words, [])
    assert str(refusal.value) == problem


@pytest.mark.parametrize(
    ("text", "address"),
    [
        (b"192.0.2.1:0", None),
        (b"192.0.2.1:65536", None),
        (b"192.0.2.1:", None),
        (b"192.0.2.1:65535", (4, 0xC0000201)),
        (b"[192.0.2.1]", None),
        (b"[::1", None),
        (b"[::1]x", None),
        (b"[::1]", (6, 1)),
        (b"fe80::1%eth0", None),
        (b"1.2.3.256", None),
        (b"1.2.3.99999999999999999999", None),
        (b"\xd9\xa1.2.3.4", None),
    ],
)
def test_an_address_with_a_port_or_none_at_all(text, address):
    assert parse_ip_and_port(text) == address


@given(
    networks=st.lists(st.tuples(st.integers(0, 2**32 - 1), st.integers(0, 32)), max_size=12),
    addresses=st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=8),
)
def test_any_networks_give_what_a_search_of_all_of_them_gives(networks, addresses):
    known = {ipaddress.ip_network((first, prefix), strict=False): str(index) for index, (first, prefix) in enumerate(networks)}
    table = RangeTable({(int(net[0]), int(net[-1])): value for net, value in known.items()})
    edges = [int(edge) + step for net in known for edge in (net[0], net[-1]) for step in (-1, 0, 1)]
    for number in [*addresses, *(edge for edge in edges if 0 <= edge < 2**32)]:
        around = [net for net in known if ipaddress.ip_address(number) in net]
        expected = known[max(around, key=lambda net: net.prefixlen)] if around else None
        assert table.find(number) == expected
