"""Slots of workers in the shared memory: taking one, giving one back, and those whose master is gone.

While an upgrade of the program runs, two masters take slots from the same memory, so a slot is taken under a record
lock, which the kernel releases whatever becomes of its holder, and says from then on whose it is. Only that master
gives it back. When a master was killed, its workers finish what they have begun and leave by themselves; their slots
are given back by the master that is left, when they have ended.
"""

from __future__ import annotations

import errno
import os
import time

from wproxy.record_locks import RecordLocks
from wproxy.shared import (
    HEAD_ACCEPTED,
    HEAD_CONNECTIONS,
    HEAD_REQUESTS,
    HEAD_SLOTS,
    MAX_WORKERS,
    ROLE_NAMES,
    WORKER_ACCEPTED,
    WORKER_MASTER,
    WORKER_PID,
    WORKER_REQUESTS,
    SharedWords,
    WorkerSlot,
)

LOCK_TRIES = 200
LOCK_PAUSE = 0.001  # seconds: the other master holds the lock for microseconds


def free_slots(shared: SharedWords) -> int:
    """How many more workers there is room for."""
    return sum(not shared.worker(index).get(WORKER_MASTER) for index in range(MAX_WORKERS))


def take_slot(shared: SharedWords, locks: RecordLocks) -> WorkerSlot:
    """The lowest free slot, cleared and ours from now on; raises OSError when there is none."""
    for _ in range(LOCK_TRIES):
        if locks.try_lock(HEAD_SLOTS):
            break
        time.sleep(LOCK_PAUSE)
    else:  # it was stopped just there
        raise OSError(errno.EAGAIN, "the other master does not let us take a slot")
    try:
        for index in range(MAX_WORKERS):
            slot = shared.worker(index)
            if not slot.get(WORKER_MASTER):
                slot.clear()
                slot.set(WORKER_MASTER, os.getpid())
                return slot
    finally:
        locks.unlock(HEAD_SLOTS)
    raise OSError(errno.EAGAIN, f"there is room for {MAX_WORKERS} workers")


def give_back(shared: SharedWords, slot: WorkerSlot) -> None:
    """Its worker has ended: its counts move to our head, so that totals never shrink, and the slot is free."""
    accepted = slot.get(WORKER_ACCEPTED)
    requests = slot.get(WORKER_REQUESTS)
    slot.clear()
    shared.set_head(HEAD_ACCEPTED, shared.head(HEAD_ACCEPTED) + accepted)
    shared.set_head(HEAD_CONNECTIONS, shared.head(HEAD_CONNECTIONS) + accepted)
    shared.set_head(HEAD_REQUESTS, shared.head(HEAD_REQUESTS) + requests)


def bury_strangers(shared: SharedWords, other_master: int) -> int:
    """Give back the slots of workers that have ended and whose master is neither we nor that one; how many are left."""
    left = 0
    for index in range(shared.words[HEAD_SLOTS]):
        slot = shared.worker(index)
        if slot.get(WORKER_MASTER) in (0, os.getpid(), other_master):
            continue
        if is_worker_alive(slot.get(WORKER_PID)):
            left += 1
        else:
            give_back(shared, slot)
    return left


def bury_own(shared: SharedWords) -> None:
    """Give back the slots of our own that nobody lives in any more, for a process that does not reap (`master.alone`)."""
    for index in range(shared.words[HEAD_SLOTS]):
        slot = shared.worker(index)
        pid = slot.get(WORKER_PID)
        if slot.get(WORKER_MASTER) == os.getpid() and (pid == os.getpid() or not os.path.exists(f"/proc/{pid}")):
            give_back(shared, slot)


def is_worker_alive(pid: int) -> bool:
    """Whether that process runs and calls itself a worker: a number may have become another program's."""
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
