"""Memory that one master hands to the next."""

from __future__ import annotations

import os

import pytest

from wproxy.lasting import PAGE, LastingMemory


@pytest.fixture
def memory():
    found = LastingMemory()
    yield found
    if found.fileno >= 0:
        os.close(found.fileno)


def successor_of(memory: LastingMemory) -> LastingMemory:
    """What a master has that was given the descriptor."""
    successor = LastingMemory()
    assert successor.adopt(os.dup(memory.fileno))
    return successor


def test_without_a_region_there_is_no_file(memory):
    assert memory.fileno == -1


def test_a_region_is_the_same_for_the_same_name_and_size(memory):
    region = memory.region("one", 100)
    assert memory.region("one", 100) is region and len(region) == 100 and not any(region[:])
    region[:3] = b"abc"
    assert not any(memory.region("one", 101)[:]) and not any(memory.region("two", 100)[:])
    assert memory.region("one", 100)[:4] == b"abc\0"


def test_who_adopts_the_file_finds_what_was_written_and_both_see_what_is_written_then(memory):
    sizes = {"small": 1, "page": PAGE, "large": 3 * PAGE + 7, "last": 65536}
    for name, size in sizes.items():
        memory.region(name, size)[-1:] = name[:1].encode()
    successor = successor_of(memory)
    for name, size in sizes.items():
        assert successor.region(name, size)[-1:] == name[:1].encode()
    successor.region("small", 1)[0] = 7
    assert memory.region("small", 1)[0] == 7
    added = successor.region("added by the successor", 10)
    added[:] = b"0123456789"
    assert memory.region("added by the successor", 10)[:] == b"0123456789"
    os.close(successor.fileno)


def test_a_region_that_was_added_by_half_is_none(memory):
    """Killed before the end was written, a master leaves what the next region is written over."""
    memory.region("one", 10)
    end = os.fstat(memory.fileno).st_size
    os.ftruncate(memory.fileno, end + 5 * PAGE)
    os.pwrite(memory.fileno, b"\xff" * PAGE, end)
    successor = successor_of(memory)
    successor.region("two", 20)[:3] = b"two"
    assert memory.region("two", 20)[:3] == b"two"
    assert not any(memory.region("one", 10)[:])
    os.close(successor.fileno)


@pytest.mark.parametrize("content", [b"", b"x" * 100, b"\0" * PAGE])
def test_a_file_of_another_layout_is_not_adopted(content):
    fileno = os.memfd_create("other")
    os.write(fileno, content)
    memory = LastingMemory()
    assert not memory.adopt(fileno)
    assert memory.fileno == -1
    with pytest.raises(OSError):
        os.fstat(fileno)


def test_a_descriptor_that_is_none_is_not_adopted():
    memory = LastingMemory()
    assert not memory.adopt(10**6) and memory.fileno == -1


def test_where_another_master_does_not_let_go_a_region_is_ones_own(memory):
    memory.region("one", 10)
    ready_read, ready_write = os.pipe()
    done_read, done_write = os.pipe()
    pid = os.fork()
    if not pid:
        from wproxy.record_locks import RecordLocks

        RecordLocks(memory.fileno).try_lock(0)
        os.close(done_write)
        os.write(ready_write, b"x")
        os.read(done_read, 1)
        os._exit(0)
    os.read(ready_read, 1)
    size = os.fstat(memory.fileno).st_size
    assert len(memory.region("two", 10)) == 10 and os.fstat(memory.fileno).st_size == size
    os.close(done_write)
    assert os.waitpid(pid, 0)[1] == 0
    for fileno in (ready_read, ready_write, done_read):
        os.close(fileno)


@pytest.mark.parametrize("end", [0, 1 << 40, (1 << 64) - 1])
def test_a_wild_end_in_the_file_asks_for_no_memory_and_no_time(memory, end):
    """A worker that was broken into can write what it likes there, and the master makes regions."""
    memory.region("a", PAGE)
    os.pwrite(memory.fileno, end.to_bytes(8, "little"), 8)
    successor = successor_of(memory)
    successor.region("b", PAGE)[:1] = b"x"
    os.close(successor.fileno)
    assert os.fstat(memory.fileno).st_size < 100 * PAGE


def test_a_wild_size_of_a_region_does_no_harm(memory):
    memory.region("a", PAGE)
    os.pwrite(memory.fileno, ((1 << 64) - 1).to_bytes(8, "little"), PAGE + 16)
    successor = successor_of(memory)
    assert len(successor.region("b", PAGE)) == PAGE
    os.close(successor.fileno)
