"""Flow control of HTTP/2, both ways (RFC 9113, 5.2 and 6.9).

What we may send is bounded by two windows: that of the connection, and that of the stream. A stream's window is the initial one
that the peer set, which it may change at any time, plus the stream's own `credit`: the increments it got less the bytes it sent.
So a change of the initial window costs the same with one stream or with a thousand, and a window may become negative: then
nothing is sent until updates make it positive.

What the peer may send is bounded by a `ReceiveWindow` for the connection and one for each stream; room is given back as bytes are
consumed, in large steps.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from worker.http2.errors import FLOW_CONTROL_ERROR, ConnectionFault, StreamFault
from wproxy.native import mypyc_attr

MAX_WINDOW: Final = 2**31 - 1
DEFAULT_WINDOW: Final = 65535
"""The windows of a connection and of its streams before anyone has said otherwise."""


@mypyc_attr(allow_interpreted_subclasses=True)
class SendWindow:
    """The part of a stream's window that is its own. credit: increments received less bytes sent; may be negative."""

    __slots__ = ("credit",)

    def __init__(self) -> None:
        self.credit = 0


class SendWindows:
    """The windows for what we send on one connection.

    connection: the bytes that may be sent on all streams together. initial: the window that streams begin with.
    """

    __slots__ = ("_highest", "connection", "initial", "peer")

    def __init__(self, peer: str = "client") -> None:
        self.peer = peer
        self.connection = DEFAULT_WINDOW
        self.initial = DEFAULT_WINDOW
        # No stream has more credit than this.
        self._highest = 0

    def room(self, stream: SendWindow) -> int:
        """Return how many bytes of body may be sent on this stream now; never negative."""
        room = self.initial + stream.credit
        if room > self.connection:
            room = self.connection
        return room if room > 0 else 0

    def sent(self, stream: SendWindow, count: int) -> None:
        """Note that so many bytes of DATA have been sent; not more than there was room for."""
        self.connection -= count
        stream.credit -= count

    def update_connection(self, increment: int) -> None:
        """Obey a WINDOW_UPDATE for stream 0; raises ConnectionFault."""
        self.connection += increment
        if self.connection > MAX_WINDOW:
            raise ConnectionFault(
                FLOW_CONTROL_ERROR,
                f"{self.peer} violated connection flow control: a window increment of {increment} is too large",
            )

    def update_stream(self, number: int, stream: SendWindow, increment: int) -> None:
        """Obey a WINDOW_UPDATE for a live stream; raises StreamFault. A peer that does this again deserves a ConnectionFault."""
        credit = stream.credit + increment
        if self.initial + credit > MAX_WINDOW:
            raise StreamFault(
                number,
                FLOW_CONTROL_ERROR,
                f"{self.peer} violated flow control for stream {number}: a window increment of {increment} is too large",
            )
        stream.credit = credit
        self._highest = max(self._highest, credit)

    def set_initial(self, initial: int, streams: Iterable[SendWindow]) -> None:
        """Obey SETTINGS_INITIAL_WINDOW_SIZE; raises ConnectionFault if the window of a stream becomes too large.

        streams: the live ones, which are only looked at when one of them might have too much credit.
        """
        if initial + self._highest > MAX_WINDOW:
            self._highest = max((stream.credit for stream in streams), default=0)
            self._highest = max(self._highest, 0)
            if initial + self._highest > MAX_WINDOW:
                raise ConnectionFault(
                    FLOW_CONTROL_ERROR,
                    f"{self.peer} sent SETTINGS frame with INITIAL_WINDOW_SIZE too large for a stream: {initial}",
                )
        self.initial = initial

    def __repr__(self) -> str:
        return f"<send windows: {self.connection}, initial {self.initial}>"


class ReceiveWindow:
    """The window for what a peer sends, on the connection or on one stream.

    left: the bytes that it may still send. size: the window that was announced, which is restored as bytes are consumed.
    """

    __slots__ = ("_owed", "left", "size")

    def __init__(self, size: int, left: int = 0) -> None:
        """left: what the peer may send at first, if that is more: until it has seen our settings, it goes by the default."""
        self.size = size
        self.left = max(size, left)
        self._owed = 0

    def take(self, count: int, peer: str, where: str | int) -> None:
        """Note the bytes of a DATA frame, padding included; raises ConnectionFault. where: a stream, or "the connection"."""
        self.left -= count
        if self.left < 0:
            what = f"stream {where}" if isinstance(where, int) else where
            raise ConnectionFault(FLOW_CONTROL_ERROR, f"{peer} violated flow control for {what}: received {count} bytes too many")

    def give_back(self, count: int) -> int:
        """Note that so many bytes have been consumed; return the increment to announce now, mostly 0.

        Small updates are a waste, for us and for the peer: they are saved up to half of the window.
        """
        owed = self._owed + count
        if owed < self.size >> 1 or not owed:
            self._owed = owed
            return 0
        self._owed = 0
        return self._announce(owed)

    def pass_on(self, count: int, peer: str, where: str | int) -> int:
        """Note the bytes of a DATA frame that need no room here; return the increment to announce now, mostly 0.

        `take` and `give_back` in one call. Raises ConnectionFault.
        """
        left, owed = self.left - count, self._owed + count
        if left < 0 or owed >= self.size >> 1:
            self.take(count, peer, where)
            return self.give_back(count)
        self.left, self._owed = left, owed
        return 0

    def widen(self, size: int) -> int:
        """Make the window larger from now on; return the increment to announce, 0 if it is no larger."""
        increment = size - self.size + self._owed
        if size <= self.size or increment <= 0:
            return 0
        self.size = size
        self._owed = 0
        return self._announce(increment)

    def _announce(self, increment: int) -> int:
        increment = min(increment, MAX_WINDOW - self.left)
        self.left += increment
        return increment

    def __repr__(self) -> str:
        return f"<receive window: {self.left} of {self.size}>"
