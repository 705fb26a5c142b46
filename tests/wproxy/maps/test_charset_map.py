"""Texts from one character set to another, in one piece and in many."""

from __future__ import annotations

import pytest

from wproxy.config.nginx import parse_nginx
from wproxy.config.resolve import resolve
from wproxy.config.tree import ConfigurationError
from wproxy.maps.charset_map import CharsetMap, Recoding, recodings_of

KOI = CharsetMap("koi8-r", "UTF-8", ((0xC1, "\u0430".encode()), (0xC2, "\u0431".encode()), (0xFF, "\u2122".encode())))
FLAT = CharsetMap("a", "b", ((0x80, b"\x90"), (0x41, b"\x42")))


def recoded(recoding: Recoding, *pieces: bytes) -> bytes:
    recoder = recoding.start()
    return b"".join(recoder.recode(piece, False) for piece in pieces) + recoder.recode(b"", True)


def test_each_byte_becomes_a_character_and_back():
    ways = recodings_of((KOI, FLAT))
    assert set(ways) == {("koi8-r", "utf-8"), ("utf-8", "koi8-r"), ("a", "b"), ("b", "a")}
    forth, back = ways["koi8-r", "utf-8"], ways["utf-8", "koi8-r"]
    assert recoded(forth, b"x\xc1\xc2\xff\xfe") == "x\u0430\u0431\u2122?".encode()
    assert recoded(back, "x\u0430\u0431\u2122".encode()) == b"x\xc1\xc2\xff"
    assert not forth.keeps_length
    assert not back.keeps_length


def test_what_the_other_set_has_not_is_named_by_its_number():
    back = Recoding(KOI, backwards=True)
    assert recoded(back, "\u00e9\u00c1\u4e2d\U0001f600".encode()) == b"&#233;&#193;&#20013;&#128512;"


@pytest.mark.parametrize("place", range(1, 10))
def test_a_character_may_lie_across_pieces(place):
    text = "a\u0430\u2122b\u0431".encode()
    assert recoded(Recoding(KOI, backwards=True), text[:place], text[place:]) == b"a\xc1\xffb\xc2"


def test_what_is_no_utf8_gives_question_marks():
    back = Recoding(KOI, backwards=True)
    assert recoded(back, b"a\xffb\xd0") == b"a?b?"
    assert recoded(back, b"a\xd0", b"b") == b"a?b"


def test_from_byte_to_byte_the_length_stays():
    for backwards, given, expected in ((False, b"A\x80\x81z", b"B\x90?z"), (True, b"B\x90\x91z", b"A\x80?z")):
        recoding = Recoding(FLAT, backwards)
        assert recoding.keeps_length
        assert recoded(recoding, given[:2], given[2:]) == expected


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("charset_map a b { zz 11; }", 'invalid value "zz"'),
        ("charset_map a b { 111 12; }", 'invalid value "111"'),
        ("charset_map a b { 11; }", "invalid parameters number"),
        ("charset_map a b { 11 12 13; }", "invalid parameters number"),
        ("charset_map a A { 11 12; }", '"charset_map" between the same charsets "a" and "A"'),
        ("charset_map a utf-8 { 11 1; }", 'invalid value "1"'),
        ("charset_map a utf-8 { 80 F09F9880; }", 'invalid value "F09F9880"'),
        ("charset_map a utf-8 { 80 4142; }", 'invalid value "4142"'),
        ("charset_map a utf8 { 80 D18E; }", 'invalid value "D18E"'),
        ("charset_map a b { 80 { } }", 'unexpected "{"'),
        ("charset_map utf-8 a { 80 81; }", '"charset_map" from "utf-8": write the map to "utf-8", it works both ways'),
        ("charset_map a b { } charset_map B A { }", 'duplicate "charset_map" between "B" and "A"'),
        ("charset x; source_charset y;", 'no "charset_map" between the charsets "y" and "x"'),
    ],
)
def test_a_mistake_is_one_clear_line(text, problem):
    written = f"events {{}}\nhttp {{ {text}\nserver {{ listen 8080; location / {{ }} }} }}"
    with pytest.raises(ConfigurationError) as raised:
        resolve(parse_nginx(written.encode(), "nginx.conf"), "nginx.conf", "/", lambda host, port: [])
    assert [str(each) for each in raised.value.problems] == [f"{problem} in nginx.conf:2"]


def test_ascii_that_stands_for_something_else_there_is_kept_on_the_way_back():
    odd = CharsetMap("odd", "utf-8", ((0x7E, "\u00a0".encode()),))
    assert recoded(Recoding(odd, backwards=False), b"a~b") == "a\u00a0b".encode()
    assert recoded(Recoding(odd, backwards=True), "a\u00a0b~c".encode()) == b"a~b~c"
