"""slice: a large response, fetched slice by slice (subrequests.md §6; nginx: ngx_http_slice_filter_module.c).

The request itself asks for the first slice: `proxy_set_header Range $slice_range`. If the answer is a 206, its client gets a 200
with all slices, or those that it has asked for by Range itself. Each further slice is the response of a clone of the request, and
is asked for when the one before it has been sent. Bytes that no filter needs go by the kernel, as without slices.

An answer that is not the slice which was asked for, of another length or of another version of the response ends the response:
before its first byte, or short of the announced length, so that nobody takes a mixture for the whole.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NoReturn

from worker.content.returns import CloseConnection
from worker.filters.fields import copied, without
from worker.filters.ranges import narrow, refuse_range
from worker.logs import log_end
from worker.outlet import NOTHING, Wrapper
from worker.subrequest import Clone, Cycle, answered_again
from wproxy.bodies import BodySource, Frame, Outlet
from wproxy.conditions import conditions_of
from wproxy.config.model import Location
from wproxy.failures import UpstreamFailure
from wproxy.http import Request, Response, ResponseFields
from wproxy.ranges import Part, Unsatisfiable
from wproxy.slices import SliceMismatch, Slices

Filter = Callable[[Request, Response], Response]
# What nginx says it is doing.
READING = "reading response header from upstream"
SENDING = "sending response to client"


def slice_filter(location: Location) -> Filter | None:
    """Return the filter that completes a first slice; None without `slice`."""
    if not location.slice:
        return None

    def apply(request: Request, response: Response) -> Response:
        slices = request.slices
        if slices is None:
            return response
        head = request.upstream_head
        if response.fields.status != 206 or (head is not None and head.status != 206):
            request.slices = None  # it is the whole: a 206 is the part of a stored one that the client has asked for
            return response
        begin = slices.start
        try:
            length = slices.take(response.fields)
        except SliceMismatch as mismatch:
            log_end(request, "error", f"{mismatch} while {READING}", "up_bad_head")
            raise CloseConnection(response.fields.status) from None
        first = begin, slices.start
        response.fields = whole = copied(response.fields)
        without(whole, b"content-range", b"accept-ranges")
        whole.status, whole.reason, whole.content_length = 200, None, length
        judged = judged_whole(request, whole)
        if judged is not None:
            response.close()
            request.slices = None
            request.status, request.response_fields = judged.fields.status, judged.fields
            return judged
        request.status, request.response_fields = 200, whole
        wanted = 0, length
        # A body that is changed on its way has no parts.
        unchanged = whole if request.route.unchanged is None else request.route.unchanged(request, whole)
        if unchanged is not None:
            response.fields = unchanged
            try:
                wanted = narrow(request, response)
            except Unsatisfiable:
                add = request.route.added_to_success
                added = () if add is None else add(request, whole)
                request.slices = None
                return refuse_range(request, response, added)
        if response.bodiless:
            return response
        if wanted[0] < first[0]:
            # The whole will be sent although a part was asked for: this slice is not its beginning.
            response.close()
            first, response.body, response.source = (0, 0), b"", None
            slices.go_to(0)
        elif wanted[0] >= first[1]:
            slices.go_to(wanted[0])  # the last bytes were asked for, when the length was not known
        response.source = SlicedBody(request, slices, wanted, first, response.body, response.source)
        response.body = b""
        return response

    return apply


def judged_whole(request: Request, whole: ResponseFields) -> Response | None:
    """Return the 304 or 412 that takes the place of a whole, if it is stored in a cache and the request has conditions (nginx:
    disable_not_modified, which is set for all that is not cacheable).
    """
    notes = request.cached
    if notes is None or not notes.status or request.main is not None:
        return None
    conditions = conditions_of(request.fields)
    if conditions is None:
        return None
    from worker.cache.hits import StoredFields, judged_response  # loaded already: there is a cache

    stored = StoredFields(whole, False)
    return judged_response(request, stored.fields, stored.etag, stored.modified, conditions)


class SlicedBody(Wrapper):
    """A body that consists of slices, or a part of it.

    _end: the byte after the last one that is wanted. _left: the bytes of the current slice that have not come yet; _skipped: the
    bytes before those that are wanted of it, _wanted: the number of these.
    """

    __slots__ = ("_at_hand", "_begin", "_clone", "_end", "_left", "_request", "_skipped", "_slices", "_wanted")

    _at_hand: bytes
    _left: int
    _skipped: int
    _wanted: int

    def __init__(
        self, request: Request, slices: Slices, wanted: Part, first: Part, at_hand: bytes, source: BodySource | None
    ) -> None:
        """wanted: the stretch of the whole that is wanted. first: the first slice; at_hand, source: its body."""
        self._unsent = NOTHING
        self._request = request
        self._slices = slices
        self._begin, self._end = wanted
        self._clone: Clone | None = None
        self._enter(first, at_hand, source)

    async def read(self) -> bytes:
        """Return the next piece; b"" at the end. Raises UpstreamFailure."""
        while True:
            piece, self._at_hand = self._at_hand, b""
            if not piece and self._source is not None:
                piece = await self._source.read()
            if piece:
                self._count(len(piece))
                skipped = min(self._skipped, len(piece))
                self._skipped -= skipped
                piece = piece[skipped : skipped + self._wanted]
                self._wanted -= len(piece)
                if piece:
                    return piece
            elif not await self._next_slice():
                return b""

    async def has_more(self, frame: Frame) -> bool:
        """Have the next bytes at hand; return whether there are any. Raises UpstreamFailure."""
        while self._is_passed_on(frame):
            assert self._source is not None
            if self._unsent or await self._source.has_more(frame):
                return True
            if not await self._next_slice():
                return False
        return await super().has_more(frame)

    async def send(self, outlet: Outlet, frame: Frame, seconds: float, most: int) -> int:
        """Send the next bytes, at most so many; return how many, 0 at the end. Raises TimedOut, OSError, UpstreamFailure."""
        while self._is_passed_on(frame):
            assert self._source is not None
            sent = await self._source.send(outlet, frame, seconds, most)
            if sent:
                self._count(sent)
                self._wanted -= sent
                return sent
            if not await self._next_slice():
                return 0
        return await super().send(outlet, frame, seconds, most)

    def _is_passed_on(self, frame: Frame) -> bool:
        """Whether all that comes next is the rest of a slice, which may go out as it is."""
        is_begun = bool(self._unsent or self._at_hand or self._skipped)
        return not is_begun and frame is None and self._source is not None and self._wanted == self._left

    def close(self) -> None:
        """Give up the slice that is being sent, and all others."""
        self._at_hand = b""
        self._end = self._slices.start
        self._leave()

    def _enter(self, stretch: Part, at_hand: bytes, source: BodySource | None) -> None:
        """Begin with a slice. stretch: its place in the whole."""
        begin, end = stretch
        self._at_hand, self._source = at_hand, source
        self._left = end - begin
        self._skipped = min(max(0, self._begin - begin), self._left)
        self._wanted = max(0, min(end, self._end) - begin - self._skipped)

    def _leave(self) -> None:
        if self._source is not None:
            self._source.close()
            self._source = None
        if self._clone is not None:
            self._clone.finish()
            self._clone = None

    def _count(self, size: int) -> None:
        self._left -= size
        if self._left < 0:
            self._fail(self._clone or self._request, f"slice response is longer than its range by {-self._left} bytes")

    async def _next_slice(self) -> bool:
        """Begin with the next slice, when this one is over; return whether there is one. Raises UpstreamFailure."""
        request, slices = self._request, self._slices
        if self._left:
            self._fail(self._clone or request, f"slice response ended {self._left} bytes before its range")
        self._leave()
        begin = slices.start
        if begin >= self._end:
            request.slices = None
            return False
        slices.ask()
        try:
            clone = self._clone = Clone(request)
        except Cycle as cycle:
            self._fail(request, str(cycle))
        clone.slices = slices
        response = await answered_again(clone)
        try:
            clone.status, clone.response_fields = response.fields.status, response.fields
            slices.take(response.fields)
        except SliceMismatch as mismatch:
            response.close()
            self._fail(clone, str(mismatch), READING)
        self._enter((begin, slices.start), response.body, response.source)
        return True

    def _fail(self, request: Request, text: str, doing: str = SENDING) -> NoReturn:
        """Cut the response: its head has announced more."""
        log_end(request, "error", f"{text} while {doing}", "up_bad_body")
        raise UpstreamFailure("error", text, doing, "up_bad_body")

    def __repr__(self) -> str:
        return f"<slices up to byte {self._slices.start} of {self._end}>"
