"""Memory that outlives a reload and an upgrade of the program: the peers of sessions, and the addresses of names.

It is one anonymous file, made when a configuration first needs it, inherited by all workers, and handed to the next master by its
descriptor (master/new_binary.py). It consists of regions, each known by a digest of its name and size:

    first page    the magic number, and where the last region ends
    a region      a page with its digest and size, then its bytes

Masters make regions while they read a configuration. During an upgrade there may be two masters, so one that adds a region holds
the record lock of the first word, without waiting for it. The end of the last region is written last: a master that is killed
before that has added nothing. Regions are not given back; the file is sparse, and pages that were never written cost nothing.

The magic number follows that of the shared memory (`wproxy.shared`): masters that have no locks in common have no regions in
common either.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import struct
from collections.abc import Callable
from hashlib import blake2b

from wproxy.address_space import CannotMap, map_file
from wproxy.record_locks import RecordLocks
from wproxy.shared import MAGIC

NAME = "wproxy-lasting"
# The version of this file and of its contents: `wproxy.sessions` and `wproxy.remembered`.
LAYOUT = MAGIC << 8 & (1 << 64) - 1 | 1
PAGE = mmap.ALLOCATIONGRANULARITY
_FIRST = struct.Struct("=QQ")  # the magic number, the end
_HEAD = struct.Struct("=16sQ")  # a region's digest, its size in bytes
_TRIES = 1000


class LastingMemory:
    """The file of one process. fileno: its descriptor, -1 while there is none."""

    def __init__(self) -> None:
        self.fileno = -1
        self._regions: dict[bytes, mmap.mmap] = {}

    def adopt(self, fileno: int) -> bool:
        """Continue with another master's file, before any region is asked for; False when it has another layout.

        Takes over the descriptor.
        """
        try:
            is_ours = os.pread(fileno, _FIRST.size, 0)[:8] == LAYOUT.to_bytes(8, "little")
            os.set_inheritable(fileno, False)
        except OSError:
            return False
        if is_ours:
            self.fileno = fileno
        else:
            os.close(fileno)
        return is_ours

    def region(self, name: str, size: int) -> mmap.mmap:
        """Return memory of so many bytes, the same for the same name and size; zero when it is new.

        When the system has no room for the file, it is memory that outlives a reload only. Raises CannotMap.
        """
        digest = _digest(name, size)
        if digest not in self._regions:
            try:
                at = self._find_or_add(digest, size)
                self._regions[digest] = map_file(self.fileno, size, _purpose(name), offset=at)
            except CannotMap:
                raise
            except OSError:
                self._regions[digest] = map_file(-1, size, _purpose(name))
        return self._regions[digest]

    def beginnings(self, name: str, size: int) -> Callable[[int], mmap.mmap]:
        """Return a function that maps the first bytes of a region, as many as it is asked for; it raises CannotMap.

        This is for a large region of which a little is in use: to map all of it takes address space.
        """
        purpose = _purpose(name)
        try:
            at = self._find_or_add(_digest(name, size), size)
        except OSError:
            whole = self.region(name, size)
            return lambda count: whole
        fileno = self.fileno
        return lambda count: map_file(fileno, count, purpose, offset=at)

    def _find_or_add(self, digest: bytes, size: int) -> int:
        """Return where the bytes of a region begin in the file; it is added if there is none. Raises OSError."""
        if self.fileno < 0:
            self.fileno = _new_file()
        locks = RecordLocks(self.fileno)
        if not any(locks.try_lock(0) for _ in range(_TRIES)):
            raise BlockingIOError("another master is adding a region")
        try:
            return self._find(digest) or self._add(digest, size)
        finally:
            locks.unlock(0)

    def _end(self) -> int:
        """Return where the last region ends; never beyond the end of the file, whatever a worker may have written there."""
        end: int = _FIRST.unpack(os.pread(self.fileno, _FIRST.size, 0))[1]
        return max(PAGE, min(end, os.fstat(self.fileno).st_size) // PAGE * PAGE)

    def _find(self, digest: bytes) -> int:
        """Return where the bytes of a region begin; 0 when there is no such region."""
        at, end = PAGE, self._end()
        while at < end:
            found, size = _HEAD.unpack(os.pread(self.fileno, _HEAD.size, at))
            if found == digest:
                return at + PAGE
            at += PAGE + _pages(size)
        return 0

    def _add(self, digest: bytes, size: int) -> int:
        at = self._end()
        end = at + PAGE + _pages(size)
        if os.fstat(self.fileno).st_size < end:
            os.ftruncate(self.fileno, end)
        os.pwrite(self.fileno, _HEAD.pack(digest, size), at)
        os.pwrite(self.fileno, _FIRST.pack(LAYOUT, end), 0)
        return at + PAGE

    def __repr__(self) -> str:
        return f"<lasting memory on descriptor {self.fileno}, {len(self._regions)} regions>"


def _digest(name: str, size: int) -> bytes:
    """Return what a region is known by."""
    return blake2b(f"{name}\0{size}".encode("utf-8", "surrogateescape"), digest_size=16).digest()


def _purpose(name: str) -> str:
    """Return what a region is for, by the beginning of its name."""
    return name.partition("\0")[0]


def _new_file() -> int:
    """Make the file and return its descriptor, above 2 because lower ones have a meaning for a daemon. Raises OSError."""
    low = os.memfd_create(NAME, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        fileno = fcntl.fcntl(low, fcntl.F_DUPFD_CLOEXEC, 3)
    finally:
        os.close(low)
    try:
        os.ftruncate(fileno, PAGE)
        fcntl.fcntl(fileno, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK)  # otherwise a process that maps it might die of SIGBUS
        os.pwrite(fileno, _FIRST.pack(LAYOUT, PAGE), 0)
    except OSError:
        os.close(fileno)
        raise
    return fileno


def _pages(size: int) -> int:
    """Return a size rounded up to whole pages."""
    return -(-size // PAGE) * PAGE


LASTING = LastingMemory()
