"""Slots of workers in the shared memory: taking one, giving one back, and slots whose master is gone.

While an upgrade of the program runs, two masters take slots from the same memory, so a slot is then taken under a record lock,
which the kernel releases whatever happens to its holder, and from then on names its master. Only that master gives it back. When
a master was killed, its workers finish what they have begun and leave by themselves; the remaining master gives their slots back
when they have ended.

A compromised worker can write anything there. So a master never takes a slot that it knows to be in use, and before it goes
without a worker it takes one that only seems to be in use, by a master and a worker that do not run.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Collection

from wproxy.record_locks import RecordLocks
from wproxy.shared import (
    HEAD_ACCEPTED,
    HEAD_CONNECTIONS,
    HEAD_REFUSED,
    HEAD_REQUESTS,
    HEAD_SLOTS,
    MAX_WORKERS,
    MOST_COUNTED,
    ROLE_NAMES,
    WORKER_ACCEPTED,
    WORKER_MASTER,
    WORKER_PID,
    WORKER_REFUSED,
    WORKER_REQUESTS,
    SharedWords,
    WorkerSlot,
)

LOCK_TRIES = 200
LOCK_PAUSE = 0.001  # seconds: the other master holds the lock for microseconds


def free_slots(shared: SharedWords, held: Collection[int] = ()) -> int:
    """Return how many more workers there is room for. held: the indices of the slots that our workers have."""
    return sum(_is_free(shared.worker(index), held) for index in range(MAX_WORKERS))


def _is_free(slot: WorkerSlot, held: Collection[int]) -> bool:
    """Whether a slot may be taken: no worker has it, whatever its words say."""
    if slot.index in held:
        return False
    master = slot.get(WORKER_MASTER)
    if not master or master == os.getpid():
        return not master or not is_worker_alive(slot.get(WORKER_PID))
    return not os.path.exists(f"/proc/{master}") and not is_worker_alive(slot.get(WORKER_PID))


def take_slot(shared: SharedWords, locks: RecordLocks, held: Collection[int] = (), has_other_master: bool = True) -> WorkerSlot:
    """Take the lowest free slot and clear it; raises OSError when there is none. held: as in `free_slots`.

    has_other_master: whether another master may take slots, too. Without one there is no process to lock out and no lock is
    taken: a worker that was broken into might hold it for ever. With one, such a worker is killed (`Workers.take_slot`).
    """
    if not has_other_master:
        return _lowest_free(shared, held)
    for _ in range(LOCK_TRIES):
        if locks.try_lock(HEAD_SLOTS):
            break
        time.sleep(LOCK_PAUSE)
    else:  # it was stopped at that very point
        raise OSError(errno.EAGAIN, "the other master does not let us take a slot")
    try:
        return _lowest_free(shared, held)
    finally:
        locks.unlock(HEAD_SLOTS)


def _lowest_free(shared: SharedWords, held: Collection[int]) -> WorkerSlot:
    for index in range(MAX_WORKERS):
        slot = shared.worker(index)
        if not slot.get(WORKER_MASTER) and index not in held:
            return _take(slot)
    for index in range(MAX_WORKERS):
        slot = shared.worker(index)
        if _is_free(slot, held):
            return _take(slot)
    raise OSError(errno.EAGAIN, f"there is room for {MAX_WORKERS} workers")


def _take(slot: WorkerSlot) -> WorkerSlot:
    slot.clear()
    slot.set(WORKER_MASTER, os.getpid())
    return slot


def give_back(shared: SharedWords, slot: WorkerSlot) -> None:
    """Free the slot of an ended worker: its counts move to our head, so that totals never shrink."""
    accepted = slot.get(WORKER_ACCEPTED)
    refused, requests = slot.get(WORKER_REFUSED), slot.get(WORKER_REQUESTS)
    slot.clear()
    counts = ((HEAD_ACCEPTED, accepted), (HEAD_CONNECTIONS, accepted), (HEAD_REFUSED, refused), (HEAD_REQUESTS, requests))
    for word, count in counts:
        shared.set_head(word, min(shared.head(word) + count, MOST_COUNTED))


def bury_strangers(shared: SharedWords, other_master: int) -> int:
    """Free the slots of ended workers whose master is neither we nor that one; return how many are left."""
    left = 0
    for index in range(shared.slots):
        slot = shared.worker(index)
        if slot.get(WORKER_MASTER) in (0, os.getpid(), other_master):
            continue
        if is_worker_alive(slot.get(WORKER_PID)):
            left += 1
        else:
            give_back(shared, slot)
    return left


def bury_own(shared: SharedWords) -> None:
    """Free our own slots whose worker is gone, for a process that does not reap (`master.alone`)."""
    for index in range(shared.slots):
        slot = shared.worker(index)
        pid = slot.get(WORKER_PID)
        if slot.get(WORKER_MASTER) == os.getpid() and (pid == os.getpid() or not os.path.exists(f"/proc/{pid}")):
            give_back(shared, slot)


def is_worker_alive(pid: int) -> bool:
    """Whether that process runs and calls itself a worker: the number may have become another program's."""
    if not pid:
        return False
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            if file.read().rpartition(b")")[2].split()[0] in (b"Z", b"X"):
                return False
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            title = file.read(200)
            return any(b": %s process" % role.encode() in title for role in ROLE_NAMES)
    except (FileNotFoundError, ProcessLookupError):
        return False
