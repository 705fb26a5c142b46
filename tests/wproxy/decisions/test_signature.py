"""The field that asks for decisions: only who has the secret can write it, and not for long."""

from __future__ import annotations

import pytest

from wproxy.decisions.signature import LONGEST, is_signed, signed

SECRET = b"0123456789abcdef"
NOW = 1_800_000_000.5


def test_a_signed_field_is_good_until_it_expires():
    value = signed(SECRET, int(NOW) + 60)
    assert is_signed(value, SECRET, NOW)
    assert is_signed(value, SECRET, NOW + 59)
    assert not is_signed(value, SECRET, NOW + 60)


def test_the_value_is_an_hmac_that_other_programs_can_make():
    # printf 'wproxy explain\0001800000060' | openssl dgst -sha256 -hmac 0123456789abcdef
    digits = "9ab935385a67281e2548acb8e02bd4dfeefb4d40e4324fdb1dd69f3a64d9453b"
    value = signed(SECRET, 1_800_000_060).decode()
    assert value == f"1800000060.{digits}"


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b".",
        b"1800000060",
        b"1800000060.",
        b"1800000060." + b"0" * 64,
        signed(b"another secret of us", 1_800_000_060),
        signed(SECRET, 1_800_000_060)[:-1],
        signed(SECRET, 1_800_000_060) + b"0",
        signed(SECRET, 1_800_000_060).replace(b"60.", b"61."),
        signed(SECRET, 1_800_000_060) + b", " + signed(SECRET, 1_800_000_060),
        signed(SECRET, int(NOW) + LONGEST + 2),
        "1800000060.ÿ".encode("latin-1"),
    ],
)
def test_nothing_else_is_good(value):
    assert not is_signed(value, SECRET, NOW)
