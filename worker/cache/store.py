"""The files and the index of one zone, as one process uses them: opening, publishing, losing, and waking those who wait."""

from __future__ import annotations

import os
from collections.abc import Callable

from worker.bell import Bell
from worker.cache.index import CacheIndex, Place, Stuck, size_on_disk
from worker.cache.stored import Stored, open_stored
from worker.loop import Event, Loop
from worker.temporary_files import DiskTrouble
from wproxy.cache.header import BadFile
from wproxy.cache.key import CacheKey
from wproxy.cache.memory import EXISTS, PENDING, STATE, USED, VALID, VERSION, status_of
from wproxy.cache.zone import CacheZone

Log = Callable[[str, str], object]
UNREADABLE = -1


class CacheStore:
    """The store of one zone. waiting: what wakes the requests that wait for another one."""

    def __init__(self, zone: CacheZone, index: CacheIndex, loop: Loop, log: Log, bell: Bell) -> None:
        self.zone = zone
        self.index = index
        self.loop = loop
        self.waiting: set[Event] = set()
        self.log = log
        self.bell = bell
        self._words = zone.memory.words
        bell.listeners.append(self.wake)

    @property
    def now(self) -> int:
        """The time of this turn, in milliseconds."""
        return int(self.loop.clock.wall * 1000)

    def open(self, key: CacheKey, place: Place) -> Stored | int:
        """Open the stored response of a key, and note that it is used.

        Return the status of a failure that is remembered, if there is none that is good; 0 if there is nothing, UNREADABLE if
        there is something, but it cannot be opened.
        """
        index, words = self.index, self._words
        at = index.find(place)
        if at >= 0:
            record = index.record(at)
            state = words[record + STATE]
            status = status_of(state)
            if status and words[record + VALID] > self.now:
                return status
            if not state & (EXISTS | PENDING):
                return 0
            version = words[record + VERSION]
            words[record + USED] = self.now
        elif self.zone.memory.is_cold:
            state = version = 0
        else:
            return 0
        path = self.zone.file(key.digest)
        try:
            stored = open_stored(path, key)
        except BadFile as reason:
            self.log("crit", f'cache file "{path}" {reason}')
            return 0 if self._lose(place, path, version) else UNREADABLE
        except (FileNotFoundError, NotADirectoryError):
            if version:
                self._lose(place, path, version)
            return 0
        except OSError as error:
            self.log("crit", f'open() "{path}" failed ({error.errno}: {error.strerror})')
            return UNREADABLE
        if not state & EXISTS or state & PENDING:
            try:
                version = index.adopt(place, self.now, path, stored.body_start)
            except Stuck:
                version = 0
        stored.version = version
        return stored

    def _lose(self, place: Place, path: str, version: int) -> bool:
        """Delete a file that is no stored response, and its entry; return whether that was possible."""
        try:
            self.index.remove(place, path, version, keeps=True)
            return True
        except Stuck:
            return False
        except OSError as error:
            self.log("crit", f'unlink() "{path}" failed ({error.errno}: {error.strerror})')
            return False

    def publish(self, place: Place, path: str, give_name: Callable[[], None], fileno: int, body_start: int) -> bool:
        """Give a complete file its name, and enter it; return whether that was possible."""
        try:
            self.index.publish(place, self.now, give_name, size_on_disk(os.fstat(fileno)), body_start)
        except DiskTrouble as trouble:
            self.log("crit", f'rename() to "{path}" failed ({trouble})')
            return False
        except Stuck:
            self.log("alert", f'zone "{self.zone.name}" is locked by a process that does not run: "{path}" is not stored')
            return False
        if self.index.is_too_large():
            self.bell.ring()
        return True

    def tell(self) -> None:
        """Wake the requests of all workers that wait for one that has ended."""
        self.wake()
        self.bell.ring()

    def wake(self) -> None:
        """Wake our own requests that wait: each finds out for itself whether it still has to."""
        for event in self.waiting:
            event.set()

    def __repr__(self) -> str:
        return f"<store of {self.zone.name} in {self.zone.path}>"
