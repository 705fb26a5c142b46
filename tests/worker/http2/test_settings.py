"""SETTINGS: each value checked and kept, and what we announce."""

from __future__ import annotations

import pytest

from worker.http2.errors import FLOW_CONTROL_ERROR, PROTOCOL_ERROR, ConnectionFault
from worker.http2.frames import FrameReader
from worker.http2.settings import PeerSettings, client_beginning, server_beginning

BAD = [
    ("client", 2, 2, PROTOCOL_ERROR, "ENABLE_PUSH"),
    ("upstream", 2, 1, PROTOCOL_ERROR, "ENABLE_PUSH"),
    ("client", 4, 2**31, FLOW_CONTROL_ERROR, "INITIAL_WINDOW_SIZE"),
    ("client", 5, 16383, PROTOCOL_ERROR, "MAX_FRAME_SIZE"),
    ("client", 5, 2**24, PROTOCOL_ERROR, "MAX_FRAME_SIZE"),
    ("upstream", 5, 1, PROTOCOL_ERROR, "MAX_FRAME_SIZE"),
    ("client", 8, 2, PROTOCOL_ERROR, "ENABLE_CONNECT_PROTOCOL"),
]


@pytest.mark.parametrize(("peer", "identifier", "value", "code", "name"), BAD)
def test_a_wrong_value_is_a_fault(peer, identifier, value, code, name):
    with pytest.raises(ConnectionFault) as fault:
        PeerSettings(peer).apply(((identifier, value),))
    assert fault.value.code == code
    assert fault.value.reason == f"{peer} sent SETTINGS frame with incorrect {name} value {value}"


def test_extended_connect_is_not_taken_back():
    peer = PeerSettings("upstream")
    peer.apply(((8, 0), (8, 1)))
    assert peer.connect_protocol
    with pytest.raises(ConnectionFault):
        peer.apply(((8, 0),))


def test_the_last_of_a_kind_counts_and_unknown_ones_are_ignored():
    peer = PeerSettings()
    peer.apply(
        ((4, 1), (4, 2), (0, 7), (0xFFFF, 2**32 - 1), (9, 1), (2, 1), (2, 0), (6, 10), (3, 0), (5, 2**24 - 1), (4, 2**31 - 1))
    )
    assert peer.initial_window_size == 2**31 - 1
    assert (peer.max_header_list_size, peer.max_concurrent_streams, peer.max_frame_size) == (10, 0, 2**24 - 1)


@pytest.mark.parametrize(("sizes", "shrank"), [((4096,), False), ((65536,), False), ((4095,), True), ((0, 4096), True)])
def test_a_smaller_table_is_acknowledged_in_the_next_block(sizes, shrank):
    peer = PeerSettings()
    peer.apply(tuple((1, size) for size in sizes))
    assert peer.shrank_table is shrank


def announced(data: bytes) -> list[str]:
    reader = FrameReader(expects_preface=False)
    reader.feed(data)
    return [repr(reader.take()), repr(reader.take()), repr(reader.take())]


def test_what_a_server_announces():
    wide = "<WINDOW_UPDATE 0: 2147418112>"
    assert announced(server_beginning(128, 65536)) == ["<SETTINGS ((3, 128), (4, 65536))>", wide, "None"]
    assert announced(server_beginning(128, 65536, True)) == ["<SETTINGS ((3, 128), (4, 65536), (8, 1))>", wide, "None"]
    assert announced(client_beginning(65536)) == ["<SETTINGS ((1, 0), (2, 0), (4, 65536))>", wide, "None"]
