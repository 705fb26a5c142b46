"""A websocket echo without a socket: bytes in, bytes out (RFC 6455).

Strict where the RFC lets a server fail the connection: unmasked frames, reserved bits, unknown opcodes, lengths not
in their shortest form, fragmented or long control frames, text that is not UTF-8. Sizes are limited before memory is
spent: a frame's announced length is judged when its header is complete, not when its payload is.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from dataclasses import dataclass

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
MESSAGE_LIMIT = 64 * 1024

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA

# Reasons for closing a connection (RFC 6455, 7.4.1).
NORMAL, PROTOCOL_ERROR, NOT_UTF8, TOO_BIG = 1000, 1002, 1007, 1009


class BadFrame(Exception):
    """The client broke the protocol or a limit; code goes into our Close frame."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame, unmasked."""

    opcode: int
    payload: bytes
    is_final: bool = True


def accept_key(key: str) -> str | None:
    """Return the Sec-WebSocket-Accept for this Sec-WebSocket-Key; None unless the key is 16 bytes in base64."""
    try:
        if len(base64.b64decode(key, validate=True)) != 16:
            return None
    except (binascii.Error, ValueError):
        return None
    return base64.b64encode(hashlib.sha1(key.encode("ascii") + GUID).digest()).decode("ascii")


def take_frame(buffer: bytearray, limit: int = MESSAGE_LIMIT) -> Frame | None:
    """Cut one client frame off the buffer; None while it is incomplete.

    |F|R R R|opcode |M| length 7    | length 16 or 64, if 126 or 127 | mask 32 | payload
    """
    if len(buffer) < 2:
        return None
    first, second = buffer[0], buffer[1]
    opcode, length, start = first & 0x0F, second & 0x7F, 2
    if first & 0x70:
        raise BadFrame(PROTOCOL_ERROR, "reserved bit set")
    if opcode not in (CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG):
        raise BadFrame(PROTOCOL_ERROR, "unknown opcode")
    if not second & 0x80:
        raise BadFrame(PROTOCOL_ERROR, "frame not masked")
    if opcode >= CLOSE and (length > 125 or not first & 0x80):
        raise BadFrame(PROTOCOL_ERROR, "control frame too long or fragmented")
    if length >= 126:
        start = 4 if length == 126 else 10
        if len(buffer) < start:
            return None
        smallest = 126 if length == 126 else 65536
        length = int.from_bytes(buffer[2:start], "big")
        if length < smallest or length >= 1 << 63:
            raise BadFrame(PROTOCOL_ERROR, "length not in its shortest form")
    if length > limit:
        raise BadFrame(TOO_BIG, "frame too big")
    end = start + 4 + length
    if len(buffer) < end:
        return None
    payload = unmask(bytes(buffer[start + 4 : end]), bytes(buffer[start : start + 4]))
    del buffer[:end]
    return Frame(opcode, payload, bool(first & 0x80))


def unmask(payload: bytes, mask: bytes) -> bytes:
    """XOR with the repeated mask, as one big number, which is the fast way without native code."""
    size = len(payload)
    repeated = (mask * (size // 4 + 1))[:size]
    return (int.from_bytes(payload, "big") ^ int.from_bytes(repeated, "big")).to_bytes(size, "big")


def build_frame(opcode: int, payload: bytes) -> bytes:
    """Return a final server frame: never masked."""
    size = len(payload)
    if size < 126:
        head = bytes((0x80 | opcode, size))
    elif size < 65536:
        head = bytes((0x80 | opcode, 126)) + size.to_bytes(2, "big")
    else:
        head = bytes((0x80 | opcode, 127)) + size.to_bytes(8, "big")
    return head + payload


def is_close_code(code: int) -> bool:
    """Whether this code may be on the wire: not 1004 to 1006 or 1015, nor one below 1000 or unassigned."""
    return 1000 <= code <= 1003 or 1007 <= code <= 1014 or 3000 <= code <= 4999


class Echo:
    """One connection: echoes every message as it came, answers pings, and closes when asked to or after an error."""

    def __init__(self, limit: int = MESSAGE_LIMIT) -> None:
        self.limit = limit
        self.is_closed = False
        self._buffer = bytearray()
        self._opcode = CONTINUATION  # the opcode of the message whose fragments are being collected; CONTINUATION for none
        self._message = bytearray()

    def receive(self, data: bytes) -> bytes:
        """Return the bytes to send after these bytes came in; `is_closed` tells when they are the last."""
        out: list[bytes] = []
        self._buffer += data
        try:
            while not self.is_closed and (frame := take_frame(self._buffer, self.limit)):
                out.append(self._answer(frame))
        except BadFrame as refusal:
            self.is_closed = True
            out.append(build_frame(CLOSE, refusal.code.to_bytes(2, "big") + str(refusal).encode()))
        return b"".join(out)

    def _answer(self, frame: Frame) -> bytes:
        if frame.opcode == PING:
            return build_frame(PONG, frame.payload)
        if frame.opcode == PONG:
            return b""
        if frame.opcode == CLOSE:
            return self._answer_close(frame.payload)
        return self._collect(frame)

    def _answer_close(self, payload: bytes) -> bytes:
        if len(payload) == 1 or (payload and not is_close_code(int.from_bytes(payload[:2], "big"))):
            raise BadFrame(PROTOCOL_ERROR, "bad close code")
        _check_utf8(payload[2:])
        self.is_closed = True
        return build_frame(CLOSE, payload[:2])

    def _collect(self, frame: Frame) -> bytes:
        if (frame.opcode == CONTINUATION) != (self._opcode != CONTINUATION):
            raise BadFrame(PROTOCOL_ERROR, "fragments out of order")
        if len(self._message) + len(frame.payload) > self.limit:
            raise BadFrame(TOO_BIG, "message too big")
        self._opcode = self._opcode or frame.opcode
        self._message += frame.payload
        if not frame.is_final:
            return b""
        opcode, message = self._opcode, bytes(self._message)
        self._opcode = CONTINUATION
        self._message.clear()
        if opcode == TEXT:
            _check_utf8(message)
        return build_frame(opcode, message)


def _check_utf8(text: bytes) -> None:
    try:
        text.decode("utf-8")
    except UnicodeDecodeError:
        raise BadFrame(NOT_UTF8, "text is not UTF-8") from None
