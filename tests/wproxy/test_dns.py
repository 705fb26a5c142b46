"""DNS messages: questions that are written, answers that are read whole, cut short, damaged or forged; the system's files."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.name_server import address_record, alias_record, message, name_bytes, record, service_record, soa_record
from wproxy.dns import (
    AAAA,
    HOST_NOT_FOUND,
    SERVER_FAILURE,
    SRV,
    A,
    Answer,
    BadMessage,
    NotOurs,
    Service,
    candidates,
    encode_name,
    make_query,
    read_answer,
    read_hosts,
    read_resolv_conf,
    reason_of,
)

POINTER = b"\xc0\x0c"  # to the question's name


def test_a_question_has_a_header_a_name_a_type_and_the_class_of_the_internet():
    wire = make_query(0x1234, "Www.Example.com.", AAAA)
    assert wire == b"\x12\x34\x01\x00\x00\x01" + bytes(6) + b"\x03www\x07example\x03com\x00\x00\x1c\x00\x01"


@pytest.mark.parametrize(
    "name", ["", ".", "a..b", ".a", "a" * 64, "a b", "a\tb", "a\0b", "a\r\nb", ".".join(["a" * 63] * 4), "a.b..", "x" * 300]
)
def test_an_impossible_name_is_no_question(name):
    with pytest.raises(ValueError, match=r"invalid host name|too long host name"):
        make_query(1, name, A)


def test_the_longest_name_is_a_question():
    assert len(encode_name(".".join(["a" * 63, "b" * 63, "c" * 63, "d" * 61]))) == 255


QUERY = make_query(7, "www.test", A)
SERVICES = make_query(7, "_http._tcp.test", SRV)

ANSWERS = [
    ("one address", A, [address_record("www.test", "10.0.0.1", 30)], [], 0, Answer(0, ("10.0.0.1",), "www.test", 30)),
    (
        "the least time to live counts",
        A,
        [address_record(POINTER, "10.0.0.1", 30), address_record("WWW.test", "10.0.0.2", 20)],
        [],
        0,
        Answer(0, ("10.0.0.1", "10.0.0.2"), "www.test", 20),
    ),
    ("the same twice is one", A, [address_record(POINTER, "10.0.0.1")] * 2, [], 0, Answer(0, ("10.0.0.1",), "www.test", 60)),
    (
        "an alias within the message",
        A,
        [alias_record("www.test", "b.test", 10), alias_record("b.test", "c.test", 50), address_record("c.test", "10.0.0.1")],
        [],
        0,
        Answer(0, ("10.0.0.1",), "c.test", 10),
    ),
    (
        "aliases in the wrong order",
        A,
        [address_record("c.test", "10.0.0.1"), alias_record("b.test", "c.test"), alias_record("www.test", "b.test")],
        [],
        0,
        Answer(0, ("10.0.0.1",), "c.test", 60),
    ),
    ("an alias that leads out of it", A, [alias_record("www.test", "far.away")], [], 0, Answer(0, (), "far.away", 60)),
    ("an address of somebody else", A, [address_record("evil.test", "6.6.6.6")], [], 0, Answer(0, (), "www.test", 0)),
    ("an address of the other family", A, [address_record("www.test", "::1")], [], 0, Answer(0, (), "www.test", 0)),
    (
        "a class that is not the internet's",
        A,
        [name_bytes("www.test") + struct.pack("!HHIH", A, 3, 60, 4) + bytes(4)],
        [],
        0,
        Answer(0, (), "www.test", 0),
    ),
    (
        "unknown records between",
        A,
        [record("www.test", 16, b"\x03abc"), address_record(POINTER, "10.0.0.1")],
        [],
        0,
        Answer(0, ("10.0.0.1",), "www.test", 60),
    ),
    ("nothing, for as long as the zone says", A, [], [soa_record("test", 40)], 0, Answer(0, (), "www.test", 40)),
    ("no such name", A, [], [soa_record("test", 40, ttl=5)], 3, Answer(HOST_NOT_FOUND, (), "www.test", 5)),
    ("no such name, and no zone", A, [], [], 3, Answer(HOST_NOT_FOUND, (), "www.test", 0)),
    (
        "an alias of no such name",
        A,
        [alias_record("www.test", "b.test", 9)],
        [soa_record("test", 40)],
        3,
        Answer(3, (), "b.test", 9),
    ),
    ("a failure", A, [], [], 2, Answer(SERVER_FAILURE, (), "www.test", 0)),
    (
        "a time to live with the highest bit is none (RFC 2181)",
        A,
        [address_record(POINTER, "10.0.0.1", 1 << 31)],
        [],
        0,
        Answer(0, ("10.0.0.1",), "www.test", 0),
    ),
    ("IPv6", AAAA, [address_record(POINTER, "2001:DB8::0:1")], [], 0, Answer(0, ("2001:db8::1",), "www.test", 60)),
    (
        "services",
        SRV,
        [service_record("www.test", 1, 5, 8080, "a.Test"), service_record("www.test", 2, 0, 81, "b.test")],
        [],
        0,
        Answer(0, (Service(1, 5, 8080, "a.test"), Service(2, 0, 81, "b.test")), "www.test", 60),
    ),
]


@pytest.mark.parametrize(
    ("kind", "answers", "authorities", "code", "expected"), [row[1:] for row in ANSWERS], ids=[r[0] for r in ANSWERS]
)
def test_an_answer_is_read(kind, answers, authorities, code, expected):
    query = make_query(7, "www.test", kind)
    assert read_answer(message(query, answers, authorities, code), 7, "WWW.test.", kind) == expected


@pytest.mark.parametrize(("kind", "answers", "authorities", "code"), [row[1:5] for row in ANSWERS], ids=[r[0] for r in ANSWERS])
def test_an_answer_cut_short_is_refused_wherever_it_is_cut(kind, answers, authorities, code):
    wire = message(make_query(7, "www.test", kind), answers, authorities, code)
    if code in (0, 3) and (answers or authorities):
        for end in range(len(wire)):
            with pytest.raises((BadMessage, NotOurs)):
                read_answer(wire[:end], 7, "www.test", kind)


@pytest.mark.parametrize(("kind", "answers", "authorities", "code"), [row[1:5] for row in ANSWERS], ids=[r[0] for r in ANSWERS])
def test_a_damaged_byte_gives_an_answer_or_a_refusal_and_nothing_else(kind, answers, authorities, code):
    wire = message(make_query(7, "www.test", kind), answers, authorities, code)
    for position in range(len(wire)):
        for value in (0, 1, 0x3F, 0x40, 0x80, 0xC0, 0xFF):
            try:
                read_answer(wire[:position] + bytes([value]) + wire[position + 1 :], 7, "www.test", kind)
            except (BadMessage, NotOurs):
                pass


@given(st.binary(max_size=600))
def test_what_follows_the_question_may_be_anything(rest):
    try:
        found = read_answer(message(QUERY, [rest] * 3), 7, "www.test", A)
    except BadMessage:
        return
    assert all(isinstance(value, str) for value in found.values) and found.ttl >= 0


@given(st.binary(max_size=200))
def test_any_message_is_an_answer_or_refused(wire):
    with pytest.raises((BadMessage, NotOurs)):
        read_answer(b"\0\7" + wire, 7, "www.test", A)
        raise NotOurs  # a lucky hypothesis


@pytest.mark.parametrize(
    ("wire", "reason"),
    [
        (message(b"\0\x08" + QUERY[2:], [address_record(POINTER, "10.0.0.1")]), "another identifier"),
        (message(make_query(7, "other.test", A)), "another question"),
        (message(make_query(7, "www.test", AAAA)), "another question"),
        (message(QUERY, flags=0x0100), "not an answer"),
        (message(QUERY, flags=0x8900), "not an answer"),
        (QUERY, "not an answer"),
        (b"\0\7" + b"\x81\x80" + bytes(8), "another number of questions"),
        (b"", "another identifier"),
    ],
)
def test_what_is_no_answer_to_the_question_is_not_ours(wire, reason):
    with pytest.raises(NotOurs, match=reason):
        read_answer(wire, 7, "www.test", A)


@pytest.mark.parametrize(
    ("answers", "reason"),
    [
        ([b"\xc0\x20" + struct.pack("!HHIH", A, 1, 60, 4) + bytes(4)], "backwards"),
        ([b"\xc0\x1a"], "backwards"),
        ([record("www.test", A, b"abc")], "wrong length"),
        ([record("www.test", 5, b"\x01a")], "ends too early"),
        ([record("www.test", 5, b"\x01a\0x")], "does not end with its record"),
        ([record("www.test", 5, b"\x03a.b\0")], "a dot inside a label"),
        ([b"\x40"], "unknown kind of label"),
        ([alias_record("www.test", "b.test"), alias_record("b.test", "www.test")], "too many aliases"),
        ([name_bytes(".".join(["a" * 63] * 4))], "too long a name"),
    ],
)
def test_a_message_that_breaks_the_format_is_refused(answers, reason):
    with pytest.raises(BadMessage, match=reason):
        read_answer(message(QUERY, answers), 7, "www.test", A)


def test_a_truncated_answer_says_so_and_nothing_else():
    wire = message(QUERY, [address_record(POINTER, "10.0.0.1")], flags=0x8380)
    assert read_answer(wire, 7, "www.test", A) == Answer(0, (), "www.test", 0, is_truncated=True)


def test_a_refusal_need_not_repeat_the_question():
    assert read_answer(b"\0\7\x81\x85" + bytes(8), 7, "www.test", A).code == 5


def test_codes_have_the_words_of_nginx():
    assert [reason_of(code) for code in (1, 2, 3, 4, 5, 110, 9)] == [
        "Format error",
        "Server failure",
        "Host not found",
        "Unimplemented",
        "Operation refused",
        "Operation timed out",
        "Unknown error",
    ]


def test_resolv_conf_names_servers_domains_and_dots():
    text = "# x\nnameserver 10.0.0.1 # first\nnameserver ::1\nnameserver fe80::1%eth0\nnameserver a\nsearch A.test b.test.\noptions rotate ndots:5\n"
    assert read_resolv_conf(text) == (("10.0.0.1", "::1"), ("a.test", "b.test"), 5)
    assert read_resolv_conf("") == (("127.0.0.1",), (), 1)
    assert read_resolv_conf("domain a.test\nsearch b.test\noptions ndots:99\noptions ndots:x").search == ("b.test",)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("app", ["app.a.test", "app.b.test", "app"]),
        ("app.x", ["app.x.a.test", "app.x.b.test", "app.x"]),
        ("app.x.y", ["app.x.y", "app.x.y.a.test", "app.x.y.b.test"]),
        ("App.", ["app"]),
    ],
)
def test_a_name_with_few_dots_is_looked_for_in_the_domains_first(name, expected):
    assert candidates(name, read_resolv_conf("search a.test b.test\noptions ndots:2")) == expected


def test_hosts_gives_all_addresses_of_a_name_in_order():
    text = (
        "127.0.0.1 localhost\n::1 localhost ip6-localhost # x\n10.0.0.1\tApp app.test # y\nbad name\n\n10.0.0.2 app\n10.0.0.1 app"
    )
    assert read_hosts(text) == {
        "localhost": ("127.0.0.1", "::1"),
        "ip6-localhost": ("::1",),
        "app": ("10.0.0.1", "10.0.0.2"),
        "app.test": ("10.0.0.1",),
    }
