"""Addresses as people write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wproxy.address import Address, in_brackets, is_ip, parse_address, parse_listen_address, parse_port

ADDRESSES = [
    ("127.0.0.1:8080", Address("127.0.0.1", 8080)),
    ("127.0.0.1", Address("127.0.0.1", 80)),
    ("example.com", Address("example.com", 80)),
    ("example.com:1", Address("example.com", 1)),
    ("example.com:65535", Address("example.com", 65535)),
    ("under_score.local:90", Address("under_score.local", 90)),
    ("localhost", Address("localhost", 80)),
    ("[::1]", Address("::1", 80)),
    ("[::1]:8080", Address("::1", 8080)),
    ("[2001:db8::7]:443", Address("2001:db8::7", 443)),
    ("unix:/run/app.sock", Address("/run/app.sock", -1)),
    ("unix:run/app.sock", Address("run/app.sock", -1)),
    ("unix:/with:colon", Address("/with:colon", -1)),
    ("unix:/" + "a" * 106, Address("/" + "a" * 106, -1)),
]

NO_ADDRESSES = [
    ("", 'no host in ""'),
    (":80", 'no host in ":80"'),
    ("host:", 'invalid port in "host:"'),
    ("host:0", 'invalid port in "host:0"'),
    ("host:65536", 'invalid port in "host:65536"'),
    ("host:99999999999", 'invalid port in "host:99999999999"'),
    ("host:http", 'invalid port in "host:http"'),
    ("host:-1", 'invalid port in "host:-1"'),
    ("host:+80", 'invalid port in "host:+80"'),
    ("host: 80", 'invalid port in "host: 80"'),
    ("host:\u0668\u0660", 'invalid port in "host:\u0668\u0660"'),
    ("a:80:90", 'invalid port in "a:80:90"'),
    ("fe80::1", 'invalid port in "fe80::1"'),
    ("a b", 'invalid host in "a b"'),
    ("a/b:80", 'invalid host in "a/b:80"'),
    ("user@host", 'invalid host in "user@host"'),
    ("host?", 'invalid host in "host?"'),
    ("a\tb", 'invalid host in "a\tb"'),
    ("[::1", 'invalid IPv6 address in "[::1"'),
    ("[]", 'invalid IPv6 address in "[]"'),
    ("[127.0.0.1]:80", 'invalid IPv6 address in "[127.0.0.1]:80"'),
    ("[::g]:80", 'invalid IPv6 address in "[::g]:80"'),
    ("[::1]80", 'invalid address "[::1]80"'),
    ("[::1]:", 'invalid port in "[::1]:"'),
    ("unix:", 'no path in the unix domain socket "unix:"'),
    ("unix:/" + "a" * 107, "too long path in the unix domain socket"),
    ("unix:/" + "\u00e9" * 54, "too long path in the unix domain socket"),
]

LISTEN_ADDRESSES = [
    ("8080", Address("0.0.0.0", 8080)),
    ("*", Address("0.0.0.0", 80)),
    ("*:8080", Address("0.0.0.0", 8080)),
    ("127.0.0.1", Address("127.0.0.1", 80)),
    ("127.0.0.1:8080", Address("127.0.0.1", 8080)),
    ("[::]:8080", Address("::", 8080)),
    ("[::]", Address("::", 80)),
    ("localhost:8080", Address("localhost", 8080)),
    ("unix:/run/front.sock", Address("/run/front.sock", -1)),
]


@pytest.mark.parametrize(("text", "address"), ADDRESSES)
def test_an_address_is_read(text, address):
    assert parse_address(text, 80) == address


def test_the_default_port_is_the_callers():
    assert parse_address("a", 443).port == 443
    assert parse_address("[::1]", 443).port == 443


@pytest.mark.parametrize(("text", "reason"), NO_ADDRESSES)
def test_what_is_no_address_is_refused_with_a_reason(text, reason):
    with pytest.raises(ValueError) as refusal:
        parse_address(text, 80)
    assert reason in str(refusal.value)


@pytest.mark.parametrize(("text", "address"), LISTEN_ADDRESSES)
def test_an_address_to_listen_on_may_be_a_port_or_a_star(text, address):
    assert parse_listen_address(text) == address


@pytest.mark.parametrize("text", ["0", "65536", "99999", "*:", "*:0", "*:x", "host:99999", "9" * 5000])
def test_a_port_to_listen_on_is_a_port(text):
    with pytest.raises(ValueError) as refusal:
        parse_listen_address(text)
    assert str(refusal.value) == f'invalid port in "{text}"'


@pytest.mark.parametrize(
    ("address", "unix", "numeric", "ipv6", "text"),
    [
        (Address("127.0.0.1", 80), False, True, False, "127.0.0.1:80"),
        (Address("::1", 80), False, True, True, "[::1]:80"),
        (Address("example.com", 80), False, False, False, "example.com:80"),
        (Address("/run/a:b.sock", -1), True, True, False, "unix:/run/a:b.sock"),
    ],
)
def test_an_address_tells_what_it_is(address, unix, numeric, ipv6, text):
    assert (address.is_unix, address.is_numeric, address.is_ipv6, str(address)) == (unix, numeric, ipv6, text)


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", True),
        ("::", True),
        ("2001:db8::1", True),
        ("::ffff:127.0.0.1", True),
        ("[::1]", False),
        ("1", False),
        ("127.1", False),
        ("127.0.0.01", False),
        ("256.0.0.1", False),
        ("127.0.0.1 ", False),
        ("example.com", False),
        ("", False),
        ("fe80::1%eth0", False),
    ],
)
def test_an_ip_address_has_neither_brackets_nor_zone(host, expected):
    assert is_ip(host) is expected


@pytest.mark.parametrize("text", ["", "0", "65536", "-1", "+1", "1_0", " 1", "1 ", "\u0661", "000001", "0x50"])
def test_a_port_is_1_to_65535_in_ascii_digits(text):
    with pytest.raises(ValueError, match="invalid port"):
        parse_port(text)


@given(st.text(max_size=30))
def test_any_text_is_an_address_or_a_value_error(text):
    for parse in (lambda: parse_address(text, 80), lambda: parse_listen_address(text)):
        try:
            address = parse()
        except ValueError:
            continue
        assert address.host
        assert address.is_unix or 1 <= address.port <= 65535


@given(st.ip_addresses(), st.integers(1, 65535))
def test_a_numeric_address_reads_back_as_it_was_printed(ip, port):
    address = Address(str(ip), port)
    assert parse_address(str(address), 80) == address


@pytest.mark.parametrize(
    ("text", "better"),
    [
        ("::1", "[::1]"),
        ("::1:80", "[::1]:80"),
        ("2001:db8::1:8080", "[2001:db8::1]:8080"),
        ("fe80::1", "[fe80::1]"),
        ("::", "[::]"),
        ("[::1]", None),
        ("a:80", None),
        ("a:b:c", None),
        ("127.0.0.1:80:80", None),
        ("", None),
    ],
)
def test_brackets_are_put_around_what_lacks_them(text, better):
    assert in_brackets(text) == better
