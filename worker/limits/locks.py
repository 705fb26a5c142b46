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
from time import CLOCK_REALTIME, clock_gettime, monotonic

_INT, _POINTER = ctypes.c_int, ctypes.c_void_p
_LIBRARY = ctypes.CDLL(None)
# These never wait, so they keep the interpreter's lock: giving it up and taking it again costs as much as the call.
_AT_ONCE = ctypes.PYFUNCTYPE(_INT, _POINTER)
try_lock = _AT_ONCE(("pthread_mutex_trylock", _LIBRARY))
unlock = _AT_ONCE(("pthread_mutex_unlock", _LIBRARY))
_make_consistent = _AT_ONCE(("pthread_mutex_consistent", _LIBRARY))
_lock_until = ctypes.CFUNCTYPE(_INT, _POINTER, _POINTER)(("pthread_mutex_timedlock", _LIBRARY))

_BUSY, _OWNER_DIED = 16, 130
# The holder needs it for some microseconds, unless the system has taken the processor from it: on a busy machine for long.
_SPINS = 20
# How long to wait for a holder that does not run, in seconds; and how long not to wait for it again after that.
PATIENCE = 2.0
_REST = 1.0
_stuck: dict[int, float] = {}


def lock(address: int, result: int) -> bool:
    """Lock a mutex for which `try_lock` returned this, and not 0; return whether we hold it."""
    for _ in range(_SPINS):
        if result != _BUSY:
            break
        result = try_lock(address)
    if result == _BUSY and monotonic() >= _stuck.get(address, 0.0):
        result = _wait(address)
    if result == _OWNER_DIED:
        result = _make_consistent(address)
    return not result


def _wait(address: int) -> int:
    """Wait for the holder, for PATIENCE at most."""
    until = clock_gettime(CLOCK_REALTIME) + PATIENCE
    result: int = _lock_until(address, ctypes.byref((ctypes.c_long * 2)(int(until), int(until % 1 * 1e9))))
    if result not in (0, _OWNER_DIED):
        _stuck[address] = monotonic() + _REST
    return result
