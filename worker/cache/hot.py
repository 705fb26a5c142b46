"""Stored responses that were sent before: a worker sends them again without opening their files.

A response is remembered as long as its entry in the index stays the same: when a worker updates, purges or removes it, no other
sends it any more. Once a second a look at the file follows, so that one that an operator deletes is not sent for longer, and the
entry is marked as used. So everything that reading the file would tell still holds. Only whole small responses are here, which
are the same for all requests of their key.
"""

from __future__ import annotations

import os

from worker.cache.cache import Cache
from worker.cache.dealings import Dealings
from worker.cache.use import Witness
from worker.http1.response import ResponseHead
from worker.upstream.answers import AnswerPlan
from wproxy.caching import CacheNotes
from wproxy.http import AnswerHead, Clock, Request, Response, ResponseFields

# The most responses that a worker remembers, and the most bytes of all their bodies, before it starts over.
MOST = 1024
MOST_BYTES = 4 << 20


class HotResponse:
    """A response that may be sent again. second: the Date of the second in which its file was looked at. valid: unix seconds."""

    __slots__ = ("_file", "_witness", "body", "cache", "fields", "head", "notes", "second", "valid")

    def __init__(self, dealings: Dealings, witness: Witness, head: AnswerHead, response: Response, valid: int) -> None:
        """Raises OSError when its file is gone already."""
        self.cache: Cache = dealings.cache
        self.head = head
        self.fields: ResponseFields = response.fields
        self.body: bytes = response.body
        self.valid = valid
        self.notes = notes = CacheNotes(dealings.key)
        notes.status, notes.file = dealings.status, dealings.file
        self.second = b""
        self._witness = witness
        self._file = identity(notes.file)

    def holds(self, clock: Clock) -> bool:
        """Whether it still is what is stored, and valid."""
        if not self._witness.holds():
            return False
        if self.second is not clock.date_line:
            wall = clock.wall
            try:
                if self.valid < int(wall) or identity(self.notes.file) != self._file:
                    return False
            except OSError:
                return False
            self._witness.note_use(wall)
            self.second = clock.date_line
        return True


def identity(path: str) -> tuple[int, int, int, int]:
    """Return what is different for every file that gets a path. Raises OSError."""
    found = os.stat(path)
    return found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size


class HotResponses:
    """Those of one worker, by key and by the way in which its location makes responses of what is stored."""

    __slots__ = ("_known", "_size")

    def __init__(self) -> None:
        self._known: dict[tuple[bytes, AnswerPlan], HotResponse] = {}
        self._size = 0

    def find(self, key: bytes, plan: AnswerPlan, cache: Cache, clock: Clock) -> HotResponse | None:
        """Return what may be sent for a key; None if nothing is remembered that still is right."""
        found = self._known.get((key, plan))
        return found if found is not None and found.cache is cache and found.holds(clock) else None

    def remember(self, request: Request, dealings: Dealings, plan: AnswerPlan, response: Response) -> None:
        """Remember a response that was just found, if it is the same for all requests of its key."""
        use, head = dealings.use, request.upstream_head
        stored = use.stored if use is not None else None
        if use is None or stored is None or stored.body is not response.body or stored.header.vary:
            return
        known = head.cache.get((plan,)) if isinstance(head, ResponseHead) else None
        witness = use.witness()
        if head is None or known is None or known.fields is not response.fields or witness is None:
            return
        try:
            hot = HotResponse(dealings, witness, head, response, stored.header.valid_sec)
        except OSError:
            return
        self._size += len(response.body)
        if len(self._known) >= MOST or self._size > MOST_BYTES:
            self._known.clear()
            self._size = len(response.body)
        self._known[dealings.key, plan] = hot

    def __repr__(self) -> str:
        return f"<{len(self._known)} hot responses, {self._size} bytes>"


# Those of this process: each worker is one.
HOT = HotResponses()
