"""allow and deny: the first rule that fits, for clients of every kind (nginx: ngx_http_access_module.c)."""

from __future__ import annotations

import pytest

from worker.access.addresses import allowed, decisions_of
from wproxy.directives.access import AddressRule, rule


def rules(text: str) -> tuple[AddressRule, ...]:
    return tuple(rule(word == "allow")(value) for word, value in (line.split() for line in text.split(",")))


@pytest.mark.parametrize(
    ("text", "client", "expected"),
    [
        ("allow 10.0.0.0/8", b"10.1.2.3", True),
        ("allow 10.0.0.0/8", b"11.1.2.3", None),
        ("allow 10.1.0.0/8", b"10.9.9.9", True),  # bits behind the prefix do not count
        ("deny 10.0.0.1,allow 10.0.0.0/8", b"10.0.0.1", False),
        ("allow 10.0.0.0/8,deny 10.0.0.1", b"10.0.0.1", True),
        ("deny all", b"10.0.0.1", False),
        ("deny all", b"2001:db8::1", False),
        ("deny all", b"unix:", False),
        ("allow unix:,deny all", b"unix:", True),
        ("allow unix:,deny all", b"10.0.0.1", False),
        ("deny unix:", b"10.0.0.1", None),
        ("deny 10.0.0.1", b"unix:", None),
        ("allow 2001:db8::/32,deny all", b"2001:db8::1", True),
        ("allow 2001:db8::/32,deny all", b"2001:db9::1", False),
        ("deny 0.0.0.0/0", b"2001:db8::1", None),
        ("deny ::/0", b"10.0.0.1", None),
        # What came through an IPv6 socket.
        ("deny 10.0.0.1", b"::ffff:10.0.0.1", False),
        ("allow ::/0,deny 10.0.0.1", b"::ffff:10.0.0.1", False),
        ("deny ::ffff:0:0/96", b"::ffff:10.0.0.1", False),
        ("deny ::ffff:0:0/96", b"2001:db8::1", None),
        ("deny ::ffff:0:0/96,allow all", b"::ffff:10.0.0.1", True),
    ],
)
def test_the_first_rule_that_fits_decides(text, client, expected):
    found = rules(text)
    has_ipv4 = any(one.is_for_all or (one.network is not None and one.network.family == 4) for one in found)
    assert allowed(found, client, has_ipv4=has_ipv4) is expected


@pytest.mark.parametrize("text", ["10.0.0.0/33", "10.0.0", "", "localhost", "ALL", "10.0.0.1/", "fe80::1%lo"])
def test_what_is_no_address_is_refused(text):
    with pytest.raises(ValueError, match=f'invalid parameter "{text}"'):
        rule(True)(text)


def test_equal_rules_share_what_they_remember_and_others_do_not():
    inner = (rule(True)("192.0.2.0/24"), rule(False)("all"))
    again = (rule(True)("192.0.2.0/24"), rule(False)("all"))
    turned = (rule(False)("192.0.2.0/24"), rule(True)("all"))
    assert decisions_of(inner) is decisions_of(again)
    assert decisions_of(inner)(b"192.0.2.1") is True and decisions_of(inner)(b"198.51.100.1") is False
    assert decisions_of(turned)(b"192.0.2.1") is False and decisions_of(turned)(b"198.51.100.1") is True
