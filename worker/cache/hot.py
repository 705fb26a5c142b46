"""Stored responses that were just sent: a worker sends them again without looking for their files.

One is remembered until the second is over in which it was found, so that a file that an operator deletes is not sent for longer,
and until its entry in the index becomes another one: when a worker updates, purges or removes it, no other sends it any more. So
everything that a look at the file would tell still holds. Only whole small responses are here, which are the same for all
requests of their key.
"""

from __future__ import annotations

from worker.cache.cache import Cache
from worker.cache.dealings import Dealings
from worker.cache.use import Witness
from worker.http1.response import ResponseHead
from worker.upstream.answers import AnswerPlan
from wproxy.caching import CacheNotes
from wproxy.http import AnswerHead, Clock, Request, Response, ResponseFields

# The most responses of one location, and the most bytes of all their bodies.
MOST = 256
MOST_BYTES = 1 << 20


class HotResponse:
    """A response that may be sent again."""

    __slots__ = ("body", "cache", "fields", "head", "notes", "witness")

    def __init__(self, cache: Cache, witness: Witness, notes: CacheNotes, head: AnswerHead, fields: ResponseFields, body: bytes):
        self.cache = cache
        self.witness = witness
        self.notes = notes
        self.head = head
        self.fields = fields
        self.body = body


class HotResponses:
    """Those of one location, by key."""

    __slots__ = ("_clock", "_known", "_second", "_size")

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._known: dict[bytes, HotResponse] = {}
        self._second = b""  # the Date of the second they belong to
        self._size = 0

    def find(self, key: bytes, cache: Cache) -> HotResponse | None:
        """Return what may be sent for a key; None if nothing is remembered that still is right."""
        if self._second is not self._clock.date_line:
            return None
        found = self._known.get(key)
        return found if found is not None and found.cache is cache and found.witness.holds() else None

    def remember(self, request: Request, dealings: Dealings, plan: AnswerPlan, response: Response) -> None:
        """Remember a response that was just found, if it is the same for all requests of its key."""
        use, head = dealings.use, request.upstream_head
        if use is None or use.stored is None or use.stored.body is not response.body or use.stored.header.vary:
            return
        known = head.cache.get((plan,)) if isinstance(head, ResponseHead) else None
        if known is None or known.fields is not response.fields:
            return
        if self._second is not self._clock.date_line:
            self._second, self._size = self._clock.date_line, 0
            self._known.clear()
        self._size += len(response.body)
        witness = use.witness()
        if witness is None or len(self._known) >= MOST or self._size > MOST_BYTES:
            return
        notes = CacheNotes(dealings.key)
        notes.status, notes.file = dealings.status, dealings.file
        assert head is not None
        self._known[dealings.key] = HotResponse(dealings.cache, witness, notes, head, response.fields, response.body)

    def __repr__(self) -> str:
        return f"<{len(self._known)} hot responses, {self._size} bytes>"
