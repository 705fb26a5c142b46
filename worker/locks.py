"""Mutexes in shared memory that do not outlive their holder: the C library's robust ones (`wproxy.zone_memory` makes them).

A process that dies while it holds one, by whatever signal at whatever instruction, leaves it to the next that asks: the kernel
goes through the locks of a dying thread. A free one is taken without a system call: locking and unlocking together cost 0.3 us,
where the two calls of a record lock (`wproxy.record_locks`) cost 2. So these are for what happens in every request.

Whoever held one may have died in the middle of a change: the data behind it must be right after every single store.

Only workers lock. The C library keeps pointers inside a locked mutex; a worker that was broken into could change them, and the
master, which may be root, never follows one.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from time import CLOCK_REALTIME, clock_gettime, monotonic

from wproxy.zone_memory import Mutex

# These never wait, so they keep the interpreter's lock: giving it up and taking it again costs as much as the call.
_AT_ONCE = ctypes.PyDLL(None)
# Without a declaration of the arguments a reference is passed as it is, and without a result none is made: a pair of calls takes
# 2,640 instructions and not 3,720.
try_lock: Callable[[Mutex], int] = _AT_ONCE.pthread_mutex_trylock
unlock: Callable[[Mutex], None] = _AT_ONCE.pthread_mutex_unlock
_AT_ONCE.pthread_mutex_unlock.restype = None
_make_consistent: Callable[[Mutex], int] = _AT_ONCE.pthread_mutex_consistent
_lock_until = ctypes.CDLL(None).pthread_mutex_timedlock

_BUSY, _OWNER_DIED = 16, 130
# The holder needs it for some microseconds, unless the system has taken the processor from it: on a busy machine for long.
_SPINS = 20
# How long to wait for a holder that does not run, in seconds; and how long not to wait for it again after that.
PATIENCE = 2.0
_REST = 1.0
_stuck: dict[Mutex, float] = {}


def lock(mutex: Mutex, result: int) -> bool:
    """Lock a mutex for which `try_lock` returned this, and not 0; return whether we hold it."""
    for _ in range(_SPINS):
        if result != _BUSY:
            break
        result = try_lock(mutex)
    if result == _BUSY and monotonic() >= _stuck.get(mutex, 0.0):
        result = _wait(mutex)
    if result == _OWNER_DIED:
        result = _make_consistent(mutex)
    return not result


def take_over(mutex: Mutex, result: int) -> bool:
    """Do as `lock`, but without waiting for a holder that is alive."""
    return result == _OWNER_DIED and not _make_consistent(mutex)


def _wait(mutex: Mutex) -> int:
    """Wait for the holder, for PATIENCE at most."""
    until = clock_gettime(CLOCK_REALTIME) + PATIENCE
    result: int = _lock_until(mutex, ctypes.byref((ctypes.c_long * 2)(int(until), int(until % 1 * 1e9))))
    if result not in (0, _OWNER_DIED):
        _stuck[mutex] = monotonic() + _REST
    return result
