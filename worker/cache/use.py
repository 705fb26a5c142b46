"""A request's use of one key of a zone: from looking it up to the end of the request."""

from __future__ import annotations

import os
from collections.abc import Callable

from worker.cache.index import Stuck
from worker.cache.store import UNREADABLE, CacheStore
from worker.cache.stored import Stored
from worker.cache.writing import Writing
from worker.loop import Event
from wproxy.cache.header import Header, struct_bytes
from wproxy.cache.key import CacheKey
from wproxy.cache.memory import USED, VERSION

# Returns the variant that a request wants, for the names in a Vary.
VariantOf = Callable[[bytes], bytes]

# What a request finds.
ABSENT = 0  # nothing
SCARCE = 1  # nothing, and there have been too few requests for it to be stored
VALID = 2  # a fresh response
EXPIRED = 3  # an expired one, and it is up to this request to update it
UPDATING = 4  # an expired one that another request is updating
FAILED = 5  # a failure that is remembered
STATE_NAMES = ("absent", "scarce", "valid", "expired", "updating", "failed")

# A request that waits looks by itself at this interval, in seconds, for a holder that was killed cannot tell it.
LOOK = 0.5
# How often a response may change under our hands before we go on without it.
_TRIES = 4
# Until when an update is under way: as long as its request.
_FOREVER = (1 << 63) - 1


class Witness:
    """A check, in two looks at the index, that a stored response still is that of its key."""

    __slots__ = ("_at", "_first", "_version", "_version_at", "_words")

    def __init__(self, words: memoryview, at: int, first: int, version_at: int, version: int) -> None:
        """at, first: the place and the first word of the key. version_at, version: those of VERSION."""
        self._words = words
        self._at = at
        self._first = first
        self._version_at = version_at
        self._version = version

    def holds(self) -> bool:
        """Whether neither the entry nor its file has become another one."""
        words = self._words
        return words[self._version_at] == self._version and words[self._at] == self._first

    def note_use(self, now: float) -> None:
        """Note that the response is used. now: unix time."""
        self._words[self._version_at - VERSION + USED] = int(now * 1000)


class Use:
    """A request's use of a key.

    state: see above. key: that of the stored response, or of the one that is to be stored. stored: None unless there is one.
    status: that of a remembered failure.
    """

    __slots__ = (
        "_counted", "_in_vain", "_mark", "_min_uses", "_place", "_seen", "_store", "_variant_of", "key", "state", "status",
        "stored",
    )  # fmt: skip

    def __init__(self, store: CacheStore, key: CacheKey, min_uses: int, variant_of: VariantOf | None) -> None:
        self._store = store
        self._min_uses = min_uses
        self._variant_of = variant_of
        self._counted = False
        self._in_vain = 0  # how often there was said to be a response, and none was found
        self._mark = 0
        self._seen = False
        self.key = key
        self.stored: Stored | None = None
        self.status = 0
        self.state = ABSENT
        self._place = store.index.place(key.digest)
        self._find()

    def again(self) -> None:
        """Look it up again."""
        self._close()
        self._disown()
        if self.key.digest != self.key.main:
            self._turn_to(self.key.variant(self.key.main))
        self._find()

    def _turn_to(self, key: CacheKey) -> None:
        self.key = key
        self._place = self._store.index.place(key.digest)

    def _find(self) -> None:
        """Find out the state."""
        store = self._store
        self._seen = False
        self.status = 0
        for _ in range(_TRIES):
            stored = store.open(self.key, self._place)
            if stored == UNREADABLE:
                self.state = ABSENT
                self._in_vain = _TRIES
                return
            if isinstance(stored, int):
                self.status = stored
                self.state = FAILED if stored else self._admit()
                return
            header = stored.header
            if header.vary and self._variant_of is not None:
                variant = self._variant_of(header.vary)
                if variant != header.variant:
                    stored.close()
                    if self.key.digest != self.key.main:  # not what its name says
                        self.state = ABSENT
                        return
                    self._turn_to(self.key.variant(variant))
                    continue
            if header.valid_sec >= int(store.loop.clock.wall):
                self.state = VALID
            elif not self._may_update(stored):  # it has been updated meanwhile
                stored.close()
                continue
            self.stored = stored
            return
        self.state = ABSENT

    def _may_update(self, stored: Stored) -> bool:
        """Find out who updates an expired response; False when it has changed meanwhile."""
        store = self._store
        self.state = EXPIRED
        if not stored.version:  # it cannot be entered
            return True
        try:
            mark = store.index.own(self._place, store.now, _FOREVER, stored.version)
        except Stuck:
            return True
        self._mark = max(mark, 0)
        if not mark:
            self.state = UPDATING
        return mark >= 0

    def _admit(self) -> int:
        """Count a request that finds nothing; return the state."""
        if self._min_uses <= 1:
            return ABSENT
        store = self._store
        try:
            found = store.index.admit(self._place, store.now, 0 if self._counted else 1)
        except Stuck:
            return SCARCE
        self._counted = True
        return ABSENT if found >= self._min_uses else SCARCE

    def witness(self) -> Witness | None:
        """Return what tells later whether the stored response still is that of its key; None if nothing does."""
        stored, index = self.stored, self._store.index
        at = index.find(self._place) if stored is not None and stored.version else -1
        if stored is None or at < 0:
            return None
        witness = Witness(index.words, at, index.words[at], index.record(at) + VERSION, stored.version)
        return witness if witness.holds() else None

    # One request for all.

    def lock(self, age: float) -> bool:
        """Take the right to fetch an absent response; False while a living request has it, for less than so many seconds.

        A response that is there, but cannot be used, is fetched without it: looking again and again would not change that.
        """
        if self._in_vain >= _TRIES:
            return True
        store = self._store
        now = store.now
        try:
            mark = store.index.own(self._place, now, now + int(age * 1000))
        except Stuck:
            return True
        self._seen = mark < 0  # it is there by now
        self._in_vain += self._seen
        self._mark = max(mark, 0)
        return mark > 0

    async def wait(self, seconds: float) -> bool:
        """Wait at most so many seconds for the request that fetches the response; return whether to look it up again."""
        store = self._store
        clock = store.loop.clock
        deadline = clock.now + seconds
        if self._seen:
            return True
        event = Event(store.loop)
        store.waiting.add(event)
        try:
            # An update may follow the fetch at once: then the response is there, although it is owned.
            while store.index.is_owned(self._place, store.now) and not store.index.has_file(self._place):
                left = deadline - clock.now
                if left <= 0:
                    return False
                event.is_set = False
                await event.wait(min(left, LOOK))
            return True
        finally:
            store.waiting.discard(event)

    # Changes.

    def begin(self, header: Header, head: bytes) -> Writing:
        """Begin to store a response. head: as the upstream sent it. Raises DiskTrouble, and BadFile if the head is too long.

        A variant that was looked up by itself keeps its file if the response still is that variant. Otherwise the response
        becomes the one that all requests look at first (nginx: ngx_http_file_cache_update_variant).
        """
        store, key = self._store, self.key
        if key.digest != key.main and not (header.vary and header.variant == key.digest):
            key = key.variant(key.main)
        place = self._place if key is self.key else store.index.place(key.digest)
        path = store.zone.file(key.digest)

        def publish(give_name: Callable[[], None], fileno: int, body_start: int) -> bool:
            done = store.publish(place, path, give_name, fileno, body_start)
            self._disown()
            return done

        return Writing(store.zone.path, path, key, header, head, publish)

    def update_header(self, header: Header) -> bool:
        """Change the times of a stored response that has been revalidated; return whether it still is the one that we opened."""
        stored, store = self.stored, self._store
        if stored is None:
            return False
        old = stored.header
        header.crc32, header.header_start, header.body_start = old.crc32, old.header_start, old.body_start
        header.checksum, header.vary, header.variant = old.checksum, old.vary, old.variant
        data = struct_bytes(header)

        def change() -> None:
            fileno = os.open(stored.path, os.O_WRONLY | os.O_CLOEXEC)
            try:
                os.pwrite(fileno, data, 0)
            finally:
                os.close(fileno)

        try:
            version = store.index.renew(self._place, stored.version, change)
        except (Stuck, OSError):
            return False
        finally:
            self._disown()
        stored.header = header
        stored.version = version or stored.version
        return bool(version)

    def remember_failure(self, status: int, until: float) -> None:
        """Remember until then, in unix seconds, that there was this failure instead of a response."""
        store = self._store
        try:
            store.index.fail(self._place, store.now, status, int(until * 1000))
        except Stuck:
            pass
        self._disown()

    def delete(self) -> None:
        """Delete the stored response, if it still is the one that was found. Raises OSError."""
        if self.stored is not None and self.stored.version:
            try:
                self._store.index.remove(self._place, self.stored.path, self.stored.version)
            except Stuck:
                pass

    # The end.

    def _disown(self) -> None:
        """Give back the right to fetch or to update, and tell those who wait."""
        if self._mark:
            mark, self._mark = self._mark, 0
            try:
                is_awaited = self._store.index.disown(self._place, mark, keep=self._min_uses > 1)
            except Stuck:
                is_awaited = True
            if is_awaited:
                self._store.tell()

    def _close(self) -> None:
        if self.stored is not None:
            self.stored.close()
            self.stored = None

    def end(self) -> None:
        """Give everything back; this may be called more than once."""
        self._disown()
        self._close()
        self._variant_of = None  # it belongs to the request, which refers to this

    def __repr__(self) -> str:
        return f"<use of {self.key.digest.hex()} {STATE_NAMES[self.state]}>"
