"""The chunked coding: every row of http1-security.md §3 about chunks and trailers, as (wire, what comes of it).

Each wire is fed whole, byte by byte, split at every point, and with the next message behind it.
"""

from __future__ import annotations

import pytest

from tests.quickest import quickest
from worker.http1 import chunked as chunked_module
from worker.http1.chunked import LAST_CHUNK, ChunkedDecoder, ChunkError, encode_chunk, encode_whole

NEXT = b"GET /next HTTP/1.1\r\n\r\n"


def decode(*pieces: bytes):
    """Feed the pieces: (payload, trailers, leftover) when finished, payload when not, "refused"."""
    decoder = ChunkedDecoder()
    try:
        payload = b"".join([decoder.feed(piece) for piece in pieces])
    except ChunkError:
        return "refused"
    if decoder.finished:
        return payload, decoder.trailers, decoder.leftover
    return payload


def one_by_one(wire: bytes) -> list[bytes]:
    return [wire[index : index + 1] for index in range(len(wire))]


def check_all_feeds(wire: bytes):
    """Feed in every way; returns what came of it."""
    result = decode(wire)
    assert decode(*one_by_one(wire)) == result
    for split in range(0, len(wire), max(1, len(wire) // 200)):
        assert decode(wire[:split], wire[split:]) == result
    if isinstance(result, tuple):
        payload, trailers, leftover = result
        assert leftover == b""
        assert decode(wire + NEXT) == (payload, trailers, NEXT)
        assert decode(wire, NEXT) == (payload, trailers, NEXT)
        assert decode(*one_by_one(wire + NEXT)) == (payload, trailers, NEXT)
    return result


REFUSED: list[tuple[str, bytes]] = []


def refuse(row: str, *wires: bytes) -> None:
    for number, wire in enumerate(wires):
        REFUSED.append((f"{row} #{number}" if len(wires) > 1 else row, wire))


def sized(size: bytes) -> bytes:
    """A body whose first chunk has this size line and five bytes."""
    return size + b"\r\nhello\r\n0\r\n\r\n"


def trailed(*lines: bytes) -> bytes:
    return b"5\r\nhello\r\n0\r\n" + b"".join(line + b"\r\n" for line in lines) + b"\r\n"


refuse("size sign", sized(b"+5"), sized(b"-5"), sized(b"-0"))
refuse("size 0x", sized(b"0x5"), sized(b"0X5"), sized(b"5h"), sized(b"x5"))
refuse("size _", sized(b"0_5"), sized(b"5_"))
refuse("size leading SP or HTAB", sized(b" 5"), sized(b"\t5"))
refuse("size empty", sized(b""), sized(b";ext"), b"5\r\nhello\r\n\r\n0\r\n\r\n")
refuse("size NUL", sized(b"5\0"), sized(b"\x005"))
refuse("size VT FF", sized(b"5\x0b"), sized(b"\x0b5"), sized(b"5\x0c"))
refuse("size superscript", sized("\u00b2".encode()), sized(b"\xb2"), sized("\u0665".encode()))
refuse("size NBSP NEL", sized(b"5\xa0"), sized(b"5\x85"))
refuse("size 2**63", sized(b"8000000000000000"), sized(b"ffffffffffffffff"), sized(b"8000000000000000 "))
refuse("size 17 digits", sized(b"00000000000000005"), sized(b"10000000000000005"), sized(b"00000000000000005;a"))
refuse("size decimal point, quotes", sized(b"5.0"), sized(b'"5"'), sized(b"5,"))
refuse("size junk", sized(b"5 junk"), sized(b"5 5"), sized(b"5\tx"), sized(b"5junk"))
refuse("longest prefix of a size (ATS, H2O)", sized(b"5g"), sized(b"5zz"), sized(b"0z"), b"0z\r\n\r\n")
refuse("bare LF after size", b"5\nhello\r\n0\r\n\r\n", b"5\r\nhello\r\n0\n\r\n")
refuse("bare LF after data", b"5\r\nhello\n0\r\n\r\n")
refuse("bare LF in trailer", b"0\r\nA: b\n\r\n", b"0\r\nA: b\n\n", b"0\r\n\n")
refuse("bare LF before CR", b"5\n\rhello\r\n0\r\n\r\n", b"5\r\nhello\n\r0\r\n\r\n")
refuse("bare CR", b"5\rhello\r\n0\r\n\r\n", b"5\r\rhello\r\n0\r\n\r\n", b"5\r\nhello\r\r0\r\n\r\n", b"0\r\n\rX\r\n")
refuse("extension with LF inside", sized(b"5;a\nb"), sized(b"2;\nxx"), b"2;\nxx\r\n4c\r\n0\r\n\r\n")
refuse("extension with CR inside", sized(b"5;a\rb"), sized(b"5;\r"))
refuse("extension with CR CR X (Node + Akamai)", sized(b"5;\r\rX"), b"5\r\rX\r\nhello\r\n0\r\n\r\n", b"0;\r\rX\r\n\r\n")
refuse("extension with NUL or CTL", sized(b"5;a\0"), sized(b"5;a\x01"), sized(b"5;a=\x0b"), sized(b"5;\x7f"))
refuse("extension of the last chunk", b"0;a\0\r\n\r\n")
refuse("extension line over 4 KiB", sized(b"5;" + b"a" * 4096), b"5;" + b"a" * 5000)
refuse("endless zeros", b"0" * 5000, sized(b"0" * 4000 + b"5"))
refuse("data not followed by CRLF (h11 CVE-2025-43859)", b"5\r\nhelloXX0\r\n\r\n", b"5\r\nhello\rX0\r\n\r\n", b"5\r\nhelloX\n0\r\n\r\n",
       b"5\r\nhello!\r\n0\r\n\r\n", b"5\r\nhello0\r\n\r\n")  # fmt: skip
refuse("data longer than its size", b"4\r\nhello\r\n0\r\n\r\n")
refuse("trailer section ended by CRLF XX (Puma)", b"0\r\nXX\r\n\r\n", b"0\r\nXXGET / HTTP/1.1\r\n\r\n")
refuse("trailer that is a request line", trailed(b"GET /admin HTTP/1.1"), trailed(b"GET /admin HTTP/1.1", b"Host: a"))
refuse("trailer without colon", trailed(b"A"), trailed(b"A: b", b"C"))
refuse("trailer SP before colon", trailed(b"A : b"), trailed(b"A\t: b"), trailed(b" A: b"))
refuse("trailer NUL", trailed(b"A: b\0"), trailed(b"A\0: b"))
refuse("trailer CTL", trailed(b"A: \x01"), trailed(b"A: b\x0b"), trailed(b"A\x7f: b"))
refuse("trailer folded", trailed(b"A: b", b" c"), trailed(b"A: b", b"\tc: d"))
refuse("trailer invalid name", trailed(b"(A): b"), trailed(b"A\xe4: b"), trailed(b": b"), trailed(b"A@b: c"))
refuse("trailer line over 4 KiB", trailed(b"A: " + b"b" * 4096))


@pytest.mark.parametrize("wire", [wire for _, wire in REFUSED], ids=[row for row, _ in REFUSED])
def test_refused(wire: bytes):
    assert check_all_feeds(wire) == "refused"


ACCEPTED: list[tuple[str, bytes, bytes, tuple]] = [
    ("nothing", b"0\r\n\r\n", b"", ()),
    ("zeros", b"000\r\n\r\n", b"", ()),
    ("sixteen digits", sized(b"0000000000000005"), b"hello", ()),
    ("one chunk", sized(b"5"), b"hello", ()),
    ("upper and lower case", b"A\r\n0123456789\r\na\r\n9876543210\r\n0\r\n\r\n", b"01234567899876543210", ()),
    ("several chunks", b"5\r\nhello\r\n1\r\n \r\n5\r\nworld\r\n0\r\n\r\n", b"hello world", ()),
    ("data that looks like chunks", b"7\r\n0\r\n\r\n5\r\r\n0\r\n\r\n", b"0\r\n\r\n5\r", ()),
    ("size and trailing SP", sized(b"5 "), b"hello", ()),
    ("size and trailing HTAB", sized(b"5\t \t"), b"hello", ()),
    ("extension", sized(b'5;a=b;c="d;e"'), b"hello", ()),
    ("extension after SP", sized(b"5 ; a"), b"hello", ()),
    ("extension empty", sized(b"5;"), b"hello", ()),
    ("extension 8-bit", sized(b"5;\xe4"), b"hello", ()),
    ("extension on the last chunk", b"0;a\r\n\r\n", b"", ()),
    ("extension of 4 KiB", sized(b"5;" + b"a" * 4094), b"hello", ()),
    ("trailers", trailed(b"A: b", b"X-Sum:  1 ", b"grpc-status:0"), b"hello", ((b"A", b"b"), (b"X-Sum", b"1"), (b"grpc-status", b"0"))),
    ("trailer with _", trailed(b"A_b: c"), b"hello", ((b"A_b", b"c"),)),
    ("trailer, forbidden names", trailed(b"Content-Length: 5", b"Transfer-Encoding: chunked", b"Host: b", b"Authorization: c", b"X-Forwarded-For: d",
     b"Connection: close", b"content-TYPE: e", b"If-Match: f", b"Set-Cookie: g", b"Trailer: h", b"X-Real-IP: i", b"Ok: j"), b"hello", ((b"Ok", b"j"),)),
]  # fmt: skip


@pytest.mark.parametrize("wire, payload, trailers", [case[1:] for case in ACCEPTED], ids=[case[0] for case in ACCEPTED])
def test_accepted(wire: bytes, payload: bytes, trailers: tuple):
    assert check_all_feeds(wire) == (payload, trailers, b"")


@pytest.mark.parametrize("wire, payload", [(b"", b""), (b"5", b""), (b"5\r", b""), (b"5\r\n", b""), (b"5\r\nhel", b"hel"), (b"5\r\nhello", b"hello"),
                                           (b"5\r\nhello\r", b"hello"), (b"5\r\nhello\r\n", b"hello"), (b"0\r\n", b""), (b"0\r\n\r", b""), (b"0\r\nA: b\r\n", b"")])  # fmt: skip
def test_unfinished(wire: bytes, payload: bytes):
    assert check_all_feeds(wire) == payload


@pytest.mark.parametrize(
    "wire",
    [
        b"5;\n",
        b"\n",
        b"5\rX",
        b"hello",
        b"+5",
        b"GET ",
        b"5 x",
        b"0" * 17,
        b" 5",
        b"5\r\nhelloX",
        b"0\r\n\n",
        b"0\r\n\rX",
        b"0\r\nA: b\n",
    ],
)
def test_hopeless_beginnings_are_refused_at_once(wire: bytes):
    assert check_all_feeds(wire) == "refused"


def test_extensions_are_limited_in_total():
    chunk = b"1;" + b"a" * 4000 + b"\r\nx\r\n"
    assert decode(chunk * 16) == b"x" * 16
    assert decode(chunk * 17) == "refused"
    assert decode(*[chunk] * 17) == "refused"
    assert decode(b"1 \r\nx\r\n" * 65536) == b"x" * 65536
    assert decode(b"1 \r\nx\r\n" * 65537) == "refused", "white space is an extension too"


def test_trailers_are_limited_in_number_and_size():
    assert decode(trailed(*(b"A%d: b" % number for number in range(256)))) != "refused"
    assert decode(trailed(*(b"A%d: b" % number for number in range(257)))) == "refused"
    assert decode(trailed(*(b"A: b" for _ in range(20_000)))) == "refused"
    assert decode(*one_by_one(trailed(*(b"A: b" for _ in range(300))))) == "refused"
    assert decode(trailed(*(b"A: " + b"b" * 3000 for _ in range(5)))) != "refused"
    assert decode(trailed(*(b"A: " + b"b" * 3000 for _ in range(6)))) == "refused"


def test_a_piece_within_a_chunk_passes_without_a_copy():
    decoder = ChunkedDecoder()
    decoder.feed(b"100000\r\n")
    piece = bytes(65536)
    assert decoder.feed(piece) is piece


def test_a_chunk_may_be_larger_than_memory():
    decoder = ChunkedDecoder()
    decoder.feed(b"7fffffffffffffff\r\n")
    assert decoder.feed(b"x" * 1000) == b"x" * 1000
    assert not decoder.finished


def test_bytes_after_the_end_are_left_over():
    decoder = ChunkedDecoder()
    assert decoder.feed(b"1\r\na\r\n0\r\n\r\nGET") == b"a"
    assert decoder.feed(b" /") == b""
    assert (decoder.finished, decoder.leftover) == (True, b"GET /")


def test_no_bytes_are_no_news():
    decoder = ChunkedDecoder()
    assert [decoder.feed(piece) for piece in (b"", b"1", b"", b"\r\n", b"", b"a", b"", b"\r\n0\r\n\r\n", b"")] == [
        b"",
        b"",
        b"",
        b"",
        b"",
        b"a",
        b"",
        b"",
        b"",
    ]
    assert decoder.finished


def test_encode():
    assert encode_chunk(b"hello") == b"5\r\nhello\r\n"
    assert encode_chunk(b"x" * 255)[:4] == b"ff\r\n"
    assert encode_chunk(b"") == b"", "an empty chunk would end the body"
    assert decode(encode_chunk(b"hello") + encode_chunk(b"\r\n") + LAST_CHUNK) == (b"hello\r\n", (), b"")


@pytest.mark.parametrize("size", [0, 1, 255, 1023, 1024, 70000])
def test_a_whole_body_is_encoded_as_its_chunk_and_the_end(size):
    assert encode_whole(b"x" * size) == encode_chunk(b"x" * size) + LAST_CHUNK


def test_reprs_tell_the_state():
    decoder = ChunkedDecoder()
    assert "size" in repr(decoder)
    decoder.feed(b"5\r\nhe")
    assert "data, 3 to come" in repr(decoder)
    decoder.feed(b"llo\r\n0\r\n\r\nrest")
    assert "finished, 4 bytes" in repr(decoder)


def test_an_error_says_why():
    for wire, reason in (
        (b"x\r\n", "invalid chunk line"),
        (b"1\r\nabc", "no CRLF"),
        (b"0\r\nA\r\n", 'invalid trailer line: "A"'),
        (b"1\n", "without CR"),
    ):
        with pytest.raises(ChunkError, match=reason):
            ChunkedDecoder().feed(wire)


@pytest.mark.parametrize(
    "pieces, seconds",
    [
        ([b"1\r\nx\r\n" * 20_000 + LAST_CHUNK], 0.2),
        (one_by_one(b"1\r\nx\r\n" * 20_000 + LAST_CHUNK), 1.0),
        (one_by_one((b"1;" + b"a" * 4000 + b"\r\nx\r\n") * 10), 1.0),
        ([b"10000\r\n" + b"x" * 65536 + b"\r\n"] * 500, 0.2),
        ([b"1;" + b"a" * 4090, *([b""] * 20_000)], 0.5),
    ],
    ids=["20,000 chunks at once", "20,000 chunks byte by byte", "extensions byte by byte", "32 MB in big chunks", "empty pieces"],
)
def test_nothing_is_quadratic(pieces: list[bytes], seconds: float):
    spent, decoded = quickest(seconds, lambda: decode(*pieces))
    assert decoded != "refused"
    assert spent < seconds


def test_limits_are_those_of_the_table():
    assert (chunked_module.LINE_BYTES, chunked_module.EXTENSION_BYTES) == (4096, 65536)
