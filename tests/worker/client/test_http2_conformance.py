"""The cases of h2spec (generic, http2 and hpack, by its numbers) that no other test here has: what may come, and what must not.

Its other cases are rows of CONNECTION_FAULTS and of the tests beside it in test_http2_connection.py, of MALFORMED in
test_http2_requests.py, and of tests/worker/http2. A fault is told as h2spec does: the code of the connection's end, or the code of the
stream's; "400" is that of a malformed request, which is answered and reset (http2-rules.md, policy 2).
"""

from __future__ import annotations

import hpack
import pytest
from speaking import (
    ACK,
    CONTINUATION,
    DATA,
    EH,
    ES,
    GET,
    GOAWAY,
    H2,
    HEADERS,
    OPENED,
    PADDED,
    PING,
    PRIO,
    PRIORITY,
    READY,
    RST,
    SETTINGS,
    WINDOW,
    block,
    fields_of,
    frame,
    get,
    http2,
    number,
    said_to,
    settings,
)

CANCEL = number(8)


def huffman(value: bytes) -> bytes:
    """A string in Huffman code, with its length."""
    encoded = hpack.huffman.HuffmanEncoder(
        hpack.huffman_constants.REQUEST_CODES, hpack.huffman_constants.REQUEST_CODES_LENGTH
    ).encode(value)
    return bytes((0x80 | len(encoded),)) + encoded


def literal(*strings: bytes, first: bytes) -> bytes:
    """A field whose representation begins with this, and strings as they are."""
    return first + b"".join(bytes((len(string),)) + string for string in strings)


# :method GET, :scheme http, :path / of the static table, and :authority by its index there.
INDEXED = b"\x82\x86\x84"
AUTHORITY = literal(b"front", first=b"\x01")
POST = block(fields_of(method=b"POST"))

# What is served with 200, as if nothing were about it.
SERVED = {
    "generic 3.3/1: HEADERS with a priority": get(1, EH | ES | PRIO, number(0) + b"\xff" + GET),
    "generic 3.3/2: PRIORITY, then HEADERS": frame(PRIORITY, 0, 1, number(0) + b"\xff") + get(),
    "generic 3.3/3: PRIORITY of an idle and of another stream": frame(PRIORITY, 0, 9, number(1) + b"\1") + get(),
    "generic 3.3/5: exclusive": frame(PRIORITY, 0, 3, b"\x80\0\0\1\1") + get(),
    "generic 3.10/2: three frames of a field block": get(1, ES, GET[:5])
    + frame(CONTINUATION, 0, 1, GET[5:9])
    + frame(CONTINUATION, EH, 1, GET[9:]),
    "generic 5/1: indexed fields": get(1, payload=INDEXED + AUTHORITY),
    "generic 5/2: a literal that is kept, its name indexed": get(1, payload=INDEXED + literal(b"front", first=b"\x41")),
    "generic 5/3: the same in Huffman code": get(1, payload=INDEXED + b"\x41" + huffman(b"front")),
    "generic 5/4: a literal that is kept, its name new": get(1, payload=GET + literal(b"x-a", b"b", first=b"\x40")),
    "generic 5/5: the same in Huffman code": get(1, payload=GET + b"\x40" + huffman(b"x-a") + huffman(b"b")),
    "generic 5/7: a literal that is not kept, in Huffman code": get(1, payload=INDEXED + b"\x01" + huffman(b"front")),
    "generic 5/9: a new name that is not kept, in Huffman code": get(1, payload=GET + b"\0" + huffman(b"x-a") + huffman(b"b")),
    "generic 5/10: a literal that is never kept": get(1, payload=INDEXED + literal(b"front", first=b"\x11")),
    "generic 5/11: the same in Huffman code": get(1, payload=INDEXED + b"\x11" + huffman(b"front")),
    "generic 5/12: a new name that is never kept": get(1, payload=GET + literal(b"x-a", b"b", first=b"\x10")),
    "generic 5/13: the same in Huffman code": get(1, payload=GET + b"\x10" + huffman(b"x-a") + huffman(b"b")),
    "generic 5/14: a field of the table that this block has made": get(
        1, payload=GET + literal(b"x-a", b"b", first=b"\x40") + b"\xbe"
    ),
    "generic 5/15: a new size of the table": get(1, payload=b"\x20\x3f\xe1\x1f" + GET),
    "4.1/2: undefined flags": get(1, EH | ES | 0x50),
    "4.1/3: the reserved bit": frame(HEADERS, EH | ES, 0x80000001, GET),
    "4.2/1: DATA of 16384 bytes": get(1, EH, POST) + frame(DATA, ES, 1, bytes(16384)),
    "5.5/1: a frame of a further type": frame(0x16, 0, 0, bytes(8)) + get(),
    "6.2: padded HEADERS": get(1, EH | ES | PADDED, b"\5" + GET + bytes(5)),
    "6.1: padded DATA": get(1, EH, POST) + frame(DATA, ES | PADDED, 1, b"\3abc\0\0\0"),
    "6.5.2/5: an unknown setting": settings((0xFF, 1)) + get(),
    "6.9: more of the windows": get(1, EH) + frame(WINDOW, 0, 0, number(1)) + frame(WINDOW, 0, 1, number(1)) + frame(DATA, ES, 1),
    "7/1: GOAWAY of an unknown code": frame(GOAWAY, 0, 0, number(0) + number(0xFF)) + get(),
}

# What ends the connection, with which code.
FAULTS = {
    "4.2/3: HEADERS larger than ours may be": (frame(HEADERS, EH | ES, 1, b"", 16385), "FRAME_SIZE_ERROR"),
    "4.2: SETTINGS larger than ours may be": (frame(SETTINGS, 0, 0, b"", 16386), "FRAME_SIZE_ERROR"),
    "4.3/2: PRIORITY within a field block": (get(1, ES) + frame(PRIORITY, 0, 1, number(0) + b"\1"), "PROTOCOL_ERROR"),
    "4.3/3: HEADERS of another stream within one": (get(1, ES) + get(3), "PROTOCOL_ERROR"),
    "4.3: RST_STREAM within one": (get(1, ES) + frame(RST, 0, 1, CANCEL), "PROTOCOL_ERROR"),
    "4.3: SETTINGS within one": (get(1, ES) + settings(), "PROTOCOL_ERROR"),
    "4.3: WINDOW_UPDATE within one": (get(1, ES) + frame(WINDOW, 0, 0, number(1)), "PROTOCOL_ERROR"),
    "4.3: GOAWAY within one": (get(1, ES) + frame(GOAWAY, 0, 0, bytes(8)), "PROTOCOL_ERROR"),
    "5.1/7: CONTINUATION after the end of a request": (get() + frame(CONTINUATION, EH | ES, 1, GET), "PROTOCOL_ERROR"),
    "5.1/8: DATA after RST_STREAM": (get(1, EH) + frame(RST, 0, 1, CANCEL) + frame(DATA, ES, 1, b"x"), "STREAM_CLOSED"),
    "5.1/9: HEADERS after RST_STREAM": (get(1, EH) + frame(RST, 0, 1, CANCEL) + get(), "STREAM_CLOSED"),
    "5.1/10: CONTINUATION after RST_STREAM": (
        get(1, EH) + frame(RST, 0, 1, CANCEL) + frame(CONTINUATION, EH, 1, GET),
        "PROTOCOL_ERROR",
    ),
    "5.1.1/2: a number below the last": (get(5) + get(3), "PROTOCOL_ERROR"),
    "6.2/1: a second HEADERS within a field block": (get(1, ES) + get(1), "PROTOCOL_ERROR"),
    "6.10/2: DATA after CONTINUATIONs without an end": (
        get(1, 0, GET[:5]) + frame(CONTINUATION, 0, 1, GET[5:]) + frame(DATA, ES, 1, b"x"),
        "PROTOCOL_ERROR",
    ),
    "6.10/3: CONTINUATION without a stream": (get(1, ES) + frame(CONTINUATION, EH, 0, GET), "PROTOCOL_ERROR"),
    "6.10/5: CONTINUATION after the end of a block": (
        get(1, ES, GET[:5]) + frame(CONTINUATION, EH, 1, GET[5:]) + frame(CONTINUATION, EH, 1, GET),
        "PROTOCOL_ERROR",
    ),
    "6.10/6: CONTINUATION after DATA": (
        get(1, EH, POST) + frame(DATA, 0, 1, b"x") + frame(CONTINUATION, EH, 1, GET),
        "PROTOCOL_ERROR",
    ),
    "hpack 2.3.3/1: an index beyond both tables": (get(1, payload=GET + b"\xff\x80\x01"), "COMPRESSION_ERROR"),
    "hpack 4.2/1: a size of the table at the end of a block": (get(1, payload=GET + b"\x3f\x01"), "COMPRESSION_ERROR"),
    "hpack 5.2/2: Huffman padding of zeros": (get(1, payload=GET + b"\0\1a\x81\x18"), "COMPRESSION_ERROR"),
    "hpack 5.2/3: the end of a string within it": (get(1, payload=GET + b"\0\1a\x84\xff\xff\xff\xff"), "COMPRESSION_ERROR"),
    "hpack 6.1/1: index 0": (get(1, payload=GET + b"\x80"), "COMPRESSION_ERROR"),
    "hpack 6.3/1: a size beyond our setting": (get(1, payload=b"\x3f\xe2\x1f" + GET), "COMPRESSION_ERROR"),
}


def without(*names: bytes) -> bytes:
    return get(1, payload=block([field for field in fields_of() if field[0] not in names]))


def with_more(*fields: tuple[bytes, bytes]) -> bytes:
    return get(1, payload=block([*fields_of(), *fields]))


# What makes a request malformed.
MALFORMED = {
    "8.1.2.1/2: a field of responses": with_more((b":status", b"200")),
    "8.1.2.3/2: no :method": without(b":method"),
    "8.1.2.3/3: no :scheme": without(b":scheme"),
    "8.1.2.3/4: no :path": without(b":path"),
    "8.1.2.3/5: two :method": get(1, payload=block([(b":method", b"GET"), *fields_of()])),
    "8.1.2.3/6: two :scheme": get(1, payload=block([(b":scheme", b"http"), *fields_of()])),
    "8.1.2.3/7: two :path": get(1, payload=block([(b":path", b"/"), *fields_of()])),
    "8.1.2.6/1: a length that DATA does not have": get(1, EH, POST + block([(b"content-length", b"1")]))
    + frame(DATA, ES, 1, b"test"),
    "8.1.2.6/2: nor do several": get(1, EH, POST + block([(b"content-length", b"1")]))
    + frame(DATA, 0, 1, b"test")
    + frame(DATA, ES, 1, b"test"),
}


@pytest.mark.parametrize("row", SERVED)
def test_what_is_allowed_is_served(stage, row):
    h2, said = said_to(stage, SERVED[row])
    assert [word for word in said if word.startswith("1: ") and word != f"1: {OPENED}"] == ["1: 200", "1: +5."]
    assert not [word for word in said if word.startswith("GOAWAY") and not word.endswith("NO_ERROR")]
    assert h2.stage.statuses() == ["200"]
    h2.end.close()


@pytest.mark.parametrize("row", FAULTS)
def test_a_fault_ends_the_connection(stage, row):
    wire, code = FAULTS[row]
    h2, said = said_to(stage, wire)
    assert [word.split()[2] for word in said if word.startswith("GOAWAY")] == [code], said
    assert said[-1] == "end"
    h2.end.close()


@pytest.mark.parametrize("row", MALFORMED)
def test_a_malformed_request_is_answered_and_reset_alone(stage, row):
    h2 = H2(http2(stage))
    h2.send(MALFORMED[row])
    said = [word for word in h2.news() if word.startswith("1: ") and "+" not in word and "WINDOW" not in word]
    assert said == ["1: 400", "1: RST PROTOCOL_ERROR"]
    assert h2.is_alive()


def test_head_and_post_and_trailers(stage):
    """generic 4/1 to 4/4."""
    h2 = H2(http2(stage, location=READY))
    h2.ask(1, method=b"HEAD")
    assert h2.news() == ["1: 200."]
    h2.ask(3, method=b"POST", end=False).data(3, b"test", end=True)
    h2.ask(5, method=b"POST", end=False).data(5, b"test")
    h2.send(frame(HEADERS, EH | ES, 5, block([(b"x-test", b"ok")])))
    h2.stage.advance(1)
    assert [word for word in h2.news() if "WINDOW" not in word] == ["3: 200", "3: +5.", "5: 200", "5: +5."]


def test_a_ping_on_every_kind_of_connection_state(stage):
    """6.7/1 and 6.7/2, 6.5.3/2: before a request, amid one, and an acknowledgement of nothing."""
    h2 = H2(http2(stage, location=READY))
    h2.send(frame(PING, 0, 0, b"12345678"), frame(PING, ACK, 0, b"87654321"), settings((4, 100)))
    assert h2.news() == [f"PING ACK {b'12345678'.hex()}", "SETTINGS ACK"]
    h2.ask(1, method=b"POST", end=False).data(1, b"x")
    assert h2.is_alive()
