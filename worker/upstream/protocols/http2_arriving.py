"""What has arrived of the answer to one request over HTTP/2: the connection fills it, and the request takes it.

Memory: a response is read ahead by no more than STREAM_WINDOW bytes; the window grows again as they are passed on.
"""

from __future__ import annotations

from worker.http2.answer_block import AnswerBlock
from worker.http2.frames import window_update_frame
from worker.http2.streams import ResponseStream
from worker.http2.windows import ReceiveWindow
from worker.upstream.shared import Use
from wproxy.failures import UpstreamFailure

STREAM_WINDOW = 256 * 1024
"""The bytes of one response that an upstream may send before we have passed them on."""


class Arriving(Use):
    """One request as a stream, as the connection sees it.

    state: None before it has a number. heads, trailing: field blocks that have arrived, and whether nothing follows them.
    arrived: pieces of the body. has_ended: whether the upstream has said that nothing follows. window: for what it may send; None
    before it has sent any of a body. wire_received: bytes of frames; wire_bytes: those after the head. is_early: whether it began
    before the upstream had told of its limit.
    """

    __slots__ = (
        "_failure", "arrived", "has_ended", "heads", "is_early", "state", "trailing", "window", "wire_bytes", "wire_received",
    )  # fmt: skip

    is_early: bool
    state: StreamState | None
    heads: list[tuple[AnswerBlock, bool]]
    trailing: tuple[AnswerBlock, bool] | None
    arrived: list[bytes]
    has_ended: bool
    window: ReceiveWindow | None
    wire_received: int
    wire_bytes: int
    _failure: UpstreamFailure | None

    def fail(self, failure: UpstreamFailure) -> None:
        """End the request with a failure of its own."""
        self._failure = failure
        self.own_channel.may_read()
        self.own_channel.may_write()

    def give_back(self, count: int) -> None:
        """Note that so many bytes need no room any more."""
        increment = self.window.give_back(count) if self.window is not None else 0
        if increment and self.state is not None and self.shared.failure is None:
            self.shared.send(window_update_frame(self.state.number, increment))


class StreamState(ResponseStream):
    """The state of a stream, and the request that uses it."""

    __slots__ = ("use",)

    def __init__(self, number: int, sends: bool, use: Arriving) -> None:
        # Like its parents, without the calls.
        self.credit = 0
        self.number = number
        self.receives, self.sends = True, sends
        self.has_head = False
        self.use = use
