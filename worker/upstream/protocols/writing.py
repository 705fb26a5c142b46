"""The request's side of protocols that send a head, then a body in frames of their own, then an end."""

from __future__ import annotations

from typing import ClassVar, Final, NamedTuple

from worker.upstream.passing import LiveAttempt, PeerConnection
from worker.upstream.sending import Frame, push, push_body, push_file, push_outgoing, sending_failed
from wproxy.native import mypyc_attr
from wproxy.request_body import NO_BODY, Outgoing

_NOTHING: Final = memoryview(b"")


class BodyFraming(NamedTuple):
    """The form of a body. frame: puts a piece into a frame; None if it goes as it is. end: the bytes after the body.

    The head of a request without a body ends with them, so that it is all there is to send (`has_its_end`).
    """

    frame: Frame | None = None
    end: bytes = b""


def has_its_end(length: int) -> bool:
    """Whether the head of a request with a body of this length ends with the bytes after it."""
    return length in (0, NO_BODY)


@mypyc_attr(allow_interpreted_subclasses=True)
class WritingConnection(PeerConnection):
    """A connection that writes requests in this way.

    framing: that of bodies. unsent: the part of a request that the socket has not taken yet; is_whole: whether that is all of the
    rest. Both are set by a `start` that could not send all.
    """

    __slots__ = ("is_whole", "unsent")
    framing: ClassVar[BodyFraming] = BodyFraming()
    is_whole: bool
    unsent: memoryview

    def start(self, attempt: LiveAttempt) -> bool:
        """Send the head, and the body if it is at hand; return whether that was all. Raises UpstreamFailure."""
        self.requests += 1
        outgoing = attempt.outgoing
        data = attempt.request_head
        is_whole = not outgoing.has_more
        if is_whole and (body := outgoing.at_hand):
            frame, end = self.framing
            data += (frame(body) if frame is not None else body) + end
        try:
            sent = self.stream.send(data)
        except BlockingIOError:
            sent = 0
        except OSError as error:
            raise sending_failed(error) from None
        attempt.bytes_sent = sent
        if is_whole and sent == len(data):
            return True
        self.is_whole = is_whole
        self.unsent = memoryview(data)[sent:]
        return False

    async def finish(self, attempt: LiveAttempt) -> None:
        """Send what `start` could not, and the rest of the body as the client delivers it."""
        outgoing = attempt.outgoing
        unsent, self.unsent = self.unsent, _NOTHING
        if unsent:
            await push(attempt, self.stream, unsent)
        if self.is_whole:
            return
        frame, end = self.framing
        if frame is not None:
            await push_outgoing(attempt, self.stream, frame)
        else:
            await self._push_plain(attempt, outgoing)
        if end and not has_its_end(outgoing.length):
            await push(attempt, self.stream, end)

    async def _push_plain(self, attempt: LiveAttempt, outgoing: Outgoing) -> None:
        """Send the rest of a body without frames: the kernel may move it."""
        if outgoing.file is not None:
            await push_file(attempt, self.stream, outgoing.file)
        if outgoing.rest is not None:
            await push_body(attempt, self.stream, outgoing.rest)
