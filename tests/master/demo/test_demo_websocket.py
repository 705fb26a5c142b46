"""The echo is a function from bytes to bytes; it must not matter how the bytes are cut."""

from __future__ import annotations

import pytest

from master.demo.websocket import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    BadFrame,
    Echo,
    Frame,
    accept_key,
    build_frame,
    take_frame,
)

MASK = b"\x37\xfa\x21\x3d"


def client_frame(opcode: int, payload: bytes, *, final: bool = True, first: int | None = None, length: bytes = b"") -> bytes:
    """A masked frame; first and length override what they would be."""
    size = len(payload)
    if not length:
        if size < 126:
            length = bytes([0x80 | size])
        elif size < 65536:
            length = b"\xfe" + size.to_bytes(2, "big")
        else:
            length = b"\xff" + size.to_bytes(8, "big")
    start = (0x80 if final else 0) | opcode if first is None else first
    return bytes([start]) + length + MASK + bytes(byte ^ MASK[i % 4] for i, byte in enumerate(payload))


def close_frame(code: int) -> bytes:
    return client_frame(CLOSE, code.to_bytes(2, "big"))


GOOD = {
    "text": (client_frame(TEXT, b"Hello"), build_frame(TEXT, b"Hello")),
    "empty": (client_frame(TEXT, b""), build_frame(TEXT, b"")),
    "unicode": (client_frame(TEXT, "Grüße ☃".encode()), build_frame(TEXT, "Grüße ☃".encode())),
    "binary": (client_frame(BINARY, bytes(range(125))), build_frame(BINARY, bytes(range(125)))),
    "126 bytes": (client_frame(BINARY, b"x" * 126), build_frame(BINARY, b"x" * 126)),
    "ping": (client_frame(PING, b"are you there"), build_frame(PONG, b"are you there")),
    "pong": (client_frame(PONG, b"unasked"), b""),
    "fragments": (
        client_frame(TEXT, b"Hel", final=False) + client_frame(CONTINUATION, b"lo"),
        build_frame(TEXT, b"Hello"),
    ),
    "a ping between fragments": (
        client_frame(TEXT, b"Hel", final=False) + client_frame(PING, b"!") + client_frame(CONTINUATION, b"lo"),
        build_frame(PONG, b"!") + build_frame(TEXT, b"Hello"),
    ),
    "a character across fragments": (
        client_frame(TEXT, b"\xe2\x98", final=False) + client_frame(CONTINUATION, b"\x83"),
        build_frame(TEXT, b"\xe2\x98\x83"),
    ),
}


@pytest.mark.parametrize("name", GOOD)
def test_messages_come_back_however_they_are_cut(name):
    wire, expected = GOOD[name]
    assert Echo().receive(wire) == expected
    echo = Echo()
    assert b"".join(echo.receive(bytes([byte])) for byte in wire) == expected
    assert not echo.is_closed
    assert Echo().receive(wire + wire) == expected * 2


def test_a_close_is_answered_with_its_code_and_ends_it():
    echo = Echo()
    assert echo.receive(close_frame(1000) + client_frame(TEXT, b"late")) == build_frame(CLOSE, b"\x03\xe8")
    assert echo.is_closed


def test_a_close_without_a_code_is_answered_without_one():
    assert Echo().receive(client_frame(CLOSE, b"")) == build_frame(CLOSE, b"")


BAD = {
    "not masked": (b"\x81\x05Hello", 1002),
    "reserved bit": (client_frame(TEXT, b"x", first=0xC1), 1002),
    "unknown opcode": (client_frame(0x3, b"x"), 1002),
    "unknown control opcode": (client_frame(0xB, b"x"), 1002),
    "long ping": (client_frame(PING, b"x" * 126), 1002),
    "fragmented ping": (client_frame(PING, b"x", final=False), 1002),
    "16-bit length for 5": (client_frame(TEXT, b"Hello", length=b"\xfe\x00\x05"), 1002),
    "64-bit length for 126": (client_frame(TEXT, b"x" * 126, length=b"\xff" + (126).to_bytes(8, "big")), 1002),
    "64-bit length with its highest bit": (b"\x82\xff" + b"\xff" * 8, 1002),
    "continuation of nothing": (client_frame(CONTINUATION, b"x"), 1002),
    "text inside a text": (client_frame(TEXT, b"x", final=False) + client_frame(TEXT, b"y"), 1002),
    "text not UTF-8": (client_frame(TEXT, b"\xff"), 1007),
    "close with half a code": (client_frame(CLOSE, b"\x03"), 1002),
    "close with a code of no wire": (close_frame(1006), 1002),
    "close reason not UTF-8": (client_frame(CLOSE, b"\x03\xe8\xff"), 1007),
    "frame announced too big": (b"\x82\xff" + (1 << 40).to_bytes(8, "big"), 1009),
    "fragments too big together": (client_frame(TEXT, b"x" * 60, final=False) + client_frame(CONTINUATION, b"y" * 60), 1009),
}


@pytest.mark.parametrize("name", BAD)
def test_what_the_rfc_forbids_closes_the_connection(name):
    wire, code = BAD[name]
    for pieces in ([wire], [bytes([byte]) for byte in wire]):
        echo = Echo(limit=100 if "together" in name else 64 * 1024)
        out = b"".join(echo.receive(piece) for piece in pieces)
        assert echo.is_closed
        assert out[0] == 0x80 | CLOSE
        assert int.from_bytes(out[2:4], "big") == code


def test_a_frame_leaves_what_follows_in_the_buffer():
    buffer = bytearray(client_frame(TEXT, b"one") + b"\x81")
    assert take_frame(buffer) == Frame(TEXT, b"one")
    assert buffer == b"\x81"
    assert take_frame(buffer) is None


def test_a_big_frame_is_refused_by_its_header():
    with pytest.raises(BadFrame, match="too big"):
        take_frame(bytearray(b"\x82\xfe\x01\x00"), limit=255)


def test_the_accept_key_of_the_rfc():
    assert accept_key("dGhlIHNhbXBsZSBub25jZQ==") == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="


@pytest.mark.parametrize("key", ["", "dGhlIHNhbXBsZQ==", "not base64!", "dGhlIHNhbXBsZSBub25jZQ", "é" * 24])
def test_a_key_must_be_sixteen_bytes_in_base64(key):
    assert accept_key(key) is None
