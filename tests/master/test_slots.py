"""Slots of workers when several masters take them from one memory."""

import os
import signal
from types import SimpleNamespace

import pytest

from master.memory import OtherLayout, adopt_memory, create_memory, open_memory_of
from master.peer_records import PeerRecords
from master.slots import bury_strangers, free_slots, give_back, is_worker_alive, take_slot
from master.workers import Workers
from wproxy.record_locks import RecordLocks
from wproxy.shared import (
    HEAD_ACCEPTED,
    HEAD_GENERATION,
    HEAD_MASTER_PID,
    HEAD_RECORDS,
    HEAD_REQUESTS,
    HEAD_SLOTS,
    MAX_WORKERS,
    WORKER_ACCEPTED,
    WORKER_MASTER,
    WORKER_PID,
    WORKER_REQUESTS,
)

TRIES = 40


@pytest.fixture
def memory():
    memory = create_memory()
    yield memory
    memory.close()


def in_children(count, deed):
    """Run it in so many processes at once; all must end well."""
    start, go = os.pipe()
    pids = []
    for number in range(count):
        pid = os.fork()
        if not pid:
            code = 1
            try:
                os.close(go)
                os.read(start, 1)
                deed(number)
                code = 0
            finally:
                os._exit(code)
        pids.append(pid)
    os.close(start)
    os.close(go)
    assert [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids] == [0] * count


def test_masters_that_take_slots_at_once_never_take_the_same(memory):
    shared = memory.shared

    def take(number):
        locks = RecordLocks(memory.fileno)
        for _ in range(TRIES):
            slot = take_slot(shared, locks)
            slot.set(WORKER_REQUESTS, slot.get(WORKER_REQUESTS) + 1)

    in_children(3, take)
    taken = [shared.worker(index) for index in range(MAX_WORKERS) if shared.worker(index).get(WORKER_MASTER)]
    assert len(taken) == 3 * TRIES
    assert [slot.get(WORKER_REQUESTS) for slot in taken] == [1] * 3 * TRIES
    assert len({slot.get(WORKER_MASTER) for slot in taken}) == 3
    assert shared.head(HEAD_SLOTS) == 3 * TRIES, "dense, so that readers have little to look at"


def test_a_slot_given_back_moves_its_counts_to_the_head_of_its_master(memory):
    slot = take_slot(memory.shared, RecordLocks(memory.fileno))
    slot.set(WORKER_REQUESTS, 5)
    memory.shared.master = 1
    give_back(memory.shared, slot)
    assert memory.shared.head(HEAD_REQUESTS) == 5
    memory.shared.master = 0
    assert memory.shared.head(HEAD_REQUESTS) == 0 and memory.shared.total(HEAD_REQUESTS) == 5
    assert free_slots(memory.shared) == MAX_WORKERS


def test_when_there_is_no_slot_left_that_is_an_error_of_the_system(memory):
    for index in range(MAX_WORKERS):
        memory.shared.worker(index).set(WORKER_MASTER, 1)
    assert free_slots(memory.shared) == 0
    with pytest.raises(OSError, match="there is room for"):
        take_slot(memory.shared, RecordLocks(memory.fileno))


def test_slots_of_a_master_that_is_gone_are_given_back_when_their_workers_are(memory):
    shared = memory.shared
    locks = RecordLocks(memory.fileno)
    ours, others, dead, forked_late = (take_slot(shared, locks) for _ in range(4))
    ours.set(WORKER_PID, 1)
    others.set(WORKER_MASTER, 22)
    others.set(WORKER_PID, 1)
    dead.set(WORKER_MASTER, 33)
    dead.set(WORKER_PID, 2**22 + 1)
    forked_late.set(WORKER_MASTER, 33)
    assert bury_strangers(shared, 22) == 0
    assert [slot.get(WORKER_MASTER) for slot in (ours, others, dead, forked_late)] == [os.getpid(), 22, 0, 0]


def test_a_living_process_that_is_no_worker_holds_no_slot():
    assert not is_worker_alive(os.getpid())
    assert not is_worker_alive(0)


def test_a_living_worker_does_and_a_dead_one_that_nobody_has_buried_does_not():
    import setproctitle

    ready, say = os.pipe()
    pid = os.fork()
    if not pid:
        setproctitle.setproctitle("wproxy: worker process is shutting down")
        os.write(say, b"x")
        signal.pause()
    os.read(ready, 1)
    os.close(ready)
    os.close(say)
    assert is_worker_alive(pid)
    os.kill(pid, signal.SIGKILL)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    assert not is_worker_alive(pid)
    os.waitpid(pid, 0)


# The memory of a predecessor.


def test_a_new_master_takes_the_other_head_and_keeps_what_the_memory_knows(memory):
    memory.shared.set_head(HEAD_MASTER_PID, 77)
    memory.shared.set_head(HEAD_GENERATION, 9)
    memory.shared.set_head(HEAD_REQUESTS, 4)
    memory.shared.words[HEAD_SLOTS] = 3
    with adopt_memory(os.dup(memory.fileno), 77) as second:
        shared = second.shared
        assert (shared.master, shared.head(HEAD_MASTER_PID), shared.head(HEAD_GENERATION)) == (1, os.getpid(), 9)
        assert memory.shared.head(HEAD_MASTER_PID) == 77
        shared.set_head(HEAD_REQUESTS, 6)
        with open_memory_of(os.getpid()) as found:
            assert found.shared.head(HEAD_REQUESTS) == 6
        with adopt_memory(os.dup(memory.fileno), os.getpid()) as third:
            assert third.shared.master == 0
            assert third.shared.total(HEAD_REQUESTS) == 10, "totals never shrink"
            assert third.shared.words[HEAD_SLOTS] == 3
            assert third.shared.head(HEAD_ACCEPTED) == 0


@pytest.mark.parametrize("wrong", ("layout", "master", "size", "closed"))
def test_what_is_no_memory_of_the_predecessor_is_refused(memory, wrong):
    if wrong == "layout":
        memory.shared.words[0] += 1
        fileno = os.dup(memory.fileno)
    elif wrong == "master":
        memory.shared.set_head(HEAD_MASTER_PID, 76)
        fileno = os.dup(memory.fileno)
    elif wrong == "size":
        fileno = os.memfd_create("wproxy")
    else:
        fileno = os.dup(memory.fileno)
        os.close(fileno)
    with pytest.raises((OtherLayout, OSError)):
        adopt_memory(fileno, 77)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fileno)


def test_the_master_of_another_version_is_recognised_but_not_read(memory):
    memory.shared.words[0] += 1
    with pytest.raises(OtherLayout, match="another version"):
        open_memory_of(os.getpid())


# What a worker that was broken into may have written.

WILD = (1 << 64) - 1


def test_wild_counts_do_not_keep_a_slot_from_being_given_back(memory):
    slot = take_slot(memory.shared, RecordLocks(memory.fileno))
    for _ in range(2):
        for word in (WORKER_ACCEPTED, WORKER_REQUESTS):
            slot.set(word, WILD)
        give_back(memory.shared, slot)
    assert memory.shared.head(HEAD_REQUESTS) == memory.shared.head(HEAD_ACCEPTED) == (1 << 53) - 1
    assert free_slots(memory.shared) == MAX_WORKERS


@pytest.mark.parametrize("number", [1 << 40, WILD])
def test_wild_numbers_of_slots_and_records_make_nothing_long(memory, number):
    shared = memory.shared
    first = take_slot(shared, RecordLocks(memory.fileno))
    shared.words[HEAD_SLOTS] = shared.words[HEAD_RECORDS] = number
    first.set(WORKER_MASTER, a_pid_that_is_gone())
    assert bury_strangers(shared, 0) == 0
    shared.clear_record(1)
    slot = take_slot(shared, RecordLocks(memory.fileno))
    assert slot.index == first.index
    PeerRecords(shared)


@pytest.mark.parametrize("master", [WILD, 1 << 31])
def test_slots_that_are_said_to_be_somebodys_do_not_keep_a_worker_from_being_started(memory, master):
    shared = memory.shared
    for index in range(MAX_WORKERS):
        shared.worker(index).set(WORKER_MASTER, master)
        shared.worker(index).set(WORKER_PID, WILD)
    assert free_slots(shared, {0}) == MAX_WORKERS - 1
    assert take_slot(shared, RecordLocks(memory.fileno), {0}).index == 1


def test_a_slot_that_we_hold_is_not_free_whatever_it_says(memory):
    shared = memory.shared
    locks = RecordLocks(memory.fileno)
    held = {take_slot(shared, locks).index for _ in range(2)}
    for index in held:
        shared.worker(index).set(WORKER_MASTER, 0)
    assert take_slot(shared, locks, held).index == 2
    assert free_slots(shared, held) == MAX_WORKERS - 2  # the third is ours, and nobody lives there


def a_pid_that_is_gone():
    pid = os.posix_spawn("/bin/true", ["true"], {})
    os.waitpid(pid, 0)
    return pid


def test_a_worker_that_holds_the_lock_of_masters_is_killed_and_a_slot_is_taken(memory):
    shared, told = memory.shared, []
    reading, writing = os.pipe()
    pid = os.fork()
    if not pid:
        locked = RecordLocks(memory.fileno).try_lock(HEAD_SLOTS)
        os.write(writing, b"yes" if locked else b"no")
        signal.pause()
    try:
        assert os.read(reading, 3) == b"yes"
        assert RecordLocks(memory.fileno).holder(HEAD_SLOTS) == pid
        workers = Workers(memory, lambda assignment: None, -1, lambda generation, sockets: None)
        with pytest.raises(OSError, match="other master"):
            workers.take_slot()  # it may be the other master
        log = SimpleNamespace(write=lambda level, text: told.append(text))
        workers._living[pid] = SimpleNamespace(
            pid=pid, title="worker process", generation=SimpleNamespace(log=log), slot=shared.worker(5)
        )
        assert workers.take_slot().get(WORKER_MASTER) == os.getpid()
        assert os.waitpid(pid, 0)[1] == signal.SIGKILL
        assert told == [f"worker process {pid} has locked what only masters lock, and is killed"]
        assert RecordLocks(memory.fileno).holder(HEAD_SLOTS) == 0
    finally:
        os.close(reading)
        os.close(writing)
