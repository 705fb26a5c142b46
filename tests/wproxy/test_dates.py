"""Dates of header fields, read in all three forms of the RFC."""

from __future__ import annotations

import pytest

from wproxy.dates import parse_http_date
from wproxy.http import http_date

THEN = 784111777


@pytest.mark.parametrize(
    "text",
    [
        b"Sun, 06 Nov 1994 08:49:37 GMT",
        b"Sunday, 06-Nov-94 08:49:37 GMT",
        b"Sun Nov  6 08:49:37 1994",
        b"Mon, 06 Nov 1994 08:49:37",  # neither the day's name nor the zone is looked at
    ],
)
def test_all_three_forms_are_read(text):
    assert parse_http_date(text) == THEN


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"nonsense",
        b"784111777",
        b"Sun, 6 Nov 1994 08:49:37 GMT",
        b"Sun, 06 nov 1994 08:49:37 GMT",
        b"Sun, 06-Nov 1994 08:49:37 GMT",
        b"Sun, 31 Nov 1994 08:49:37 GMT",
        b"Sun, 00 Nov 1994 08:49:37 GMT",
        b"Sun, 29 Feb 1995 08:49:37 GMT",
        b"Sun, 06 Nov 1994 24:49:37 GMT",
        b"Sun, 06 Nov 1994 08:60:37 GMT",
        b"Sun, 06 Nov 1969 08:49:37 GMT",
        b"Sun Nov 06 08:49:37",
    ],
)
def test_what_is_no_date_is_none(text):
    assert parse_http_date(text) is None


def test_a_year_of_two_digits_lies_between_1970_and_2069():
    assert parse_http_date(b"Sunday, 06-Nov-70 08:49:37 GMT") == parse_http_date(b"Sun, 06 Nov 1970 08:49:37 GMT")
    assert parse_http_date(b"Sunday, 06-Nov-69 08:49:37 GMT") == parse_http_date(b"Sun, 06 Nov 2069 08:49:37 GMT")


@pytest.mark.parametrize("second", [0, 951782400, 1_000_000_000, 4_102_444_799])
def test_what_we_write_is_read_again(second):
    assert parse_http_date(http_date(second).encode()) == second
