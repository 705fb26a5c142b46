"""SETTINGS: what a peer asks for, checked and kept, and what we announce (RFC 9113, 6.5; RFC 8441, 3)."""

from __future__ import annotations

from typing import Final

from worker.http2.errors import FLOW_CONTROL_ERROR, PROTOCOL_ERROR, ConnectionFault
from worker.http2.frames import MAX_FRAME_SIZE, settings_frame, window_update_frame
from worker.http2.windows import DEFAULT_WINDOW, MAX_WINDOW

HEADER_TABLE_SIZE: Final = 0x1
ENABLE_PUSH: Final = 0x2
MAX_CONCURRENT_STREAMS: Final = 0x3
INITIAL_WINDOW_SIZE: Final = 0x4
MAX_FRAME_SIZE_SETTING: Final = 0x5
MAX_HEADER_LIST_SIZE: Final = 0x6
ENABLE_CONNECT_PROTOCOL: Final = 0x8

_LARGEST_FRAME_SIZE: Final = 2**24 - 1
_DEFAULT_TABLE_SIZE: Final = 4096
UNLIMITED_STREAMS: Final = 2**32 - 1


class PeerSettings:
    """The settings of a peer, at first the defaults.

    shrank_table: whether the next field block that we send begins with SIZE_UPDATE_TO_ZERO; the sender of the block clears it.
    initial_window_size: as asked for; the window itself is changed with `SendWindows.set_initial`.
    """

    __slots__ = (
        "connect_protocol",
        "header_table_size",
        "initial_window_size",
        "max_concurrent_streams",
        "max_frame_size",
        "max_header_list_size",
        "peer",
        "shrank_table",
    )

    def __init__(self, peer: str = "client") -> None:
        self.peer = peer
        self.header_table_size = _DEFAULT_TABLE_SIZE
        self.max_concurrent_streams = UNLIMITED_STREAMS
        self.initial_window_size = DEFAULT_WINDOW
        self.max_frame_size = MAX_FRAME_SIZE
        self.max_header_list_size = -1
        self.connect_protocol = False
        self.shrank_table = False

    def apply(self, pairs: tuple[tuple[int, int], ...]) -> None:
        """Obey the pairs of one SETTINGS frame in order, so that the last one of a kind counts; raises ConnectionFault."""
        for identifier, value in pairs:
            if identifier == INITIAL_WINDOW_SIZE:
                if value > MAX_WINDOW:
                    raise self._fault("INITIAL_WINDOW_SIZE", value, FLOW_CONTROL_ERROR)
                self.initial_window_size = value
            elif identifier == MAX_FRAME_SIZE_SETTING:
                if not MAX_FRAME_SIZE <= value <= _LARGEST_FRAME_SIZE:
                    raise self._fault("MAX_FRAME_SIZE", value)
                self.max_frame_size = value
            elif identifier == HEADER_TABLE_SIZE:
                self.shrank_table |= value < _DEFAULT_TABLE_SIZE
                self.header_table_size = value
            elif identifier == ENABLE_PUSH:
                # Only a client may ask for pushes (RFC 9113, 6.5.2).
                if value > 1 or (value and self.peer != "client"):
                    raise self._fault("ENABLE_PUSH", value)
            elif identifier == MAX_CONCURRENT_STREAMS:
                self.max_concurrent_streams = value
            elif identifier == MAX_HEADER_LIST_SIZE:
                self.max_header_list_size = value
            elif identifier == ENABLE_CONNECT_PROTOCOL:
                if value > 1 or (not value and self.connect_protocol):
                    raise self._fault("ENABLE_CONNECT_PROTOCOL", value)
                self.connect_protocol = value == 1

    def _fault(self, name: str, value: int, code: int = PROTOCOL_ERROR) -> ConnectionFault:
        return ConnectionFault(code, f"{self.peer} sent SETTINGS frame with incorrect {name} value {value}")

    def __repr__(self) -> str:
        return f"<settings of the {self.peer}: window {self.initial_window_size}, frame {self.max_frame_size}>"


def server_beginning(max_concurrent_streams: int, stream_window: int, connect_protocol: bool = False) -> bytes:
    """Return the first bytes of a server: its SETTINGS, and the window of the connection opened as far as it goes.

    Frames stay at the default of 16384 bytes, and so does the table. Memory is bounded by the windows of streams.
    """
    pairs = [(MAX_CONCURRENT_STREAMS, max_concurrent_streams), (INITIAL_WINDOW_SIZE, stream_window)]
    if connect_protocol:
        pairs.append((ENABLE_CONNECT_PROTOCOL, 1))
    return settings_frame(tuple(pairs)) + window_update_frame(0, MAX_WINDOW - DEFAULT_WINDOW)


def client_beginning(stream_window: int) -> bytes:
    """Return the bytes after the preface of a client: no table, no pushes, this window for each stream (as nginx)."""
    pairs = ((HEADER_TABLE_SIZE, 0), (ENABLE_PUSH, 0), (INITIAL_WINDOW_SIZE, stream_window))
    return settings_frame(pairs) + window_update_frame(0, MAX_WINDOW - DEFAULT_WINDOW)
