"""The error codes of HTTP/2, and what a peer can do wrong: to the connection, or to one of its streams (RFC 9113, 5.4 and 7).

A fault is raised where it is found. Its reason is a sentence for the log ("client sent PING frame with incorrect length 7"), its
code is for the peer.
"""

from __future__ import annotations

from typing import Final

NO_ERROR: Final = 0x0
PROTOCOL_ERROR: Final = 0x1
INTERNAL_ERROR: Final = 0x2
FLOW_CONTROL_ERROR: Final = 0x3
SETTINGS_TIMEOUT: Final = 0x4
STREAM_CLOSED: Final = 0x5
FRAME_SIZE_ERROR: Final = 0x6
REFUSED_STREAM: Final = 0x7
CANCEL: Final = 0x8
COMPRESSION_ERROR: Final = 0x9
CONNECT_ERROR: Final = 0xA
ENHANCE_YOUR_CALM: Final = 0xB
INADEQUATE_SECURITY: Final = 0xC
HTTP_1_1_REQUIRED: Final = 0xD

NAMES: Final = {
    NO_ERROR: "NO_ERROR",
    PROTOCOL_ERROR: "PROTOCOL_ERROR",
    INTERNAL_ERROR: "INTERNAL_ERROR",
    FLOW_CONTROL_ERROR: "FLOW_CONTROL_ERROR",
    SETTINGS_TIMEOUT: "SETTINGS_TIMEOUT",
    STREAM_CLOSED: "STREAM_CLOSED",
    FRAME_SIZE_ERROR: "FRAME_SIZE_ERROR",
    REFUSED_STREAM: "REFUSED_STREAM",
    CANCEL: "CANCEL",
    COMPRESSION_ERROR: "COMPRESSION_ERROR",
    CONNECT_ERROR: "CONNECT_ERROR",
    ENHANCE_YOUR_CALM: "ENHANCE_YOUR_CALM",
    INADEQUATE_SECURITY: "INADEQUATE_SECURITY",
    HTTP_1_1_REQUIRED: "HTTP_1_1_REQUIRED",
}


def name_of(code: int) -> str:
    """Return the name of an error code; an unknown one is shown as a number."""
    return NAMES.get(code) or f"error {code:#x}"


class Http2Fault(Exception):
    """A peer broke a rule of HTTP/2. code: the error code to tell it; reason: the sentence for the log."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {name_of(self.code)}: {self.reason}>"


class ConnectionFault(Http2Fault):
    """The connection cannot go on: send GOAWAY with the code, flush, close."""


class StreamFault(Http2Fault):
    """One stream cannot go on: send RST_STREAM with the code. stream: its number."""

    def __init__(self, stream: int, code: int, reason: str) -> None:
        super().__init__(code, reason)
        self.stream = stream
