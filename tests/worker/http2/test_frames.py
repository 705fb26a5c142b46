"""Frames: (wire, value) fed whole, byte by byte and with trailing bytes; each wrong frame; what hyperframe writes and reads."""

from __future__ import annotations

import struct

import hyperframe.frame as peer
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_requests import attributes_of

from worker.http2 import frames
from worker.http2.errors import ENHANCE_YOUR_CALM, FRAME_SIZE_ERROR, PROTOCOL_ERROR, ConnectionFault
from worker.http2.frames import FrameReader

SETTINGS = b"\0\0\0\x04\0\0\0\0\0"


def wire(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return struct.pack(">I", len(payload))[1:] + bytes((kind, flags)) + struct.pack(">I", stream) + payload


def after_settings(sender: str = "client") -> FrameReader:
    reader = FrameReader(sender, expects_preface=False)
    reader.feed(SETTINGS)
    assert repr(reader.take()) == "<SETTINGS ()>"
    return reader


def taken(reader: FrameReader, data: bytes) -> list[frames.Frame]:
    reader.feed(data)
    found = []
    while (frame := reader.take()) is not None:
        found.append(frame)
    return found


OF_THE_CONNECTION = (frames.Settings, frames.Ping, frames.GoAway)  # their stream is always 0, and no attribute of an object


def values(frame: frames.Frame) -> dict[str, object]:
    names = attributes_of(type(frame))
    return {name: getattr(frame, name) for name in names if name != "stream" or not isinstance(frame, OF_THE_CONNECTION)}


def number(value: int) -> bytes:
    return struct.pack(">I", value)


GOOD = [
    (wire(0, 0, 1, b"abc"), {"stream": 1, "data": b"abc", "flow": 3, "end_stream": False}),
    (wire(0, 1, 3), {"stream": 3, "data": b"", "flow": 0, "end_stream": True}),
    (wire(0, 9, 3, b"\x02abc\0\0"), {"stream": 3, "data": b"abc", "flow": 6, "end_stream": True}),
    (wire(0, 8, 3, b"\x03abc"), {"stream": 3, "data": b"", "flow": 4, "end_stream": False}),
    (wire(0, 8, 3, b"\x01a\xff"), {"stream": 3, "data": b"a", "flow": 3, "end_stream": False}),
    (wire(0, 0, 1 << 31 | 5, b"x"), {"stream": 5, "data": b"x", "flow": 1, "end_stream": False}),
    (wire(0, 0xF6, 1, b"abc"), {"stream": 1, "data": b"abc", "flow": 3, "end_stream": False}),
    (wire(1, 4, 1, b"\x82"), {"stream": 1, "block": b"\x82", "end_stream": False}),
    (wire(1, 5, 1), {"stream": 1, "block": b"", "end_stream": True}),
    (wire(1, 0x0C, 1, b"\x02\x82\0\0"), {"stream": 1, "block": b"\x82", "end_stream": False}),
    (wire(1, 0x0C, 1, b"\x02\0\0"), {"stream": 1, "block": b"", "end_stream": False}),
    (wire(1, 0x24, 1, number(7) + b"\x10\x82"), {"stream": 1, "block": b"\x82", "end_stream": False}),
    (wire(1, 0x2D, 1, b"\x01" + number(1 << 31) + b"\xff\x82\0"), {"stream": 1, "block": b"\x82", "end_stream": True}),
    (wire(1, 0, 1, b"\x82") + wire(9, 4, 1, b"\x84"), {"stream": 1, "block": b"\x82\x84", "end_stream": False}),
    (wire(1, 1, 1) + wire(9, 1, 1) + wire(9, 4, 1, b"\x84"), {"stream": 1, "block": b"\x84", "end_stream": True}),
    (wire(1, 8, 1, b"\x01\x82\0") + wire(9, 5, 1), {"stream": 1, "block": b"\x82", "end_stream": False}),
    (wire(2, 0, 9, number(3) + b"\x10"), {"stream": 9}),
    (wire(3, 0, 9, number(8)), {"stream": 9, "code": 8}),
    (wire(3, 0, 9, number(0xFFFFFFFF)), {"stream": 9, "code": 0xFFFFFFFF}),
    (wire(4, 0, 0, struct.pack(">HIHI", 4, 100, 77, 1)), {"ack": False, "pairs": ((4, 100), (77, 1))}),
    (wire(4, 1, 0), {"ack": True, "pairs": ()}),
    (wire(4, 0x81, 0), {"ack": True, "pairs": ()}),
    (wire(6, 0, 0, b"12345678"), {"ack": False, "opaque": b"12345678"}),
    (wire(6, 1, 0, b"12345678"), {"ack": True, "opaque": b"12345678"}),
    (wire(7, 0, 0, number(5) + number(2) + b"why"), {"last": 5, "code": 2, "debug": b"why"}),
    (wire(8, 0, 0, number(1)), {"stream": 0, "increment": 1}),
    (wire(8, 0, 7, number(0xFFFFFFFF)), {"stream": 7, "increment": 0x7FFFFFFF}),
    (wire(0x10, 0xFF, 0, b"priority"), {"kind": 0x10, "stream": 0}),
    (wire(0xFE, 0, 4), {"kind": 0xFE, "stream": 4}),
]


@pytest.mark.parametrize(("data", "value"), GOOD)
def test_a_frame_is_read_whole_byte_by_byte_and_before_others(data, value):
    whole = after_settings()
    assert [values(frame) for frame in taken(whole, data)] == [value]
    assert not whole.is_amid
    slow = after_settings()
    found = [frame for byte in data for frame in taken(slow, bytes((byte,)))]
    assert [values(frame) for frame in found] == [value]
    before = after_settings()
    first, second = taken(before, data + wire(6, 0, 0, b"trailing") + b"\0\0\1")
    assert (values(first), values(second)) == (value, {"ack": False, "opaque": b"trailing"})
    assert before.held == 3
    assert before.is_amid


def handed_out(reader: FrameReader, data: bytes) -> list[dict[str, object]]:
    """Return the frames as a connection takes them: plain ones without an object, and the others."""
    reader.feed(data)
    found: list[dict[str, object]] = []

    def on_headers(stream: int, block: bytes, end_stream: bool) -> bool:
        found.append({"stream": stream, "block": block, "end_stream": end_stream})
        return False

    def on_data(stream: int, data: bytes, flow: int, end_stream: bool) -> None:
        found.append({"stream": stream, "data": data, "flow": flow, "end_stream": end_stream})

    while True:
        reader.take_plain(on_headers, on_data)
        frame = reader.take()
        if frame is None:
            return found
        found.append(values(frame))


@pytest.mark.parametrize(("data", "value"), GOOD)
def test_a_frame_is_the_same_when_it_is_handed_out_without_an_object(data, value):
    plain, ping = wire(0, 1, 3, b"abc"), wire(6, 0, 0, b"12345678")
    before = [{"stream": 3, "data": b"abc", "flow": 3, "end_stream": True}]
    after = [{"ack": False, "opaque": b"12345678"}]
    whole = after_settings()
    assert handed_out(whole, plain + data + ping) == [*before, value, *after]
    assert not whole.is_amid
    slow = after_settings()
    assert [frame for byte in plain + data + ping for frame in handed_out(slow, bytes((byte,)))] == [*before, value, *after]


def test_a_reader_that_has_enough_keeps_the_rest():
    reader = after_settings()
    reader.feed(wire(1, 4, 1, b"\x82") + wire(1, 4, 3, b"\x84"))
    seen: list[int] = []
    assert reader.take_plain(lambda stream, block, end_stream: bool(seen.append(stream) or True), lambda *data: None)
    assert seen == [1]
    assert values(reader.take()) == {"stream": 3, "block": b"\x84", "end_stream": False}


def test_nothing_is_handed_out_before_settings_or_within_a_block():
    early = FrameReader(expects_preface=False)
    early.feed(wire(0, 0, 1, b"abc"))
    assert not early.take_plain(lambda *headers: False, lambda *data: None)
    with pytest.raises(ConnectionFault):
        early.take()
    amid = after_settings()
    amid.feed(wire(1, 0, 1, b"\x82"))
    assert amid.take() is None
    amid.feed(wire(1, 4, 3, b"\x82"))
    assert not amid.take_plain(lambda *headers: False, lambda *data: None)
    with pytest.raises(ConnectionFault):
        amid.take()


BAD = [
    (wire(0, 0, 0, b"x"), PROTOCOL_ERROR, "DATA frame with incorrect identifier"),
    (wire(0, 8, 1), FRAME_SIZE_ERROR, "padded DATA frame with incorrect length: 0"),
    (wire(0, 8, 1, b"\x01"), PROTOCOL_ERROR, "padded DATA frame with incorrect padding: 1"),
    (wire(0, 8, 1, b"\xffabc"), PROTOCOL_ERROR, "padded DATA frame with incorrect padding: 255"),
    (wire(1, 4, 0, b"\x82"), PROTOCOL_ERROR, "HEADERS frame with incorrect identifier"),
    (wire(1, 0x0C, 1), FRAME_SIZE_ERROR, "HEADERS frame with incorrect length 0"),
    (wire(1, 0x24, 1, b"\0\0\0\1"), FRAME_SIZE_ERROR, "HEADERS frame with incorrect length 4"),
    (wire(1, 0x2C, 1, b"\0\0\0\0\3"), FRAME_SIZE_ERROR, "HEADERS frame with incorrect length 5"),
    (wire(1, 0x0C, 1, b"\x02\x82"), PROTOCOL_ERROR, "padded HEADERS frame with incorrect padding: 2"),
    (wire(1, 0x2C, 1, b"\x01\0\0\0\x03\x10"), PROTOCOL_ERROR, "padded HEADERS frame with incorrect padding: 1"),
    (wire(1, 0x24, 5, number(5) + b"\0"), PROTOCOL_ERROR, "HEADERS frame for stream 5 with incorrect dependency"),
    (wire(1, 0x24, 5, number(1 << 31 | 5) + b"\0"), PROTOCOL_ERROR, "HEADERS frame for stream 5 with incorrect dependency"),
    (wire(2, 0, 5, number(5) + b"\0"), PROTOCOL_ERROR, "PRIORITY frame for stream 5 with incorrect dependency"),
    (wire(2, 0, 5, number(3)), FRAME_SIZE_ERROR, "PRIORITY frame with incorrect length 4"),
    (wire(2, 0, 0, number(3) + b"\0"), PROTOCOL_ERROR, "PRIORITY frame with incorrect identifier"),
    (wire(3, 0, 5, b"\0\0\0"), FRAME_SIZE_ERROR, "RST_STREAM frame with incorrect length 3"),
    (wire(3, 0, 0, number(1)), PROTOCOL_ERROR, "RST_STREAM frame with incorrect identifier"),
    (wire(4, 0, 1), PROTOCOL_ERROR, "SETTINGS frame with incorrect identifier"),
    (wire(4, 0, 0, b"\0" * 7), FRAME_SIZE_ERROR, "SETTINGS frame with incorrect length 7"),
    (wire(4, 1, 0, b"\0" * 6), FRAME_SIZE_ERROR, "SETTINGS frame with the ACK flag and nonzero length"),
    (wire(4, 3, 0, b"\0" * 6), FRAME_SIZE_ERROR, "SETTINGS frame with the ACK flag and nonzero length"),
    (wire(5, 4, 1, number(2) + b"\x82"), PROTOCOL_ERROR, "PUSH_PROMISE frame"),
    (wire(6, 0, 0, b"1234567"), FRAME_SIZE_ERROR, "PING frame with incorrect length 7"),
    (wire(6, 0, 1, b"12345678"), PROTOCOL_ERROR, "PING frame with incorrect identifier"),
    (wire(7, 0, 0, b"1234567"), FRAME_SIZE_ERROR, "GOAWAY frame with incorrect length 7"),
    (wire(7, 0, 1, b"12345678"), PROTOCOL_ERROR, "GOAWAY frame with incorrect identifier"),
    (wire(8, 0, 0, b"123"), FRAME_SIZE_ERROR, "WINDOW_UPDATE frame with incorrect length 3"),
    (wire(8, 0, 0, number(0)), PROTOCOL_ERROR, "WINDOW_UPDATE frame with incorrect window increment 0"),
    (wire(8, 0, 5, number(1 << 31)), PROTOCOL_ERROR, "WINDOW_UPDATE frame with incorrect window increment 0"),
    (wire(9, 4, 1, b"\x82"), PROTOCOL_ERROR, "unexpected CONTINUATION frame"),
    (wire(1, 4, 1, b"\x82") + wire(9, 4, 1, b"\x82"), PROTOCOL_ERROR, "unexpected CONTINUATION frame"),
    (wire(1, 0, 1, b"\x82") + wire(9, 4, 3, b"\x82"), PROTOCOL_ERROR, "another frame where CONTINUATION was expected"),
    (wire(1, 0, 1, b"\x82") + wire(9, 4, 0, b"\x82"), PROTOCOL_ERROR, "another frame where CONTINUATION was expected"),
    (wire(1, 0, 1, b"\x82") + wire(0, 0, 1), PROTOCOL_ERROR, "another frame where CONTINUATION was expected"),
    (wire(1, 0, 1, b"\x82") + wire(6, 0, 0, b"\0" * 8), PROTOCOL_ERROR, "another frame where CONTINUATION was expected"),
    (wire(1, 0, 1, b"\x82") + wire(0x55, 0, 1), PROTOCOL_ERROR, "another frame where CONTINUATION was expected"),
    (wire(1, 0, 1, b"\x82") + wire(1, 4, 1), PROTOCOL_ERROR, "another frame where CONTINUATION was expected"),
    (wire(1, 0, 1) + 5 * wire(9, 0, 1), ENHANCE_YOUR_CALM, "too many CONTINUATION frames in one field block"),
    (wire(1, 0, 1) + 33 * wire(9, 0, 1, b"a"), ENHANCE_YOUR_CALM, "too many CONTINUATION frames in one field block"),
    (
        wire(1, 0, 1, b"a" * 16384) + 8 * wire(9, 0, 1, b"a" * 16384),
        ENHANCE_YOUR_CALM,
        "too large field block: more than 131072 bytes",
    ),
    (b"\0\x40\x01\0\0\0\0\0\1", FRAME_SIZE_ERROR, "too large frame: 16385 bytes"),
    (b"\xff\xff\xff\xaa\0\0\0\0\1", FRAME_SIZE_ERROR, "too large frame: 16777215 bytes"),
    (frames.PREFACE, FRAME_SIZE_ERROR, "too large frame: 5263945 bytes"),
]


@pytest.mark.parametrize(("data", "code", "reason"), BAD)
def test_a_wrong_frame_is_a_fault_of_the_connection_however_it_arrives(data, code, reason):
    for pieces in ([data], [data[at : at + 1] for at in range(len(data))], [data + b"\0" * 50]):
        if len(pieces) > 5000:
            pieces = [data[at : at + 1000] for at in range(0, len(data), 1000)]
        reader = after_settings("upstream")
        with pytest.raises(ConnectionFault) as fault:
            for piece in pieces:
                taken(reader, piece)
        assert (fault.value.code, fault.value.reason) == (code, f"upstream sent {reason}")
    with pytest.raises(ConnectionFault) as fault:
        handed_out(after_settings("upstream"), data)
    assert (fault.value.code, fault.value.reason) == (code, f"upstream sent {reason}")


def test_frames_before_a_wrong_one_are_returned():
    reader = after_settings()
    reader.feed(wire(6, 0, 0, b"12345678") + wire(6, 0, 0, b"1"))
    assert repr(reader.take()) == "<PING 3132333435363738>"
    with pytest.raises(ConnectionFault):
        reader.take()


@pytest.mark.parametrize("first", [wire(1, 4, 1, b"\x82"), wire(6, 0, 0, b"\0" * 8), wire(4, 1, 0), wire(0x33, 0, 0)])
def test_the_first_frame_is_settings(first):
    reader = FrameReader()
    reader.feed(frames.PREFACE + first)
    with pytest.raises(ConnectionFault) as fault:
        reader.take()
    assert fault.value.code == PROTOCOL_ERROR


def test_the_preface_may_come_byte_by_byte():
    reader = FrameReader()
    for byte in frames.PREFACE + SETTINGS[:-1]:
        assert taken(reader, bytes((byte,))) == []
        assert reader.is_amid or byte == frames.PREFACE[-1]
    assert len(taken(reader, SETTINGS[-1:])) == 1


@pytest.mark.parametrize("data", [b"G", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\r", b"PRI * HTTP/1.1\r\n\r\n", b"\0"])
def test_another_preface_is_refused_at_its_first_wrong_byte(data):
    reader = FrameReader()
    for byte in data[:-1]:
        if not frames.may_begin_preface(data[: data.index(byte) + 1]):
            break
    reader.feed(data)
    with pytest.raises(ConnectionFault) as fault:
        reader.take()
    assert (fault.value.code, fault.value.reason) == (PROTOCOL_ERROR, "client sent invalid HTTP/2 preface")
    assert not frames.may_begin_preface(data)


def test_a_lone_p_may_still_become_a_preface():
    assert frames.may_begin_preface(b"")
    assert frames.may_begin_preface(b"P")
    assert frames.may_begin_preface(frames.PREFACE + b"anything")
    assert not frames.may_begin_preface(b"POST")


def test_a_block_that_has_begun_is_told():
    reader = after_settings()
    assert taken(reader, wire(1, 0, 1, b"\x82")) == []
    assert reader.in_block
    assert reader.is_amid
    assert len(taken(reader, wire(9, 4, 1))) == 1
    assert not reader.in_block


def test_an_answer_is_its_frames_one_after_the_other():
    for trailers in (b"", b"\x88\x88"):
        frames_of_it = (
            wire(1, 4, 5, b"\x88") + wire(0, 0 if trailers else 1, 5, b"body") + (wire(1, 5, 5, trailers) if trailers else b"")
        )
        assert frames.answer_frames(5, b"\x88", b"body", trailers) == frames_of_it


WRITTEN = [
    (frames.data_header(5, 3, True) + b"abc", peer.DataFrame, {"data": b"abc", "stream_id": 5}, {"END_STREAM"}),
    (frames.data_frame(5, memoryview(b"abc"), False), peer.DataFrame, {"data": b"abc", "stream_id": 5}, set()),
    (
        frames.headers_frames(7, b"\x82", True),
        peer.HeadersFrame,
        {"data": b"\x82", "stream_id": 7},
        {"END_STREAM", "END_HEADERS"},
    ),
    (frames.rst_stream_frame(3, 8), peer.RstStreamFrame, {"error_code": 8, "stream_id": 3}, set()),
    (frames.settings_frame(((4, 65536), (3, 128))), peer.SettingsFrame, {"settings": {4: 65536, 3: 128}}, set()),
    (frames.SETTINGS_ACK, peer.SettingsFrame, {"settings": {}}, {"ACK"}),
    (frames.ping_frame(b"12345678"), peer.PingFrame, {"opaque_data": b"12345678"}, set()),
    (frames.ping_frame(b"12345678", ack=True), peer.PingFrame, {"opaque_data": b"12345678"}, {"ACK"}),
    (
        frames.goaway_frame(2**31 - 1, 11, b"calm"),
        peer.GoAwayFrame,
        {"last_stream_id": 2**31 - 1, "error_code": 11, "additional_data": b"calm"},
        set(),
    ),
    (frames.window_update_frame(0, 2**31 - 1), peer.WindowUpdateFrame, {"window_increment": 2**31 - 1, "stream_id": 0}, set()),
]


def read_by_hyperframe(data: bytes) -> list[peer.Frame]:
    found = []
    while data:
        frame, length = peer.Frame.parse_frame_header(memoryview(data[:9]))
        frame.parse_body(memoryview(data[9 : 9 + length]))
        found.append(frame)
        data = data[9 + length :]
    return found


@pytest.mark.parametrize(("data", "kind", "attributes", "flags"), WRITTEN)
def test_hyperframe_reads_what_we_write(data, kind, attributes, flags):
    (frame,) = read_by_hyperframe(data)
    assert type(frame) is kind
    assert {name: getattr(frame, name) for name in attributes} == attributes
    assert set(frame.flags) == flags


def test_a_block_larger_than_a_frame_of_the_peer_goes_on_in_continuations():
    block = bytes(range(256)) * 150
    first, second, third = read_by_hyperframe(frames.headers_frames(9, block, True))
    assert first.data + second.data + third.data == block
    assert [type(frame) for frame in (first, second, third)] == [
        peer.HeadersFrame,
        peer.ContinuationFrame,
        peer.ContinuationFrame,
    ]
    assert (set(first.flags), set(second.flags), set(third.flags)) == ({"END_STREAM"}, set(), {"END_HEADERS"})
    (read,) = taken(after_settings(), frames.headers_frames(9, block, True))
    assert values(read) == {"stream": 9, "block": block, "end_stream": True}


@given(st.lists(st.binary(max_size=60)))
@settings(max_examples=150, deadline=None)
def test_random_bytes_raise_nothing_but_the_declared_fault(pieces):
    reader = after_settings()
    fed = 0
    try:
        for piece in pieces:
            taken(reader, piece)
            fed += len(piece)
            assert reader.held <= fed
    except ConnectionFault:
        pass


FRAME = st.builds(
    wire,
    st.integers(0, 10) | st.integers(0, 255),
    st.integers(0, 255) | st.sampled_from((0, 1, 4, 5, 8, 9)),
    st.sampled_from((0, 1, 1, 3, 2**31 - 1)),
    st.binary(max_size=20) | st.sampled_from((number(1), number(0), b"12345678", number(3) + b"\0")),
)


def outcome(pieces: list[bytes]) -> list[str]:
    reader = after_settings()
    found = []
    try:
        for piece in pieces:
            reader.feed(piece)
            while (frame := reader.take()) is not None:
                found.append(repr((type(frame), values(frame))))
    except ConnectionFault as fault:
        found.append(repr(fault))
    return found


@given(st.lists(FRAME, max_size=12), st.lists(st.integers(0, 300), max_size=8))
@settings(max_examples=150, deadline=None)
def test_the_cut_of_the_pieces_changes_nothing(written, cuts):
    data = b"".join(written)
    places = sorted({min(cut, len(data)) for cut in cuts})
    pieces = [data[begin:end] for begin, end in zip([0, *places], [*places, len(data)], strict=True)]
    assert outcome(pieces) == outcome([data])
