"""Lines of error logs as JSON."""

from __future__ import annotations

import json
import random

import pytest

from wproxy.error_json import LONGEST, json_line

AT = 1_778_668_215.042


def line(text: str, serial: int = 7, **details: object) -> dict[str, object]:
    found = json_line(AT, "error", 4711, serial, text, details)
    assert len(found) < LONGEST
    shown: dict[str, object] = json.loads(found)
    return shown


def test_the_parts_of_a_line():
    assert line(
        "connect() failed (111: Connection refused) while connecting to upstream", client="10.0.0.1", host="", code="up_refused"
    ) == {
        "level": "error",
        "timestamp": "2026-05-13T10:30:15.042+00:00",
        "pid": 4711,
        "tid": 4711,
        "cnum": 7,
        "msg": "connect() failed",
        "client": "10.0.0.1",
        "code": "up_refused",
        "doing": "connecting to upstream",
        "errno": 111,
        "errtext": "Connection refused",
    }
    assert "cnum" not in line("start", serial=0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("signal 1 (SIGHUP) received", "signal 1 (SIGHUP) received"),
        ('open() "/a (b)" failed (2: No such file or directory)', 'open() "/a (b)" failed'),
        ("a while B: c", "a while B: c"),
        ("", ""),
    ],
)
def test_messages(text, message):
    assert line(text)["msg"] == message


@pytest.mark.parametrize("character", ["a", '"', "\u20ac", "\x00", "\U0001f600"])
def test_a_long_line_is_cut_and_stays_valid(character):
    shown = line("x" * 3000, request=character * 8000, host="h", setting={"name": "a", "value": "1", "at": "f:1:1"})
    assert shown["truncated"] == 1
    assert (shown["host"], shown["setting"]) == ("h", {"name": "a", "value": "1", "at": "f:1:1"})


def test_whatever_is_in_it_a_line_is_valid():
    draw = random.Random(7)
    for _ in range(200):
        text = "".join(chr(draw.choice((0, 10, 34, 92, 128, 0xDCFF, 0x20AC, 65, 32))) for _ in range(draw.randrange(4000)))
        line(text, request=text[::-1], host=text[:50])
