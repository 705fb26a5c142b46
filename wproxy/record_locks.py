"""Locks on words of the shared memory that do not outlive their holder.

They are record locks of the kernel (fcntl, not flock and not those of an open file description: workers inherit one description
and would all hold its locks). A process that dies, by whatever signal at whatever instruction, loses them. They cost two system
calls, 1 us each, so they are for rare events: where one worker of all has to be chosen.
"""

from __future__ import annotations

import fcntl
import struct

_FLOCK = struct.Struct("hhqqi4x")  # struct flock: type, whence, start, length, pid


class RecordLocks:
    """Locks on single words. They exclude other processes, not other parts of our own."""

    __slots__ = ("_fileno",)

    def __init__(self, fileno: int) -> None:
        """fileno: the memory's descriptor, open for writing."""
        self._fileno = fileno

    def try_lock(self, word: int) -> bool:
        """Lock the word with that offset (in words) unless another process has it; never waits."""
        try:
            fcntl.lockf(self._fileno, fcntl.LOCK_EX | fcntl.LOCK_NB, 8, word * 8)
        except (BlockingIOError, PermissionError):  # POSIX allows both
            return False
        except OSError:
            # ENOLCK: the kernel has no room. Two workers doing the work of one is better than none ever doing it.
            return True
        return True

    def holder(self, word: int) -> int:
        """Return the pid of the other process that has locked the word, as the kernel knows it; 0 when there is none."""
        asked = _FLOCK.pack(fcntl.F_WRLCK, 0, word * 8, 8, 0)
        try:
            kind, _, _, _, pid = _FLOCK.unpack(fcntl.fcntl(self._fileno, fcntl.F_GETLK, asked))
        except OSError:
            return 0
        return 0 if kind == fcntl.F_UNLCK else int(pid)

    def unlock(self, word: int) -> None:
        """Unlock it."""
        try:
            fcntl.lockf(self._fileno, fcntl.LOCK_UN, 8, word * 8)
        except OSError:  # ENOLCK again: then we hold no lock
            return
