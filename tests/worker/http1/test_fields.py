"""Field lines and their table: what the heads of requests and responses and the trailers share."""

from __future__ import annotations

import pytest

from worker.http1 import fields as fields_module
from worker.http1.fields import (
    REQUEST_FIELDS,
    RESPONSE_FIELDS,
    TABLE_LINE_BYTES,
    TRAILER_FIELDS,
    FieldTable,
    InvalidField,
    join_repeated,
    parse_length,
    shown,
)

DEFAULT = REQUEST_FIELDS[True, False]
UNDERSCORES = REQUEST_FIELDS[True, True]
STRICT = REQUEST_FIELDS[False, False]

DROPPED = None
REFUSED = "refused"
A_B = "passed"


def read(table: FieldTable, raw: bytes):
    """Twice: reading a new line and looking up a known one are the same."""
    results = []
    for _ in range(2):
        try:
            results.append(table[raw])
        except InvalidField as bad:
            assert bad.raw == raw
            results.append(REFUSED)
    assert results[0] == results[1]
    return results[0]


@pytest.mark.parametrize(
    "name, default, underscores, strict, response, trailer",
    [
        (b"X-Plain-1", A_B, A_B, A_B, A_B, A_B),
        (b"X_Y", DROPPED, A_B, A_B, A_B, A_B),
        (b"X.Y", DROPPED, DROPPED, A_B, A_B, A_B),
        (b"X+Y", DROPPED, DROPPED, A_B, A_B, A_B),
        (b"X@Y", DROPPED, DROPPED, REFUSED, A_B, REFUSED),
        (b"X[Y]", DROPPED, DROPPED, REFUSED, A_B, REFUSED),
        (b"X(Y)", DROPPED, DROPPED, REFUSED, REFUSED, REFUSED),
        (b"X/Y", DROPPED, DROPPED, REFUSED, REFUSED, REFUSED),
        (b"X\xe4", DROPPED, DROPPED, REFUSED, REFUSED, REFUSED),
        (b"Proxy", DROPPED, DROPPED, DROPPED, A_B, A_B),
        (b"HTTP2-Settings", DROPPED, DROPPED, DROPPED, A_B, A_B),
        (b"X ", REFUSED, REFUSED, REFUSED, REFUSED, REFUSED),
        (b" X", REFUSED, REFUSED, REFUSED, REFUSED, REFUSED),
        (b"X\t", REFUSED, REFUSED, REFUSED, REFUSED, REFUSED),
        (b"X\0", REFUSED, REFUSED, REFUSED, REFUSED, REFUSED),
        (b"X\r", REFUSED, REFUSED, REFUSED, REFUSED, REFUSED),
        (b"X\n", REFUSED, REFUSED, REFUSED, REFUSED, REFUSED),
        (b"X\x7f", REFUSED, REFUSED, REFUSED, REFUSED, REFUSED),
        (b"(X\x01", REFUSED, REFUSED, REFUSED, REFUSED, REFUSED),
        (b"", REFUSED, REFUSED, REFUSED, REFUSED, REFUSED),
    ],
)  # fmt: skip
def test_names_by_policy(name: bytes, default, underscores, strict, response, trailer):
    for table, expected in (
        (DEFAULT, default),
        (UNDERSCORES, underscores),
        (STRICT, strict),
        (RESPONSE_FIELDS, response),
        (TRAILER_FIELDS, trailer),
    ):
        wanted = (name.lower(), name, b"b") if expected == A_B else expected
        assert read(table, name + b": b") == wanted


@pytest.mark.parametrize(
    "table", [DEFAULT, STRICT, RESPONSE_FIELDS, TRAILER_FIELDS], ids=["request", "strict", "response", "trailer"]
)
def test_values(table: FieldTable):
    for byte in range(256):
        allowed = byte == 9 or (byte >= 0x20 and byte != 0x7F)
        assert (read(table, b"X: a%cb" % byte) == REFUSED) is not allowed
    assert read(table, b"X") == REFUSED
    assert read(table, b"") == REFUSED
    assert read(table, b"X:") == (b"x", b"X", b"")
    assert read(table, b"X: \t a b\t ") == (b"x", b"X", b"a b")
    assert read(table, b"X:\xa0a\x85") == (b"x", b"X", b"\xa0a\x85"), "only SP and HTAB are trimmed"


def test_only_sp_is_trimmed_where_framing_or_routing_depends_on_it():
    for name in (b"Content-Length", b"Transfer-Encoding", b"Host"):
        assert read(DEFAULT, name + b":  a  ")[2] == b"a"
        assert read(DEFAULT, name + b": \ta")[2] == b"\ta"


def test_a_table_is_bounded():
    table = FieldTable(fields_module.PLAIN_NAME, False)
    for number in range(max(fields_module.TABLE_LINES, fields_module.TABLE_NAMES) + 10):
        table[b"X-%d: a" % number]
        table[b"Y: %d" % number]
    assert len(table) <= fields_module.TABLE_LINES
    assert len(table._names) <= fields_module.TABLE_NAMES
    long = b"X: " + b"a" * TABLE_LINE_BYTES
    assert table[long] == (b"x", b"X", b"a" * TABLE_LINE_BYTES)
    assert long not in table
    table[b"Z" * 65 + b": a"]
    assert b"Z" * 65 not in table._names


def test_refused_lines_are_not_remembered():
    table = FieldTable(fields_module.PLAIN_NAME, False)
    for raw in (b"X", b"X : a", b"X: \0"):
        assert read(table, raw) == REFUSED
    assert not table


def test_join_repeated():
    lines = [
        (b"a", b"A", b"1"),
        (b"cookie", b"Cookie", b"x=1"),
        (b"a", b"a", b"2"),
        (b"cookie", b"Cookie", b"y=2"),
        (b"b", b"B", b""),
    ]
    assert join_repeated(lines) == {b"a": b"1, 2", b"cookie": b"x=1; y=2", b"b": b""}


@pytest.mark.parametrize(
    "value, length", [(b"0", 0), (b"5", 5), (b"007", 7), (b"9223372036854775807", 2**63 - 1), (b"0000000000000000001", 1)]
)
def test_lengths(value: bytes, length: int):
    assert parse_length(value) == length


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b" 5",
        b"5 ",
        b"+5",
        b"-5",
        b"1_0",
        b"0x5",
        b"5\n",
        b"\xb2",
        "\u0665".encode(),
        b"9223372036854775808",
        b"0" * 20,
        b"1" * 5000,
    ],
)
def test_what_int_would_take_is_no_length(value: bytes):
    with pytest.raises(ValueError, match="length"):
        parse_length(value)


def test_shown_is_safe_for_a_terminal():
    assert shown(b'a"b\\c\x1b\xe4\n') == "a\\x22b\\x5Cc\\x1B\\xE4\\x0A"
    assert shown(b"x" * 201) == "x" * 200 + "..."
