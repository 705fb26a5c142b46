"""How add_header, add_trailer and expires are read (routing.md §5.3)."""

from __future__ import annotations

import pytest

from wproxy.directives.headers import (
    ACCESS,
    DAILY,
    EPOCH,
    MAX,
    MODIFIED,
    OFF,
    Expires,
    added_field,
    expires,
)

# add_header


def test_a_field_has_a_name_and_a_value():
    item = added_field("X-Frame-Options", "DENY")
    assert (item.name, item.value.constant, item.is_always) == (b"X-Frame-Options", b"DENY", False)


def test_always_is_for_every_status():
    assert added_field("A", "b", "always").is_always


def test_a_value_may_have_variables():
    assert added_field("X-Where", "on $hostname").value.constant is None


def test_a_value_may_be_empty():
    assert added_field("ETag", "").value.constant == b""


@pytest.mark.parametrize(
    ("written", "sent"),
    [
        ("default-src 'self';\n      img-src *", b"default-src 'self'; img-src *"),
        ("\n  default-src 'self';\r\n\timg-src *;\n", b"default-src 'self'; img-src *;"),
        ("a \n\n b", b"a b"),
        ("a\nb", b"a b"),
        ("  kept  as it is ", b"  kept  as it is "),
    ],
)
def test_a_value_written_over_several_lines_is_one_line(written, sent):
    assert added_field("Content-Security-Policy", written).value.constant == sent


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("A", "b", "sometimes"), 'invalid parameter "sometimes"'),
        (("A\r\nB", "b"), "invalid field name"),
        (("", "b"), 'invalid field name ""'),
        (("A B", "b"), 'invalid field name "A B"'),
        (("A", "$no_such_thing"), 'unknown "no_such_thing" variable'),
    ],
)
def test_what_is_no_field_is_told(arguments, text):
    with pytest.raises(ValueError) as caught:
        added_field(*arguments)
    assert text in str(caught.value)


# expires


@pytest.mark.parametrize(
    ("arguments", "value"),
    [
        (("off",), Expires(OFF)),
        (("epoch",), Expires(EPOCH)),
        (("max",), Expires(MAX)),
        (("1h",), Expires(ACCESS, 3600)),
        (("+1h30m",), Expires(ACCESS, 5400)),
        (("0",), Expires(ACCESS, 0)),
        (("-1",), Expires(ACCESS, -1)),
        (("1y",), Expires(ACCESS, 365 * 86400)),
        (("2M",), Expires(ACCESS, 60 * 86400)),
        (("@15h30m",), Expires(DAILY, 55800)),
        (("@24h",), Expires(DAILY, 86400)),
        (("modified", "1d"), Expires(MODIFIED, 86400)),
        (("modified", "-1d"), Expires(MODIFIED, -86400)),
    ],
)
def test_the_forms_of_expires(arguments, value):
    assert expires(*arguments) == value


def test_expires_may_be_a_variable():
    assert expires("$arg_e").kind == ACCESS
    assert expires("$arg_e").value is not None
    assert expires("modified", "$arg_e").kind == MODIFIED


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("soon",), "invalid value"),
        (("",), "invalid value"),
        (("500ms",), "invalid value"),
        (("1h 1d",), "invalid value"),
        (("@-1h",), "invalid value"),
        (("999999999999y",), "invalid value"),
        (("changed", "1h"), "invalid value"),
        (("modified", "epoch"), "invalid value"),
        (("modified", "off"), "invalid value"),
        (("modified", "@1h"), 'daily time cannot be used with "modified" parameter'),
        (("@25h",), "daily time value must be less than 24 hours"),
    ],
)
def test_what_is_no_time_is_told_in_nginx_words(arguments, text):
    with pytest.raises(ValueError) as caught:
        expires(*arguments)
    assert str(caught.value) == f'"%s" directive {text}'
