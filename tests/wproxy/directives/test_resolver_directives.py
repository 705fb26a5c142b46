"""`resolver`: its arguments, and nginx's words for wrong ones (tried with nginx 1.22.1; ipv4= is newer)."""

from __future__ import annotations

import pytest

from wproxy.address import Address
from wproxy.directives.resolver import NameServers, name_servers


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("127.0.0.1",), NameServers((Address("127.0.0.1", 53),))),
        (
            ("127.0.0.1:5353", "[::1]:54", "[::1]", "dns.test"),
            NameServers((Address("127.0.0.1", 5353), Address("::1", 54), Address("::1", 53), Address("dns.test", 53))),
        ),
        (("127.0.0.1", "valid=1m 30s"), NameServers((Address("127.0.0.1", 53),), 90.0)),
        (("127.0.0.1", "valid=0"), NameServers((Address("127.0.0.1", 53),), 0.0)),
        (("127.0.0.1", "ipv6=off", "status_zone=x"), NameServers((Address("127.0.0.1", 53),), ipv6=False, zone="x")),
        (("127.0.0.1", "ipv4=off", "ipv6=on"), NameServers((Address("127.0.0.1", 53),), ipv4=False)),
        (("local=on",), NameServers((), local=True)),
    ],
)
def test_arguments_are_read(words, expected):
    assert name_servers(*words) == expected


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("127.0.0.1", "valid=x"), "invalid parameter: valid=x"),
        (("127.0.0.1", "valid=3ms"), "invalid parameter: valid=3ms"),
        (("valid=3s",), "no name servers defined"),
        (("127.0.0.1", "ipv6=maybe"), "invalid parameter: ipv6=maybe"),
        (("127.0.0.1", "ipv4=off", "ipv6=off"), '"ipv4" and "ipv6" cannot both be "off"'),
        (("127.0.0.1:99999",), 'invalid port in resolver "127.0.0.1:99999"'),
        (("[::1",), 'invalid host in resolver "[::1"'),
        (("unix:/x",), 'invalid host in resolver "unix:/x"'),
        (("127.0.0.1", "what=x"), 'host not found in resolver "what=x"'),
        (("127.0.0.1", "status_zone="), 'host not found in resolver "status_zone="'),
    ],
)
def test_what_is_wrong_is_told_in_the_words_of_nginx(words, reason):
    with pytest.raises(ValueError) as error:
        name_servers(*words)
    assert str(error.value) == reason


def test_name_servers_may_have_names_which_are_looked_up_once():
    settings = name_servers("dns.test", "127.0.0.1")
    found = settings.with_addresses(lambda host, port: [Address("10.0.0.1", port), Address("10.0.0.2", port)])
    assert found.servers == (Address("10.0.0.1", 53), Address("10.0.0.2", 53), Address("127.0.0.1", 53))


def test_a_name_server_that_is_not_found_is_named():
    def look_up(host: str, port: int) -> list[Address]:
        raise OSError("no")

    with pytest.raises(OSError, match=r'host not found in resolver "dns\.test"'):
        name_servers("dns.test").with_addresses(look_up)
